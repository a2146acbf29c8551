"""Custody over HTTP: the chain of a code, the hops of a lot, stock by place; all with `as_of`.

Who is shown how much of a chain stands in `api/custody_scope.py`. Names are today's, whatever
`as_of` says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import psycopg
from fastapi import Path, Response
from pydantic import Field

from api import asof
from api.asof import AsOf, Position
from api.auth import STAFF, Principal, permission
from api.custody_scope import in_region, oversees, sees_code, shown_to, touches
from api.deps import Deps, DepsOf
from api.paging import PageOf
from api.quick import answered_by, quick_router
from api.routing import json_answer
from api.schemas import Body, NameAsked, RegionAsked
from domain.shared.errors import NotFound
from domain.traceability.codes import INPUT_LENGTH_MAX, canonical
from domain.traceability.custody import MOVING, State
from domain.traceability.hops import Hop
from domain.traceability.hops import StockLine as Line
from domain.traceability.lots import LOT_PATTERN
from projections import registry
from projections import traceability as read
from projections.shared import org_tree
from projections.shared.placements import TemperatureSummary, temperature_summary

router = quick_router("traceability")

MOVING_STEPS = frozenset(step.name.lower() for step in MOVING)
# After these nothing is kept in a cold unit any more: no temperatures belong to them.
LAST_STEPS = frozenset({"dispensing", "wasting", "sampling", "losing", "destroying"})
# Sites of one region; the whole country asks without naming them.
SITES_MAX = 100_000


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
    arrived_at: datetime | None = None
    ambient_c: float | None = None
    carrier: str = ""
    distributor: str = ""
    handed_over_by: str = ""
    taken_over_by: str = ""
    quantities: list[Quantity] | None = None
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


class LotHop(Body):
    """One step of a lot at one place; `packs` by level, `units` = smallest packs.

    `until`: when the last of them had gone on, null while some are there. `temperatures` are those
    of the cold unit from `first` to `until`.
    """

    step: str
    site_id: str
    to_site_id: str
    from_site_id: str
    bill_no: str
    unit_id: str
    first: datetime
    last: datetime
    until: datetime | None
    units: int
    packs: dict[str, int]
    device_id: str
    temperature_c: float | None
    transport_c_min: float | None
    transport_c_max: float | None
    accepted: bool
    fact_ids: list[str]
    positions: list[int]
    temperatures: Temperatures | None


class StockLine(Body):
    """What of one lot is at one place in one status."""

    site_id: str
    lot_id: str
    status: str
    units: int
    packs: dict[str, int]


class ReleasedLot(Body):
    """The release of a lot."""

    lot_id: str
    product_id: str
    lot_number: str
    produced_on: date | None
    expires_on: date
    lot_release_no: str
    quantity: int | None


class LotCustody(Body):
    """The chain of a lot hop by hop, and where it is; `lot` null when nobody released it."""

    lot_id: str
    lot: ReleasedLot | None
    hops: list[LotHop]
    stock: list[StockLine]
    sites: dict[str, PlaceName]
    units: dict[str, PlaceName]
    as_of: str = Field(pattern=asof.POSITION_PATTERN)


class Stock(Body):
    """A page of stock lines, and the position they were counted at."""

    items: list[StockLine]
    next: str | None
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


def _code_now(who: Principal, deps: Deps, path: Mapping[str, str]) -> Response | None:
    if len(path["code"]) > INPUT_LENGTH_MAX:
        return None
    with deps.pool.connection() as conn:
        return _code_custody(who, conn, canonical(path["code"]))


@router.get("/codes/{code:path}/custody", response_model=CodeCustody)
@answered_by(_code_now)
def read_code_custody(
    code: CodeInPath,
    who: Reader,
    deps: DepsOf,
    as_of: AsOf = None,
    temperatures: bool = False,
) -> Response:
    """Return the chain of one code, as known at a position or time."""
    text = canonical(code)
    with deps.pool.connection() as conn:
        at = None if as_of is None else asof.resolve(deps, conn, as_of)
        return _code_custody(who, conn, text, at, temperatures=temperatures)


def _code_custody(
    who: Principal,
    conn: psycopg.Connection[Any],
    code: str,
    at: Position | None = None,
    *,
    temperatures: bool = False,
) -> Response:
    if at is None:
        now = read.custody_now(conn, code)
        at, found = Position(now.ledger, now.telemetry), now.custody
        names = partial(org_tree.names_at, conn, now.names_version)
    else:
        found = read.custody_of_code(conn, code, at.ledger)
        names = partial(org_tree.names, conn)
    facts = (*found.chain, *found.withdrawn)
    sites = names(_named(facts, "site_id", "to_site_id", "from_site_id"))
    seen = any(touches(who, sites, fact) for fact in facts)
    if not seen or not sees_code(who, sites, found.chain):
        raise NotFound("unknown_code", code=code)
    summaries = _chain_temperatures(conn, found.chain, at) if temperatures else {}
    shown = {
        "code": found.code,
        "product_id": found.product_id,
        "parent": found.parent,
        "state": _state(found.state),
        "chain": [
            {**shown_to(who, sites, entry), **summaries.get(n, {})}
            for n, entry in enumerate(found.chain)
        ],
        "withdrawn": [shown_to(who, sites, fact) for fact in found.withdrawn],
        "sites": sites,
        "units": names(_named(found.chain, "unit_id", "vehicle_id"), "unit"),
        "as_of": str(at),
    }
    return json_answer(shown, headers={"Vaxtrail-Position": str(at)})


_TIMES = ("since", "opened", "use_by")
_STATE = [f.name for f in fields(State) if f.name not in {"parent", *(f"{t}_ms" for t in _TIMES)}]


def _state(state: State) -> dict[str, Any]:
    shown = {name: getattr(state, name) for name in _STATE}
    for name in _TIMES:
        ms = getattr(state, f"{name}_ms")
        shown[name] = None if ms is None else _time(ms)
    return shown


@router.get("/lots/{lot_id}/custody", response_model=LotCustody)
def read_lot_custody(
    lot_id: Annotated[str, Path(pattern=LOT_PATTERN, examples=["8474354.A2026573"])],
    who: Reader,
    deps: DepsOf,
    as_of: AsOf = None,
    temperatures: bool = True,
) -> Response:
    """Return the chain of a lot hop by hop with its temperatures, and its stock in the region."""
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, as_of)
        found = read.custody_of_lot(conn, lot_id, at.ledger)
        hops = [_hop(hop) for hop in found.hops]
        sites = _sites_of(conn, hops)
        inside = [hop for hop in hops if touches(who, sites, hop)]
        if who.region_prefix and not inside:
            raise NotFound("unknown_lot", lot_id=lot_id)
        if not oversees(who):
            hops = inside
            sites = _sites_of(conn, hops)
        units = org_tree.names(conn, _named(hops, "unit_id"), "unit")
        if temperatures:
            _add_temperatures(conn, hops, at)
    shown = {
        "lot_id": lot_id,
        "lot": found.lot,
        "hops": hops,
        "stock": [_line(line) for line in found.stock if in_region(who, sites, line.site_id)],
        "sites": sites,
        "units": units,
        "as_of": str(at),
    }
    return json_answer(shown, headers={"Vaxtrail-Position": str(at)})


@router.get("/stock", response_model=Stock)
def list_stock(
    *,
    who: Annotated[Principal, permission(May.READ_STOCK, *STAFF)],
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    site_id: NameAsked = None,
    as_of: AsOf = None,
) -> Response:
    """List stock by place, lot and status; goods on their way stand at the place they go to."""
    key = page.after_key(str, str, str) or ("", "", "")
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, as_of)
        sites = _stock_sites(conn, who.narrowed(region), site_id)
        lines = read.stock(conn, sites, at.ledger if as_of else None)
    rows = [line for line in lines if (line.site_id, line.lot_id, line.status) > key]
    return page.answer(
        [_line(row) for row in rows[: page.limit + 1]],
        lambda row: [row["site_id"], row["lot_id"], row["status"]],
        as_of=str(at),
    )


def _stock_sites(
    conn: psycopg.Connection[Any], prefix: str, site_id: str | None
) -> list[str] | None:
    """Return the sites to look at: those of the region, the one asked for, None = all."""
    if site_id is not None:
        found = org_tree.names(conn, [site_id])
        return [site for site, name in found.items() if name.region.startswith(prefix)]
    if not prefix:
        return None
    return [site.site_id for site in registry.sites(conn, region=prefix, limit=SITES_MAX)]


def _sites_of(
    conn: psycopg.Connection[Any], *lists: Sequence[Mapping[str, Any]]
) -> Mapping[str, org_tree.Name]:
    """Return the names of all registered sites in these lists."""
    ids: set[str] = set()
    for facts in lists:
        ids |= _named(facts, "site_id", "to_site_id", "from_site_id")
    return org_tree.names(conn, ids)


def _named(facts: Iterable[Mapping[str, Any]], *fields: str) -> set[str]:
    return {fact[field] for fact in facts for field in fields if fact.get(field)}


def _chain_temperatures(
    conn: psycopg.Connection[Any], chain: Sequence[Mapping[str, Any]], at: Position
) -> dict[int, dict[str, TemperatureSummary]]:
    """Return the summaries of the chain's stays in cold units, by place in the chain.

    A stay lasts until the next step that moves the code; the last steps begin none.
    """
    until = asof.known_until(conn, at)
    found: dict[int, dict[str, TemperatureSummary]] = {}
    for n in reversed(range(len(chain))):
        entry = chain[n]
        last = entry["step"] in LAST_STEPS
        unit_id = None if last else entry.get("vehicle_id") or entry.get("unit_id")
        if unit_id and until is not None and entry["occurred_at"] < until:
            summary = _summary(conn, unit_id, entry["occurred_at"], until, at)
            found[n] = {"temperatures": summary}
        if entry["step"] in MOVING_STEPS:
            until = entry["occurred_at"]
    return found


def _add_temperatures(
    conn: psycopg.Connection[Any], hops: Collection[dict[str, Any]], at: Position
) -> None:
    until = asof.known_until(conn, at)
    for hop in hops:
        end = hop["until"] or until
        if hop["unit_id"] and end is not None and hop["first"] < end:
            hop["temperatures"] = _summary(conn, hop["unit_id"], hop["first"], end, at)


def _summary(
    conn: psycopg.Connection[Any], unit_id: str, t0: datetime, t1: datetime, at: Position
) -> TemperatureSummary:
    return temperature_summary(conn, unit_id, t0, t1, ledger=at.ledger, telemetry=at.telemetry)


def _hop(hop: Hop) -> dict[str, Any]:
    shown = asdict(hop)
    for ours, theirs in (("first", "first_ms"), ("last", "last_ms"), ("until", "until_ms")):
        ms = shown.pop(theirs)
        shown[ours] = None if ms is None else _time(ms)
    return {
        **shown,
        "step": hop.step.name.lower(),
        "packs": {str(level): n for level, n in hop.packs.items()},
        "temperatures": None,
    }


def _line(line: Line) -> dict[str, Any]:
    return {**asdict(line), "packs": {str(level): n for level, n in line.packs.items()}}


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
