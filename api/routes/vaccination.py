"""The clinic over HTTP: question lists, due lists, visits, transfers; and the parts beside."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import Path, Response
from pydantic import Field

from api import aefi, charges, doses, facts, injections, not_given, requisitions, snapshots
from api.auth import Principal, permission
from api.commands import Call, CallOf, Receipt, state_of, versioned
from api.deps import Deps, DepsOf
from api.injections import (
    CLINIC_STAFF,
    DueIn,
    ProductId,
    Pseudonym,
    SeriesDose,
    list_records,
    person_of,
    site_region,
    without_people,
)
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import Body, Items, Name, NameAsked, NameInPath, Note, RegionAsked, Text, Version
from domain.shared.decide import decide
from domain.shared.errors import Invalid, NotFound
from domain.shared.pseudonyms import PSEUDONYM_PATTERN
from domain.shared.roles import Role
from domain.vaccination import model, rules
from domain.vaccination.events import Question

router = module_router("vaccination")


class May(StrEnum):
    """Permissions of visits, lists and transfers."""

    READ = "vaccination.read"
    PUBLISH = "vaccination.publish_questions"
    SET_DUE = "vaccination.set_due_list"
    RECEIVE = "vaccination.receive_visit"
    TRANSFER = "vaccination.transfer"


class QuestionIn(Body):
    """A question in both languages; what "yes" means; for which products (none: for all)."""

    question_id: Name
    zh: Text
    en: Text
    yes: Literal[model.ANSWERS_YES]  # type: ignore[valid-type]  # the list stands in the domain
    product_ids: Annotated[list[ProductId], Field(max_length=50, default_factory=list)]

    def question(self) -> Question:
        """Return it as the domain has it."""
        fields = self.model_dump()
        return Question(**fields | {"product_ids": tuple(fields["product_ids"])})


class QuestionListIn(Body):
    """A list of contra-indication questions, and the document it follows."""

    list_id: Annotated[Name, Field(examples=["general"])]
    questions: Annotated[list[QuestionIn], Field(min_length=1, max_length=rules.QUESTIONS_MAX)]
    source: Text


class QuestionList(Body):
    """The newest version of a list: the one that answers must name."""

    list_id: str
    version: Version
    questions: list[QuestionIn]
    source: str


class DueListIn(Body):
    """What a person is due, as the clinic that looks after them knows it."""

    site: Annotated[Name, Field(examples=["dwk-cdc"])]
    items: Annotated[list[DueIn], Field(max_length=rules.DUE_ITEMS_MAX)]
    source: Annotated[Text, Field(examples=["省免疫规划系统"])]


class DueList(Body):
    """What a person is due, and who looks after them; null when nobody told."""

    site_id: str
    items: list[DueIn] | None


class VisitIn(Body):
    """A person who came for a dose of a product."""

    visit_id: Name | None = None
    site: Annotated[Name, Field(examples=["dwk-cdc"])]
    recipient: Pseudonym
    product_id: ProductId
    series_dose: SeriesDose


class VisitReceipt(Receipt):
    """The receipt of a visit."""

    visit_id: str


class ConsentIn(Body):
    """Informed consent, by the person or a guardian, to a version of the form; or its refusal."""

    given: bool
    by: Literal[model.DECIDERS]  # type: ignore[valid-type]  # as above
    form_version: Annotated[Name, Field(examples=["2026-1"])]
    reason: Note = ""


class AnswersIn(Body):
    """The answer to every question of the list that concerns the product of the visit."""

    list_id: Annotated[Name, Field(examples=["general"])]
    version: Version
    answers: Annotated[dict[Name, bool], Field(max_length=rules.QUESTIONS_MAX)]


class Consent(Body):
    """A consent, or its refusal."""

    given: bool
    by: str
    form_version: str
    reason: str
    decided_at: datetime


class Screening(Body):
    """The questions answered "yes": those that forbid the dose and those that call for care."""

    list_id: str
    list_version: int
    stops: list[str]
    cautions: list[str]
    answered_at: datetime


class Visit(Body):
    """A visit with its consent and its answers."""

    visit_id: str
    site_id: str
    recipient: str = ""
    product_id: str
    series_dose: int
    opened_at: datetime
    consent: Consent | None
    screening: Screening | None


class TransferIn(Body):
    """A clinic asks for a child whom another looks after."""

    transfer_id: Name | None = None
    recipient: Pseudonym
    from_site: Annotated[Name, Field(examples=["dwk-cdc"])]
    to_site: Annotated[Name, Field(examples=["szs"])]
    reason: Note = ""


class TransferAnswerIn(Body):
    """The clinic that looks after the child lets it go, or keeps it for a reason."""

    recipient: Pseudonym
    accepted: bool
    reason: Note = ""


class Transfer(Body):
    """A transfer as it stands."""

    transfer_id: str
    recipient: str = ""
    from_site_id: str
    from_region_code: str
    to_site_id: str
    reason: str
    state: str
    region_code: str
    changed_at: datetime
    version: int


Reader = Annotated[Principal, permission(May.READ, Role.CDC, *CLINIC_STAFF)]
Receiver = Annotated[Principal, permission(May.RECEIVE, *CLINIC_STAFF)]
Mover = Annotated[Principal, permission(May.TRANSFER, Role.CDC, *CLINIC_STAFF)]
RecipientInPath = Annotated[str, Path(pattern=PSEUDONYM_PATTERN)]


@router.post("/vaccination/question-lists", status_code=201, response_model=Receipt)
def publish_question_list(
    body: QuestionListIn,
    who: Annotated[Principal, permission(May.PUBLISH, Role.CDC, Role.STEWARD)],
    call: CallOf,
) -> Response:
    """Publish the next version of a list of questions, for all regions."""
    who.require_country()
    questions = [each.question() for each in body.questions]
    return call.run(
        model.question_list_stream(body.list_id),
        decide(
            model.evolve_question_list,
            model.first_list(body.list_id),
            model.publish_questions,
            list_id=body.list_id,
            questions=questions,
            source=body.source,
        ),
        location=f"{PREFIX}/vaccination/question-lists/{body.list_id}",
        meta=call.meta(),
    )


@router.get("/vaccination/question-lists/{list_id}", response_model=QuestionList)
def read_question_list(list_id: NameInPath, _who: Reader, deps: DepsOf) -> Response:
    """Return the newest version of a list; `general` is there from the beginning."""
    found = _questions(deps, list_id)
    if found is None:
        raise NotFound("unknown_question_list", list_id=list_id)
    return json_answer(found, headers={"ETag": f'"{found.version}"'})


@router.post("/vaccination/people/{recipient}/due-list", status_code=201, response_model=Receipt)
def set_due_list(
    recipient: RecipientInPath,
    body: DueListIn,
    who: Annotated[Principal, permission(May.SET_DUE, Role.CDC, Role.PLATFORM, *CLINIC_STAFF)],
    call: CallOf,
) -> Response:
    """Say what a person is due; the clinic that says so first looks after them."""
    region = site_region(call.deps, who, body.site)
    return call.run(
        model.person_stream(recipient),
        decide(
            model.evolve_person,
            model.Person(),
            model.set_due_list,
            recipient=recipient,
            site_id=body.site,
            items=[each.item() for each in body.items],
            source=body.source,
        ),
        location=f"{PREFIX}/vaccination/people/{recipient}/due-list",
        meta=call.meta(region_code=region),
    )


@router.get("/vaccination/people/{recipient}/due-list", response_model=DueList)
def read_due_list(recipient: RecipientInPath, who: Reader, deps: DepsOf) -> Response:
    """Return what a person is due, to the region of the clinic that looks after them."""
    person = person_of(deps, recipient)
    region = facts.site_region(deps, person.site_id) if person.site_id else None
    if region is None or not who.covers(region):
        raise NotFound("unknown_person")
    return json_answer({"site_id": person.site_id, "items": person.items})


@router.post("/vaccination/visits", status_code=201, response_model=VisitReceipt)
def open_visit(body: VisitIn, who: Receiver, call: CallOf) -> Response:
    """Register that a person came for a dose."""
    region = site_region(call.deps, who, body.site)
    visit_id = body.visit_id or uuid4().hex
    return call.run(
        model.visit_stream(visit_id),
        decide(
            model.evolve_visit,
            None,
            model.open_visit,
            visit_id=visit_id,
            site_id=body.site,
            recipient=body.recipient,
            product_id=body.product_id,
            series_dose=body.series_dose,
            opened_at=call.deps.clock.now(),
        ),
        location=f"{PREFIX}/vaccination/visits/{visit_id}",
        meta=call.meta(region_code=region),
        more={"visit_id": visit_id},
    )


@router.get("/vaccination/visits/{visit_id}", response_model=Visit)
def read_visit(visit_id: NameInPath, who: Reader, deps: DepsOf) -> Response:
    """Return one visit with its consent and answers."""
    _visit_region(deps, who, visit_id)
    found, version = versioned(deps.ledger, model.visit_stream(visit_id), model.evolve_visit)
    if found is None:
        raise NotFound("unknown_visit")
    shown = {
        **asdict(found.opened),
        "consent": _part(found.consent, Consent),
        "screening": _part(found.screening, Screening),
    }
    return json_answer(without_people(who, shown), headers={"ETag": f'"{version}"'})


def _part(event: object | None, shape: type[Body]) -> dict[str, Any] | None:
    if event is None:
        return None
    return {name: getattr(event, name) for name in shape.model_fields}


@router.post("/vaccination/visits/{visit_id}/consent", status_code=201, response_model=Receipt)
def decide_consent(visit_id: NameInPath, body: ConsentIn, who: Receiver, call: CallOf) -> Response:
    """Record informed consent, or its refusal; the last word counts."""
    fields = body.model_dump()
    decision = decide(
        model.evolve_visit,
        None,
        model.decide_consent,
        decided_at=call.deps.clock.now(),
        **fields,
    )
    return _on_visit(call, who, visit_id, decision)


@router.post("/vaccination/visits/{visit_id}/answers", status_code=201, response_model=Receipt)
def answer_questions(
    visit_id: NameInPath, body: AnswersIn, who: Receiver, call: CallOf
) -> Response:
    """Record the answers to the contra-indication questions; they hold for a day."""
    decision = decide(
        model.evolve_visit,
        None,
        model.answer_questions,
        questions=_questions(call.deps, body.list_id),
        version=body.version,
        answers=body.answers,
        answered_at=call.deps.clock.now(),
    )
    return _on_visit(call, who, visit_id, decision)


@router.post("/vaccination/transfers", status_code=201, response_model=Receipt)
def request_transfer(body: TransferIn, who: Mover, call: CallOf) -> Response:
    """Ask another clinic for a child."""
    region = site_region(call.deps, who, body.to_site, "to_site")
    left = facts.site_region(call.deps, body.from_site)
    if left is None:
        raise Invalid("unknown_site", field="from_site", site_id=body.from_site)
    decision = decide(
        model.evolve_person,
        model.Person(),
        model.request_transfer,
        transfer_id=body.transfer_id or uuid4().hex,
        recipient=body.recipient,
        from_site_id=body.from_site,
        from_region_code=left,
        to_site_id=body.to_site,
        reason=body.reason,
    )
    return call.run(
        model.person_stream(body.recipient),
        decision,
        location=f"{PREFIX}/vaccination/transfers",
        meta=call.meta(region_code=region),
    )


@router.post("/vaccination/transfers/{transfer_id}/answer", status_code=201, response_model=Receipt)
def answer_transfer(
    transfer_id: NameInPath, body: TransferAnswerIn, who: Mover, call: CallOf
) -> Response:
    """Let a child go, or keep it for a reason; for the clinic that looks after it."""
    person = person_of(call.deps, body.recipient)
    waiting = person.transfer
    if waiting is not None:
        who.require_seen(waiting.from_region_code, "unknown_transfer", transfer_id=transfer_id)
    return call.run(
        model.person_stream(body.recipient),
        decide(
            model.evolve_person,
            model.Person(),
            model.answer_transfer,
            transfer_id=transfer_id,
            **body.model_dump(),
        ),
        location=f"{PREFIX}/vaccination/transfers",
        meta=call.meta(region_code=waiting.from_region_code if waiting else ""),
    )


@router.get("/vaccination/transfers", response_model=Items[Transfer])
def list_transfers(
    *,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    site_id: NameAsked = None,
    state: Literal["waiting", "accepted", "declined"] | None = None,
) -> Response:
    """List the transfers from and to the caller's region, by id."""
    asked: dict[str, Any] = {"region": region, "site_id": site_id, "state": state}
    return list_records(deps, who, page, "transfer", **asked)


def _questions(deps: Deps, list_id: str) -> model.QuestionList | None:
    stream = model.question_list_stream(list_id)
    found = state_of(deps.ledger, stream, model.evolve_question_list)
    return found or model.first_list(list_id)


def _visit_region(deps: Deps, who: Principal, visit_id: str) -> str:
    """Return the region of a visit of the caller's; NotFound("unknown_visit") for any other."""
    history = deps.ledger.stream(model.visit_stream(visit_id))
    if not history:
        raise NotFound("unknown_visit")
    who.require_seen(history[0].meta.region_code, "unknown_visit")
    return history[0].meta.region_code


def _on_visit(call: Call, who: Principal, visit_id: str, decision: Any) -> Response:
    return call.run(
        model.visit_stream(visit_id),
        decision,
        location=f"{PREFIX}/vaccination/visits/{visit_id}",
        meta=call.meta(region_code=_visit_region(call.deps, who, visit_id)),
    )


for part in (injections, not_given, doses, aefi, requisitions, charges, snapshots):
    router.routes.extend(part.router.routes)
