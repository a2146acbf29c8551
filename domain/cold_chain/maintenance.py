"""Work on cold units: orders opened, assigned, done or cancelled. Stream: one an order.

An order is open until it is done or cancelled. For some hours from its opening the conditions of
the unit rouse nobody while it is open (`alerts/conditions.py`); alerts of temperature always do.

Codes of refusals: bad_name, bad_text, bad_order_kind, too_many_parts, naive_time, in_future,
unknown_unit (Invalid); unknown_order (NotFound); already_registered, order_closed (Conflict).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from domain.cold_chain.events import (
    MaintenanceAssigned,
    MaintenanceCancelled,
    MaintenanceDone,
    MaintenanceOpened,
    UnitRegistered,
)
from domain.cold_chain.model import checked_past
from domain.shared.decide import register
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import checked_name, stream_id
from domain.shared.text import checked_text

# Characters of what is to be done, what was done, and why not.
NOTE_LENGTH_MAX = 2_000
PARTS_MAX = 50

Closing = MaintenanceDone | MaintenanceCancelled
OrderEvent = MaintenanceOpened | MaintenanceAssigned | Closing


class OrderKind(StrEnum):
    """Why somebody is to come."""

    PLANNED_MAINTENANCE = "planned_maintenance"
    REPAIR = "repair"
    CALIBRATION = "calibration"


@dataclass(frozen=True, slots=True)
class Order:
    """An order, who is to do it (empty: nobody yet), and how it ended (None: it is open)."""

    opened: MaintenanceOpened
    assignee_id: str = ""
    closed: Closing | None = None


def order_stream(order_id: str) -> UUID:
    """Return the stream of an order."""
    return stream_id("cold_chain.maintenance_order", order_id)


def evolve_order(state: Order | None, event: OrderEvent) -> Order | None:
    """Return the order after `event`."""
    match event:
        case MaintenanceOpened():
            return Order(event)
        case MaintenanceAssigned():
            return state and replace(state, assignee_id=event.assignee_id)
        case MaintenanceDone() | MaintenanceCancelled():
            return state and replace(state, closed=event)
        case _:
            assert_never(event)


def open_order(
    state: Order | None,
    *,
    unit: UnitRegistered | None,
    org_code: str,
    order_id: str,
    unit_id: str,
    kind: str,
    task: str,
    due_on: date | None = None,
) -> list[Event]:
    """Open an order for a unit, which lies at a site of the organisation `org_code`."""
    if kind not in list(OrderKind):
        raise Invalid("bad_order_kind", field="kind", value=kind)
    if unit is None or unit.unit_id != unit_id:
        raise Invalid("unknown_unit", field="unit_id", unit_id=unit_id)
    return register(
        state.opened if state else None,
        MaintenanceOpened(
            order_id=checked_name(order_id, "order_id"),
            unit_id=unit_id,
            site_id=unit.site_id,
            region_code=unit.region_code,
            org_code=org_code,
            kind=kind,
            task=checked_text(task, "task", length_max=NOTE_LENGTH_MAX),
            due_on=due_on,
        ),
    )


def assign_order(state: Order | None, *, assignee_id: str) -> list[Event]:
    """Give an open order to somebody, in place of whoever had it."""
    order = _known(state)
    _check_open(order)
    if order.assignee_id == assignee_id:
        return []
    checked_name(assignee_id, "assignee_id")
    return [MaintenanceAssigned(order_id=order.opened.order_id, assignee_id=assignee_id)]


def complete_order(
    state: Order | None, *, result: str, parts: Sequence[str] = (), done_at: datetime, now: datetime
) -> list[Event]:
    """Close an order whose work was done at `done_at` (aware, not after `now`)."""
    order = _known(state)
    if len(parts) > PARTS_MAX:
        raise Invalid("too_many_parts", field="parts", limit=PARTS_MAX)
    done = MaintenanceDone(
        order_id=order.opened.order_id,
        result=checked_text(result, "result", length_max=NOTE_LENGTH_MAX),
        parts=tuple(checked_text(part, "parts") for part in parts),
        done_at=checked_past(done_at, now, "done_at"),
    )
    return _closed(order, done)


def cancel_order(state: Order | None, *, reason: str) -> list[Event]:
    """Close an order whose work will not be done."""
    order = _known(state)
    cancelled = MaintenanceCancelled(
        order_id=order.opened.order_id,
        reason=checked_text(reason, "reason", length_max=NOTE_LENGTH_MAX),
    )
    return _closed(order, cancelled)


def _known(state: Order | None) -> Order:
    if state is None:
        raise NotFound("unknown_order")
    return state


def _closed(order: Order, closing: Closing) -> list[Event]:
    if order.closed == closing:
        return []
    _check_open(order)
    return [closing]


def _check_open(order: Order) -> None:
    if order.closed is not None:
        raise Conflict("order_closed", order_id=order.opened.order_id)
