"""The record of temperatures that a person signs twice a day, over HTTP: due, sign, month sheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Path, Query, Response
from pydantic import Field

from api import asof
from api.asof import Position
from api.auth import STAFF, Principal, permission
from api.commands import CallOf, Receipt, shown, state_of, versioned
from api.deps import DepsOf
from api.records.forms import FORMS, AskedOf, SheetOut
from api.records.sheet import Field as Said
from api.records.sheet import Sheet, Table, columns
from api.records.units import (
    STATES,
    Connection,
    MonthAsked,
    alerts_of,
    month_of,
    queries,
    rows,
    unit_head,
    unit_of,
)
from api.routing import PREFIX, json_answer, module_router
from api.schemas import Body, Day, Moment, Name, NameInPath, Note, Version
from domain.cold_chain import records as model
from domain.cold_chain.events import UnitRegistered
from domain.cold_chain.record_events import ShownProbe
from domain.cold_chain.records import SHANGHAI, Half, Shown, State, Window, window, windows
from domain.registry import model as registry
from domain.shared.decide import decide
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.ids import NAME_PATTERN
from domain.shared.pseudonyms import PSEUDONYM_PATTERN
from domain.shared.roles import Role
from projections import cold_chain_records as read
from projections.shared.placements import limits_of, unit_readings

router = module_router("cold_chain")

SIGNERS = (
    *(Role.CDC, Role.CLINIC, Role.HOSPITAL, Role.STORE_KEEPER, Role.PHARMACIST, Role.NURSE),
    *(Role.VACCINATOR, Role.VILLAGE_DOCTOR),
)
# Without a record before it, a record tells of so long; after a long pause, of no more than this.
FIRST_SPAN, SPAN_MAX = timedelta(hours=24), timedelta(days=31)


class May(StrEnum):
    """Permissions of signed records and of reports made of temperatures."""

    READ = "cold_chain.read_records"
    SIGN = "cold_chain.sign_record"


Celsius = Annotated[float, Field(examples=[4.6])]
Person = Annotated[str, Field(pattern=PSEUDONYM_PATTERN, examples=["P-7"])]


class ProbeOut(Body):
    """A probe's newest reading then; null: none that still held."""

    device_id: Name
    channel: str
    value_c: float | None
    read_at: datetime | None


class ShownOut(Body):
    """What is put before the person: extremes, minutes and alerts are of the time since `since`."""

    since: datetime
    probes: list[ProbeOut]
    min_c: float | None
    max_c: float | None
    outside_min: float | None
    unknown_min: float
    alert_ids: list[str]


class Signed(ShownOut):
    """A signed record; `late`: signed after it was due."""

    unit_id: Name
    day: date
    half: Half
    site_id: Name
    region_code: str
    due_at: datetime
    shown_at: datetime
    as_of: str
    own_c: float | None
    remark: str
    signed_by: str
    signed_at: datetime
    late: bool


class Record(Signed):
    """A signed record by itself."""

    version: Version


class DueItem(Body):
    """The record of a unit for half a day: as it is put before the person, or as it was signed."""

    unit_id: Name
    name: str
    half: Half
    state: State
    opens_at: datetime
    due_at: datetime
    closes_at: datetime
    shown: ShownOut | None
    signed: Signed | None


class Due(Body):
    """The records of a site for a day. Give `shown_at` and `as_of` back when one is signed."""

    site_id: Name
    day: date
    shown_at: datetime
    as_of: str
    records: list[DueItem]


class SignatureIn(Body):
    """What a person signs: what was shown, with nothing of it changed.

    `own_c`: what a thermometer of theirs read, needed where no probe says anything.
    """

    day: Day
    half: Annotated[Half, Field(strict=False)]
    shown_at: Moment
    as_of: Annotated[str, Field(pattern=asof.POSITION_PATTERN, examples=["L12.T34"])]
    own_c: Celsius | None = None
    remark: Note = ""
    signed_by: Person


Reader = Annotated[Principal, permission(May.READ, *STAFF)]
Signer = Annotated[Principal, permission(May.SIGN, *SIGNERS)]
DayAsked = Annotated[
    str | None, Query(pattern=r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}$", examples=["2026-03-02"])
]


@router.get("/temperature-records", response_model=Due)
def list_due(
    site_id: Annotated[str, Query(pattern=NAME_PATTERN, examples=["dwk-cdc"])],
    who: Reader,
    deps: DepsOf,
    day: DayAsked = None,
) -> Response:
    """Return a site's records of a day (today), each as it is to be signed or as it was."""
    site = state_of(deps.ledger, registry.site_stream(site_id), registry.evolve_site)
    if site is None or not who.covers(site.region_code):
        raise NotFound("unknown_site")
    now = deps.clock.now()
    asked = day_of(day) if day else now.astimezone(SHANGHAI).date()
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, None)
        signed = {
            (each.unit_id, each.half): each
            for each in read.records(conn, site_id=site_id, first=asked, last=asked)
        }
        items = []
        for unit in rows(conn, queries.units, site_id=site_id):
            if unit["kind"] in model.KINDS:
                for each in windows(asked, asked):
                    known = signed.get((unit["unit_id"], each.half.value))
                    items.append(_item(conn, unit=unit, of=each, signed=known, at=at, now=now))
    return json_answer(
        {"site_id": site_id, "day": asked, "shown_at": now, "as_of": str(at), "records": items}
    )


