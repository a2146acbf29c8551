"""Files of loggers over HTTP: read here, kept as received, shown beside the on-line readings.

A file is a stream of evidence of its own. It never fills an on-line series: what a device in the
field sent, and what somebody brought in a file, stay apart in every answer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from fastapi import Path, Query, Response
from pydantic import Field

from api import asof
from api.auth import STAFF, Principal, permission
from api.commands import CallOf, Receipt, state_of
from api.deps import Deps, DepsOf
from api.measurements import (
    EVIDENCE_BYTES_MAX,
    POINTS_DEFAULT,
    POINTS_MAX,
    SHA256_PATTERN,
    span_of,
)
from api.messages import message
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import (
    Body,
    Items,
    NameAsked,
    NameInPath,
    NameOrNone,
    Note,
    RegionAsked,
    Text,
    TimeAsked,
)
from domain.cold_chain import filing, logger_files, model
from domain.cold_chain.logger_files import Day, LoggerFile, Whole
from domain.cold_chain.record_events import LoggerFileRead
from domain.shared.decide import decide
from domain.shared.errors import Invalid, NotFound
from domain.shared.roles import Role
from domain.stability.mkt import mean_kinetic_c
from projections import charts
from projections import cold_chain_records as read
from projections.shared.placements import unit_readings

router = module_router("cold_chain")

# Lines of a file that are told of when they cannot be read.
FAULTS_TOLD = 50
# Days of a unit that are shown at once: all its readings are read.
UNIT_SPAN_MAX = timedelta(days=31)
ZONE = "Asia/Shanghai"
_HOLD_MS = logger_files.HOLD_MAX // timedelta(milliseconds=1)
_EPOCH_2000_US = 946_684_800_000_000

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class May(StrEnum):
    """Permissions of loggers' files."""

    READ = "cold_chain.read_logger_files"
    FILE = "cold_chain.file_logger"


