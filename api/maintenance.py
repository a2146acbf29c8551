"""Maintenance, repair and calibration orders of cold units, over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from fastapi import Query, Response
from pydantic import Field

from api.auth import STAFF, Principal, permission
from api.commands import Call, CallOf, Receipt, VersionOf, shown, state_of
from api.deps import DepsOf
from api.paging import PageOf
from api.routing import PREFIX, module_router
from api.schemas import (
    Body,
    Day,
    Items,
    Moment,
    Name,
    NameAsked,
    NameInPath,
    NameOrNone,
    OrgCode,
    Region,
    RegionAsked,
    Text,
    Version,
)
from domain.cold_chain import maintenance as model
from domain.cold_chain.events import MaintenanceCancelled, MaintenanceDone
from domain.cold_chain.model import evolve_unit, unit_stream
from domain.registry import model as registry
from domain.shared.decide import decide, fold
from domain.shared.errors import NotFound
from domain.shared.events import Event
from domain.shared.ids import ORG_CODE_PATTERN
from domain.shared.roles import Role
from domain.shared.text import TEXT_PATTERN
from projections import cold_chain as read

router = module_router("cold_chain")

KEEPERS = (Role.CDC, Role.STEWARD, Role.STORE_KEEPER, Role.CLINIC, Role.HOSPITAL)


class May(StrEnum):
    """Permissions of maintenance orders."""

    READ = "cold_chain.read_orders"
    OPEN = "cold_chain.open_order"
    CLOSE = "cold_chain.close_order"


State = Literal["open", "done", "cancelled"]
LongText = Annotated[
    str, Field(min_length=1, max_length=model.NOTE_LENGTH_MAX, pattern=TEXT_PATTERN)
]


class OrderIn(Body):
    """Work to be done on a unit; `due_on` the last day for it."""

    order_id: Annotated[Name, Field(examples=["2026-0173"])]
    unit_id: Annotated[Name, Field(examples=["dwk-room-1"])]
    kind: Annotated[model.OrderKind, Field(strict=False)]
    task: Annotated[LongText, Field(examples=["压缩机异响，请检修"])]
    due_on: Day | None = None


class Order(OrderIn):
    """An order as it stands. `assignee_id` is empty while nobody has it.

    `result`: what was done, or why it was not.
    """

    site_id: Name
    region_code: Region
    org_code: OrgCode
    opened_at: datetime
    state: State
    assignee_id: NameOrNone
    closed_at: datetime | None
    result: str
    parts: list[str]
    version: Version


class AssignmentIn(Body):
    """Who is to do it: the id of a person or a firm, never a name."""

    assignee_id: Annotated[Name, Field(examples=["coolfix-2"])]


class CompletionIn(Body):
    """What was found and done, which parts were replaced, and when the work ended."""

    result: Annotated[LongText, Field(examples=["更换压缩机启动电容，运行正常"])]
    parts: Annotated[
        list[Text], Field(max_length=model.PARTS_MAX, examples=[["启动电容 CBB65"]])
    ] = []  # noqa: RUF012  # pydantic copies it
    done_at: Moment


class CancellationIn(Body):
    """Why the work will not be done."""

    reason: Annotated[LongText, Field(examples=["设备已报废"])]


Reader = Annotated[Principal, permission(May.READ, *STAFF, Role.VENDOR)]
Opener = Annotated[Principal, permission(May.OPEN, *KEEPERS)]
Closer = Annotated[Principal, permission(May.CLOSE, *KEEPERS, Role.VENDOR)]


@router.post("/maintenance-orders", status_code=201, response_model=Receipt)
def open_order(body: OrderIn, who: Opener, call: CallOf) -> Response:
    """Open an order for planned maintenance, a repair or a calibration of a unit."""
    ledger = call.deps.ledger
    unit = state_of(ledger, unit_stream(body.unit_id), evolve_unit)
    org_code = ""
    if unit is not None:
        who.require_region(unit.region_code)
        site = state_of(ledger, registry.site_stream(unit.site_id), registry.evolve_site)
        org_code = site.org_code if site else ""
    fields = body.model_dump()
    return call.run(
        model.order_stream(body.order_id),
        decide(model.evolve_order, None, model.open_order, unit=unit, org_code=org_code, **fields),
        location=f"{PREFIX}/maintenance-orders/{body.order_id}",
        meta=call.meta(region_code=unit.region_code if unit else ""),
    )


@router.get("/maintenance-orders", response_model=Items[Order])
def list_orders(
    *,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    unit_id: NameAsked = None,
    org_code: Annotated[str | None, Query(pattern=ORG_CODE_PATTERN)] = None,
    state: State | None = None,
) -> Response:
    """List the orders of the caller's region, of one unit, organisation or state, by id."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = read.orders(
            conn,
            region=prefix,
            unit_id=unit_id or "",
            org_code=org_code or "",
            state=state or "",
            after=page.after_text(),
            limit=page.limit + 1,
        )
    return page.answer(rows, lambda row: [row.order_id])


