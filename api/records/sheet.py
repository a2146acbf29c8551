"""A record or report as people and machines read it: fields, tables and charts, in two languages.

Values are JSON's, times, days, and words that have a code; a list is shown as its members.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from api.oversight.parts import Cell
from api.oversight.tables import csv_lines
from domain.cold_chain.records import SHANGHAI
from projections.charts import decimate
from projections.shared.placements import Limits, ProbeReadings

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Row = Mapping[str, Any]

# Points of a line in an answer.
POINTS = 1_500
_EPOCH_2000_US = 946_684_800_000_000


class Word(NamedTuple):
    """A word of a fixed set: machines get its code."""

    code: str
    zh: str
    en: str

    def said(self, language: int) -> str:
        """Return it in a language: 0 Chinese, 1 English."""
        return (self.zh, self.en)[language]


class Column(NamedTuple):
    """A column: the field of its rows, and its heading; `wide`: its share of a paper's width."""

    name: str
    zh: str
    en: str
    wide: float = 1.0


class Field(NamedTuple):
    """One thing that a sheet says of the whole."""

    name: str
    zh: str
    en: str
    value: Any


@dataclass(frozen=True, slots=True)
class Table:
    """Rows by field, and how they are headed."""

    name: str
    zh: str
    en: str
    columns: Sequence[Column]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart: its unbroken parts, each times (UTC ms) and values in °C.

    It breaks where a reading does not hold until the next one, `hold_ms` at most.
    """

    name: str
    hold_ms: int
    parts: Sequence[tuple[Ints, Floats]]
    apart: bool = False  # of another source than the on-line series

    @classmethod
    def of(cls, name: str, ts_ms: Ints, celsius: Floats, hold_ms: int, *, apart: bool) -> Line:
        """Return n readings as a line, thinned so that every peak is still there."""
        if not ts_ms.size:
            return cls(name, hold_ms, (), apart)
        broken = np.cumsum(np.diff(ts_ms, prepend=ts_ms[:1]) > hold_ms)
        us = ts_ms * 1_000 - _EPOCH_2000_US
        kept = decimate(us, celsius, int(us[0]), int(us[-1]) + 1, POINTS)
        cuts = np.flatnonzero(np.diff(broken[kept])) + 1
        parts = [(ts_ms[part], celsius[part]) for part in np.split(kept, cuts)]
        return cls(name, hold_ms, parts, apart)


class Band(NamedTuple):
    """A time that is marked in a chart."""

    t0: datetime
    t1: datetime
    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over a time, with the limits that they should keep to, in °C."""

    zh: str
    en: str
    t0: datetime
    t1: datetime
    lines: Sequence[Line]
    limits: Limits | None = None
    bands: Sequence[Band] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A record or report; `file`: what a file of it is called, `notes` in both languages."""

    file: str
    zh: str
    en: str
    head: Sequence[Field]
    tables: Sequence[Table]
    charts: Sequence[Chart] = ()
    notes: Sequence[tuple[str, str]] = ()


def columns(text: str) -> tuple[Column, ...]:
    """Return columns out of lines `field | 中文 | English`, with `| width` where it is not 1."""
    found = []
    for line in filter(str.strip, text.splitlines()):
        name, zh, en, *wide = (part.strip() for part in line.split("|"))
        found.append(Column(name, zh, en, float(wide[0]) if wide else 1.0))
    return tuple(found)


def lines_of(probes: Sequence[ProbeReadings]) -> list[Line]:
    """Return the probes of a unit as lines of a chart."""
    return [
        Line.of(f"{p.device_id}/{p.channel}", p.ts_ms, p.celsius, p.hold_ms, apart=False)
        for p in probes
    ]


def plain(sheet: Sheet) -> dict[str, Any]:
    """Return a sheet as JSON: fields, tables by name, and the lines of its charts."""
    return {
        "head": {field.name: _plain(field.value) for field in sheet.head},
        "tables": {
            table.name: [{name: _plain(value) for name, value in row.items()} for row in table.rows]
            for table in sheet.tables
        },
        "series": [_series(line) for chart in sheet.charts for line in chart.lines],
    }


def _series(line: Line) -> dict[str, Any]:
    """Return a line: null stands between parts that do not meet."""
    t: list[int] = []
    v: list[float | None] = []
    for ts_ms, celsius in line.parts:
        if t:
            t.append(t[-1] + line.hold_ms)
            v.append(None)
        t += ts_ms.tolist()
        v += celsius.tolist()
    return {"name": line.name, "evidence": line.apart, "t": t, "v": v}


def csv_of(sheet: Sheet, language: int) -> Iterator[bytes]:
    """Yield a sheet as CSV: its fields, then each table under its title, blank lines between."""
    return csv_lines(_rows(sheet, language))


def _rows(sheet: Sheet, language: int) -> Iterator[Sequence[Cell]]:
    yield [(sheet.zh, sheet.en)[language]]
    for field in sheet.head:
        yield [(field.zh, field.en)[language], cell(field.value, language)]
    for table in sheet.tables:
        yield []
        yield [(table.zh, table.en)[language]]
        yield [(column.zh, column.en)[language] for column in table.columns]
        for row in table.rows:
            yield [cell(row.get(column.name), language) for column in table.columns]


def cell(value: Any, language: int) -> Cell:
    """Return what a cell says: times to the minute in China, numbers to two decimals."""
    match value:
        case None:
            return ""
        case Word():
            return value.said(language)
        case bool():
            return (("否", "是"), ("no", "yes"))[language][value]
        case float():
            return round(value, 2)
        case datetime():
            return f"{value.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"
        case date():
            return value.isoformat()
        case list() | tuple():
            return ("；", "; ")[language].join(str(cell(each, language)) for each in value)
        case _:
            return value if isinstance(value, int) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Word):
        return value.code
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
