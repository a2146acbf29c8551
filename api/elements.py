"""The Chinese data elements of an immunization as a table, aligned with WS 375.12.

Which element stands in which column, under which code, is data: a list of name, code and field, the
one shipped or the operator's. Codes shipped are empty: put in those your authority uses.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from openpyxl import Workbook

from domain.platform.uploads import local
from domain.shared.errors import Invalid

SHIPPED = Path(__file__).with_name("immunization_elements.json")
# Of a row as it is read, of what the fact said, and what is made of others.
_OF_ROW = (
    *("id", "recipient", "product", "product_id", "specification", "lot_number", "expires_on"),
    *("holder", "producer", "code", "site", "site_id", "org_code", "region_code", "fact_id"),
)
_OF_SAID = (
    *("series_dose", "series_doses", "body_site", "route", "dose_ml", "vaccinator", "funding"),
    "dose_number",
)
FIELDS = frozenset({*_OF_ROW, *_OF_SAID, "given_at", "recorded_at", "state", "reactions"})
# What stands before a formula's sign, so that no spreadsheet calculates a cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Element:
    """One column: the element's name and code, and the field it shows."""

    name: str
    field: str
    code: str = ""
    name_en: str = ""


def load(path: Path | None) -> list[Element]:
    """Return the elements of a file; Invalid("bad_elements") when it is no such table."""
    try:
        found = msgspec.json.decode((path or SHIPPED).read_bytes(), type=list[Element])
    except (OSError, msgspec.MsgspecError) as error:
        raise Invalid("bad_elements", why=str(error)) from error
    unknown = sorted({element.field for element in found} - FIELDS)
    if unknown or not found:
        raise Invalid("bad_elements", why=", ".join(unknown) or "empty")
    return found


def cells(row: Mapping[str, Any], elements: Sequence[Element], *, people: bool) -> list[str]:
    """Return a row as the elements ask; `people`: pseudonyms may be shown."""
    said = row["said"]
    values: dict[str, Any] = {name: row[name] for name in _OF_ROW}
    values |= {name: said.get(name) for name in _OF_SAID}
    values |= {
        "given_at": local(row["given_at"]),
        "recorded_at": local(row["recorded_at"]),
        "state": "已更正作废" if row["withdrawn"] else "有效",
        "reactions": "；".join("、".join(r.get("signs") or ()) for r in row["reactions"]),
    }
    if not people:
        values |= {"recipient": "", "vaccinator": ""}
    return [_cell(values[element.field]) for element in elements]


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def headings(elements: Sequence[Element]) -> list[str]:
    """Return the headings: the name, and the code where there is one."""
    return [f"{e.name} {e.code}".strip() for e in elements]


def as_csv(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows as CSV in UTF-8, with the mark that makes spreadsheets read it so."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode("utf-8-sig")


def as_xlsx(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows as a workbook."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet("接种记录")
    sheet.freeze_panes = "A2"
    for row in rows:
        sheet.append(list(row))
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()
