"""Every cell of the table: which step may happen to a code in which state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domain.traceability.custody import Book, Product
from domain.traceability.facts import Fact, Mention, Step
from domain.traceability.states import TABLE, Column, Flag, Mark, Status
from tests.traceability.test_custody import (
    BOX,
    CITY,
    CLINIC,
    HERE,
    LOT,
    MADE,
    MAKER,
    VIAL,
    book,
    scan,
)

SIGNED: dict[str, Any] = {"executed_by": "N1", "supervised_by": "N2"}
OPENED = scan(Step.OPENING, 5, CLINIC, VIAL)
# What leads a vial of three doses into a state, at the clinic where it can be.
INTO: dict[Column, list[list[Mention]]] = {
    Column.COMMISSIONED: [MADE],
    Column.IN_TRANSIT: [MADE, scan(Step.SHIPPING, 2, MAKER, VIAL, to_site_id=CLINIC)],
    Column.IN_STOCK: [MADE, HERE],
    Column.HELD: [MADE, HERE, scan(Step.HOLDING, 5, CLINIC, VIAL)],
    Column.RECALLED: [MADE, HERE, scan(Step.HOLDING, 5, CLINIC, VIAL, recall=True)],
    Column.OPENED: [MADE, HERE, OPENED],
    Column.USED: [MADE, HERE, *(scan(Step.DISPENSING, n, CLINIC, VIAL) for n in (5, 6, 7))],
    Column.DESTROYED: [MADE, HERE, scan(Step.DESTROYING, 5, CLINIC, VIAL, **SIGNED)],
    Column.MISSING: [MADE, HERE, scan(Step.LOSING, 5, CLINIC, VIAL)],
}
CELLS = [(step, column) for step in TABLE for column in Column]
# As in the table of the design, row by row.
EXPECTED = {
    Step.SHIPPING: ". ! . H H - - - !",
    Step.RECEIVING: "! . ! . . ! ! ! .",
    Step.PACKING: ". ! . . . - - - !",
    Step.UNPACKING: ". ! . . . - - - !",
    Step.HOLDING: ". . . . . . - - .",
    Step.DISPENSING: "! ! . ! ! . ! ! !",
    Step.WASTING: "- - . . . . - - -",
    Step.RETURNING: "- - . . . - - - -",
    Step.DESTROYING: ". - . . . . . - -",
}


def happened(step: Step, column: Column, **more: Any) -> set[Flag]:
    parent = BOX if step in {Step.PACKING, Step.UNPACKING} else None
    last = scan(step, 9, CLINIC, VIAL, parent=parent, fact_id="last", **SIGNED, **more)
    into = INTO[column]
    if step is Step.RECEIVING and column in {Column.HELD, Column.RECALLED}:
        into = [*INTO[Column.IN_TRANSIT], into[-1]]  # held on their way, they stay held
    found = book(*into, last, product=lambda _: Product(3))
    return found.judged(VIAL).get("last", set())


@pytest.mark.parametrize("step", EXPECTED)
def test_given_the_table_when_read_then_as_designed(step: Step) -> None:
    assert [mark.value for mark in TABLE[step].values()] == EXPECTED[step].split()


def test_given_the_table_in_the_docs_when_read_then_the_same() -> None:
    page = Path(__file__).parents[2] / "docs" / "modules" / "traceability.md"
    told: dict[Step, str] = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        names, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(Column) and set(cells) <= set(Mark):
            told |= {Step[name.strip().upper()]: "".join(cells) for name in names.split(",")}
    assert told == {step: "".join(row.values()) for step, row in TABLE.items()}


@pytest.mark.parametrize(("step", "column"), CELLS)
def test_given_a_code_in_a_state_when_a_step_happens_then_flagged_as_the_table_says(
    step: Step, column: Column
) -> None:
    flags = happened(step, column)
    match TABLE[step][column]:
        case Mark.FREE:
            assert flags == set()
        case Mark.NEVER:
            assert flags == {Flag.ILLEGAL_STATE}
        case Mark.CASE:
            assert flags
        case Mark.BILL:
            assert flags
            assert not happened(step, column, bill_type="205")
            assert happened(step, column, bill_type="203") == flags


@pytest.mark.parametrize(
    ("step", "column", "flag"),
    [
        (Step.RECEIVING, Column.COMMISSIONED, Flag.PRODUCT_WITHOUT_DATA),
        (Step.RECEIVING, Column.IN_STOCK, Flag.DATA_ERROR),
        (Step.SHIPPING, Column.IN_TRANSIT, Flag.PRODUCT_WITHOUT_DATA),
        (Step.SHIPPING, Column.HELD, Flag.ILLEGAL_STATE),
        (Step.SHIPPING, Column.RECALLED, Flag.RECALLED),
        (Step.SHIPPING, Column.MISSING, Flag.DATA_ERROR),
        (Step.DISPENSING, Column.RECALLED, Flag.RECALLED),
        (Step.DISPENSING, Column.USED, Flag.DOSES_EXCEED_VIAL),
        (Step.DISPENSING, Column.DESTROYED, Flag.ILLEGAL_STATE),
    ],
)
def test_given_a_case_when_flagged_then_by_its_kind(step: Step, column: Column, flag: Flag) -> None:
    assert happened(step, column) == {flag}


def test_given_goods_in_stock_when_received_elsewhere_then_nobody_sent_them() -> None:
    there = scan(Step.RECEIVING, 9, CITY, VIAL, fact_id="there")
    assert book(MADE, HERE, there).judged(VIAL) == {"there": {Flag.PRODUCT_WITHOUT_DATA}}


def test_given_a_held_code_on_its_way_when_given_then_both_are_told() -> None:
    recalled = scan(Step.HOLDING, 5, MAKER, VIAL, recall=True)
    dose = scan(Step.DISPENSING, 9, CLINIC, VIAL, fact_id="dose")
    found = book(*INTO[Column.IN_TRANSIT], recalled, dose).judged(VIAL)
    assert found == {"dose": {Flag.RECALLED, Flag.PRODUCT_WITHOUT_DATA}}


def test_given_a_code_given_already_when_recalled_then_no_fault() -> None:
    recalled = scan(Step.HOLDING, 9, CLINIC, VIAL, recall=True, fact_id="late")
    held = scan(Step.HOLDING, 9, CLINIC, VIAL, fact_id="late")
    assert book(*INTO[Column.USED], recalled, product=lambda _: Product(3)).judged(VIAL) == {}
    assert happened(Step.HOLDING, Column.USED) == {Flag.ILLEGAL_STATE}
    assert book(MADE, HERE, OPENED, held).judged(VIAL) == {}


def test_given_a_code_commissioned_twice_when_judged_then_the_second_is_an_error() -> None:
    again = scan(Step.COMMISSIONING, 5, CITY, VIAL, fact_id="again")
    found = book(MADE, again)
    assert found.judged(VIAL) == {"again": {Flag.DATA_ERROR}}
    assert found.progress(VIAL).flags == {Flag.DATA_ERROR}


@pytest.mark.parametrize("step", [Step.RELEASING, Step.CONDEMNING, Step.DESTROYING])
def test_given_a_signature_of_one_person_when_judged_then_an_error(step: Step) -> None:
    held = scan(Step.HOLDING, 5, CLINIC, VIAL)
    alone: list[dict[str, Any]] = [{}, {"executed_by": "N1", "supervised_by": "N1"}]
    for people in alone:
        last = scan(step, 9, CLINIC, VIAL, fact_id="last", **people)
        assert book(MADE, HERE, held, last).judged(VIAL) == {"last": {Flag.DATA_ERROR}}
    assert not happened(step, Column.HELD)


def test_given_a_condemned_code_when_released_then_it_stays_held() -> None:
    condemned = scan(Step.CONDEMNING, 6, CLINIC, BOX, **SIGNED)
    boxed = scan(Step.PACKING, 4, CLINIC, VIAL, parent=BOX)
    out = scan(Step.UNPACKING, 8, CLINIC, VIAL, parent=BOX)
    released = scan(Step.RELEASING, 9, CLINIC, VIAL, fact_id="r", **SIGNED)
    inside = book(MADE, HERE, boxed, condemned).state(VIAL)
    assert (inside.status, inside.held, inside.condemned) == (Status.HELD, True, True)
    found = book(MADE, HERE, boxed, condemned, out, released)
    assert (found.state(VIAL).status, found.state(VIAL).condemned) == (Status.HELD, True)
    assert found.judged(VIAL)["r"] == {Flag.ILLEGAL_STATE}


def test_given_a_condemned_vial_when_its_box_is_released_then_it_stays_held_and_no_fault() -> None:
    condemned = scan(Step.CONDEMNING, 4, CLINIC, VIAL, **SIGNED)
    boxed = scan(Step.PACKING, 5, CLINIC, VIAL, parent=BOX)
    held = scan(Step.HOLDING, 6, CLINIC, BOX)
    released = scan(Step.RELEASING, 7, CLINIC, BOX, fact_id="r", **SIGNED)
    found = book(MADE, HERE, condemned, boxed, held, released)
    assert (found.state(VIAL).status, found.state(VIAL).condemned) == (Status.HELD, True)
    assert "r" not in found.judged(VIAL)


def test_given_a_recalled_code_when_its_recall_is_acknowledged_then_it_stays_where_it_is() -> None:
    recalled = scan(Step.HOLDING, 5, CLINIC, VIAL, recall=True)
    known = scan(Step.ACKNOWLEDGING, 6, CLINIC, VIAL)
    before, after = book(MADE, HERE, recalled), book(MADE, HERE, recalled, known)
    assert after.state(VIAL) == before.state(VIAL)
    assert after.state(VIAL).recalled


def test_given_a_condemned_lot_when_released_then_it_stays_held() -> None:
    def lot(step: Step, t: int) -> Fact:
        return Fact(
            fact_id=f"l{t}", step=step, t_ms=t, recorded_ms=t, position=t, site_id=MAKER, lot_id=LOT
        )

    lots = [lot(Step.HOLDING, 5), lot(Step.CONDEMNING, 6), lot(Step.RELEASING, 7)]
    other = lot(Step.ACKNOWLEDGING, 8)
    found = book(MADE, HERE, facts=[*lots, other])
    state = found.state(VIAL)
    assert (state.status, state.recalled, state.condemned) == (Status.HELD, False, True)
    assert [e.fact.fact_id for e in found.chain(VIAL)][-3:] == ["l5", "l6", "l7"]
    dose = scan(Step.DISPENSING, 9, CLINIC, VIAL, fact_id="dose")
    assert book(MADE, HERE, dose, facts=lots).judged(VIAL) == {"dose": {Flag.ILLEGAL_STATE}}


def test_given_a_lost_pack_when_one_vial_is_found_then_it_alone_is_back() -> None:
    boxed = scan(Step.PACKING, 4, CLINIC, VIAL, parent=BOX)
    lost = scan(Step.LOSING, 5, CLINIC, BOX)
    found = scan(Step.FINDING, 6, CLINIC, VIAL, unit_id="F1")
    gone = book(MADE, HERE, boxed, lost)
    assert (gone.state(VIAL).status, gone.state(BOX).status) == (Status.MISSING, Status.MISSING)
    back = book(MADE, HERE, boxed, lost, found)
    assert (back.state(VIAL).status, back.state(VIAL).unit_id) == (Status.IN_STOCK, "F1")
    assert back.state(BOX).status is Status.MISSING


def test_given_an_opened_vial_when_lost_and_found_then_it_is_still_open() -> None:
    lost, found = scan(Step.LOSING, 6, CLINIC, VIAL), scan(Step.FINDING, 7, CLINIC, VIAL)
    product = Product(3, 30)
    known = Book([*MADE, *HERE, *OPENED, *lost], product=lambda _: product).state(VIAL)
    assert (known.status, known.use_by_ms) == (Status.MISSING, None)
    again = Book([*MADE, *HERE, *OPENED, *lost, *found], product=lambda _: product).state(VIAL)
    assert (again.status, again.use_by_ms) == (Status.OPENED, 5 + 30 * 60_000)


def test_given_a_sampled_code_when_given_or_destroyed_then_one_is_wrong() -> None:
    sampled = scan(Step.SAMPLING, 5, CLINIC, VIAL)
    state = book(MADE, HERE, sampled, product=lambda _: Product(3)).state(VIAL)
    assert (state.status, state.doses_left, state.flags) == (Status.SAMPLED, 0, ())
    dose = scan(Step.DISPENSING, 6, CLINIC, VIAL, fact_id="dose")
    assert book(MADE, HERE, sampled, dose).judged(VIAL) == {"dose": {Flag.ILLEGAL_STATE}}
    gone = scan(Step.DESTROYING, 6, CLINIC, VIAL, **SIGNED)
    ended = book(MADE, HERE, sampled, gone).state(VIAL)
    assert (ended.status, ended.flags) == (Status.DESTROYED, ())


def test_given_doses_left_when_asked_then_none_for_packs_and_unknown_products() -> None:
    boxed = scan(Step.PACKING, 4, CLINIC, VIAL, parent=BOX)
    found = book(MADE, HERE, boxed, product=lambda _: Product(3))
    assert (found.state(VIAL).doses_left, found.state(BOX).doses_left) == (3, None)
    assert book(MADE, HERE).state(VIAL).doses_left is None
