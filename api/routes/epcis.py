"""The EPCIS 2.0 interface: capture and query, assembled of its parts in `api/epcis/`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.auth import Principal
from api.deps import Deps
from api.epcis import capture, named, paging, queries, sockets, subscriptions
from api.epcis.problems import PATH
from api.epcis.routing import (
    BODY_BYTES_MAX,
    EVENTS_MAX,
    Anybody,
    Require,
    add_options,
    epcis_router,
)
from api.routing import json_answer
from domain.epcis.model import BEHAVIOURS

router = epcis_router()

# The parts of the interface. A path that another begins with stands after it.
PARTS: tuple[APIRouter, ...] = (
    capture.router,
    queries.router,
    named.router,
    subscriptions.router,
    paging.router,
)

COLLECTIONS = (
    "capture",
    "events",
    "eventTypes",
    "epcs",
    "bizSteps",
    "bizLocations",
    "readPoints",
    "dispositions",
    "queries",
)


@router.get("/")
@router.get("")
def discover(_who: Anybody) -> Response:
    """List the collections of the repository."""
    return json_answer(queries.collection(COLLECTIONS))


def _require_member(kind: str) -> Require:
    return lambda request, who, deps: queries.require_member(request, who, deps, kind)


def _require_job(request: Request, who: Principal, deps: Deps) -> None:
    capture.require_job(deps, who, request.path_params["capture_id"])


def _require_query(request: Request, who: Principal, deps: Deps) -> None:
    named.require_query(deps, who, request.path_params["name"])


for part in PARTS:
    router.routes.extend(part.routes)
router.routes.append(sockets.route)
add_options(
    router,
    {
        f"{PATH}/capture": {
            "GS1-Capture-Error-Behaviour": ", ".join(BEHAVIOURS),
            "GS1-EPCIS-Capture-Limit": str(EVENTS_MAX),
            "GS1-EPCIS-Capture-File-Size-Limit": str(BODY_BYTES_MAX),
        }
    },
    {
        f"{PATH}/capture/{{capture_id}}": _require_job,
        f"{PATH}/events/{{event_id:path}}": queries.require_event,
        **{
            f"{PATH}/{kind}/{{value:path}}{part}": _require_member(kind)
            for kind in queries.PARAMETER_OF
            for part in ("", "/events")
        },
        **{
            f"{PATH}/queries/{{name}}{part}": _require_query
            for part in ("", "/events", "/subscriptions")
        },
    },
)
