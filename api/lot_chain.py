"""The chain of a lot over HTTP as scanned: which steps where, how many packs, first and last."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import psycopg
from fastapi import Path, Response
from pydantic import Field

from api import asof
from api.asof import AsOf, Position
from api.auth import Principal
from api.custody import Reader
from api.custody_scope import oversees
from api.deps import Deps, DepsOf
from api.quick import answered_by, quick_router
from api.routing import json_answer
from api.schemas import Body
from domain.shared.errors import NotFound
from domain.traceability.lots import LOT_PATTERN
from projections import traceability as read
from projections.shared import org_tree

router = quick_router("traceability")

Step = tuple[int, str, int, int, int]


class LotStep(Body):
    """One step of a lot at one place: `packs` of any level were scanned, from `first` to `last`."""

    step: str
    site_id: str
    packs: int
    first: datetime
    last: datetime


class LotChain(Body):
    """The steps of a lot by place, in order of their beginning."""

    lot_id: str
    steps: list[LotStep]
    as_of: str = Field(pattern=asof.POSITION_PATTERN)


def _lot_now(who: Principal, deps: Deps, path: Mapping[str, str]) -> Response | None:
    if not re.fullmatch(LOT_PATTERN, path["lot_id"]):
        return None
    with deps.pool.connection() as conn:
        return _lot_chain(who, conn, path["lot_id"])


@router.get("/lots/{lot_id}/chain", response_model=LotChain)
@answered_by(_lot_now)
def read_lot_chain(
    lot_id: Annotated[str, Path(pattern=LOT_PATTERN, examples=["8474354.A2026573"])],
    who: Reader,
    deps: DepsOf,
    as_of: AsOf = None,
) -> Response:
    """Return the steps of a lot by place; with bills, temperatures and stock: `/custody`."""
    with deps.pool.connection() as conn:
        at = None if as_of is None else asof.resolve(deps, conn, as_of)
        return _lot_chain(who, conn, lot_id, at)


def _lot_chain(
    who: Principal, conn: psycopg.Connection[Any], lot_id: str, at: Position | None = None
) -> Response:
    steps: Sequence[Step]
    if at is None:
        now = read.steps_now(conn, lot_id)
        at, steps = Position(now.ledger, now.telemetry), now.steps
    else:
        found = read.steps_of_lot(conn, lot_id, at.ledger)
        steps = [(int(s.step), s.site_id, s.packs, s.first_ms, s.last_ms) for s in found]
    if who.region_prefix:
        names = org_tree.names(conn, {step[1] for step in steps})
        steps = _seen(who, names, steps, lot_id)
    shown = {
        "lot_id": lot_id,
        "steps": [
            {
                "step": read.step_name(step),
                "site_id": site_id,
                "packs": packs,
                "first": read.time_of(first_ms),
                "last": read.time_of(last_ms),
            }
            for step, site_id, packs, first_ms, last_ms in steps
        ],
        "as_of": str(at),
    }
    return json_answer(shown, headers={"Vaxtrail-Position": str(at)})


def _seen(
    who: Principal, names: dict[str, org_tree.Name], steps: Sequence[Step], lot_id: str
) -> Sequence[Step]:
    """Return what the caller sees: all of a lot that was in its region, or the steps in it."""
    inside = [s for s in steps if s[1] in names and who.covers(names[s[1]].region)]
    if not inside:
        raise NotFound("unknown_lot", lot_id=lot_id)
    return steps if oversees(who) else inside
