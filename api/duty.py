"""Persons who are told of alerts, their duties and leave, over HTTP; and where there are too few.

Names and contacts are shown to those who manage them and to auditors alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import psycopg
from fastapi import Response
from pydantic import Field

from alerts import floor, people, recipients
from api.alert_shown import READERS
from api.auth import Principal, permission
from api.commands import Call, CallOf, Receipt, state_of
from api.deps import Deps, DepsOf
from api.paging import PageOf
from api.recipients import ChannelName, Level, Severity
from api.routing import PREFIX, json_answer, module_router
from api.schemas import (
    Body,
    Items,
    Moment,
    Name,
    NameAsked,
    NameInPath,
    NameOrNone,
    Region,
    RegionAsked,
    RegionOrCountry,
    Text,
    TimeAsked,
    moment_of,
)
from domain.alerting import duty as model
from domain.alerting.duty_events import DutyAssigned, LeaveTaken
from domain.alerting.rules import ESCALATION, SEVERITIES
from domain.registry import model as registry
from domain.shared.decide import decide
from domain.shared.errors import Invalid, NotFound
from domain.shared.events import Event
from domain.shared.roles import Role

router = module_router("alerting")


class May(StrEnum):
    """Permissions of this file."""

    READ_PEOPLE = "alerting.read_people"
    MANAGE_PEOPLE = "alerting.manage_people"
    READ_FLOOR = "alerting.read_floor"


class PersonIn(Body):
    """Somebody who is told of alerts. `key_id`: the API key by which they act, where they do."""

    name: Annotated[Text, Field(examples=["马晓梅"])]
    locale: Literal["zh", "en"] = "zh"
    region_code: RegionOrCountry
    key_id: NameOrNone = ""


class PersonOut(PersonIn):
    """The same, with their id: what events and deliveries name."""

    person_id: Name


class Contact(Body):
    """One way to reach a person; the address is masked. `failed_at`: since when it fails."""

    recipient_id: str
    channel: ChannelName
    address: str
    rank: int
    failed_at: Moment | None


class PersonWithContacts(PersonOut):
    """A person with the contacts in the order in which they are used."""

    contacts: list[Contact]


class DutyIn(Body):
    """Who is told of a region, or of one site, in a period; `ends_at` null: until further notice.

    `level`: 0 at once, 1 and on when nobody has taken the alert on. `deputy_id` stands in while the
    person is on leave.
    """

    duty_id: Annotated[Name, Field(examples=["dwk-2026-12-keeper"])]
    person_id: Annotated[Name, Field(examples=["p-0417"])]
    deputy_id: NameOrNone = ""
    region_code: RegionOrCountry
    site_id: NameOrNone = ""
    level: Level = 0
    severity_min: Severity = "minor"
    begins_at: Moment
    ends_at: Moment | None = None


class LeaveIn(Body):
    """When a person is told of nothing; their deputies are."""

    leave_id: Annotated[Name, Field(examples=["p-0417-2026-12"])]
    person_id: Annotated[Name, Field(examples=["p-0417"])]
    begins_at: Moment
    ends_at: Moment


class LinkOut(Body):
    """Somebody in a chain. `holder_id`: whose duty it is; another than the person: on leave.

    `after_min`: when this level is told, by severity, unless somebody takes the alert on; null:
    never, or not of that severity.
    """

    level: int
    severity_min: Severity
    duty_id: str
    person_id: str
    name: str
    holder_id: str
    region_code: str
    site_id: str
    ends_at: Moment | None
    channels: list[ChannelName]
    after_min: dict[str, int | None]


class Chain(Body):
    """Who is told of a place at a moment, by level; `repeat_min`: how often all are told again."""

    at: Moment
    links: list[LinkOut]
    repeat_min: dict[str, int | None]


class Shortage(Body):
    """A site whose alerts reach `people` persons at once, fewer than three, `since` then."""

    site_id: str
    name: str
    region_code: Region
    people: int
    since: Moment


Reader = Annotated[Principal, permission(May.READ_PEOPLE, Role.CDC, Role.AUDITOR)]
Manager = Annotated[Principal, permission(May.MANAGE_PEOPLE, Role.CDC)]


@router.put("/persons/{person_id}", response_model=PersonOut)
def put_person(person_id: NameInPath, body: PersonIn, who: Manager, deps: DepsOf) -> Response:
    """Put down a person, or give them other particulars; contacts are recipients of theirs."""
    who.require_region(body.region_code)
    person = people.Person(person_id=person_id, **body.model_dump())
    with deps.pool.connection() as conn:
        found = people.one(conn, person_id)
        if found is not None:
            who.require_region(found.region_code)
        people.put(conn, person)
    return json_answer(asdict(person))


@router.get("/persons", response_model=Items[PersonOut])
def list_persons(who: Reader, deps: DepsOf, page: PageOf, region: RegionAsked = None) -> Response:
    """List the persons of the caller's region, by id."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = people.listed(conn, region=prefix, after=page.after_text(), limit=page.limit + 1)
    return page.answer(rows, lambda row: [row.person_id])


