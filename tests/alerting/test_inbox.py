"""The inbox follows both streams of an alert, whatever way the events are cut and ordered."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import psycopg
import pytest

from domain.alerting import model
from domain.alerting.events import (
    AlertAcknowledged,
    AlertAmended,
    AlertClosedUnverified,
    AlertEscalated,
    AlertResolved,
    AlertWithdrawn,
    ConditionEnded,
    RuleSetPublished,
)
from domain.alerting.rules import SHIPPED
from domain.shared.decide import fold
from domain.shared.events import Event
from domain.shared.ids import stream_id
from projections import alerting, runner
from projections.alerting import AlertRow
from projections.runner import Runner
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.alerts.notices_of import FIRED_AT, fired, raised
from tests.conftest import Database

pytestmark = pytest.mark.database
_numbers = count(1)


def after(minutes: float) -> datetime:
    return FIRED_AT + timedelta(minutes=minutes)


class Alert:
    """Events of one alert, written as they come."""

    def __init__(self, ledger: Ledger, following: Runner) -> None:
        self._ledger, self._following = ledger, following
        self.alert_id = str(stream_id("alerting.episode", "TH-i", "t1", "high", next(_numbers)))

    def write(self, *events: Event, at: float = 0) -> Alert:
        """Append events to the stream each belongs to, recorded so many minutes after firing."""
        for event in events:
            acts = isinstance(event, AlertAcknowledged | AlertEscalated)
            of = model.alert_stream if acts else model.episode_stream
            version = len(self._ledger.stream(of(self.alert_id))) + 1
            meta = Meta(occurred_at=after(at), recorded_at=after(at))
            self._ledger.append([Envelope(of(self.alert_id), version, event, meta)])
        return self

    def row(self) -> AlertRow:
        """Return the alert in the inbox."""
        self._following.follow_once()
        found = alerting.alert(self._following.conn, self.alert_id)
        assert found is not None
        return found

    def fired(self, severity: str = "critical") -> Alert:
        """Let it fire."""
        return self.write(fired(alert_id=self.alert_id, severity=severity))

    def resolved(self) -> AlertResolved:
        """Return its end."""
        return AlertResolved(
            alert_id=self.alert_id, recovered_at=after(5), resolved_at=after(15), peak_c=9.9
        )

    def amended(self, resolved_at: datetime | None, recovered_at: datetime | None) -> AlertAmended:
        """Return a correction."""
        return AlertAmended(
            alert_id=self.alert_id,
            started_at=after(-60),
            fired_at=after(-30),
            peak_c=10.5,
            recovered_at=recovered_at,
            resolved_at=resolved_at,
            cause="late_data",
        )

    def acknowledged(self) -> AlertAcknowledged:
        """Return a person's act."""
        return AlertAcknowledged(
            alert_id=self.alert_id, actor_id="k1", actor_role="cdc", comment="在处理"
        )

    def escalated(self, level: int, due: float) -> AlertEscalated:
        """Return a timer's act."""
        return AlertEscalated(alert_id=self.alert_id, level=level, due_at=after(due))


@pytest.fixture(scope="module")
def following(database: Database) -> Iterator[Runner]:
    made = Runner(database.app_dsn)
    yield made
    made.close()


@pytest.fixture
def alert(ledger: Ledger, following: Runner) -> Alert:
    return Alert(ledger, following)


def told(row: AlertRow, *names: str) -> Sequence[Any]:
    return [getattr(row, name) for name in names]


def test_given_fired_when_read_then_firing_and_due_in_ten_minutes(alert: Alert) -> None:
    row = alert.fired().row()
    assert told(row, "state", "level", "escalate_at") == ["firing", 0, after(10)]
    assert told(row, "started_at", "fired_at", "detected_at") == [after(-30), after(0), after(0)]
    assert (row.version, row.peak_c) == (0, 9.3)


def test_given_info_when_fired_then_nothing_is_due(alert: Alert) -> None:
    assert alert.fired("info").row().escalate_at is None


def test_given_resolved_when_read_then_over_with_its_last_peak(alert: Alert) -> None:
    row = alert.fired().write(alert.resolved()).row()
    assert told(row, "state", "resolved_at", "peak_c", "escalate_at") == [
        "resolved",
        after(15),
        9.9,
        None,
    ]


