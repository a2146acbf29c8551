"""Charges for non-programme vaccine over HTTP; the payment system tells what it did.

The port to it is these routes: it reads what is due or to be refunded, and answers with its own
number. What it tells twice counts once.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Response
from pydantic import Field

from api.auth import Principal, permission
from api.commands import CallOf, Receipt
from api.deps import Deps, DepsOf
from api.injections import CLINIC_STAFF, ProductId, Pseudonym, list_records, site_region
from api.paging import PageOf
from api.routing import PREFIX, module_router
from api.schemas import Body, Day, Items, Name, NameAsked, NameInPath, Region, RegionAsked, Text
from domain.shared.decide import decide, fold
from domain.shared.errors import NotFound
from domain.shared.roles import Role
from domain.vaccination import charges as model
from domain.vaccination.events import PriceSet
from domain.vaccination.rules import PRICE_FEN_MAX, day_of

router = module_router("vaccination")


class May(StrEnum):
    """Permissions of charges."""

    READ = "vaccination.read_charges"
    PRICE = "vaccination.set_price"
    CHARGE = "vaccination.charge"
    PAY = "vaccination.settle_charge"


Fen = Annotated[int, Field(ge=0, le=PRICE_FEN_MAX)]


class PriceIn(Body):
    """The price of a dose, in fen, in a region from a day on: the vaccine, and the service."""

    product_id: ProductId
    region_code: Region
    price_fen: Fen
    service_fen: Fen
    valid_from: Day
    basis: Annotated[Text, Field(examples=["自治区疫苗采购中标价"])]


class ChargeIn(Body):
    """One dose of a non-programme vaccine, at the price of the day."""

    charge_id: Name | None = None
    site_id: Annotated[Name, Field(examples=["dwk-cdc"])]
    recipient: Pseudonym
    product_id: ProductId


class SettledIn(Body):
    """Money that the payment system moved, all of the charge, under its own number."""

    amount_fen: Annotated[int, Field(ge=0, le=2 * PRICE_FEN_MAX)]
    reference: Name


class CancellationIn(Body):
    """Why nothing shall be paid, or what was paid shall be given back."""

    reason: Text


class ChargeReceipt(Receipt):
    """The receipt of a charge: what is to be paid."""

    charge_id: str


class Charge(Body):
    """A charge as it stands."""

    charge_id: str
    site_id: str
    recipient: str = ""
    product_id: str
    amount_fen: int
    price_from: date
    reference: str = ""
    refund_reference: str = ""
    reason: str = ""
    state: str
    region_code: str
    changed_at: datetime
    version: int


CASHIERS = (Role.FINANCE, *CLINIC_STAFF)
Settler = Annotated[Principal, permission(May.PAY, Role.PAYMENT)]


@router.post("/vaccination/prices", status_code=201, response_model=Receipt)
def set_price(
    body: PriceIn,
    who: Annotated[Principal, permission(May.PRICE, Role.FINANCE, Role.CDC)],
    call: CallOf,
) -> Response:
    """Set the price of a product in a region, later than the price before."""
    who.require_region(body.region_code)
    return call.run(
        model.price_stream(body.product_id, body.region_code),
        decide(model.evolve_prices, model.Prices(), model.set_price, **body.model_dump()),
        location=f"{PREFIX}/vaccination/prices",
        meta=call.meta(region_code=body.region_code),
    )


@router.post("/vaccination/charges", status_code=201, response_model=ChargeReceipt)
def raise_charge(
    body: ChargeIn,
    who: Annotated[Principal, permission(May.CHARGE, *CASHIERS)],
    call: CallOf,
) -> Response:
    """Charge one dose; a product without a price in the region is free and refused."""
    deps = call.deps
    region = site_region(deps, who, body.site_id, "site_id")
    charge_id = body.charge_id or uuid4().hex
    decision = decide(
        model.evolve,
        None,
        model.raise_charge,
        charge_id=charge_id,
        site_id=body.site_id,
        recipient=body.recipient,
        product_id=body.product_id,
        price=_price(deps, body.product_id, region),
    )
    return call.run(
        model.charge_stream(charge_id),
        decision,
        location=f"{PREFIX}/vaccination/charges",
        meta=call.meta(region_code=region),
        more={"charge_id": charge_id},
    )


@router.get("/vaccination/charges", response_model=Items[Charge])
def list_charges(
    *,
    who: Annotated[Principal, permission(May.READ, Role.PAYMENT, *CASHIERS)],
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    site_id: NameAsked = None,
    state: model.Status | None = None,
) -> Response:
    """List the charges of the caller's region, by id."""
    asked: dict[str, Any] = {"region": region, "site_id": site_id, "state": state}
    return list_records(deps, who, page, "charge", **asked)


@router.post("/vaccination/charges/{charge_id}/payment", status_code=201, response_model=Receipt)
def pay_charge(charge_id: NameInPath, body: SettledIn, who: Settler, call: CallOf) -> Response:
    """Tell that a charge was paid."""
    region = _region(call.deps, who, charge_id)
    return call.run(
        model.charge_stream(charge_id),
        decide(model.evolve, None, model.pay, **body.model_dump()),
        location=f"{PREFIX}/vaccination/charges",
        meta=call.meta(region_code=region),
    )


@router.post("/vaccination/charges/{charge_id}/refund", status_code=201, response_model=Receipt)
def refund_charge(charge_id: NameInPath, body: SettledIn, who: Settler, call: CallOf) -> Response:
    """Tell that a refund was paid."""
    region = _region(call.deps, who, charge_id)
    return call.run(
        model.charge_stream(charge_id),
        decide(model.evolve, None, model.refund, **body.model_dump()),
        location=f"{PREFIX}/vaccination/charges",
        meta=call.meta(region_code=region),
    )


@router.post(
    "/vaccination/charges/{charge_id}/cancellation", status_code=201, response_model=Receipt
)
def cancel_charge(
    charge_id: NameInPath,
    body: CancellationIn,
    who: Annotated[Principal, permission(May.CHARGE, *CASHIERS)],
    call: CallOf,
) -> Response:
    """Cancel a charge; what was paid is to be refunded."""
    region = _region(call.deps, who, charge_id)
    return call.run(
        model.charge_stream(charge_id),
        decide(model.evolve, None, model.cancel, **body.model_dump()),
        location=f"{PREFIX}/vaccination/charges",
        meta=call.meta(region_code=region),
    )


def _price(deps: Deps, product_id: str, region: str) -> PriceSet | None:
    """Return the price of today: of the county, else the prefecture, else the province."""
    today = day_of(deps.clock.now())
    for code in dict.fromkeys((region, f"{region[:4]}00", f"{region[:2]}0000")):
        history = deps.ledger.stream(model.price_stream(product_id, code))
        prices = fold(model.evolve_prices, model.Prices(), (e.event for e in history))
        found = prices.at(today)
        if found is not None:
            return found
    return None


def _region(deps: Deps, who: Principal, charge_id: str) -> str:
    """Return the region of a charge of the caller's; NotFound("unknown_charge") for any other."""
    history = deps.ledger.stream(model.charge_stream(charge_id))
    if not history:
        raise NotFound("unknown_charge")
    who.require_seen(history[0].meta.region_code, "unknown_charge")
    return history[0].meta.region_code
