"""Read model of oversight: inspections with what was read under them, legal holds on lots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row

from domain.oversight.events import (
    InspectionEnded,
    InspectionOpened,
    InspectionRead,
    LegalHoldLifted,
    LegalHoldPlaced,
)
from domain.shared.events import Event
from projections.projection import Projection
from store.envelope import Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "oversight.sql")

FOR_EVER = date(9999, 12, 31)


@dataclass(frozen=True, slots=True)
class Inspection:
    """An inspection; it is in force until `valid_until`, or `ended_at` where that is told."""

    inspection_id: str
    key_id: str
    case_no: str
    region_code: str
    lot_ids: list[str]
    opened_at: datetime
    valid_until: datetime
    ended_at: datetime | None
    opened_by: str
    grounds: str
    version: int


@dataclass(frozen=True, slots=True)
class Read:
    """An answer given under an inspection, at its position in the ledger."""

    position: int
    read_at: datetime
    path: str
    query: str
    as_of: str
    sha256: str


@dataclass(frozen=True, slots=True)
class LegalHold:
    """A hold of a case on a lot, `lifted_at` None while it holds."""

    lot_id: str
    case_no: str
    grounds: str
    placed_at: datetime
    placed_by: str
    lifted_at: datetime | None
    lifting_grounds: str
    position: int


_PUT: dict[type[Event], LiteralString] = {
    InspectionOpened: queries.put_inspection,
    InspectionEnded: queries.end_inspection,
    InspectionRead: queries.put_read,
    LegalHoldPlaced: queries.put_hold,
    LegalHoldLifted: queries.lift_hold,
}


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take inspections, reads and legal holds into the tables."""
    for position, envelope in batch:
        event: Any = envelope.event
        told = asdict(event) | {
            "at": envelope.meta.recorded_at,
            "by": envelope.meta.actor_id,
            "version": envelope.originator_version,
            "position": position,
        }
        if "lot_ids" in told:
            told["lot_ids"] = list(event.lot_ids)
        cur.execute(_PUT[type(event)], told)


PROJECTION = Projection(
    name="oversight",
    version=2,
    topics=tuple(kind.TOPIC for kind in _PUT),
    apply=apply,
    ddl=queries.ddl,
)


def inspections(
    conn: psycopg.Connection[Any], *, region: str = "", after: str = "", limit: int
) -> list[Inspection]:
    """Return up to `limit` inspections of a region (a prefix of its code) by id, after one."""
    with conn.cursor(row_factory=class_row(Inspection)) as cur:
        page = {"region": region, "after": after, "limit": limit}
        return cur.execute(queries.inspections, page).fetchall()


def inspection(conn: psycopg.Connection[Any], inspection_id: str) -> Inspection | None:
    """Return one inspection."""
    with conn.cursor(row_factory=class_row(Inspection)) as cur:
        return cur.execute(queries.inspection, (inspection_id,)).fetchone()


def reads(
    conn: psycopg.Connection[Any], inspection_id: str, *, after: int = 0, limit: int
) -> list[Read]:
    """Return up to `limit` answers given under an inspection by position, after one."""
    with conn.cursor(row_factory=class_row(Read)) as cur:
        page = {"inspection_id": inspection_id, "after": after, "limit": limit}
        return cur.execute(queries.reads, page).fetchall()


def legal_holds(
    conn: psycopg.Connection[Any],
    *,
    after: tuple[str, str, int] = ("", "", 0),
    limit: int,
) -> list[LegalHold]:
    """Return up to `limit` legal holds, lifted ones too, by lot, case and order, after that key."""
    with conn.cursor(row_factory=class_row(LegalHold)) as cur:
        page = {"lot_id": after[0], "case_no": after[1], "position": after[2], "limit": limit}
        return cur.execute(queries.legal_holds, page).fetchall()


def days_of_lot(conn: psycopg.Connection[Any], lot_id: str) -> tuple[date, date] | None:
    """Return the first and last day (UTC) that the chain of a lot needs, None without any fact.

    The last is FOR_EVER while a pack of it is neither used up nor destroyed.
    """
    row: Any = conn.execute(queries.days_of_lot, {"lot": lot_id}).fetchone()
    first, last, alive = row
    return None if first is None else (first, FOR_EVER if alive else last)