class FileIn(Body):
    """A logger's file in base64, of which unit or shipment it is, and the zone of its times."""

    filename: Annotated[Text, Field(examples=["fridge-tag-2l.txt"])]
    content_base64: Annotated[
        str, Field(min_length=4, max_length=EVIDENCE_BYTES_MAX * 4 // 3 + 4, examples=["5rip5bqm"])
    ]
    unit_id: NameOrNone = ""
    bill_no: Note = ""
    zone: Annotated[Text, Field(examples=[ZONE])] = ZONE
    note: Note = ""


class File(Body):
    """A filed logger; `readings` and `days` (the device's own daily summaries) are counts."""

    sha256: str = Field(pattern=SHA256_PATTERN)
    kind: str
    serial: str
    zone: str
    unit_id: str
    bill_no: str
    readings: int
    days: int
    since: datetime | None
    until: datetime | None


class FiledFile(File):
    """A filed logger in a list."""

    region_code: str
    filed_at: datetime


class Counted(Body):
    """A local day: extremes in °C, minutes below and above the device's own limits."""

    min_c: float
    max_c: float
    below_min: float
    above_min: float


class ComparedDay(Body):
    """What the device counted itself, what its readings say, and whether both agree.

    `agrees`: within 7 minutes and 0.5 °C; null where the file has no readings of that day.
    """

    day: date
    own: Counted
    readings: Counted | None
    agrees: bool | None


class Run(Body):
    """Extremes, mean and mean kinetic temperature of a whole run, °C."""

    min_c: float
    max_c: float
    mean_c: float
    mkt_c: float


class FileWhole(File):
    """A filed logger with what it says: of its readings (`run`), and of itself.

    `own_run`, and whether it agrees within 0.5 °C, MKT within 0.15 °C. `agrees`: all that can be
    compared; null where nothing can.
    """

    name_zh: str
    name_en: str
    interval_s: int
    limits_c: list[float] | None
    zone_named: str
    run: Run | None
    own_run: Run | None
    daily: list[ComparedDay]
    agrees: bool | None
    version: int


class FileReadings(Body):
    """The readings of a file: UTC milliseconds and °C, null where the probe was unplugged."""

    t: list[int]
    v: list[float | None]
    rows: int
    decimated: bool


class Online(FileReadings):
    """The on-line readings of one probe in a unit."""

    device_id: str
    channel: str


class Beside(FileReadings):
    """The readings of a file in the same time: evidence, no part of any on-line series."""

    sha256: str
    kind: str
    serial: str


class UnitReadings(Body):
    """What is known of a unit's temperatures: on line, and apart from that by files."""

    unit_id: str
    limits_c: list[float] | None
    online: list[Online]
    files: list[Beside]
    as_of: str = Field(pattern=asof.POSITION_PATTERN)


Reader = Annotated[Principal, permission(May.READ, *STAFF, Role.VENDOR)]
Filer = Annotated[
    Principal,
    permission(
        May.FILE,
        *(Role.CDC, Role.CLINIC, Role.HOSPITAL, Role.STORE_KEEPER, Role.COURIER, Role.SUPPLIER),
        *(Role.VENDOR, Role.STEWARD),
    ),
]
FileInPath = Annotated[str, Path(pattern=SHA256_PATTERN)]
PointsAsked = Annotated[int, Query(ge=2, le=POINTS_MAX)]


@router.post("/logger-files", status_code=201, response_model=Receipt)
def file_logger(body: FileIn, who: Filer, call: CallOf) -> Response:
    """File a logger's file: it is read, kept byte for byte, and shown as evidence."""
    try:
        content = base64.b64decode(body.content_base64, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("bad_base64", field="content_base64") from None
    file = read_whole(content)
    ledger, unit = call.deps.ledger, None
    if body.unit_id:
        unit = state_of(ledger, model.unit_stream(body.unit_id), model.evolve_unit)
    if unit is not None:
        who.require_region(unit.region_code)
    sha256 = hashlib.sha256(content).hexdigest()
    keep = decide(
        model.evolve_evidence,
        None,
        model.keep_evidence,
        filename=body.filename,
        kind=file.kind,
        device_serial=file.serial,
        note=body.note,
        content=content,
    )
    return call.run(
        filing.file_stream(sha256),
        decide(
            filing.evolve_file,
            None,
            filing.file_logger,
            sha256=sha256,
            file=file,
            zone=body.zone,
            unit_id=body.unit_id,
            unit=unit,
            bill_no=body.bill_no,
        ),
        guards=[(model.evidence_stream(sha256), keep)],
        location=f"{PREFIX}/logger-files/{sha256}",
        meta=call.meta(region_code=unit.region_code if unit else ""),
    )


@router.get("/logger-files", response_model=Items[FiledFile])
def list_files(
    *,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    unit_id: NameAsked = None,
    bill_no: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """List the files filed in the caller's region, of one unit or shipment where named."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        found = read.files(
            conn,
            region=prefix,
            unit_id=unit_id,
            bill_no=bill_no,
            after=page.after_text(),
            limit=page.limit + 1,
        )
    return page.answer(found, lambda row: [row.sha256])


@router.get("/logger-files/{sha256}", response_model=FileWhole)
def read_file(sha256: FileInPath, who: Reader, deps: DepsOf) -> Response:
    """Return what a file says, and whether its device's own counters agree with its readings."""
    filed, file, version = _filed(deps, who, sha256)
    measured = [value for value in file.values if value is not None]
    run = None
    if measured:
        mean = float(np.mean(measured))
        run = Whole(min(measured), max(measured), mean, mean_kinetic_c(measured))
    daily = _compared(file)
    opinions = [day["agrees"] for day in daily if day["agrees"] is not None]
    if run is not None and file.own is not None:
        opinions.append(run.agrees(file.own))
    shown = {
        **asdict(filed),
        "name_zh": file.name_zh,
        "name_en": file.name_en,
        "interval_s": file.interval_s,
        "limits_c": file.limits_c,
        "zone_named": file.zone_named,
        "run": run,
        "own_run": file.own,
        "daily": daily,
        "agrees": all(opinions) if opinions else None,
        "version": version,
    }
    return json_answer(shown, headers={"ETag": f'"{version}"'})


@router.get("/logger-files/{sha256}/readings", response_model=FileReadings)
def read_file_readings(
    sha256: FileInPath, who: Reader, deps: DepsOf, points: PointsAsked = POINTS_DEFAULT
) -> Response:
    """Return the readings of a file, thinned to its peaks beyond `points`."""
    filed, file, _ = _filed(deps, who, sha256)
    found = _series(file, filed.zone)
    return json_answer(_thinned(found.ts_ms, found.celsius, points))


@router.get("/units/{unit_id}/readings", response_model=UnitReadings)
def read_unit_readings(
    *,
    unit_id: NameInPath,
    who: Reader,
    deps: DepsOf,
    since: Annotated[TimeAsked, Query(alias="from")] = None,
    until: Annotated[TimeAsked, Query(alias="to")] = None,
    points: PointsAsked = POINTS_DEFAULT,
) -> Response:
    """Return what the probes of a unit read in [from, to), and what files say of it, apart."""
    unit = state_of(deps.ledger, model.unit_stream(unit_id), model.evolve_unit)
    if unit is None or not who.covers(unit.region_code):
        raise NotFound("unknown_unit", unit_id=unit_id)
    t0, t1 = span_of(deps.clock.now(), since, until, UNIT_SPAN_MAX)
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, None)
        found = unit_readings(conn, unit_id, t0, t1, ledger=at.ledger, telemetry=at.telemetry)
        files = series_in(deps, read.files_in(conn, t0, t1, unit_id=unit_id), t0, t1)
    online = [
        {
            "device_id": probe.device_id,
            "channel": probe.channel,
            **_thinned(probe.ts_ms, probe.celsius, points),
        }
        for probe in found.probes
    ]
    beside = [
        {
            "sha256": each.sha256,
            "kind": each.kind,
            "serial": each.serial,
            **_thinned(each.ts_ms, each.celsius, points),
        }
        for each in files
    ]
    return json_answer(
        {
            "unit_id": unit_id,
            "limits_c": found.limits,
            "online": online,
            "files": beside,
            "as_of": str(at),
        }
    )


# ---- what files hold ----


class Series(NamedTuple):
    """The readings of a file: n times in UTC ms, n values in °C (NaN: unplugged)."""

    sha256: str
    kind: str
    serial: str
    hold_ms: int
    ts_ms: Ints
    celsius: Floats


def read_whole(content: bytes) -> LoggerFile:
    """Read a file; Invalid("bad_logger_lines") names every line at fault, in both languages."""
    faults: list[Invalid] = []
    file = logger_files.read(content.decode("utf-8-sig", errors="replace"), faults.append)
    if faults:
        lines = []
        for fault in faults[:FAULTS_TOLD]:
            zh, en = message(fault.code, fault.facts)
            lines.append({"row": fault.facts["row"], "code": fault.code, "zh": zh, "en": en})
        raise Invalid(
            "bad_logger_lines", field="content_base64", count=len(faults), lines=lines
        ) from faults[0]
    if not file.times and not file.own_days:
        raise Invalid("empty_file", field="content_base64")
    return file


def series_in(deps: Deps, files: Sequence[read.File], t0: datetime, t1: datetime) -> list[Series]:
    """Return the readings of files in [t0, t1)."""
    begin, end = (round(t.timestamp() * 1000) for t in (t0, t1))
    found = []
    for filed in files:
        whole = _series(read_whole(_content(deps, filed.sha256)), filed.zone)
        inside = (whole.ts_ms >= begin) & (whole.ts_ms < end)
        found.append(
            whole._replace(
                sha256=filed.sha256, ts_ms=whole.ts_ms[inside], celsius=whole.celsius[inside]
            )
        )
    return found


def _series(file: LoggerFile, zone: str) -> Series:
    known = filing.zone_of(zone)
    ts_ms = [round(filing.utc(at, known).timestamp() * 1000) for at in file.times]
    values = [np.nan if value is None else value for value in file.values]
    hold_ms = min(3 * 1000 * file.interval_s, _HOLD_MS)
    told = np.array(ts_ms, np.int64), np.array(values, np.float64)
    return Series("", file.kind, file.serial, hold_ms, *told)


def _thinned(ts_ms: Ints, celsius: Floats, points: int) -> dict[str, Any]:
    """Return the points of a series that keep every peak."""
    kept = np.arange(0)
    if ts_ms.size:
        us = ts_ms * 1_000 - _EPOCH_2000_US
        kept = charts.decimate(us, celsius, int(us[0]), int(us[-1]) + 1, points)
    return {
        "t": ts_ms[kept].tolist(),
        "v": [None if np.isnan(value) else value for value in celsius[kept].tolist()],
        "rows": int(ts_ms.size),
        "decimated": bool(kept.size < ts_ms.size),
    }


def _filed(deps: Deps, who: Principal, sha256: str) -> tuple[LoggerFileRead, LoggerFile, int]:
    """Return a filed logger of the caller's region, what it holds, and its version."""
    stream = deps.ledger.stream(filing.file_stream(sha256))
    event = stream[-1].event if stream else None
    if not isinstance(event, LoggerFileRead) or not who.covers(stream[-1].meta.region_code):
        raise NotFound("unknown_evidence", sha256=sha256)
    return event, read_whole(_content(deps, sha256)), stream[-1].originator_version


def _content(deps: Deps, sha256: str) -> bytes:
    kept = state_of(deps.ledger, model.evidence_stream(sha256), model.evolve_evidence)
    if kept is None:
        raise NotFound("unknown_evidence", sha256=sha256)
    return kept.content


def _compared(file: LoggerFile) -> list[dict[str, Any]]:
    limits = file.limits_c or (float("-inf"), float("inf"))
    found = logger_files.days(file.times, file.values, limits)
    return [
        {
            "day": own.day,
            "own": _counted(own),
            "readings": _counted(mine) if (mine := found.get(own.day)) else None,
            "agrees": own.agrees(mine) if mine else None,
        }
        for own in sorted(file.own_days, key=lambda day: day.day)
    ]


def _counted(day: Day) -> dict[str, float]:
    return {
        "min_c": day.min_c,
        "max_c": day.max_c,
        "below_min": day.below_min,
        "above_min": day.above_min,
    }
