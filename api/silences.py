"""Silences over HTTP: maintenance windows and quiet hours, when people are not told of alerts."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any, Literal

import psycopg
from fastapi import Response
from pydantic import Field

from alerts import silences
from api.alert_shown import READERS
from api.auth import Principal, permission
from api.commands import CallOf, Receipt, state_of
from api.deps import Deps, DepsOf
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import (
    TIME_OF_DAY_PATTERN,
    Body,
    Items,
    Moment,
    Name,
    NameAsked,
    NameInPath,
    NameOrNone,
    RegionAsked,
    RegionOrCountry,
)
from domain.alerting import silences as model
from domain.alerting.conditions import Kind as ConditionKind
from domain.alerting.silence_events import SilenceCreated
from domain.cold_chain.model import evolve_unit, unit_stream
from domain.registry import model as registry
from domain.shared.decide import decide
from domain.shared.errors import Invalid, NotFound
from domain.shared.events import Event
from domain.shared.roles import Role
from domain.shared.text import TEXT_PATTERN

router = module_router("alerting")

KEEPERS = (Role.CDC, Role.STORE_KEEPER, Role.CLINIC, Role.HOSPITAL)
KINDS_MAX = 32

Kind = Literal["temperature"] | ConditionKind
TimeOfDay = Annotated[str, Field(pattern=TIME_OF_DAY_PATTERN, examples=["22:00"])]
Reason = Annotated[
    str, Field(min_length=1, max_length=model.REASON_LENGTH_MAX, pattern=TEXT_PATTERN)
]


class May(StrEnum):
    """Permissions of this file."""

    READ_SILENCES = "alerting.read_silences"
    SILENCE = "alerting.silence"


class SilenceIn(Body):
    """When people are not told of alerts of a region, of one site, or of one unit of it.

    `kinds`: none for all. At most eight hours, whatever others are in a row with it. With
    `daily_from` and `daily_to` (Asia/Shanghai) they are quiet hours, every day until `ends_at`, for
    what is slight alone. What is critical or may freeze is told all the same, unless the vaccine
    was brought elsewhere (`stock_moved`) and none is known to be there.
    """

    silence_id: Annotated[Name, Field(examples=["dwk-room-1-2026-12-03"])]
    region_code: RegionOrCountry
    site_id: NameOrNone = ""
    unit_id: NameOrNone = ""
    kinds: Annotated[list[Kind], Field(max_length=KINDS_MAX)] = []  # noqa: RUF012  # pydantic copies it
    begins_at: Moment
    ends_at: Moment
    daily_from: TimeOfDay | None = None
    daily_to: TimeOfDay | None = None
    stock_moved: bool = False
    reason: Annotated[Reason, Field(examples=["更换压缩机，疫苗已移至2号冷库"])]


class SilenceOut(SilenceIn):
    """The same, and which key put it down; `ends_at`: when it ended, where it was ended before."""

    made_by: str


Reader = Annotated[Principal, permission(May.READ_SILENCES, *READERS)]
Keeper = Annotated[Principal, permission(May.SILENCE, *KEEPERS)]


@router.post("/silences", status_code=201, response_model=Receipt)
def create_silence(body: SilenceIn, who: Keeper, call: CallOf) -> Response:
    """Keep messages of a place from people for a time; all stands in the inbox all the same."""
    who.require_region(body.region_code)
    _check_place(call.deps, body)
    fields = body.model_dump(exclude={"daily_from", "daily_to"})
    fields["kinds"] = tuple(str(kind) for kind in body.kinds)
    wanted = SilenceCreated(**fields, daily=_daily(body), actor_id=who.key_id)
    made: list[Any] = []
    decision = decide(model.evolve, None, model.create, wanted=wanted, now=call.deps.clock.now())

    def deciding(history: list[Event]) -> list[Event]:
        made[:] = decision(history)
        return made

    def before(cur: psycopg.Cursor[Any]) -> None:
        for event in made:
            model.check_row(event, silences.beside(cur, event))
            silences.keep(cur, event)

    return call.run(
        model.silence_stream(body.silence_id),
        deciding,
        location=f"{PREFIX}/silences/{body.silence_id}",
        meta=call.meta(region_code=body.region_code),
        before=before,
    )


@router.get("/silences", response_model=Items[SilenceOut])
def list_silences(
    *,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    site_id: NameAsked = None,
    over: bool = False,
) -> Response:
    """List the silences of the caller's region that are not over, or all of them, by id."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = silences.listed(
            conn,
            region=prefix,
            site_id=site_id or "",
            over=over,
            now=deps.clock.now(),
            after=page.after_text(),
            limit=page.limit + 1,
        )
    return page.answer([_shown(row) for row in rows], lambda row: [row["silence_id"]])


@router.get("/silences/{silence_id}", response_model=SilenceOut)
def read_silence(silence_id: NameInPath, who: Reader, deps: DepsOf) -> Response:
    """Return one silence."""
    return json_answer(_shown(_found(deps, who, silence_id)))


@router.post("/silences/{silence_id}/ending", status_code=201, response_model=Receipt)
def end_silence(silence_id: NameInPath, who: Keeper, call: CallOf) -> Response:
    """Let a silence end now: people are told of what is still on."""
    found = _found(call.deps, who, silence_id)
    now = call.deps.clock.now()
    decision = decide(
        model.evolve, None, model.end, silence_id=silence_id, actor_id=who.key_id, now=now
    )
    made: list[Any] = []

    def deciding(history: list[Event]) -> list[Event]:
        made[:] = decision(history)
        return made

    def before(cur: psycopg.Cursor[Any]) -> None:
        for event in made:
            silences.keep(cur, event)

    return call.run(
        model.silence_stream(silence_id),
        deciding,
        location=f"{PREFIX}/silences/{silence_id}",
        meta=call.meta(region_code=found.region_code),
        before=before,
    )


def _found(deps: Deps, who: Principal, silence_id: str) -> silences.Silence:
    with deps.pool.connection() as conn:
        found = silences.one(conn, silence_id)
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_silence", silence_id=silence_id)
    return found


def _shown(row: silences.Silence) -> dict[str, Any]:
    daily = {"daily_from": _time(row.daily_from), "daily_to": _time(row.daily_to)}
    return {**asdict(row), **daily}


def _time(minute: int | None) -> str | None:
    return None if minute is None else f"{minute // 60:02}:{minute % 60:02}"


def _daily(body: SilenceIn) -> tuple[int, ...]:
    given = [each for each in (body.daily_from, body.daily_to) if each is not None]
    if len(given) == 1:
        raise Invalid("bad_quiet_hours", field="daily_to")
    return tuple(int(each[:2]) * 60 + int(each[3:]) for each in given)


def _check_place(deps: Deps, body: SilenceIn) -> None:
    """Refuse a site that is not of the region, and a unit that is not of the site."""
    if body.site_id:
        site = state_of(deps.ledger, registry.site_stream(body.site_id), registry.evolve_site)
        if site is None or site.region_code != body.region_code:
            raise Invalid("unknown_site", field="site_id", site_id=body.site_id)
    if body.unit_id:
        unit = state_of(deps.ledger, unit_stream(body.unit_id), evolve_unit)
        if unit is None or unit.site_id != body.site_id:
            raise Invalid("unknown_unit", field="unit_id", unit_id=body.unit_id)
