"""The EPCIS 2.0 interface: capture and query, assembled of its parts in `api/epcis/`."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.epcis import capture, named, paging, queries, sockets, subscriptions
from api.epcis.problems import PATH
from api.epcis.routing import BODY_BYTES_MAX, EVENTS_MAX, Anybody, add_options, epcis_router
from api.routing import json_answer
from domain.epcis.document import EVENT_TYPES
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
    return json_answer(
        {
            "@context": "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
            "type": "Collection",
            "member": [f"{PATH}/{name}" for name in COLLECTIONS],
            "eventTypes": EVENT_TYPES,
        }
    )


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
)
