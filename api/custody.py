"""The chain of a code over HTTP, with `as_of`; lots and stock: `api/lot_custody.py`.

Who is shown how much of a chain stands in `api/custody_scope.py`. Names are today's, whatever
`as_of` says. As it is now, a chain is asked for and answered in the event loop, where its shape is
known; else, and for all else, in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import psycopg
from fastapi import Path, Request, Response
from pydantic import Field

from api import asof
from api.asof import AsOf, Position
from api.auth import STAFF, Principal, permission
from api.custody_scope import sees_code, shown_to, touches
from api.deps import Deps, DepsOf
from api.quick import answered_by, in_thread
from api.routing import json_answer, module_router
from api.schemas import Body
from domain.shared.errors import NotFound
from domain.traceability.codes import INPUT_LENGTH_MAX, canonical
from domain.traceability.custody import MOVING, State
from projections import traceability as read
from projections.shared import org_tree
from projections.shared.placements import Span, TemperatureSummary, temperature_summaries

router = module_router("traceability")

Names = Mapping[str, org_tree.Name]
MOVING_STEPS = frozenset(step.name.lower() for step in MOVING)
# After these nothing is kept in a cold unit any more: no temperatures belong to them.
LAST_STEPS = frozenset({"dispensing", "wasting", "sampling", "losing", "destroying"})


class May(StrEnum):
    """Permissions of custody."""

    READ = "traceability.read_custody"
    READ_STOCK = "traceability.read_stock"


class PlaceName(Body):
    """What a site or a unit is called, today, and where it is."""

    zh: str
    en: str
    region: str
    latitude: float | None
    longitude: float | None


class Temperatures(Body):
    """What the probes of a unit read in a span of time; minutes outside the unit's limits."""

    n: int
    temperature_c_min: float | None
    temperature_c_max: float | None
    mean_c: float | None
    above_min: float | None
    below_min: float | None
    unknown_min: float


class Quantity(Body):
    """Packs of one level: how many were due, and how many there are."""

    level: int
    due: int
    actual: int
    reason: str


class Fact(Body):
    """Something that happened to the code or to its pack; what nobody stated is left out."""

    fact_id: str
    position: int
    step: str
    occurred_at: datetime
    recorded_at: datetime
    site_id: str = ""
    to_site_id: str = ""
    from_site_id: str = ""
    unit_id: str = ""
    vehicle_id: str = ""
    device_id: str = ""
    bill_no: str = ""
    bill_type: str = ""
    lot_id: str = ""
    level: int | None = None
    temperature_c: float | None = None
    transport_c_min: float | None = None
    transport_c_max: float | None = None
    accepted: bool = True
    recall: bool | None = None
    units: int | None = None
    doses: int | None = None
    dose_number: int | None = None
    recipient: str = ""
    vaccinator: str = ""
    executed_by: str = ""
    supervised_by: str = ""
    reason: str = ""
    expires_on: date | None = None
    departed_at: datetime | None = None
    departed_c: float | None = None
    expected_at: datetime | None = None
    arrived_at: datetime | None = None
    ambient_c: float | None = None
    carrier: str = ""
    distributor: str = ""
    handed_over_by: str = ""
    taken_over_by: str = ""
    quantities: list[Quantity] | None = None
    book_position: int | None = None
    complete: bool | None = None
    shelf: str = ""
    body_site: str = ""
    route: str = ""
    series_dose: int | None = None
    series_doses: int | None = None
    dose_ml: float | None = None
    funding: str = ""
    opened: bool | None = None
    cause: str = ""
    stolen: bool | None = None
    recall_id: str = ""
    recall_class: str = ""
    issued_by: str = ""
    notice_no: str = ""
    decision_no: str = ""
    manual: bool | None = None


class Entry(Fact):
    """A fact in a chain; `via` is the code that was scanned, `inherited` when that was a pack."""

    via: str
    inherited: bool
    flags: list[str]  # what was wrong when it happened
    temperatures: Temperatures | None = None


class Withdrawn(Fact):
    """A fact that was declared wrong."""

    declared_at: datetime
    withdrawal_reason: str
    corrective_fact_ids: list[str]


class CodeState(Body):
    """Where a code is and what may be done with it."""

    status: str
    site_id: str
    unit_id: str
    lot_id: str
    doses_given: int
    doses_wasted: int
    doses_left: int | None  # null: not known, or a pack
    opened: datetime | None
    use_by: datetime | None  # until when an opened vial may be used
    held: bool
    recalled: bool
    condemned: bool
    since: datetime | None
    flags: list[str]


class CodeCustody(Body):
    """The chain of one code, oldest fact first."""

    code: str
    product_id: str
    parent: str
    state: CodeState
    chain: list[Entry]
    withdrawn: list[Withdrawn]
    sites: dict[str, PlaceName]
    units: dict[str, PlaceName]
    as_of: str = Field(pattern=asof.POSITION_PATTERN)


Reader = Annotated[Principal, permission(May.READ, *STAFF)]
CodeInPath = Annotated[
    str,
    Path(
        min_length=1,
        max_length=INPUT_LENGTH_MAX,
        examples=["84743540181360010008"],
        description="20 digits beginning with 8, or a GS1 code in any form a scanner gives.",
    ),
]


