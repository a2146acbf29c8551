"""Tables as people keep them: CSV and .xlsx in, templates out.

CSV in UTF-8 (with or without BOM) or GB18030; of a workbook the first sheet. A table comes as
(number of its first line, cells as text); None in place of the cells: the line is broken.
"""

from __future__ import annotations

import csv
import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import Any

import openpyxl
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from domain.shared.errors import Invalid

# How files of the old and the new kind of workbook begin.
XLSX, XLS = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
# Lines of a table, beside blank ones: what one transaction takes in within seconds.
LINES_MAX = 5_000
# Of a workbook: columns looked at, and bytes once unpacked; more is no list of equipment.
COLUMNS_MAX = 64
UNPACKED_BYTES_MAX = 64 * 1_048_576
# Rows that a workbook can have, blank ones too; a file may claim more, and each would be walked.
ROWS_MAX = 1_048_576
# From here on a number in a cell has lost digits: a spreadsheet keeps 15.
NUMBER_MAX = 10**15
# Cells with a date and time name no offset; offices write local time.
CHINA = timezone(timedelta(hours=8))


class Rounded(str):
    """A cell with a number too long for a spreadsheet, which has changed its last digits."""


Line = tuple[int, list[str] | None]

# It warns of styles that it leaves out; only values are read.
warnings.filterwarnings("ignore", category=UserWarning, module=r"openpyxl\.")


def lines(content: bytes) -> Iterator[Line]:
    """Yield the lines of a table that are not blank, the header first.

    Invalid("bad_encoding"), Invalid("bad_workbook"), Invalid("too_many_lines").
    """
    if content.startswith(XLS):
        raise Invalid("bad_workbook")
    found = _of_workbook(content) if content.startswith(XLSX) else _of_csv(_text(content))
    count = 0
    for number, cells in found:
        while cells and not cells[-1]:
            cells.pop()
        if cells == []:
            continue
        if count > LINES_MAX:
            raise Invalid("too_many_lines", limit=LINES_MAX)
        count += 1
        yield number, cells


def _text(content: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Invalid("bad_encoding")


def _of_csv(text: str) -> Iterator[Line]:
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            yield number, [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error:
            yield number, None


def _of_workbook(content: bytes) -> Iterator[Line]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            unpacked = sum(part.file_size for part in parts.infolist())
    except zipfile.BadZipFile:
        raise Invalid("bad_workbook") from None
    if unpacked > UNPACKED_BYTES_MAX:
        raise Invalid("bad_workbook")
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        with closing(book):
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # some programs write wrong ones
            rows = sheet.iter_rows(max_row=ROWS_MAX + 1, max_col=COLUMNS_MAX, values_only=True)
            for number, row in enumerate(rows, start=1):
                if number > ROWS_MAX:
                    raise Invalid("bad_workbook")  # noqa: TRY301  # as any other fault of it
                if row.count(None) < len(row):  # quicker than looking at each cell
                    yield number, [_cell(value) for value in row]
    except Exception as error:  # a broken workbook makes it fail in whatever way
        raise Invalid("bad_workbook") from error


def _cell(value: Any) -> str:
    """Return a cell as it would stand in a CSV file."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int() | float() if abs(value) >= NUMBER_MAX:
            return Rounded(f"{value:.15g}")
        case float() if value.is_integer():
            return str(int(value))
        case datetime():
            return value.replace(tzinfo=value.tzinfo or CHINA).isoformat()
        case _:
            return str(value).strip()


def csv_template(titles: Sequence[str]) -> bytes:
    """Return an empty table as CSV; with the mark that makes spreadsheets read it as UTF-8."""
    return (",".join(titles) + "\r\n").encode("utf-8-sig")


def xlsx_template(titles: Sequence[str], notes: Sequence[Sequence[str]]) -> bytes:
    """Return an empty table as a workbook, with a second sheet of notes (a row each)."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "数据 data"
    sheet.append(list(titles))
    sheet.freeze_panes = "A2"
    for number, title in enumerate(titles, start=1):
        column = sheet.column_dimensions[get_column_letter(number)]
        column.width = max(16, 2 * len(title))
        column.number_format = "@"  # text: else 1-2 becomes a day in January
    explained = book.create_sheet("说明 notes")
    for note in notes:
        explained.append(list(note))
    for letter in "ABCD":
        explained.column_dimensions[letter].width = 36
    for cell in (*sheet[1], *explained[1]):
        cell.font = Font(bold=True)
    kept = io.BytesIO()
    book.save(kept)
    return kept.getvalue()
