"""Routes of what is asked most: a plain GET is answered without the framework's parameters.

A route says what answers it when nothing but its path is asked; whatever else is asked (a query, a
path that is none of this) goes the way of all routes. Both ways give the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from api.auth import Principal
from api.deps import Deps
from api.routing import PREFIX, ModuleRoute

# As many as the pool has connections. The way to the framework's own threads costs twice as much.
_answering = ThreadPoolExecutor(8, thread_name_prefix="quick")
# None: not to be answered this way.
Answer = Callable[[Principal, Deps, Mapping[str, str]], Response | None]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class QuickRoute(ModuleRoute):
    """A route that tries its quick answer first."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        quick: Answer | None = getattr(self.endpoint, "quick", None)
        if quick is not None and scope["method"] == "GET" and not scope["query_string"]:
            request = Request(scope, receive)
            await self.allowed.check(request)
            deps = cast(Deps, request.app.state.deps)
            who = cast(Principal, request.state.principal)
            loop = asyncio.get_running_loop()
            path = scope["path_params"]
            response = await loop.run_in_executor(_answering, quick, who, deps, path)
            if response is not None:
                await response(scope, receive, send)
                return
        await super().handle(scope, receive, send)


def answered_by(quick: Answer) -> Callable[[Endpoint], Endpoint]:
    """Say what answers an endpoint when nothing but its path is asked."""

    def marked(endpoint: Endpoint) -> Endpoint:
        endpoint.quick = quick  # type: ignore[attr-defined]  # functions take attributes
        return endpoint

    return marked


def quick_router(tag: str) -> APIRouter:
    """Return a router whose routes may have quick answers; paths are relative to /api/v1."""
    return APIRouter(prefix=PREFIX, tags=[tag], route_class=QuickRoute)


def first(app: FastAPI) -> None:
    """Look at quick routes before the others: each one looked at costs time."""
    routes: list[BaseRoute] = app.router.routes
    routes.sort(key=lambda route: not hasattr(getattr(route, "endpoint", None), "quick"))
