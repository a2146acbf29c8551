"""Reports as tables: CSV by part, all parts in a zip, or a workbook with a sheet a part.

The same answer gives the same bytes: archives carry no clock time.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font, PatternFill
from openpyxl.utils import get_column_letter

from api.oversight.parts import HEAD, PARTS, Body, Cell, Part, cell

BOM = "\ufeff"  # without it spreadsheets take UTF-8 for the local code page
# What a spreadsheet would calculate when it opens the file.
_FORMULA = re.compile(r"^[=+\-@\t\r]")
_MADE = re.compile(rb"<dcterms:(created|modified)[^>]*>[^<]*</dcterms:\1>")
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_WIDTH_MAX = 40


def csv_of(body: Body, part: Part) -> Iterator[bytes]:
    """Yield the lines of one part as CSV (UTF-8 with BOM, headings in Chinese)."""
    yield BOM.encode()
    for row in _rows(body, part):
        out = io.StringIO()
        csv.writer(out, lineterminator="\r\n").writerow([_safe(value) for value in row])
        yield out.getvalue().encode()


def csv_zip(body: Body) -> bytes:
    """Return all parts as CSV files in a zip."""
    return zipped({f"{part.name}.csv": b"".join(csv_of(body, part)) for part in PARTS})


def workbook(body: Body) -> bytes:
    """Return a workbook: the head, and a sheet a part."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet("概要")
    sheet.column_dimensions["A"].width = 20
    sheet.column_dimensions["B"].width = 72
    for row in head_rows(body):
        sheet.append([_bold(sheet, row[0]), *row[1:]])
    for part in PARTS:
        _sheet(book, body, part)
    out = io.BytesIO()
    book.save(out)
    return _without_clock(out.getvalue())


def _sheet(book: Workbook, body: Body, part: Part) -> None:
    sheet = book.create_sheet(part.zh)
    sheet.freeze_panes = "A2"
    rows = list(_rows(body, part))
    for n, column in enumerate(zip(*rows[:200], strict=True), start=1):
        width = max(_width(value) for value in column) + 2
        sheet.column_dimensions[get_column_letter(n)].width = min(width, _WIDTH_MAX)
    sheet.append([_bold(sheet, heading) for heading in rows[0]])
    for row in rows[1:]:
        sheet.append([_safe(value) for value in row])


def _width(value: Cell) -> int:
    """Return how wide a cell is: a Chinese character takes two."""
    return sum(2 if ord(c) > 0x2E7F else 1 for c in str(value))


def _bold(sheet: Any, value: Cell) -> WriteOnlyCell:
    found = WriteOnlyCell(sheet, value)
    found.font = Font(bold=True)
    found.fill = PatternFill("solid", fgColor="DDE7F3")
    return found


def head_rows(body: Body) -> list[list[Cell]]:
    """Return what a report is about as lines of a label and what it says."""
    head, proof = body["head"], body["proof"]
    rows: list[list[Cell]] = [["查询对象 subject", f"{head['subject']} {head['key']}"]]
    for lot in head["lots"]:
        rows += [[f"{zh} {en}", cell(name, lot[name], body)] for name, (zh, en) in HEAD.items()]
    ledger = proof["ledger_head"]
    rows += [
        ["截至位置 as of", body["as_of"]],
        ["日志头哈希 log head", f"{ledger['position']}:{ledger['sha256'] or ''}"],
        ["哈希算法 hash", proof["hash"]],
    ]
    return rows


def _rows(body: Body, part: Part) -> Iterator[Sequence[Cell]]:
    yield [column.zh for column in part.columns]
    for row in body["parts"][part.name]:
        yield [cell(c.name, row.get(c.name), body) for c in part.columns]


def _safe(value: Cell) -> Cell:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def zipped(files: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> bytes:
    """Return files as a zip that is the same whenever it is made."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in dict(files).items():
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return out.getvalue()


def _without_clock(book: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        return zipped({name: _MADE.sub(b"", archive.read(name)) for name in archive.namelist()})
