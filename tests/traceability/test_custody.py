"""Chains, stays and states out of facts, whatever the order they come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from domain.traceability.custody import Book, Product, Stay
from domain.traceability.facts import BEGINNING, Fact, Mention, Step
from domain.traceability.hops import StockLine, hops_of, stock_of
from domain.traceability.states import Flag, Status

VIAL, VIAL_2, BOX, BOX_2, CASE = 1, 2, 10, 11, 100
LOT = "8474354.A1"
MAKER, CITY, CLINIC = "MAH1", "MCDC", "POV1"


def scan(
    step: Step, t: int, site: str, *codes: int, parent: int | None = None, **more: Any
) -> list[Mention]:
    """Return the mentions of one fact at `t` ms."""
    given: dict[str, Any] = {"position": t, "recorded_ms": t, **more}
    fact_id = given.pop("fact_id", f"{t}-{step.name}-{codes}-{parent}")
    fact = Fact(fact_id=fact_id, step=step, t_ms=t, site_id=site, **given)
    if step is Step.COMMISSIONING and not fact.lot_id:
        fact = replace(fact, lot_id=LOT)
    mentions = [Mention(code, parent, False, fact) for code in codes]
    if parent is not None and step is not Step.DISPENSING:
        mentions.append(Mention(parent, None, True, fact))
    return mentions


def book(*facts: Sequence[Mention], **more: Any) -> Book:
    return Book([m for mentions in facts for m in mentions], **more)


MADE = scan(Step.COMMISSIONING, 1, MAKER, VIAL, VIAL_2, BOX, CASE)
BOXED = scan(Step.PACKING, 2, MAKER, VIAL, VIAL_2, parent=BOX)
CASED = scan(Step.PACKING, 3, MAKER, BOX, parent=CASE)
SENT = scan(
    Step.SHIPPING,
    10,
    MAKER,
    CASE,
    to_site_id=CITY,
    bill_no="B1",
    vehicle_id="V1",
    temperature_c=4.0,
)
ARRIVED = scan(
    Step.RECEIVING,
    20,
    CITY,
    CASE,
    bill_no="B1",
    from_site_id=MAKER,
    unit_id="C1",
    transport_c_min=3.0,
    transport_c_max=6.0,
)
OPENED_CASE = scan(Step.UNPACKING, 30, CITY, BOX, parent=CASE)
SENT_BOX = scan(Step.SHIPPING, 40, CITY, BOX, to_site_id=CLINIC, bill_no="B2")
ARRIVED_BOX = scan(Step.RECEIVING, 50, CLINIC, BOX, bill_no="B2", unit_id="F1")
GIVEN = scan(Step.DISPENSING, 60, CLINIC, VIAL, recipient="R1")
# The vial alone, sent to the clinic and received there before anything else happens to it.
HERE = scan(Step.SHIPPING, 2, MAKER, VIAL, to_site_id=CLINIC) + scan(
    Step.RECEIVING, 3, CLINIC, VIAL
)
LIFE = [MADE, BOXED, CASED, SENT, ARRIVED, OPENED_CASE, SENT_BOX, ARRIVED_BOX, GIVEN]


def test_given_packs_in_packs_when_vial_asked_then_their_ways_while_it_was_inside() -> None:
    chain = book(*LIFE).chain(VIAL)
    assert [(e.fact.t_ms, e.via) for e in chain] == [
        (1, VIAL),
        (2, VIAL),
        (3, BOX),
        (10, CASE),
        (20, CASE),
        (30, BOX),
        (40, BOX),
        (50, BOX),
        (60, VIAL),
    ]


def test_given_a_whole_life_when_state_asked_then_used_where_it_was_given() -> None:
    found = book(*LIFE)
    state = found.state(VIAL)
    assert (state.status, state.site_id, state.doses_given) == (Status.USED, CLINIC, 1)
    assert state.parent is None
    assert state.flags == ()
    left = found.state(VIAL_2)
    assert (left.status, left.site_id, left.unit_id) == (Status.IN_STOCK, CLINIC, "F1")
    assert left.parent == BOX
    assert left.lot_id == LOT
    assert found.codes == [VIAL, VIAL_2, BOX, CASE]


def test_given_a_vial_used_without_unpacking_when_asked_then_its_stay_has_ended() -> None:
    found = book(*LIFE)
    assert [(s.parent, s.start[0], s.end and s.end[0]) for s in found.stays(VIAL)] == [(BOX, 2, 60)]
    assert found.inside(VIAL) is None
    assert found.inside(VIAL_2) is not None


def test_given_child_and_pack_in_one_scan_when_moved_then_it_stays_inside() -> None:
    both = scan(Step.SHIPPING, 10, MAKER, BOX, VIAL, to_site_id=CITY)
    found = book(MADE, BOXED, both)
    assert found.inside(VIAL) is not None
    assert [e.via for e in found.chain(VIAL) if e.fact.t_ms == 10] == [VIAL]


def test_given_a_hold_on_a_child_when_asked_then_it_stays_inside() -> None:
    found = book(MADE, BOXED, scan(Step.HOLDING, 5, MAKER, VIAL))
    assert found.inside(VIAL) is not None
    assert found.state(VIAL).status is Status.HELD
    assert found.state(VIAL_2).status is Status.COMMISSIONED


def test_given_packed_into_another_pack_when_asked_then_one_parent_at_a_time() -> None:
    again = scan(Step.PACKING, 7, MAKER, VIAL, parent=BOX_2)
    same = scan(Step.PACKING, 8, MAKER, VIAL, parent=BOX_2)
    found = book(MADE, BOXED, again, same)
    assert [(s.parent, s.start[0], s.end and s.end[0]) for s in found.stays(VIAL)] == [
        (BOX, 2, 7),
        (BOX_2, 7, None),
    ]


def test_given_an_emptied_pack_when_asked_then_all_contents_are_out() -> None:
    emptied = scan(Step.UNPACKING, 9, CITY, parent=BOX, all_contents=True)
    later = scan(Step.SHIPPING, 12, CITY, BOX, to_site_id=CLINIC)
    found = book(MADE, BOXED, emptied, later)
    assert found.inside(VIAL) is None
    assert [e.fact.t_ms for e in found.chain(VIAL)] == [1, 2]
    assert [e.fact.t_ms for e in found.chain(BOX)] == [1, 2, 9, 12]


def test_given_packed_again_after_emptying_when_asked_then_two_stays() -> None:
    emptied = scan(Step.UNPACKING, 9, CITY, parent=BOX, all_contents=True)
    again = scan(Step.PACKING, 11, CITY, VIAL, parent=BOX)
    found = book(MADE, BOXED, emptied, again)
    assert [(s.start[0], s.end and s.end[0]) for s in found.stays(VIAL)] == [(2, 9), (11, None)]
    assert [(s.start[0], s.end and s.end[0]) for s in found.stays(VIAL_2)] == [(2, 9)]


def test_given_only_the_unpacking_when_asked_then_it_was_inside_all_along() -> None:
    for step in (Step.UNPACKING, Step.DISPENSING):
        taken_out = scan(step, 30, CITY, VIAL, parent=BOX)
        found = book(SENT_BOX, scan(Step.RECEIVING, 20, CITY, BOX), taken_out)
        assert found.stays(VIAL) == (Stay(BOX, BEGINNING, taken_out[0].fact.order),)
        assert [e.fact.t_ms for e in found.chain(VIAL)] == [20, 30]


def test_given_a_second_unpacking_when_asked_then_it_changes_nothing() -> None:
    out = scan(Step.UNPACKING, 30, CITY, VIAL, parent=BOX)
    again = scan(Step.UNPACKING, 31, CITY, VIAL, parent=BOX)
    assert len(book(MADE, BOXED, out, again).stays(VIAL)) == 1


def test_given_packs_inside_each_other_when_asked_then_an_end_is_found() -> None:
    found = book(
        scan(Step.PACKING, 1, MAKER, BOX, parent=CASE),
        scan(Step.PACKING, 2, MAKER, CASE, parent=BOX),
        scan(Step.PACKING, 3, MAKER, BOX_2, parent=BOX_2),
        scan(Step.SHIPPING, 4, MAKER, CASE, BOX, BOX_2, to_site_id=CITY),
    )
    for code in (BOX, CASE, BOX_2):
        assert found.chain(code)
        assert found.state(code).status in set(Status)
    assert found.levels[CASE] <= 9
    ring = book(
        scan(Step.PACKING, 1, MAKER, BOX, parent=CASE),
        scan(Step.PACKING, 2, MAKER, CASE, parent=BOX),
    )
    assert ring.state(BOX).status is Status.UNKNOWN
    assert stock_of(ring, ring.codes) == []


def test_given_levels_when_asked_then_declared_or_one_above_the_contents() -> None:
    declared = scan(Step.COMMISSIONING, 1, MAKER, BOX_2, level=2)
    assert book(*LIFE, declared).levels == {VIAL: 1, VIAL_2: 1, BOX: 2, CASE: 3, BOX_2: 2}


@pytest.mark.parametrize(
    ("facts", "status", "site"),
    [
        ([], Status.UNKNOWN, ""),
        ([MADE], Status.COMMISSIONED, MAKER),
        ([MADE, MADE], Status.COMMISSIONED, MAKER),
        (
            [
                scan(Step.PACKING, 2, MAKER, VIAL, parent=BOX),
                scan(Step.UNPACKING, 3, MAKER, VIAL, parent=BOX),
            ],
            Status.IN_STOCK,
            MAKER,
        ),
        ([MADE, scan(Step.SHIPPING, 5, MAKER, VIAL, to_site_id=CITY)], Status.IN_TRANSIT, CITY),
        ([MADE, scan(Step.RETURNING, 5, MAKER, VIAL)], Status.RETURNED, MAKER),
        ([MADE, scan(Step.RECEIVING, 5, CITY, VIAL)], Status.IN_STOCK, CITY),
        ([MADE, scan(Step.RECEIVING, 5, CITY, VIAL, accepted=False)], Status.HELD, CITY),
        (
            [
                MADE,
                scan(Step.SHIPPING, 5, MAKER, VIAL),
                scan(Step.STORING, 6, CITY, VIAL, unit_id="C1"),
            ],
            Status.IN_STOCK,
            CITY,
        ),
        ([MADE, scan(Step.OPENING, 6, CLINIC, VIAL)], Status.OPENED, CLINIC),
        (
            [MADE, scan(Step.OPENING, 6, CLINIC, VIAL), scan(Step.RECEIVING, 7, CITY, VIAL)],
            Status.OPENED,
            CITY,
        ),
        ([MADE, scan(Step.WASTING, 6, CLINIC, VIAL)], Status.WASTED, CLINIC),
        ([MADE, scan(Step.DESTROYING, 6, CLINIC, VIAL)], Status.DESTROYED, CLINIC),
        ([MADE, GIVEN, scan(Step.DESTROYING, 70, CITY, VIAL)], Status.DESTROYED, CITY),
        ([scan(Step.HOLDING, 6, CLINIC, VIAL)], Status.UNKNOWN, ""),
        (
            [MADE, scan(Step.HOLDING, 6, CLINIC, VIAL), scan(Step.RELEASING, 7, CLINIC, VIAL)],
            Status.COMMISSIONED,
            MAKER,
        ),
        ([scan(Step.STORING, 0, CITY, VIAL, unit_id="C1"), MADE], Status.IN_STOCK, CITY),
    ],
)
def test_given_facts_when_state_asked_then_status_and_place(
    facts: list[list[Mention]], status: Status, site: str
) -> None:
    state = book(*facts).state(VIAL)
    assert (state.status, state.site_id) == (status, site)


@pytest.mark.parametrize(
    "late",
    [
        scan(Step.RECEIVING, 70, CITY, VIAL),
        scan(Step.SHIPPING, 70, CITY, VIAL),
        scan(Step.STORING, 70, CITY, VIAL, unit_id="C1"),
        scan(Step.OPENING, 70, CITY, VIAL),
        scan(Step.WASTING, 70, CITY, VIAL),
    ],
)
def test_given_a_used_vial_when_anything_follows_then_it_stays_used_and_is_flagged(
    late: list[Mention],
) -> None:
    state = book(MADE, HERE, GIVEN, late).state(VIAL)
    assert (state.status, state.site_id) == (Status.USED, CLINIC)
    assert state.flags == (Flag.ILLEGAL_STATE,)


def test_given_a_destroyed_vial_when_destroyed_or_given_again_then_flagged() -> None:
    signed: dict[str, Any] = {"executed_by": "N1", "supervised_by": "N2"}
    gone = scan(Step.DESTROYING, 5, MAKER, VIAL, **signed)
    twice = book(MADE, gone, scan(Step.DESTROYING, 6, CITY, VIAL, **signed)).state(VIAL)
    assert (twice.site_id, twice.flags) == (MAKER, (Flag.ILLEGAL_STATE,))
    given_later = book(MADE, gone, GIVEN).state(VIAL)
    assert (given_later.status, given_later.site_id) == (Status.DESTROYED, MAKER)
    assert given_later.flags == (Flag.ILLEGAL_STATE,)
    assert given_later.doses_given == 1


def test_given_a_single_dose_vial_when_given_twice_then_flagged_and_counted_once() -> None:
    again = scan(Step.DISPENSING, 61, CLINIC, VIAL)
    state = book(MADE, HERE, GIVEN, again).state(VIAL)
    assert (state.doses_given, state.flags) == (1, (Flag.ALREADY_USED,))


def dose(n: int) -> list[Mention]:
    return scan(Step.DISPENSING, 60 + n, CLINIC, VIAL)


def test_given_a_multi_dose_vial_when_doses_are_given_then_opened_until_the_last() -> None:
    def state(*facts: list[Mention]) -> Any:
        return book(MADE, HERE, *facts, product=lambda _: Product(3)).state(VIAL)

    assert state(dose(1), dose(2)).status is Status.OPENED
    assert state(dose(1), dose(2), dose(3)).status is Status.USED
    over = state(dose(1), dose(2), dose(3), dose(4))
    assert (over.doses_given, over.flags) == (4, (Flag.DOSES_EXCEED_VIAL,))
    rest = state(dose(1), scan(Step.WASTING, 90, CLINIC, VIAL))
    assert (rest.status, rest.doses_given, rest.doses_wasted) == (Status.WASTED, 1, 2)
    part = state(scan(Step.WASTING, 90, CLINIC, VIAL, doses=1))
    assert (part.status, part.doses_wasted) == (Status.OPENED, 1)


def test_given_a_pack_wasted_or_destroyed_when_contents_asked_then_so_are_they() -> None:
    wasted = book(MADE, BOXED, scan(Step.WASTING, 5, MAKER, BOX, doses=1))
    assert wasted.state(VIAL).status is Status.WASTED
    opened = scan(Step.OPENING, 4, MAKER, VIAL)
    back = scan(Step.PACKING, 5, MAKER, VIAL, parent=BOX)
    destroyed = scan(Step.DESTROYING, 6, MAKER, BOX)
    assert book(MADE, BOXED, opened, back).state(VIAL).status is Status.OPENED
    assert book(MADE, BOXED, opened, back, destroyed).state(VIAL).status is Status.DESTROYED
    out = scan(Step.UNPACKING, 7, MAKER, VIAL, parent=BOX)
    later = book(
        MADE, BOXED, scan(Step.WASTING, 5, MAKER, BOX, doses=1), out, product=lambda _: Product(3)
    )
    assert later.state(VIAL).doses_wasted == 3


def test_given_a_pack_scanned_as_injection_when_asked_then_flagged_and_nothing_used() -> None:
    box = scan(Step.COMMISSIONING, 1, MAKER, BOX, level=2, fact_id="box")
    vials = scan(Step.COMMISSIONING, 1, MAKER, VIAL, VIAL_2, level=1)
    found = book(vials, box, BOXED, scan(Step.DISPENSING, 5, CLINIC, BOX))
    assert Flag.ILLEGAL_STATE in found.state(BOX).flags
    assert found.state(VIAL).status is Status.COMMISSIONED


def test_given_a_code_never_commissioned_when_asked_then_unknown_code() -> None:
    assert book(GIVEN).state(VIAL).flags == (Flag.UNKNOWN_CODE,)


def test_given_a_held_pack_when_released_then_its_contents_are_too() -> None:
    held = scan(Step.HOLDING, 5, MAKER, BOX, recall=True)
    released = scan(Step.RELEASING, 7, MAKER, BOX, recall=True)
    out = scan(Step.UNPACKING, 8, MAKER, VIAL, parent=BOX)
    inside = book(MADE, BOXED, held).state(VIAL)
    assert (inside.status, inside.held, inside.recalled) == (Status.HELD, True, True)
    assert not book(MADE, BOXED, held, released).state(VIAL).held
    assert not book(MADE, BOXED, held, released, out).state(VIAL).held
    assert book(MADE, BOXED, held, out).state(VIAL).held
    assert not book(MADE, BOXED, released, out).state(VIAL).held
    own = scan(Step.RELEASING, 9, MAKER, VIAL, recall=True)
    assert not book(MADE, BOXED, held, out, own).state(VIAL).held


def test_given_a_recalled_lot_when_asked_then_its_codes_are_held_until_release() -> None:
    recall = Fact(
        fact_id="r",
        step=Step.HOLDING,
        t_ms=70,
        recorded_ms=70,
        position=70,
        site_id=MAKER,
        lot_id=LOT,
        recall=True,
    )
    other = replace(recall, fact_id="o", lot_id="8474354.OTHER")
    hold = replace(recall, fact_id="h", t_ms=80, recall=False)
    end = replace(recall, fact_id="e", t_ms=90, step=Step.RELEASING)
    found = book(*LIFE, facts=[recall, other, hold])
    assert (found.state(VIAL_2).status, found.state(VIAL_2).recalled) == (Status.HELD, True)
    assert found.state(VIAL).status is Status.USED
    assert [e.fact.fact_id for e in found.chain(VIAL)][-2:] == ["r", "h"]
    assert found.chain(VIAL) is found.chain(VIAL)  # put in order once
    assert not book(*LIFE, facts=[recall, hold, end]).state(VIAL_2).held
    plain = replace(end, recall=False)
    assert book(*LIFE, facts=[recall, hold, plain]).state(VIAL_2).recalled
    assert not book(*LIFE, facts=[hold, plain]).state(VIAL_2).held
    assert not book(*LIFE, facts=[other]).state(VIAL_2).held


def test_given_a_withdrawn_fact_when_asked_before_and_after_then_there_and_gone() -> None:
    gone = [m._replace(fact=replace(m.fact, withdrawn_position=80)) for m in GIVEN]
    facts = [*LIFE[:-1], gone]
    assert book(*facts).state(VIAL).status is Status.IN_STOCK
    assert book(*facts, as_of=80).state(VIAL).status is Status.IN_STOCK
    assert book(*facts, as_of=79).state(VIAL).status is Status.USED
    assert book(*facts, as_of=59).state(VIAL).status is Status.IN_STOCK
    assert book(*facts, as_of=15).state(VIAL).status is Status.IN_TRANSIT


def test_given_two_commissionings_when_asked_then_the_first_by_time_names_the_lot() -> None:
    other = scan(Step.COMMISSIONING, 5, CITY, VIAL, lot_id="8474354.OTHER")
    state = book(other, MADE).state(VIAL)
    assert (state.lot_id, state.site_id) == (LOT, MAKER)


def test_given_one_fact_id_twice_when_asked_then_the_earlier_position_counts() -> None:
    first = scan(Step.STORING, 5, CITY, VIAL, unit_id="C1", fact_id="x", position=1)
    second = scan(Step.STORING, 6, CLINIC, VIAL, unit_id="F1", fact_id="x", position=2)
    for order in ([first, second], [second, first]):
        assert book(MADE, *order).state(VIAL).site_id == CITY


def test_given_a_lot_when_its_hops_asked_then_counts_bills_times_and_temperatures() -> None:
    found = book(*LIFE)
    hops = hops_of(found, found.codes)
    told = [(h.step, h.site_id, h.bill_no, h.unit_id, h.units, h.packs, h.until_ms) for h in hops]
    assert told == [
        (Step.COMMISSIONING, MAKER, "", "", 2, {1: 2}, 10),
        (Step.SHIPPING, MAKER, "B1", "V1", 2, {3: 1}, 20),
        (Step.RECEIVING, CITY, "B1", "C1", 2, {3: 1}, 40),
        (Step.SHIPPING, CITY, "B2", "", 2, {2: 1}, 50),
        (Step.RECEIVING, CLINIC, "B2", "F1", 2, {2: 1}, None),
        (Step.DISPENSING, CLINIC, "", "", 1, {1: 1}, 60),
    ]
    assert (hops[1].temperature_c, hops[2].transport_c_min, hops[2].transport_c_max) == (4, 3, 6)
    assert hops[2].positions == (20,)
    assert hops[2].fact_ids == (ARRIVED[0].fact.fact_id,)


def test_given_a_case_without_known_contents_when_hops_asked_then_a_pack_and_no_units() -> None:
    made = scan(Step.COMMISSIONING, 1, MAKER, CASE, level=3)
    found = book(made, SENT)
    assert [(h.units, h.packs) for h in hops_of(found, [CASE])] == [(0, {3: 1}), (0, {3: 1})]


def test_given_stock_when_asked_then_by_place_lot_and_status() -> None:
    found = book(*LIFE)
    assert stock_of(found, found.codes) == [
        StockLine(CLINIC, LOT, "in_stock", 1, {1: 1, 2: 1}),
        StockLine(CLINIC, LOT, "used", 1, {1: 1}),
    ]


@pytest.mark.parametrize("at", [5, 6], ids=["at the same moment", "later"])
def test_given_a_vial_repacked_when_its_old_box_tells_of_unpacking_then_it_stays_in_the_new(
    at: int,
) -> None:
    again = scan(Step.PACKING, 5, MAKER, VIAL, parent=BOX + 1)
    out = scan(Step.UNPACKING, at, MAKER, VIAL, parent=BOX)
    found = book(MADE, BOXED, again, out)
    assert found.state(VIAL).parent == BOX + 1
    named = scan(Step.UNPACKING, 7, MAKER, VIAL, parent=BOX + 1)
    assert book(MADE, BOXED, again, out, named).state(VIAL).parent is None
