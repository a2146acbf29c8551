"""The engine: any order, grouping, repetition and restart; moves; new rules; what is told."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.alerting.engine import evaluate, reassess
from domain.alerting.events import (
    AlertAmended,
    AlertClosedUnverified,
    AlertFired,
    AlertResolved,
    AlertWithdrawn,
)
from domain.alerting.rules import SHIPPED, ThresholdRule
from domain.alerting.watch import RuleSet, WatchState, to_datetime
from tests.alerting import oracle
from tests.alerting.memory import END_OF_TIME_MS, MINUTE_MS, Memory, watch

Rows: TypeAlias = list[tuple[int, int, float | None]]

HIGH = ThresholdRule(rule_id="high", side="high", limit_c=8.0, raise_after_min=10, severity="minor")
STEP_MS = 5 * MINUTE_MS


def readings(*values: float | None, from_min: int = 0) -> Rows:
    """Return readings every 5 minutes, numbered by their time."""
    first = from_min // 5
    return [((first + at) * STEP_MS, first + at, value) for at, value in enumerate(values)]


@st.composite
def rules(draw: st.DrawFn) -> ThresholdRule:
    """Draw a rule near the values of `series`, with short times so that much happens."""
    return ThresholdRule(
        rule_id="rule",
        side=draw(st.sampled_from(["high", "low"])),
        limit_c=draw(st.sampled_from([4.0, 5.0, 6.0])),
        hysteresis_c=draw(st.sampled_from([0.0, 0.5, 1.0])),
        raise_after_min=draw(st.sampled_from([0, 1, 2, 5, 10])),
        clear_after_min=draw(st.sampled_from([1, 3, 10])),
        max_gap_min=draw(st.sampled_from([1, 2, 5, 15])),
        severity="minor",
    )


@st.composite
def series(draw: st.DrawFn) -> Rows:
    """Draw readings with steps of minutes or half a day, values about the limits, and nulls."""
    value = st.sampled_from([3.0, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, None])
    minutes = st.sampled_from([0, 1, 1, 1, 1, 2, 9, 700])
    points = draw(st.lists(st.tuples(minutes, value), max_size=40))
    ts_ms, rows = 0, []
    for seq, (step, value_c) in enumerate(points):
        ts_ms += step * MINUTE_MS
        rows.append((ts_ms, seq, value_c))
    return rows


def batches(data: st.DataObject, rows: Rows) -> list[Rows]:
    """Draw an arrival: any order, some twice, in groups of any size."""
    twice = data.draw(st.lists(st.sampled_from(rows), max_size=5)) if rows else []
    arrival = data.draw(st.permutations([*rows, *twice]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arrival)), max_size=len(arrival))))
    bounds = [0, *cuts, len(arrival)]
    return [arrival[begin:end] for begin, end in pairwise(bounds)]


@settings(deadline=None, max_examples=400)
@given(rules(), series(), st.data())
def test_given_any_arrival_when_evaluated_then_episodes_are_always_the_oracles(
    rule: ThresholdRule, rows: Rows, data: st.DataObject
) -> None:
    memory = Memory(watch(rule))
    arrived: Rows = []
    for batch in batches(data, rows):
        memory.take(batch)
        memory.restart()
        arrived += batch
        assert memory.found("rule") == oracle.episodes(lambda _: rule, arrived)


@settings(deadline=None, max_examples=150)
@given(rules(), rules(), series(), st.data())
def test_given_any_arrival_when_the_probe_moves_then_each_unit_has_its_own_episodes(
    rule: ThresholdRule, other: ThresholdRule, rows: Rows, data: st.DataObject
) -> None:
    newest_ms = rows[-1][0] if rows else 0
    moved_ms = data.draw(st.integers(1, newest_ms + 1))
    here = watch(rule)
    left = replace(here, end_ms=moved_ms)
    there = watch(other, start_ms=moved_ms, unit_id="vehicle")
    memory = Memory(here)
    arrived = batches(data, rows)
    told_after = data.draw(st.integers(0, len(arrived)))
    for batch in arrived[:told_after]:
        memory.take(batch)
    memory.replace(here, left, moved_ms)
    memory.add(there)
    for batch in arrived[told_after:]:
        memory.take(batch)
        memory.restart()
    before = [row for row in rows if row[0] < moved_ms]
    after = [row for row in rows if row[0] >= moved_ms]
    assert memory.found("rule", left) == oracle.episodes(lambda _: rule, before, moved_ms)
    assert memory.found("rule", there) == oracle.episodes(lambda _: other, after)


@settings(deadline=None, max_examples=150)
@given(rules(), st.one_of(st.none(), rules()), series(), st.data())
def test_given_any_arrival_when_rules_change_then_each_reading_meets_the_rule_of_its_time(
    rule: ThresholdRule, other: ThresholdRule | None, rows: Rows, data: st.DataObject
) -> None:
    newest_ms = rows[-1][0] if rows else 0
    changed_ms = data.draw(st.integers(0, newest_ms + 1))
    later = replace(other, side=rule.side) if other else None
    old = watch(rule)
    new = watch(rule, later=(RuleSet(2, changed_ms, (later,) if later else ()),))
    memory = Memory(old)
    arrived = batches(data, rows)
    told_after = data.draw(st.integers(0, len(arrived)))
    for batch in arrived[:told_after]:
        memory.take(batch)
    memory.replace(old, new, changed_ms)
    for batch in arrived[told_after:]:
        memory.take(batch)
        memory.restart()
    want = oracle.episodes(lambda ts_ms: rule if ts_ms < changed_ms else later, rows)
    assert memory.found("rule") == want


def test_given_readings_in_order_when_an_excursion_passes_then_fired_and_resolved() -> None:
    memory = Memory(watch(HIGH))
    assert memory.take(readings(5.0, 9.0, 9.5)) == []
    (fired,) = memory.take(readings(10.0, from_min=15))
    assert isinstance(fired, AlertFired)
    assert (fired.started_at, fired.fired_at) == (to_datetime(STEP_MS), to_datetime(3 * STEP_MS))
    assert (fired.value_c, fired.peak_c, fired.late) == (10.0, 10.0, False)
    assert (fired.device_id, fired.channel, fired.unit_id) == ("TH-0007", "t1", "fridge")
    assert (fired.site_id, fired.region_code, fired.rule_version) == ("clinic", "640202", 1)
    (resolved,) = memory.take(readings(11.0, 5.0, 5.0, 5.0, from_min=20))
    assert resolved == AlertResolved(
        alert_id=fired.alert_id,
        recovered_at=to_datetime(5 * STEP_MS),
        resolved_at=to_datetime(7 * STEP_MS),
        peak_c=11.0,
    )


def test_given_a_low_rule_when_it_freezes_and_thaws_then_the_peak_is_the_lowest() -> None:
    memory = Memory(watch(replace(HIGH, rule_id="low", side="low", limit_c=2.0)))
    memory.take(readings(1.0, -3.0, 1.5, 2.4, 2.5, 5.0, 5.0))
    (found,) = memory.found("low")
    assert (found.peak_c, found.recovered_ms, found.resolved_ms) == (-3.0, 4 * STEP_MS, 6 * STEP_MS)


def test_given_a_pending_and_a_firing_rule_when_restarted_then_they_go_on() -> None:
    memory = Memory(watch(HIGH, replace(HIGH, rule_id="slow", raise_after_min=20)))
    memory.take(readings(9.0, 9.0, 9.0, 5.0))
    memory.take(readings(9.0, 9.0, from_min=20))
    memory.restart()
    (slow,) = memory.take(readings(9.0, 9.0, 9.0, from_min=30))
    assert isinstance(slow, AlertFired)
    assert (slow.rule_id, slow.started_at) == ("slow", to_datetime(4 * STEP_MS))
    assert [each.resolved_ms for each in memory.found("high")] == [None]


def test_given_a_pending_run_when_a_late_good_reading_breaks_it_then_the_dwell_begins_anew() -> (
    None
):
    memory = Memory(watch(HIGH))
    memory.take(readings(9.0, 9.0))
    assert memory.take([(3 * MINUTE_MS, 9, 5.0)]) == []
    assert memory.take(readings(9.0, from_min=10)) == []
    (fired,) = memory.take(readings(9.0, from_min=15))
    assert isinstance(fired, AlertFired)
    assert fired.started_at == to_datetime(STEP_MS)


def test_given_several_rules_when_readings_are_quiet_then_nothing_stored_is_asked_for() -> None:
    memory = Memory(watch(*SHIPPED["vaccine_2_8"].rules))
    memory.take(readings(5.0, 2.0, 8.0, None))
    memory.take(readings(5.0, from_min=20))
    assert memory.asked == 0
    assert memory.state(memory.watches[0]) == WatchState(0, (4 * STEP_MS, 4))


def test_given_two_rules_when_a_severe_one_ends_first_then_each_has_its_own_alert() -> None:
    severe = replace(HIGH, rule_id="severe", limit_c=15.0, severity="critical")
    memory = Memory(watch(HIGH, severe))
    memory.take(readings(20.0, 20.0, 20.0, 9.0, 9.0, 9.0))
    assert [episode.resolved_ms is None for episode in memory.episodes()] == [True, False]


def test_given_only_nulls_when_evaluated_then_the_state_stands() -> None:
    on = watch(HIGH)
    state = WatchState.initial(on)
    assert evaluate(on, state, readings(None, None), Memory(on)).state == state


def test_given_a_quiet_probe_when_a_late_good_reading_comes_then_no_reading_is_read() -> None:
    memory = Memory(watch(HIGH))
    memory.take(readings(5.0, 9.0, 5.0))
    memory.take(readings(5.0, 5.0, from_min=20))
    memory.take(readings(6.0, from_min=15))
    assert memory.asked == 1  # for the episodes only


def test_given_a_long_alert_when_a_late_reading_says_no_more_then_no_reading_is_read() -> None:
    memory = Memory(watch(HIGH))
    memory.take(readings(9.0, 9.0, 9.0, 9.0))
    memory.take(readings(9.0, 9.0, 7.8, from_min=25))
    asked = memory.asked
    assert memory.take(readings(8.9, from_min=20)) == []
    assert memory.asked == asked + 1  # for the episodes only
    (event,) = memory.take([(21 * MINUTE_MS, 99, 9.1)])
    assert isinstance(event, AlertAmended)


def test_given_a_gap_when_bad_readings_fill_it_late_then_fired_late_and_resolved() -> None:
    memory = Memory(watch(HIGH))
    memory.take(readings(5.0, 5.0))
    memory.take(readings(5.0, 5.0, 5.0, 5.0, from_min=25))
    events = memory.take(readings(9.0, 9.0, 9.0, from_min=10))
    assert [type(event) for event in events] == [AlertFired, AlertResolved]
    assert isinstance(events[0], AlertFired)
    assert events[0].late


def test_given_an_open_alert_when_late_readings_begin_it_earlier_then_amended() -> None:
    memory = Memory(watch(HIGH))
    memory.take(readings(5.0))
    (fired,) = memory.take(readings(9.0, 9.0, 9.0, from_min=10))
    events = memory.take(readings(9.5, from_min=5))
    assert events == [
        AlertAmended(
            alert_id=fired.alert_id,
            started_at=to_datetime(STEP_MS),
            fired_at=to_datetime(3 * STEP_MS),
            peak_c=9.5,
            recovered_at=None,
            resolved_at=None,
            cause="late_data",
        )
    ]


def test_given_an_open_alert_when_good_readings_fill_its_hole_late_then_resolved() -> None:
    memory = Memory(watch(HIGH))
    memory.take(readings(9.0, 9.0, 9.0))
    memory.take(readings(5.0, from_min=60))
    events = memory.take(readings(5.0, 5.0, 5.0, from_min=15))
    assert [type(event) for event in events] == [AlertResolved]


def test_given_an_alert_when_a_late_good_reading_breaks_its_dwell_then_withdrawn() -> None:
    memory = Memory(watch(HIGH))
    memory.take(readings(9.0))
    (fired,) = memory.take(readings(9.0, from_min=10))
    events = memory.take(readings(5.0, from_min=5))
    assert events == [AlertWithdrawn(alert_id=fired.alert_id, cause="late_data")]


def test_given_a_withdrawn_alert_when_its_start_fires_again_then_another_alert() -> None:
    on = watch(replace(HIGH, max_gap_min=10, raise_after_min=10))
    memory = Memory(on)
    memory.take(readings(9.0, from_min=10))
    (first,) = memory.take(readings(9.0, from_min=20))  # starts at 10 min
    memory.take([(11 * MINUTE_MS, 0, 9.0), (12 * MINUTE_MS, 0, 5.0)])  # starts after 12: withdrawn
    assert memory.found("high") == []
    revised = watch(replace(HIGH, max_gap_min=10, raise_after_min=1))
    (second,) = memory.replace(on, revised, 0)  # the minute from 10 to 11 is enough now
    assert isinstance(second, AlertFired)
    assert second.started_at == to_datetime(10 * MINUTE_MS)
    assert second.alert_id != first.alert_id


def test_given_one_alert_when_late_good_readings_split_it_then_the_first_part_keeps_it() -> None:
    memory = Memory(watch(HIGH))
    (fired,) = memory.take(readings(9.0, 9.0, 9.0, None, None, None, None))
    memory.take(readings(9.0, 9.0, 9.0, from_min=35))
    events = memory.take(readings(5.0, 5.0, 5.0, from_min=15))
    assert [type(event) for event in events] == [AlertResolved, AlertFired]
    assert events[0].alert_id == fired.alert_id


def test_given_two_alerts_when_a_late_reading_joins_them_then_one_is_withdrawn() -> None:
    memory = Memory(watch(HIGH))
    memory.take(readings(9.0, 9.0, 9.0, 5.0))
    memory.take(readings(5.0, 9.0, 9.0, 9.0, from_min=25))  # recovered from 15 to 25
    first, second = (episode.alert_id for episode in memory.episodes())
    events = memory.take(readings(9.0, from_min=20))
    assert [(type(event), event.alert_id) for event in events] == [
        (AlertWithdrawn, second),
        (AlertAmended, first),
    ]


def test_given_a_firing_probe_when_taken_away_then_closed_unverified() -> None:
    on = watch(HIGH)
    memory = Memory(on)
    (fired,) = memory.take(readings(9.0, 9.0, 9.0, 11.0))
    events = memory.replace(on, replace(on, end_ms=17 * MINUTE_MS), 17 * MINUTE_MS)
    assert events == [
        AlertClosedUnverified(
            alert_id=fired.alert_id,
            closed_at=to_datetime(17 * MINUTE_MS),
            peak_c=11.0,
            reason="probe_removed",
        )
    ]
    assert memory.take(readings(12.0, from_min=20)) == []


def test_given_a_probe_back_in_its_unit_when_its_first_stay_is_reassessed_then_alerts_stand() -> (
    None
):
    first, back = watch(HIGH, end_ms=2 * STEP_MS), watch(HIGH, start_ms=4 * STEP_MS)
    memory = Memory(first, back)
    memory.take(readings(5.0, from_min=20))
    (fired,) = memory.take(readings(9.0, 9.0, 9.0, from_min=25))
    again = reassess(first, memory.state(first), from_ms=0, to_ms=END_OF_TIME_MS, stored=memory)
    assert again.changes == []
    assert memory.by_alert[fired.alert_id].resolved_ms is None


def test_given_a_firing_rule_when_no_longer_in_force_then_closed_unverified() -> None:
    on = watch(HIGH)
    memory = Memory(on)
    memory.take(readings(9.0, 9.0, 9.0))
    memory.replace(on, replace(on, rule_sets=(*on.rule_sets, RuleSet(2, 3 * STEP_MS, ()))), 0)
    (closed,) = memory.take(readings(9.0, from_min=15))
    assert isinstance(closed, AlertClosedUnverified)
    assert closed.reason == "rule_retired"


def test_given_a_later_rule_set_when_a_reading_before_the_first_comes_then_not_judged() -> None:
    on = replace(watch(), rule_sets=(RuleSet(1, STEP_MS, (replace(HIGH, raise_after_min=0),)),))
    memory = Memory(on)
    assert memory.take(readings(9.0)) == []
    assert [type(event) for event in memory.take(readings(9.0, from_min=5))] == [AlertFired]


def test_given_the_state_of_another_watch_when_evaluated_then_refused() -> None:
    elsewhere = WatchState.initial(watch(HIGH, start_ms=1))
    with pytest.raises(ValueError, match="another watch"):
        evaluate(watch(HIGH), elsewhere, readings(5.0), Memory())


def test_given_a_reading_outside_the_watch_when_evaluated_then_refused() -> None:
    on = watch(HIGH, start_ms=1)
    with pytest.raises(ValueError, match="outside"):
        evaluate(on, WatchState.initial(on), readings(5.0), Memory())


def test_given_a_watch_without_an_end_when_asked_for_its_ended_state_then_refused() -> None:
    with pytest.raises(ValueError, match="not ended"):
        WatchState.ended(watch(HIGH))
