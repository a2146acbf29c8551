"""Silences as rows, and the clock that says of which alerts people are not told, and when again.

Whether a notice is held back is one function of the store (`held_back`), for silences, quiet hours,
maintenance orders, larger alerts and flapping alike. Whoever puts down who is told asks it, and
keeps a row for what nobody was told of; here the alert is said to be suppressed, and resumed when
nothing holds it back any more and it is still on: that is told. Both are decided on the alert's
streams and written with their notices, so a tick may come late, twice, or after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg.rows import class_row, tuple_row

from alerts import notices
from domain.alerting import model
from domain.alerting.silence_events import AlertResumed, SilenceCreated, SilenceEnded
from domain.alerting.silences import Span
from domain.shared.decide import fold
from domain.shared.errors import Conflict
from store.envelope import Envelope, Meta
from store.logs import Ledger
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "silences.sql")
log = structlog.get_logger(__name__)

# Alerts settled in one tick; the rest is due at the next.
SETTLED_MAX = 500
# Alerts that rouse people within so long are looked at before they do.
AHEAD = timedelta(minutes=1)
LOOK_AGAIN = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A silence as it stands; `daily_from`, `daily_to`: of quiet hours, minutes of the day."""

    silence_id: str
    region_code: str
    site_id: str
    unit_id: str
    kinds: list[str]
    begins_at: datetime
    ends_at: datetime
    daily_from: int | None
    daily_to: int | None
    stock_moved: bool
    reason: str
    made_by: str


def beside(cur: psycopg.Cursor[Any], wanted: SilenceCreated) -> list[Span]:
    """Return when others silence some of the same; nobody else puts one down meanwhile."""
    asked = {**asdict(wanted), "kinds": list(wanted.kinds)}
    with cur.connection.cursor(row_factory=tuple_row) as reading:
        reading.execute(queries.lock_silences)
        return reading.execute(queries.beside, asked).fetchall()


def keep(cur: psycopg.Cursor[Any], event: SilenceCreated | SilenceEnded) -> None:
    """Put down what an event says, in its transaction."""
    if isinstance(event, SilenceEnded):
        cur.execute(queries.end_silence, asdict(event))
        return
    daily_from, daily_to = event.daily or (None, None)
    daily = {"daily_from": daily_from, "daily_to": daily_to}
    cur.execute(queries.put_silence, {**asdict(event), **daily, "kinds": list(event.kinds)})


def one(conn: psycopg.Connection[Any], silence_id: str) -> Silence | None:
    """Return a silence, None when there is none."""
    with conn.cursor(row_factory=class_row(Silence)) as cur:
        return cur.execute(queries.silence, (silence_id,)).fetchone()


def listed(
    conn: psycopg.Connection[Any],
    *,
    region: str,
    site_id: str,
    over: bool,
    now: datetime,
    after: str,
    limit: int,
) -> list[Silence]:
    """Return up to `limit` silences of a region (a prefix of its code) by id; `over`: those too."""
    page = {"region": region, "site_id": site_id, "all": over, "now": now}
    with conn.cursor(row_factory=class_row(Silence)) as cur:
        asked = {**page, "after": after, "limit": limit}
        return cur.execute(queries.silences, asked).fetchall()


@dataclass(frozen=True, slots=True)
class _Due:
    """An alert to be looked at. `by`: why people are not told now; `held`: what they were not."""

    alert_id: str
    region_code: str
    severity: str
    by: str
    said: str
    held: Sequence[int]
    held_at: datetime | None
    until: datetime | None


class Silences:
    """Says what is suppressed and what is so no more. One thread uses it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._looked: datetime | None = None

    def tick(self, conn: psycopg.Connection[Any], now: datetime) -> int:
        """Say what has changed by `now`; return of how many alerts."""
        if self._looked is not None and self._looked <= now < self._looked + LOOK_AGAIN:
            return 0
        self._looked = now
        asked = {"now": now, "soon": now + AHEAD, "limit": SETTLED_MAX}
        try:
            found = conn.execute(queries.to_settle, asked).fetchall()
        except psycopg.errors.UndefinedTable:  # the read models are not built yet
            return 0
        return sum(self._settle(conn, _Due(*row), now) for row in found)

    def _settle(self, conn: psycopg.Connection[Any], due: _Due, now: datetime) -> int:
        history = self._ledger.together(model.streams_of(due.alert_id))
        resumed = [
            each.meta.recorded_at for each in history if isinstance(each.event, AlertResumed)
        ]
        # Who was told anew since was told of that as well.
        untold = due.held_at is not None and not any(at >= due.held_at for at in resumed)
        events = model.suppress(
            fold(model.evolve, None, (envelope.event for envelope in history)),
            by=due.by,
            until=due.until,
            untold=untold,
        )
        if not events:
            conn.execute(queries.settled, (list(due.held),))
            return 0
        stream = model.alert_stream(due.alert_id)
        version = sum(envelope.originator_id == stream for envelope in history)
        meta = Meta(
            occurred_at=now,
            recorded_at=now,
            region_code=due.region_code,
            causation_id=history[0].event_id,
            source="timer",
        )
        envelopes = [Envelope(stream, version + n, each, meta) for n, each in enumerate(events, 1)]
        told = [
            notices.notice(each, severity=due.severity, region_code=due.region_code)
            for each in envelopes
        ]

        def write(cur: psycopg.Cursor[Any]) -> None:
            cur.execute(queries.settled, (list(due.held),))
            notices.write(cur, told)

        try:
            self._ledger.append(envelopes, before=write)
        except Conflict:  # somebody came in between: the next tick decides on what stands then
            log.info("silence_raced", alert_id=due.alert_id)
            return 0
        log.info(
            "alert_suppressed" if due.by else "alert_resumed", alert_id=due.alert_id, by=due.by
        )
        return 1