def _item(
    conn: Connection,
    *,
    unit: Mapping[str, Any],
    of: Window,
    signed: read.Record | None,
    at: Position,
    now: datetime,
) -> dict[str, Any]:
    state = State.SIGNED if signed else of.state(now)
    found = prefilled(conn, unit["unit_id"], now, at) if state in {"due", "late"} else None
    return {
        "unit_id": unit["unit_id"],
        "name": unit["name"],
        "half": of.half,
        "state": state,
        "opens_at": of.opens,
        "due_at": of.due_at,
        "closes_at": of.closes,
        "shown": found,
        "signed": asdict(signed) if signed else None,
    }


def prefilled(conn: Connection, unit_id: str, shown_at: datetime, at: Position) -> dict[str, Any]:
    """Return what the probes of a unit say at a moment, and since the record before."""
    last = read.shown_last(conn, [unit_id], shown_at).get(unit_id, shown_at - FIRST_SPAN)
    since = max(last, shown_at - SPAN_MAX)
    found = unit_readings(conn, unit_id, since, shown_at, ledger=at.ledger, telemetry=at.telemetry)
    now_ms = round(shown_at.timestamp() * 1000)
    probes = []
    for probe in found.probes:
        holds = probe.ts_ms.size > 0 and now_ms - int(probe.ts_ms[-1]) <= probe.hold_ms
        read_at = datetime.fromtimestamp(probe.ts_ms[-1] / 1000, UTC) if holds else None
        value = float(probe.celsius[-1]) if holds else None
        probes.append(
            ShownProbe(
                device_id=probe.device_id, channel=probe.channel, value_c=value, read_at=read_at
            )
        )
    told = found.summary
    beyond = told.above_min is None or told.below_min is None
    alerts = alerts_of(conn, t0=since, t1=shown_at, unit_ids=[unit_id])
    return {
        "since": since,
        "probes": probes,
        "min_c": told.temperature_c_min,
        "max_c": told.temperature_c_max,
        "outside_min": None if beyond else (told.above_min or 0.0) + (told.below_min or 0.0),
        "unknown_min": told.unknown_min,
        "alert_ids": [alert["alert_id"] for alert in alerts],
    }


@router.post("/units/{unit_id}/temperature-records", status_code=201, response_model=Receipt)
def sign_record(unit_id: NameInPath, body: SignatureIn, who: Signer, call: CallOf) -> Response:
    """Sign a unit's record as it was shown no longer than 15 minutes ago."""
    deps, unit = call.deps, unit_of(call.deps, who, unit_id)
    if unit.kind not in model.KINDS:
        raise Conflict("unit_moves", unit_id=unit_id)
    of = window(day_of(body.day.isoformat()), body.half)
    if abs(deps.clock.now() - body.shown_at) > FIRST_SPAN:  # nearer ones: `model.sign`
        raise Invalid("shown_long_ago", field="shown_at")
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, body.as_of)
        found = prefilled(conn, unit_id, body.shown_at, at)
    put = Shown(
        unit_id=unit_id,
        site_id=unit.site_id,
        region_code=unit.region_code,
        shown_at=body.shown_at,
        as_of=body.as_of,
        **found,
    )
    other = state_of(deps.ledger, model.record_stream(unit_id, of.other), model.evolve_record)
    return call.run(
        model.record_stream(unit_id, of),
        decide(
            model.evolve_record,
            None,
            model.sign,
            window=of,
            other=other,
            shown=put,
            own_c=body.own_c,
            remark=body.remark,
            signed_by=body.signed_by,
            now=deps.clock.now(),
        ),
        location=f"{PREFIX}/units/{unit_id}/temperature-records/{body.day}/{body.half.value}",
        meta=call.meta(region_code=unit.region_code),
    )


@router.get("/units/{unit_id}/temperature-records/{day}/{half}", response_model=Record)
def read_record(
    unit_id: NameInPath,
    day: Annotated[str, Path(pattern=r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}$")],
    half: Half,
    who: Reader,
    deps: DepsOf,
) -> Response:
    """Return a signed record."""
    unit_of(deps, who, unit_id)
    stream = model.record_stream(unit_id, window(day_of(day), half))
    found, version = versioned(deps.ledger, stream, model.evolve_record)
    if found is None:
        raise NotFound("unknown_record", unit_id=unit_id, day=day, half=half.value)
    signed_at = deps.ledger.stream(stream)[0].meta.recorded_at
    return shown(found, version, signed_at=signed_at)


@router.get("/units/{unit_id}/temperature-sheet", response_model=SheetOut, responses=FORMS)
def read_sheet(
    unit_id: NameInPath, month: MonthAsked, who: Reader, deps: DepsOf, asked: AskedOf
) -> Response:
    """Return the sheet of a unit's signed records of a month."""
    unit = unit_of(deps, who, unit_id)
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, None)
        return asked.answered(month_sheet(conn, unit, month, deps.clock.now()), at)


