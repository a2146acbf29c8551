"""Named queries: defined once, answered by name, removed with what depends on them."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import Path, Request, Response

from alerts import subscriptions
from api.auth import Principal, permission
from api.commands import Call, CallOf
from api.deps import Deps, DepsOf
from api.epcis import paging, queries
from api.epcis.problems import PATH
from api.epcis.routing import May, Reader
from api.routing import json_answer
from domain.epcis import named
from domain.epcis.schedule import FIELDS
from domain.shared.decide import decide, fold
from domain.shared.errors import Invalid, NotAllowed, NotFound
from domain.shared.ids import covers
from domain.shared.roles import Role
from projections.epcis import named_queries
from store.commands import Command, execute

router = paging.query_router()

Name = Annotated[str, Path()]
Keeper = Annotated[Principal, permission(May.KEEP_QUERIES, Role.CDC, Role.PLATFORM, Role.SUPPLIER)]


def read_json(body: bytes) -> dict[str, Any]:
    """Return the object that a body holds; Invalid("malformed_json"), Invalid("bad_query")."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Invalid("malformed_json") from None
    if not isinstance(found, dict):
        raise Invalid("bad_query", field="body")
    return found


def require_query(deps: Deps, who: Principal, name: str) -> named.NamedQuery:
    """Return what a name stands for; NotFound("unknown_query").

    A query of another region is not there: what it asks for names that region's things.
    """
    history = deps.ledger.stream(named.query_stream(name))
    query = fold(named.evolve, None, (kept.event for kept in history))
    region = history[-1].meta.region_code if history else ""
    if query is None or not (who.covers(region) or covers(region, who.region_code)):
        raise NotFound("unknown_query", name=name[:64])
    return query


@router.get("/queries")
def list_queries(request: Request, who: Reader, deps: DepsOf) -> Response:
    """List the named queries of the caller's region, of those in it and of those it lies in."""
    parameters = paging.parameters_of(request, only_controls=True)
    with deps.pool.connection() as conn:
        page = paging.page_of(request, parameters, deps, conn)
        (after,) = page.key(paging.is_text) or [""]
        found = named_queries(conn, region=who.region_code, after=after, limit=page.limit + 1)
    shown = [_shown(one.name, one.query) for one in found[: page.limit]]
    more = [found[page.limit - 1].name] if len(found) > page.limit else None
    return json_answer(shown, headers=page.links(more))


@router.post("/queries", status_code=201)
def define_query(request: Request, _who: Keeper, call: CallOf) -> Response:
    """Give a query a name; 409 while the name stands for another."""
    told = read_json(call.body)
    name, query = told.get("name"), told.get("query")
    if not isinstance(name, str) or not isinstance(query, dict) or len(told) > 2:
        raise Invalid("bad_query", field="name" if not isinstance(name, str) else "query")
    extensions = request.headers.get("GS1-Extensions", "")
    text = orjson.dumps(query).decode()
    named.query_of(text, extensions)
    defined = {"name": name, "text": text, "extensions": extensions}
    _run(call, name, decide(named.evolve, None, named.define, **defined))
    return json_answer(_shown(name, text), 201, {"Location": f"{PATH}/queries/{name}"})


@router.get("/queries/{name}")
def read_query(name: Name, request: Request, who: Reader, deps: DepsOf) -> Response:
    """Return the definition of a named query."""
    paging.parameters_of(request, only_controls=True)
    query = require_query(deps, who, name)
    return json_answer(_shown(query.name, query.query))


@router.delete("/queries/{name}", status_code=204)
def remove_query(name: Name, who: Keeper, call: CallOf) -> Response:
    """Take the name off a query, and end the subscriptions to it: none of other regions."""
    _require_own(call.deps, who, name)
    with call.deps.pool.connection() as conn:
        others = subscriptions.count_beyond(conn, name, region=who.region_prefix)
    if others:
        raise NotAllowed("query_in_use", name=name, count=others)
    _run(call, name, decide(named.evolve, None, named.remove, name=name))
    with call.deps.pool.connection() as conn:
        subscriptions.remove_of_query(conn, name)
    return Response(status_code=204)


@router.get("/queries/{name}/events")
def query_events(name: Name, request: Request, who: Reader, deps: DepsOf) -> Response:
    """Return the events that a named query asks for; as a WebSocket, those to come."""
    if "stream" in request.query_params or FIELDS.keys() & request.query_params.keys():
        raise Invalid("bad_subscription", field="Upgrade", value="", expected="websocket")
    parameters = paging.parameters_of(request, only_controls=True)
    query = require_query(deps, who, name)
    asked = named.query_of(query.query, query.extensions)
    return queries.answer(request, who, deps, parameters, asked, query_name=name)


def _require_own(deps: Deps, who: Principal, name: str) -> None:
    """Refuse to remove what was defined for more than the caller's region."""
    require_query(deps, who, name)
    who.require_region(deps.ledger.stream(named.query_stream(name))[-1].meta.region_code)


def _run(call: Call, name: str, decision: Any) -> None:
    outcome = execute(call.deps.ledger, Command(named.query_stream(name), decision, call.meta()))
    call.wait_for(outcome.position)


def _shown(name: str, query: str) -> dict[str, object]:
    return {"name": name, "query": orjson.Fragment(query)}
