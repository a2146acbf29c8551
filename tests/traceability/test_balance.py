"""Mass balance and recall of the synthetic chain, whatever order it was captured in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from domain.traceability.balance import Balance, Line, balance_of
from domain.traceability.codes import code_key
from domain.traceability.custody import Book
from domain.traceability.exceptions import Ground, find
from domain.traceability.facts import Fact, Mention, Step
from domain.traceability.recalls import Dose, orders_in_force, recall_of
from domain.traceability.states import ENDED, Status
from tests.traceability.chain import expected
from tests.traceability.ground import book_of, cases, log_of, lot_facts, ms
from tests.traceability.test_custody import (
    BOX,
    CITY,
    CLINIC,
    LOT,
    MADE,
    MAKER,
    VIAL,
    VIAL_2,
    book,
    scan,
)

COUNT = 150
RECALL = Fact(
    fact_id="r", step=Step.HOLDING, t_ms=3, recorded_ms=3, position=3, site_id=MAKER, lot_id=LOT,
    recall=True,
)  # fmt: skip
LOST = {c for case in cases() if case.kind == "DATA_WITHOUT_PRODUCT" for c in case.codes}


def orders() -> list[list[int]]:
    shuffled = list(range(COUNT)) * 2
    random.Random(3).shuffle(shuffled)
    return [list(range(COUNT)), list(reversed(range(COUNT))), shuffled]


def codes_of(book: Book, lot: str) -> list[int]:
    return [k for k in book.codes if book.progress(k).lot_id.endswith(f".{lot}")]


@pytest.mark.parametrize("order", orders())
def test_given_the_chain_when_balanced_then_the_ledger_of_the_answer_key(order: list[int]) -> None:
    book = book_of(log_of(order))
    for ledger in expected()["ledger"]:
        found = balance_of(book, codes_of(book, ledger["lot"]), LOST)
        stock = {line.site_id: line.stock for line in found.lines if line.stock}
        total = found.total
        assert stock == ledger["inStock"]
        assert (total.commissioned, total.used) == (ledger["vials"], ledger["used"])
        assert (total.wasted, total.missing) == (ledger["partlyWasted"], ledger["missing"])
        assert (total.doses_given, total.difference) == (ledger["dosesGiven"], 0)
        on_the_way = balance_of(book, codes_of(book, ledger["lot"])).total
        assert (on_the_way.in_transit, on_the_way.missing) == (ledger["missing"], 0)


def test_given_the_chain_when_balanced_then_every_difference_is_a_case() -> None:
    book = book_of(log_of())
    named = {code for case in cases() for code in case.codes}
    for ledger in expected()["ledger"]:
        for line in balance_of(book, codes_of(book, ledger["lot"]), LOST).lines:
            assert set(line.unexplained) <= named
            assert line.difference == 0 or line.unexplained


@pytest.mark.parametrize("order", orders())
def test_given_the_recall_when_asked_at_its_moment_then_the_answer_key(order: list[int]) -> None:
    key = expected()["recall"]
    log = log_of(order)
    at = ms(datetime.fromisoformat(key["at"]))
    book = book_of(log, until_ms=at)
    found = recall_of(book, codes_of(book, key["lot"]), lot_facts(log), LOST)
    on_hand: dict[str, list[int]] = {}
    for unit in found.units:
        if unit.status not in ENDED and not unit.lost:
            on_hand.setdefault(unit.site_id, []).append(unit.code)
    wanted = {site: sorted(map(code_key, codes)) for site, codes in key["onHandCodes"].items()}
    assert on_hand == wanted
    assert [unit.code for unit in found.units if unit.lost] == list(map(code_key, key["missing"]))
    given = [(dose.code, dose.site_id, dose.recipient) for dose in found.doses]
    assert given == [
        (code_key(each["code"]), site, recipient)
        for each in key["alreadyGiven"]
        for site, _, recipient in each["given"]
    ]
    assert [fact.fact_id for fact in found.orders] == [key["event"]]
    assert [found.holders(order) for order in found.orders] == [sorted(wanted)]


def test_given_a_recall_lifted_when_asked_then_none_in_force() -> None:
    def of_lot(step: Step, t: int, *, recall: bool = False) -> Fact:
        more = {"site_id": "MAH1", "lot_id": "8474354.A1", "recall": recall}
        return Fact(fact_id=str(t), step=step, t_ms=t, recorded_ms=t, position=t, **more)  # type: ignore[arg-type]  # as named

    recall, hold = of_lot(Step.HOLDING, 1, recall=True), of_lot(Step.HOLDING, 2)
    assert orders_in_force([hold, recall]) == [recall]
    lifted = of_lot(Step.RELEASING, 3, recall=True)
    assert orders_in_force([recall, lifted]) == []
    assert orders_in_force([recall, of_lot(Step.RELEASING, 3)]) == [recall]
    assert orders_in_force([recall, of_lot(Step.CONDEMNING, 2), lifted]) == [recall]
    assert Status.USED in ENDED


def test_given_a_lot_recalled_again_when_only_the_first_was_acknowledged_then_outstanding() -> None:
    first, second = (replace(RECALL, fact_id=f"r{t}", t_ms=t) for t in (3, 5))
    stated = Fact(
        fact_id="a1", step=Step.ACKNOWLEDGING, t_ms=6, recorded_ms=6, position=6, site_id=MAKER,
        lot_id=LOT, details='{"recall_id": "r3"}',
    )  # fmt: skip
    unnamed = [replace(stated, fact_id=f"a{t}", t_ms=t, details="") for t in (4, 5)]
    found = recall_of(book(MADE), [VIAL], [first, second, stated, unnamed[0]])
    assert (found.acknowledged, found.holders(first)) == ([unnamed[0], stated], [MAKER])
    assert (found.outstanding(first), found.outstanding(second)) == ([], [MAKER])
    assert recall_of(book(MADE), [VIAL], [second, stated, unnamed[0]]).acknowledged == []
    assert recall_of(book(MADE), [VIAL], [second, unnamed[1]]).outstanding(second) == []


def test_given_a_recall_of_a_box_when_asked_then_an_order_for_those_who_have_its_contents() -> None:
    boxed = scan(Step.PACKING, 2, MAKER, VIAL, parent=BOX)
    recall = scan(Step.HOLDING, 3, MAKER, BOX, recall=True, fact_id="r3")
    known = [MADE, boxed, recall]
    found = recall_of(book(*known), [VIAL, VIAL_2], [])
    [order] = found.orders
    assert (order.fact_id, found.bound["r3"]) == ("r3", frozenset({VIAL}))
    assert [unit.code for unit in found.on_hand(order)] == [VIAL]
    assert found.outstanding(order) == [MAKER]
    given = [Dose(code, MAKER, 4, "", "d") for code in (VIAL, VIAL_2)]
    assert [found.is_after(dose) for dose in given] == [True, False]
    stated = Fact(
        fact_id="a", step=Step.ACKNOWLEDGING, t_ms=4, recorded_ms=4, position=4, site_id=MAKER,
    )  # fmt: skip
    assert recall_of(book(*known), [VIAL], [stated]).outstanding(order) == [MAKER]
    stated = replace(stated, details='{"recall_id": "r3"}')
    assert recall_of(book(*known), [VIAL], [stated]).outstanding(order) == []
    signed: dict[str, Any] = {"executed_by": "a", "supervised_by": "b"}
    hold_ended = scan(Step.RELEASING, 5, MAKER, BOX, **signed)
    assert recall_of(book(*known, hold_ended), [VIAL], []).orders == [order]
    lifted = scan(Step.RELEASING, 6, MAKER, BOX, recall=True, **signed)
    assert recall_of(book(*known, lifted), [VIAL], []).orders == []


def test_given_a_code_made_as_a_smallest_pack_when_it_holds_others_then_they_are_the_units() -> (
    None
):
    made = scan(Step.COMMISSIONING, 1, MAKER, VIAL, BOX, level=1)
    known = book(made, scan(Step.PACKING, 2, MAKER, VIAL, parent=BOX))
    assert known.levels == {VIAL: 1, BOX: 2}
    assert [unit.code for unit in recall_of(known, [VIAL, BOX], []).units] == [VIAL]


SENT = scan(Step.SHIPPING, 2, MAKER, VIAL, to_site_id=CITY, bill_no="B1")
GONE = scan(Step.LOSING, 3, CITY, VIAL)


def balanced(*facts: Sequence[Mention]) -> tuple[Balance, set[int | None]]:
    """Return the balance of a vial, and the codes of the cases its facts make."""
    known = book(scan(Step.COMMISSIONING, 1, MAKER, VIAL), *facts)
    found = find(known, Ground(text=lambda _: None))
    return balance_of(known, [VIAL]), {code for case in found for code in case.codes}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ([], {"missing": 1, "lost": 1}),
        ([scan(Step.FINDING, 4, CITY, VIAL)], {"received": 1, "stock": 1}),
        ([scan(Step.RECEIVING, 4, CITY, VIAL)], {"received": 1, "stock": 1}),
    ],
    ids=["lost", "found", "received"],
)
def test_given_a_unit_lost_on_its_way_when_balanced_then_every_sum_holds(
    more: list[list[Mention]], line: dict[str, Any]
) -> None:
    found, named = balanced(SENT, GONE, *more)
    lines = {each.site_id: each for each in found.lines}
    assert replace(lines[CITY], site_id="") == replace(Line(""), **line)
    assert [each.difference for each in (*found.lines, found.total)] == [0, 0, 0]
    assert (found.total.unexplained, named) == ([], set())


@pytest.mark.parametrize("step", [Step.FINDING, Step.RECEIVING])
@pytest.mark.parametrize("sent", [[], [SENT]], ids=["from stock", "from its way"])
def test_given_a_missing_unit_when_it_turns_up_elsewhere_then_what_differs_is_a_case(
    step: Step, sent: list[list[Mention]]
) -> None:
    found, named = balanced(*sent, GONE, scan(step, 4, CLINIC, VIAL))
    assert found.total.difference == 0
    assert named == {VIAL}
    assert set(found.total.unexplained) == (set() if sent else {VIAL})
