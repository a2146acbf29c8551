"""The chain of a lot over HTTP as scanned: which steps where, how many packs, first and last.

A lot has thousands of steps: their lines are put together from columns, not from objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import numpy as np
import orjson
import psycopg
from fastapi import Path, Request, Response
from pydantic import Field

from api import asof
from api.asof import AsOf, Position
from api.auth import Principal
from api.custody import Reader
from api.custody_scope import oversees
from api.deps import Deps, DepsOf
from api.quick import answered_by, in_thread
from api.routing import json_answer, module_router
from api.schemas import Body
from domain.shared.errors import NotFound
from domain.traceability.lots import LOT_PATTERN
from projections import traceability as read
from projections.shared import org_tree

router = module_router("traceability")

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


async def _lot_now(request: Request, path: Mapping[str, str]) -> Response:
    return await in_thread(_asked, request.state.principal, request.app.state.deps, path["lot_id"])


def _fits(path: Mapping[str, str]) -> bool:
    return re.fullmatch(LOT_PATTERN, path["lot_id"]) is not None


@router.get("/lots/{lot_id}/chain", response_model=LotChain)
@answered_by(_lot_now, _fits)
def read_lot_chain(
    lot_id: Annotated[str, Path(pattern=LOT_PATTERN, examples=["8474354.A2026573"])],
    who: Reader,
    deps: DepsOf,
    as_of: AsOf = None,
) -> Response:
    """Return the steps of a lot by place; with bills, temperatures and stock: `/custody`."""
    return _asked(who, deps, lot_id, as_of)


def _asked(who: Principal, deps: Deps, lot_id: str, as_of: str | None = None) -> Response:
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
    shown = {"lot_id": lot_id, "steps": orjson.Fragment(lines(steps)), "as_of": str(at)}
    return json_answer(shown, headers={"Vaxtrail-Position": str(at)})


_TIMES = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z


def lines(steps: Sequence[Step]) -> bytes:
    """Return steps as JSON, the same bytes as of LotStep."""
    if not steps:
        return b"[]"
    numbers, sites, packs, first, last = zip(*steps, strict=True)
    times = orjson.dumps(np.array([*first, *last], "datetime64[ms]"), option=_TIMES)
    texts = times[2:-2].decode().split('","')
    names = {number: read.step_name(number) for number in set(numbers)}
    rows = zip(numbers, sites, packs, texts[: len(steps)], texts[len(steps) :], strict=True)
    return orjson.dumps(
        [
            {"step": names[step], "site_id": site_id, "packs": n, "first": began, "last": ended}
            for step, site_id, n, began, ended in rows
        ]
    )


def _seen(
    who: Principal, names: dict[str, org_tree.Name], steps: Sequence[Step], lot_id: str
) -> Sequence[Step]:
    """Return what the caller sees: all of a lot that was in its region, or the steps in it."""
    inside = [s for s in steps if s[1] in names and who.covers(names[s[1]].region)]
    if not inside:
        raise NotFound("unknown_lot", lot_id=lot_id)
    return steps if oversees(who) else inside
