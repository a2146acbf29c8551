"""Queries: events by parameters, by what they are about, and the collections of all that is.

Every answer names the position it was computed at; `as_of`, an extension of ours, asks for an
earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from fastapi import Request, Response

from api.asof import Position
from api.auth import Principal
from api.deps import Deps, DepsOf
from api.epcis import paging
from api.epcis.headers import epc_format
from api.epcis.routing import Reader
from api.routing import json_answer
from domain.epcis.document import EVENT_TYPES, PREFIXES
from domain.epcis.keys import plain, to_urn
from domain.epcis.names import expanded, prefixes_in, word
from domain.epcis.query import Query, parse
from domain.epcis.translate import EpcFormat
from domain.shared.errors import Invalid, NotFound
from projections.epcis import answers
from projections.epcis.documents import BASE, UNNAMED, query_document, together

# The collections, and the parameter that each value of them stands for.
PARAMETER_OF = {
    "eventTypes": "eventType",
    "epcs": "MATCH_anyEPC",
    "bizSteps": "EQ_bizStep",
    "bizLocations": "EQ_bizLocation",
    "readPoints": "EQ_readPoint",
    "dispositions": "EQ_disposition",
}


router = paging.query_router()


@router.get("/events")
def query_events(request: Request, who: Reader, deps: DepsOf) -> Response:
    """Return the events that the parameters ask for."""
    parameters = paging.parameters_of(request)
    return answer(request, who, deps, parameters, asked_in(request, parameters))


@router.get("/events/{event_id:path}")
def read_event(event_id: str, request: Request, who: Reader, deps: DepsOf) -> Response:
    """Return the event of an id, and its error declarations."""
    parameters = paging.parameters_of(request, only_controls=True)
    query = parse({"EQ_eventID": [event_id]}, {})
    return answer(request, who, deps, parameters, query, missing=event_id)


def asked_in(request: Request, parameters: Mapping[str, str], **more: Any) -> Query:
    """Return the query of a request's parameters, and of what more its path says."""
    asked = {n: v for n, v in parameters.items() if n not in paging.CONTROLS}
    prefixes = {**PREFIXES, **prefixes_in(request.headers.get("GS1-Extensions", ""))}
    query = parse(asked, prefixes)
    return replace(query, conditions=(*query.conditions, *parse(more, prefixes).conditions))


def answer(
    request: Request,
    who: Principal,
    deps: Deps,
    parameters: Mapping[str, str],
    query: Query,
    *,
    query_name: str = UNNAMED,
    missing: str = "",
) -> Response:
    """Answer a query: the page asked for, and where the next one is.

    missing: the id of the event that there must be, else NotFound("unknown_event").
    """
    with deps.pool.connection() as conn:
        page = paging.page_of(request, parameters, deps, conn)
        scope: dict[str, Any] = {"position": page.position, "region": who.region_prefix}
        after = _key(page, query)
        given = after.given if after else 0
        if query.count_max is not None and after is None:
            _require_few(conn, query, scope)
        left = page.limit if query.limit is None else min(page.limit, query.limit - given)
        found = answers.events(conn, query, after=after, limit=left + 1, **scope)
        form = epc_format(request)
        companies = answers.companies(conn, page.position) if form is EpcFormat.URN else ()
    if missing and not found:
        raise NotFound("unknown_event", event_id=missing[:200])
    kept = together(found[:left])
    given += len(kept)
    more = len(found) > len(kept) and given != query.limit
    links = page.links(answers.key_of(kept[-1], given) if more else None)
    body = query_document(kept, form=form, companies=companies, now=page.now, query_name=query_name)
    told = {"Vaxtrail-Position": str(Position(page.position, deps.telemetry.last_position()))}
    return Response(body, headers={**links, **told}, media_type="application/json")


def _require_few(conn: psycopg.Connection[Any], query: Query, scope: dict[str, Any]) -> None:
    count_max = query.count_max or 0
    if answers.count(conn, query, limit=count_max + 1, **scope) > count_max:
        raise Invalid("query_too_large", field="maxEventCount", max=count_max)


