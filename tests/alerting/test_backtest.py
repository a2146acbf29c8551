"""Rules on readings of the past: the same as the engine's episodes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from domain.alerting.backtest import Episode, bad, replayed
from domain.alerting.engine import found_in
from domain.alerting.rehearsal import always
from domain.alerting.rules import SHIPPED, ThresholdRule

MINUTE_MS = 60_000
HIGH = ThresholdRule(rule_id="high", side="high", limit_c=8.0, raise_after_min=10, severity="major")
LOW = ThresholdRule(rule_id="low", side="low", limit_c=2.0, raise_after_min=5, severity="minor")


@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.sampled_from([1.5, 2.0, 2.3, 5.0, 7.7, 8.0, 8.1, 9.0])),
        max_size=60,
    )
)
def test_given_readings_when_replayed_then_the_episodes_of_the_engine(
    steps: list[tuple[int, float]],
) -> None:
    at_ms = np.cumsum([gap for gap, _ in steps], dtype=np.int64) * MINUTE_MS
    values = np.array([value for _, value in steps])
    found, active = replayed((HIGH, LOW), at_ms, values)
    watch = always(HIGH, LOW)
    rows = [(int(ts), n, float(v)) for n, (ts, v) in enumerate(zip(at_ms, values, strict=True))]
    expected = [
        Episode(
            rule.rule_id,
            each.fired.start_ms,
            each.fired.fired_ms,
            each.ending.recovered_ms if each.ending else None,
            each.peak_c,
        )
        for rule in (HIGH, LOW)
        for each in found_in(watch, rule.rule_id, rows)
    ]
    assert found == sorted(expected, key=lambda each: (each.start_ms, each.rule_id))
    assert active or all(each.end_ms is not None for each in found)


def test_given_least_and_greatest_values_when_screened_then_only_what_some_rule_calls_bad() -> None:
    low, high = np.array([2.0, 1.9, 3.0, 3.0]), np.array([8.0, 5.0, 8.1, 5.0])
    assert bad((HIGH, LOW), low, high).tolist() == [False, True, True, False]
    assert bad(SHIPPED["frozen_minus_20"].rules, low, high).all()
