"""The chain of a lot hop by hop over HTTP, and stock by place; both with `as_of`.

Who is shown how much stands in `api/custody_scope.py`. Names are today's, whatever `as_of` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated, Any

import psycopg
from fastapi import Path, Response
from pydantic import Field

from api import asof
from api.asof import AsOf, Position
from api.auth import STAFF, Principal, permission
from api.custody import May, PlaceName, Reader, Temperatures, named, summaries
from api.custody_scope import in_region, oversees, touches
from api.deps import DepsOf
from api.paging import PageOf
from api.routing import json_answer, module_router
from api.schemas import Body, NameAsked, RegionAsked
from domain.shared.errors import NotFound
from domain.traceability.hops import Hop
from domain.traceability.hops import StockLine as Line
from domain.traceability.lots import LOT_PATTERN
from projections import registry
from projections import traceability as read
from projections.shared import org_tree
from projections.shared.placements import Span

router = module_router("traceability")

# Sites of one region; the whole country asks without naming them.
SITES_MAX = 100_000


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
        units = org_tree.names(conn, named(hops, "unit_id"), "unit")
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
        ids |= named(facts, "site_id", "to_site_id", "from_site_id")
    return org_tree.names(conn, ids)


def _add_temperatures(
    conn: psycopg.Connection[Any], hops: Sequence[dict[str, Any]], at: Position
) -> None:
    until = asof.known_until(conn, at)
    spans: dict[int, Span] = {}
    for n, hop in enumerate(hops):
        end = hop["until"] or until
        if hop["unit_id"] and end is not None and hop["first"] < end:
            spans[n] = Span(hop["unit_id"], hop["first"], end)
    for n, read_in in summaries(conn, spans, at).items():
        hops[n]["temperatures"] = read_in


def _hop(hop: Hop) -> dict[str, Any]:
    shown = asdict(hop)
    for ours, theirs in (("first", "first_ms"), ("last", "last_ms"), ("until", "until_ms")):
        ms = shown.pop(theirs)
        shown[ours] = None if ms is None else read.time_of(ms)
    return {
        **shown,
        "step": hop.step.name.lower(),
        "packs": {str(level): n for level, n in hop.packs.items()},
        "temperatures": None,
    }


def _line(line: Line) -> dict[str, Any]:
    return {**asdict(line), "packs": {str(level): n for level, n in line.packs.items()}}
