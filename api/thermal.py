"""What temperatures a code, the contents of a pack or a whole lot went through, over HTTP.

Of now: computed from custody as it is shown and from readings up to the position in the answer.
What was read as of an earlier position: `temperatures` of `/codes/{code}/custody?as_of=`. Who sees
a code's chain sees its history; of a lot or a pack, who does not oversee sees the codes that were
last in its own region and were sent there, or were never elsewhere, each with its whole history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import numpy as np
import orjson
import psycopg
from fastapi import Path, Response
from pydantic import Field

from api import asof
from api.asof import Position
from api.auth import Principal
from api.custody import CodeInPath, Reader, named
from api.custody_scope import oversees, sees_code, touches
from api.deps import DepsOf
from api.routing import json_answer, module_router
from api.schemas import Body
from domain.shared.errors import NotFound
from domain.stability.exposure import COLD_C, FREEZING_C, WARM_C, Told, told
from domain.traceability.codes import canonical, code_key
from domain.traceability.lots import LOT_PATTERN
from projections import thermal
from projections import traceability as read
from projections.shared import org_tree
from projections.thermal import Exposures, Histories
from projections.traceability import stays as places

router = module_router("traceability")

# Decimals that an answer keeps: minutes and degrees, and shares of a heat budget.
DECIMALS, SHARE_DECIMALS = 6, 10
_NUMPY = orjson.OPT_SERIALIZE_NUMPY

Connection = psycopg.Connection[Any]
Columns = dict[str, Any]


class Exposure(Body):
    """What a stay or a life amounts to. Minutes, °C·minutes beyond a limit, °C.

    `freezing_min`: at or below `freezing_c`. `unknown_min`: no reading holds, which is in none of
    the others. `hi_c`, `lo_c`: the extreme beyond a limit, null where none was passed. `mkt_c`:
    mean kinetic temperature. `heat_budget`: estimated share that is used up, by VVM type; no
    reading of a monitor.
    """

    known_min: float
    unknown_min: float
    above_min: float
    below_min: float
    freezing_min: float
    above_c_min: float
    below_c_min: float
    hi_c: float | None
    lo_c: float | None
    mean_c: float | None
    mkt_c: float | None
    heat_budget: dict[str, float]


class ThermalStay(Exposure):
    """What a code went through in one unit or vehicle; an empty one: nobody said which."""

    site_id: str
    unit_id: str
    since: datetime
    until: datetime


class Limits(Body):
    """What time is counted beyond: both inclusive, whatever the product's own."""

    low_c: float
    high_c: float
    freezing_c: float


class CodeThermal(Body):
    """The stays of a code with what each amounts to, and its whole life until used up or now."""

    code: str
    limits: Limits
    stays: list[ThermalStay]
    whole: Exposure
    as_of: str = Field(pattern=asof.POSITION_PATTERN)


class CodesThermal(Body):
    """What many codes went through: a column a quantity, in the order of `codes`.

    `since`, `until`: UTC milliseconds. `worst`: the greatest of each column (`lo_c`: the least).
    """

    codes: list[str]
    limits: Limits
    since: list[int]
    until: list[int]
    known_min: list[float]
    unknown_min: list[float]
    above_min: list[float]
    below_min: list[float]
    freezing_min: list[float]
    above_c_min: list[float]
    below_c_min: list[float]
    hi_c: list[float | None]
    lo_c: list[float | None]
    mean_c: list[float | None]
    mkt_c: list[float | None]
    heat_budget: dict[str, list[float]]
    worst: Exposure | None
    as_of: str = Field(pattern=asof.POSITION_PATTERN)


LIMITS = {"low_c": COLD_C, "high_c": WARM_C, "freezing_c": FREEZING_C}


