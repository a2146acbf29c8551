"""The only mapping of errors to HTTP: RFC 9457 problem bodies in Chinese and English."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import orjson
import psycopg
import structlog
from eventsourcing import persistence
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from psycopg_pool import PoolTimeout, TooManyRequests
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import Route

from api import reasons
from api.messages import message
from domain.shared.errors import (
    Busy,
    Conflict,
    DomainError,
    Gone,
    Invalid,
    NotAllowed,
    NotFound,
    StaleVersion,
)

PROBLEM_JSON = "application/problem+json"
STATUS: dict[type[DomainError], int] = {
    Invalid: 422,
    NotFound: 404,
    Conflict: 409,
    StaleVersion: 412,
    NotAllowed: 403,
    Gone: 410,
    Busy: 503,
}
# Codes whose status is not that of their class: what is wrong is the request, not a field of it.
STATUS_OF_CODE = {
    "malformed_json": 400,
    "unknown_parameter": 400,
    "bad_header": 400,
    "unauthenticated": 401,
    "not_acceptable": 406,
    "epcis_too_many_events": 413,
    "query_too_large": 413,
    "query_too_complex": 413,
    "uri_too_long": 414,
    "unsupported_media_type": 415,
    "version_required": 428,
    "too_many_questions": 429,
}
CODE_OF_STATUS = {
    400: "malformed_request",
    404: "no_such_path",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}
RETRY_AFTER_S = 2
# The database is away or all connections are taken, as the two drivers in use say it.
UNAVAILABLE: tuple[type[Exception], ...] = (
    psycopg.OperationalError,
    PoolTimeout,
    TooManyRequests,
    persistence.InterfaceError,
    persistence.OperationalError,
)

_log = structlog.get_logger()


class Problem(BaseModel):
    """A refusal: `code` is permanent, `title` and `detail` follow Accept-Language (else Chinese).

    The detail says what is right; `facts` are the values that the texts name.
    """

    model_config = ConfigDict(extra="forbid")

    type: str = Field(examples=["urn:vaxtrail:problem:bad_name"])
    title: str
    title_zh: str
    title_en: str
    status: int = Field(examples=[422])
    code: str = Field(examples=["bad_name"])
    detail: str
    facts: dict[str, Any]
    field: str | None = None
    trace_id: str


def wants_english(accept_language: str) -> bool:
    """Tell whether an Accept-Language header puts English before Chinese."""
    weights = {"zh": 0.0, "en": 0.0}
    for item in accept_language.lower().split(","):
        tag, _, parameters = item.strip().partition(";")
        language = tag.partition("-")[0]
        if language in weights:
            weights[language] = max(weights[language], _quality(parameters))
    return weights["en"] > weights["zh"]


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def problem(
    request: HTTPConnection,
    status: int,
    code: str,
    facts: Mapping[str, object],
    *,
    why: tuple[str, str] = ("", ""),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the problem answer of a code with its facts; `why` (zh, en) ends both sentences."""
    title_zh, title_en = message(code, facts)
    if all(why):
        title_zh, title_en = f"{title_zh}：{why[0]}", f"{title_en}: {why[1]}"
    english = wants_english(request.headers.get("accept-language", ""))
    title = title_en if english else title_zh
    body: dict[str, object] = {
        "type": f"urn:vaxtrail:problem:{code}",
        "title": title,
        "title_zh": title_zh,
        "title_en": title_en,
        "status": status,
        "code": code,
        "detail": why[english] or title,
        "facts": facts,
        "trace_id": request.scope.get("trace_id", ""),
    }
    if "field" in facts:
        body["field"] = str(facts["field"])
    told = {"Content-Language": "en" if english else "zh", **(headers or {})}
    for path, shape in getattr(request.app.state, "problem_shapes", {}).items():
        if request.url.path.startswith(path):
            status = shape(body, told)
    return Response(orjson.dumps(body, default=str), status, told, media_type=PROBLEM_JSON)


def domain_status(error: DomainError) -> int:
    """Return the HTTP status of a domain error."""
    special = STATUS_OF_CODE.get(error.code)
    if special is not None:
        return special
    return next(status for kind, status in STATUS.items() if isinstance(error, kind))


async def _on_domain(request: Request, raised: Exception) -> Response:
    return refusal(request, cast(DomainError, raised))


def refusal(request: HTTPConnection, error: DomainError) -> Response:
    """Return the problem answer of a domain error."""
    status = domain_status(error)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in {429, 503}:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return problem(request, status, error.code, error.facts, headers=headers)


async def _on_validation(request: Request, raised: Exception) -> Response:
    error = cast(RequestValidationError, raised)
    first: Mapping[str, Any] = error.errors()[0]
    why = reasons.why(first)
    if first["type"] == "json_invalid":
        return problem(request, 400, "malformed_json", {}, why=why)
    place = [str(part) for part in first["loc"]]
    if "discriminator" in first.get("ctx", {}):
        place.append(first["ctx"]["discriminator"].strip("'"))
    facts = {"field": ".".join(place[1:]) or place[0]}
    code = "unknown_field" if first["type"] == "extra_forbidden" else "bad_field"
    return problem(request, 422, code, facts, why=why)


async def _on_http(request: Request, raised: Exception) -> Response:
    error = cast(HTTPException, raised)
    code = CODE_OF_STATUS.get(error.status_code, "malformed_request")
    facts = {"path": request.url.path, "method": request.method}
    headers = {"Allow": _methods(request)} if error.status_code == 405 else error.headers
    return problem(request, error.status_code, code, facts, headers=headers)


def _methods(request: Request) -> str:
    """Return the methods that this address takes, whichever route has them."""
    path = request.url.path
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    found = {m for r in routes if r.path_regex.match(path) for m in r.methods or ()}
    return ", ".join(sorted(found))


async def unavailable(request: Request, error: Exception) -> Response:
    """Return the problem answer of a database that is away."""
    _log.warning("database_unavailable", error=str(error))
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return problem(request, 503, "unavailable", {}, headers=headers)


async def _on_defect(request: Request, error: Exception) -> Response:
    _log.error("request_failed", path=request.url.path, exc_info=error)
    return problem(request, 500, "internal_error", {})


def install(app: FastAPI) -> None:
    """Register the handlers: after this no other error body leaves the application."""
    app.add_exception_handler(DomainError, _on_domain)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    for kind in UNAVAILABLE:
        app.add_exception_handler(kind, unavailable)
    app.add_exception_handler(Exception, _on_defect)
