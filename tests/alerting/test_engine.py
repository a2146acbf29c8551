"""The engine against the oracle: any order, any grouping, duplicates, nulls, restarts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.alerting.rules import ThresholdRule
from tests.alerting import oracle
from tests.alerting.memory import Memory, watch

MINUTE = 60_000
Rows = list[tuple[int, int, float | None]]


@st.composite
def rules(draw: st.DrawFn) -> ThresholdRule:
    """Draw a rule near the values of `series`, often with short times so that much happens."""
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
    """Draw readings by seq with steps of 0 to 9 minutes, values around the limits, and nulls."""
    value = st.sampled_from([3.0, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, None])
    step = st.sampled_from([0, 1, 1, 1, 2, 9])
    points = draw(st.lists(st.tuples(step, value), max_size=40))
    ts_ms, rows = 0, []
    for seq, (minutes, value_c) in enumerate(points):
        ts_ms += minutes * MINUTE
        rows.append((ts_ms, seq, value_c))
    return rows


@settings(deadline=None, max_examples=1500)
@given(rules(), series(), st.data())
def test_given_any_arrival_when_all_evaluated_then_episodes_equal_the_oracles(
    rule: ThresholdRule, rows: Rows, data: st.DataObject
) -> None:
    arrival = data.draw(st.permutations(rows))
    chunks = data.draw(st.lists(st.integers(0, 6), max_size=len(rows)))
    memory = Memory()
    on = watch(rule)
    stored: Rows = []
    for size in [*chunks, len(rows)]:
        batch, arrival = arrival[:size], arrival[size:]
        memory.take(on, batch)
        memory.restart()
        stored += batch
        found = [
            oracle.Expected(e.start_ms, e.fired_ms, e.peak_c, e.recovered_ms, e.resolved_ms)
            for e in memory.living()
        ]
        want = oracle.episodes(rule, stored)
        if want and want[-1].resolved_ms is None and found:
            # peak of an open one lives in the state
            active = memory.state.active["rule"]
            assert active.peak_c == want[-1].peak_c
            found[-1] = oracle.Expected(found[-1].start_ms, found[-1].fired_ms, want[-1].peak_c, None, None)
        assert found == want
