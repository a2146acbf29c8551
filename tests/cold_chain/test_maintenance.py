"""Maintenance orders: opened, assigned, done or cancelled."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from domain.cold_chain import maintenance
from domain.cold_chain.events import (
    MaintenanceAssigned,
    MaintenanceCancelled,
    MaintenanceDone,
    MaintenanceOpened,
)
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from tests.cold_chain.facts import NOON, UNIT
from tests.spec import spec

OPENED = MaintenanceOpened(
    order_id="O1",
    unit_id="U1",
    site_id="S1",
    region_code="640202",
    org_code="126402024540000009",
    kind="repair",
    task="压缩机异响",
    due_on=date(2026, 12, 1),
)
ASKED: dict[str, Any] = {
    "unit": UNIT,
    "org_code": "126402024540000009",
    "order_id": "O1",
    "unit_id": "U1",
    "kind": "repair",
    "task": "压缩机异响",
    "due_on": date(2026, 12, 1),
}
GIVEN_TO = MaintenanceAssigned(order_id="O1", assignee_id="coolfix")
DONE = MaintenanceDone(order_id="O1", result="更换电容", parts=("电容",), done_at=NOON)
DOING: dict[str, Any] = {"result": "更换电容", "parts": ["电容"], "done_at": NOON, "now": NOON}
CANCELLED = MaintenanceCancelled(order_id="O1", reason="设备已报废")

order = spec(maintenance.evolve_order, None)
DO, CANCEL, ASSIGN = (
    maintenance.complete_order,
    maintenance.cancel_order,
    maintenance.assign_order,
)


def test_given_a_unit_when_an_order_is_opened_then_it_is_once() -> None:
    order.when(maintenance.open_order, **ASKED).then(OPENED)
    order.given(OPENED, GIVEN_TO).when(maintenance.open_order, **ASKED).then()
    other = ASKED | {"task": "除霜"}
    again = order.given(OPENED).when(maintenance.open_order, **other)
    again.refused(Conflict, "already_registered")


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("unit", None, "unknown_unit"),
        ("unit_id", "U2", "unknown_unit"),
        ("kind", "party", "bad_order_kind"),
        ("order_id", "O 1", "bad_name"),
        ("task", " ", "bad_text"),
    ],
)
def test_given_a_unit_when_an_order_is_wrong_then_refused(
    field: str, value: object, code: str
) -> None:
    order.when(maintenance.open_order, **ASKED | {field: value}).refused(Invalid, code)


def test_given_an_order_when_assigned_then_to_the_last_named() -> None:
    order.given(OPENED).when(ASSIGN, assignee_id="coolfix").then(GIVEN_TO)
    known = order.given(OPENED, GIVEN_TO)
    known.when(ASSIGN, assignee_id="coolfix").then()
    other = MaintenanceAssigned(order_id="O1", assignee_id="icefix")
    known.when(ASSIGN, assignee_id="icefix").then(other)
    known.when(ASSIGN, assignee_id="张 三").refused(Invalid, "bad_name")


@pytest.mark.parametrize("earlier", [[OPENED], [OPENED, GIVEN_TO]])
def test_given_an_open_order_when_done_or_cancelled_then_closed(earlier: list[Event]) -> None:
    known = order.given(*earlier)
    known.when(DO, **DOING).then(DONE)
    known.when(CANCEL, reason="设备已报废").then(CANCELLED)
    known.given(DONE).when(DO, **DOING).then()
    known.given(CANCELLED).when(CANCEL, reason="设备已报废").then()


@pytest.mark.parametrize("closed", [DONE, CANCELLED])
def test_given_a_closed_order_when_changed_then_refused(closed: Event) -> None:
    known = order.given(OPENED, closed)
    known.when(ASSIGN, assignee_id="coolfix").refused(Conflict, "order_closed")
    known.when(DO, **DOING | {"result": "别的"}).refused(Conflict, "order_closed")
    known.when(CANCEL, reason="别的").refused(Conflict, "order_closed")


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("result", "", "bad_text"),
        ("parts", [" "], "bad_text"),
        ("parts", ["x"] * 51, "too_many_parts"),
        ("done_at", NOON + timedelta(seconds=1), "in_future"),
    ],
)
def test_given_an_open_order_when_done_wrongly_then_refused(
    field: str, value: object, code: str
) -> None:
    order.given(OPENED).when(DO, **DOING | {field: value}).refused(Invalid, code)


def test_given_no_order_when_changed_then_not_found() -> None:
    order.when(ASSIGN, assignee_id="coolfix").refused(NotFound, "unknown_order")
    order.when(DO, **DOING).refused(NotFound, "unknown_order")
    order.when(CANCEL, reason="x").refused(NotFound, "unknown_order")
    assert maintenance.order_stream("O1") != maintenance.order_stream("O2")
