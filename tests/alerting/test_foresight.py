"""Time to limit, what became of forecasts, and defrosts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.alerting import defrost, foresight
from domain.alerting.foresight import forecast

QUARTER = np.arange(-15.0, 1.0)
MINUTE, HOUR = 60_000, 3_600_000


def test_given_the_figures_of_the_field_when_worked_out_then_the_known_times() -> None:
    assert foresight.newton_min(5, 28, 8, 180) == pytest.approx(25.157, abs=1e-3)
    assert foresight.newton_min(5, 7, 8, 180) == np.inf
    assert foresight.newton_min(5, 8, 8, 180) == np.inf
    found = forecast(QUARTER, 6.2 + 0.06 * QUARTER, 8.0)
    assert found is not None
    assert (found.eta_min, found.method) == (30.0, "line")
    assert found.chance == pytest.approx(0.5, abs=0.01)
    assert found.early_min < 30 < (found.late_min or np.inf)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_given_power_lost_when_forecast_then_the_curve_is_known_better_than_a_line(
    sign: float,
) -> None:
    after = np.arange(0.0, 21.0)
    rise = 28 - 23 * np.exp(-after / 180)
    found = forecast(after - 20, sign * rise, sign * 8.0, event_min=-20.0)
    assert found is not None
    assert found.method == "newton"
    assert found.eta_min == pytest.approx(25.157 - 20, abs=1.0)
    assert found.chance > 0.95
    assert found.early_min <= found.eta_min <= (found.late_min or np.inf)
    before = np.append(np.full(12, sign * 5.0), sign * rise[:4])
    short = forecast(np.arange(-15.0, 1.0), before, sign * 8.0, event_min=-3.0)
    assert short is not None
    assert (short.method, short.eta_min < 25) == ("line", True), "four are no curve, but a pace"


def test_given_what_does_not_approach_when_forecast_then_nothing() -> None:
    assert forecast(QUARTER, 5 - 0.1 * QUARTER, 8.0) is None
    assert forecast(QUARTER, 5 + 0.001 * QUARTER, 8.0) is None, "that is days away"
    assert forecast(QUARTER[-3:], 7 + QUARTER[-3:], 8.0) is None
    levelling = 6.5 - 3 * np.exp(-np.arange(0.0, 21.0) / 6)
    assert forecast(np.arange(-20.0, 1.0), levelling, 8.0, event_min=-20.0) is None


def test_given_one_odd_reading_when_forecast_then_it_does_not_bend_the_line() -> None:
    values = 6.2 + 0.1 * QUARTER
    values[5] += 9.0
    found = forecast(QUARTER, values, 8.0)
    assert found is not None
    assert found.eta_min == pytest.approx(18.0, abs=0.5)


@settings(max_examples=25)
@given(st.floats(-0.3, 0.3), st.floats(2.2, 7.8), st.integers(0, 2**32 - 1))
def test_given_noise_when_screened_for_all_then_no_told_forecast_is_passed_over(
    slope: float, level: float, seed: int
) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.1, QUARTER.size)
    values = np.clip(np.round(level + slope * QUARTER + noise, 1), 2.0, 8.0)
    near = foresight.rising(QUARTER, values[:, None], np.array([2.0]), np.array([8.0]))[0]
    for limit in (2.0, 8.0):
        found = forecast(QUARTER, values, limit) if values[-1] != limit else None
        assert near or found is None or found.chance < foresight.TOLD_FROM


def test_given_drifts_with_noise_when_scored_then_chances_mean_what_they_say() -> None:
    random = np.random.default_rng(7)
    chance, came, covered = [], [], []
    for _ in range(400):
        level, slope = random.uniform(4, 7), random.uniform(0, 0.12)
        path = level + slope * np.arange(-15.0, 31.0)
        values = np.round(path[:16] + random.normal(0, 0.1, 16), 1)
        found = forecast(QUARTER, values, 8.0)
        if found is None or path[15] > 8 or found.chance < foresight.KEPT_FROM:
            continue
        reached = (8 - level) / slope
        chance.append(found.chance)
        came.append(reached <= 30)
        covered.append(found.early_min <= np.ceil(reached) <= (found.late_min or np.inf) + 1)
    told = foresight.score(np.array(chance), np.array(came), np.array(covered))
    assert told is not None
    assert told.n > 80
    assert told.brier < 0.12
    assert told.covered is not None
    assert told.covered > 0.6
    assert foresight.score(np.array([]), np.array([], bool), np.array([], bool)) is None
    never = foresight.score(np.array([0.5]), np.array([False]), np.array([False]))
    assert never == (1, 0.25, 0.0, None)


def week(period_min: int, lasts_min: int, peak_c: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a week of readings every 5 minutes with a rise of its own every period."""
    at = np.arange(0, 7 * 24 * 60, 5)
    values = np.where(at % period_min < lasts_min, peak_c, 5.0) + 0.1 * np.sin(at / 20)
    return at * MINUTE, values


def test_given_regular_short_rises_when_learnt_then_the_next_is_expected_and_muted() -> None:
    found = defrost.recognised(*week(480, 30, 9.0), 8.0)
    assert found is not None
    assert (found.period_ms, found.lasts_ms) == (8 * HOUR, 30 * MINUTE)
    assert found.matches >= defrost.MATCHES_MIN
    began = found.last_ms + 2 * found.period_ms + 30 * MINUTE
    assert defrost.expected(found, began)
    assert defrost.mutes(found, began, began + 20 * MINUTE, 9.0, 8.0)
    assert not defrost.mutes(found, began, began + 41 * MINUTE, 9.0, 8.0), "it lasts too long"
    assert not defrost.mutes(found, began, began + 20 * MINUTE, 12.1, 8.0), "it is too warm"
    assert not defrost.expected(found, began + 3 * HOUR), "it is not in time"
    assert not defrost.expected(found, found.last_ms), "that one was learnt from"


def test_given_other_rises_when_learnt_then_they_are_no_defrosts() -> None:
    for period_min, lasts_min, peak_c in ((480, 60, 9.0), (480, 30, 12.5), (480, 30, 5.6)):
        assert defrost.recognised(*week(period_min, lasts_min, peak_c), 8.0) is None
    assert defrost.recognised(*week(60, 20, 7.0), 8.0) is None, "a compressor's cycles"
    at, values = week(10_080, 5, 5.0)
    for begin in (10, 200, 260, 900, 1000, 1700):
        values[begin : begin + 5] = 9.0
    assert defrost.recognised(at, values, 8.0) is None, "whenever a door is opened"
    assert defrost.recognised(at[:2], values[:2], 8.0) is None
