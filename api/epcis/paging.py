"""Pages of the EPCIS interface: `perPage`, and a token that says where and as of when to go on.

A token holds the position at which the first page was answered, so later captures move nothing;
the key of the last item; what was asked; and when it expires. It is no secret and grants nothing:
region and permission stand in every request. One that was given back is remembered until it
expires.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import psycopg
from fastapi import APIRouter, Request, Response
from starlette.requests import HTTPConnection

from api import asof, paging
from api.deps import Deps, DepsOf
from api.epcis.problems import PATH
from api.epcis.routing import EpcisRoute, Reader
from domain.epcis.query import moment_of, storable
from domain.shared.errors import Invalid
from store.sql import load_queries

PER_PAGE_DEFAULT = 30
PER_PAGE_MAX = 1000
TOKEN_LIFE = timedelta(hours=1)
TOKEN = "nextPageToken"  # noqa: S105  # the name of the parameter
PER_PAGE, AS_OF = "perPage", "as_of"
POSITION = re.compile(asof.POSITION_PATTERN)
_AS_OF = re.compile(f"({asof.POSITION_PATTERN})|({asof.TIME_PATTERN})")
CONTROLS = frozenset({TOKEN, PER_PAGE, AS_OF})
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,8192}")


class QueryRoute(EpcisRoute):
    """A route whose parameters are a query or a page: what is neither, `parameters_of` refuses."""

    def check_parameters(self, request: Request, known: frozenset[str]) -> None:
        """Leave the parameters of what is read to their readers."""
        if request.method != "GET":
            super().check_parameters(request, known)


def query_router() -> APIRouter:
    """Return a router whose routes take queries and pages; paths are relative to /epcis."""
    return APIRouter(prefix=PATH, tags=["epcis"], route_class=QueryRoute)


router = query_router()
_SQL = load_queries(Path(__file__).with_suffix(".sql"))


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was asked for: up to `limit` items after a key (None: from the beginning)."""

    limit: int
    position: int
    after: list[Any] | None
    asked: str
    now: datetime
    parameters: Mapping[str, str]
    address: str

    def key(self, *kinds: Callable[[Any], bool]) -> list[Any] | None:
        """Return `after`, each part of its kind; Invalid("bad_page_token") for a made-up one."""
        after = self.after
        if after is None:
            return None
        if len(after) != len(kinds) or not all(k(v) for k, v in zip(kinds, after, strict=True)):
            raise Invalid("bad_page_token", field=TOKEN)
        return after

    def links(self, key: Sequence[object] | None) -> dict[str, str]:
        """Return the headers that lead to the page after an item; none after the last page."""
        if key is None:
            return {}
        expires = self.now + TOKEN_LIFE
        told = [self.asked, self.position, expires.timestamp(), list(key)]
        query = urlencode({**self.parameters, TOKEN: paging.encode(told)})
        return {
            "Link": f'<{self.address}?{query}>; rel="next"',
            "GS1-Next-Page-Token-Expires": expires.isoformat(timespec="seconds"),
        }


def is_text(value: object) -> bool:
    """Tell whether a part of a key is a text of the database."""
    return isinstance(value, str) and storable(value)


def is_moment(value: object) -> bool:
    """Tell whether a part of a key is a moment."""
    return isinstance(value, str) and moment_of(value) is not None


def is_id(value: object) -> bool:
    """Tell whether a part of a key is a UUID."""
    try:
        return isinstance(value, str) and bool(UUID(value))
    except ValueError:
        return False


def is_position(value: object) -> bool:
    """Tell whether a part of a key is a position in the ledger."""
    return type(value) is int and 0 <= value < 2**63


def is_count(value: object) -> bool:
    """Tell whether a part of a key is a place in a document, or a number of events."""
    return type(value) is int and 0 <= value < 2**31


