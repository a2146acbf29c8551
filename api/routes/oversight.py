"""Oversight over HTTP: reports on a lot, a code, a place or a period; inspections and holds."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Path, Query, Response

from api import asof
from api.asof import AsOf, Position
from api.auth import OVERSIGHT, Principal, permission
from api.custody import CodeInPath
from api.oversight import answers, cases, report
from api.oversight import subject as of
from api.oversight.answers import Answer, visible
from api.oversight.asking import Asking, AskingOf
from api.oversight.forms import FILES, JSON, Wanted, WantedOf
from api.oversight.questions import (
    companions,
    exposed_doses,
    journeys,
    unacknowledged,
)
from api.oversight.report import exceptions, stock
from api.oversight.rows import Connection
from api.oversight.subject import EVER_MS, Asked, Span, Subject
from api.routing import module_router
from api.schemas import Body, NameInPath, TimeAsked, moment_of
from domain.shared.errors import NotAllowed, NotFound
from domain.shared.ids import REGION_PATTERN, WHOLE_COUNTRY, region_prefix
from domain.shared.roles import Role
from domain.traceability.codes import canonical
from domain.traceability.lots import LOT_PATTERN
from projections import registry
from projections.shared import org_tree

router = module_router("oversight")

SITES_MAX = 100_000


class May(StrEnum):
    """Permissions of reports."""

    REPORT = "oversight.report"


class Names(Body):
    """What a site or a unit is called, today, and where it is."""

    zh: str
    en: str
    region: str
    latitude: float | None
    longitude: float | None


class Head(Body):
    """A log's position, and the SHA-256 of the event stored there."""

    position: int
    sha256: str | None


class Proof(Body):
    """What an answer can be checked by; a signed head and inclusion proofs are not made yet."""

    hash: str
    ledger_head: Head
    telemetry_head: Head
    signed_head: None
    inclusion: None


class Report(Body):
    """A report: rows by part, each with position and SHA-256 of the events it rests on.

    Parts: chain, corrections, stock, thermal, injections, exceptions, quality; their columns stand
    in the how-to. People whom the caller has no business with are null.
    """

    head: dict[str, Any]
    parts: dict[str, list[dict[str, Any]]]
    sites: dict[str, Names]
    units: dict[str, Names]
    proof: Proof
    as_of: str


class Rows(Body):
    """The rows that answer a further question, as in a report."""

    items: list[dict[str, Any]]
    sites: dict[str, Names]
    proof: Proof
    as_of: str


Reader = Annotated[Principal, permission(May.REPORT, *OVERSIGHT, Role.INSPECTOR)]
LotInPath = Annotated[str, Path(pattern=LOT_PATTERN, examples=["8474354.A2026573"])]
RegionInPath = Annotated[
    str, Path(pattern=f"^{WHOLE_COUNTRY}$|{REGION_PATTERN}", examples=["640200"])
]
Minutes = Annotated[float, Query(ge=0, le=10**6, examples=[10])]
Celsius = Annotated[float | None, Query(ge=-100, le=100, examples=[8])]


@router.get("/lots/{lot_id}/report", response_model=Report, responses=FILES)
def report_lot(lot_id: LotInPath, _who: Reader, wanted: WantedOf) -> Response:
    """Return all that is known of a lot: chain, stock, temperatures, doses, cases, proof."""
    return _report(wanted, lambda conn, at: _lot(wanted.asking, conn, lot_id, at))


@router.get("/codes/{code:path}/report", response_model=Report, responses=FILES)
def report_code(code: CodeInPath, _who: Reader, wanted: WantedOf) -> Response:
    """Return the same for one code."""
    asking, text = wanted.asking, canonical(code)

    def find(conn: Connection, at: Position) -> Subject:
        found = of.of_code(conn, text, at.ledger)
        lot_id = found.book.progress(found.codes[0]).lot_id
        asking.require_lot(lot_id, "unknown_code", code=text)
        if not visible(asking, conn, found):
            raise NotFound("unknown_code", code=text)
        return found

    return _report(wanted, find)


@router.get("/places/{site_id}/report", response_model=Report, responses=FILES)
def report_place(
    site_id: NameInPath,
    _who: Reader,
    wanted: WantedOf,
    since: TimeAsked = None,
    until: TimeAsked = None,
) -> Response:
    """Return what was scanned at a site in a time (`since` <= t < `until`), and its stock."""
    asking = wanted.asking

    def find(conn: Connection, at: Position) -> Subject:
        name = org_tree.names(conn, [site_id]).get(site_id)
        if name is None or not asking.who.covers(name.region):
            raise NotFound("unknown_site")
        span = Span(frozenset({site_id}), *_times(since, until))
        return of.of_span(conn, Asked("place", site_id), at.ledger, span, asking.lot_ids)

    return _report(wanted, find)


@router.get("/regions/{region_code}/report", response_model=Report, responses=FILES)
def report_period(
    region_code: RegionInPath,
    _who: Reader,
    wanted: WantedOf,
    since: TimeAsked = None,
    until: TimeAsked = None,
) -> Response:
    """Return what was scanned in a region (000000: the country) in a time, and its stock."""
    asking = wanted.asking

    def find(conn: Connection, at: Position) -> Subject:
        span = Span(_sites(asking, conn, region_code), *_times(since, until))
        return of.of_span(conn, Asked("period", region_code), at.ledger, span, asking.lot_ids)

    return _report(wanted, find)


# ---- further questions ----