@router.get("/maintenance-orders/{order_id}", response_model=Order)
def read_order(order_id: NameInPath, who: Reader, deps: DepsOf) -> Response:
    """Return one order; its ETag is what a change must name."""
    history = deps.ledger.stream(model.order_stream(order_id))
    order = fold(model.evolve_order, None, (envelope.event for envelope in history))
    if order is None or not who.covers(order.opened.region_code):
        raise NotFound("unknown_order", order_id=order_id)
    return shown(
        order.opened,
        history[-1].originator_version,
        opened_at=history[0].meta.occurred_at,
        assignee_id=order.assignee_id,
        **_ended(order, history[-1].meta.occurred_at),
    )


@router.post("/maintenance-orders/{order_id}/assignments", status_code=201, response_model=Receipt)
def assign_order(
    order_id: NameInPath, body: AssignmentIn, version: VersionOf, _who: Closer, call: CallOf
) -> Response:
    """Give an open order to a person or a firm, in place of whoever had it."""
    return _change(call, order_id, version, model.assign_order, **body.model_dump())


@router.post("/maintenance-orders/{order_id}/completion", status_code=201, response_model=Receipt)
def complete_order(
    order_id: NameInPath, body: CompletionIn, version: VersionOf, _who: Closer, call: CallOf
) -> Response:
    """Close an order whose work was done."""
    now = call.deps.clock.now()
    return _change(call, order_id, version, model.complete_order, now=now, **body.model_dump())


@router.post("/maintenance-orders/{order_id}/cancellation", status_code=201, response_model=Receipt)
def cancel_order(
    order_id: NameInPath, body: CancellationIn, version: VersionOf, _who: Closer, call: CallOf
) -> Response:
    """Close an order whose work will not be done."""
    return _change(call, order_id, version, model.cancel_order, **body.model_dump())


def _ended(order: model.Order, changed_at: datetime) -> dict[str, object]:
    match order.closed:
        case MaintenanceDone() as done:
            told = {"result": done.result, "parts": done.parts}
            return {"state": "done", "closed_at": done.done_at, **told}
        case MaintenanceCancelled() as cancelled:
            told = {"result": cancelled.reason, "parts": ()}
            return {"state": "cancelled", "closed_at": changed_at, **told}
        case None:
            return {"state": "open", "closed_at": None, "result": "", "parts": ()}


def _change(
    call: Call,
    order_id: str,
    version: int,
    command: Callable[..., Sequence[Event]],
    **fields: Any,
) -> Response:
    stream = model.order_stream(order_id)
    found = state_of(call.deps.ledger, stream, model.evolve_order)
    if found is None or not call.who.covers(found.opened.region_code):
        raise NotFound("unknown_order", order_id=order_id)
    return call.run(
        stream,
        decide(model.evolve_order, None, command, **fields),
        location=f"{PREFIX}/maintenance-orders/{order_id}",
        meta=call.meta(region_code=found.opened.region_code),
        expected_version=version,
    )
