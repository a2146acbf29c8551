"""Exceptions read off facts: the planted faults of the synthetic chain, and each kind by itself."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from domain.traceability.codes import code_key, key_code
from domain.traceability.custody import Product
from domain.traceability.exceptions import Case, Declaration, Ground, find, of_code, smallest
from domain.traceability.facts import Fact, Mention, Step
from domain.traceability.journeys import Place, distance_km, impossible
from domain.traceability.kinds import RULES, Kind
from domain.traceability.thermal import Excursion, Reading, excursions_of
from tests.traceability.chain import expected
from tests.traceability.ground import NAMES, cases
from tests.traceability.test_custody import BOX, CITY, CLINIC, LOT, MAKER, VIAL, VIAL_2, book, scan

COUNT = 150
HOUR = 3_600_000
SITES = {MAKER: Place(39.8, 116.5), CITY: Place(38.98, 106.38), CLINIC: Place(39.02, 106.36)}
MADE = scan(Step.COMMISSIONING, 1, MAKER, VIAL, VIAL_2)
SENT = scan(Step.SHIPPING, 2, MAKER, VIAL, VIAL_2, to_site_id=CITY, bill_no="B1")
ARRIVED = scan(Step.RECEIVING, 30 * HOUR, CITY, VIAL, VIAL_2, bill_no="B1")


def known(code: int) -> str:
    return key_code(code) or ""


def told(found: Sequence[Case]) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return sorted((c.kind.value, tuple(map(known, c.codes)), c.fact_ids) for c in found)


def key() -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Return the faults of the answer key in our names; a store's excursion has no events."""
    return sorted(
        (
            NAMES.get(f["rule"], f["rule"]),
            tuple(sorted(f["codes"])),
            tuple(sorted(f["events"])),
        )
        for f in expected()["faults"]
    )


def shuffled(seed: int, times: int = 1) -> list[int]:
    order = list(range(COUNT)) * times
    random.Random(seed).shuffle(order)
    return order


@pytest.mark.parametrize(
    "order",
    [None, list(reversed(range(COUNT))), *(shuffled(n) for n in range(4)), shuffled(9, times=3)],
)
def test_given_the_chain_in_any_order_when_read_then_the_planted_faults_and_no_other(
    order: list[int] | None,
) -> None:
    assert told(cases(order)) == key()


def unread(_code: int) -> None:
    """Return no text: the small numbers of these tests are keys of no real code."""


def of(*facts: Sequence[Mention], ground: Ground | None = None, **more: Any) -> dict[Kind, Any]:
    """Return the codes of each kind found."""
    lots = more.pop("lots", ())
    expires_on = {LOT: date(1970, 1, 3)} if more.pop("expiring", False) else {}
    base = ground or Ground(places=SITES, expires_on=expires_on, text=unread)
    found = find(book(*facts, facts=lots, expires_on=expires_on), base, **more)
    return {c.kind: list(c.codes) for c in found}


def lot_fact(step: Step, t: int, **more: Any) -> Fact:
    said = {"position": t, "recorded_ms": t, "site_id": MAKER, "lot_id": LOT, **more}
    return Fact(fact_id=f"lot-{t}", step=step, t_ms=t, **said)


def test_given_an_ordinary_way_when_read_then_nothing() -> None:
    given = scan(Step.DISPENSING, 31 * HOUR, CITY, VIAL)
    assert of(MADE, SENT, ARRIVED, given) == {}


def test_given_goods_elsewhere_than_sent_when_received_then_wrong_destination_alone() -> None:
    astray = scan(Step.RECEIVING, 30 * HOUR, CLINIC, VIAL, VIAL_2, bill_no="B1")
    assert of(MADE, SENT, astray) == {Kind.WRONG_DESTINATION: [VIAL, VIAL_2]}


def test_given_goods_nobody_sent_when_received_then_product_without_data() -> None:
    assert of(MADE, ARRIVED) == {Kind.PRODUCT_WITHOUT_DATA: [VIAL, VIAL_2]}


def test_given_a_bill_short_of_one_when_it_turns_up_later_then_no_case_any_more() -> None:
    short = scan(Step.RECEIVING, 30 * HOUR, CITY, VIAL, bill_no="B1")
    assert of(MADE, SENT, short) == {Kind.DATA_WITHOUT_PRODUCT: [VIAL_2]}
    rest = scan(Step.RECEIVING, 40 * HOUR, CITY, VIAL_2, bill_no="B1")
    assert of(MADE, SENT, short, rest) == {}
    assert of(MADE, SENT, short, scan(Step.STORING, 40 * HOUR, CITY, VIAL_2)) == {
        Kind.PRODUCT_WITHOUT_DATA: [VIAL_2]
    }


def test_given_a_missing_unit_when_received_elsewhere_then_nobody_sent_it() -> None:
    lost = scan(Step.LOSING, 40 * HOUR, CITY, VIAL)
    there = scan(Step.RECEIVING, 50 * HOUR, CLINIC, VIAL)
    assert of(MADE, SENT, ARRIVED, lost, there) == {Kind.PRODUCT_WITHOUT_DATA: [VIAL]}
    assert of(MADE, SENT, ARRIVED, lost, scan(Step.RECEIVING, 50 * HOUR, CITY, VIAL)) == {}