@router.get("/lots/{lot_id}/exposed-doses", response_model=Rows)
def list_exposed_doses(
    *,
    lot_id: LotInPath,
    _who: Reader,
    asking: AskingOf,
    minutes: Minutes,
    above_c: Celsius = None,
    below_c: Celsius = None,
    as_of: AsOf = None,
) -> Response:
    """Return doses from codes that were above or below a temperature longer than so long before.

    Over all units and vehicles a code was in until the dose. Without a temperature: above 8 °C.
    """
    if above_c is None and below_c is None:
        above_c = 8.0
    limits = (-1e9 if below_c is None else below_c, 1e9 if above_c is None else above_c)

    def rows(conn: Connection, at: Position) -> list[dict[str, Any]]:
        found = _lot(asking, conn, lot_id, at)
        return exposed_doses(found, answers.warmth_at(conn, at), limits, minutes)

    return _items(asking, as_of, rows)


@router.get("/lots/{lot_id}/companions", response_model=Rows)
def list_companions(
    *,
    lot_id: LotInPath,
    _who: Reader,
    asking: AskingOf,
    since: TimeAsked = None,
    until: TimeAsked = None,
    as_of: AsOf = None,
) -> Response:
    """Return which other lots shared a cold unit or a vehicle with a lot in a time."""

    def rows(conn: Connection, at: Position) -> list[dict[str, Any]]:
        found = _lot(asking, conn, lot_id, at)
        shared = companions(conn, found, *_times(since, until))
        return [row for row in shared if not asking.lot_ids or row["lot_id"] in asking.lot_ids]

    return _items(asking, as_of, rows)


@router.get("/lots/{lot_id}/unacknowledged", response_model=Rows)
def list_unacknowledged(
    *, lot_id: LotInPath, _who: Reader, asking: AskingOf, as_of: AsOf = None
) -> Response:
    """Return the holders of a recalled lot that have not acknowledged the recall."""

    def rows(conn: Connection, at: Position) -> list[dict[str, Any]]:
        _lot(asking, conn, lot_id, at)
        return unacknowledged(conn, lot_id, at.ledger)

    return _items(asking, as_of, rows)


@router.get("/regions/{region_code}/known", response_model=Report)
def read_known(
    *, region_code: RegionInPath, _who: Reader, asking: AskingOf, as_of: AsOf = None
) -> Response:
    """Return what was known in a region at a time: its exceptions and its stock."""
    if asking.lot_ids:
        raise NotAllowed("inspection_of_lots")

    def tell(conn: Connection, at: Position) -> Answer:
        span = Span(_sites(asking, conn, region_code), -EVER_MS, EVER_MS)
        found = of.of_places(conn, Asked("known", region_code), at.ledger, span)
        prefix = asking.who.region_prefix
        parts = {"stock": stock(conn, found), "exceptions": exceptions(conn, found, prefix)}
        return answers.answer(asking, conn, report.Report(report.head(found), parts), at)

    answer = _asked(asking, as_of, tell)
    return asking.answered(answer.json(), answer.at, JSON)


@router.get("/regions/{region_code}/impossible-journeys", response_model=Rows)
def list_impossible_journeys(
    *,
    region_code: RegionInPath,
    _who: Reader,
    asking: AskingOf,
    since: TimeAsked = None,
    until: TimeAsked = None,
    as_of: AsOf = None,
) -> Response:
    """Return codes seen at two places closer in time than travel allows."""

    def rows(conn: Connection, at: Position) -> list[dict[str, Any]]:
        sites = _sites(asking, conn, region_code)
        named = None if sites is None else sorted(sites)
        found = journeys(conn, named, at.ledger, *_times(since, until))
        return [row for row in found if not asking.lot_ids or row["lot_id"] in asking.lot_ids]

    return _items(asking, as_of, rows)


# ---- what they share ----


def _lot(asking: Asking, conn: Connection, lot_id: str, at: Position) -> Subject:
    asking.require_lot(lot_id, "unknown_lot", lot_id=lot_id)
    found = of.of_lot(conn, lot_id, at.ledger)
    if not visible(asking, conn, found):
        raise NotFound("unknown_lot", lot_id=lot_id)
    return found


def _sites(asking: Asking, conn: Connection, region_code: str) -> frozenset[str] | None:
    """Return the sites of a region within the grant, None = everywhere."""
    asking.who.require_region(region_code)
    prefix = region_prefix(region_code)
    if not prefix:
        return None
    return frozenset(s.site_id for s in registry.sites(conn, region=prefix, limit=SITES_MAX))


def _times(since: str | None, until: str | None) -> tuple[int, int]:
    """Return a time as ms since 1970; without bounds, all of it."""
    return (
        -EVER_MS if since is None else round(moment_of(since, "since").timestamp() * 1000),
        EVER_MS if until is None else round(moment_of(until, "until").timestamp() * 1000),
    )


def _asked(
    asking: Asking, as_of: str | None, tell: Callable[[Connection, Position], Answer]
) -> Answer:
    """Return what is told at the position asked for."""
    with asking.deps.pool.connection() as conn:
        return tell(conn, asof.resolve(asking.deps, conn, as_of))


def _report(wanted: Wanted, find: Callable[[Connection, Position], Subject]) -> Response:
    """Answer the report on what is found, in the form asked for."""

    def tell(conn: Connection, at: Position) -> Answer:
        return answers.report(wanted.asking, conn, find(conn, at), at)

    return wanted.answered(_asked(wanted.asking, wanted.as_of, tell))


def _items(
    asking: Asking,
    as_of: str | None,
    rows: Callable[[Connection, Position], list[dict[str, Any]]],
) -> Response:
    """Answer a further question with its rows."""

    def tell(conn: Connection, at: Position) -> Answer:
        return answers.items(asking, conn, rows(conn, at), at)

    answer = _asked(asking, as_of, tell)
    return asking.answered(answer.json(), answer.at, JSON)


router.routes.extend(cases.router.routes)
