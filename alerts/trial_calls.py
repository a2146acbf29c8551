"""Trial calls: everybody in the chain of a place is told, as of an alert, that this is a test.

By hand for a region or one site; by the clock once a month for each city that somebody is on duty
for. A call is one notice that names its people, so it takes the way of every alert: contacts in
their order, fall-back, evidence. Systems and groups get none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import class_row

from alerts import people
from alerts.messages import SHANGHAI
from alerts.notices import TRIAL_CALL, Notice, write
from domain.alerting import duty
from domain.alerting.duty_events import PersonReached, TrialCallMade, TrialCallReported
from domain.shared.decide import decide
from domain.shared.errors import Conflict
from domain.shared.ids import region_prefix, stream_id
from store.commands import Command, execute
from store.envelope import Meta
from store.logs import Ledger
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "trial_calls.sql")

LOOK_AGAIN = timedelta(seconds=10)
# By the clock from this hour of the first day of a month on, Asia/Shanghai; not at night.
FROM_H, TO_H = 10, 17
TIMER = "timer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A trial call. `reported_at`: None until its report is in the ledger."""

    call_id: str
    alert_id: str
    region_code: str
    site_id: str
    made_at: datetime
    made_by: str
    person_ids: list[str]
    reported_at: datetime | None


def wanted(
    conn: psycopg.Connection[Any], *, call_id: str, region_code: str, site_id: str, now: datetime
) -> TrialCallMade:
    """Return the call of everybody who is in the chain of a place now."""
    place = {"region_code": region_code, "site_id": site_id, "now": now}
    found = conn.execute(queries.in_chain, {**place, "prefix": region_prefix(region_code)})
    return TrialCallMade(
        call_id=call_id,
        alert_id=str(stream_id("alerting.trial_alert", call_id)),
        region_code=region_code,
        site_id=site_id,
        person_ids=tuple(row[0] for row in found),
    )


def put_down(cur: psycopg.Cursor[Any], call: TrialCallMade, *, by: str, now: datetime) -> None:
    """Keep a call and tell its people, in the transaction of its event."""
    payload: dict[str, Any] = {**asdict(call), "started_at": now.isoformat()}
    values = {**asdict(call), "person_ids": list(call.person_ids), "made_at": now, "made_by": by}
    cur.execute(queries.put_call, values)
    notice = Notice(
        key=f"{call.alert_id}:{TRIAL_CALL}:1",
        alert_id=call.alert_id,
        kind=TRIAL_CALL,
        level=0,
        severity="major",  # what waits for nothing; its words name no severity
        region_code=call.region_code,
        payload=payload,
        created_at=now,
    )
    write(cur, [notice])


def one(conn: psycopg.Connection[Any], call_id: str) -> Call | None:
    """Return a call, None when there is none."""
    with conn.cursor(row_factory=class_row(Call)) as cur:
        return cur.execute(queries.call, (call_id,)).fetchone()


def listed(
    conn: psycopg.Connection[Any], *, region: str, before: tuple[datetime, str] | None, limit: int
) -> list[Call]:
    """Return up to `limit` calls of a region, the newest first; `before`: the last one seen."""
    made_at, call_id = before or (None, None)
    page = {"region": region, "made_at": made_at, "call_id": call_id, "limit": limit}
    with conn.cursor(row_factory=class_row(Call)) as cur:
        return cur.execute(queries.calls, page).fetchall()


class TrialCalls:
    """Calls once a month, and reports every call once. One thread uses it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._looked: datetime | None = None
        self._made: set[str] = set()

    def tick(self, conn: psycopg.Connection[Any], now: datetime) -> int:
        """Make the calls and the reports that are due; return how many."""
        if self._looked is not None and self._looked <= now < self._looked + LOOK_AGAIN:
            return 0
        self._looked = now
        return self._monthly(conn, now) + self._report(conn, now)

    def _monthly(self, conn: psycopg.Connection[Any], now: datetime) -> int:
        local = now.astimezone(SHANGHAI)
        if not FROM_H <= local.hour < TO_H:
            return 0
        made = 0
        for (city,) in conn.execute(queries.cities, {"now": now}).fetchall():
            call_id = f"{local:%Y-%m}-{city}"
            if call_id not in self._made and not self._ledger.stream(duty.call_stream(call_id)):
                made += self._call(conn, call_id, city, now)
            self._made.add(call_id)
        return made

    def _call(self, conn: psycopg.Connection[Any], call_id: str, city: str, now: datetime) -> int:
        call = wanted(conn, call_id=call_id, region_code=city, site_id="", now=now)
        command = Command(
            duty.call_stream(call_id),
            decide(duty.evolve_call, None, duty.call, wanted=call),
            Meta(occurred_at=now, recorded_at=now, region_code=city, source=TIMER),
            before=lambda cur: put_down(cur, call, by=TIMER, now=now),
        )
        try:
            return len(execute(self._ledger, command).events)
        except Conflict:  # somebody else was quicker
            return 0

    def _report(self, conn: psycopg.Connection[Any], now: datetime) -> int:
        told = 0
        for call_id, alert_id, region_code, made_at in conn.execute(queries.unreported).fetchall():
            command = Command(
                duty.call_stream(call_id),
                decide(
                    duty.evolve_call,
                    None,
                    duty.report,
                    reached=reached(people.evidence(conn, alert_id), made_at),
                    made_at=made_at,
                    now=now,
                ),
                Meta(occurred_at=now, recorded_at=now, region_code=region_code, source=TIMER),
                before=partial(_reported, call_id=call_id, now=now),
            )
            told += len(execute(self._ledger, command).events)
        return told


def _reported(cur: psycopg.Cursor[Any], *, call_id: str, now: datetime) -> None:
    cur.execute(queries.reported, (now, call_id))


def reached(told: Sequence[people.Told], made_at: datetime) -> list[PersonReached]:
    """Return who was reached, by which channel first, after how many seconds."""
    return [
        PersonReached(
            person_id=one.person_id,
            channel=one.accepted_by,
            seconds=round((one.accepted_at - made_at).total_seconds(), 3),
        )
        for one in told
        if one.accepted_at is not None
    ]


def report_of(ledger: Ledger, call_id: str) -> TrialCallReported | None:
    """Return the report of a call, None before there is one."""
    last = [envelope.event for envelope in ledger.stream(duty.call_stream(call_id))][-1:]
    return last[0] if last and isinstance(last[0], TrialCallReported) else None