def test_given_taken_on_after_the_end_when_read_then_still_resolved(alert: Alert) -> None:
    row = alert.fired().write(alert.resolved(), alert.acknowledged()).row()
    assert told(row, "state", "acknowledged_by", "comment") == ["resolved", "k1", "在处理"]


def test_given_taken_on_when_read_then_held_back_and_versioned(alert: Alert) -> None:
    row = alert.fired().write(alert.acknowledged(), at=4).row()
    assert told(row, "state", "version", "escalate_at") == ["acknowledged", 1, after(34)]


def test_given_escalated_twice_when_read_then_next_is_a_step_after_the_last_due(
    alert: Alert,
) -> None:
    alert.fired().write(alert.escalated(1, 10), alert.escalated(2, 20), at=21)
    row = alert.row()
    assert told(row, "state", "level", "version", "escalate_at") == ["firing", 2, 2, after(30)]


def test_given_withdrawn_when_read_then_over_with_its_cause(alert: Alert) -> None:
    withdrawn = AlertWithdrawn(alert_id=alert.alert_id, cause="late_data")
    row = alert.fired().write(withdrawn).row()
    assert told(row, "state", "cause", "escalate_at") == ["withdrawn", "late_data", None]


def test_given_closed_unverified_when_read_then_over_without_recovery(alert: Alert) -> None:
    closed = AlertClosedUnverified(
        alert_id=alert.alert_id, closed_at=after(40), peak_c=12.0, reason="probe_removed"
    )
    row = alert.fired().write(closed).row()
    assert told(row, "state", "recovered_at", "resolved_at", "cause") == [
        "closed_unverified",
        None,
        after(40),
        "probe_removed",
    ]


@pytest.mark.parametrize(
    ("recovered", "resolved", "taken_on", "state"),
    [
        (None, None, False, "firing"),
        (None, None, True, "acknowledged"),
        (5, 15, True, "resolved"),
        (None, 40, False, "closed_unverified"),
    ],
)
def test_given_amended_when_read_then_as_the_correction_says(
    alert: Alert, recovered: float | None, resolved: float | None, taken_on: bool, state: str
) -> None:
    alert.fired().write(alert.resolved())
    if taken_on:
        alert.write(alert.acknowledged())
    times = [None if minutes is None else after(minutes) for minutes in (resolved, recovered)]
    row = alert.write(alert.amended(*times)).row()
    assert told(row, "state", "fired_at", "peak_c", "cause") == [
        state,
        after(-30),
        10.5,
        "late_data",
    ]


def test_given_a_condition_when_told_taken_on_graver_and_over_then_one_row(alert: Alert) -> None:
    one = raised("probe_offline", alert_id=alert.alert_id, severity="minor", subject_kind="device")
    row = alert.write(one).row()
    assert told(row, "kind", "subject_id", "device_id", "rule_id", "peak_c", "side") == [
        *("probe_offline", "gw-1", "gw-1", "probe_offline", None, ""),
    ]
    assert row.escalate_at == after(120)
    assert alert.write(alert.acknowledged(), at=4).row().state == "acknowledged"
    alert.write(replace(one, severity="major", silenced_by="o1"), at=30)
    assert told(alert.row(), "severity", "state", "escalate_at") == ["major", "firing", None]
    row = alert.write(replace(one, severity="major"), at=40).row()
    assert told(row, "escalate_at", "detected_at", "version") == [after(50), after(0), 1]
    over = ConditionEnded(alert_id=alert.alert_id, ended_at=after(60), cause="recovered")
    row = alert.write(over, at=60).row()
    assert told(row, "state", "resolved_at", "cause") == ["resolved", after(60), ""]


def test_given_a_condition_of_what_is_gone_when_read_then_nobody_saw_it_recover(
    alert: Alert,
) -> None:
    over = ConditionEnded(alert_id=alert.alert_id, ended_at=after(60), cause="removed")
    row = alert.write(raised(alert_id=alert.alert_id), over).row()
    assert told(row, "state", "recovered_at", "cause") == ["closed_unverified", None, "removed"]


