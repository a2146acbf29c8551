"""What people do with exceptions, and excursions put on record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.shared.errors import Conflict, Invalid
from domain.traceability import cases
from domain.traceability.events import ExceptionAssigned, ExceptionClosed, ExcursionConfirmed
from domain.traceability.kinds import Kind
from domain.traceability.thermal import Excursion

ID = cases.case_id_of(Kind.DAMAGED, "f1")
CLOSING: dict[str, Any] = {
    "is_open": True,
    "closings": 0,
    "case_id": ID,
    "kind": "DAMAGED",
    "codes": ["84743540181360010008"],
    "fact_ids": ["f1"],
    "resolution": "disposed",
    "reason": "已销毁",
}
WARM = Excursion("D1", 1_000, 2_000, 8.0, 9.5, unit_id="U1", site_id="S1")


def test_given_an_open_case_when_closed_then_the_event_holds_its_grounds() -> None:
    [closed] = cases.close((), **CLOSING)
    assert isinstance(closed, ExceptionClosed)
    assert (closed.resolution, closed.fact_ids) == ("disposed", ("f1",))
    assert cases.evolve_case((), closed) == (closed,)
    assert cases.case_stream_of(Kind.DAMAGED, "f1") != cases.case_stream_of(Kind.DAMAGED, "f2")


def test_given_a_case_that_is_not_open_when_closed_then_refused() -> None:
    with pytest.raises(Conflict, match="case_not_open"):
        cases.close((), **CLOSING | {"is_open": False})


def test_given_a_case_closed_since_it_was_read_when_closed_then_refused() -> None:
    acts = tuple(cases.close((), **CLOSING))
    with pytest.raises(Conflict, match="case_not_open"):
        cases.close(acts, **CLOSING)
    assert len(cases.close(acts, **CLOSING | {"closings": 1})) == 1  # opened again meanwhile


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"resolution": "gone"}, "bad_field"),
        ({"reason": ""}, "bad_text"),
        ({"reason": "电话 138-1234-5678"}, "names_a_person"),
    ],
)
def test_given_no_grounds_or_a_person_when_closed_then_refused(
    wrong: dict[str, Any], code: str
) -> None:
    with pytest.raises(Invalid, match=code):
        cases.close((), **CLOSING | wrong)


def test_given_a_case_when_assigned_again_to_the_same_then_no_event() -> None:
    given = {"case_id": ID, "kind": "DAMAGED", "reason": "由收货方处理"}
    [first] = cases.assign((), org_code="A", **given)
    assert isinstance(first, ExceptionAssigned)
    assert cases.assign((first,), org_code="A", **given) == []
    assert cases.assign((first,), org_code="B", **given) != []
    with pytest.raises(Invalid, match="names_a_person"):
        cases.assign((), org_code="A", **given | {"reason": "找 13812345678"})


def test_given_an_excursion_when_confirmed_again_then_only_what_is_new_is_told() -> None:
    [event] = cases.confirm(None, excursion=WARM)
    assert isinstance(event, ExcursionConfirmed)
    assert event.started_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert cases.confirm(cases.evolve_excursion(None, event), excursion=WARM) == []
    assert cases.confirm(event, excursion=replace(WARM, end_ms=3_000)) != []
    assert cases.excursion_stream("D1", 1_000) != cases.excursion_stream("D1", 1_001)
