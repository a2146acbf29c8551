"""The alert inbox: every alert as it stands now, with when its next level is due; and rule sets.

An alert is folded from two streams, the engine's episode and what people and timers did about it,
in the order in which they were stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg.rows import class_row

from domain.alerting.events import (
    AlertAcknowledged,
    AlertAmended,
    AlertClosed,
    AlertClosedUnverified,
    AlertClosingProposed,
    AlertEscalated,
    AlertFired,
    AlertResolved,
    AlertWithdrawn,
    ConditionEnded,
    ConditionRaised,
    RuleSetPublished,
)
from domain.alerting.model import RECOVERED, AlertAct, AlertEvent, Status
from domain.alerting.rules import ACKNOWLEDGED_FOR_MIN, ESCALATION, HISTORY_AFTER
from domain.alerting.silence_events import AlertResumed, AlertSuppressed
from domain.alerting.watch import to_ms
from projections.projection import Projection
from projections.unfollowed import followed, recorded_after
from store.envelope import Envelope, Meta, Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "alerting.sql")

# Beside the domain's: firing, and somebody has taken it on.
ACKNOWLEDGED = "acknowledged"
# The kind of an alert by a threshold; others are conditions of equipment (`conditions.Kind`).
TEMPERATURE = "temperature"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """An alert in the inbox. Temperatures in °C; times of readings are the device's.

    A condition of equipment has no side, limit, value and peak; its `rule_id` is its kind, `detail`
    JSON of its figures. `silenced_by`: why people are not told of it (a silence, a maintenance
    order, a larger alert, the one before it that was alike), `silenced_until`: None where nobody
    knows.
    detected_at: when this store learned of it. level: the highest step of escalation told.
    due_at: when that step was due; escalate_at: when the next one is, None when none is.
    closing_by: who proposed to close a critical alert; disposition: what it came to, they say.
    version: of the stream of people's acts. pos: ledger position of the newest event.
    """

    alert_id: str
    device_id: str
    channel: str
    unit_id: str
    site_id: str
    region_code: str
    rule_id: str
    rule_version: int
    severity: str
    side: str
    limit_c: float | None
    started_at: datetime
    fired_at: datetime
    detected_at: datetime
    late: bool
    value_c: float | None
    peak_c: float | None
    recovered_at: datetime | None = None
    resolved_at: datetime | None = None
    cause: str = ""
    state: str = Status.FIRING
    acknowledged_by: str = ""
    acknowledged_role: str = ""
    acknowledged_at: datetime | None = None
    comment: str = ""
    level: int = 0
    due_at: datetime
    escalate_at: datetime | None = None
    version: int = 0
    pos: int = 0
    kind: str = TEMPERATURE
    subject_kind: str = "probe"
    subject_id: str
    detail: str = "{}"
    silenced_by: str = ""
    silenced_until: datetime | None = None
    disposition: str = ""
    closing_by: str = ""
    closed_by: str = ""
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RuleSet:
    """One version of the rules of a storage profile, in force from `effective_from`."""

    profile_id: str
    version: int
    effective_from: datetime
    rules: list[dict[str, Any]]


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take events of both streams and published rules into the tables."""
    ids = {
        event.alert_id for _, envelope in batch if isinstance(event := envelope.event, AlertEvent)
    }
    rows = {row.alert_id: row for row in _touched(cur, ids)}
    for position, envelope in batch:
        event = envelope.event
        if isinstance(event, RuleSetPublished):
            rules = msgspec.json.encode(event.rules).decode()
            key = (event.profile_id, event.version)
            cur.execute(queries.put_rule_set, (*key, event.effective_from, rules))
        elif isinstance(event, AlertEvent):
            row = evolve(rows.get(event.alert_id), envelope)
            rows[event.alert_id] = replace(row, pos=position)
    cur.executemany(queries.put_alert, [asdict(row) for row in rows.values()])


def _touched(cur: psycopg.Cursor[Any], ids: Iterable[str]) -> list[AlertRow]:
    with cur.connection.cursor(row_factory=class_row(AlertRow)) as reading:
        return reading.execute(queries.touched, (sorted(ids),)).fetchall()


def evolve(row: AlertRow | None, envelope: Envelope) -> AlertRow:
    """Return the alert after one more event of either stream. ValueError when it never fired."""
    event = envelope.event
    if isinstance(event, AlertFired):
        return _timed(_fired(event, envelope.meta))
    if isinstance(event, ConditionRaised):
        return _timed(_raised(row, event, envelope.meta))
    if row is None:
        raise ValueError(f"{event.TOPIC} of an alert that never fired")
    if isinstance(event, AlertAct):
        acted = _acted(row, event, envelope.meta)
        return _timed(replace(acted, version=envelope.originator_version))
    return _timed(_found(row, event))


def folded(envelopes: Iterable[Envelope]) -> AlertRow | None:
    """Return the alert of the events of both its streams, as they were stored."""
    row: AlertRow | None = None
    for envelope in envelopes:
        row = evolve(row, envelope)
    return row


