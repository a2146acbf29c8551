"""Calibration: certificates recorded, readings corrected by them, probes that drift apart."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cold_chain import calibration as model
from domain.cold_chain.calibration_events import CalibrationPoint, CalibrationRecorded
from domain.cold_chain.drift import drift
from domain.cold_chain.events import DeviceRegistered
from domain.cold_chain.model import Device
from domain.shared.errors import DomainError, Invalid, NotFound
from tests.spec import spec

NOW = datetime(2026, 11, 22, 4, tzinfo=UTC)
DEVICE = Device(
    DeviceRegistered(
        device_id="D1",
        gateway_id="G1",
        site_id="S1",
        region_code="640202",
        channels=("t1", "rh"),
        interval_s=300,
    )
)
POINTS = (CalibrationPoint(reference_c=5.0, deviation_c=0.3, uncertainty_c=0.1),)
ASKED: dict[str, Any] = {
    "device": DEVICE,
    "channel": "t1",
    "certificate_no": "RZ-1",
    "laboratory": "示例计量院",
    "calibrated_on": date(2026, 11, 1),
    "valid_until": date(2027, 10, 31),
    "points": POINTS,
    "now": NOW,
}
BEGIN = datetime(2026, 10, 31, 16, tzinfo=UTC)


def recorded(since: datetime = BEGIN, *points: CalibrationPoint) -> CalibrationRecorded:
    return CalibrationRecorded(
        device_id="D1",
        channel="t1",
        certificate_no="RZ-1",
        laboratory="示例计量院",
        calibrated_on=date(2026, 11, 1),
        since=since,
        valid_until=date(2027, 10, 31),
        points=points or POINTS,
    )


def point(reference_c: float, deviation_c: float, uncertainty_c: float = 0.1) -> CalibrationPoint:
    return CalibrationPoint(
        reference_c=reference_c, deviation_c=deviation_c, uncertainty_c=uncertainty_c
    )


certificates = spec(model.evolve_calibrations, model.NONE)


def test_given_a_device_when_a_certificate_is_recorded_then_it_is_once_and_from_its_date() -> None:
    certificates.when(model.record_calibration, **ASKED).then(recorded())
    named = ASKED | {"channel": "temperature", "since": BEGIN + timedelta(days=1)}
    certificates.when(model.record_calibration, **named).then(recorded(BEGIN + timedelta(days=1)))
    certificates.given(recorded()).when(model.record_calibration, **ASKED).then()


@pytest.mark.parametrize(
    ("field", "value", "error", "code"),
    [
        ("device", None, NotFound, "unknown_device"),
        ("channel", "t2", Invalid, "unknown_channel"),
        ("channel", "rh", Invalid, "unknown_channel"),
        ("calibrated_on", date(2026, 11, 23), Invalid, "in_future"),
        ("since", NOW + timedelta(minutes=1), Invalid, "in_future"),
        ("since", BEGIN - timedelta(minutes=1), Invalid, "before_calibration"),
        ("valid_until", date(2026, 10, 31), Invalid, "bad_validity"),
        ("points", (), Invalid, "bad_points"),
        ("points", (point(5, 5.1),), Invalid, "bad_calibration_point"),
        ("points", (point(float("nan"), 0.1),), Invalid, "bad_calibration_point"),
        ("points", (point(5, 0.1, -1.0),), Invalid, "bad_calibration_point"),
        ("points", (point(5, 0.1), point(5, 0.2)), Invalid, "bad_calibration_point"),
        ("points", (point(5, 3.0), point(7, -3.0)), Invalid, "bad_calibration_point"),
    ],
)
def test_given_a_bad_certificate_when_recorded_then_refused(
    field: str, value: Any, error: type[DomainError], code: str
) -> None:
    certificates.when(model.record_calibration, **ASKED | {field: value}).refused(error, code)


@given(
    st.lists(
        st.tuples(st.integers(-40, 40), st.floats(-0.4, 0.4)),
        min_size=1,
        max_size=6,
        unique_by=lambda each: each[0],
    ),
    st.lists(st.floats(-60, 60), min_size=1, max_size=8),
)
def test_given_points_when_readings_are_corrected_then_as_by_hand_and_in_order(
    points: list[tuple[int, float]], values: list[float]
) -> None:
    told = model.checked_points([point(at, off) for at, off in points])
    known = model.Calibration.of([recorded(BEGIN, *told)])
    at_ms = np.full(len(values), known.since_ms[0])
    found = known.corrected(np.array(values), at_ms)
    read = [(p.reference_c + p.deviation_c, p.deviation_c) for p in told]
    for value, counted in zip(values, found.tolist(), strict=True):
        assert counted == pytest.approx(value - by_hand(read, value), abs=1e-6)
    least, greatest = known.extremes_at(at_ms[0])
    raw = np.array(values)
    assert np.all((raw - greatest <= found + 1e-6) & (found - 1e-6 <= raw - least))
    assert np.all(np.diff(found[np.argsort(raw)]) >= 0), (
        "two temperatures never count the wrong way round"
    )


def by_hand(read: list[tuple[float, float]], value: float) -> float:
    """Return the deviation at a value: on the line between two points, else of the nearest."""
    if value <= read[0][0]:
        return read[0][1]
    for (x0, d0), (x1, d1) in pairwise(read):
        if value <= x1:
            return d0 + (d1 - d0) * (value - x0) / (x1 - x0)
    return read[-1][1]


def test_given_certificates_in_any_order_when_counted_then_each_from_its_moment_on() -> None:
    day = timedelta(days=1)
    first, mended = recorded(BEGIN, point(5, 0.3)), recorded(BEGIN, point(5, 0.5))
    second = recorded(BEGIN + 2 * day, point(5, -0.2))
    begin_ms, day_ms = model.Calibration.of([first]).since_ms[0], 86_400_000
    at_ms = np.array([begin_ms - 1, begin_ms, begin_ms + 2 * day_ms, begin_ms + 3 * day_ms])
    read = np.array([8.3, 8.3, 8.3, np.nan])
    known = model.Calibration.of([second, first, mended])
    found = known.corrected(read, at_ms)
    assert found[:3].tolist() == [8.3, 7.8, 8.5]
    assert np.isnan(found[3])
    assert read[1] == 8.3, "what was read stays as it was read"
    assert known.extremes_at(begin_ms - 1) == (0.0, 0.0)
    assert model.days_left(date(2026, 11, 20), NOW) == -2
    assert model.renewal_from(date(2026, 12, 31)) == datetime(2026, 11, 30, 16, tzinfo=UTC)


def test_given_means_of_days_when_two_probes_drift_apart_then_told_by_how_much() -> None:
    day = np.arange(60.0)
    wave = 0.05 * np.sin(day)
    found = drift(day, 5.0 + 0.02 * day + wave, np.full(60, 5.0))
    assert found is not None
    assert (found.days, found.drifting) == (60, True)
    assert found.change_c == pytest.approx(0.6, abs=0.03)
    assert found.half_width_c < 0.05
    steady = drift(day, 5.4 + wave, np.full(60, 5.0))
    assert steady is not None
    assert not steady.drifting
    assert drift(day[:8], np.append(np.full(6, 5.0), [np.nan] * 2), np.full(8, 5.0)) is None
