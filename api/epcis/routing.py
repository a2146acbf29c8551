"""The router of the EPCIS interface: headers negotiated, versions told, OPTIONS on every path.

Its description is the standard's own, so its routes do not stand in ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute

from api.auth import OVERSIGHT, STAFF, Allowed, Principal, permission
from api.deps import Deps, DepsOf
from api.epcis import headers
from api.epcis.problems import PATH
from api.routing import Handler, ModuleRoute
from domain.shared.errors import Invalid
from domain.shared.roles import Role

# Bytes of a document, and events in one.
BODY_BYTES_MAX = 16 * 1_048_576
EVENTS_MAX = 20_000
# Bytes of an address with its query: beyond it a stored query is the way.
URI_BYTES_MAX = 32_768


class May(StrEnum):
    """Permissions of the EPCIS interface."""

    DISCOVER = "epcis.discover"
    CAPTURE = "epcis.capture"
    TRACK = "epcis.track_captures"
    READ = "epcis.read"
    KEEP_QUERIES = "epcis.keep_queries"


Anybody = Annotated[Principal, permission(May.DISCOVER, *STAFF, Role.GATEWAY)]


# Who reads the whole of what was captured in its region.
READERS = Allowed(May.READ, frozenset({Role.ADMIN, *OVERSIGHT, Role.SUPPLIER}))
Reader = Annotated[Principal, Depends(READERS)]


class EpcisRoute(ModuleRoute):
    """A route of the EPCIS interface. A body is read as bytes by its endpoint, never by a model."""

    body_bytes_max: ClassVar[int] = BODY_BYTES_MAX

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **{**options, "include_in_schema": False})

    def get_route_handler(self) -> Handler:
        """Return the handler: headers first, then as every route."""
        handle = super().get_route_handler()

        async def negotiated(request: Request) -> Response:
            if len(request.scope["raw_path"]) + len(request.url.query) > URI_BYTES_MAX:
                raise Invalid("uri_too_long", max=URI_BYTES_MAX)
            headers.negotiate(request)
            response = await handle(request)
            for name, value in headers.ALWAYS.items():
                response.headers.setdefault(name, value)
            return response

        return negotiated

    @property
    def takes_body(self) -> bool:
        """Tell whether the route reads a body."""
        return "POST" in (self.methods or ())


def epcis_router() -> APIRouter:
    """Return a router of a part of the interface; paths are relative to /epcis."""
    return APIRouter(prefix=PATH, tags=["epcis"], route_class=EpcisRoute)


# Refuses what there is not: NotFound.
Require = Callable[[Request, Principal, Deps], None]


def add_options(
    router: APIRouter, more: dict[str, dict[str, str]], require: Mapping[str, Require]
) -> None:
    """Answer OPTIONS on every path of a router: 204, versions and methods, and `more` by path.

    404 where what `require` has for a path refuses it.
    """
    methods: dict[str, set[str]] = {}
    for route in router.routes:
        if isinstance(route, APIRoute):
            methods.setdefault(route.path, set()).update(route.methods or ())
    for path, found in methods.items():
        allow = {"Allow": ", ".join(sorted({*found, "OPTIONS"}))}
        shown = {**headers.DISCOVERY, **allow, **more.get(path, {})}
        _add(router, path, shown, require.get(path))


def _add(router: APIRouter, path: str, shown: dict[str, str], require: Require | None) -> None:
    def discover(request: Request, who: Anybody, deps: DepsOf) -> Response:
        """Tell the versions and methods of this path."""
        if require is not None:
            require(request, who, deps)
        return Response(status_code=204, headers=shown)

    router.add_api_route(path.removeprefix(PATH), discover, methods=["OPTIONS"], status_code=204)
