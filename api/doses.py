"""Doses that were given over HTTP, with the observation after each."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Query, Response

from api import facts
from api.auth import Principal, permission
from api.commands import CallOf, Receipt
from api.deps import Deps, DepsOf
from api.injections import CLINIC_STAFF, May, without_people
from api.paging import PageOf
from api.routing import PREFIX, module_router
from api.schemas import Body, Items, NameAsked, Note, RegionAsked
from domain.shared.decide import decide
from domain.shared.errors import NotFound
from domain.shared.roles import Role
from domain.traceability.events import DoseAdministered
from domain.vaccination import model
from projections import vaccination as read
from store.envelope import Meta

router = module_router("vaccination")

BEGINNING = datetime.fromisoformat("2015-01-01T00:00:00+00:00")
FACT_PATTERN = r"^[A-Za-z0-9_.:#-]{1,200}$"
FactInPath = Annotated[str, Path(pattern=FACT_PATTERN)]


class Dose(Body):
    """A dose that was given. `may`: what its check said, null without one; `late_h`: told so late.

    `recipient` is left out for those whose business it is not.
    """

    fact_id: str
    site_id: str
    region_code: str
    codes: list[str]
    recipient: str = ""
    series_dose: int | None
    given_at: datetime
    late_h: float
    may: bool | None
    due_at: datetime
    ended_at: datetime | None
    overdue: bool
    reaction: bool | None
    reason: str


class ObservationEndIn(Body):
    """The person leaves; before the 30 minutes are over only with a reason."""

    reaction: bool
    reason: Note = ""


@router.get("/vaccination/doses", response_model=Items[Dose])
def list_doses(
    *,
    who: Annotated[Principal, permission(May.READ_DOSES, Role.CDC, *CLINIC_STAFF)],
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    site_id: NameAsked = None,
    observed: Annotated[
        bool | None, Query(description="true: those whose observation has not ended")
    ] = None,
) -> Response:
    """List doses of the caller's region by time, with the observation after each."""
    key = page.after_key(str, str)
    after = (datetime.fromisoformat(key[0]), key[1]) if key else (BEGINNING, "")
    asked: dict[str, Any] = {"region": who.narrowed(region), "site_id": site_id}
    with deps.pool.connection() as conn:
        found = read.doses(conn, **asked, observed=observed, after=after, limit=page.limit + 1)
    now = deps.clock.now()
    rows = [without_people(who, _dose(dose, now)) for dose in found]
    return page.answer(rows, lambda row: [row["given_at"].isoformat(), row["fact_id"]])


def _dose(dose: read.Dose, now: datetime) -> dict[str, Any]:
    shown = asdict(dose)
    late = shown.pop("recorded_at") - dose.given_at
    return {
        **shown,
        "late_h": round(max(0.0, late.total_seconds() / 3600), 2),
        "overdue": dose.ended_at is None and now > dose.due_at,
    }


@router.post(
    "/vaccination/doses/{fact_id}/observation-end", status_code=201, response_model=Receipt
)
def end_observation(
    fact_id: FactInPath,
    body: ObservationEndIn,
    who: Annotated[Principal, permission(May.OBSERVE, *CLINIC_STAFF)],
    call: CallOf,
) -> Response:
    """Let a person go after a dose."""
    dose, meta = dose_of(call.deps, who, fact_id)
    return call.run(
        model.observation_stream(fact_id),
        decide(
            model.evolve_observation,
            None,
            model.end_observation,
            fact_id=fact_id,
            site_id=dose.site_id,
            given_at=meta.occurred_at,
            told_at=meta.recorded_at,
            ended_at=call.deps.clock.now(),
            **body.model_dump(),
        ),
        location=f"{PREFIX}/vaccination/doses/{fact_id}/observation-end",
        meta=call.meta(region_code=meta.region_code),
    )


def dose_of(deps: Deps, who: Principal, fact_id: str) -> tuple[DoseAdministered, Meta]:
    """Return a dose of the caller's region; NotFound("unknown_dose") for any other."""
    told, withdrawn = facts.told(deps, fact_id)
    if told is None or withdrawn or not isinstance(told.event, DoseAdministered):
        raise NotFound("unknown_dose", fact_id=fact_id)
    who.require_seen(told.meta.region_code, "unknown_dose", fact_id=fact_id)
    return told.event, told.meta
