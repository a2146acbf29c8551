"""Gateways replaced and devices moved: through which a device reported when."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.cold_chain import model, places
from domain.cold_chain.events import (
    DeviceMoved,
    GatewayRegistered,
    GatewayReplaced,
)
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from tests.cold_chain import facts
from tests.cold_chain.facts import GATEWAY, NOON
from tests.spec import spec

NOW = NOON + timedelta(days=1)
G1 = GATEWAY
G2 = replace(G1, gateway_id="G2")
AWAY = GatewayRegistered(gateway_id="G9", site_id="S9", region_code="640205")
DEVICE = replace(facts.DEVICE, channels=("t1",))

gateway = spec(model.evolve_gateway, None)
device = spec(model.evolve_device, None)


def hours(n: float) -> datetime:
    return NOON + timedelta(hours=n)


def replaced(gateway_id: str, replacement_id: str, at: datetime) -> GatewayReplaced:
    return GatewayReplaced(gateway_id=gateway_id, replacement_id=replacement_id, replaced_at=at)


def moved(to: GatewayRegistered, at: datetime) -> DeviceMoved:
    return DeviceMoved(
        device_id="D1",
        gateway_id=to.gateway_id,
        site_id=to.site_id,
        region_code=to.region_code,
        moved_at=at,
    )


def replacing(replacement_id: str = "G2", **other: Any) -> dict[str, Any]:
    asked = {"replacement": None, "replacement_id": replacement_id, "replaced_at": NOON, "now": NOW}
    return asked | other


def moving(to: GatewayRegistered, **other: Any) -> dict[str, Any]:
    asked = {"gateway": model.Gateway(to), "gateway_id": to.gateway_id, "moved_at": NOON}
    return asked | {"now": NOW} | other


def test_given_a_dead_gateway_when_replaced_then_told_once() -> None:
    dead = gateway.given(G1)
    dead.when(places.replace_gateway, **replacing()).then(replaced("G1", "G2", NOON))
    known = replacing(replacement=model.Gateway(G2))
    dead.when(places.replace_gateway, **known).then(replaced("G1", "G2", NOON))
    dead.given(replaced("G1", "G2", NOON)).when(places.replace_gateway, **replacing()).then()


def test_given_a_new_replacement_when_its_registration_is_made_then_at_the_same_site() -> None:
    stream, event = places.registered_replacement(model.Gateway(G1), "G2")
    assert (stream, event) == (model.gateway_stream("G2"), G2)


@pytest.mark.parametrize(
    ("given", "asked", "kind", "code"),
    [
        ([], replacing(), NotFound, "unknown_gateway"),
        ([G1], replacing("G1"), Invalid, "same_gateway"),
        ([G1], replacing("G 2"), Invalid, "bad_name"),
        ([G1], replacing(replaced_at=NOW + timedelta(seconds=1)), Invalid, "in_future"),
        ([G1], replacing(replaced_at=NOON.replace(tzinfo=None)), Invalid, "naive_time"),
        ([G1, replaced("G1", "G3", NOON)], replacing(), Conflict, "gateway_replaced"),
        ([G1], replacing("G9", replacement=model.Gateway(AWAY)), Conflict, "other_site"),
        (
            [G1],
            replacing(replacement=model.Gateway(G2, replaced("G2", "G3", NOON))),
            Conflict,
            "gateway_replaced",
        ),
    ],
)
def test_given_a_gateway_when_replaced_wrongly_then_refused(
    given: list[Event], asked: dict[str, Any], kind: Any, code: str
) -> None:
    gateway.given(*given).when(places.replace_gateway, **asked).refused(kind, code)


def test_given_a_replaced_gateway_when_devices_are_registered_then_only_those_it_had() -> None:
    gone = model.Gateway(G1, replaced("G1", "G2", NOON))
    asked: dict[str, Any] = {"gateway": gone, "device_id": "D1", "gateway_id": "G1"}
    asked |= {"channels": ["t1"], "interval_s": 300}
    device.when(model.register_device, **asked).refused(Conflict, "gateway_replaced")
    device.given(DEVICE).when(model.register_device, **asked).then()


def test_given_a_replaced_gateway_when_registered_again_then_nothing_happens() -> None:
    known = gateway.given(G1, replaced("G1", "G2", NOON))
    known.when(model.register_gateway, site_region="640202", gateway_id="G1", site_id="S1").then()


def test_given_a_device_when_moved_then_it_has_the_place_of_its_new_gateway() -> None:
    there = device.given(DEVICE)
    there.when(places.move_device, **moving(AWAY)).then(moved(AWAY, NOON))
    state = there.given(moved(AWAY, NOON)).state
    assert state is not None
    assert (state.region_code, state.registered.region_code) == ("640205", "640202")


def test_given_a_device_when_moved_to_where_it_is_then_nothing_happens() -> None:
    device.given(DEVICE).when(places.move_device, **moving(G1)).then()
    away = device.given(DEVICE, moved(AWAY, NOON))
    away.when(places.move_device, **moving(AWAY, moved_at=hours(2))).then()
    away.when(places.move_device, **moving(G1, moved_at=hours(-1))).then()
    away.when(places.move_device, **moving(G1, moved_at=hours(1))).then(moved(G1, hours(1)))


@pytest.mark.parametrize(
    ("given", "asked", "kind", "code"),
    [
        ([], moving(AWAY), NotFound, "unknown_device"),
        ([DEVICE], moving(AWAY, gateway=None), Invalid, "unknown_gateway"),
        ([DEVICE], moving(AWAY, moved_at=NOW + timedelta(seconds=1)), Invalid, "in_future"),
        ([DEVICE, moved(G2, NOON)], moving(AWAY), Conflict, "already_moved"),
        (
            [DEVICE],
            moving(G2, gateway=model.Gateway(G2, replaced("G2", "G3", NOON))),
            Conflict,
            "gateway_replaced",
        ),
    ],
)
def test_given_a_device_when_moved_wrongly_then_refused(
    given: list[Event], asked: dict[str, Any], kind: Any, code: str
) -> None:
    device.given(*given).when(places.move_device, **asked).refused(kind, code)


@pytest.mark.parametrize(
    ("moves", "replacements", "expected"),
    [
        ([], [], [("G1", None)]),
        ([], [("G1", "G2", 0)], [("G1", None), ("G2", 0)]),
        ([], [("G1", "G2", 0), ("G2", "G3", 5)], [("G1", None), ("G2", 0), ("G3", 5)]),
        # A replacement that went before it came, and a ring: each has an end.
        ([], [("G1", "G2", 5), ("G2", "G3", 0)], [("G1", None), ("G2", 5)]),
        ([], [("G1", "G2", 0), ("G2", "G1", 5)], [("G1", None), ("G2", 0), ("G1", 5)]),
        # Moved away before its gateway was replaced, and after.
        ([(AWAY, -1)], [("G1", "G2", 0)], [("G1", None), ("G9", -1)]),
        ([(AWAY, 1)], [("G1", "G2", 0)], [("G1", None), ("G2", 0), ("G9", 1)]),
        # Told out of order.
        ([(G1, 3), (AWAY, 1)], [], [("G1", None), ("G9", 1), ("G1", 3)]),
        ([(AWAY, 1)], [("G9", "G8", 2)], [("G1", None), ("G9", 1), ("G8", 2)]),
    ],
)
def test_given_moves_and_replacements_when_asked_then_every_place_in_order(
    moves: list[tuple[GatewayRegistered, int]],
    replacements: list[tuple[str, str, int]],
    expected: list[tuple[str, int | None]],
) -> None:
    state = device.given(DEVICE, *(moved(to, hours(at)) for to, at in moves)).state
    assert state is not None
    known = {old: replaced(old, new, hours(at)) for old, new, at in replacements}
    found = [(place.gateway_id, place.since) for place in places.places(state, known.get)]
    assert found == [
        (gateway_id, model.SINCE_EVER if at is None else hours(at)) for gateway_id, at in expected
    ]
