"""What is forecast of a unit over HTTP, how good that was so far, and its defrosts."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Query, Response
from psycopg.rows import dict_row
from pydantic import Field

from api.alert_shown import READERS
from api.auth import Principal, permission
from api.commands import state_of
from api.deps import DepsOf
from api.routing import json_answer, module_router
from api.rule_bodies import Side
from api.schemas import Body, Name, NameInPath
from domain.alerting.foresight import score
from domain.cold_chain import model
from domain.shared.errors import NotFound
from store.sql import load_queries

router = module_router("alerting")
queries = load_queries(FilePath(__file__).with_suffix(".sql"))

# Forecasts shown, and days that the score is of.
SHOWN_MAX, DAYS = 50, 90
_DEFROST = (
    *("device_id", "channel", "period_min", "last_at", "lasts_min", "peak_c", "matches"),
    "learnt_at",
)


class May(StrEnum):
    """Permissions of this file."""

    READ = "alerting.read_foresight"


class Forecast(Body):
    """When a probe was to pass a limit, as told then, and what came of it.

    `chance`: that it does within 30 minutes. 8 in 10 lie between `early_at` and `late_at` (null:
    perhaps never). `outcome` null: the half hour is not over.
    """

    device_id: Name
    channel: str
    made_at: datetime
    value_c: float
    limit_c: float
    side: Side
    chance: float
    eta_at: datetime
    early_at: datetime
    late_at: datetime | None
    method: Literal["line", "newton"]
    told: bool
    outcome: Literal["came", "not", "unknown"] | None
    came_at: datetime | None


class Score(Body):
    """How good `n` forecasts were. `brier`: 0 is perfect, 0.25 tossing a coin.

    `came`: the share that came true; `covered`: of these, that came within their interval.
    """

    n: int
    brier: float
    came: float
    covered: float | None


class Defrost(Body):
    """Short rises that come again and again: warnings in the next are muted, alarms never."""

    device_id: Name
    channel: str
    period_min: float
    last_at: datetime
    lasts_min: float
    peak_c: float
    matches: int
    learnt_at: datetime


class Foresight(Body):
    """The newest forecasts of a unit, their score since `since`, and its defrosts."""

    unit_id: Name
    since: datetime
    forecasts: Annotated[list[Forecast], Field(max_length=SHOWN_MAX)]
    score: Score | None
    defrosts: list[Defrost]


@router.get("/units/{unit_id}/foresight", response_model=Foresight)
def read_foresight(
    unit_id: NameInPath,
    who: Annotated[Principal, permission(May.READ, *READERS)],
    deps: DepsOf,
    days: Annotated[int, Query(ge=1, le=366)] = DAYS,
) -> Response:
    """Tell what was forecast of a unit, how good that was, and which defrosts it was seen to do."""
    unit = state_of(deps.ledger, model.unit_stream(unit_id), model.evolve_unit)
    if unit is None or not who.covers(unit.region_code):
        raise NotFound("unknown_unit")
    since = deps.clock.now() - timedelta(days=days)
    asked = {"unit_id": unit_id, "since": since, "limit": SHOWN_MAX}
    with deps.pool.connection() as conn:
        with conn.cursor(row_factory=dict_row) as cur:
            forecasts = cur.execute(queries.recent, asked).fetchall()
        settled = conn.execute(queries.settled, asked).fetchall()
        defrosts = conn.execute(queries.defrosts, asked).fetchall()
    columns: list[Any] = list(zip(*settled, strict=True)) or [(), (), ()]
    chance = np.array(columns[0], np.float64)
    came, covered = (np.array(column, np.bool_) for column in columns[1:])
    found = score(chance, came, covered)
    shown = {
        "unit_id": unit_id,
        "since": since,
        "forecasts": forecasts,
        "score": found and found._asdict(),
        "defrosts": [dict(zip(_DEFROST, row, strict=True)) for row in defrosts],
    }
    return json_answer(shown)
