"""Which rules a unit or a site is judged by, over HTTP."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from fastapi import Path, Response
from pydantic import Field

from api.alert_shown import READERS
from api.auth import Principal, permission
from api.commands import CallOf, Receipt, state_of
from api.deps import Deps, DepsOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import Body, Moment, Name, NameInPath, NameOrNone
from domain.alerting import assignment as model
from domain.alerting.assignment_events import RulesAssigned
from domain.alerting.events import RuleSetPublished
from domain.alerting.model import rule_set_stream
from domain.cold_chain.model import evolve_unit, unit_stream
from domain.registry import model as registry
from domain.shared.decide import decide
from domain.shared.errors import NotFound

router = module_router("alerting")


class May(StrEnum):
    """Permissions of this file."""

    ASSIGN = "alerting.assign_rules"
    READ_ASSIGNED = "alerting.read_assigned_rules"


Scope = Literal["unit", "site"]


class AssignmentIn(Body):
    """From when on a unit, or every unit of a site, is judged by the rules of another profile.

    That of a unit goes before that of its site; `profile_id` empty: as if nothing was assigned.
    """

    scope: Scope
    subject_id: Annotated[Name, Field(examples=["dwk-room-1"])]
    profile_id: Annotated[NameOrNone, Field(examples=["frozen_minus_20"])]
    effective_from: Moment


class AssignmentOut(AssignmentIn):
    """One assignment, with the region of its unit or site."""

    region_code: str


class Assignments(Body):
    """All assignments of one unit or site, in order of time."""

    items: list[AssignmentOut]


@router.post("/rule-assignments", status_code=201, response_model=Receipt)
def assign_rules(
    body: AssignmentIn,
    who: Annotated[Principal, permission(May.ASSIGN)],
    call: CallOf,
) -> Response:
    """Judge a unit or a site by other rules from a moment on; what was judged stays so."""
    region_code = _region(call.deps, who, body.scope, body.subject_id)
    now: datetime = call.deps.clock.now()
    wanted = RulesAssigned(**body.model_dump(), region_code=region_code)
    published = any(
        isinstance(envelope.event, RuleSetPublished)
        for envelope in call.deps.ledger.stream(rule_set_stream(body.profile_id))
    )
    decision = decide(model.evolve, None, model.assign, wanted=wanted, published=published, now=now)
    return call.run(
        model.assignment_stream(body.scope, body.subject_id),
        decision,
        location=f"{PREFIX}/rule-assignments/{body.scope}/{body.subject_id}",
        meta=call.meta(region_code=region_code),
    )


@router.get("/rule-assignments/{scope}/{subject_id}", response_model=Assignments)
def read_assignments(
    scope: Annotated[Scope, Path()],
    subject_id: NameInPath,
    who: Annotated[Principal, permission(May.READ_ASSIGNED, *READERS)],
    deps: DepsOf,
) -> Response:
    """Return what was assigned to a unit or a site, in order of time."""
    _region(deps, who, scope, subject_id)
    history = deps.ledger.stream(model.assignment_stream(scope, subject_id))
    return json_answer({"items": [envelope.event for envelope in history]})


def _region(deps: Deps, who: Principal, scope: str, subject_id: str) -> str:
    """Return the region of a unit or a site that the caller sees."""
    found = (
        state_of(deps.ledger, unit_stream(subject_id), evolve_unit)
        if scope == "unit"
        else state_of(deps.ledger, registry.site_stream(subject_id), registry.evolve_site)
    )
    if found is None or not who.covers(found.region_code):
        raise NotFound(f"unknown_{scope}")
    return found.region_code