@router.get("/codes/{code}/thermal", response_model=CodeThermal)
def read_code_thermal(code: CodeInPath, who: Reader, deps: DepsOf) -> Response:
    """Return the temperatures that a code, or a pack as such, went through, stay by stay."""
    text = canonical(code)
    with deps.pool.connection() as conn, thermal.one_moment(conn) as (telemetry, until_ms):
        now = read.custody_now(conn, text)
        told_of = (*now.custody.chain, *now.custody.withdrawn)
        sites = org_tree.names_at(
            conn, now.names_version, named(told_of, "site_id", "to_site_id", "from_site_id")
        )
        seen = any(touches(who, sites, fact) for fact in told_of)
        if not seen or not sees_code(who, sites, now.custody.chain):
            raise NotFound("unknown_code", code=text)
        found = places.stays_of_code(conn, text)
        chosen, spans = thermal.of_one(found.presence, until_ms)
        exposed = thermal.exposures(conn, found.units[1:], spans)
    lasted = spans.t1 - spans.t0
    rows = _rows(_columns(exposed, lasted))
    stays = [
        {
            "site_id": found.sites[found.presence.site[n]],
            "unit_id": found.units[found.presence.unit[n]],
            "since": read.time_of(t0),
            "until": read.time_of(t1),
            **row,
        }
        for n, t0, t1, row in zip(
            chosen.tolist(), spans.t0.tolist(), spans.t1.tolist(), rows, strict=True
        )
    ]
    life = np.array([spans.t1[-1] - spans.t0[0] if stays else 0])
    shown = {
        "code": text,
        "limits": LIMITS,
        "stays": stays,
        "whole": _rows(_columns(_together(exposed), life))[0],
    }
    return _answer(shown, Position(now.ledger, telemetry))


@router.get("/packs/{code}/thermal", response_model=CodesThermal)
def read_pack_thermal(code: CodeInPath, who: Reader, deps: DepsOf) -> Response:
    """Return the temperatures that each smallest pack in a pack went through."""
    text = canonical(code)
    with deps.pool.connection() as conn, thermal.one_moment(conn) as (telemetry, until_ms):
        at = Position(asof.shown_now(conn).ledger, telemetry)
        parts = [
            _seen(conn, who, found, until_ms)
            for found in places.stays_of_pack(conn, code_key(text))
        ]
        shown = _codes_shown(conn, parts)
    if not shown["codes"]:
        raise NotFound("unknown_code", code=text)
    return _answer(shown, at)


@router.get("/lots/{lot_id}/thermal", response_model=CodesThermal)
def read_lot_thermal(
    lot_id: Annotated[str, Path(pattern=LOT_PATTERN, examples=["8474354.A2026573"])],
    who: Reader,
    deps: DepsOf,
) -> Response:
    """Return the temperatures that each smallest pack of a lot went through."""
    with deps.pool.connection() as conn, thermal.one_moment(conn) as (telemetry, until_ms):
        at = Position(asof.shown_now(conn).ledger, telemetry)
        found = places.stays_of_lot(conn, lot_id)
        shown = _codes_shown(conn, [_seen(conn, who, found, until_ms)])
        if not shown["codes"] and (who.region_prefix or not places.lot_known(conn, lot_id)):
            raise NotFound("unknown_lot", lot_id=lot_id)
    return _answer(shown, at)


_Part = tuple[Any, Histories]  # keys of codes, an array


def _seen(conn: Connection, who: Principal, found: places.Stays, until_ms: int) -> _Part:
    """Return keys and histories of the codes that the caller sees."""
    presence = found.presence
    if who.region_prefix:
        names = org_tree.names(conn, set(found.sites))
        inside = np.array([s in names and who.covers(names[s].region) for s in found.sites])
        if not oversees(who):
            known = np.array([s in names for s in found.sites])
            presence = thermal.chosen(presence, _handed(found, inside, known))
        elif not inside[presence.site].any():
            presence = thermal.chosen(presence, np.zeros(presence.code.size, np.bool_))
    histories = thermal.histories(conn, presence, found.units, until_ms)
    return found.keys[presence.code], histories


def _handed(found: places.Stays, inside: Any, known: Any) -> Any:
    """Tell which codes are with the caller in earnest, as for chains (`api/custody_scope.py`).

    `inside`, `known`: which sites are in its region, and which are registered.
    """
    presence = found.presence
    senders = found.senders[presence.since]
    sent = inside[presence.site] & known[senders] & ~inside[senders]
    groups = int(presence.of_group.max(initial=-1)) + 1
    here = np.zeros(groups, np.bool_)
    here[presence.group[sent]] = True
    elsewhere = np.zeros(groups, np.bool_)
    elsewhere[presence.group[~inside[presence.site]]] = True
    mine = (here | ~elsewhere)[presence.of_group]
    return mine & inside[thermal.last_sites(presence)]


