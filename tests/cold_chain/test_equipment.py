"""Equipment, devices and placements: what may be registered, placed and removed."""

from __future__ import annotations

import hashlib
import random
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from domain.cold_chain import model, rules
from domain.cold_chain.events import (
    BOOT_UNSEQUENCED,
    DeviceRegistered,
    EvidenceKept,
    ProbePlaced,
    ProbeRemoved,
    ReadingsRecorded,
    UnitRegistered,
)
from domain.shared.errors import Conflict, Invalid, NotFound
from tests.cold_chain.facts import DEVICE, GATEWAY, NOON, UNIT
from tests.spec import spec

HOUR = timedelta(hours=1)

PROFILE = rules.PROFILES[0]
OTHER_UNIT = replace(UNIT, unit_id="U2", name="二号冰箱")
UNIT_REQUEST: dict[str, Any] = {
    "site_region": "640202",
    "profile": PROFILE,
    "unit_id": "U1",
    "site_id": "S1",
    "kind": "refrigerator",
    "name": "一号冰箱",
    "profile_id": "vaccine_2_8",
}
DEVICE_REQUEST: dict[str, Any] = {
    "gateway": model.Gateway(GATEWAY),
    "device_id": "D1",
    "gateway_id": "G1",
    "channels": ["temperature", "rh"],
    "interval_s": 300,
}
FILE: dict[str, Any] = {"filename": "2L.txt", "kind": "fridge_tag_2l", "content": b"T AL -0.5"}

profile = spec(model.evolve_profile, None)
unit = spec(model.evolve_unit, None)
gateway = spec(model.evolve_gateway, None)
device = spec(model.evolve_device, None)
evidence = spec(model.evolve_evidence, None)


def placed(unit_id: str, at: datetime, channel: str = "t1") -> ProbePlaced:
    return ProbePlaced(device_id="D1", channel=channel, unit_id=unit_id, placed_at=at)


def removed(at: datetime, channel: str = "t1") -> ProbeRemoved:
    return ProbeRemoved(device_id="D1", channel=channel, removed_at=at)


def place(unit: UnitRegistered, at: datetime, channel: str = "t1") -> dict[str, Any]:
    return {"unit": unit, "channel": channel, "unit_id": unit.unit_id, "placed_at": at}


@pytest.mark.parametrize("shipped", rules.PROFILES, ids=lambda p: str(p.profile_id))
def test_given_nothing_when_a_shipped_profile_is_defined_then_it_is(
    shipped: model.Profile,
) -> None:
    profile.when(model.define_profile, **asdict(shipped)).then(shipped)
    profile.given(shipped).when(model.define_profile, **asdict(shipped)).then()


def test_given_profile_when_defined_otherwise_then_conflict() -> None:
    other = asdict(PROFILE) | {"temperature_c_max": 9.0}
    outcome = profile.given(PROFILE).when(model.define_profile, **other)
    outcome.refused(Conflict, "already_registered")


@pytest.mark.parametrize("limits", [(8.0, 2.0), (2.0, 2.0), (-300.0, 8.0), (2.0, float("nan"))])
def test_given_nothing_when_limits_are_wrong_then_refused(limits: tuple[float, float]) -> None:
    wrong = asdict(PROFILE) | {"temperature_c_min": limits[0], "temperature_c_max": limits[1]}
    profile.when(model.define_profile, **wrong).refused(Invalid, "bad_limits")


def test_given_site_and_profile_when_unit_registered_then_it_is() -> None:
    unit.when(model.register_unit, **UNIT_REQUEST).then(UNIT)
    unit.given(UNIT).when(model.register_unit, **UNIT_REQUEST).then()


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("site_region", None, "unknown_site"),
        ("profile", None, "unknown_profile"),
        ("profile_id", "frozen_minus_20", "unknown_profile"),
        ("unit_id", "U 1", "bad_name"),
        ("kind", "bucket", "bad_unit_kind"),
        ("name", " ", "bad_text"),
        ("plate", "宁B" * 9, "bad_text"),
    ],
)
def test_given_site_when_unit_is_wrong_then_refused(field: str, value: object, code: str) -> None:
    unit.when(model.register_unit, **UNIT_REQUEST | {field: value}).refused(Invalid, code)


def test_given_site_when_gateway_registered_then_it_is() -> None:
    request: dict[str, Any] = {"site_region": "640202", "gateway_id": "G1", "site_id": "S1"}
    gateway.when(model.register_gateway, **request).then(GATEWAY)
    gateway.given(GATEWAY).when(model.register_gateway, **request).then()
    moved = request | {"site_id": "S2"}
    moving = gateway.given(GATEWAY).when(model.register_gateway, **moved)
    moving.refused(Conflict, "already_registered")


def test_given_gateway_when_device_registered_then_it_takes_its_place() -> None:
    device.when(model.register_device, **DEVICE_REQUEST).then(DEVICE)
    device.given(DEVICE, placed("U1", NOON)).when(model.register_device, **DEVICE_REQUEST).then()


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("gateway", None, "unknown_gateway"),
        ("gateway_id", "G2", "unknown_gateway"),
        ("device_id", "D+1", "bad_name"),
        ("interval_s", 0, "bad_interval"),
        ("interval_s", 86_401, "bad_interval"),
        ("channels", [], "bad_channel"),
        ("channels", ["t1", "temperature"], "bad_channel"),
        ("channels", ["T1"], "bad_channel"),
        ("channels", [f"x{n}" for n in range(17)], "bad_channel"),
    ],
)
def test_given_gateway_when_device_is_wrong_then_refused(
    field: str, value: object, code: str
) -> None:
    device.when(model.register_device, **DEVICE_REQUEST | {field: value}).refused(Invalid, code)


