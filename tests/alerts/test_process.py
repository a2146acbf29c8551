"""The alert process as a whole: woken by the outbox, ticking by the clock, ending cleanly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest

from alerts import escalate, main
from alerts.channels.email import Smtp
from alerts.channels.offered import Offer
from alerts.consequence import Consequences
from alerts.outbox import Pool, Sender
from alerts.recalls import Recalls
from domain.alerting import model
from domain.shared.clock import Clock
from domain.shared.ids import stream_id
from projections import runner
from runtime.clock import RealClock
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.alerts.conftest import (
    LOOPBACK,
    PUBLIC_URL,
    Hook,
    Mailbox,
    add_recipient,
    eventually,
)
from tests.alerts.notices_of import FIRED_AT, fired, noticed, resolved, tell
from tests.conftest import Database, ManualClock

pytestmark = pytest.mark.database


@contextmanager
def thread(work: Callable[..., None], **arguments: Any) -> Iterator[None]:
    """Run a process's entry function in a thread until the block ends; it must end by itself."""
    stop, failed = threading.Event(), []

    def target() -> None:
        try:
            work(**arguments, stop=stop)
        except BaseException as error:
            failed.append(error)
            raise

    running = threading.Thread(target=target)
    running.start()
    try:
        yield
    finally:
        stop.set()
        running.join(15)
    assert not running.is_alive()
    assert failed == []


@contextmanager
def alerting(database: Database, clock: Clock, mailbox: Mailbox | None = None) -> Iterator[None]:
    offer = Offer(smtp=Smtp("127.0.0.1", mailbox.port) if mailbox else None)
    parts: dict[str, Any] = {"offer": offer, "public_url": PUBLIC_URL, "destinations": LOOPBACK}
    with thread(main.run, app_dsn=database.app_dsn, clock=clock, **parts):
        yield


def ticked(clock: Clock, moment: datetime) -> bool:
    return clock.last_tick() >= moment


def fire(ledger: Ledger, number: int, severity: str) -> str:
    alert_id = str(stream_id("alerting.episode", "TH-p", "t1", "high", number))
    meta = Meta(occurred_at=FIRED_AT, recorded_at=FIRED_AT)
    event = fired(alert_id=alert_id, severity=severity)
    ledger.append([Envelope(model.episode_stream(alert_id), 1, event, meta)])
    return alert_id


def end(ledger: Ledger, alert_id: str) -> None:
    meta = Meta(occurred_at=FIRED_AT, recorded_at=FIRED_AT)
    ledger.append([Envelope(model.episode_stream(alert_id), 2, resolved(alert_id), meta)])


