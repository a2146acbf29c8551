"""Question lists, people (due doses, transfers), visits, checks and observations.

Streams: `vaccination.question_list` (list_id), `vaccination.person` (recipient),
`vaccination.visit` (visit_id), `vaccination.check` (check_id), `vaccination.observation` (fact_id
of the dose). AEFI, supply and charges stand in `aefi.py`, `supply.py`, `charges.py`.

Codes of refusals: bad_name, bad_text, bad_field, not_a_pseudonym, names_a_person, too_many_items,
duplicate_question, unanswered, unknown_question_list, same_site, release_reason_required
(Invalid); unknown_visit, unknown_transfer (NotFound); already_registered,
question_list_changed, not_their_clinic, transfer_open, transfer_closed, already_released
(Conflict).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias, assert_never
from uuid import UUID

from domain.shared.decide import register
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import checked_name, stream_id
from domain.shared.pseudonyms import checked_id, checked_note, checked_pseudonym
from domain.shared.text import checked_text
from domain.vaccination.events import (
    ConsentDecided,
    DueItem,
    DueListSet,
    InjectionChecked,
    ObservationEnded,
    Question,
    QuestionListPublished,
    ScreeningAnswered,
    TransferAccepted,
    TransferDeclined,
    TransferRequested,
    VisitOpened,
)
from domain.vaccination.rules import (
    DEFAULT_LIST,
    DEFAULT_QUESTIONS,
    DEFAULT_SOURCE,
    DUE_ITEMS_MAX,
    INTERVAL_DAYS_MAX,
    QUESTIONS_MAX,
    SERIES_DOSE_MAX,
    ZONE,
    rules_at,
)

QuestionList: TypeAlias = QuestionListPublished
PersonEvent: TypeAlias = DueListSet | TransferRequested | TransferAccepted | TransferDeclined
VisitEvent: TypeAlias = VisitOpened | ConsentDecided | ScreeningAnswered
ANSWERS_YES = ("stop", "caution")
DECIDERS = ("self", "guardian")
# A reason in fewer letters says nothing.
_REASON_LETTERS_MIN = 2

# What applies until somebody publishes the list of this name.
SHIPPED_LIST = QuestionListPublished(
    list_id=DEFAULT_LIST, version=1, questions=tuple(DEFAULT_QUESTIONS), source=DEFAULT_SOURCE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who looks after a person, what they are due, and a transfer that waits for its answer."""

    site_id: str = ""
    items: tuple[DueItem, ...] | None = None
    transfer: TransferRequested | None = None
    answered: tuple[str, ...] = ()  # ids of transfers that are settled


@dataclass(frozen=True, slots=True)
class Visit:
    """A visit with its consent and its answers."""

    opened: VisitOpened
    consent: ConsentDecided | None = None
    screening: ScreeningAnswered | None = None


def question_list_stream(list_id: str) -> UUID:
    """Return the stream of a question list."""
    return stream_id("vaccination.question_list", list_id)


def first_list(list_id: str) -> QuestionList | None:
    """Return what a list is before anybody published it."""
    return SHIPPED_LIST if list_id == SHIPPED_LIST.list_id else None


def person_stream(recipient: str) -> UUID:
    """Return the stream of a person, by pseudonym."""
    return stream_id("vaccination.person", recipient)


def visit_stream(visit_id: str) -> UUID:
    """Return the stream of a visit."""
    return stream_id("vaccination.visit", visit_id)


def check_stream(check_id: str) -> UUID:
    """Return the stream of one check."""
    return stream_id("vaccination.check", check_id)


def observation_stream(fact_id: str) -> UUID:
    """Return the stream of the observation after a dose."""
    return stream_id("vaccination.observation", fact_id)


def evolve_question_list(
    _state: QuestionList | None, event: QuestionListPublished
) -> QuestionList | None:
    """Return the newest version of a list."""
    return event


def evolve_person(state: Person, event: PersonEvent) -> Person:
    """Return the person after `event`."""
    match event:
        case DueListSet():
            return replace(state, site_id=event.site_id, items=event.items)
        case TransferRequested():
            return replace(state, transfer=event)
        case TransferAccepted():
            answered = (*state.answered, event.transfer_id)
            return replace(state, site_id=event.to_site_id, transfer=None, answered=answered)
        case TransferDeclined():
            return replace(state, transfer=None, answered=(*state.answered, event.transfer_id))
        case _:
            assert_never(event)


def evolve_visit(state: Visit | None, event: VisitEvent) -> Visit | None:
    """Return the visit after `event`."""
    match event:
        case VisitOpened():
            return Visit(event)
        case ConsentDecided():
            return state and replace(state, consent=event)
        case ScreeningAnswered():
            return state and replace(state, screening=event)
        case _:
            assert_never(event)


