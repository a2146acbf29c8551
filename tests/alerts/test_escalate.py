"""Each level is told once, however late or often the timer comes; taking an alert on stops it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import psycopg
import pytest

from alerts.escalate import Escalator
from alerts.outbox import Pool
from domain.alerting import model
from domain.alerting.events import AlertAcknowledged, AlertEscalated
from domain.shared.events import Event
from domain.shared.ids import stream_id
from projections import alerting
from projections.runner import Runner
from runtime.postgres import PostgresServer
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.alerts.conftest import eventually
from tests.alerts.notices_of import FIRED_AT, fired, resolved
from tests.conftest import Database, create_database, drop_database

pytestmark = pytest.mark.database
_numbers = count(1)


@pytest.fixture
def escalator(database: Database, ledger: Ledger, pool: Pool) -> Iterator[Escalator]:
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        yield Escalator(ledger, conn)


class Story:
    """One alert of a test's own, with its read model kept up."""

    def __init__(self, following: Runner, ledger: Ledger, severity: str) -> None:
        self.following, self.ledger = following, ledger
        self.alert_id = str(stream_id("alerting.episode", "TH-9", "t1", "high", next(_numbers)))
        self.engine(fired(severity=severity, alert_id=self.alert_id))

    def engine(self, event: Event, at: datetime = FIRED_AT) -> None:
        """Let the engine write an event."""
        self._put(model.episode_stream(self.alert_id), event, at)

    def acknowledge(self, at: datetime, comment: str = "去看了") -> None:
        """Let a person take it on."""
        event = AlertAcknowledged(
            alert_id=self.alert_id, actor_id="k1", actor_role="store_keeper", comment=comment
        )
        self._put(model.alert_stream(self.alert_id), event, at)

    def _put(self, stream: Any, event: Event, at: datetime) -> None:
        version = len(self.ledger.stream(stream)) + 1
        meta = Meta(occurred_at=at, recorded_at=at, region_code="640202")
        self.ledger.append([Envelope(stream, version, event, meta)])
        self.following.follow_once()

    def levels(self) -> list[tuple[int, datetime]]:
        """Return the levels told, with when they were due."""
        self.following.follow_once()
        acts = [e.event for e in self.ledger.stream(model.alert_stream(self.alert_id))]
        return [(act.level, act.due_at) for act in acts if isinstance(act, AlertEscalated)]

    def row(self) -> alerting.AlertRow:
        """Return the alert in the inbox."""
        found = alerting.alert(self.following.conn, self.alert_id)
        assert found is not None
        return found


def after(minutes: float) -> datetime:
    return FIRED_AT + timedelta(minutes=minutes)


def notices_of(story: Story) -> list[tuple[str, int]]:
    asked = "SELECT kind, level FROM outbox WHERE alert_id = %s ORDER BY id"
    return story.following.conn.execute(asked, (story.alert_id,)).fetchall()


def settle(story: Story) -> None:
    """End the alert, so that it is due no more in the tests that follow."""
    story.engine(resolved(story.alert_id))


def test_given_nobody_answers_when_ticked_often_then_each_level_is_told_once_at_its_time(
    following: Runner, ledger: Ledger, escalator: Escalator
) -> None:
    story = Story(following, ledger, "critical")
    for minute in (0, 9.9, 10, 10.1, 15, 20, 29, 30, 30, 44, 45):
        escalator.tick(after(minute))
        escalator.tick(after(minute))
        following.follow_once()
    assert story.levels() == [(1, after(10)), (2, after(20)), (3, after(30)), (4, after(45))]
    assert notices_of(story) == [("escalated", level) for level in (1, 2, 3, 4)]
    assert (story.row().level, story.row().escalate_at) == (4, after(60))
    settle(story)
    assert escalator.tick(after(1000)) == 0


