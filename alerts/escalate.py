"""Escalation: when nobody takes an alert on in time, the next level is told.

Due times stand in the inbox (a read model); what is decided is decided on the streams themselves.
So a tick may come late, twice, or after a restart: each level of an alert is told once.

What fired more than a day before it was found is history and rouses nobody. But a logger that was
out of reach and sends its memory in order tells the beginning first, and so does a probe that is
put down late: an alert that lasts when the readings have come to the last day is told to level 1,
whose people are those of level 0 too, and escalates from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import structlog

from alerts import notices, people
from domain.alerting import model
from domain.alerting.events import AlertEscalated
from domain.alerting.rules import ESCALATION
from domain.shared.decide import fold
from domain.shared.errors import Conflict
from projections import alerting
from store.envelope import Envelope, Meta
from store.logs import Ledger
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "escalate.sql")
log = structlog.get_logger(__name__)

# Alerts looked at in one tick; the rest is due at the next.
DUE_MAX = 500
# Levels of one alert told in one tick: after a long standstill the rest follows at the next.
LEVELS_MAX = 16
# Between two looks for what was found as history and lasts.
LOOK_AGAIN = timedelta(minutes=1)
# Seconds of real time a tick of a stepped clock waits for the inbox, and between two looks.
INBOX_WAIT_S = 2.0
INBOX_STEP_S = 0.005


class Escalator:
    """Ticks while it leads: tells who is on duty then, up to the level due. One thread uses it."""

    def __init__(self, ledger: Ledger, conn: psycopg.Connection[Any]) -> None:
        """`conn` is in autocommit mode; its session holds the lead."""
        self._ledger = ledger
        self._conn = conn
        self._leads = False
        self._looked: datetime | None = None  # for what lasts

    def leads(self) -> bool:
        """Take the lead where nobody has it; True while this process has it."""
        if not self._leads:
            row = self._conn.execute(queries.try_lead).fetchone()
            self._leads = bool(row and row[0])
        return self._leads

    def tick(self, now: datetime) -> int:
        """Tell levels due by `now`; 0 when none was left but what the inbox does not show yet.

        Otherwise how many were told; a level that somebody came in between counts as one too.
        """
        try:
            found = alerting.due(self._conn, now, limit=DUE_MAX)
            lasting = self._lasting(now)
        except psycopg.errors.UndefinedTable:  # the read models are not built yet
            return 0
        told = sum(self._escalate(alert_id, now) for alert_id in found)
        return told + sum(self._escalate(alert_id, now, due_at=now) for alert_id in lasting)

    def wait_for_inbox(self, stop: threading.Event) -> bool:
        """Wait until the inbox shows every alert event of the ledger; False: not within 2 s."""
        projection = alerting.PROJECTION
        asked = (list(projection.topics), projection.follower)
        until = time.monotonic() + INBOX_WAIT_S
        while time.monotonic() < until and not stop.wait(INBOX_STEP_S):
            row = self._conn.execute(queries.unseen, asked).fetchone()
            if row is None or not row[0]:
                return True
        return False

    def _lasting(self, now: datetime) -> list[str]:
        """Return what was found as history and lasts to this day; looked for once a minute."""
        if self._looked is not None and self._looked <= now < self._looked + LOOK_AGAIN:
            return []
        self._looked = now
        return alerting.lasting(self._conn, now, limit=DUE_MAX)

    def _escalate(self, alert_id: str, now: datetime, due_at: datetime | None = None) -> int:
        told = 0
        try:
            while told < LEVELS_MAX and self._next_level(alert_id, now, due_at):
                told, due_at = told + 1, None
        except Conflict:
            # A person was quicker: the next tick decides on what stands then.
            log.info("escalation_raced", alert_id=alert_id)
            told += 1
        return told

    def _next_level(self, alert_id: str, now: datetime, due_at: datetime | None) -> bool:
        """Tell one level of an alert; False when none is due on what the streams say now.

        `due_at`: when it is due if that does not follow from the alert.
        """
        history = self._ledger.together(model.streams_of(alert_id))
        row = alerting.folded(history)
        if row is not None and due_at is None:
            due_at = row.escalate_at
        if row is None or due_at is None or due_at > now:
            return False
        level, due_at = _newest(row, due_at, now)
        events = model.escalate(
            fold(model.evolve, None, (envelope.event for envelope in history)),
            level=level,
            due_at=due_at,
            lapsed=row.acknowledged_at is not None,
            person_ids=people.told_at(
                self._conn,
                region_code=row.region_code,
                site_id=row.site_id,
                severity=row.severity,
                level=level,
                at=now,
            ),
        )
        meta = Meta(
            occurred_at=now,
            recorded_at=now,
            region_code=row.region_code,
            causation_id=history[0].event_id,
            source="timer",
        )
        stream = model.alert_stream(alert_id)
        version = sum(envelope.originator_id == stream for envelope in history)
        envelopes = [
            Envelope(stream, version + n, event, meta) for n, event in enumerate(events, start=1)
        ]
        self._append(envelopes, row)
        return bool(envelopes)

    def _append(self, envelopes: Sequence[Envelope], row: alerting.AlertRow) -> None:
        rows = [
            notices.notice(envelope, severity=row.severity, region_code=row.region_code)
            for envelope in envelopes
        ]
        self._ledger.append(envelopes, before=lambda cur: notices.write(cur, rows))
        for envelope in envelopes:
            if isinstance(envelope.event, AlertEscalated):
                log.info("alert_escalated", alert_id=row.alert_id, level=envelope.event.level)


def _newest(row: alerting.AlertRow, due_at: datetime, now: datetime) -> tuple[int, datetime]:
    """Return the level to tell, and when it was due: of repetitions never told, the newest one.

    Each level is told once, however late; but nobody is told the same many times at once.
    """
    steps, level = ESCALATION[row.severity], row.level + 1
    if level <= len(steps.after_min) or steps.repeat_min is None:
        return level, due_at
    repeat = timedelta(minutes=steps.repeat_min)
    missed = (now - due_at) // repeat
    return level + missed, due_at + missed * repeat
