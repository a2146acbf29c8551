"""Question lists, due lists, transfers, visits, checks and observations: what is refused."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from domain.shared.errors import Conflict, DomainError, Invalid, NotFound
from domain.vaccination import model
from domain.vaccination.events import (
    ConsentDecided,
    DueItem,
    DueListSet,
    InjectionChecked,
    ObservationEnded,
    Question,
    ScreeningAnswered,
    TransferAccepted,
    TransferDeclined,
    TransferRequested,
    VisitOpened,
)
from tests.spec import spec

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
PRODUCT = "8474354"
ITEM = DueItem(product_ids=(PRODUCT,), series_dose=1, not_before=date(2026, 3, 1))
DUE = DueListSet(recipient="R-1", site_id="dwk", items=(ITEM,), source="省平台")
ASKED = TransferRequested(
    transfer_id="T-1",
    recipient="R-1",
    from_site_id="dwk",
    from_region_code="640202",
    to_site_id="huinong",
    reason="",
)
VISIT = VisitOpened(
    visit_id="V-1",
    site_id="dwk",
    recipient="R-1",
    product_id=PRODUCT,
    series_dose=1,
    opened_at=NOW,
)
CONSENT = ConsentDecided(
    visit_id="V-1", given=True, by="guardian", form_version="2026-1", decided_at=NOW
)
GENERAL = model.SHIPPED_LIST
NO = {question.question_id: False for question in GENERAL.questions}

a_list = spec(model.evolve_question_list, model.first_list("general"))
a_person = spec(model.evolve_person, model.Person())
a_visit = spec(model.evolve_visit, None)
an_observation = spec(model.evolve_observation, None)


def question(question_id: str = "q", yes: str = "stop", *products: str) -> Question:
    return Question(question_id=question_id, zh="问", en="ask", yes=yes, product_ids=products)


def publish(*questions: Question) -> Any:
    fields: dict[str, Any] = {"list_id": "general", "questions": questions, "source": "规范"}
    return a_list.when(model.publish_questions, **fields)


def test_given_the_shipped_list_when_published_anew_then_the_next_version() -> None:
    event: Any
    (event,) = publish(question()).events
    assert (event.version, model.evolve_question_list(None, event)) == (2, event)
    again = spec(model.evolve_question_list, event)
    fields: dict[str, Any] = {"list_id": "general", "questions": [question()], "source": "规范"}
    again.when(model.publish_questions, **fields).then()
    fresh = spec(model.evolve_question_list, model.first_list("child"))
    first: Any
    (first,) = fresh.when(model.publish_questions, **fields | {"list_id": "child"}).events
    assert first.version == 1


@pytest.mark.parametrize(
    ("questions", "code"),
    [
        ([], "too_many_items"),
        ([question(), question()], "duplicate_question"),
        ([question(yes="maybe")], "bad_field"),
    ],
)
def test_given_a_bad_list_when_published_then_refused(questions: list[Question], code: str) -> None:
    publish(*questions).refused(Invalid, code)


def due(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "recipient": "R-1",
        "site_id": "dwk",
        "items": [ITEM],
        "source": "省平台",
    }
    return fields | changes


def test_given_a_person_when_due_list_set_then_their_clinic_alone_may_change_it() -> None:
    a_person.when(model.set_due_list, **due()).then(DUE)
    a_person.given(DUE).when(model.set_due_list, **due()).then()
    other = a_person.given(DUE).when(model.set_due_list, **due(site_id="huinong"))
    other.refused(Conflict, "not_their_clinic")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"recipient": "张三"}, "not_a_pseudonym"),
        ({"recipient": ""}, "not_a_pseudonym"),
        ({"source": "电话 13812345678"}, "names_a_person"),
        ({"items": [ITEM] * 101}, "too_many_items"),
        ({"items": [replace(ITEM, series_dose=0)]}, "bad_field"),
        ({"items": [replace(ITEM, product_ids=())]}, "bad_field"),
        ({"items": [replace(ITEM, not_after=date(2026, 2, 1))]}, "bad_field"),
    ],
)
def test_given_a_bad_due_list_when_set_then_refused(changes: dict[str, Any], code: str) -> None:
    a_person.when(model.set_due_list, **due(**changes)).refused(Invalid, code)


def transfer(**changes: Any) -> dict[str, Any]:
    return asdict(ASKED) | changes


def answer(accepted: bool, transfer_id: str = "T-1", reason: str = "") -> dict[str, Any]:
    fields: dict[str, Any] = {"transfer_id": transfer_id, "recipient": "R-1", "accepted": accepted}
    return fields | {"reason": reason}


def test_given_a_transfer_when_accepted_then_the_other_clinic_looks_after_them() -> None:
    asked = a_person.given(DUE)
    asked.when(model.request_transfer, **transfer()).then(ASKED)
    accepted = TransferAccepted(transfer_id="T-1", recipient="R-1", to_site_id="huinong")
    waiting = asked.given(ASKED)
    waiting.when(model.request_transfer, **transfer()).then()
    waiting.when(model.answer_transfer, **answer(True)).then(accepted)
    moved = waiting.given(accepted)
    assert (moved.state.site_id, moved.state.items) == ("huinong", (ITEM,))
    moved.when(model.answer_transfer, **answer(True)).refused(Conflict, "transfer_closed")
    moved.when(model.request_transfer, **transfer()).refused(Conflict, "transfer_closed")


def test_given_a_transfer_when_declined_then_they_stay_and_it_needs_a_reason() -> None:
    waiting = a_person.given(DUE, ASKED)
    waiting.when(model.answer_transfer, **answer(False)).refused(Invalid, "bad_text")
    declined = TransferDeclined(transfer_id="T-1", recipient="R-1", reason="疫苗未种完")
    waiting.when(model.answer_transfer, **answer(False, reason="疫苗未种完")).then(declined)
    assert waiting.given(declined).state.site_id == "dwk"


@pytest.mark.parametrize(
    ("given", "changes", "kind", "code"),
    [
        ([DUE], {"to_site_id": "dwk"}, Invalid, "same_site"),
        ([], {}, Conflict, "not_their_clinic"),
        ([DUE, ASKED], {"transfer_id": "T-2"}, Conflict, "transfer_open"),
    ],
)
def test_given_no_reason_to_transfer_when_asked_then_refused(
    given: list[Any], changes: dict[str, Any], kind: type[DomainError], code: str
) -> None:
    a_person.given(*given).when(model.request_transfer, **transfer(**changes)).refused(kind, code)


def test_given_no_transfer_when_answered_then_unknown() -> None:
    a_person.when(model.answer_transfer, **answer(True)).refused(NotFound, "unknown_transfer")


def visit(**changes: Any) -> dict[str, Any]:
    return asdict(VISIT) | changes


def test_given_a_visit_when_opened_twice_then_once() -> None:
    a_visit.when(model.open_visit, **visit()).then(VISIT)
    later = NOW + timedelta(minutes=1)
    a_visit.given(VISIT).when(model.open_visit, **visit(opened_at=later)).then()
    other = a_visit.given(VISIT).when(model.open_visit, **visit(recipient="R-2"))
    other.refused(Conflict, "already_registered")
    a_visit.when(model.open_visit, **visit(series_dose=21)).refused(Invalid, "bad_field")


def consent(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "given": True,
        "by": "guardian",
        "form_version": "2026-1",
        "decided_at": NOW,
    }
    return fields | changes


def test_given_a_visit_when_consent_decided_then_the_last_word_counts() -> None:
    opened = a_visit.given(VISIT)
    opened.when(model.decide_consent, **consent()).then(CONSENT)
    later = NOW + timedelta(minutes=1)
    given = opened.given(CONSENT)
    given.when(model.decide_consent, **consent(decided_at=later)).then()
    (taken,) = given.when(model.decide_consent, **consent(given=False, reason="改日")).events
    state: Any = given.given(taken).state
    assert state.consent.given is False
    opened.when(model.decide_consent, **consent(by="nurse")).refused(Invalid, "bad_field")
    a_visit.when(model.decide_consent, **consent()).refused(NotFound, "unknown_visit")


def answers(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"questions": GENERAL, "version": 1, "answers": NO, "answered_at": NOW}
    return fields | changes


def test_given_answers_when_recorded_then_what_forbids_and_what_calls_for_care() -> None:
    opened = a_visit.given(VISIT)
    yes = NO | {"fever": True, "pregnancy": True}
    event: Any
    (event,) = opened.when(model.answer_questions, **answers(answers=yes)).events
    assert (event.stops, event.cautions) == (("fever",), ("pregnancy",))
    answered = opened.given(event)
    assert answered.state == model.Visit(VISIT, None, event)
    again = answers(answers=yes, answered_at=NOW + timedelta(hours=1))
    answered.when(model.answer_questions, **again).then()
    next_day = answers(answers=yes, answered_at=NOW + timedelta(hours=24))
    assert len(answered.when(model.answer_questions, **next_day).events) == 1


def test_given_questions_of_other_products_when_answered_then_not_asked() -> None:
    listed = replace(GENERAL, questions=(question("a"), question("b", "stop", "8690011")))
    opened = a_visit.given(VISIT)
    (event,) = opened.when(
        model.answer_questions, **answers(questions=listed, answers={"a": False})
    ).events
    assert isinstance(event, ScreeningAnswered)
    both = answers(questions=listed, answers={"a": False, "b": False})
    opened.when(model.answer_questions, **both).refused(Invalid, "unanswered")


@pytest.mark.parametrize(
    ("changes", "kind", "code"),
    [
        ({"questions": None}, Invalid, "unknown_question_list"),
        ({"version": 2}, Conflict, "question_list_changed"),
        ({"answers": {}}, Invalid, "unanswered"),
    ],
)
def test_given_bad_answers_when_recorded_then_refused(
    changes: dict[str, Any], kind: type[DomainError], code: str
) -> None:
    opened = a_visit.given(VISIT)
    opened.when(model.answer_questions, **answers(**changes)).refused(kind, code)


def test_given_a_check_when_recorded_twice_then_once() -> None:
    checked = InjectionChecked(
        check_id="C-1",
        site_id="dwk",
        code="84743540181360010008",
        recipient="R-1",
        product_id=PRODUCT,
        lot_id="",
        series_dose=1,
        visit_id="V-1",
        may=True,
        reasons=(),
        cautions=(),
        as_of=7,
        checked_at=NOW,
    )
    a_check = spec(model.evolve_check, None)
    a_check.when(model.record_check, checked=checked).then(checked)
    a_check.given(checked).when(model.record_check, checked=checked).then()
    named = replace(checked, recipient="R-138-1234-5678")
    a_check.when(model.record_check, checked=named).refused(Invalid, "not_a_pseudonym")


def ending(
    minutes: int, reason: str = "", *, reaction: bool = False, late: int = 0
) -> dict[str, Any]:
    return {
        "fact_id": "C-1",
        "site_id": "dwk",
        "given_at": NOW,
        "told_at": NOW + timedelta(minutes=late),
        "ended_at": NOW + timedelta(minutes=minutes),
        "reaction": reaction,
        "reason": reason,
    }


def test_given_a_dose_when_observed_for_30_minutes_then_let_go_and_earlier_with_a_reason() -> None:
    due_at = NOW + timedelta(minutes=30)
    ended = ObservationEnded(
        fact_id="C-1", site_id="dwk", due_at=due_at, ended_at=due_at, reaction=False
    )
    an_observation.when(model.end_observation, **ending(30)).then(ended)
    early = an_observation.when(model.end_observation, **ending(29))
    early.refused(Invalid, "release_reason_required")
    for reason in (".", "。 。", "x"):
        silent = an_observation.when(model.end_observation, **ending(29, reason))
        silent.refused(Invalid, "release_reason_required")
    assert an_observation.when(model.end_observation, **ending(29, "转急诊")).events
    an_observation.when(model.end_observation, **ending(30, late=5)).then(ended)
    late = an_observation.when(model.end_observation, **ending(69, late=40))
    late.refused(Invalid, "release_reason_required")
    assert an_observation.when(model.end_observation, **ending(69, "离线时已留观", late=40)).events
    assert an_observation.when(model.end_observation, **ending(70, late=40)).events
    known = an_observation.given(ended)
    known.when(model.end_observation, **ending(40)).then()
    other = known.when(model.end_observation, **ending(40, reaction=True))
    other.refused(Conflict, "already_released")
