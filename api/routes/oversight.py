"""Oversight over HTTP: reports on a lot, a code, a place or a period; inspections and holds."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from fastapi import Path, Query, Request, Response

from api import asof
from api.asof import AsOf, Position
from api.auth import OVERSIGHT, Principal, permission
from api.custody import CodeInPath
from api.custody_scope import PERSONAL
from api.oversight import answers, bundle, cases, report, tables
from api.oversight import subject as of
from api.oversight.answers import Answer, visible
from api.oversight.asking import Asking, AskingOf
from api.oversight.parts import PART_NAMES, PARTS
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
CSV, ZIP, PDF = "text/csv", "application/zip", "application/pdf"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MEDIA = {CSV: "csv", ZIP: "csv", XLSX: "xlsx", PDF: "pdf"}
FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {media: {"schema": {"type": "string"}} for media in MEDIA},
        "description": "The report",
    }
}


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
Format = Annotated[
    Literal["json", "csv", "xlsx", "pdf", "evidence"] | None,
    Query(
        description="Else by Accept. `csv` without `part`: all in a zip. `evidence`: a signed "
        "zip with the stored events, for `vaxtrail evidence check`."
    ),
]
PartAsked = Annotated[Literal[PART_NAMES] | None, Query(description="One part, as CSV.")]  # type: ignore[valid-type]  # the list stands with the parts
LotInPath = Annotated[str, Path(pattern=LOT_PATTERN, examples=["8474354.A2026573"])]
RegionInPath = Annotated[
    str, Path(pattern=f"^{WHOLE_COUNTRY}$|{REGION_PATTERN}", examples=["640200"])
]
Minutes = Annotated[float, Query(ge=0, le=10**6, examples=[10])]
Celsius = Annotated[float | None, Query(ge=-100, le=100, examples=[8])]


@router.get("/lots/{lot_id}/report", response_model=Report, responses=FILES)
def report_lot(
    *,
    lot_id: LotInPath,
    _who: Reader,
    asking: AskingOf,
    request: Request,
    as_of: AsOf = None,
    format: Format = None,
    part: PartAsked = None,
) -> Response:
    """Return all that is known of a lot: chain, stock, temperatures, doses, cases, proof."""
    with asking.deps.pool.connection() as conn:
        at = asof.resolve(asking.deps, conn, as_of)
        found = _lot(asking, conn, lot_id, at)
        answer = answers.report(asking, conn, found, at)
    return _shaped(asking, request, answer, format, part)


@router.get("/codes/{code:path}/report", response_model=Report, responses=FILES)
def report_code(
    *,
    code: CodeInPath,
    _who: Reader,
    asking: AskingOf,
    request: Request,
    as_of: AsOf = None,
    format: Format = None,
    part: PartAsked = None,
) -> Response:
    """Return the same for one code."""
    text = canonical(code)
    with asking.deps.pool.connection() as conn:
        at = asof.resolve(asking.deps, conn, as_of)
        found = of.of_code(conn, text, at.ledger)
        lot_id = found.book.progress(found.codes[0]).lot_id
        asking.require_lot(lot_id, "unknown_code", code=text)
        if not visible(asking, conn, found):
            raise NotFound("unknown_code", code=text)
        answer = answers.report(asking, conn, found, at)
    return _shaped(asking, request, answer, format, part)


@router.get("/places/{site_id}/report", response_model=Report, responses=FILES)
def report_place(
    *,
    site_id: NameInPath,
    _who: Reader,
    asking: AskingOf,
    request: Request,
    since: TimeAsked = None,
    until: TimeAsked = None,
    as_of: AsOf = None,
    format: Format = None,
    part: PartAsked = None,
) -> Response:
    """Return what was scanned at a site in a time (`since` <= t < `until`), and its stock."""
    with asking.deps.pool.connection() as conn:
        at = asof.resolve(asking.deps, conn, as_of)
        name = org_tree.names(conn, [site_id]).get(site_id)
        if name is None or not asking.who.covers(name.region):
            raise NotFound("unknown_site")
        span = Span(frozenset({site_id}), *_times(since, until))
        place = Asked("place", site_id)
        found = of.of_span(conn, place, at.ledger, span, asking.lot_ids)
        answer = answers.report(asking, conn, found, at)
    return _shaped(asking, request, answer, format, part)


@router.get("/regions/{region_code}/report", response_model=Report, responses=FILES)
def report_period(
    *,
    region_code: RegionInPath,
    _who: Reader,
    asking: AskingOf,
    request: Request,
    since: TimeAsked = None,
    until: TimeAsked = None,
    as_of: AsOf = None,
    format: Format = None,
    part: PartAsked = None,
) -> Response:
    """Return what was scanned in a region (000000: the country) in a time, and its stock."""
    with asking.deps.pool.connection() as conn:
        at = asof.resolve(asking.deps, conn, as_of)
        span = Span(_sites(asking, conn, region_code), *_times(since, until))
        period = Asked("period", region_code)
        found = of.of_span(conn, period, at.ledger, span, asking.lot_ids)
        answer = answers.report(asking, conn, found, at)
    return _shaped(asking, request, answer, format, part)


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

    return _asked(asking, as_of, rows)


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

    return _asked(asking, as_of, rows)


@router.get("/lots/{lot_id}/unacknowledged", response_model=Rows)
def list_unacknowledged(
    *, lot_id: LotInPath, _who: Reader, asking: AskingOf, as_of: AsOf = None
) -> Response:
    """Return the holders of a recalled lot that have not acknowledged the recall."""

    def rows(conn: Connection, at: Position) -> list[dict[str, Any]]:
        _lot(asking, conn, lot_id, at)
        return unacknowledged(conn, lot_id, at.ledger)

    return _asked(asking, as_of, rows)


@router.get("/regions/{region_code}/known", response_model=Report)
def read_known(
    *, region_code: RegionInPath, _who: Reader, asking: AskingOf, as_of: AsOf = None
) -> Response:
    """Return what was known in a region at a time: its exceptions and its stock."""
    if asking.lot_ids:
        raise NotAllowed("inspection_of_lots")
    with asking.deps.pool.connection() as conn:
        at = asof.resolve(asking.deps, conn, as_of)
        span = Span(_sites(asking, conn, region_code), -EVER_MS, EVER_MS)
        found = of.of_places(conn, Asked("known", region_code), at.ledger, span)
        parts = {"stock": stock(conn, found), "exceptions": exceptions(conn, found)}
        answer = answers.answer(asking, conn, report.Report(report.head(found), parts), at)
    return asking.answered(answer.json, at, "application/json")


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

    return _asked(asking, as_of, rows)


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
    asking: Asking,
    as_of: str | None,
    rows: Callable[[Connection, Position], list[dict[str, Any]]],
) -> Response:
    with asking.deps.pool.connection() as conn:
        at = asof.resolve(asking.deps, conn, as_of)
        content = answers.items(asking, conn, rows(conn, at), at)
    return asking.answered(content, at, "application/json")


def _shaped(
    asking: Asking, request: Request, answer: Answer, shape: str | None, part: str | None
) -> Response:
    """Return an answer in the form asked for."""
    asked = shape or _accepted(request.headers.get("accept", ""))
    match asked:
        case "csv" if part is not None:
            chosen = next(each for each in PARTS if each.name == part)
            content = b"".join(tables.csv_of(answer.body, chosen))
            return asking.answered(content, answer.at, CSV, f"{part}.csv")
        case "csv":
            return asking.answered(tables.csv_zip(answer.body), answer.at, ZIP, "report.zip")
        case "xlsx":
            return asking.answered(tables.workbook(answer.body), answer.at, XLSX, "report.xlsx")
        case "pdf":
            return asking.answered(_paper(request, answer), answer.at, PDF, "certificate.pdf")
        case "evidence":
            content = _bundle(asking, request, answer)
            return asking.answered(content, answer.at, ZIP, "evidence.zip")
        case _:
            return asking.answered(answer.json, answer.at, "application/json")


def _accepted(accept: str) -> str:
    asked = [each.partition(";")[0].strip().lower() for each in accept.split(",")]
    return next((MEDIA[media] for media in asked if media in MEDIA), "json")


def _paper(request: Request, answer: Answer) -> bytes:
    from api.oversight.certificate import certificate  # it takes a moment to load

    query = {k: v for k, v in request.query_params.items() if k not in {"format", "as_of", "part"}}
    asked = urlencode({**query, "as_of": str(answer.at), "format": "pdf"})
    link = f"{str(request.base_url).rstrip('/')}{quote(request.url.path)}?{asked}"
    return certificate(answer.body, link)


def _bundle(asking: Asking, request: Request, answer: Answer) -> bytes:
    def withheld(stored: Any) -> bool:
        """Tell whether an event names people whom this caller may not see."""
        event = stored.get("e", {})
        names = any(event.get(name) for name in PERSONAL)
        return names and not asking.sees_people(answer.sites, event.get("site_id", ""))

    key = asking.deps.signing_key()
    return bundle.bundled(answer, _paper(request, answer), key, withheld)


router.routes.extend(cases.router.routes)
