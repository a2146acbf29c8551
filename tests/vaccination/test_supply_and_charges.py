"""Requisitions and their allotment, charges and refunds: rules and refusals."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.shared.errors import Conflict, DomainError, Invalid, NotFound
from domain.vaccination import charges, supply
from domain.vaccination.events import (
    ChargeCancelled,
    ChargePaid,
    ChargeRaised,
    ChargeRefunded,
    Line,
    PriceSet,
    RefundAsked,
    RequisitionApproved,
    RequisitionAsked,
    RequisitionDeclined,
    StockLimitSet,
)
from domain.vaccination.supply import Stocked
from tests.spec import spec

TODAY = date(2026, 3, 2)
A, B = "8474354", "8690011"
ASKED = RequisitionAsked(
    requisition_id="Q-1",
    site_id="dwk",
    supplier_id="szs",
    supplier_region_code="640200",
    lines=(Line(product_id=A, units=10),),
)
ALLOTTED = Line(product_id=A, units=10, lot_id=f"{A}.L1")
APPROVED = RequisitionApproved(requisition_id="Q-1", bill_no="PS1", allotted=(ALLOTTED,))
LIMIT = StockLimitSet(site_id="dwk", product_id=A, units_min=5, units_max=20)
PRICE = PriceSet(
    product_id=A,
    region_code="640000",
    price_fen=19_800,
    service_fen=2_000,
    valid_from=date(2026, 1, 1),
    basis="中标价",
)
CHARGE = ChargeRaised(
    charge_id="F-1",
    site_id="dwk",
    recipient="R-1",
    product_id=A,
    amount_fen=21_800,
    price_from=date(2026, 1, 1),
)
PAID = ChargePaid(charge_id="F-1", amount_fen=21_800, reference="P1")
TO_REFUND = RefundAsked(charge_id="F-1", amount_fen=21_800, reason="禁忌")
REFUNDED = ChargeRefunded(charge_id="F-1", amount_fen=21_800, refund_reference="P2")

a_limit = spec(supply.evolve_limit, None)
a_requisition = spec(supply.evolve, None)
prices = spec(charges.evolve_prices, charges.Prices())
a_charge = spec(charges.evolve, None)


def limit(low: int, high: int) -> dict[str, Any]:
    return {"site_id": "dwk", "product_id": A, "units_min": low, "units_max": high}


def test_given_a_limit_when_set_then_in_force_and_again_nothing() -> None:
    a_limit.when(supply.set_limit, **limit(5, 20)).then(LIMIT)
    a_limit.given(LIMIT).when(supply.set_limit, **limit(5, 20)).then()
    a_limit.when(supply.set_limit, **limit(6, 5)).refused(Invalid, "bad_stock_limit")


@pytest.mark.parametrize(
    ("now", "coming", "to_ask"), [(4, 0, 16), (4, 1, 0), (0, 4, 16), (5, 0, 0)]
)
def test_given_stock_when_below_the_minimum_then_up_to_the_maximum(
    now: int, coming: int, to_ask: int
) -> None:
    (found,) = supply.propose([LIMIT], now=Counter({A: now}), coming=Counter({A: coming}))
    assert found.units_to_ask == to_ask


def test_given_a_requisition_when_answered_then_once() -> None:
    a_requisition.when(supply.ask, asked=ASKED).then(ASKED)
    asked = a_requisition.given(ASKED)
    asked.when(supply.ask, asked=ASKED).then()
    approve: dict[str, Any] = {"bill_no": "PS1", "lines": [ALLOTTED]}
    asked.when(supply.approve, **approve).then(APPROVED)
    approved = asked.given(APPROVED)
    approved.when(supply.approve, **approve).then()
    approved.when(supply.decline, reason="缺货").refused(Conflict, "requisition_closed")
    declined = RequisitionDeclined(requisition_id="Q-1", reason="缺货")
    asked.when(supply.decline, reason="缺货").then(declined)
    assert asked.given(declined).state == supply.Requisition(ASKED, declined)
    a_requisition.when(supply.decline, reason="缺货").refused(NotFound, "unknown_requisition")
    assert supply.bill_claim("PS1", "Q-1") != supply.bill_claim("PS2", "Q-1")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"supplier_id": "dwk"}, "same_site"),
        ({"lines": ()}, "too_many_items"),
        ({"lines": (Line(product_id=A, units=0),)}, "bad_field"),
        ({"lines": ASKED.lines * 2}, "bad_field"),
    ],
)
def test_given_a_bad_requisition_when_asked_then_refused(
    changes: dict[str, Any], code: str
) -> None:
    a_requisition.when(supply.ask, asked=replace(ASKED, **changes)).refused(Invalid, code)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (Line(product_id=A, units=11, lot_id=f"{A}.L1"), "not_asked_for"),
        (Line(product_id=B, units=1, lot_id=f"{B}.L1"), "not_asked_for"),
        (Line(product_id=A, units=1), "bad_field"),
    ],
)
def test_given_a_bad_allotment_when_approved_then_refused(line: Line, code: str) -> None:
    asked = a_requisition.given(ASKED)
    asked.when(supply.approve, bill_no="PS1", lines=[line]).refused(Invalid, code)


lots = st.lists(
    st.builds(
        Stocked,
        product_id=st.sampled_from([A, B]),
        lot_id=st.uuids().map(str),
        units=st.integers(1, 9),
        expires_on=st.none() | st.dates(date(2026, 2, 20), date(2026, 3, 20)),
    ),
    max_size=8,
)


def test_given_lots_of_two_products_when_allotted_then_the_nearest_expiry_first() -> None:
    days = [date(2026, 3, day) for day in (1, 20, 9)]
    stock = [Stocked(product_id=A, lot_id=f"{A}.{n}", units=4, expires_on=day)
             for n, day in enumerate(days)]  # fmt: skip
    other = Stocked(product_id=B, lot_id=f"{B}.L", units=9, expires_on=None)
    asked = [Line(product_id=A, units=6), Line(product_id=B, units=5)]
    assert supply.allot(asked, [other, *stock], today=TODAY) == [
        Line(product_id=A, units=4, lot_id=f"{A}.2"),
        Line(product_id=A, units=2, lot_id=f"{A}.1"),
        Line(product_id=B, units=5, lot_id=f"{B}.L"),
    ]


@given(lots, st.integers(1, 30), st.integers(1, 30))
@settings(max_examples=40)
def test_given_any_stock_when_allotted_then_near_expiry_first_and_never_too_much(
    stock: list[Stocked], a: int, b: int
) -> None:
    asked = [Line(product_id=A, units=a), Line(product_id=B, units=b)]
    lines = supply.allot(asked, stock, today=TODAY)
    of = {each.lot_id: each for each in stock}
    for want in asked:
        given = [line for line in lines if line.product_id == want.product_id]
        days = [of[line.lot_id].expires_on or date.max for line in given]
        usable = sum(
            s.units
            for s in stock
            if s.product_id == want.product_id and (s.expires_on or date.max) >= TODAY
        )
        assert days == sorted(days)
        assert all(day >= TODAY for day in days)
        assert sum(line.units for line in given) == min(want.units, usable)
        assert all(line.units <= of[line.lot_id].units for line in given)


def price(**changes: Any) -> dict[str, Any]:
    return asdict(PRICE) | changes


def test_given_prices_when_asked_by_day_then_the_one_in_force() -> None:
    prices.when(charges.set_price, **price()).then(PRICE)
    known = prices.given(PRICE)
    known.when(charges.set_price, **price()).then()
    assert known.state.at(date(2025, 12, 31)) is None
    assert known.state.at(TODAY) == PRICE
    earlier = known.when(charges.set_price, **price(price_fen=1))
    earlier.refused(Conflict, "price_not_later")
    prices.when(charges.set_price, **price(service_fen=-1)).refused(Invalid, "bad_field")


def charge(recipient: str = "R-1", price: PriceSet | None = PRICE) -> dict[str, Any]:
    fields = {"charge_id": "F-1", "site_id": "dwk", "recipient": recipient, "product_id": A}
    return fields | {"price": price}


def test_given_a_price_when_charged_then_vaccine_and_service_in_fen() -> None:
    a_charge.when(charges.raise_charge, **charge()).then(CHARGE)
    known = a_charge.given(CHARGE)
    known.when(charges.raise_charge, **charge(price=None)).then()
    known.when(charges.raise_charge, **charge("R-2")).refused(Conflict, "already_registered")
    a_charge.when(charges.raise_charge, **charge(price=None)).refused(Invalid, "no_price")


def test_given_a_charge_when_paid_and_refunded_then_each_once_whatever_is_told_twice() -> None:
    due = a_charge.given(CHARGE)
    money: dict[str, Any] = {"amount_fen": 21_800, "reference": "P1"}
    due.when(charges.pay, **money).then(PAID)
    paid = due.given(PAID)
    paid.when(charges.pay, **money).then()
    paid.when(charges.cancel, reason="禁忌").then(TO_REFUND)
    asked = paid.given(TO_REFUND)
    asked.when(charges.cancel, reason="禁忌").then()
    back: dict[str, Any] = {"amount_fen": 21_800, "reference": "P2"}
    asked.when(charges.refund, **back).then(REFUNDED)
    done = asked.given(REFUNDED)
    done.when(charges.refund, **back).then()
    assert done.state == charges.Charge(CHARGE, charges.Status.REFUNDED, PAID, REFUNDED)


@pytest.mark.parametrize(
    ("given", "command", "fields", "kind", "code"),
    [
        ([CHARGE], charges.pay, (1, "P1"), Invalid, "wrong_amount"),
        ([CHARGE, PAID], charges.pay, (21_800, "P3"), Conflict, "charge_not_due"),
        ([CHARGE, PAID], charges.refund, (21_800, "P2"), Conflict, "refund_not_asked"),
        ([], charges.pay, (21_800, "P1"), NotFound, "unknown_charge"),
    ],
)
def test_given_money_that_does_not_fit_when_told_then_refused(
    given: list[Any], command: Any, fields: tuple[int, str], kind: type[DomainError], code: str
) -> None:
    amount, reference = fields
    known = a_charge.given(*given)
    known.when(command, amount_fen=amount, reference=reference).refused(kind, code)


def test_given_a_charge_never_paid_when_cancelled_then_nothing_is_due() -> None:
    cancelled = ChargeCancelled(charge_id="F-1", reason="未接种")
    a_charge.given(CHARGE).when(charges.cancel, reason="未接种").then(cancelled)
    closed = a_charge.given(CHARGE, cancelled)
    pay: dict[str, Any] = {"amount_fen": 21_800, "reference": "P1"}
    closed.when(charges.pay, **pay).refused(Conflict, "charge_not_due")
