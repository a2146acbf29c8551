"""Stock limits, requisitions and their allotment over HTTP."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import uuid4

import psycopg
from fastapi import Path, Response
from pydantic import Field

from api import facts
from api.auth import Principal, permission
from api.commands import CallOf, Receipt, state_of, versioned
from api.deps import Deps, DepsOf
from api.injections import CLINIC_STAFF, ProductId, list_records, site_region
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import Body, Items, Name, NameAsked, NameInPath, Note, RegionAsked, Text
from domain.shared.decide import decide
from domain.shared.errors import Invalid, NotFound
from domain.shared.ids import NAME_PATTERN
from domain.shared.roles import Role
from domain.traceability.lots import LOT_PATTERN
from domain.vaccination import supply as model
from domain.vaccination.events import Line, RequisitionApproved, RequisitionAsked, StockLimitSet
from domain.vaccination.rules import LINES_MAX, UNITS_MAX, day_of
from projections import traceability as goods
from projections import vaccination as read

router = module_router("vaccination")

PRODUCTS_MAX = 500


class May(StrEnum):
    """Permissions of supply."""

    READ = "vaccination.read_supply"
    LIMIT = "vaccination.set_stock_limit"
    ASK = "vaccination.ask_for_stock"
    ALLOT = "vaccination.allot_stock"


Units = Annotated[int, Field(ge=1, le=UNITS_MAX)]


class LimitIn(Body):
    """How many smallest packs of a product a site keeps."""

    site_id: Annotated[Name, Field(examples=["dwk-cdc"])]
    product_id: ProductId
    units_min: Annotated[int, Field(ge=0, le=UNITS_MAX)]
    units_max: Annotated[int, Field(ge=0, le=UNITS_MAX)]


class Proposal(Body):
    """A site's limit of a product, what is there and on its way, and what to ask for."""

    product_id: str
    units_min: int
    units_max: int
    units_now: int
    units_coming: int
    units_to_ask: int


class Proposals(Body):
    """The limits of a site."""

    items: list[Proposal]


class LineIn(Body):
    """So many smallest packs of a product."""

    product_id: ProductId
    units: Units


class AllottedIn(LineIn):
    """So many smallest packs of a lot."""

    lot_id: Annotated[str, Field(pattern=LOT_PATTERN, examples=["8474354.A2026573"])]


class LineOut(Body):
    """So many smallest packs of a product; `lot_id` empty in what is asked for."""

    product_id: str
    units: int
    lot_id: str


class RequisitionIn(Body):
    """What a site asks another for, each product once."""

    requisition_id: Name | None = None
    site_id: Annotated[Name, Field(examples=["dwk-cdc"])]
    supplier_id: Annotated[Name, Field(examples=["szs"])]
    lines: Annotated[list[LineIn], Field(min_length=1, max_length=LINES_MAX)]
    note: Note = ""


class ApprovalIn(Body):
    """Which lots go out on which bill; without lines what is proposed, near expiry first."""

    bill_no: Name | None = None
    lines: Annotated[list[AllottedIn], Field(min_length=1, max_length=LINES_MAX)] | None = None


class ApprovalReceipt(Receipt):
    """The receipt of an approval: the dispatch scan names this bill."""

    bill_no: str
    allotted: list[LineOut]


class ReasonIn(Body):
    """Why."""

    reason: Text


class Requisition(Body):
    """A requisition as it stands. `bill_no` and `allotted` once it is approved."""

    requisition_id: str
    site_id: str
    supplier_id: str
    supplier_region_code: str
    lines: list[LineOut]
    note: str
    bill_no: str = ""
    allotted: list[LineOut] | None = None
    reason: str = ""
    state: str
    region_code: str
    changed_at: datetime
    version: int


class RequisitionWhole(Body):
    """A requisition with what the supplier's stock would give now, near expiry first."""

    requisition_id: str
    site_id: str
    supplier_id: str
    supplier_region_code: str
    lines: list[LineOut]
    note: str
    state: str
    bill_no: str
    allotted: list[LineOut]
    reason: str
    proposal: list[LineOut]
    version: int