def evolve_check(_state: InjectionChecked | None, event: InjectionChecked) -> InjectionChecked:
    """Return the check."""
    return event


def evolve_observation(
    _state: ObservationEnded | None, event: ObservationEnded
) -> ObservationEnded:
    """Return the end of the observation."""
    return event


def publish_questions(
    state: QuestionList | None,
    *,
    list_id: str,
    questions: Sequence[Question],
    source: str,
) -> list[Event]:
    """Publish the next version of a list; the same questions again change nothing."""
    if not 1 <= len(questions) <= QUESTIONS_MAX:
        raise Invalid("too_many_items", field="questions", max=QUESTIONS_MAX)
    ids = [checked_name(question.question_id, "question_id") for question in questions]
    if len(set(ids)) < len(ids):
        raise Invalid("duplicate_question", field="questions")
    for question in questions:
        checked_text(question.zh, "zh")
        checked_text(question.en, "en")
        if question.yes not in ANSWERS_YES:
            raise Invalid("bad_field", field="yes", expected=ANSWERS_YES)
    if state is not None and (state.questions, state.source) == (tuple(questions), source):
        return []
    published = QuestionListPublished(
        list_id=checked_name(list_id, "list_id"),
        version=state.version + 1 if state else 1,
        questions=tuple(questions),
        source=checked_text(source, "source"),
    )
    return [published]


def set_due_list(
    state: Person, *, recipient: str, site_id: str, items: Sequence[DueItem], source: str
) -> list[Event]:
    """Say what a person is due; only the clinic that looks after them (the first to say) may."""
    if state.site_id and state.site_id != site_id:
        raise Conflict("not_their_clinic")
    if len(items) > DUE_ITEMS_MAX:
        raise Invalid("too_many_items", field="items", max=DUE_ITEMS_MAX)
    for item in items:
        if not 1 <= item.series_dose <= SERIES_DOSE_MAX:
            raise Invalid("bad_field", field="series_dose", min=1, max=SERIES_DOSE_MAX)
        if not item.product_ids or not 0 <= item.interval_days_min <= INTERVAL_DAYS_MAX:
            raise Invalid("bad_field", field="items")
        if item.not_after is not None and item.not_after < item.not_before:
            raise Invalid("bad_field", field="not_after")
    if state.items == tuple(items):
        return []
    return [
        DueListSet(
            recipient=_person(recipient),
            site_id=checked_name(site_id, "site_id"),
            items=tuple(items),
            source=checked_note(source, "source", required=True),
        )
    ]


def request_transfer(
    state: Person,
    *,
    transfer_id: str,
    recipient: str,
    from_site_id: str,
    from_region_code: str,
    to_site_id: str,
    reason: str,
) -> list[Event]:
    """Ask for a person whom another clinic looks after; the same request again is a no-op."""
    if from_site_id == to_site_id:
        raise Invalid("same_site", field="to_site_id")
    wanted = TransferRequested(
        transfer_id=checked_id(transfer_id, "transfer_id"),
        recipient=_person(recipient),
        from_site_id=from_site_id,
        from_region_code=from_region_code,
        to_site_id=to_site_id,
        reason=checked_note(reason, "reason"),
    )
    if state.transfer == wanted:
        return []
    if state.transfer is not None:
        raise Conflict("transfer_open", transfer_id=state.transfer.transfer_id)
    if transfer_id in state.answered:
        raise Conflict("transfer_closed", transfer_id=transfer_id)
    if state.site_id != from_site_id:
        raise Conflict("not_their_clinic")
    return [wanted]


def answer_transfer(
    state: Person, *, transfer_id: str, recipient: str, accepted: bool, reason: str = ""
) -> list[Event]:
    """Let a person go, or keep them for a reason; a settled transfer stays settled."""
    waiting = state.transfer
    if waiting is None or waiting.transfer_id != transfer_id:
        if transfer_id in state.answered:
            raise Conflict("transfer_closed", transfer_id=transfer_id)
        raise NotFound("unknown_transfer", transfer_id=transfer_id)
    if accepted:
        to = waiting.to_site_id
        return [TransferAccepted(transfer_id=transfer_id, recipient=recipient, to_site_id=to)]
    told = checked_note(reason, "reason", required=True)
    return [TransferDeclined(transfer_id=transfer_id, recipient=recipient, reason=told)]


