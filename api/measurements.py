"""What devices measured, over HTTP: newest values, a probe's readings, loggers' own files."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import asdict
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
from fastapi import Path, Query, Response
from pydantic import Field

from api import asof
from api.asof import AsOf
from api.auth import STAFF, Principal, permission
from api.commands import CallOf, Receipt, state_of
from api.deps import DepsOf
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import (
    Body,
    Items,
    Name,
    NameAsked,
    NameOrNone,
    Note,
    Region,
    RegionAsked,
    Text,
    TimeAsked,
    moment_of,
)
from domain.alerting.watch import to_ms
from domain.cold_chain import model
from domain.shared.decide import decide
from domain.shared.errors import Invalid, NotFound
from domain.shared.ids import NAME_PATTERN
from domain.shared.roles import Role
from projections import charts
from projections import cold_chain as read
from projections.shared.calibrations import Calibrations, calibrations

router = module_router("cold_chain")

# What a chart is asked for when it does not say: half a day before the present.
SPAN_DEFAULT = timedelta(hours=12)
# One device-minute for four years; a longer span is refused rather than read.
SPAN_MAX = timedelta(days=1461)
POINTS_DEFAULT, POINTS_MAX = 2_000, 20_000
# Bytes of a logger's file; in base64 it fits the body limit.
EVIDENCE_BYTES_MAX = 700_000
SHA256_PATTERN = r"^[0-9a-f]{64}$"


class May(StrEnum):
    """Permissions of what was measured."""

    READ = "cold_chain.read_measurements"
    KEEP = "cold_chain.keep_evidence"


class Latest(Body):
    """The newest values of a device by channel; `ts` null: it never spoke.

    `values` as read; `corrected`: what those of calibrated probes count as.
    """

    device_id: Name
    gateway_id: Name
    site_id: Name
    region_code: Region
    interval_s: int
    channels: list[str]
    ts: datetime | None
    received_at: datetime | None
    values: dict[str, float]
    corrected: dict[str, float]


class Readings(Body):
    """One channel: UTC milliseconds and values as read, null where the probe was unplugged.

    `corrected`: what they count as by the calibration of the probe; null where it has none.
    `decimated`: only the least and the greatest of each of equal spans are shown, so no peak is
    ever lost.
    """

    device_id: Name
    channel: str
    t: list[int]
    v: list[float | None]
    corrected: list[float | None] | None
    rows: int
    decimated: bool
    as_of: str = Field(pattern=asof.POSITION_PATTERN)


class EvidenceIn(Body):
    """A logger's own file, in base64."""

    filename: Annotated[Text, Field(examples=["fridge-tag-2l.txt"])]
    kind: Annotated[Name, Field(examples=["fridge_tag_2l"])]
    device_serial: NameOrNone = ""
    note: Note = ""
    content_base64: Annotated[
        str, Field(min_length=4, max_length=EVIDENCE_BYTES_MAX * 4 // 3 + 4, examples=["5rip5bqm"])
    ]


class Evidence(Body):
    """A file that was kept as received."""

    sha256: str = Field(pattern=SHA256_PATTERN)
    filename: str
    kind: str
    device_serial: str
    note: str
    size_bytes: int
    region_code: str
    kept_at: datetime


class EvidenceContent(Body):
    """A kept file with its content."""

    sha256: str = Field(pattern=SHA256_PATTERN)
    filename: str
    kind: str
    device_serial: str
    note: str
    content_base64: str


Reader = Annotated[Principal, permission(May.READ, *STAFF, Role.VENDOR)]


@router.get("/latest", response_model=Items[Latest])
def list_latest(
    *,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    site_id: NameAsked = None,
) -> Response:
    """List the newest values of the devices of the caller's region, or of one site."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = read.latest(
            conn,
            region=prefix,
            site_id=site_id or "",
            after=page.after_text(),
            limit=page.limit + 1,
        )
        known = calibrations(conn, devices=[row.device_id for row in rows])
    items = [asdict(row) | {"corrected": _corrected_now(known, row)} for row in rows]
    return page.answer(items, lambda item: [item["device_id"]])


@router.get("/readings", response_model=Readings)
def read_readings(
    *,
    who: Reader,
    deps: DepsOf,
    device_id: Annotated[str, Query(pattern=NAME_PATTERN, examples=["dwk-log-1"])],
    channel: Annotated[str, Query(pattern=model.CHANNEL_PATTERN)] = "t1",
    since: Annotated[TimeAsked, Query(alias="from")] = None,
    until: Annotated[TimeAsked, Query(alias="to")] = None,
    points: Annotated[int, Query(ge=2, le=POINTS_MAX)] = POINTS_DEFAULT,
    as_of: AsOf = None,
) -> Response:
    """Return the readings of a probe in [from, to), thinned to its peaks beyond `points`.

    A month and more may be some seconds behind; `as_of` says where it stands.
    """
    device = state_of(deps.ledger, model.device_stream(device_id), model.evolve_device)
    if device is None or not who.covers(device.region_code):
        raise NotFound("unknown_device", device_id=device_id)
    t0, t1 = span_of(deps.clock.now(), since, until)
    asked: dict[str, Any] = {
        "device_id": device_id,
        "channel": model.CHANNEL_ALIASES.get(channel, channel),
        "t0": t0,
        "t1": t1,
        "points": points,
    }
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, as_of)
        rolled_up = charts.long_readings(conn, **asked) if as_of is None else None
        if rolled_up:
            found, telemetry = rolled_up
            at = at._replace(telemetry=telemetry)
        else:
            found = charts.readings(conn, **asked, telemetry=at.telemetry)
        known = calibrations(conn, at.ledger, [device_id])
    shown = {"device_id": device_id, "channel": channel, **asdict(found), "as_of": str(at)}
    shown["corrected"] = _corrected(known, device_id, asked["channel"], found)
    return json_answer(shown)


@router.post("/evidence", status_code=201, response_model=Receipt)
def keep_evidence(
    body: EvidenceIn,
    _who: Annotated[
        Principal,
        permission(May.KEEP, Role.CDC, Role.CLINIC, Role.STORE_KEEPER, Role.VENDOR, Role.STEWARD),
    ],
    call: CallOf,
) -> Response:
    """Keep a logger's own file as received; the same content again changes nothing."""
    try:
        content = base64.b64decode(body.content_base64, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("bad_base64", field="content_base64") from None
    sha256 = hashlib.sha256(content).hexdigest()
    fields: dict[str, Any] = body.model_dump(exclude={"content_base64"})
    return call.run(
        model.evidence_stream(sha256),
        decide(model.evolve_evidence, None, model.keep_evidence, content=content, **fields),
        location=f"{PREFIX}/evidence/{sha256}",
        meta=call.meta(),
    )


@router.get("/evidence", response_model=Items[Evidence])
def list_evidence(who: Reader, deps: DepsOf, page: PageOf, region: RegionAsked = None) -> Response:
    """List the files kept in the caller's region, without their content."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = read.evidence(conn, region=prefix, after=page.after_text(), limit=page.limit + 1)
    return page.answer(rows, lambda row: [row.sha256])


@router.get("/evidence/{sha256}", response_model=EvidenceContent)
def read_evidence(
    sha256: Annotated[str, Path(pattern=SHA256_PATTERN)], who: Reader, deps: DepsOf
) -> Response:
    """Return a kept file with its content."""
    kept = deps.ledger.stream(model.evidence_stream(sha256))
    state = state_of(deps.ledger, model.evidence_stream(sha256), model.evolve_evidence)
    if state is None or not who.covers(kept[0].meta.region_code):
        raise NotFound("unknown_evidence", sha256=sha256)
    shown = asdict(state)
    shown["content_base64"] = base64.b64encode(shown.pop("content")).decode()
    return json_answer(shown)


def _corrected_now(known: Calibrations, row: read.Latest) -> dict[str, float]:
    """Return what the newest values of calibrated probes count as."""
    if row.ts is None:
        return {}
    at_ms = np.array([to_ms(row.ts)])
    return {
        channel: float(known.corrected(np.array([value]), row.device_id, channel, at_ms)[0])
        for channel, value in row.values.items()
        if (row.device_id, channel) in known.by_probe
    }


def _corrected(
    known: Calibrations, device_id: str, channel: str, found: charts.Readings
) -> list[float | None] | None:
    """Return what readings count as; None where the probe has no certificate."""
    if (device_id, channel) not in known.by_probe:
        return None
    read_c = np.array([np.nan if v is None else v for v in found.v], np.float64)
    counted = known.corrected(read_c, device_id, channel, np.array(found.t, np.int64))
    return [None if v is None else c for v, c in zip(found.v, counted.tolist(), strict=True)]


def span_of(
    now: datetime, since: str | None, until: str | None, longest: timedelta = SPAN_MAX
) -> tuple[datetime, datetime]:
    """Return the time that is asked about, by itself the last hours; Invalid("bad_span")."""
    t1 = moment_of(until, "to") if until else now
    try:
        t0 = moment_of(since, "from") if since else t1 - SPAN_DEFAULT
    except OverflowError:
        raise Invalid("bad_time", field="to", value=str(until)) from None
    if not timedelta() < t1 - t0 <= longest:
        raise Invalid("bad_span", field="from", days=longest.days)
    return t0, t1
