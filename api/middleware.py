"""What surrounds every request: its trace id, one log line, counters."""

from __future__ import annotations

import asyncio
import re
import time
from uuid import uuid4

import structlog
from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TRACE_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")

_log = structlog.get_logger()


class Tracing:
    """Give each request a trace id (the caller's X-Request-Id, or a new one) and log the answer."""

    def __init__(self, app: ASGIApp, seconds: Histogram) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace_id = _trace_id(scope)
        scope["trace_id"] = trace_id
        began = time.perf_counter()
        loop = asyncio.get_running_loop()

        async def traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", trace_id.encode())]
                # The answer goes first: the line is written when this turn of the loop is over.
                taken = time.perf_counter() - began
                loop.call_soon(self._record, scope, message["status"], taken)
            await send(message)

        await self._app(scope, receive, traced)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "")
        self._seconds.labels(scope["method"], route, str(status)).observe(seconds)
        _log.info(
            "request_answered",
            method=scope["method"],
            path=scope["path"],
            status=status,
            duration_ms=round(seconds * 1000, 2),
            trace_id=scope["trace_id"],
        )


def _trace_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _TRACE_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid4().hex
