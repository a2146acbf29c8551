"""Import tables through the same commands as the HTTP routes: good lines in, bad lines named.

The first line names the columns, in English, in Chinese or both, in any order; kinds are in English
or in Chinese as well. A file is first rehearsed, each line on what the lines before it would leave:
that is the dry run. What is good is then stored in one transaction; had something else changed
meanwhile, all is rehearsed again. The same file twice changes nothing. Of a line that is wrong (as
with more cells than the header, or with a quotation mark that is not closed) nothing is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psycopg

from api import sheets
from api.import_kinds import EXPECTED, KINDS, Column, Kind, streams_of
from api.messages import message
from api.rehearsal import Rehearsal
from domain.cold_chain.events import (
    DeviceRegistered,
    GatewayRegistered,
    ProbePlaced,
    UnitRegistered,
)
from domain.registry.events import OrganisationRegistered, SiteRegistered
from domain.shared.errors import Busy, Conflict, DomainError, Invalid
from domain.shared.events import Event
from domain.traceability.events import ProductRegistered
from store.commands import ATTEMPTS_MAX
from store.envelope import Envelope, Meta
from store.logs import Ledger

Result = Literal["created", "unchanged", "wrong"]
Allow = Callable[[str], object]
After = Callable[["psycopg.Cursor[Any]", "Report"], None]

# What a line does, by the events it leads to.
_DOES: dict[type[Event], tuple[str, str]] = {
    OrganisationRegistered: ("登记机构 {org_code}", "register organisation {org_code}"),
    SiteRegistered: ("登记站点 {site_id}", "register site {site_id}"),
    UnitRegistered: ("登记设备 {unit_id}", "register unit {unit_id}"),
    GatewayRegistered: ("登记网关 {gateway_id}", "register gateway {gateway_id}"),
    DeviceRegistered: ("登记记录仪 {device_id}", "register device {device_id}"),
    ProbePlaced: (
        "把 {device_id} 的探头 {channel} 放入 {unit_id}",
        "place probe {channel} of {device_id} in {unit_id}",
    ),
    ProductRegistered: ("登记产品 {product_id}", "register product {product_id}"),
}


class Told(NamedTuple):
    """What became of a line: what it does, or why it is wrong (`code`), in both languages."""

    line: int
    result: Result
    code: str
    zh: str
    en: str

    def __str__(self) -> str:
        """Return it as one line for people."""
        code = f" [{self.code}]" if self.code else ""
        return f"第 {self.line} 行 | line {self.line}: {self.zh} | {self.en}{code}"


@dataclass(frozen=True, slots=True)
class Report:
    """What an import did, or would do, line by line; line 1 is the header.

    `position`: where the ledger stood after it.
    """

    lines: Sequence[Told]
    position: int

    @property
    def created(self) -> int:
        """Return how many lines lead to something new."""
        return sum(told.result == "created" for told in self.lines)

    @property
    def unchanged(self) -> int:
        """Return how many lines are known already."""
        return sum(told.result == "unchanged" for told in self.lines)

    @property
    def errors(self) -> list[Told]:
        """Return the lines that are wrong."""
        return [told for told in self.lines if told.result == "wrong"]


def import_file(
    kind: str, path: Path, ledger: Ledger, meta: Meta, *, dry_run: bool = False
) -> Report:
    """Import a file, for every region; see `import_table`. OSError when it cannot be read."""
    return import_table(
        kind, path.read_bytes(), ledger, meta, dry_run=dry_run, allow=lambda region: region
    )


def import_table(
    kind: str,
    content: bytes,
    ledger: Ledger,
    meta: Meta,
    *,
    allow: Allow,
    dry_run: bool = False,
    after: After | None = None,
) -> Report:
    """Import a table of one of KINDS: CSV or .xlsx, as `api/sheets.py` reads them.

    `allow` raises for a region that this caller may not touch. `after` is the last part of the
    transaction that stores what is new. Invalid("unknown_import") for another kind,
    Invalid("bad_columns"), Invalid("bad_quote") in the header, and those of `sheets.lines`; errors
    of single lines stand in the report. Busy("busy") after repeated races.
    """
    if kind not in KINDS:
        raise Invalid("unknown_import", kind=kind, kinds=", ".join(KINDS))
    for _ in range(ATTEMPTS_MAX):
        rehearsal = Rehearsal(ledger, meta, allow)
        told = _rehearsed(KINDS[kind], content, rehearsal, meta)
        if dry_run or not rehearsal.new:
            return Report(told, ledger.last_position())
        try:
            return _stored(told, rehearsal.new, ledger, after)
        except Conflict as error:
            if error.code != "version_conflict":
                raise
    raise Busy("busy")


def template(kind: str, suffix: str) -> bytes:
    """Return an empty table of one of KINDS, as `csv`, or as `xlsx` with notes on a second sheet.

    Invalid("unknown_import") for another kind.
    """
    if kind not in KINDS:
        raise Invalid("unknown_import", kind=kind, kinds=", ".join(KINDS))
    columns = KINDS[kind].columns
    titles = [column.title for column in columns]
    if suffix == "csv":
        return sheets.csv_template(titles)
    notes = [["列", "column", "必填 required", "示例 example"]]
    for column in columns:
        required = "否 no" if column.optional else "是 yes"
        notes.append([column.zh, column.name, required, column.example])
    return sheets.xlsx_template(titles, notes)


def _stored(
    told: Sequence[Told], new: Sequence[Envelope], ledger: Ledger, after: After | None
) -> Report:
    def finish(cur: psycopg.Cursor[Any], position: int) -> None:
        if after is not None:
            after(cur, Report(told, position))

    return Report(told, ledger.append(new, after=finish))


def _rehearsed(kind: Kind, content: bytes, rehearsal: Rehearsal, meta: Meta) -> list[Told]:
    sheet = _Sheet(content, kind.columns)
    lines = list(sheet.lines)
    rehearsal.foresee({s for _, cells in lines for s in streams_of(sheet.named(cells or []))})
    told = []
    for line, cells in lines:
        before = len(rehearsal.new)
        try:
            kind.take(rehearsal, _read(kind.columns, sheet.row(cells)), meta.occurred_at)
        except DomainError as error:
            rehearsal.undo(before)
            wrong = message(error.code, sheet.facts(error))
            told.append(Told(line, "wrong", error.code, *wrong))
        else:
            told.append(_done(line, [envelope.event for envelope in rehearsal.new[before:]]))
    return told


def _done(line: int, events: Sequence[Event]) -> Told:
    if not events:
        return Told(line, "unchanged", "", "没有变化", "nothing changes")
    does = [(_DOES[type(event)], asdict(event)) for event in events if type(event) in _DOES]  # type: ignore[call-overload]  # every event is a dataclass
    zh, en = ([text[n].format(**facts) for text, facts in does] for n in (0, 1))
    return Told(line, "created", "", "；".join(zh), "; ".join(en))


class _Sheet:
    """The lines of a table below its header, and what that calls the columns."""

    def __init__(self, content: bytes, columns: Sequence[Column]) -> None:
        self.lines: Iterator[sheets.Line] = sheets.lines(content)
        _, header = next(self.lines, (1, []))
        if header is None:
            raise Invalid("bad_quote")
        titles = [title.rstrip(" *") for title in header]
        self._names = [_named(title, columns) for title in titles]
        self._titles = dict(zip(self._names, titles, strict=True))
        missing = [c for c in columns if not c.optional and c.name not in self._titles]
        if missing or len(self._titles) < len(titles):
            twice = [title for title in titles if titles.count(title) > 1]
            names = [f"{c.name} ({c.zh})" for c in missing]
            raise Invalid("bad_columns", columns=names or sorted(set(twice)) or titles)

    def row(self, cells: list[str] | None) -> dict[str, str]:
        """Return the cells of a row by column; Invalid for a broken row or one that is too long."""
        if cells is None:
            raise Invalid("bad_quote")
        if any(cells[len(self._names) :]):
            raise Invalid("surplus_cells", count=len(cells), columns=len(self._names))
        return self.named(cells)

    def named(self, cells: list[str]) -> dict[str, str]:
        """Return cells by column, as many as there are."""
        return dict(zip(self._names, cells, strict=False))

    def facts(self, error: DomainError) -> dict[str, object]:
        """Return the facts of an error, its column called as the file calls it."""
        field = error.facts.get("field")
        title = self._titles.get(field) if isinstance(field, str) else None
        return {**error.facts, "field": title} if title else dict(error.facts)


def _named(title: str, columns: Sequence[Column]) -> str:
    for column in columns:
        if column.named(title):
            return column.name
    raise Invalid("bad_columns", columns=title)


def _read(columns: Sequence[Column], cells: Mapping[str, str]) -> dict[str, Any]:
    """Return the filled cells of a line, read; Invalid for an empty or unreadable one."""
    row: dict[str, Any] = {}
    for column in columns:
        cell = cells.get(column.name, "")
        if not cell and not column.optional:
            raise Invalid("empty_cell", field=column.name)
        if isinstance(cell, sheets.Rounded):
            raise Invalid("rounded_number", field=column.name, value=cell)
        if cell:
            try:
                row[column.name] = column.read(cell)
            except ValueError:
                expected = EXPECTED[column.read]
                raise Invalid(
                    "bad_cell", field=column.name, value=cell, expected=expected
                ) from None
    return row