def test_given_device_when_placed_then_it_stands_there() -> None:
    device.given(DEVICE).when(model.place_probe, **place(UNIT, NOON)).then(placed("U1", NOON))


def test_given_local_time_when_placed_then_stored_in_utc() -> None:
    local = NOON.astimezone(timezone(timedelta(hours=8)))
    outcome = device.given(DEVICE).when(model.place_probe, **place(UNIT, local, "temperature"))
    outcome.then(placed("U1", NOON))
    assert str(outcome.events[0]).endswith("datetime.timezone.utc))")


def test_given_placed_when_placed_there_again_then_nothing_happens() -> None:
    there = device.given(DEVICE, placed("U1", NOON))
    there.when(model.place_probe, **place(UNIT, NOON)).then()
    there.when(model.place_probe, **place(UNIT, NOON + HOUR)).then()


def test_given_placed_when_placed_elsewhere_then_the_former_stay_ends() -> None:
    outcome = device.given(DEVICE, placed("U1", NOON))
    moved = outcome.when(model.place_probe, **place(OTHER_UNIT, NOON + HOUR))
    moved.then(placed("U2", NOON + HOUR))
    state = outcome.given(*moved.events).state
    assert state is not None
    stands = [state.unit_at("t1", NOON + n * HOUR / 2) for n in (-1, 0, 1, 2, 3)]
    assert stands == ["", "U1", "U1", "U2", "U2"]


def test_given_placed_when_placed_elsewhere_at_that_moment_then_conflict() -> None:
    outcome = device.given(DEVICE, placed("U1", NOON))
    moved = outcome.when(model.place_probe, **place(OTHER_UNIT, NOON))
    moved.refused(Conflict, "already_placed")


def test_given_placed_when_removed_then_it_stands_nowhere() -> None:
    there = device.given(DEVICE, placed("U1", NOON))
    there.when(model.remove_probe, channel="t1", removed_at=NOON + HOUR).then(removed(NOON + HOUR))
    gone = there.given(removed(NOON + HOUR))
    assert gone.state is not None
    assert gone.state.unit_at("t1", NOON + HOUR) == ""
    gone.when(model.remove_probe, channel="t1", removed_at=NOON + HOUR).then()
    later = gone.when(model.remove_probe, channel="t1", removed_at=NOON + 2 * HOUR)
    later.refused(Conflict, "not_placed")


def test_given_placed_when_removed_at_that_moment_then_conflict() -> None:
    there = device.given(DEVICE, placed("U1", NOON))
    outcome = there.when(model.remove_probe, channel="t1", removed_at=NOON)
    outcome.refused(Conflict, "already_placed")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"unit": None}, "unknown_unit"),
        ({"unit_id": "U2"}, "unknown_unit"),
        ({"channel": "t2"}, "unknown_channel"),
        ({"placed_at": datetime(2026, 11, 22)}, "naive_time"),  # noqa: DTZ001 naive on purpose
    ],
)
def test_given_device_when_placing_is_wrong_then_refused(change: dict[str, Any], code: str) -> None:
    outcome = device.given(DEVICE).when(model.place_probe, **place(UNIT, NOON) | change)
    outcome.refused(Invalid, code)


def test_given_no_device_when_placed_or_removed_then_not_found() -> None:
    device.when(model.place_probe, **place(UNIT, NOON)).refused(NotFound, "unknown_device")
    device.when(model.remove_probe, channel="t1", removed_at=NOON).refused(
        NotFound, "unknown_device"
    )


def test_given_placements_in_any_order_when_folded_then_one_state() -> None:
    told = [
        placed("U1", NOON),
        placed("U2", NOON + HOUR),
        removed(NOON + 2 * HOUR),
        placed("U1", NOON + 3 * HOUR),
        placed("U2", NOON, "rh"),
    ]
    expected = device.given(DEVICE, *told).state
    for seed in range(10):
        shuffled = random.Random(seed).sample(told, len(told))
        assert device.given(DEVICE, *shuffled).state == expected


def test_given_file_when_kept_then_under_its_digest_once() -> None:
    sha256 = hashlib.sha256(b"T AL -0.5").hexdigest()
    kept = EvidenceKept(
        sha256=sha256, filename="2L.txt", kind="fridge_tag_2l", content=b"T AL -0.5"
    )
    evidence.when(model.keep_evidence, **FILE).then(kept)
    evidence.given(kept).when(model.keep_evidence, **FILE | {"filename": "copy.txt"}).then()
    evidence.when(model.keep_evidence, **FILE | {"content": b""}).refused(Invalid, "empty_file")


def test_given_things_when_streams_asked_then_all_differ() -> None:
    streams = [
        model.profile_stream("x"),
        model.unit_stream("x"),
        model.gateway_stream("x"),
        model.device_stream("x"),
        model.evidence_stream("x"),
    ]
    assert len(set(streams)) == len(streams)


def test_given_readings_when_numbered_then_by_row_or_by_time() -> None:
    readings = ReadingsRecorded(
        device_id="TH-1",
        boot=3,
        seq=10,
        ts_ms=(60_000, 180_000),
        columns={"t1": (4.0, 4.1)},
        received_ms=200_000,
    )
    assert [readings.seq_of(n) for n in range(2)] == [10, 11]
    by_time = replace(readings, boot=BOOT_UNSEQUENCED)
    assert [by_time.seq_of(n) for n in range(2)] == [10, 120_010]


def test_given_a_version_nobody_wrote_when_upcast_then_refused() -> None:
    with pytest.raises(TypeError, match="no upcaster"):
        DeviceRegistered.upcast(7, {})
