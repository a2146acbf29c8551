"""Calibration of probes over HTTP: certificates, what is due, and which probes drift apart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import combinations
from pathlib import Path as FilePath
from typing import Annotated, Any

import numpy as np
from fastapi import Query, Response
from psycopg.rows import dict_row
from pydantic import Field

from api.auth import STAFF, Principal, permission
from api.commands import CallOf, Receipt, state_of
from api.deps import Deps, DepsOf
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import (
    Body,
    Day,
    Items,
    Moment,
    Name,
    NameAsked,
    NameInPath,
    Region,
    RegionAsked,
    Text,
)
from domain.cold_chain import calibration, model
from domain.cold_chain.calibration_events import CalibrationPoint
from domain.cold_chain.drift import drift
from domain.shared.decide import decide
from domain.shared.errors import Invalid, NotFound
from domain.shared.roles import Role
from store.sql import load_queries

router = module_router("cold_chain")
queries = load_queries(FilePath(__file__).with_suffix(".sql"))

# Days of means that drift is looked for in, unless asked otherwise.
DRIFT_DAYS, DRIFT_DAYS_MAX = 90, 366


class May(StrEnum):
    """Permissions of calibration."""

    READ = "cold_chain.read_calibrations"
    RECORD = "cold_chain.record_calibration"


class Point(Body):
    """At `reference_c` the probe read `deviation_c` too much, give or take `uncertainty_c` (°C)."""

    reference_c: Annotated[float, Field(ge=model.LIMIT_C_MIN, le=model.LIMIT_C_MAX, examples=[5.0])]
    deviation_c: Annotated[
        float,
        Field(ge=-calibration.DEVIATION_C_MAX, le=calibration.DEVIATION_C_MAX, examples=[0.3]),
    ]
    uncertainty_c: Annotated[float, Field(ge=0, le=calibration.DEVIATION_C_MAX, examples=[0.1])]


class CalibrationIn(Body):
    """A certificate of a probe. `since`: from when on it counts, by itself from its date on."""

    device_id: Annotated[Name, Field(examples=["dwk-log-1"])]
    channel: Annotated[str, Field(pattern=model.CHANNEL_PATTERN, examples=["t1"])]
    certificate_no: Annotated[Text, Field(examples=["RZ2026-03817"])]
    laboratory: Annotated[Text, Field(examples=["示例计量研究院"])]
    calibrated_on: Day
    since: Moment | None = None
    valid_until: Day
    points: Annotated[list[Point], Field(min_length=1, max_length=calibration.POINTS_MAX)]


class Calibration(CalibrationIn):
    """A recorded certificate, with its position in the ledger.

    `in_force`: no later one counts; `days_left` below 0: it is over.
    """

    since: datetime
    region_code: Region
    in_force: bool
    days_left: int
    recorded_at: datetime
    position: int


class Pair(Body):
    """By how much the first probe reads more than the second (°C), and its change in 30 days.

    `half_width_c`: to within which the change is known (95 %).
    """

    probes: Annotated[list[str], Field(min_length=2, max_length=2)]
    days: int
    mean_c: float
    change_c: float
    half_width_c: float
    drifting: bool


class Drifts(Body):
    """How the probes that stand in a unit differ, pair by pair, as they read, not corrected."""

    unit_id: Name
    since: datetime
    pairs: list[Pair]


Reader = Annotated[Principal, permission(May.READ, *STAFF, Role.VENDOR)]


@router.post("/calibrations", status_code=201, response_model=Receipt)
def record_calibration(
    body: CalibrationIn,
    who: Annotated[Principal, permission(May.RECORD, Role.CDC, Role.STEWARD)],
    call: CallOf,
) -> Response:
    """Record a probe's certificate: from its date on readings count corrected, also past ones."""
    device = state_of(call.deps.ledger, model.device_stream(body.device_id), model.evolve_device)
    if device is None:
        raise NotFound("unknown_device", device_id=body.device_id)
    region = who.require_region(device.region_code)
    fields = body.model_dump(exclude={"device_id", "points"})
    fields["points"] = [CalibrationPoint(**point.model_dump()) for point in body.points]
    channel = model.CHANNEL_ALIASES.get(body.channel, body.channel)
    return call.run(
        calibration.calibration_stream(body.device_id, channel),
        decide(
            calibration.evolve_calibrations,
            calibration.NONE,
            calibration.record_calibration,
            device=device,
            now=call.deps.clock.now(),
            **fields,
        ),
        location=f"{PREFIX}/calibrations?device_id={body.device_id}",
        meta=call.meta(region_code=region),
    )


@router.get("/calibrations", response_model=Items[Calibration])
def list_calibrations(
    *,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    device_id: NameAsked = None,
    due_before: Annotated[
        str | None,
        Query(
            pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            examples=["2027-01-01"],
            description="Only what is in force and ends before this day.",
        ),
    ] = None,
) -> Response:
    """List the certificates of the probes of the caller's region, by probe, the oldest first."""
    after_device, after_channel, after = page.after_key(str, str, int) or ("", "", 0)
    wanted = {
        "region": who.narrowed(region),
        "device_id": device_id,
        "due_before": _day(due_before),
        "after_device": after_device,
        "after_channel": after_channel,
        "after": after,
        "limit": page.limit + 1,
    }
    with deps.pool.connection() as conn, conn.cursor(row_factory=dict_row) as cur:
        rows = cur.execute(queries.page, wanted).fetchall()
    now = deps.clock.now()
    items = [row | {"days_left": calibration.days_left(row["valid_until"], now)} for row in rows]
    return page.answer(items, lambda item: [item["device_id"], item["channel"], item["position"]])


@router.get("/units/{unit_id}/drift", response_model=Drifts)
def read_drift(
    unit_id: NameInPath,
    who: Reader,
    deps: DepsOf,
    days: Annotated[int, Query(ge=7, le=DRIFT_DAYS_MAX)] = DRIFT_DAYS,
) -> Response:
    """Tell how the probes that stand in a unit differ by their means of each day."""
    unit = state_of(deps.ledger, model.unit_stream(unit_id), model.evolve_unit)
    if unit is None or not who.covers(unit.region_code):
        raise NotFound("unknown_unit")
    now = deps.clock.now()
    since = now - timedelta(days=days)
    pairs = list(_pairs(deps, unit_id, since, now))
    return json_answer({"unit_id": unit_id, "since": since, "pairs": pairs})


def _pairs(deps: Deps, unit_id: str, since: datetime, now: datetime) -> Iterator[dict[str, Any]]:
    channels = list(model.TEMPERATURE_CHANNELS)
    with deps.pool.connection() as conn:
        asked = {"unit_id": unit_id, "now": now, "channels": channels}
        probes = conn.execute(queries.probes, asked).fetchall()
        numbers = list({number for number, _, _ in probes})
        means: dict[int, dict[float, list[float]]] = {number: {} for number in numbers}
        for number, day, *of_day in conn.execute(
            queries.day_means, {"devices": numbers, "since": since}
        ):
            means[number][day] = [np.nan if each is None else each for each in of_day]
    days = sorted({day for of_device in means.values() for day in of_device})
    nothing = [np.nan] * len(channels)
    series = {
        f"{device_id}/{channel}": np.array(
            [means[number].get(day, nothing)[channels.index(channel)] for day in days]
        )
        for number, device_id, channel in probes
    }
    for (one, one_c), (other, other_c) in combinations(series.items(), 2):
        found = drift(np.array(days), one_c, other_c)
        if found is not None:
            yield {"probes": [one, other], **found._asdict()}


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise Invalid("bad_time", field="due_before", value=str(text)) from None
