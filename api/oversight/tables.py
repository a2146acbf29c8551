"""Reports as tables: CSV by part, all parts in a zip, or a workbook with a sheet a part.

The same answer gives the same bytes: archives carry no clock time. What is large is made on disk
and read from there.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font, PatternFill
from openpyxl.utils import get_column_letter

from api.oversight.parts import HEAD, PARTS, Body, Cell, Part, cell

BOM = "\ufeff"  # without it spreadsheets take UTF-8 for the local code page
# What a spreadsheet would calculate when it opens the file.
_FORMULA = re.compile(r"^[=+\-@\t\r]")
_MADE = re.compile(rb"<dcterms:(created|modified)[^>]*>[^<]*</dcterms:\1>")
_MADE_IN = "docProps/core.xml"
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_WIDTH_MAX = 40
# Rows by which the width of a column is chosen.
_ROWS_LOOKED_AT = 200
# Bytes of a file kept in memory while it is made, and read from it at once.
_SPOOL_BYTES, _PIECE_BYTES = 1 << 20, 1 << 16


def csv_of(body: Body, part: Part) -> Iterator[bytes]:
    """Yield the lines of one part as CSV (UTF-8 with BOM, headings in Chinese)."""
    return csv_lines(_rows(body, part))


def csv_lines(rows: Iterable[Sequence[Cell]]) -> Iterator[bytes]:
    """Yield rows as CSV (UTF-8 with BOM)."""
    yield BOM.encode()
    for row in rows:
        out = io.StringIO()
        csv.writer(out, lineterminator="\r\n").writerow([_safe(value) for value in row])
        yield out.getvalue().encode()


def csv_zip(body: Body) -> Iterator[bytes]:
    """Yield a zip of all parts as CSV files."""
    return zipped((f"{part.name}.csv", csv_of(body, part)) for part in PARTS)


def workbook(body: Body) -> Iterator[bytes]:
    """Yield a workbook: the head, and a sheet a part."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet("概要")
    sheet.column_dimensions["A"].width = 20
    sheet.column_dimensions["B"].width = 72
    for row in head_rows(body):
        sheet.append([_bold(sheet, row[0]), *row[1:]])
    for part in PARTS:
        _sheet(book, body, part)
    with SpooledTemporaryFile(_SPOOL_BYTES) as made:
        book.save(made)
        with zipfile.ZipFile(made) as archive:
            yield from zipped((name, _without_clock(archive, name)) for name in archive.namelist())


def _sheet(book: Workbook, body: Body, part: Part) -> None:
    sheet = book.create_sheet(part.zh)
    sheet.freeze_panes = "A2"
    rows = _rows(body, part)
    headings = next(rows)
    first = list(islice(rows, _ROWS_LOOKED_AT))
    for n, column in enumerate(zip(headings, *first, strict=True), start=1):
        width = max(_width(value) for value in column) + 2
        sheet.column_dimensions[get_column_letter(n)].width = min(width, _WIDTH_MAX)
    sheet.append([_bold(sheet, heading) for heading in headings])
    for row in chain(first, rows):
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


def zipped(files: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yield a zip of files given in pieces; it is the same whenever it is made."""
    with SpooledTemporaryFile(_SPOOL_BYTES) as out:
        with zipfile.ZipFile(out, "w") as archive:
            for name, pieces in files:
                info = zipfile.ZipInfo(name, _ZIP_TIME)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                with archive.open(info, "w") as entry:
                    entry.writelines(pieces)
        out.seek(0)
        yield from _pieces(out)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece


def _without_clock(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """Yield a part of a workbook without the time when it was made."""
    with archive.open(name) as part:
        pieces = _pieces(part)
        yield from (_MADE.sub(b"", piece) for piece in pieces) if name == _MADE_IN else pieces
