"""What alerts mean for goods: the packs each affected, with their sums, and what people decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import class_row

from domain.alerting.events import (
    AffectedStockCleared,
    AffectedStockFound,
    AlertAmended,
    AlertClosedUnverified,
    AlertFired,
    AlertResolved,
    AlertWithdrawn,
    StockAssessed,
)
from domain.traceability.codes import code_key
from projections.projection import Projection
from projections.unfollowed import followed, recorded_after
from store.envelope import Meta, Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "alerting_stock.sql")

# The end of an alert that lasts, and of one that never was (ms).
LASTS, NEVER = 2**62, -1

_Ending = AlertResolved | AlertAmended | AlertWithdrawn | AlertClosedUnverified

Cursor = psycopg.Cursor[Any]
Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Sums:
    """Smallest packs of an alert by what became of them, and the doses that were left in them.

    `waiting`: held, and nobody has decided; `cleared`: found not to have been there, counted in no
    other sum but these.
    """

    units: int
    doses: int
    waiting: int
    released: int
    condemned: int
    cleared: int


@dataclass(frozen=True, slots=True)
class Total(Sums):
    """The sums of all lots."""

    lots: int


@dataclass(frozen=True, slots=True)
class Lot(Sums):
    """The sums of one lot; the id is empty for packs of which nobody said it."""

    lot_id: str
    product_id: str


@dataclass(frozen=True, slots=True)
class Unit:
    """A smallest pack, as it was when it was found; `reason`: why it is held."""

    code: str
    lot_id: str
    product_id: str
    doses: int
    found_at_site: str
    hold_id: str
    reason: str
    found_at: datetime
    cleared: bool
    decision: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """What people decided on some packs. `position`: where it stands in the ledger.

    `units`: of them, those found at the sites asked for. `still_held`: codes that were meant and
    that it did not free.
    """

    position: int
    alert_id: str
    assessed_at: datetime
    decision: str
    units: int
    method: str
    grounds: str
    decision_no: str
    executed_by: str
    supervised_by: str
    also: list[str]
    fact_ids: list[str]
    still_held: list[str]


def apply(cur: Cursor, batch: Sequence[Recorded]) -> None:
    """Take alerts with their ends, and what was found, cleared and decided."""
    for position, envelope in batch:
        match envelope.event:
            case AlertFired() as event:
                where = (event.alert_id, event.site_id, event.unit_id, event.device_id)
                cur.execute(queries.put_alert, (*where, LASTS, position))
            case (
                AlertResolved() | AlertAmended() | AlertWithdrawn() | AlertClosedUnverified()
            ) as event:
                cur.execute(queries.change_alert, (_end_ms(event), position, event.alert_id))
            case AffectedStockFound() as event:
                _put(cur, event)
            case AffectedStockCleared() as event:
                cur.execute(queries.clear, (event.alert_id, list(event.codes)))
            case StockAssessed() as event:
                _assess(cur, event, position, envelope.meta)


def _end_ms(event: _Ending) -> int:
    match event:
        case AlertWithdrawn():
            return NEVER
        case AlertClosedUnverified():
            ended: datetime | None = event.closed_at
        case _:
            ended = event.recovered_at or event.resolved_at
    return LASTS if ended is None else round(ended.timestamp() * 1000)


def _put(cur: Cursor, event: AffectedStockFound) -> None:
    for lot in event.lots:
        row = {
            "alert_id": event.alert_id,
            "lot_id": lot.lot_id,
            "product_id": event.product_id,
            "site_id": event.site_id,
            "hold_id": event.hold_id,
            "reason": event.reason,
            "found_at": event.found_at,
            "codes": list(lot.codes),
            "keys": [code_key(code) for code in lot.codes],
            "doses": list(lot.doses),
        }
        cur.execute(queries.put_units, row)


def _assess(cur: Cursor, event: StockAssessed, position: int, meta: Meta) -> None:
    alerts = [event.alert_id, *event.also]
    asked = {"decision": event.decision, "alerts": alerts, "codes": list(event.codes)}
    cur.execute(queries.decide, asked)
    row = {
        "position": position,
        "alert_id": event.alert_id,
        "assessed_at": meta.recorded_at,
        "decision": event.decision,
        "units": len(event.codes),
        "method": event.method,
        "grounds": event.grounds,
        "decision_no": event.decision_no,
        "executed_by": event.executed_by,
        "supervised_by": event.supervised_by,
        "also": list(event.also),
        "fact_ids": list(event.fact_ids),
        "still_held": list(event.still_held),
    }
    cur.execute(queries.put_assessment, row)
    cur.execute(queries.put_assessed, (position, event.alert_id, list(event.codes)))


PROJECTION = Projection(
    name="alerting_stock",
    version=2,
    topics=(
        AffectedStockCleared.TOPIC,
        AffectedStockFound.TOPIC,
        AlertAmended.TOPIC,
        AlertClosedUnverified.TOPIC,
        AlertFired.TOPIC,
        AlertResolved.TOPIC,
        AlertWithdrawn.TOPIC,
        StockAssessed.TOPIC,
    ),
    apply=apply,
    ddl=queries.ddl,
)


def total(conn: Connection, alert_id: str, sites: Sequence[str] | None = None) -> Total:
    """Return the sums of an alert, of packs that were found at some sites (None: at any)."""
    with conn.cursor(row_factory=class_row(Total)) as cur:
        asked = {"alert_id": alert_id, "sites": _listed(sites)}
        (found,) = cur.execute(queries.total, asked).fetchall()
    return found


def lots(
    conn: Connection,
    alert_id: str,
    *,
    sites: Sequence[str] | None = None,
    after: tuple[str, str] = ("", ""),
    limit: int,
) -> list[Lot]:
    """Return up to `limit` lots by lot and product, after such a pair."""
    asked = {"alert_id": alert_id, "sites": _listed(sites), "limit": limit}
    asked |= {"after_lot": after[0], "after_product": after[1]}
    with conn.cursor(row_factory=class_row(Lot)) as cur:
        return cur.execute(queries.lots, asked).fetchall()


def units(
    conn: Connection,
    alert_id: str,
    *,
    lot_id: str | None = None,
    sites: Sequence[str] | None = None,
    after: str = "",
    limit: int,
) -> list[Unit]:
    """Return up to `limit` smallest packs by code, after one, of a lot (None: of all)."""
    asked = {"alert_id": alert_id, "lot_id": lot_id, "sites": _listed(sites)}
    with conn.cursor(row_factory=class_row(Unit)) as cur:
        return cur.execute(queries.units, asked | {"after": after, "limit": limit}).fetchall()


def sites(conn: Connection, alert_id: str) -> list[str]:
    """Return the sites at which packs were found."""
    return [row[0] for row in conn.execute(queries.sites, (alert_id,))]


def assessments(
    conn: Connection, alert_id: str, sites: Sequence[str] | None = None
) -> list[Assessment]:
    """Return what people decided on packs found at some sites (None: at any), oldest first."""
    with conn.cursor(row_factory=class_row(Assessment)) as cur:
        asked = {"alert_id": alert_id, "sites": _listed(sites)}
        return cur.execute(queries.assessments, asked).fetchall()


def held_too(conn: Connection, alert_id: str, codes: Sequence[str]) -> list[str]:
    """Return the other alerts because of which some of these codes wait for a decision.

    As of now: also those that the read model does not have yet.
    """
    after = followed(conn, PROJECTION.follower)
    asked = {"keys": [code_key(code) for code in codes], "alert_id": alert_id}
    found = {row[0] for row in conn.execute(queries.held_too, asked)}
    named = set(codes)
    for recorded in recorded_after(conn, after, [AffectedStockFound.TOPIC], codes):
        event = recorded.envelope.event
        if isinstance(event, AffectedStockFound) and event.hold_id:
            told = {code for lot in event.lots for code in lot.codes}
            found |= set() if named.isdisjoint(told) else {event.alert_id}
    return sorted(found - {alert_id})


def _listed(sites: Sequence[str] | None) -> list[str] | None:
    return None if sites is None else list(sites)