@router.get("/persons/{person_id}", response_model=PersonWithContacts)
def read_person(person_id: NameInPath, who: Reader, deps: DepsOf) -> Response:
    """Return a person with their contacts, which are masked."""
    with deps.pool.connection() as conn:
        person = _person(conn, who, person_id)
        contacts = people.contacts(conn, person_id)
    shown = [{**asdict(one), "address": recipients.masked(one.address)} for one in contacts]
    return json_answer({**asdict(person), "contacts": shown})


@router.delete("/persons/{person_id}", status_code=204, response_model=None)
def remove_person(person_id: NameInPath, who: Manager, deps: DepsOf) -> Response:
    """Forget a person with name and contacts; refused while a duty of theirs is not over."""
    with deps.pool.connection() as conn:
        _person(conn, who, person_id)
        people.remove(conn, person_id, deps.clock.now())
    return Response(status_code=204)


@router.post("/duties", status_code=201, response_model=Receipt)
def assign_duty(body: DutyIn, who: Manager, call: CallOf) -> Response:
    """Let a person be told of the alerts of a region or site, for a time."""
    who.require_region(body.region_code)
    _require_persons(call.deps, who, person_id=body.person_id, deputy_id=body.deputy_id)
    if body.site_id:
        site = state_of(call.deps.ledger, registry.site_stream(body.site_id), registry.evolve_site)
        if site is None or site.region_code != body.region_code:
            raise Invalid("unknown_site", field="site_id", site_id=body.site_id)
    return _run(
        call,
        model.duty_stream(body.duty_id),
        decide(
            model.evolve_span,
            None,
            model.assign,
            wanted=DutyAssigned(**body.model_dump()),
            now=call.deps.clock.now(),
        ),
        f"duties/{body.duty_id}",
        region_code=body.region_code,
    )


@router.get("/duties", response_model=Items[DutyIn])
def list_duties(
    *,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    site_id: NameAsked = None,
    person_id: NameAsked = None,
    at: TimeAsked = None,
) -> Response:
    """List the duties of the caller's region that are not over, or those of a moment, by id."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = people.duties(
            conn,
            region=prefix,
            site_id=site_id or "",
            person_id=person_id or "",
            at=moment_of(at, "at") if at else None,
            now=deps.clock.now(),
            after=page.after_text(),
            limit=page.limit + 1,
        )
    return page.answer(rows, lambda row: [row.duty_id])


@router.post("/duties/{duty_id}/ending", status_code=201, response_model=Receipt)
def end_duty(duty_id: NameInPath, who: Manager, call: CallOf) -> Response:
    """Let a duty end now; refused where that leaves a site with fewer than three people."""
    with call.deps.pool.connection() as conn:
        found = people.duty(conn, duty_id)
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_duty", duty_id=duty_id)
    now = call.deps.clock.now()
    return _run(
        call,
        model.duty_stream(duty_id),
        decide(model.evolve_span, None, model.end_duty, duty_id=duty_id, now=now),
        f"duties/{duty_id}",
        region_code=found.region_code,
        concerned=[found.person_id, found.deputy_id],
    )


@router.post("/leaves", status_code=201, response_model=Receipt)
def take_leave(body: LeaveIn, who: Manager, call: CallOf) -> Response:
    """Let a person be away; refused where that leaves a site with fewer than three people."""
    _require_persons(call.deps, who, person_id=body.person_id)
    return _run(
        call,
        model.leave_stream(body.leave_id),
        decide(
            model.evolve_span,
            None,
            model.take_leave,
            wanted=LeaveTaken(**body.model_dump()),
            now=call.deps.clock.now(),
        ),
        f"leaves/{body.leave_id}",
        concerned=[body.person_id],
    )


@router.get("/leaves", response_model=Items[LeaveIn])
def list_leaves(who: Reader, deps: DepsOf, page: PageOf, region: RegionAsked = None) -> Response:
    """List the leave of persons of the caller's region that is not over, by id."""
    prefix, now = who.narrowed(region), deps.clock.now()
    with deps.pool.connection() as conn:
        rows = people.leaves(
            conn, region=prefix, now=now, after=page.after_text(), limit=page.limit + 1
        )
    return page.answer(rows, lambda row: [row.leave_id])