async def _code_now(request: Request, path: Mapping[str, str]) -> Response:
    who: Principal = request.state.principal
    deps: Deps = request.app.state.deps
    code = canonical(path["code"])
    try:
        rows = await read.chain_rows(request.app.state.chains, code)
    except psycopg.Error:
        rows = None  # the thread's way asks on another connection, or says what is wrong
    now = None if rows is None else read.known_now(code, rows)
    if now is not None:
        found, version = now.custody, now.names_version
        sites = org_tree.names_known(version, _sites(found))
        units = org_tree.names_known(version, _units(found), "unit")
        if sites is not None and units is not None:
            at = Position(now.ledger, now.telemetry)
            return _answer(who, found, at, sites=sites, units=units)
    return await in_thread(_asked, who, deps, code)


def _fits(path: Mapping[str, str]) -> bool:
    return 0 < len(path["code"]) <= INPUT_LENGTH_MAX


@router.get("/codes/{code:path}/custody", response_model=CodeCustody)
@answered_by(_code_now, _fits)
def read_code_custody(
    code: CodeInPath,
    who: Reader,
    deps: DepsOf,
    as_of: AsOf = None,
    temperatures: bool = False,
) -> Response:
    """Return the chain of one code, as known at a position or time."""
    return _asked(who, deps, canonical(code), as_of, temperatures=temperatures)


def _asked(
    who: Principal,
    deps: Deps,
    code: str,
    as_of: str | None = None,
    *,
    temperatures: bool = False,
) -> Response:
    with deps.pool.connection() as conn:
        if as_of is None:
            now = read.custody_now(conn, code)
            at, found = Position(now.ledger, now.telemetry), now.custody
            names = partial(org_tree.names_at, conn, now.names_version)
        else:
            at = asof.resolve(deps, conn, as_of)
            found = read.custody_of_code(conn, code, at.ledger)
            names = partial(org_tree.names, conn)
        sites, units = names(_sites(found)), names(_units(found), "unit")
        readings = conn if temperatures else None
        return _answer(who, found, at, sites=sites, units=units, readings=readings)


def _sites(found: read.CodeCustody) -> set[str]:
    return named((*found.chain, *found.withdrawn), "site_id", "to_site_id", "from_site_id")


def _units(found: read.CodeCustody) -> set[str]:
    return named(found.chain, "unit_id", "vehicle_id")


def _answer(
    who: Principal,
    found: read.CodeCustody,
    at: Position,
    *,
    sites: Names,
    units: Names,
    readings: psycopg.Connection[Any] | None = None,
) -> Response:
    """Return the answer, with temperatures where a connection to read them is given."""
    seen = any(touches(who, sites, fact) for fact in (*found.chain, *found.withdrawn))
    if not seen or not sees_code(who, sites, found.chain):
        raise NotFound("unknown_code", code=found.code)
    chain = [shown_to(who, sites, entry) for entry in found.chain]
    if readings is not None:
        read_in = _chain_temperatures(readings, found.chain, at)
        chain = [
            {**entry, "temperatures": read_in[n]} if n in read_in else entry
            for n, entry in enumerate(chain)
        ]
    shown = {
        "code": found.code,
        "product_id": found.product_id,
        "parent": found.parent,
        "state": _state(found.state),
        "chain": chain,
        "withdrawn": [shown_to(who, sites, fact) for fact in found.withdrawn],
        "sites": sites,
        "units": units,
        "as_of": str(at),
    }
    return json_answer(shown, headers={"Vaxtrail-Position": str(at)})


_TIMES = ("since", "opened", "use_by")
_STATE = [f.name for f in fields(State) if f.name not in {"parent", *(f"{t}_ms" for t in _TIMES)}]


def _state(state: State) -> dict[str, Any]:
    shown = {name: getattr(state, name) for name in _STATE}
    for name in _TIMES:
        ms = getattr(state, f"{name}_ms")
        shown[name] = None if ms is None else read.time_of(ms)
    return shown


def named(facts: Iterable[Mapping[str, Any]], *fields: str) -> set[str]:
    """Return what facts name in these fields."""
    return {name for fact in facts for field in fields if (name := fact.get(field))}


def _chain_temperatures(
    conn: psycopg.Connection[Any], chain: Sequence[Mapping[str, Any]], at: Position
) -> dict[int, TemperatureSummary]:
    """Return the summaries of the chain's stays in cold units, by place in the chain.

    A stay lasts until the next step that moves the code; the last steps begin none.
    """
    until = asof.known_until(conn, at)
    spans: dict[int, Span] = {}
    for n in reversed(range(len(chain))):
        entry = chain[n]
        last = entry["step"] in LAST_STEPS
        unit_id = None if last else entry.get("vehicle_id") or entry.get("unit_id")
        if unit_id and until is not None and entry["occurred_at"] < until:
            spans[n] = Span(unit_id, entry["occurred_at"], until)
        if entry["step"] in MOVING_STEPS:
            until = entry["occurred_at"]
    return summaries(conn, spans, at)


def summaries(
    conn: psycopg.Connection[Any], spans: Mapping[int, Span], at: Position
) -> dict[int, TemperatureSummary]:
    """Return what the probes of units read in some times, as known at a position."""
    asked = list(spans.values())
    found = temperature_summaries(conn, asked, ledger=at.ledger, telemetry=at.telemetry)
    return dict(zip(spans, found, strict=True))
