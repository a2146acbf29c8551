"""Planned doses that were not given, over HTTP: refused, contra-indicated, no vaccine."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import Response

from api import facts
from api.auth import Principal, permission
from api.commands import Call, CallOf, Receipt, state_of
from api.deps import Deps, DepsOf
from api.injections import (
    CLINIC_STAFF,
    ProductId,
    Pseudonym,
    SeriesDose,
    list_records,
    site_region,
)
from api.paging import PageOf
from api.routing import PREFIX, module_router
from api.schemas import Body, Items, Name, NameAsked, NameInPath, Note, RegionAsked, Text
from domain.shared.decide import decide
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.roles import Role
from domain.vaccination import model, not_given, rules
from domain.vaccination.events import DoseNotGiven, InjectionChecked

router = module_router("vaccination")


class May(StrEnum):
    """Permissions of doses that were not given."""

    TELL = "vaccination.tell_not_given"
    READ = "vaccination.read_not_given"


class NotGivenIn(Body):
    """A planned dose was not given, and why; of the visit or check named, or as told here."""

    not_given_id: Name | None = None
    site: Name
    visit_id: Name | None = None
    check_id: Name | None = None
    recipient: Pseudonym | None = None
    product_id: ProductId | None = None
    series_dose: SeriesDose | None = None
    cause: Literal[rules.NOT_GIVEN_CAUSES]  # type: ignore[valid-type]  # the list stands in the domain
    note: Note = ""


class NotGivenReceipt(Receipt):
    """The receipt of it."""

    not_given_id: str


class WithdrawalIn(Body):
    """It was told wrongly."""

    reason: Text


class NotGiven(Body):
    """A dose that was not given, as it stands; state: not_given | withdrawn."""

    not_given_id: str
    site_id: str
    recipient: str = ""
    product_id: str
    series_dose: int | None
    visit_id: str
    check_id: str
    code: str
    cause: str
    note: str
    decided_at: datetime
    reason: str = ""
    state: str
    region_code: str
    changed_at: datetime
    version: int


Teller = Annotated[Principal, permission(May.TELL, *CLINIC_STAFF)]


@router.post("/vaccination/not-given", status_code=201, response_model=NotGivenReceipt)
def tell_not_given(body: NotGivenIn, who: Teller, call: CallOf) -> Response:
    """Tell that a planned dose was not given; the vial of its check is free again."""
    region = site_region(call.deps, who, body.site)
    not_given_id = body.not_given_id or uuid4().hex
    told = DoseNotGiven(
        not_given_id=not_given_id,
        site_id=body.site,
        cause=body.cause,
        note=body.note,
        decided_at=call.deps.clock.now(),
        **_planned(call.deps, body),
    )
    return _run(call, not_given_id, region, not_given.tell, told=told)


@router.post(
    "/vaccination/not-given/{not_given_id}/withdrawal", status_code=201, response_model=Receipt
)
def withdraw_not_given(
    not_given_id: NameInPath, body: WithdrawalIn, who: Teller, call: CallOf
) -> Response:
    """Declare that it was told wrongly."""
    history = call.deps.ledger.stream(not_given.not_given_stream(not_given_id))
    if not history:
        raise NotFound("unknown_not_given")
    region = history[0].meta.region_code
    who.require_seen(region, "unknown_not_given")
    return _run(call, not_given_id, region, not_given.take_back, reason=body.reason)


@router.get("/vaccination/not-given", response_model=Items[NotGiven])
def list_not_given(
    *,
    who: Annotated[Principal, permission(May.READ, Role.CDC, *CLINIC_STAFF)],
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    site_id: NameAsked = None,
    state: Literal["not_given", "withdrawn"] | None = None,
) -> Response:
    """List the doses not given in the caller's region, by id."""
    asked: dict[str, Any] = {"region": region, "site_id": site_id, "state": state}
    return list_records(deps, who, page, "not_given", **asked)


def _run(call: Call, not_given_id: str, region: str, command: Any, **told: Any) -> Response:
    return call.run(
        not_given.not_given_stream(not_given_id),
        decide(not_given.evolve, None, command, **told),
        location=f"{PREFIX}/vaccination/not-given",
        meta=call.meta(region_code=region),
        more={"not_given_id": not_given_id} if command is not_given.tell else None,
    )


def _planned(deps: Deps, body: NotGivenIn) -> dict[str, Any]:
    """Return whose dose of what it was: of the check, of the visit, or as told."""
    check = _check(deps, body)
    visit_id = body.visit_id or (check.visit_id if check else "")
    visit = state_of(deps.ledger, model.visit_stream(visit_id), model.evolve_visit)
    if visit_id and (visit is None or visit.opened.site_id != body.site):
        raise Invalid("unknown_visit", field="visit_id")
    opened = visit.opened if visit else None
    found = {
        name: next(
            (value for one in (body, check, opened) if (value := getattr(one, name, None))), None
        )
        for name in ("recipient", "product_id", "series_dose")
    }
    for name in ("recipient", "product_id"):
        if not found[name]:
            raise Invalid("missing_field", field=name, step="not-given")
        if any(getattr(one, name, None) not in (None, "", found[name]) for one in (check, opened)):
            raise Invalid("other_than_planned", field=name)
    code = check.code if check else ""
    return {**found, "visit_id": visit_id, "check_id": body.check_id or "", "code": code}


def _check(deps: Deps, body: NotGivenIn) -> InjectionChecked | None:
    """Return the check that is named, whose dose must not be on record."""
    if body.check_id is None:
        return None
    check = state_of(deps.ledger, model.check_stream(body.check_id), model.evolve_check)
    if check is None or check.site_id != body.site:
        raise Invalid("unknown_check", field="check_id", check_id=body.check_id)
    dose, withdrawn = facts.told(deps, body.check_id)
    if dose is not None and not withdrawn:
        raise Conflict("dose_on_record", fact_id=body.check_id)
    return check