def day_of(text: str) -> date:
    """Return a day of a path or parameter; NotFound when the calendar has none such."""
    found = None
    with suppress(ValueError):
        found = date.fromisoformat(text)
    if found is None or found.year // 100 != 20:  # beyond, times of zones may not exist
        raise NotFound("unknown_day", day=text)
    return found


# ---- the sheet of a month ----

_HALF = """
    {0}_at | {1}时间 | {0} time | 1.7
    {0}_c | {1}温度 ℃ | {0} °C | 1.2
    {0}_own_c | {1}自测 | {0} own °C | 0.8
    {0}_min_c | {1}最低 | {0} min | 0.8
    {0}_max_c | {1}最高 | {0} max | 0.8
    {0}_by | {1}签名 | {0} signed | 1.1
    {0}_state | {1}状态 | {0} state | 0.8
"""
_ALL = "day | 日期 | day | 1.2\n" + _HALF.format("am", "上午") + _HALF.format("pm", "下午")
_COLUMNS = columns(_ALL + "remarks | 备注 | remarks | 2")


def month_sheet(conn: Connection, unit: UnitRegistered, text: str, now: datetime) -> Sheet:
    """Return the sheet of a unit for a month, as far as it has passed."""
    month = month_of(text, now)
    found = read.records(conn, unit_id=unit.unit_id, first=month.first, last=month.last)
    signed = {(each.day, each.half): each for each in found}
    since = read.keeping(conn).get(unit.site_id)
    limits = limits_of(conn, unit.unit_id)
    days = [month.first + timedelta(days=n) for n in range((month.last - month.first).days + 1)]
    table = Table(
        "days",
        "每日记录",
        "Days",
        _COLUMNS,
        [_day_row(day, signed, since, now) for day in days],
    )
    counted = list(
        counted_states(unit.kind, month.first, month.last, signed=signed, since=since, now=now)
    )
    head = [
        Said("month", "月份", "month", text),
        *unit_head(conn, unit, limits),
        Said("signed", "已签", "signed", counted.count(State.SIGNED)),
        Said("late", "迟签", "signed late", sum(each.late for each in found)),
        Said("missed", "缺记", "missed", counted.count(State.MISSED)),
    ]
    return Sheet(
        file=f"{unit.unit_id}-{text}",
        zh="冷链设备温度记录表",
        en="Temperature record of cold-chain equipment",
        head=head,
        tables=[table],
        notes=[
            (
                "温度为签名时各探头的读数（以“；”分开），最低、最高自上一次记录起；自测为签名人用"
                "温度计测得。时间为北京时间。栏目依据《疫苗储存和运输管理规范（2017 年版）》。",
                "Temperatures are those of the probes when signed, separated by semicolons; min and"
                " max are since the record before; own: read by the person with a thermometer."
                " Times are China Standard Time.",
            )
        ],
    )


def counted_states(
    unit_kind: str,
    first: date,
    last: date,
    *,
    signed: Mapping[tuple[date, str], read.Record],
    since: datetime | None,
    now: datetime,
) -> Iterator[State]:
    """Yield where the records of a unit for some days stand, from when its site keeps them."""
    for each in windows(first, last) if unit_kind in model.KINDS else ():
        if (each.day, each.half.value) in signed:
            yield State.SIGNED
        elif since is not None and each.opens > since:
            yield each.state(now)


def _day_row(
    day: date,
    signed: Mapping[tuple[date, str], read.Record],
    since: datetime | None,
    now: datetime,
) -> dict[str, Any]:
    row: dict[str, Any] = {"day": day}
    remarks = []
    for half, name in ((Half.MORNING, "am"), (Half.AFTERNOON, "pm")):
        found = signed.get((day, half.value))
        if found is None:
            of = window(day, half)
            kept = since is not None and of.opens > since and of.opens <= now
            row[f"{name}_state"] = STATES[of.state(now)] if kept else None
            continue
        row |= {
            f"{name}_at": found.shown_at,
            f"{name}_c": [probe["value_c"] for probe in found.probes],
            f"{name}_own_c": found.own_c,
            f"{name}_min_c": found.min_c,
            f"{name}_max_c": found.max_c,
            f"{name}_by": found.signed_by,
            f"{name}_state": STATES["late" if found.late else "signed"],
        }
        remarks += [found.remark] if found.remark else []
        if found.alert_ids:
            row[f"{name}_alerts"] = found.alert_ids
    return {**row, "remarks": remarks}
