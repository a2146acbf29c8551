"""What was wrong with a dose when it was given; ends that nothing but a withdrawal reopens."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from domain.shared.errors import Invalid
from domain.traceability.custody import Product
from domain.traceability.facts import Fact, Mention, Step
from domain.traceability.hops import stock_of
from domain.traceability.pseudonyms import checked_pseudonym
from domain.traceability.states import Flag, Status
from tests.traceability.test_custody import (
    BOX,
    BOXED,
    CASE,
    CASED,
    CLINIC,
    GIVEN,
    HERE,
    LOT,
    MADE,
    MAKER,
    VIAL,
    VIAL_2,
    book,
    scan,
)

MIN = 60_000
SIGNED: dict[str, Any] = {"executed_by": "N1", "supervised_by": "N2"}


def flags(*facts: list[Mention], lot: tuple[Fact, ...] = ()) -> tuple[Flag, ...]:
    return book(MADE, HERE, *facts, GIVEN, facts=lot).state(VIAL).flags


def test_given_a_held_or_recalled_code_when_given_then_the_dose_is_flagged() -> None:
    held = scan(Step.HOLDING, 5, MAKER, VIAL)
    recalled = scan(Step.HOLDING, 6, MAKER, VIAL, recall=True)
    assert flags() == ()
    assert flags(held) == (Flag.ILLEGAL_STATE,)
    assert flags(recalled, scan(Step.HOLDING, 7, MAKER, VIAL)) == (Flag.RECALLED,)
    assert flags(recalled, scan(Step.RELEASING, 7, MAKER, VIAL, **SIGNED)) == (Flag.RECALLED,)
    assert flags(recalled, scan(Step.RELEASING, 7, MAKER, VIAL, recall=True, **SIGNED)) == ()
    assert flags(scan(Step.HOLDING, 70, MAKER, VIAL, recall=True)) == ()
    refused = scan(Step.RECEIVING, 5, CLINIC, VIAL, accepted=False)
    assert flags(scan(Step.SHIPPING, 4, MAKER, VIAL), refused) == (Flag.ILLEGAL_STATE,)


def test_given_a_recalled_lot_when_given_then_flagged_until_released() -> None:
    def lot(step: Step, t: int, *, recall: bool = False) -> Fact:
        return Fact(
            fact_id=f"l{t}", step=step, t_ms=t, recorded_ms=t, position=t, site_id=MAKER,
            lot_id=LOT, recall=recall,
        )  # fmt: skip

    recall, hold = lot(Step.HOLDING, 5, recall=True), lot(Step.HOLDING, 6)
    assert flags(lot=(recall, hold)) == (Flag.RECALLED,)
    assert flags(lot=(hold,)) == (Flag.ILLEGAL_STATE,)
    assert flags(lot=(recall, lot(Step.RELEASING, 7))) == (Flag.RECALLED,)
    assert flags(lot=(recall, lot(Step.RELEASING, 7, recall=True))) == ()


def test_given_an_expiry_when_given_the_day_after_in_china_then_flagged() -> None:
    for hour, found in ((15, ()), (16, (Flag.EXPIRED,))):  # UTC; the day ends there at 16:00
        at = datetime(2026, 3, 31, hour, 30, tzinfo=UTC)
        dose = scan(Step.DISPENSING, round(at.timestamp() * 1000), CLINIC, VIAL)
        expires_on = {LOT: date(2026, 3, 31)}
        assert book(MADE, HERE, dose, expires_on=expires_on).state(VIAL).flags == found


def test_given_an_opened_vial_when_given_after_its_limit_then_the_dose_is_flagged() -> None:
    opened = scan(Step.OPENING, 10, CLINIC, VIAL)
    first = scan(Step.DISPENSING, 30 * MIN + 10, CLINIC, VIAL, fact_id="first")
    late = scan(Step.DISPENSING, 30 * MIN + 11, CLINIC, VIAL, fact_id="late")
    found = book(MADE, HERE, opened, first, late, product=lambda _: Product(5, 30))
    assert found.judged(VIAL) == {"late": {Flag.OPEN_VIAL_OVERRUN}}
    state = found.state(VIAL)
    assert (state.doses_left, state.opened_ms, state.use_by_ms) == (3, 10, 30 * MIN + 10)


def test_given_a_used_vial_when_named_as_a_pack_then_its_doses_stay() -> None:
    for t in (5, 70):
        packed = scan(Step.PACKING, t, CLINIC, VIAL_2, parent=VIAL)
        state = book(MADE, packed, GIVEN).state(VIAL)
        assert (state.status, state.doses_given) == (Status.USED, 1)
        assert Flag.HIERARCHY_BROKEN in state.flags
        assert book(MADE, packed, GIVEN).state(VIAL_2).status is not Status.USED


@pytest.mark.parametrize("value", ["", "R-1", "V-dwk-c1-2", "R-0a1b2c3d4e5f", "a" * 64, "12345678"])
def test_given_a_pseudonym_when_checked_then_taken(value: str) -> None:
    assert checked_pseudonym(value, "recipient") == value


@pytest.mark.parametrize(
    "value",
    ["张三", "a b", "a" * 65, "640202198001011234", "64020219800101123X", "R-13812345678"],
)
def test_given_a_person_when_checked_then_refused_without_the_value(value: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked_pseudonym(value, "recipient")
    assert refused.value.code == "not_a_pseudonym"
    assert value not in str(refused.value)


def test_given_an_emptied_pack_when_stock_asked_then_left_out() -> None:
    out = scan(Step.UNPACKING, 9, MAKER, VIAL, VIAL_2, parent=BOX)
    found = book(MADE, BOXED, CASED, out)
    assert found.emptied(BOX)
    assert found.emptied(CASE)
    assert not found.emptied(VIAL)
    lines = stock_of(found, found.codes)
    assert [line.packs for line in lines] == [{1: 2}]
    assert not book(MADE, BOXED, CASED).emptied(CASE)
