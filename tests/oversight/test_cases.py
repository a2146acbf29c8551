"""Inspections of one case and time, and legal holds: what may be decided."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.oversight import model
from domain.oversight.events import (
    InspectionEnded,
    InspectionOpened,
    LegalHoldLifted,
    LegalHoldPlaced,
)
from domain.shared.errors import Conflict, DomainError, Invalid, NotFound
from tests.api.world import LOT

NOW = datetime(2026, 3, 2, tzinfo=UTC)
ASKED: dict[str, Any] = {
    "now": NOW,
    "inspection_id": "i1",
    "key_id": "k1",
    "case_no": "宁药监查〔2026〕3 号",
    "region_code": "640200",
    "lot_ids": (LOT, LOT),
    "valid_until": NOW + timedelta(days=3),
    "grounds": "举报",
}


def opened() -> model.Inspection:
    (event,) = model.open_inspection(None, **ASKED)
    assert isinstance(event, InspectionOpened)
    found = model.evolve_inspection(None, event)
    assert found is not None
    return found


def test_given_a_grant_when_its_time_is_over_then_it_ended_by_itself() -> None:
    found = opened()
    assert found.opened.lot_ids == (LOT,)
    assert found.in_force(NOW + timedelta(days=2))
    later = NOW + timedelta(days=3)
    assert not found.in_force(later)
    again = ASKED | {"now": later, "valid_until": later + timedelta(days=1)}
    assert model.open_inspection(found, **again)
    assert model.end_inspection(found, now=later, inspection_id="i1", reason="结案") == []


def test_given_a_grant_in_force_when_ended_then_nothing_is_open_any_more() -> None:
    found = opened()
    (event,) = model.end_inspection(found, now=NOW, inspection_id="i1", reason="结案")
    assert isinstance(event, InspectionEnded)
    ended = model.evolve_inspection(found, event)
    assert ended is not None
    assert not ended.in_force(NOW)
    assert model.evolve_inspection(None, event) is None


@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        ({"valid_until": NOW}, Invalid, "bad_until"),
        ({"valid_until": NOW + timedelta(days=400)}, Invalid, "bad_until"),
        ({"case_no": "3/2026"}, Invalid, "bad_case_no"),
        ({"region_code": "990000"}, Invalid, "bad_region"),
        ({"lot_ids": (LOT,) * 101}, Invalid, "bad_field"),
        ({"grounds": ""}, Invalid, "bad_text"),
        ({"grounds": "举报人 13812345678"}, Invalid, "names_a_person"),
    ],
)
def test_given_a_bad_grant_when_opened_then_refused(
    change: dict[str, Any], kind: type[DomainError], code: str
) -> None:
    with pytest.raises(kind) as refused:
        model.open_inspection(None, **ASKED | change)
    assert refused.value.code == code


def test_given_a_key_that_serves_a_case_when_another_is_opened_then_refused() -> None:
    country = ASKED | {"region_code": "000000"}
    with pytest.raises(Conflict) as refused:
        model.open_inspection(opened(), **country)
    assert refused.value.code == "inspection_in_force"
    assert model.open_inspection(None, **country)
    with pytest.raises(NotFound):
        model.end_inspection(opened(), now=NOW, inspection_id="i2", reason="结案")


def test_given_two_cases_on_a_lot_when_one_is_lifted_then_the_other_holds() -> None:
    asked = {"lot_id": LOT, "grounds": "调查"}
    state: model.LegalHolds = model.NO_HOLDS
    for case_no in ("A", "B"):
        (event,) = model.place_legal_hold(state, case_no=case_no, **asked)
        assert isinstance(event, LegalHoldPlaced)
        state = model.evolve_legal_holds(state, event)
    assert model.place_legal_hold(state, case_no="A", **asked) == []
    (lifted,) = model.lift_legal_hold(state, case_no="A", **asked)
    assert isinstance(lifted, LegalHoldLifted)
    state = model.evolve_legal_holds(state, lifted)
    assert list(state) == ["B"]
    with pytest.raises(NotFound):
        model.lift_legal_hold(state, case_no="A", **asked)