def parameters_of(request: HTTPConnection, *, only_controls: bool = False) -> dict[str, str]:
    """Return the query's parameters.

    Invalid: repeated_query_parameter, and unknown_query_parameter where only pages are asked for.
    """
    found: dict[str, str] = {}
    for name, value in parse_qsl(request.url.query, keep_blank_values=True):
        if name in found:
            raise Invalid("repeated_query_parameter", field=name[:200])
        if only_controls and name not in CONTROLS:
            raise Invalid("unknown_query_parameter", field=name[:200])
        found[name] = value
    return found


def page_of(
    request: Request, parameters: Mapping[str, str], deps: Deps, conn: psycopg.Connection[Any]
) -> Page:
    """Return the page that a request asks for; `as_of` is our extension.

    Invalid: bad_query_value (perPage, as_of), bad_page_token; and what `asof.resolve` refuses.
    """
    path = str(request.scope["raw_path"], "latin-1").partition("?")[0]
    asked = {n: v for n, v in parameters.items() if n not in (TOKEN, PER_PAGE)}
    form = request.headers.get("GS1-EPC-Format", "")
    digest = hashlib.sha256(f"{path}?{urlencode(asked)}#{form}".encode()).hexdigest()[:16]
    now, limit = deps.clock.now(), _per_page(parameters.get(PER_PAGE))
    token = parameters.get(TOKEN)
    if token is None:
        position, after = asof.resolve(deps, conn, _as_of(parameters.get(AS_OF))).ledger, None
    else:
        position, after = _opened(conn, token, digest, now)
    kept = {name: value for name, value in parameters.items() if name != TOKEN}
    address = f"{request.url.scheme}://{request.url.netloc}{path}"
    return Page(limit, position, after, digest, now, kept, address)


@router.delete("/nextPageToken/{token}", status_code=204)
def release_token(token: str, _who: Reader, deps: DepsOf) -> Response:
    """Give a page token back: it leads nowhere from now on."""
    expires = _told(token)[2]
    with deps.pool.connection() as conn:
        conn.execute(_SQL.forget_expired, (deps.clock.now(),))
        conn.execute(_SQL.release, (token, expires))
    return Response(status_code=204)


def _per_page(value: str | None) -> int:
    if value is None:
        return PER_PAGE_DEFAULT
    if not (value.isascii() and value.isdigit()) or not 1 <= int(value[:6]) <= 100_000:
        raise _bad(PER_PAGE, value, "1 … 1000")
    return min(int(value), PER_PAGE_MAX)


def _as_of(value: str | None) -> str | None:
    if value is not None and not _AS_OF.fullmatch(value):
        raise _bad(AS_OF, value, "L12.T34, 2026-03-02T08:00:00+08:00")
    return value


def _bad(name: str, value: str, expected: str) -> Invalid:
    return Invalid("bad_query_value", field=name, value=value[:200], expected=expected)


def _told(token: str) -> tuple[str, int, datetime, list[Any]]:
    """Return what a token tells: of which question, as known where, until when, after which key."""
    try:
        asked, position, expires, key = paging.decode(token)
        until = datetime.fromtimestamp(expires, UTC)
    except (Invalid, TypeError, ValueError, OverflowError, OSError):
        raise Invalid("bad_page_token", field=TOKEN) from None
    # Decoding passes over what is not of its alphabet.
    if not _TOKEN.fullmatch(token) or not is_position(position) or not isinstance(key, list):
        raise Invalid("bad_page_token", field=TOKEN)
    return str(asked), position, until, key


def _opened(
    conn: psycopg.Connection[Any], token: str, asked: str, now: datetime
) -> tuple[int, list[Any]]:
    """Return position and key of a token of this very question that still holds."""
    of, position, expires, key = _told(token)
    ((released,),) = conn.execute(_SQL.is_released, (token,)).fetchall()
    if of != asked or expires < now or released:
        raise Invalid("bad_page_token", field=TOKEN)
    return position, key
