"""What no record explains: units by place, and bills of one number told apart by their ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from domain.traceability.balance import balance_of
from domain.traceability.exceptions import Ground, cases_of, find, findings, single
from domain.traceability.facts import Mention, Step
from domain.traceability.flows import of_balance, told_in_turn
from domain.traceability.kinds import Kind
from tests.traceability.chain import expected
from tests.traceability.ground import book_of, declarations, ground, log_of
from tests.traceability.test_balance import codes_of
from tests.traceability.test_custody import CITY, CLINIC, MAKER, VIAL, VIAL_2, book, scan

GROUND = Ground(text=lambda _: None)


def test_given_the_chain_when_every_grace_is_over_then_the_planted_faults_and_no_other() -> None:
    log = log_of()
    known = book_of(log)
    found = findings(known, ground(), declarations=declarations(log))
    left_open = of_balance(known, known.codes)
    assert left_open
    assert cases_of(single([*found, *left_open])) == cases_of(single(found))


def test_given_the_chain_when_balanced_then_each_difference_is_a_finding_of_its_place() -> None:
    known = book_of(log_of())
    for ledger in expected()["ledger"]:
        codes = codes_of(known, ledger["lot"])
        lines = balance_of(known, codes).lines
        wanted = {(line.site_id, code) for line in lines for code in line.unexplained}
        assert {(f.site_id, f.code) for f in of_balance(known, codes)} == wanted


MADE = scan(Step.COMMISSIONING, 1, MAKER, VIAL)
SEEN = scan(Step.STORING, 5, CITY, VIAL)
BACK = scan(Step.STORING, 6, MAKER, VIAL)
SENT = scan(Step.SHIPPING, 2, MAKER, VIAL, to_site_id=CITY, bill_no="B1")
GOT = scan(Step.RECEIVING, 3, CITY, VIAL, bill_no="B1")
GIVEN = scan(Step.DISPENSING, 6, CITY, VIAL)


@pytest.mark.parametrize(
    ("facts", "places"),
    [
        ([MADE, SENT], set()),
        ([MADE, SENT, GOT, SEEN], set()),
        ([MADE, SEEN], {MAKER, CITY}),
        ([MADE, SEEN, BACK], set()),
        ([MADE, SENT, SEEN], {CITY}),
        ([MADE, SENT, scan(Step.LOSING, 3, CITY, VIAL)], set()),
        (
            [MADE, SENT, GOT, GIVEN, scan(Step.SHIPPING, 7, CITY, VIAL, to_site_id=CLINIC)],
            {CITY},
        ),
    ],
    ids=["on its way", "in order", "moved", "and back", "not received", "lost", "used and sent"],
)
def test_given_ways_of_a_unit_when_told_or_not_then_open_where_the_record_does_not_hold(
    facts: list[Sequence[Mention]], places: set[str]
) -> None:
    known = book(*facts)
    found = of_balance(known, [VIAL])
    assert {f.site_id for f in found} == places
    assert all(f.kind is Kind.UNEXPLAINED_UNIT and f.fact_ids for f in found)


def test_given_facts_when_told_out_of_turn_in_a_batch_then_to_be_looked_at_with_care() -> None:
    known = book(MADE, SENT, GOT)
    assert told_in_turn(known, VIAL, 0)
    positions = [m.fact.position for m in known.mentions(VIAL)]
    assert positions == sorted(positions)
    assert not told_in_turn(book(MADE, SEEN), VIAL, 0)


def on_bill(step: Step, t: int, site: str, *codes: int, **more: Any) -> list[Mention]:
    return scan(step, t, site, *codes, bill_no="7", **more)


@pytest.mark.parametrize(
    ("receipt", "missing"),
    [
        # Another sender uses the number: its receipt says nothing of these goods.
        (on_bill(Step.RECEIVING, 5, CLINIC, 9), set()),
        (on_bill(Step.RECEIVING, 5, CLINIC, 9, from_site_id=MAKER), {VIAL, VIAL_2}),
        (on_bill(Step.RECEIVING, 5, CLINIC, VIAL), {VIAL_2}),
        (on_bill(Step.RECEIVING, 5, CITY, VIAL), {VIAL_2}),
    ],
    ids=["unnamed", "named", "of the goods", "elsewhere"],
)
def test_given_one_number_of_two_senders_when_received_then_each_way_is_a_bill_of_its_own(
    receipt: list[Mention], missing: set[int]
) -> None:
    sent = on_bill(Step.SHIPPING, 3, MAKER, VIAL, VIAL_2, to_site_id=CLINIC)
    other = on_bill(Step.SHIPPING, 3, CITY, 9, to_site_id=CLINIC)
    found = find(book(sent, other, receipt), GROUND)
    cases = [c for c in found if c.kind is Kind.DATA_WITHOUT_PRODUCT]
    assert {code for case in cases for code in case.codes} == missing
    assert {case.key for case in cases} == ({f"7/{MAKER}/{CLINIC}"} if missing else set())
