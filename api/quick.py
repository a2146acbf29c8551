"""What is asked most: a plain GET of some paths is answered ahead of the framework.

A route says what answers it when nothing but its path is asked; whatever else is asked (a query, a
path that is none of this) goes the way of all routes. Both ways check the same permission and give
the same bytes; the framework's way costs several times what such an answer does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, ParamSpec, TypeVar

import structlog
from fastapi import Request, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import UNAVAILABLE, refusal, unavailable
from api.routing import ModuleRoute
from domain.shared.errors import DomainError

_log = structlog.get_logger()

# As many as the pool has connections. The way to the framework's own threads costs twice as much.
_answering = ThreadPoolExecutor(8, thread_name_prefix="quick")
Path = Mapping[str, str]
Answer = Callable[[Request, Path], Awaitable[Response]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")


class _Quick(NamedTuple):
    """What answers a route whose permission was checked, where its path `fits`."""

    fits: Callable[[Path], bool]
    answer: Answer


def answered_by(answer: Answer, fits: Callable[[Path], bool]) -> Callable[[Endpoint], Endpoint]:
    """Say what answers an endpoint when nothing but its path is asked, and that is one of these."""

    def marked(endpoint: Endpoint) -> Endpoint:
        endpoint.quick = _Quick(fits, answer)  # type: ignore[attr-defined]  # functions take attributes
        return endpoint

    return marked


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what a function returns that waits for the database."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_answering, lambda: work(*args, **kwargs))


class QuickAnswers:
    """Answers what has a quick answer, and leaves the rest to the framework."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._routes = [
            (route.path_regex, route, route.allowed, route.endpoint.quick)
            for route in routes
            if isinstance(route, ModuleRoute) and hasattr(route.endpoint, "quick")
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] == "http" and scope["method"] == "GET" and not scope["query_string"]:
            for pattern, route, allowed, quick in self._routes:
                found = pattern.match(scope["path"])
                if found is not None and quick.fits(path := found.groupdict()):
                    scope["route"] = route
                    request = Request(scope)
                    try:
                        await allowed.check(request)
                        response = await quick.answer(request, path)
                    except DomainError as error:
                        response = refusal(request, error)
                    except UNAVAILABLE as error:
                        response = await unavailable(request, error)
                    except Exception as error:  # as all routes say what failed
                        _log.warning("quick_answer_failed", error=repr(error))
                        break
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)