def open_visit(
    state: Visit | None,
    *,
    visit_id: str,
    site_id: str,
    recipient: str,
    product_id: str,
    series_dose: int,
    opened_at: datetime,
) -> list[Event]:
    """Open a visit; the same particulars again (whatever the moment) change nothing."""
    if not 1 <= series_dose <= SERIES_DOSE_MAX:
        raise Invalid("bad_field", field="series_dose", min=1, max=SERIES_DOSE_MAX)
    known = state.opened if state else None
    wanted = VisitOpened(
        visit_id=checked_id(visit_id, "visit_id"),
        site_id=checked_name(site_id, "site_id"),
        recipient=_person(recipient),
        product_id=product_id,
        series_dose=series_dose,
        opened_at=known.opened_at if known else opened_at,
    )
    return register(known, wanted)


def decide_consent(
    state: Visit | None,
    *,
    given: bool,
    by: str,
    form_version: str,
    decided_at: datetime,
    reason: str = "",
) -> list[Event]:
    """Record consent or its refusal; who refused may consent later, never the other way round.

    Consent is withdrawn by refusing before the dose.
    """
    visit = _visit(state)
    if by not in DECIDERS:
        raise Invalid("bad_field", field="by", expected=DECIDERS)
    wanted = ConsentDecided(
        visit_id=visit.opened.visit_id,
        given=given,
        by=by,
        form_version=checked_name(form_version, "form_version"),
        reason=checked_note(reason, "reason"),
        decided_at=decided_at,
    )
    known = visit.consent
    if known is not None and replace(known, decided_at=decided_at) == wanted:
        return []
    return [wanted]


def answer_questions(
    state: Visit | None,
    *,
    questions: QuestionList | None,
    version: int,
    answers: Mapping[str, bool],
    answered_at: datetime,
) -> list[Event]:
    """Record the answers to every question that concerns the product of the visit."""
    visit = _visit(state)
    if questions is None:
        raise Invalid("unknown_question_list", field="list_id")
    if questions.version != version:
        raise Conflict("question_list_changed", version=questions.version)
    product = visit.opened.product_id
    asked = [q for q in questions.questions if not q.product_ids or product in q.product_ids]
    ids = {q.question_id for q in asked}
    if ids != answers.keys():
        raise Invalid("unanswered", field="answers", questions=sorted(ids ^ answers.keys()))
    yes = [q for q in asked if answers[q.question_id]]
    wanted = ScreeningAnswered(
        visit_id=visit.opened.visit_id,
        list_id=questions.list_id,
        list_version=version,
        yes=tuple(q.question_id for q in yes),
        stops=tuple(q.question_id for q in yes if q.yes == "stop"),
        cautions=tuple(q.question_id for q in yes if q.yes == "caution"),
        answered_at=answered_at,
    )
    known = visit.screening
    if known is not None and replace(known, answered_at=answered_at) == wanted:
        # The same answers on another day are answers of that day.
        fresh = timedelta(hours=rules_at(answered_at).screening_h)
        return [] if answered_at - known.answered_at < fresh else [wanted]
    return [wanted]


def record_check(state: InjectionChecked | None, *, checked: InjectionChecked) -> list[Event]:
    """Record a check; an id that was used is refused unless it is the very same."""
    checked_id(checked.check_id, "check_id")
    _person(checked.recipient)
    return register(state, checked)


def end_observation(
    state: ObservationEnded | None,
    *,
    fact_id: str,
    site_id: str,
    given_at: datetime,
    told_at: datetime,
    ended_at: datetime,
    reaction: bool,
    reason: str = "",
) -> list[Event]:
    """Let a person go after a dose; before the time is over only with a reason in words.

    After a dose told late the time runs from the telling: what was seen before, the reason says.
    """
    if state is not None:
        if (state.reaction, state.reason) == (reaction, reason):
            return []
        raise Conflict("already_released", fact_id=fact_id)
    due_at = observed_until(given_at)
    late = told_at - given_at > timedelta(minutes=rules_at(given_at).told_late_min)
    until = observed_until(told_at) if late else due_at
    told = checked_note(reason, "reason")
    if ended_at < until and sum(map(str.isalnum, told)) < _REASON_LETTERS_MIN:
        local = until.astimezone(ZONE).isoformat(timespec="seconds")
        raise Invalid("release_reason_required", field="reason", due_at=local)
    return [
        ObservationEnded(
            fact_id=fact_id,
            site_id=site_id,
            due_at=due_at,
            ended_at=ended_at,
            reaction=reaction,
            reason=told,
        )
    ]


def observed_until(given_at: datetime) -> datetime:
    """Return until when a person stays after a dose."""
    return given_at + timedelta(minutes=rules_at(given_at).observation_min)


def _person(recipient: str) -> str:
    if not recipient:
        raise Invalid("not_a_pseudonym", field="recipient")
    return checked_pseudonym(recipient, "recipient")


def _visit(state: Visit | None) -> Visit:
    if state is None:
        raise NotFound("unknown_visit")
    return state
