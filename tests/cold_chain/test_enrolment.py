"""Enrolling devices that spoke before they were registered."""

from __future__ import annotations

from typing import Any

import pytest

from domain.cold_chain import enrolment, model
from domain.cold_chain.enrolment import Placing, Suggestion, suggested
from domain.cold_chain.events import (
    ProbePlaced,
)
from domain.shared.errors import Conflict, Invalid
from tests.cold_chain.facts import DEVICE, GATEWAY, NOON, UNIT
from tests.spec import spec

PLACED = ProbePlaced(device_id="D1", channel="t1", unit_id="U1", placed_at=NOON)
ASKED: dict[str, Any] = {
    "suggestion": Suggestion(("t1", "rh"), 300),
    "gateway": model.Gateway(GATEWAY),
    "device_id": "D1",
    "gateway_id": "G1",
    "units": {"U1": UNIT},
}
AT_U1 = [Placing("t1", "U1", NOON)]

device = spec(model.evolve_device, None)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], Suggestion()),
        ([(["t1"], [5_000])], Suggestion(("t1",))),
        (
            [(["t1", "rh"], [600_000, 900_000]), (["rh", "t2"], [0, 300_000])],
            Suggestion(("t1", "rh", "t2"), 300),
        ),
        # Sent twice, and one pause: the usual step counts.
        ([(["t1"], [0, 60_000, 120_000]), (["t1"], [60_000, 9_000_000])], Suggestion(("t1",), 60)),
        ([(["t1"], [0, 1])], Suggestion(("t1",), 1)),
        ([(["t1"], [0, 10**12])], Suggestion(("t1",), 86_400)),
        ([([f"x{n}" for n in range(20)], [])], Suggestion(tuple(f"x{n}" for n in range(16)))),
    ],
)
def test_given_messages_when_looked_at_then_channels_and_interval_are_suggested(
    samples: list[tuple[list[str], list[int]]], expected: Suggestion
) -> None:
    assert suggested(samples) == expected


def test_given_a_suggestion_when_enrolled_then_registered_and_placed_once() -> None:
    device.when(enrolment.enrol_device, **ASKED).then(DEVICE)
    device.when(enrolment.enrol_device, **ASKED, placings=AT_U1).then(DEVICE, PLACED)
    known = device.given(DEVICE, PLACED)
    nothing = ASKED | {"suggestion": Suggestion()}
    known.when(enrolment.enrol_device, **nothing, placings=AT_U1).then()


def test_given_other_particulars_when_enrolled_then_those_named_count() -> None:
    named = ASKED | {"channels": ["t1", "rh"], "interval_s": 300, "suggestion": Suggestion()}
    device.when(enrolment.enrol_device, **named).then(DEVICE)
    other = device.given(DEVICE).when(enrolment.enrol_device, **ASKED, interval_s=60)
    other.refused(Conflict, "already_registered")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"suggestion": Suggestion()}, "no_suggestion"),
        ({"suggestion": Suggestion(("t1",))}, "no_suggestion"),
        ({"gateway": None}, "unknown_gateway"),
        ({"placings": [Placing("t1", "U9", NOON)]}, "unknown_unit"),
        ({"placings": [Placing("t9", "U1", NOON)]}, "unknown_channel"),
    ],
)
def test_given_too_little_when_enrolled_then_refused(change: dict[str, Any], code: str) -> None:
    device.when(enrolment.enrol_device, **ASKED | change).refused(Invalid, code)