def _codes_shown(conn: Connection, parts: Sequence[_Part]) -> dict[str, Any]:
    """Return the columns of some codes as they are answered."""
    keys = np.concatenate([np.empty(0, np.int64), *(keys for keys, _ in parts)])
    histories = [each for _, each in parts]
    exposed = Exposures(
        np.concatenate(
            [np.empty((thermal.QUANTITIES, 0)), *(h.exposed.sums for h in histories)], axis=1
        ),
        *(
            np.concatenate([np.empty(0), *(getattr(h.exposed, name) for h in histories)])
            for name in ("hi", "lo")
        ),
    )
    begin, end = (
        np.concatenate([np.empty(0, np.int64), *(getattr(h, name) for h in histories)])
        for name in ("begin", "end")
    )
    columns = _columns(exposed, end - begin)
    budgets = columns["heat_budget"]
    shown = {name: _fragment(v) for name, v in columns.items() if name != "heat_budget"}
    return {
        "codes": places.texts_of(conn, keys),
        "limits": LIMITS,
        "since": _fragment(begin),
        "until": _fragment(end),
        **shown,
        "heat_budget": {kind: _fragment(column) for kind, column in budgets.items()},
        "worst": _worst(columns) if keys.size else None,
    }


def _columns(exposed: Exposures, lasted_ms: Any) -> Columns:
    """Return what histories amount to, a column a field of `Exposure`."""
    found: Told = told(exposed.sums, lasted_ms)
    columns: Columns = {
        name: np.round(value, DECIMALS)
        for name, value in found._asdict().items()
        if name != "heat_budget"
    }
    columns["hi_c"], columns["lo_c"] = exposed.hi, exposed.lo
    columns["heat_budget"] = {
        kind.value: np.round(share, SHARE_DECIMALS) for kind, share in found.heat_budget.items()
    }
    return columns


def _rows(columns: Columns) -> list[dict[str, Any]]:
    """Return columns as a mapping a history; nothing is null where nothing is known."""
    plain = {
        name: [None if v != v else v for v in column.tolist()]  # noqa: PLR0124  # NaN alone differs
        for name, column in columns.items()
        if name != "heat_budget"
    }
    budgets = {kind: column.tolist() for kind, column in columns["heat_budget"].items()}
    return [
        {
            **{name: column[n] for name, column in plain.items()},
            "heat_budget": {kind: column[n] for kind, column in budgets.items()},
        }
        for n in range(len(plain["known_min"]))
    ]


def _worst(columns: Columns) -> dict[str, Any]:
    """Return the greatest of each column, of `lo_c` the least; null where nothing is known."""

    def greatest(name: str, column: Any) -> float | None:
        known = column[~np.isnan(column)]
        if not known.size:
            return None
        return float(known.min() if name == "lo_c" else known.max())

    budgets: Mapping[str, Any] = columns["heat_budget"]
    return {
        **{name: greatest(name, v) for name, v in columns.items() if name != "heat_budget"},
        "heat_budget": {kind: greatest(kind, column) for kind, column in budgets.items()},
    }


def _together(exposed: Exposures) -> Exposures:
    """Return the stays of one code as one history."""
    hi, lo = exposed.hi[~np.isnan(exposed.hi)], exposed.lo[~np.isnan(exposed.lo)]
    return Exposures(
        exposed.sums.sum(axis=1, keepdims=True),
        np.array([hi.max() if hi.size else np.nan]),
        np.array([lo.min() if lo.size else np.nan]),
    )


def _fragment(column: Any) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(np.ascontiguousarray(column), option=_NUMPY))


def _answer(shown: dict[str, Any], at: Position) -> Response:
    return json_answer({**shown, "as_of": str(at)}, headers={"Vaxtrail-Position": str(at)})