STORES = (Role.CDC, Role.STORE_KEEPER)
Reader = Annotated[Principal, permission(May.READ, *STORES, Role.SUPPLIER, *CLINIC_STAFF)]
Allotter = Annotated[Principal, permission(May.ALLOT, *STORES, Role.SUPPLIER)]


@router.post("/vaccination/stock-limits", status_code=201, response_model=Receipt)
def set_stock_limit(
    body: LimitIn,
    who: Annotated[Principal, permission(May.LIMIT, *STORES, Role.CLINIC)],
    call: CallOf,
) -> Response:
    """Set how much a site keeps of a product; it may be set again."""
    region = site_region(call.deps, who, body.site_id, "site_id")
    return call.run(
        model.limit_stream(body.site_id, body.product_id),
        decide(model.evolve_limit, None, model.set_limit, **body.model_dump()),
        location=f"{PREFIX}/vaccination/sites/{body.site_id}/stock-limits",
        meta=call.meta(region_code=region),
    )


@router.get("/vaccination/sites/{site_id}/stock-limits", response_model=Proposals)
def list_stock_limits(
    who: Reader, deps: DepsOf, site_id: Annotated[str, Path(pattern=NAME_PATTERN)]
) -> Response:
    """Return a site's limits with its stock, and what it should ask for."""
    region = facts.site_region(deps, site_id)
    if region is None or not who.covers(region):
        raise NotFound("unknown_site")
    now: Counter[str] = Counter()
    coming: Counter[str] = Counter()
    with deps.pool.connection() as conn:
        found = read.records(conn, "limit", site_id=site_id, limit=PRODUCTS_MAX)
        for line in goods.stock(conn, [site_id]):
            counted = {"in_stock": now, "opened": now, "in_transit": coming}.get(line.status)
            if counted is not None:
                counted[line.lot_id.partition(".")[0]] += line.units
    limits = [StockLimitSet(**record.body) for record in found]
    items = [asdict(each) for each in model.propose(limits, now=now, coming=coming)]
    return json_answer({"items": items})


@router.post("/vaccination/requisitions", status_code=201, response_model=Receipt)
def ask_for_stock(
    body: RequisitionIn,
    who: Annotated[Principal, permission(May.ASK, *STORES, *CLINIC_STAFF)],
    call: CallOf,
) -> Response:
    """Ask another site for stock."""
    region = site_region(call.deps, who, body.site_id, "site_id")
    supplier = facts.site_region(call.deps, body.supplier_id)
    if supplier is None:
        raise Invalid("unknown_site", field="supplier_id", site_id=body.supplier_id)
    requisition_id = body.requisition_id or uuid4().hex
    asked = RequisitionAsked(
        requisition_id=requisition_id,
        site_id=body.site_id,
        supplier_id=body.supplier_id,
        supplier_region_code=supplier,
        lines=tuple(Line(product_id=line.product_id, units=line.units) for line in body.lines),
        note=body.note,
    )
    return call.run(
        model.requisition_stream(requisition_id),
        decide(model.evolve, None, model.ask, asked=asked),
        location=f"{PREFIX}/vaccination/requisitions/{requisition_id}",
        meta=call.meta(region_code=region),
    )


@router.get("/vaccination/requisitions", response_model=Items[Requisition])
def list_requisitions(
    *,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    site_id: NameAsked = None,
    state: Literal["asked", "approved", "declined"] | None = None,
) -> Response:
    """List what sites of the caller's region ask for, or are asked for, by id."""
    asked: dict[str, Any] = {"region": region, "site_id": site_id, "state": state}
    return list_records(deps, who, page, "requisition", **asked)