def _key(page: paging.Page, query: Query) -> answers.Key | None:
    after = page.key(paging.is_moment, paging.is_position, paging.is_count, paging.is_count)
    if after is None:
        return None
    if query.limit is not None and after[3] >= query.limit:
        raise Invalid("bad_page_token", field=paging.TOKEN)
    return answers.Key(*after)


def _list_of(kind: str) -> None:
    """Make the routes of a collection: its members, what there is of one, and its events."""

    @router.get(f"/{kind}", name=kind)
    def members(request: Request, who: Reader, deps: DepsOf) -> Response:
        """List the members of a collection that the repository knows."""
        parameters = paging.parameters_of(request, only_controls=True)
        with deps.pool.connection() as conn:
            page = paging.page_of(request, parameters, deps, conn)
            (after,) = page.key(paging.is_text) or [""]
            scope: dict[str, Any] = {"position": page.position, "region": who.region_prefix}
            found = answers.members(conn, kind, after=after, limit=page.limit + 1, **scope)
            form = epc_format(request)
            companies = answers.companies(conn, page.position) if form is EpcFormat.URN else ()
        shown = [_shown(value, first, form, companies) for value, first in found[: page.limit]]
        if kind == "eventTypes":
            shown = list(dict.fromkeys([*([] if after else EVENT_TYPES), *shown]))
        more = [found[page.limit - 1][0]] if len(found) > page.limit else None
        return json_answer(collection(shown), headers=page.links(more))

    @router.get(f"/{kind}/{{value:path}}/events", name=f"{kind}_events")
    def events(value: str, request: Request, who: Reader, deps: DepsOf) -> Response:
        """Return the events of one member of a collection that the parameters ask for."""
        parameters = paging.parameters_of(request)
        asked_in(request, parameters)  # what is wrong with the question comes first
        require_member(request, who, deps, kind)
        query = asked_in(request, parameters, **{PARAMETER_OF[kind]: [value]})
        return answer(request, who, deps, parameters, query)

    @router.get(f"/{kind}/{{value:path}}", name=f"{kind}_member")
    def member(value: str, request: Request, who: Reader, deps: DepsOf) -> Response:
        """Tell what there is of one member of a collection."""
        paging.parameters_of(request, only_controls=True)
        require_member(request, who, deps, kind)
        return json_answer(collection(["events"]))


for _kind in PARAMETER_OF:
    _list_of(_kind)


def collection(members: Sequence[str]) -> dict[str, Any]:
    """Return a list of members as the interface shows it."""
    return {"@context": BASE, "type": "Collection", "member": list(members)}


def require_member(request: Request, who: Principal, deps: Deps, kind: str) -> None:
    """Refuse a member of a collection that no event here is about: NotFound("unknown_member")."""
    prefixes = {**PREFIXES, **prefixes_in(request.headers.get("GS1-Extensions", ""))}
    name = expanded(request.path_params["value"], prefixes)
    value = plain(name) if kind in ("epcs", "bizLocations", "readPoints") else word(name)
    if kind == "eventTypes" and value in EVENT_TYPES:
        return
    with deps.pool.connection() as conn:
        if "\0" in value or not answers.is_member(conn, kind, value, region=who.region_prefix):
            raise NotFound("unknown_member", collection=kind, value=value[:200])


def require_event(request: Request, who: Principal, deps: Deps) -> None:
    """Refuse an id that no event here has: NotFound("unknown_event")."""
    event_id = request.path_params["event_id"]
    query = parse({"EQ_eventID": [event_id]}, {})
    scope: dict[str, Any] = {"position": deps.ledger.last_position(), "region": who.region_prefix}
    with deps.pool.connection() as conn:
        if not answers.count(conn, query, limit=1, **scope):
            raise NotFound("unknown_event", event_id=event_id[:200])


def _shown(value: str, first: str, form: EpcFormat, companies: frozenset[str] | tuple[()]) -> str:
    """Return a member in the form asked for: plain, as captured first, or as a URN."""
    if form is EpcFormat.AS_CAPTURED:
        return first
    return to_urn(first, companies) if form is EpcFormat.URN else _link(value, first)


def _link(value: str, first: str) -> str:
    return value if first.startswith("urn:epc:") else first
