"""Alerts as they change, over server-sent events (WHATWG HTML, "text/event-stream").

Each event is an alert as it stands now, as the list of alerts shows it; its id is a position of the
ledger. Who comes back with `Last-Event-ID` gets every alert that has changed since, once, as it is
then. Without it the stream begins now: connect first, then read the list, and nothing is missed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import orjson
import psycopg
from fastapi import Header, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.alert_shown import READERS, shown
from api.auth import Principal, permission
from api.deps import Deps, DepsOf
from api.errors import UNAVAILABLE
from api.routing import module_router
from api.schemas import RegionAsked
from domain.shared.errors import Busy, DomainError
from projections import alerting as read
from projections.unfollowed import followed

router = module_router("alerting")

# Streams open at a time in one process; seconds between two looks, and without an event before a
# comment says that the stream is alive; alerts told at a time.
STREAMS_MAX = 200
POLL_S = 0.5
HEARTBEAT_S = 15.0
BATCH_MAX = 500
# Milliseconds after which a client that was cut off comes back.
RETRY_MS = 2_000


class May(StrEnum):
    """Permissions of this file."""

    READ = "alerting.read"


_ALLOWED = permission(May.READ, *READERS)
# The database is away, or the read model is being made anew: the client comes back.
_AWAY: tuple[type[Exception], ...] = (*UNAVAILABLE, psycopg.errors.UndefinedTable)
_open: set[object] = set()


@dataclass(frozen=True, slots=True)
class Change:
    """An alert that has changed: at a position, where, and as it stands."""

    position: int
    region_code: str
    body: bytes

    @property
    def event(self) -> bytes:
        """Return it as one event of the stream."""
        return b"id: %d\nevent: alert\ndata: %s\n\n" % (self.position, self.body)


@dataclass(slots=True)
class Feed:
    """What changed since a position, read once for all who ask for the same."""

    deps: Deps
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _read_at: float = float("-inf")
    _after: int = -1
    _found: tuple[int, list[Change]] = (0, [])

    async def since(self, after: int) -> tuple[int, list[Change]]:
        """Return up to which position was looked, and what changed after `after`, in order."""
        async with self._lock:
            fresh = time.monotonic() - self._read_at < POLL_S / 2
            if not fresh or after != self._after:
                self._found = await run_in_threadpool(changes, self.deps, after)
                self._after, self._read_at = after, time.monotonic()
            return self._found


def changes(deps: Deps, after: int) -> tuple[int, list[Change]]:
    """Return up to which position was looked, and each alert that changed, as it stands now."""
    with deps.pool.connection() as conn:
        until = followed(conn, read.PROJECTION.follower)
        if until <= after:
            return after, []
        rows = read.changed(conn, after=after, limit=BATCH_MAX)
    found = [Change(row.pos, row.region_code, _body(row)) for row in rows]
    newest = rows[-1].pos if rows else until
    return (newest if len(rows) == BATCH_MAX else max(until, newest)), found


@router.get(
    "/alert-stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def follow_alerts(
    request: Request,
    who: Annotated[Principal, _ALLOWED],
    deps: DepsOf,
    region: RegionAsked = None,
    last_event_id: Annotated[
        str | None,
        Header(
            pattern=r"^[0-9]{1,18}$",
            examples=["12"],
            description="The id of the last event that was seen: what changed since is told first.",
        ),
    ] = None,
) -> StreamingResponse:
    """Follow the alerts of the caller's region as they change, as server-sent events."""
    prefix = who.narrowed(region)
    if len(_open) >= STREAMS_MAX:
        raise Busy("busy")
    feed = _feed(request, deps)
    after = int(last_event_id) if last_event_id else await run_in_threadpool(_now, deps)
    stream = _events(request, feed, prefix, after)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, 200, headers, media_type="text/event-stream")


async def _events(request: Request, feed: Feed, region: str, after: int) -> AsyncIterator[bytes]:
    """Yield events until the client, its key or the database goes."""
    mark = object()
    _open.add(mark)
    told_at = time.monotonic()
    try:
        yield b"retry: %d\n\n" % RETRY_MS
        while await _still(request):
            after, changed = await feed.since(after)
            mine = [each.event for each in changed if each.region_code.startswith(region)]
            if mine:
                yield b"".join(mine)
            elif time.monotonic() - told_at >= HEARTBEAT_S:
                yield b": %d\n\n" % after
            if mine or time.monotonic() - told_at >= HEARTBEAT_S:
                told_at = time.monotonic()
            await asyncio.sleep(POLL_S)
    except _AWAY:
        return
    finally:
        _open.discard(mark)


async def _still(request: Request) -> bool:
    """Tell whether the caller is there, with a key that may see alerts."""
    try:
        await _ALLOWED.dependency.check(request)
    except DomainError:
        return False
    return not await request.is_disconnected()


def _feed(request: Request, deps: Deps) -> Feed:
    state: Any = request.app.state
    if not hasattr(state, "alert_feed"):
        state.alert_feed = Feed(deps)
    feed: Feed = state.alert_feed
    return feed


def _now(deps: Deps) -> int:
    with deps.pool.connection() as conn:
        return followed(conn, read.PROJECTION.follower)


def _body(row: read.AlertRow) -> bytes:
    return orjson.dumps(shown(row), option=orjson.OPT_UTC_Z)