def test_given_notice_when_committed_then_told_before_anybody_looks_and_by_one_sender(
    database: Database,
    pool: Pool,
    hook: Hook,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(main, "POLL_S", 3.0)
    looks: list[bool] = []
    send_next = Sender.send_next

    def counted(sender: Sender, others: Callable[[int], object]) -> bool:
        looks.append(send_next(sender, others))
        return looks[-1]

    monkeypatch.setattr(Sender, "send_next", counted)
    add_recipient(pool, "city_system", hook.url)
    with alerting(database, clock):
        time.sleep(0.5)  # past the first look
        first = len(looks)
        tell(pool, noticed(fired(), 1))
        assert hook.reached.wait(2.0)
        eventually(lambda: looks[first:] == [True, False])


def test_given_stepped_clock_when_moved_then_levels_due_are_told_before_it_is_done(
    database: Database, ledger: Ledger, pool: Pool, mailbox: Mailbox, clock: ManualClock
) -> None:
    add_recipient(pool, "head", "head@x.example", level=2)
    with (
        thread(runner.run, app_dsn=database.app_dsn),
        alerting(database, clock, mailbox),
        alerting(database, clock, mailbox),
    ):
        alert_id = fire(ledger, 1, "critical")
        for _ in range(5):
            moment = clock.advance(minutes=5)
            eventually(partial(ticked, clock, moment))
        acts = ledger.stream(model.alert_stream(alert_id))
        assert [act.meta.recorded_at - FIRED_AT for act in acts] == [
            timedelta(minutes=10),
            timedelta(minutes=20),
        ]
        eventually(lambda: len(mailbox.mails) == 1)
        assert "第2级" in str(mailbox.mails[0]["Subject"])
        end(ledger, alert_id)


def test_given_more_levels_due_than_one_tick_tells_when_moved_then_all_are_told_before_it_is_done(
    database: Database,
    ledger: Ledger,
    pool: Pool,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(escalate, "DUE_MAX", 1)
    monkeypatch.setattr(escalate, "LEVELS_MAX", 1)
    with thread(runner.run, app_dsn=database.app_dsn), alerting(database, clock):
        alerts = [fire(ledger, number, "critical") for number in (11, 12)]
        moment = clock.advance(minutes=45)
        eventually(partial(ticked, clock, moment))
        levels = [len(ledger.stream(model.alert_stream(alert_id))) for alert_id in alerts]
        for alert_id in alerts:
            end(ledger, alert_id)
    assert levels == [4, 4]


def test_given_inbox_behind_when_clock_is_moved_then_it_is_not_done_before_the_inbox_is(
    database: Database,
    ledger: Ledger,
    pool: Pool,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(escalate, "INBOX_WAIT_S", 0.1)
    alert_id = fire(ledger, 13, "critical")
    with alerting(database, clock):
        moment = clock.advance(minutes=10)
        time.sleep(0.8)
        assert not ticked(clock, moment)
        with thread(runner.run, app_dsn=database.app_dsn):
            eventually(partial(ticked, clock, moment))
    assert len(ledger.stream(model.alert_stream(alert_id))) == 1
    end(ledger, alert_id)


def test_given_nobody_wakes_it_when_a_level_is_due_then_only_the_scheduler_ticks(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "TICK_S", 60.0)
    real = RealClock()
    with alerting(database, real):
        time.sleep(1.5)
    assert real.last_tick() == RealClock().last_tick()


def test_given_real_clock_when_a_level_is_long_due_then_the_next_second_tells_it(
    database: Database, ledger: Ledger, pool: Pool, hook: Hook
) -> None:
    add_recipient(pool, "city_system", hook.url)
    with thread(runner.run, app_dsn=database.app_dsn), alerting(database, RealClock()):
        alert_id = fire(ledger, 2, "major")
        eventually(lambda: bool(hook.hits))
        end(ledger, alert_id)
    assert hook.hits[0].json["kind"] == "escalated"
    assert hook.hits[0].json["alert"]["alert_id"] == alert_id


def test_given_a_lookout_and_a_part_that_fail_when_others_are_due_then_these_are_told(
    database: Database,
    ledger: Ledger,
    pool: Pool,
    hook: Hook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> int:
        raise KeyError("a row that nobody thought of")

    monkeypatch.setattr(Recalls, "tick", broken)
    monkeypatch.setattr(Consequences, "tick", broken)
    add_recipient(pool, "city_system", hook.url)
    with thread(runner.run, app_dsn=database.app_dsn), alerting(database, RealClock()):
        alert_id = fire(ledger, 3, "major")
        eventually(lambda: bool(hook.hits))
        end(ledger, alert_id)


def test_given_database_ends_all_sessions_when_a_notice_follows_then_it_is_told_all_the_same(
    database: Database, pool: Pool, hook: Hook, clock: ManualClock
) -> None:
    add_recipient(pool, "city_system", hook.url)
    with alerting(database, clock):
        tell(pool, noticed(fired(), 1))
        eventually(lambda: len(hook.hits) == 1)
        with psycopg.connect(database.app_dsn, autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = current_user"
                " AND pid <> pg_backend_pid() AND query NOT LIKE 'SHOW%'"
            )
        pool.check()
        tell(pool, noticed(resolved(), 2))
        eventually(lambda: len(hook.hits) == 2)
        assert hook.hits[1].json["kind"] == "resolved"