@router.get("/vaccination/requisitions/{requisition_id}", response_model=RequisitionWhole)
def read_requisition(requisition_id: NameInPath, who: Reader, deps: DepsOf) -> Response:
    """Return one requisition with a proposal of lots while it is open."""
    found, region = _known(deps, requisition_id)
    if not (who.covers(region) or who.covers(found.asked.supplier_region_code)):
        raise NotFound("unknown_requisition")
    stream = model.requisition_stream(requisition_id)
    _, version = versioned(deps.ledger, stream, model.evolve)
    answer = found.answer
    approved = isinstance(answer, RequisitionApproved)
    shown = {
        **asdict(found.asked),
        "state": "asked" if answer is None else "approved" if approved else "declined",
        "bill_no": getattr(answer, "bill_no", ""),
        "allotted": [asdict(line) for line in getattr(answer, "allotted", ())],
        "reason": getattr(answer, "reason", ""),
        "proposal": [] if answer else [asdict(line) for line in _proposal(deps, found)],
        "version": version,
    }
    return json_answer(shown, headers={"ETag": f'"{version}"'})


@router.post(
    "/vaccination/requisitions/{requisition_id}/approval",
    status_code=201,
    response_model=ApprovalReceipt,
)
def approve_requisition(
    requisition_id: NameInPath, body: ApprovalIn, who: Allotter, call: CallOf
) -> Response:
    """Allot lots to a requisition, and give the number of the bill they go out on."""
    deps = call.deps
    found, region = _asked_of(deps, who, requisition_id)
    before = found.answer if isinstance(found.answer, RequisitionApproved) else None
    day = day_of(deps.clock.now()).strftime("%Y%m%d")
    number = before.bill_no if before else f"PS{day}-{requisition_id}"[:64]
    bill_no = body.bill_no or number
    if body.lines is not None:
        lines = [Line(**line.model_dump()) for line in body.lines]
    else:
        lines = list(before.allotted) if before else _proposal(deps, found)
    if not lines:
        raise Invalid("no_stock", field="lines")
    return call.run(
        model.requisition_stream(requisition_id),
        decide(model.evolve, None, model.approve, bill_no=bill_no, lines=lines),
        location=f"{PREFIX}/vaccination/requisitions/{requisition_id}",
        meta=call.meta(region_code=region),
        claims=[model.bill_claim(bill_no, requisition_id)],
        more={"bill_no": bill_no, "allotted": [asdict(line) for line in lines]},
    )


@router.post(
    "/vaccination/requisitions/{requisition_id}/refusal", status_code=201, response_model=Receipt
)
def decline_requisition(
    requisition_id: NameInPath, body: ReasonIn, who: Allotter, call: CallOf
) -> Response:
    """Send nothing, for a reason."""
    _, region = _asked_of(call.deps, who, requisition_id)
    return call.run(
        model.requisition_stream(requisition_id),
        decide(model.evolve, None, model.decline, reason=body.reason),
        location=f"{PREFIX}/vaccination/requisitions/{requisition_id}",
        meta=call.meta(region_code=region),
    )


def _known(deps: Deps, requisition_id: str) -> tuple[model.Requisition, str]:
    """Return a requisition with the region of the site that asks."""
    stream = model.requisition_stream(requisition_id)
    found = state_of(deps.ledger, stream, model.evolve)
    if found is None:
        raise NotFound("unknown_requisition")
    return found, deps.ledger.stream(stream)[0].meta.region_code


def _asked_of(deps: Deps, who: Principal, requisition_id: str) -> tuple[model.Requisition, str]:
    """Return a requisition that the caller's region is asked for; NotFound for any other."""
    found, region = _known(deps, requisition_id)
    who.require_seen(found.asked.supplier_region_code, "unknown_requisition")
    return found, region


def _proposal(deps: Deps, found: model.Requisition) -> list[Line]:
    with deps.pool.connection() as conn:
        stocked = _stocked(conn, found.asked.supplier_id)
    return model.allot(found.asked.lines, stocked, today=day_of(deps.clock.now()))


def _stocked(conn: psycopg.Connection[Any], site_id: str) -> list[model.Stocked]:
    """Return what a site may send: what is held or recalled stands under another status."""
    stocked = []
    for line in goods.stock(conn, [site_id]):
        if line.status == "in_stock" and line.units and line.lot_id:
            lot = goods.lot(conn, line.lot_id)
            expires_on = lot["expires_on"] if lot else None
            product_id = line.lot_id.partition(".")[0]
            stocked.append(model.Stocked(product_id, line.lot_id, line.units, expires_on))
    return stocked
