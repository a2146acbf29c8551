"""Outbox rows: what must be told, written in the transaction of the event that says so.

Ingest, the escalation tick and the API write them; `outbox.py` expands and sends them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from domain.alerting.events import (
    AlertAcknowledged,
    AlertAmended,
    AlertClosedUnverified,
    AlertEscalated,
    AlertFired,
    AlertResolved,
    AlertWithdrawn,
    ConditionEnded,
    ConditionRaised,
)
from domain.alerting.model import REMOVED
from domain.alerting.silence_events import AlertResumed, AlertSuppressed
from domain.shared.events import Event
from store.envelope import Envelope
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "notices.sql")

# Reports of adverse events that gather on a lot: told at once, as an alert that fires.
AEFI_CLUSTER = "aefi_cluster"
# A lot was recalled: told to every place that holds some of it.
RECALLED = "recalled"
# People past the end of their observation whom nobody has let go.
OBSERVATION_OVERDUE = "observation_overdue"
# Goods that an alert affected: more is known of them; they are held where nobody was told of it.
STOCK, STOCK_HERE = "stock", "stock_here"
# A trial of a whole chain, no alert; sites whose alerts reach too few people at once.
TRIAL_CALL, UNDERSTAFFED = "trial_call", "understaffed"
# Goods whose history passed a limit by readings that came late: told to whoever holds them now.
EXPOSURE_REVISED = "exposure_revised"

KINDS: dict[type[Event], str] = {
    AlertFired: "fired",
    AlertEscalated: "escalated",
    AlertAmended: "amended",
    AlertResolved: "resolved",
    AlertWithdrawn: "withdrawn",
    AlertClosedUnverified: "closed",
    AlertAcknowledged: "acknowledged",
    AlertSuppressed: "suppressed",
    AlertResumed: "resumed",
    ConditionRaised: "fired",
    ConditionEnded: "resolved",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One row of the outbox. `payload` holds the event's fields; times are RFC 3339 text."""

    key: str
    alert_id: str
    kind: str
    level: int
    severity: str
    region_code: str
    payload: dict[str, Any]
    created_at: datetime


def notice(envelope: Envelope, *, severity: str, region_code: str) -> Notice:
    """Return the row for an alert event. KeyError for an event that nobody is told of.

    The key follows from the event's place in its stream, so the same event is one row for ever.
    `severity` and `region_code` are those of the alert: later events do not repeat them.
    """
    event = envelope.event
    kind = KINDS[type(event)]
    if isinstance(event, ConditionEnded) and event.cause == REMOVED:
        kind = "closed"  # nobody saw it recover
    payload: dict[str, Any] = msgspec.to_builtins(event)
    alert_id = str(payload["alert_id"])
    return Notice(
        key=f"{alert_id}:{kind}:{envelope.originator_version}",
        alert_id=alert_id,
        kind=kind,
        level=event.level if isinstance(event, AlertEscalated | AlertResumed) else 0,
        severity=severity,
        region_code=region_code,
        payload=payload,
        created_at=envelope.meta.recorded_at,
    )


def untold(conn: psycopg.Connection[Any], wanted: Iterable[Notice]) -> list[Notice]:
    """Return those that are not in the outbox yet."""
    by_key = {notice.key: notice for notice in wanted}
    for (key,) in conn.execute(queries.told, (list(by_key),)):
        del by_key[key]
    return list(by_key.values())


def write(cur: psycopg.Cursor[Any], notices: Sequence[Notice]) -> None:
    """Insert rows and wake the sender when the transaction commits; a known key changes nothing."""
    if notices:
        cur.executemany(queries.insert_outbox, [_values(row) for row in notices])


def _values(row: Notice) -> tuple[object, ...]:
    """Return the columns in the order of `insert_outbox`."""
    return (
        row.key,
        row.alert_id,
        row.kind,
        row.level,
        row.severity,
        row.region_code,
        msgspec.json.encode(row.payload).decode(),
        row.created_at,
    )