@router.post("/leaves/{leave_id}/ending", status_code=201, response_model=Receipt)
def end_leave(leave_id: NameInPath, who: Manager, call: CallOf) -> Response:
    """Let a person be back before the end of their leave."""
    with call.deps.pool.connection() as conn:
        found = people.leave(conn, leave_id)
        if found is None:
            raise NotFound("unknown_leave", leave_id=leave_id)
        _person(conn, who, found.person_id)
    now = call.deps.clock.now()
    return _run(
        call,
        model.leave_stream(leave_id),
        decide(model.evolve_span, None, model.end_leave, leave_id=leave_id, now=now),
        f"leaves/{leave_id}",
        concerned=[found.person_id],
    )


@router.get("/alert-chain", response_model=Chain)
def read_chain(
    *,
    who: Reader,
    deps: DepsOf,
    site_id: NameAsked = None,
    region: RegionAsked = None,
    at: TimeAsked = None,
) -> Response:
    """Return who is told of a site, or of a region as a whole, now or at another moment."""
    region_code, site = place_of(deps, who, site_id=site_id, region=region)
    moment = moment_of(at, "at") if at else deps.clock.now()
    with deps.pool.connection() as conn:
        links = people.chain(conn, region_code=region_code, site_id=site, at=moment)
    repeat_min = {severity: steps.repeat_min for severity, steps in ESCALATION.items()}
    shown = [{**asdict(link), "after_min": _after_min(link)} for link in links]
    return json_answer({"at": moment, "links": shown, "repeat_min": repeat_min})


@router.get("/alert-floor", response_model=Items[Shortage])
def list_shortages(
    who: Annotated[Principal, permission(May.READ_FLOOR, *READERS)],
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
) -> Response:
    """List the sites whose alerts reach fewer than three people at once, now or within a week."""
    prefix, after = who.narrowed(region), page.after_text()
    with deps.pool.connection() as conn:
        found = floor.shortages(conn, deps.clock.now(), region=prefix)
    rows = [one for one in found if one.site_id > after]
    return page.answer(rows[: page.limit + 1], lambda row: [row.site_id])


def place_of(
    deps: Deps, who: Principal, *, site_id: str | None, region: str | None
) -> tuple[str, str]:
    """Return the region and the site (or "") that a request is about; the caller's by default."""
    if site_id is None:
        return who.require_region(region) if region else who.region_code, ""
    site = state_of(deps.ledger, registry.site_stream(site_id), registry.evolve_site)
    if site is None or not who.covers(site.region_code):
        raise NotFound("unknown_site", site_id=site_id)
    return site.region_code, site_id


def _after_min(link: people.Link) -> dict[str, int | None]:
    """Return after how many minutes a level is told, by severity."""
    told = SEVERITIES[SEVERITIES.index(link.severity_min) :]
    return {
        severity: (link.level and steps.due_after_min(link.level)) if severity in told else None
        for severity, steps in ESCALATION.items()
    }


def _person(conn: psycopg.Connection[Any], who: Principal, person_id: str) -> people.Person:
    found = people.one(conn, person_id)
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_person", person_id=person_id)
    return found


def _require_persons(deps: Deps, who: Principal, **named: str) -> None:
    with deps.pool.connection() as conn:
        for field, person_id in named.items():
            found = people.one(conn, person_id) if person_id else None
            if person_id and (found is None or not who.covers(found.region_code)):
                raise Invalid("unknown_person", field=field, person_id=person_id)


def _run(
    call: Call,
    stream: UUID,
    decision: Callable[[Sequence[Event]], list[Event]],
    place: str,
    *,
    region_code: str = "",
    concerned: Collection[str] = (),
) -> Response:
    """Run a command whose events are rows too, unless it leaves too few of those concerned."""
    made: list[Any] = []
    now: datetime = call.deps.clock.now()

    def deciding(history: list[Event]) -> list[Event]:
        made[:] = decision(history)
        return made

    def before(cur: psycopg.Cursor[Any]) -> None:
        with floor.kept(cur.connection, [each for each in concerned if each], now):
            for event in made:
                people.keep(cur, event)

    return call.run(
        stream,
        deciding,
        location=f"{PREFIX}/{place}",
        meta=call.meta(region_code=region_code),
        before=before,
    )