def test_given_any_history_when_folded_by_its_streams_then_as_the_inbox_tells(
    alert: Alert, ledger: Ledger, following: Runner
) -> None:
    rng = random.Random(20261122)
    told_of = [Alert(ledger, following) for _ in range(24)]
    for n, each in enumerate(told_of):
        one = raised(alert_id=each.alert_id, severity="minor", subject_kind="device")
        each.write(one) if n % 2 else each.fired(rng.choice(["major", "critical"]))
        for minute in range(1, rng.randint(2, 9)):
            acts = [each.acknowledged(), each.escalated(rng.randint(1, 3), 10 * minute)]
            over = ConditionEnded(
                alert_id=each.alert_id,
                ended_at=after(minute),
                cause=rng.choice(["recovered", "removed"]),
            )
            again = replace(
                one, severity=rng.choice(["minor", "major"]), silenced_by=rng.choice(["", "o1"])
            )
            episode = [each.amended(None, None), each.amended(after(9), after(5)), each.resolved()]
            each.write(
                rng.choice([*acts, *([again, again, over] if n % 2 else episode)]), at=minute
            )
    for each in told_of:
        row, history = each.row(), ledger.together(model.streams_of(each.alert_id))
        folded = alerting.folded(history)
        assert folded is not None
        assert replace(folded, pos=row.pos) == row
        decided = fold(model.evolve, None, (envelope.event for envelope in history))
        assert decided is not None
        assert decided.level == row.level
        assert (decided.acknowledged is None) == (row.acknowledged_at is None)


def test_given_a_condition_told_to_level_two_when_it_is_graver_then_it_begins_anew(
    alert: Alert,
) -> None:
    one = raised("probe_offline", alert_id=alert.alert_id, severity="minor", subject_kind="device")
    alert.write(one).write(alert.escalated(1, 120), alert.acknowledged(), at=121)
    row = alert.write(replace(one, severity="major"), at=130).row()
    assert told(row, "level", "state", "acknowledged_by", "version") == [0, "firing", "", 2]
    assert row.escalate_at == after(140)


def test_given_event_of_unknown_alert_when_followed_then_dead_letter_and_the_rest_goes_on(
    alert: Alert, ledger: Ledger, following: Runner, database: Database
) -> None:
    alert.write(alert.resolved())
    other = Alert(ledger, following).fired()
    assert other.row().state == "firing"
    dead = database.query("SELECT follower, error FROM dead_letter")
    assert [follower for follower, _ in dead] == ["ledger.alerting"]
    assert "never fired" in dead[0][1]
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        conn.execute("DELETE FROM dead_letter")


def test_given_many_when_due_then_the_longest_due_first(ledger: Ledger, following: Runner) -> None:
    slow = Alert(ledger, following).fired("major").write(at=0)
    quick = Alert(ledger, following).fired("critical")
    quick.write(quick.escalated(1, 10), at=10)
    following.follow_once()
    found = alerting.due(following.conn, after(20), limit=1000)
    ours = [one for one in found if one in (slow.alert_id, quick.alert_id)]
    assert ours == [slow.alert_id, quick.alert_id]


def test_given_rules_published_when_read_then_every_version(
    ledger: Ledger, following: Runner
) -> None:
    published = [
        RuleSetPublished(
            profile_id="vaccine_2_8",
            version=version,
            effective_from=after(version),
            rules=SHIPPED["vaccine_2_8"].rules,
        )
        for version in (1, 2)
    ]
    stream, meta = (
        model.rule_set_stream("vaccine_2_8"),
        Meta(occurred_at=after(0), recorded_at=after(0)),
    )
    ledger.append([Envelope(stream, event.version, event, meta) for event in published])
    following.follow_once()
    found = alerting.rule_sets(following.conn, limit=10)
    assert [(one.version, one.effective_from) for one in found] == [(1, after(1)), (2, after(2))]
    assert found[0].rules[0]["rule_id"] == "high_8_10min"
    assert alerting.rule_sets(following.conn, after=("vaccine_2_8", 1), limit=10) == found[1:]


def test_given_all_of_this_when_rebuilt_then_the_same_rows(
    following: Runner, database: Database
) -> None:
    following.follow_once()
    checked = runner.check(database.app_dsn, "alerting")
    assert checked.same
    assert checked.live["alert"][0] > 10


def test_given_alert_found_in_old_data_when_read_then_no_level_will_ever_be_due(
    ledger: Ledger, following: Runner
) -> None:
    day = 24 * 60
    late = Alert(ledger, following).write(at=0)
    late.write(fired(alert_id=late.alert_id, severity="critical"), at=day + 1)
    assert late.row().escalate_at is None
    prompt = Alert(ledger, following)
    prompt.write(fired(alert_id=prompt.alert_id, severity="critical"), at=day)
    assert prompt.row().escalate_at == after(day + 10)
