"""What temperatures a code, the contents of a pack or a whole lot went through, over HTTP.

Computed from custody as it is shown and from readings up to the position in the answer; of one code
also as of an earlier one, out of the rows of readings. Who sees
a code's chain sees its history; of a lot or a pack, who does not oversee sees the codes that were
last in its own region and were sent there, or were never elsewhere, each with its whole history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import orjson
import psycopg
from fastapi import Path, Response
from pydantic import Field

from api import asof
from api.asof import AsOf, Position
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


# How several probes in one unit are counted, in every answer.
PROBES = "each_worst_means_of_warmest"


class _Answer(Body):
    """What every answer tells beside.

    `probes`: where several stood in one unit, each sum is that of the probe with most of it, and
    `mean_c` and `mkt_c` are of the one that took most heat. `complete`: the sums are exactly those
    of the readings at `as_of`; false while these are being caught up with.
    """

    probes: Literal["each_worst_means_of_warmest"]
    complete: bool
    as_of: str = Field(pattern=asof.POSITION_PATTERN)


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


class CodeThermal(_Answer):
    """The stays of a code with what each amounts to, and its whole life until used up or now."""

    code: str
    limits: Limits
    stays: list[ThermalStay]
    whole: Exposure


class CodesThermal(_Answer):
    """What many codes went through: a column a quantity, in the order of `codes`.

    `since`, `until`: UTC milliseconds, null where nobody knows where a code was. `worst`: the
    greatest of each column (`lo_c`: the least).
    """

    codes: list[str]
    limits: Limits
    since: list[int | None]
    until: list[int | None]
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


LIMITS = {"low_c": COLD_C, "high_c": WARM_C, "freezing_c": FREEZING_C}


@router.get("/codes/{code}/thermal", response_model=CodeThermal)
def read_code_thermal(code: CodeInPath, who: Reader, deps: DepsOf, as_of: AsOf = None) -> Response:
    """Return the temperatures that a code, or a pack as such, went through, stay by stay."""
    text = canonical(code)
    with deps.pool.connection() as conn:
        if as_of is None:
            return _code_now(conn, who, text)
        return _code_then(conn, who, text, asof.resolve(deps, conn, as_of))


def _code_now(conn: Connection, who: Principal, code: str) -> Response:
    with thermal.one_moment(conn) as moment:
        now = read.custody_now(conn, code)
        _refuse_unseen(who, now.custody, partial(org_tree.names_at, conn, now.names_version))
        found = places.stays_of_code(conn, code)
        chosen, spans = thermal.of_one(found.presence, moment.until_ms)
        exposed = thermal.exposures(conn, found.units[1:], spans)
    shown = _code_shown(code, found, chosen, spans, exposed)
    return _answer(shown, Position(now.ledger, moment.position), complete=moment.complete)


def _code_then(conn: Connection, who: Principal, code: str, at: Position) -> Response:
    _refuse_unseen(who, read.custody_of_code(conn, code, at.ledger), partial(org_tree.names, conn))
    found = places.stays_of_code(conn, code, at.ledger)
    known = asof.known_until(conn, at)
    until_ms = 0 if known is None else round(known.timestamp() * 1000)
    chosen, spans = thermal.of_one(found.presence, until_ms)
    units = found.units[1:]
    exposed = thermal.exposures_of_rows(
        conn, units, spans, ledger=at.ledger, telemetry=at.telemetry
    )
    return _answer(_code_shown(code, found, chosen, spans, exposed), at, complete=True)


def _refuse_unseen(
    who: Principal,
    custody: read.CodeCustody,
    names: Callable[[set[str]], Mapping[str, org_tree.Name]],
) -> None:
    """NotFound("unknown_code") where a code is none of the caller's business."""
    told_of = (*custody.chain, *custody.withdrawn)
    sites = names(named(told_of, "site_id", "to_site_id", "from_site_id"))
    seen = any(touches(who, sites, fact) for fact in told_of)
    if not seen or not sees_code(who, sites, custody.chain):
        raise NotFound("unknown_code", code=custody.code)


def _code_shown(
    code: str, found: places.Stays, chosen: Any, spans: thermal.Spans, exposed: Exposures
) -> dict[str, Any]:
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
    whole = _rows(_columns(_together(exposed), life))[0]
    return {"code": code, "limits": LIMITS, "stays": stays, "whole": whole}


@router.get("/packs/{code}/thermal", response_model=CodesThermal)
def read_pack_thermal(code: CodeInPath, who: Reader, deps: DepsOf) -> Response:
    """Return the temperatures that each smallest pack in a pack went through."""
    text = canonical(code)
    with deps.pool.connection() as conn, thermal.one_moment(conn) as moment:
        at = Position(asof.shown_now(conn).ledger, moment.position)
        parts = [
            _seen(conn, who, found, moment.until_ms)
            for found in places.stays_of_pack(conn, code_key(text))
        ]
        shown = _codes_shown(conn, parts)
    if not shown["codes"]:
        raise NotFound("unknown_code", code=text)
    return _answer(shown, at, complete=moment.complete)


@router.get("/lots/{lot_id}/thermal", response_model=CodesThermal)
def read_lot_thermal(
    lot_id: Annotated[str, Path(pattern=LOT_PATTERN, examples=["8474354.A2026573"])],
    who: Reader,
    deps: DepsOf,
) -> Response:
    """Return the temperatures that each smallest pack of a lot went through."""
    with deps.pool.connection() as conn, thermal.one_moment(conn) as moment:
        at = Position(asof.shown_now(conn).ledger, moment.position)
        found = places.stays_of_lot(conn, lot_id)
        shown = _codes_shown(conn, [_seen(conn, who, found, moment.until_ms)])
        if not shown["codes"] and (who.region_prefix or not places.lot_known(conn, lot_id)):
            raise NotFound("unknown_lot", lot_id=lot_id)
    return _answer(shown, at, complete=moment.complete)


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
        np.concatenate([np.empty((thermal.SUMS, 0)), *(h.exposed.sums for h in histories)], axis=1),
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
        "since": _times(begin),
        "until": _times(end),
        **shown,
        "heat_budget": {kind: _fragment(column) for kind, column in budgets.items()},
        "worst": _worst(columns) if keys.size else None,
    }


def _times(ms: Any) -> Any:
    """Return a column of times; null where nobody knows where a code was."""
    return _fragment(ms) if ms.all() else [each or None for each in ms.tolist()]


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


def _answer(shown: dict[str, Any], at: Position, *, complete: bool) -> Response:
    told_beside = {"probes": PROBES, "complete": complete, "as_of": str(at)}
    return json_answer({**shown, **told_beside}, headers={"Vaxtrail-Position": str(at)})
