"""The router every module uses: permission declared or no start, strict parameters, problems.

A route file says `router = module_router("alerting")` and declares routes on it; what all routes
have in common (who may, unknown parameters, media type, documented refusals) is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar

import orjson
from fastapi import APIRouter, Request, Response, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool as _aside
from starlette.exceptions import HTTPException
from starlette.routing import WebSocketRoute
from starlette.types import Message

from api.auth import Allowed
from api.errors import PROBLEM_JSON
from api.json_names import repeated_name
from domain.shared.errors import Invalid

PREFIX = "/api/v1"
_REASONS = {
    400: "Malformed request or unknown parameter",
    401: "No valid API key",
    403: "Role or region does not permit it",
    404: "No such thing, or not visible to this key",
    405: "Method not allowed",
    409: "An invariant forbids it",
    412: "The thing has a newer version",
    413: "Body too large",
    415: "Not the media type asked for",
    422: "A field has an unacceptable value",
    428: "If-Match is required",
    429: "Asked too often, try again later",
    500: "The server failed",
    503: "Unavailable, try again",
}
_ALWAYS = (400, 401, 403, 404, 405, 422, 500, 503)
_WITH_BODY = (409, 412, 413, 415, 428)

# Bytes of a body that is looked through at once; a larger one in a thread.
_SMALL = 65_536

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class ModuleRoute(APIRoute):
    """A route of a module. TypeError at start when it declares no permission."""

    # A larger body is answered 413; a router whose documents are larger has a subclass.
    body_bytes_max: ClassVar[int] = 1_048_576

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        writes = bool(set(options.get("methods") or ()) - {"GET"})
        statuses = _ALWAYS + (_WITH_BODY if writes else ())
        options["responses"] = {**problems(*statuses), **(options.get("responses") or {})}
        if options.get("status_code") == 201:
            known = {"model": options["response_model"], "description": "Known already"}
            options["responses"].setdefault(200, known)
        options.setdefault("operation_id", None)
        options["operation_id"] = options["operation_id"] or endpoint.__name__
        super().__init__(path, endpoint, **options)

    @property
    def takes_body(self) -> bool:
        """Tell whether the route reads a body: JSON of limited size."""
        return self.body_field is not None

    @property
    def allowed(self) -> Allowed:
        """Return the permission that the route declares."""
        for dependency in self.dependant.dependencies:
            if isinstance(dependency.call, Allowed):
                return dependency.call
        raise TypeError(f"{self.endpoint.__module__}.{self.name} declares no permission")

    def get_route_handler(self) -> Handler:
        """Return the handler: who may, which parameters, which media type, then the route."""
        handle = super().get_route_handler()
        allowed = self.allowed
        known = frozenset(
            field.alias
            for field in get_flat_params(self.dependant)
            if isinstance(field.field_info, params.Query)
        )

        async def checked(request: Request) -> Response:
            await allowed.check(request)
            self.check_parameters(request, known)
            if not self.takes_body:
                return await handle(request)
            _require_json(request)
            limited = _limited(request, self.body_bytes_max)
            body = await limited.body()
            small = len(body) < _SMALL
            repeated = repeated_name(body) if small else await _aside(repeated_name, body)
            if repeated is not None:
                raise Invalid("repeated_name", field=repeated[:64])
            return await handle(limited)

        return checked

    def check_parameters(self, request: Request, known: frozenset[str]) -> None:
        """Refuse query parameters beyond those declared: Invalid("unknown_parameter")."""
        unknown = request.query_params.keys() - known
        if unknown:
            raise Invalid("unknown_parameter", field=min(unknown))


class SocketRoute(WebSocketRoute):
    """A WebSocket of a module; it checks the permission that it declares before it accepts."""

    def __init__(self, path: str, endpoint: Callable[..., Any], allowed: Allowed) -> None:
        super().__init__(path, endpoint)
        self.allowed = allowed


def _limited(request: Request, bytes_max: int) -> Request:
    """Return the request with a body that ends in 413 beyond so many bytes."""
    if int(request.headers.get("content-length", "0")) > bytes_max:
        raise HTTPException(413)
    received = 0

    async def receive() -> Message:
        nonlocal received
        part = await request.receive()
        received += len(part.get("body", b""))
        if received > bytes_max:
            raise HTTPException(413)
        return part

    return Request(request.scope, receive)


def _require_json(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise Invalid("unsupported_media_type", expected="application/json")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of these refusals."""
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _REASONS[status], "content": content} for status in statuses}


def module_router(tag: str) -> APIRouter:
    """Return the router of a module; paths are relative to /api/v1."""
    return APIRouter(prefix=PREFIX, tags=[tag], route_class=ModuleRoute)


def json_answer(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer as ready JSON bytes; times end in Z."""
    body = orjson.dumps(value, option=orjson.OPT_UTC_Z)
    return Response(body, status, dict(headers or {}), media_type="application/json")