def test_given_numbers_that_differ_when_the_missing_codes_are_known_then_they_are_told() -> None:
    counted = json.dumps({"quantities": [{"level": 1, "due": 2, "actual": 1, "reason": ""}]})
    whole = scan(Step.RECEIVING, 30 * HOUR, CITY, VIAL, VIAL_2, bill_no="B1", details=counted)
    assert of(MADE, SENT, whole) == {Kind.QUANTITY_MISMATCH: []}
    short = scan(Step.RECEIVING, 30 * HOUR, CITY, VIAL, bill_no="B1", details=counted)
    assert of(MADE, SENT, short) == {Kind.DATA_WITHOUT_PRODUCT: [VIAL_2]}


def test_given_a_count_or_a_correction_that_differs_when_read_then_mass_imbalance() -> None:
    counted = json.dumps({"quantities": [{"level": 1, "due": 2, "actual": 1, "reason": ""}]})
    count = scan(Step.CYCLE_COUNTING, 31 * HOUR, CITY, VIAL, details=counted)
    assert of(MADE, SENT, ARRIVED, count) == {Kind.MASS_IMBALANCE: []}
    adjusted = lot_fact(Step.ADJUSTING, 31 * HOUR, units=-1)
    assert of(MADE, SENT, ARRIVED, codeless=[adjusted]) == {Kind.MASS_IMBALANCE: []}


def test_given_a_unit_seen_where_nothing_took_it_when_read_then_mass_imbalance() -> None:
    seen = scan(Step.STORING, 40 * HOUR, CLINIC, VIAL)
    assert of(MADE, SENT, ARRIVED, seen) == {Kind.MASS_IMBALANCE: [VIAL]}


def test_given_a_use_too_far_too_soon_when_read_then_journey_and_not_imbalance() -> None:
    used = scan(Step.DISPENSING, 30 * HOUR + 60_000, CLINIC, VIAL)
    assert of(MADE, SENT, ARRIVED, used) == {Kind.IMPOSSIBLE_JOURNEY: [VIAL]}


def test_given_expired_or_recalled_goods_when_sent_on_then_cases() -> None:
    on = scan(Step.SHIPPING, 90 * HOUR, CITY, VIAL, to_site_id=CLINIC, bill_no="B2")
    assert of(MADE, SENT, ARRIVED, on, expiring=True) == {Kind.EXPIRED: [VIAL]}
    recall = lot_fact(Step.HOLDING, 80 * HOUR, recall=True)
    assert of(MADE, SENT, ARRIVED, on, lots=[recall]) == {Kind.RECALLED: [VIAL]}


def test_given_what_a_fact_says_of_itself_when_wrong_then_cases() -> None:
    refused = scan(Step.RECEIVING, 30 * HOUR, CITY, VIAL, VIAL_2, bill_no="B1", accepted=False)
    assert of(MADE, SENT, refused) == {Kind.DAMAGED: [VIAL, VIAL_2]}
    bare = scan(Step.RECEIVING, 30 * HOUR, CITY, VIAL, VIAL_2, bill_no="B1", vehicle_id="V1")
    probed = Ground(places=SITES, text=unread, probed={"V1": 0})
    assert of(MADE, SENT, bare, ground=probed) == {Kind.TEMPERATURE_MISSING: [VIAL, VIAL_2]}
    away = scan(Step.SHIPPING, 40 * HOUR, CITY, VIAL, to_site_id="nobody", bill_no="B2")
    assert of(MADE, SENT, ARRIVED, away) == {Kind.DATA_ERROR: [VIAL]}
    nothing = lot_fact(Step.DISPENSING, 40 * HOUR, lot_id="")
    assert of(MADE, codeless=[nothing]) == {Kind.CODE_MISSING_ON_RECORD: []}


def test_given_a_lot_or_expiry_that_is_not_the_codes_when_commissioned_then_data_error() -> None:
    code = code_key("84743540181360010008")
    other = scan(Step.COMMISSIONING, 1, MAKER, code, lot_id="8907796.B1")
    assert of(other, ground=Ground()) == {Kind.DATA_ERROR: [code]}
    printed = json.dumps({"expires_on": "1999-01-01"})
    assert of(
        scan(Step.COMMISSIONING, 1, MAKER, VIAL, details=printed),
        ground=Ground(expires_on={LOT: date(2027, 1, 1)}, text=unread),
    ) == {Kind.DATA_ERROR: [VIAL]}


def test_given_packs_that_contradict_each_other_when_read_then_hierarchy_broken() -> None:
    boxed = scan(Step.PACKING, 2, MAKER, VIAL, VIAL_2, parent=BOX)
    again = scan(Step.PACKING, 3, MAKER, VIAL, parent=BOX + 1)
    assert of(MADE, boxed, again) == {Kind.HIERARCHY_BROKEN: [VIAL]}