def test_given_a_long_standstill_when_ticked_then_every_level_due_is_told_once(
    following: Runner, ledger: Ledger, escalator: Escalator
) -> None:
    story = Story(following, ledger, "major")
    assert escalator.tick(after(25)) == 2
    # The inbox still shows the old due time: the streams decide.
    assert escalator.tick(after(25)) == 0
    assert story.levels() == [(1, after(10)), (2, after(20))]
    settle(story)


def test_given_a_standstill_of_hours_when_ticked_then_levels_once_and_of_repetitions_the_newest(
    following: Runner, ledger: Ledger, escalator: Escalator
) -> None:
    story = Story(following, ledger, "critical")
    assert escalator.tick(after(604)) == 4
    assert story.levels() == [(1, after(10)), (2, after(20)), (3, after(30)), (41, after(600))]
    following.follow_once()
    assert escalator.tick(after(614)) == 0
    assert escalator.tick(after(615)) == 1
    assert story.levels()[-1] == (42, after(615))
    settle(story)


def test_given_taken_on_when_levels_fall_due_then_nobody_is_told_until_it_lapses(
    following: Runner, ledger: Ledger, escalator: Escalator
) -> None:
    story = Story(following, ledger, "critical")
    story.acknowledge(after(5))
    assert story.row().state == "acknowledged"
    assert story.row().escalate_at == after(35)
    assert escalator.tick(after(34)) == 0
    assert escalator.tick(after(35)) == 1
    assert story.levels() == [(1, after(35))]
    assert (story.row().state, story.row().escalate_at) == ("firing", after(45))
    story.acknowledge(after(40), "还在处理")
    assert escalator.tick(after(60)) == 0
    settle(story)


def test_given_minor_alert_when_taken_on_then_it_stays_so(
    following: Runner, ledger: Ledger, escalator: Escalator
) -> None:
    story = Story(following, ledger, "minor")
    story.acknowledge(after(5))
    assert story.row().escalate_at is None
    assert escalator.tick(after(10_000)) == 0
    settle(story)


def test_given_inbox_behind_when_person_was_quicker_then_nobody_is_told(
    following: Runner, ledger: Ledger, escalator: Escalator
) -> None:
    story = Story(following, ledger, "critical")
    # Written, but not yet in the inbox: it still says that level 1 is due.
    acts = model.alert_stream(story.alert_id)
    event = AlertAcknowledged(alert_id=story.alert_id, actor_id="k1", actor_role="cdc", comment="x")
    meta = Meta(occurred_at=after(9), recorded_at=after(9))
    ledger.append([Envelope(acts, 1, event, meta)])
    assert escalator.tick(after(10)) == 0
    assert story.levels() == []
    settle(story)


def test_given_two_processes_when_both_want_to_tick_then_one_leads_until_it_goes(
    database: Database, ledger: Ledger
) -> None:
    with psycopg.connect(database.app_dsn, autocommit=True) as other:
        second = Escalator(ledger, other)
        with psycopg.connect(database.app_dsn, autocommit=True) as conn:
            first = Escalator(ledger, conn)
            assert first.leads()
            assert not second.leads()
            assert first.leads()
        eventually(second.leads)  # the server ends the first's session in its own time


def test_given_two_processes_when_both_tick_all_the_same_then_each_level_is_told_once(
    database: Database, following: Runner, ledger: Ledger, pool: Pool
) -> None:
    stories = [Story(following, ledger, "critical") for _ in range(5)]

    def tick() -> None:
        with psycopg.connect(database.app_dsn, autocommit=True) as conn:
            Escalator(ledger, conn).tick(after(30))

    threads = [threading.Thread(target=tick) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tick()
    for story in stories:
        assert [level for level, _ in story.levels()] == [1, 2, 3]
        assert notices_of(story) == [("escalated", level) for level in (1, 2, 3)]
        settle(story)


def test_given_read_models_not_built_when_ticked_then_nothing_happens(
    postgres: PostgresServer, ledger: Ledger
) -> None:
    empty = create_database(postgres)
    with psycopg.connect(empty.app_dsn, autocommit=True) as conn:
        assert Escalator(ledger, conn).tick(after(10)) == 0
    drop_database(postgres, empty)
