"""The clock and the positions of the logs: routes that belong to no module."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, LiteralString

import psycopg
from fastapi import Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api import asof
from api.auth import Principal, permission
from api.deps import DepsOf
from api.routing import json_answer, module_router
from domain.shared.clock import Clock
from domain.shared.errors import Invalid
from domain.shared.roles import Role
from domain.traceability.facts import STEP_OF
from store.sql import load_queries

# Beyond it arithmetic with times leaves the calendar.
CLOCK_MAX = datetime(2200, 1, 1, tzinfo=UTC)
# Seconds that a step of the clock waits for the timers due by then.
TICK_WAIT_S = 5.0
# More rows are not counted but estimated: it takes a tenth of a second a million.
COUNTED_MAX = 1_000_000

_SQL = load_queries(Path(__file__).with_suffix(".sql"))

router = module_router("system")


class May(StrEnum):
    """Permissions of this file."""

    READ = "system.read"
    MOVE_CLOCK = "system.move_clock"
    COUNT = "system.count"


class ClockOut(BaseModel):
    """The instance's time; `ticked` is the moment up to which all timers have been handled."""

    model_config = ConfigDict(extra="forbid")

    now: datetime
    stepped: bool
    ticked: datetime


class ClockIn(BaseModel):
    """Where a stepped clock is moved to."""

    model_config = ConfigDict(extra="forbid")

    now: AwareDatetime = Field(examples=["2026-11-22T08:00:00Z"])


class PositionOut(BaseModel):
    """Where the logs stand (`position`) and what the read models show (`followed`)."""

    model_config = ConfigDict(extra="forbid")

    position: str = Field(pattern=asof.POSITION_PATTERN)
    followed: str = Field(pattern=asof.POSITION_PATTERN)


class StatisticsOut(BaseModel):
    """What the instance holds: rows of readings, and facts about codes whatever way they came.

    Numbers below a million are exact; with a larger one `about` is true: the server's estimate.
    """

    model_config = ConfigDict(extra="forbid")

    readings_stored: int = Field(ge=0)
    scans_stored: int = Field(ge=0)
    about: bool


@router.get("/position", response_model=PositionOut)
def read_position(
    _who: Annotated[Principal, permission(May.READ, *Role)], deps: DepsOf
) -> Response:
    """Return where the logs stand."""
    last = asof.last(deps)
    followed = asof.Position(min(asof.followed(deps), last.ledger), last.telemetry)
    return json_answer({"position": str(last), "followed": str(followed)})


@router.get("/statistics", response_model=StatisticsOut)
def read_statistics(_who: Annotated[Principal, permission(May.COUNT)], deps: DepsOf) -> Response:
    """Return how many readings and scans are stored: exactly while they are few."""
    topics = sorted(cls.TOPIC for cls in STEP_OF)
    with deps.pool.connection() as conn:
        readings, about = _rows(conn, _SQL.readings_planned, _SQL.readings, ())
        scans, also = _rows(conn, _SQL.scans_planned, _SQL.scans, (topics,))
    return json_answer({"readings_stored": readings, "scans_stored": scans, "about": about or also})


@router.get("/clock", response_model=ClockOut)
def read_clock(_who: Annotated[Principal, permission(May.READ, *Role)], deps: DepsOf) -> Response:
    """Return the instance's time."""
    return _shown(deps.clock)


@router.post("/clock", response_model=ClockOut)
def move_clock(
    body: ClockIn, _who: Annotated[Principal, permission(May.MOVE_CLOCK)], deps: DepsOf
) -> Response:
    """Move a stepped clock forward and wait until all timers due by then have been handled."""
    if body.now > CLOCK_MAX:
        raise Invalid("bad_time", field="now", value=body.now.isoformat())
    deps.clock.set(body.now)
    until = time.monotonic() + TICK_WAIT_S
    while deps.clock.last_tick() < body.now and time.monotonic() < until:
        time.sleep(0.002)
    return _shown(deps.clock)


def _rows(
    conn: psycopg.Connection[Any],
    planned: LiteralString,
    counted: LiteralString,
    params: tuple[Any, ...],
) -> tuple[int, bool]:
    """Return how many rows there are, and whether that is an estimate: the planner's."""
    ((plan,),) = conn.execute(planned, params).fetchall()
    about = int(plan[0]["Plan"]["Plan Rows"])
    if about > COUNTED_MAX:
        return about, True
    ((rows,),) = conn.execute(counted, params).fetchall()
    return int(rows), False


def _shown(clock: Clock) -> Response:
    return json_answer({"now": clock.now(), "stepped": clock.stepped, "ticked": clock.last_tick()})
