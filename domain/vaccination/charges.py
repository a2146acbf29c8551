"""Prices of non-programme vaccines, charges, payments and refunds, in whole fen.

Streams: `vaccination.price` (product, region), `vaccination.charge` (charge_id). The payment itself
happens in another system, which tells what it did. A product without a price is free.

Codes of refusals: bad_field, bad_text, no_price, wrong_amount (Invalid); unknown_charge (NotFound);
already_registered, price_not_later, charge_not_due, refund_not_asked (Conflict).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import TypeAlias, assert_never
from uuid import UUID

from domain.shared.decide import register
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import checked_name, checked_region, stream_id
from domain.shared.pseudonyms import checked_id, checked_note, checked_pseudonym
from domain.shared.text import checked_text
from domain.vaccination.events import (
    ChargeCancelled,
    ChargePaid,
    ChargeRaised,
    ChargeRefunded,
    PriceSet,
    RefundAsked,
)
from domain.vaccination.rules import PRICE_FEN_MAX

ChargeEvent: TypeAlias = ChargeRaised | ChargePaid | ChargeCancelled | RefundAsked | ChargeRefunded


class Status(StrEnum):
    """Where a charge stands."""

    DUE = "due"
    PAID = "paid"
    CANCELLED = "cancelled"
    REFUND_ASKED = "refund_asked"
    REFUNDED = "refunded"


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge, where it stands, and the payment system's numbers."""

    raised: ChargeRaised
    status: Status = Status.DUE
    paid: ChargePaid | None = None
    refunded: ChargeRefunded | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """All prices of a product in a region, in order of their days."""

    prices: tuple[PriceSet, ...] = ()

    def at(self, day: date) -> PriceSet | None:
        """Return the price of a day, None before the first."""
        return next((p for p in reversed(self.prices) if p.valid_from <= day), None)


def price_stream(product_id: str, region_code: str) -> UUID:
    """Return the stream of a product's prices in a region."""
    return stream_id("vaccination.price", product_id, region_code)


def charge_stream(charge_id: str) -> UUID:
    """Return the stream of a charge."""
    return stream_id("vaccination.charge", charge_id)


def evolve_prices(state: Prices, event: PriceSet) -> Prices:
    """Return the prices after `event`."""
    return Prices((*state.prices, event))


def evolve(state: Charge | None, event: ChargeEvent) -> Charge | None:
    """Return the charge after `event`."""
    match event:
        case ChargeRaised():
            return Charge(event)
        case ChargePaid():
            return state and replace(state, status=Status.PAID, paid=event)
        case ChargeCancelled():
            return state and replace(state, status=Status.CANCELLED)
        case RefundAsked():
            return state and replace(state, status=Status.REFUND_ASKED)
        case ChargeRefunded():
            return state and replace(state, status=Status.REFUNDED, refunded=event)
        case _:
            assert_never(event)


def set_price(
    state: Prices,
    *,
    product_id: str,
    region_code: str,
    price_fen: int,
    service_fen: int,
    valid_from: date,
    basis: str,
) -> list[Event]:
    """Set a price from a day on, later than that of the price before it."""
    for field, value in (("price_fen", price_fen), ("service_fen", service_fen)):
        if not 0 <= value <= PRICE_FEN_MAX:
            raise Invalid("bad_field", field=field, min=0, max=PRICE_FEN_MAX)
    wanted = PriceSet(
        product_id=product_id,
        region_code=checked_region(region_code),
        price_fen=price_fen,
        service_fen=service_fen,
        valid_from=valid_from,
        basis=checked_text(basis, "basis"),
    )
    if wanted in state.prices:
        return []
    if state.prices and valid_from <= state.prices[-1].valid_from:
        raise Conflict("price_not_later", valid_from=state.prices[-1].valid_from.isoformat())
    return [wanted]


def raise_charge(
    state: Charge | None,
    *,
    charge_id: str,
    site_id: str,
    recipient: str,
    product_id: str,
    price: PriceSet | None,
) -> list[Event]:
    """Charge one dose at the price of the day; the same charge again changes nothing."""
    if state is not None:
        known = state.raised
        if (known.site_id, known.recipient, known.product_id) == (site_id, recipient, product_id):
            return []
        raise Conflict("already_registered", differs=["charge_id"])
    if price is None:
        raise Invalid("no_price", field="product_id", product_id=product_id)
    raised = ChargeRaised(
        charge_id=checked_id(charge_id, "charge_id"),
        site_id=site_id,
        recipient=checked_pseudonym(recipient, "recipient"),
        product_id=product_id,
        amount_fen=price.price_fen + price.service_fen,
        price_from=price.valid_from,
    )
    return register(None, raised)


def pay(state: Charge | None, *, amount_fen: int, reference: str) -> list[Event]:
    """Take a payment of exactly what is due; told twice, it counts once."""
    charge = _known(state)
    paid = ChargePaid(
        charge_id=charge.raised.charge_id,
        amount_fen=_exact(charge, amount_fen),
        reference=checked_name(reference, "reference"),
    )
    if charge.paid == paid:
        return []
    if charge.status is not Status.DUE:
        raise Conflict("charge_not_due", status=charge.status.value)
    return [paid]


def cancel(state: Charge | None, *, reason: str) -> list[Event]:
    """Cancel a charge: one that was paid is to be refunded. Again, it changes nothing."""
    charge = _known(state)
    told = checked_note(reason, "reason", required=True)
    charge_id = charge.raised.charge_id
    if charge.status is Status.DUE:
        return [ChargeCancelled(charge_id=charge_id, reason=told)]
    if charge.status is Status.PAID:
        amount = charge.raised.amount_fen
        return [RefundAsked(charge_id=charge_id, amount_fen=amount, reason=told)]
    return []


def refund(state: Charge | None, *, amount_fen: int, reference: str) -> list[Event]:
    """Take word that a refund which was asked for has been paid; told twice, it counts once."""
    charge = _known(state)
    refunded = ChargeRefunded(
        charge_id=charge.raised.charge_id,
        amount_fen=_exact(charge, amount_fen),
        refund_reference=checked_name(reference, "reference"),
    )
    if charge.refunded == refunded:
        return []
    if charge.status is not Status.REFUND_ASKED:
        raise Conflict("refund_not_asked", status=charge.status.value)
    return [refunded]


def _exact(charge: Charge, amount_fen: int) -> int:
    if amount_fen != charge.raised.amount_fen:
        raise Invalid("wrong_amount", field="amount_fen", expected=charge.raised.amount_fen)
    return amount_fen


def _known(state: Charge | None) -> Charge:
    if state is None:
        raise NotFound("unknown_charge")
    return state
