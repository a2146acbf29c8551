"""Who was told of an alert and what became of it, closing it, and trial calls, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any, Literal

from fastapi import Path, Response
from pydantic import Field

from alerts import people, trial_calls
from api.alert_shown import ALERT_ID_PATTERN, ON_SITE, seen
from api.auth import Principal, permission
from api.commands import CallOf, Receipt, VersionOf
from api.deps import DepsOf
from api.duty import place_of
from api.paging import PageOf
from api.recipients import ChannelName
from api.routing import PREFIX, json_answer, module_router
from api.schemas import (
    Body,
    Items,
    Moment,
    Name,
    NameInPath,
    NameOrNone,
    RegionAsked,
    RegionOrCountry,
    moment_of,
)
from domain.alerting import duty, model
from domain.alerting.events import AlertAcknowledged
from domain.shared.decide import decide, fold
from domain.shared.errors import NotFound
from domain.shared.events import Event
from domain.shared.roles import Role
from domain.shared.text import TEXT_PATTERN

router = module_router("alerting")

AlertId = Annotated[str, Path(pattern=ALERT_ID_PATTERN)]
Disposition = Literal["no_effect", "stock_assessed", "equipment_mended", "false_alarm", "other"]
ChannelOrNone = ChannelName | Literal[""]


class May(StrEnum):
    """Permissions of this file."""

    SEE_DELIVERIES = "alerting.see_deliveries"
    CLOSE = "alerting.close"
    READ_CALLS = "alerting.read_trial_calls"
    CALL = "alerting.call_for_trial"


class ToldOut(Body):
    """What became of telling a person: each step when it happened first, and by which channel.

    `failed_by`: channels that did not reach them; `level`: the first at which they were told.
    """

    person_id: str
    name: str
    level: int
    queued_at: Moment
    accepted_at: Moment | None
    accepted_by: ChannelOrNone
    delivered_at: Moment | None
    delivered_by: ChannelOrNone
    read_at: Moment | None
    acknowledged_at: Moment | None
    failed_by: list[ChannelName]


class ToldPeople(Body):
    """All persons who were told of an alert, in order of time."""

    items: list[ToldOut]


class Closing(Body):
    """What an alert came to, and why it can be closed."""

    disposition: Disposition
    comment: Annotated[
        str,
        Field(
            min_length=1,
            max_length=model.COMMENT_LENGTH_MAX,
            pattern=TEXT_PATTERN,
            examples=["更换门封条，疫苗已评估"],
        ),
    ]


class TrialCallIn(Body):
    """Whom to call: everybody in the chain of a site, or of a region with all its sites."""

    call_id: Annotated[Name, Field(examples=["dwk-2026-12-01"])]
    region_code: RegionOrCountry
    site_id: NameOrNone = ""


class TrialCallOut(TrialCallIn):
    """A call. `reported_at` null: not all were reached yet, and its five minutes are not over."""

    alert_id: str
    made_at: Moment
    made_by: str
    person_ids: list[str]
    reported_at: Moment | None


class ReachedOut(Body):
    """Who was reached, by which channel, after how many seconds."""

    person_id: str
    channel: ChannelName
    seconds: float


class TrialCallReport(TrialCallOut):
    """A call with what became of it so far; as `reported_at` it stands in the ledger."""

    reached: list[ReachedOut]
    missed: list[str]


Called = Annotated[Principal, permission(May.READ_CALLS, Role.CDC, Role.AUDITOR, Role.REGULATOR)]


@router.get("/alerts/{alert_id}/people", response_model=ToldPeople)
def list_told(
    alert_id: AlertId,
    who: Annotated[Principal, permission(May.SEE_DELIVERIES, Role.CDC, Role.AUDITOR)],
    deps: DepsOf,
) -> Response:
    """List the persons told of an alert: queued, accepted, delivered, read, taken on, and when."""
    seen(deps, who, alert_id)
    taken_on: dict[str, Any] = {}
    for act in deps.ledger.stream(model.alert_stream(alert_id)):
        if isinstance(act.event, AlertAcknowledged):
            taken_on.setdefault(act.event.person_id, act.meta.recorded_at)
    with deps.pool.connection() as conn:
        told = people.evidence(conn, alert_id)
    items = [{**asdict(one), "acknowledged_at": taken_on.get(one.person_id)} for one in told]
    return json_answer({"items": items})


@router.post("/alerts/{alert_id}/closings", status_code=201, response_model=Receipt)
def close_alert(
    alert_id: AlertId,
    body: Closing,
    version: VersionOf,
    who: Annotated[Principal, permission(May.CLOSE, Role.CDC, *ON_SITE)],
    call: CallOf,
) -> Response:
    """Close an alert that is over; a critical one when a second person says the same."""
    row = seen(call.deps, who, alert_id)
    with call.deps.pool.connection() as conn:
        person_id = people.person_of_key(conn, who.key_id)

    def decision(_: list[Event]) -> Sequence[Event]:
        told = call.deps.ledger.together(model.streams_of(alert_id))
        return model.close(
            fold(model.evolve, None, (envelope.event for envelope in told)),
            actor_id=who.key_id,
            actor_role=who.role.value,
            person_id=person_id,
            disposition=body.disposition,
            comment=body.comment,
        )

    return call.run(
        model.alert_stream(alert_id),
        decision,
        location=f"{PREFIX}/alerts/{alert_id}",
        meta=call.meta(region_code=row.region_code),
        expected_version=version,
    )


@router.post("/trial-calls", status_code=201, response_model=Receipt)
def call_for_trial(
    body: TrialCallIn,
    who: Annotated[Principal, permission(May.CALL, Role.CDC)],
    call: CallOf,
) -> Response:
    """Tell everybody in a chain that this is a test, as of an alert; deputies as well."""
    who.require_region(body.region_code)
    region_code = body.region_code
    if body.site_id:
        region_code, _ = place_of(call.deps, who, site_id=body.site_id, region=None)
    now = call.deps.clock.now()
    with call.deps.pool.connection() as conn:
        wanted = trial_calls.wanted(
            conn, call_id=body.call_id, region_code=region_code, site_id=body.site_id, now=now
        )
    return call.run(
        duty.call_stream(body.call_id),
        decide(duty.evolve_call, None, duty.call, wanted=wanted),
        location=f"{PREFIX}/trial-calls/{body.call_id}",
        meta=call.meta(region_code=region_code),
        before=lambda cur: trial_calls.put_down(cur, wanted, by=who.key_id, now=now),
    )


@router.get("/trial-calls", response_model=Items[TrialCallOut])
def list_trial_calls(
    who: Called, deps: DepsOf, page: PageOf, region: RegionAsked = None
) -> Response:
    """List the trial calls of the caller's region, the newest first."""
    prefix = who.narrowed(region)
    key = page.after_key(str, str)
    before = (moment_of(key[0], "cursor"), str(key[1])) if key else None
    with deps.pool.connection() as conn:
        rows = trial_calls.listed(conn, region=prefix, before=before, limit=page.limit + 1)
    return page.answer(rows, lambda row: [row.made_at.isoformat(), row.call_id])


@router.get("/trial-calls/{call_id}", response_model=TrialCallReport)
def read_trial_call(call_id: NameInPath, who: Called, deps: DepsOf) -> Response:
    """Return a trial call: who was reached by which channel after how long, and who was not."""
    with deps.pool.connection() as conn:
        found = trial_calls.one(conn, call_id)
        if found is None or not who.covers(found.region_code):
            raise NotFound("unknown_call", call_id=call_id)
        reached = trial_calls.reached(people.evidence(conn, found.alert_id), found.made_at)
    report = trial_calls.report_of(deps.ledger, call_id)
    if report is not None:
        reached = list(report.reached)
    there = {one.person_id for one in reached}
    missed = [each for each in found.person_ids if each not in there]
    shown = {"reached": [asdict(one) for one in reached], "missed": missed}
    return json_answer({**asdict(found), **shown})