def _fired(event: AlertFired, meta: Meta) -> AlertRow:
    same = {field.name: getattr(event, field.name) for field in fields(event)}
    probe = f"{event.device_id}/{event.channel}"
    at = meta.recorded_at
    return AlertRow(**same, detected_at=at, due_at=at, subject_id=probe)


def _raised(row: AlertRow | None, event: ConditionRaised, meta: Meta) -> AlertRow:
    """Return the alert of a condition; of one told before, as it begins anew."""
    of_device = event.subject_kind == "device"
    device_id, _, channel = event.subject_id.partition("/") if of_device else ("", "", "")
    same = {field.name: getattr(event, field.name) for field in fields(event)}
    return AlertRow(
        **same,
        device_id=device_id,
        channel=channel,
        rule_id=event.kind,
        rule_version=0,
        side="",
        limit_c=None,
        late=False,
        value_c=None,
        peak_c=None,
        detected_at=row.detected_at if row else meta.recorded_at,
        due_at=meta.recorded_at,
        version=row.version if row else 0,
    )


def _found(row: AlertRow, event: object) -> AlertRow:
    """Return the alert after what the engine found since."""
    match event:
        case AlertResolved():
            return replace(
                row,
                recovered_at=event.recovered_at,
                resolved_at=event.resolved_at,
                peak_c=event.peak_c,
                state=Status.RESOLVED,
            )
        case AlertClosedUnverified():
            return replace(
                row,
                resolved_at=event.closed_at,
                peak_c=event.peak_c,
                cause=event.reason,
                state=Status.CLOSED_UNVERIFIED,
            )
        case AlertWithdrawn():
            return replace(row, cause=event.cause, state=Status.WITHDRAWN)
        case AlertAmended():
            return _amended(row, event)
        case ConditionEnded():
            known = event.cause == RECOVERED
            return replace(
                row,
                recovered_at=event.ended_at if known else None,
                resolved_at=event.ended_at,
                cause="" if known else event.cause,
                state=Status.RESOLVED if known else Status.CLOSED_UNVERIFIED,
            )
        case _:
            raise ValueError(f"not an event of an episode: {event}")


def _amended(row: AlertRow, event: AlertAmended) -> AlertRow:
    if event.resolved_at is not None:
        state: str = Status.CLOSED_UNVERIFIED if event.recovered_at is None else Status.RESOLVED
        state = Status.CLOSED if row.closed_at else state
    else:
        state = Status.FIRING if row.acknowledged_at is None else ACKNOWLEDGED
        row = replace(row, disposition="", closing_by="", closed_by="", closed_at=None)
    return replace(
        row,
        started_at=event.started_at,
        fired_at=event.fired_at,
        peak_c=event.peak_c,
        recovered_at=event.recovered_at,
        resolved_at=event.resolved_at,
        cause=event.cause,
        state=state,
    )


def _acted(row: AlertRow, event: AlertAct, meta: Meta) -> AlertRow:
    """Return the alert after what people and timers did about it."""
    if isinstance(event, AlertClosingProposed):
        return replace(row, disposition=event.disposition, closing_by=event.actor_id)
    if isinstance(event, AlertClosed):
        row = replace(row, disposition=event.disposition, state=Status.CLOSED)
        return replace(row, closed_by=event.actor_id, closed_at=meta.recorded_at)
    if isinstance(event, AlertAcknowledged):
        return replace(
            row,
            acknowledged_by=event.actor_id,
            acknowledged_role=event.actor_role,
            acknowledged_at=meta.recorded_at,
            comment=event.comment,
            state=ACKNOWLEDGED if row.state == Status.FIRING else row.state,
        )
    if isinstance(event, AlertSuppressed):
        return replace(row, silenced_by=event.by, silenced_until=event.until)
    if isinstance(event, AlertResumed):
        return replace(row, silenced_by="", silenced_until=None, due_at=meta.recorded_at)
    return replace(
        row,
        level=max(row.level, event.level),
        due_at=event.due_at,
        acknowledged_at=None,  # it has lapsed, or escalation would not have gone on
        state=Status.FIRING if row.state == ACKNOWLEDGED else row.state,
    )


def _timed(row: AlertRow) -> AlertRow:
    return replace(row, escalate_at=_next_due(row))


def _next_due(row: AlertRow) -> datetime | None:
    """Return when the next level is due: its distance from the present one, after that was due."""
    steps = ESCALATION[row.severity]
    after = steps.due_after_min(row.level + 1)
    if row.state not in (Status.FIRING, ACKNOWLEDGED) or after is None:
        return None
    history = row.level == 0 and row.detected_at - row.fired_at > HISTORY_AFTER
    if history or row.silenced_by:
        return None
    before = steps.due_after_min(row.level) or 0 if row.level else 0
    due_at = row.due_at + timedelta(minutes=after - before)
    if row.acknowledged_at is None:
        return due_at
    held = ACKNOWLEDGED_FOR_MIN.get(row.severity)
    return max(due_at, row.acknowledged_at + timedelta(minutes=held)) if held else None


