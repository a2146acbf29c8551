"""Readings for a chart: exact while they fit, and never without a peak when they do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.charts import Readings, decimate, readings
from tests.cold_chain.given import NOON, minutes, read
from tests.conftest import Database

DAY_MIN = 1440


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app_dsn, autocommit=True) as made:
        yield made


values_or_gaps = st.lists(
    st.one_of(st.just(float("nan")), st.floats(-40, 60, allow_nan=False)), max_size=300
)


@settings(deadline=None)
@given(
    values=values_or_gaps,
    points=st.integers(2, 60),
    steps=st.lists(st.integers(0, 9), min_size=300, max_size=300),
)
def test_given_any_series_when_decimated_then_peaks_survive_in_order(
    values: list[float], points: int, steps: list[int]
) -> None:
    ts = np.cumsum(np.array(steps[: len(values)], dtype=np.int64))
    series = np.array(values, dtype=np.float64)
    kept = decimate(ts, series, 0, int(ts[-1]) + 1 if ts.size else 1, points)
    assert kept.size <= max(points, 0)
    assert (np.diff(kept) > 0).all()
    present = series[~np.isnan(series)]
    if present.size:
        assert np.nanmin(series[kept]) == present.min()
        assert np.nanmax(series[kept]) == present.max()
    if series.size <= points:
        assert kept.size == series.size


def test_given_long_unplugged_when_decimated_then_the_gap_shows() -> None:
    ts = np.arange(100, dtype=np.int64)
    series = np.where((ts >= 40) & (ts < 60), np.nan, 5.0)
    kept = decimate(ts, series, 0, 100, 20)
    assert np.isnan(series[kept]).sum() == 2
    assert kept.size <= 20


def test_given_few_readings_when_asked_then_exactly_those(
    conn: psycopg.Connection[Any],
) -> None:
    read(conn, "FEW", [(minutes(0), 5.0), (minutes(5), None), (minutes(10), 5.5)])
    found = readings(conn, device_id="FEW", channel="t1", t0=NOON, t1=minutes(10), points=10)
    noon_ms = int(NOON.timestamp() * 1000)
    assert found == Readings([noon_ms, noon_ms + 300_000], [5.0, None], 2, decimated=False)


@pytest.mark.parametrize(("channel", "value"), [("t2", 4.5), ("door", 1.0), ("co2", 400.0)])
def test_given_any_channel_when_asked_then_its_values(
    conn: psycopg.Connection[Any], channel: str, value: float
) -> None:
    device_id = f"ANY-{channel}"
    read(conn, device_id, [(minutes(0), value)], channel=channel)
    window: dict[str, Any] = {"device_id": device_id, "t0": NOON, "t1": minutes(1), "points": 10}
    assert readings(conn, channel=channel, **window).v == [value]
    assert readings(conn, channel="t1", **window).v == [None]


def test_given_many_readings_when_asked_then_thinned_with_the_peak_in(
    conn: psycopg.Connection[Any],
) -> None:
    rows = [(minutes(n), 5.0 + (n == 777) * 9 - (n == 778) * 9) for n in range(DAY_MIN)]
    read(conn, "MANY", rows)
    found = readings(conn, device_id="MANY", channel="t1", t0=NOON, t1=minutes(DAY_MIN), points=100)
    assert found.rows == DAY_MIN
    assert found.decimated
    assert len(found.t) == len(found.v) <= 100
    at = found.v.index(14.0)
    assert found.t[at] == int(minutes(777).timestamp() * 1000)
    assert found.v[at + 1] == -4.0


def test_given_an_unknown_device_when_asked_then_nothing(
    conn: psycopg.Connection[Any],
) -> None:
    window: dict[str, Any] = {"t0": NOON, "t1": minutes(1), "points": 2}
    found = readings(conn, device_id="NONE", channel="t1", **window)
    assert found == Readings([], [], 0, decimated=False)


def test_given_a_later_batch_when_asked_for_before_it_then_not_in(
    conn: psycopg.Connection[Any],
) -> None:
    read(conn, "CUT", [(minutes(0), 5.0)], telemetry=10)
    read(conn, "CUT", [(minutes(1), 6.0)], telemetry=11)
    window: dict[str, Any] = {
        "device_id": "CUT",
        "channel": "t1",
        "t0": NOON,
        "t1": minutes(9),
        "points": 10,
    }
    assert readings(conn, telemetry=10, **window).v == [5.0]
    assert readings(conn, telemetry=9, **window).v == []
    assert readings(conn, telemetry=11, **window).v == [5.0, 6.0]