def test_given_a_pack_used_or_packs_in_circles_when_read_then_told_without_end() -> None:
    boxed = scan(Step.PACKING, 2, MAKER, VIAL, VIAL_2, parent=BOX)
    circle = scan(Step.PACKING, 3, MAKER, BOX, parent=VIAL)
    late = scan(Step.STORING, 4, MAKER, BOX, recorded_ms=30 * HOUR)
    assert of(MADE, boxed, circle, late)[Kind.LATE_CAPTURE] == [VIAL_2]
    used = scan(Step.DISPENSING, 5, MAKER, BOX)
    assert Kind.HIERARCHY_BROKEN in of(MADE, boxed, used)
    assert smallest(book(MADE, boxed, circle), BOX, (4, 0, "")) == [VIAL_2]
    assert of_code(book(MADE), 99, Ground()) == []


def test_given_an_error_declared_late_when_read_then_both_kinds() -> None:
    wrong = scan(Step.STORING, 40 * HOUR, CITY, VIAL, withdrawn_position=9)[0].fact
    declared = Declaration(wrong, (VIAL,), 50 * HOUR, 80 * HOUR, ())
    assert of(MADE, SENT, ARRIVED, declarations=[declared]) == {
        Kind.ERROR_DECLARED: [VIAL],
        Kind.LATE_CAPTURE: [VIAL],
    }


def test_given_a_sighting_out_of_place_told_late_or_declared_when_read_then_it_is_still_told() -> (
    None
):
    seen = scan(Step.STORING, 40 * HOUR, CLINIC, VIAL, recorded_ms=80 * HOUR, fact_id="seen")
    wrong = scan(Step.STORING, 39 * HOUR, CITY, VIAL, withdrawn_position=9)[0].fact
    declared = Declaration(wrong, (), 50 * HOUR, 50 * HOUR, ("seen",))
    assert of(MADE, SENT, ARRIVED, seen, declarations=[declared]) == {
        Kind.MASS_IMBALANCE: [VIAL],
        Kind.LATE_CAPTURE: [VIAL],
        Kind.ERROR_DECLARED: [VIAL],
    }


WARM = Excursion("D1", 35 * HOUR, 36 * HOUR, 8.0, 9.5, unit_id="U1", site_id=CITY)


@pytest.mark.parametrize(
    ("place", "exposed"),
    [({"unit_id": "U1"}, True), ({"unit_id": "U2"}, False), ({}, True)],
    ids=["in the unit", "in another unit", "somewhere at the site"],
)
def test_given_a_warm_unit_when_goods_are_at_the_site_then_those_in_it_or_anywhere(
    place: dict[str, Any], exposed: bool
) -> None:
    here = scan(Step.RECEIVING, 30 * HOUR, CITY, VIAL, VIAL_2, bill_no="B1", **place)
    used = scan(Step.DISPENSING, 34 * HOUR, CITY, VIAL_2)
    after = scan(Step.DISPENSING, 37 * HOUR, CITY, VIAL)
    ground = Ground(places=SITES, text=unread, excursions=[WARM])
    found = of(MADE, SENT, here, used, after, ground=ground)
    kinds = {Kind.THERMAL_EXCURSION: [VIAL], Kind.USE_AFTER_EXCURSION: [VIAL]}
    assert found == (kinds if exposed else {})


def test_given_an_open_vial_when_it_grows_warm_between_doses_then_the_dose_after_is_told() -> None:
    during = scan(Step.DISPENSING, 35 * HOUR + 1, CITY, VIAL)
    after = scan(Step.DISPENSING, 36 * HOUR, CITY, VIAL)
    ground = Ground(places=SITES, text=unread, excursions=[WARM], doses_per_vial=lambda _code: 5)
    found = find(book(MADE, SENT, ARRIVED, during, after, product=lambda _: Product(5)), ground)
    [used] = [c for c in found if c.kind is Kind.USE_AFTER_EXCURSION]
    assert used.fact_ids == (after[0].fact.fact_id,)


def test_given_readings_when_out_of_the_limits_then_first_to_last_bad_one() -> None:
    values = [5.0, 8.1, 9.0, 1.0, 1.5, 5.0, 8.0, 8.5]
    readings = [Reading(n, value) for n, value in enumerate(values)]
    found = excursions_of(reversed([*readings, *readings]), device_id="D", low_c=2.0, high_c=8.0)
    assert [(e.start_ms, e.end_ms, e.limit_c, e.peak_c) for e in found] == [
        (1, 2, 8.0, 9.0),
        (3, 4, 2.0, 1.0),
        (7, 7, 8.0, 8.5),
    ]


def test_given_places_when_compared_then_distance_and_what_no_vehicle_does() -> None:
    near, far = Place(39.02, 106.36), Place(38.45, 106.6)
    assert distance_km(near, far) == pytest.approx(66.7, abs=0.1)
    assert impossible(near, far, 20 * 60_000)
    assert not impossible(near, far, HOUR)
    assert not impossible(near, Place(39.021, 106.36), 0)
    assert not impossible(near, Place(), 0)


def test_given_every_kind_when_its_rule_is_asked_then_there_is_one() -> None:
    assert set(RULES) == set(Kind)
    assert all(rule.due_h > 0 for rule in RULES.values())