PROJECTION = Projection(
    name="alerting",
    version=7,
    topics=(
        AlertAcknowledged.TOPIC,
        AlertAmended.TOPIC,
        AlertClosed.TOPIC,
        AlertClosedUnverified.TOPIC,
        AlertClosingProposed.TOPIC,
        AlertEscalated.TOPIC,
        AlertFired.TOPIC,
        AlertResolved.TOPIC,
        AlertResumed.TOPIC,
        AlertSuppressed.TOPIC,
        AlertWithdrawn.TOPIC,
        ConditionEnded.TOPIC,
        ConditionRaised.TOPIC,
        RuleSetPublished.TOPIC,
    ),
    apply=apply,
    ddl=queries.ddl,
)


def alerts(
    conn: psycopg.Connection[Any],
    *,
    region: str = "",
    state: str | None = None,
    site_id: str | None = None,
    severity: str | None = None,
    kind: str | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int,
) -> list[AlertRow]:
    """Return up to `limit` alerts of a region (a prefix of its code), the newest first.

    The peak of an open alert is that of its readings so far. `before`: (fired_at, alert_id) of the
    last alert of the page before.
    """
    fired_at, alert_id = before or (None, None)
    asked = {"region": region, "state": state, "site_id": site_id, "severity": severity}
    asked["kind"] = kind
    page = {"fired_at": fired_at, "alert_id": alert_id, "limit": limit}
    with conn.cursor(row_factory=class_row(AlertRow)) as cur:
        return _with_peaks(conn, cur.execute(queries.alerts, {**asked, **page}).fetchall())


def alert(conn: psycopg.Connection[Any], alert_id: str) -> AlertRow | None:
    """Return one alert, None when there is none; an open one with its peak so far."""
    with conn.cursor(row_factory=class_row(AlertRow)) as cur:
        found = _with_peaks(conn, cur.execute(queries.alert, (alert_id,)).fetchall())
    return found[0] if found else None


def changed(conn: psycopg.Connection[Any], *, after: int, limit: int) -> list[AlertRow]:
    """Return up to `limit` alerts that changed after a ledger position, by that of their change."""
    with conn.cursor(row_factory=class_row(AlertRow)) as cur:
        return _with_peaks(conn, cur.execute(queries.changed, (after, limit)).fetchall())


def _with_peaks(conn: psycopg.Connection[Any], rows: list[AlertRow]) -> list[AlertRow]:
    """Give open alerts the peak that the engine keeps with the probe: events tell it at the end."""
    open_ids = [row.alert_id for row in rows if row.resolved_at is None]
    if not open_ids:
        return rows
    peaks = dict(conn.execute(queries.peaks_so_far, (open_ids,)).fetchall())
    return [replace(row, peak_c=peaks.get(row.alert_id, row.peak_c)) for row in rows]


def excursions(
    conn: psycopg.Connection[Any], unit_ids: Sequence[str]
) -> list[tuple[str, str, datetime, datetime | None]]:
    """Return unit, severity, begin and end (None = it lasts) of every excursion of these units.

    As of now: of those that the read model does not have yet, the ledger tells.
    """
    after = followed(conn, PROJECTION.follower)
    found = conn.execute(queries.excursions, (list(unit_ids),)).fetchall()
    fired = [
        each.envelope.event
        for each in recorded_after(conn, after, [AlertFired.TOPIC], unit_ids)
        if isinstance(each.envelope.event, AlertFired)
    ]
    names = [event.alert_id for event in fired]
    gone = {
        each.envelope.event.alert_id
        for each in recorded_after(conn, after, [AlertWithdrawn.TOPIC], names)
        if isinstance(each.envelope.event, AlertWithdrawn)
    }
    return found + [
        (event.unit_id, event.severity, event.started_at, None)
        for event in fired
        if event.alert_id not in gone
    ]


def due(conn: psycopg.Connection[Any], now: datetime, *, limit: int) -> list[str]:
    """Return up to `limit` ids of alerts whose next level is due by `now`, longest due first."""
    return [row[0] for row in conn.execute(queries.due, (now, limit)).fetchall()]


def lasting(conn: psycopg.Connection[Any], now: datetime, *, limit: int) -> list[str]:
    """Return alerts that were found as history, that nobody was told of, and that last to this day.

    Up to `limit` ids, the oldest first: of those the probe's newest reading is of the last day.
    """
    since_ms = to_ms(now - HISTORY_AFTER)
    asked = {"history_after": HISTORY_AFTER, "since_ms": since_ms, "limit": limit}
    return [row[0] for row in conn.execute(queries.lasting, asked).fetchall()]


def rule_sets(
    conn: psycopg.Connection[Any], *, after: tuple[str, int] = ("", 0), limit: int
) -> list[RuleSet]:
    """Return up to `limit` versions of rules by (profile, version), after such a pair."""
    page = {"profile_id": after[0], "version": after[1], "limit": limit}
    with conn.cursor(row_factory=class_row(RuleSet)) as cur:
        return cur.execute(queries.rule_sets, page).fetchall()
