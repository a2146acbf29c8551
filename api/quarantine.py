"""Messages that could not be taken, over HTTP: listed, played again, or set aside."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal
from uuid import UUID

import psycopg
from fastapi import Query, Response
from psycopg.rows import dict_row

from api.auth import Principal, permission
from api.commands import WAIT_STEP_S, CallOf
from api.deps import Deps, DepsOf
from api.paging import PageOf
from api.routing import json_answer, module_router
from api.schemas import Body, Items, RegionAsked
from domain.cold_chain.events import QuarantineResolved
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.roles import Role
from store.envelope import Envelope, Meta
from store.logs import Telemetry
from store.sql import load_queries

router = module_router("cold_chain")
queries = load_queries(FilePath(__file__).with_suffix(".sql"))

WATCHERS = (Role.CDC, Role.STEWARD, Role.VENDOR)
# Characters of a payload that a list shows.
PAYLOAD_SHOWN_MAX = 2_000
_BEGINNING = (datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))

State = Literal["open", "replay", "resolved", "set_aside"]


class May(StrEnum):
    """Permissions of the quarantine."""

    READ = "cold_chain.read_quarantine"
    RESOLVE = "cold_chain.resolve_quarantine"


class Quarantined(Body):
    """A refused message: where it came from, why it was refused, what became of it.

    `payload` is its beginning as text; `seen` how often it came.
    """

    id: UUID
    topic: str
    payload: str
    code: str
    detail: str
    received_at: datetime
    seen: int
    state: State
    resolved_at: datetime | None


Watcher = Annotated[Principal, permission(May.READ, *WATCHERS)]
Resolver = Annotated[Principal, permission(May.RESOLVE, *WATCHERS)]


@router.get("/quarantine", response_model=Items[Quarantined])
def list_quarantine(
    *,
    who: Watcher,
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    state: State | None = None,
    code: Annotated[str | None, Query(pattern=r"^[a-z_]{1,40}$")] = None,
) -> Response:
    """List refused messages of the caller's region, oldest first."""
    received_at, message_id = _after(page.after_key(str, str))
    wanted = {
        "region": who.narrowed(region),
        "state": state,
        "code": code,
        "received_at": received_at,
        "id": message_id,
        "limit": page.limit + 1,
    }
    with deps.pool.connection() as conn, conn.cursor(row_factory=dict_row) as cur:
        rows = cur.execute(queries.listed, wanted).fetchall()
    shown = [_shown(row) for row in rows]
    return page.answer(shown, lambda row: [row["received_at"].isoformat(), str(row["id"])])


@router.get("/quarantine/{message_id}", response_model=Quarantined)
def read_quarantined(message_id: UUID, who: Watcher, deps: DepsOf) -> Response:
    """Return one refused message."""
    return json_answer(_shown(_found(deps, who, message_id)))


@router.post("/quarantine/{message_id}/replay", response_model=Quarantined)
def replay_quarantined(message_id: UUID, who: Resolver, call: CallOf) -> Response:
    """Play a message again after its cause was mended; `Prefer: wait=N` waits for the outcome."""
    found = _found(call.deps, who, message_id)
    if found["state"] == "resolved":
        raise Conflict("already_resolved", id=str(message_id))
    with call.deps.pool.connection() as conn:
        conn.execute(queries.replay, {"actor_id": who.key_id, "id": message_id})
    until = time.monotonic() + call.wait_s
    found = _found(call.deps, who, message_id)
    while found["state"] == "replay" and time.monotonic() < until:
        time.sleep(WAIT_STEP_S)
        found = _found(call.deps, who, message_id)
    return json_answer(_shown(found))


@router.post("/quarantine/{message_id}/set-aside", response_model=Quarantined)
def set_aside_quarantined(message_id: UUID, who: Resolver, call: CallOf) -> Response:
    """Set a message aside: nothing more is expected of it. It stays in the list and the log."""
    found = _found(call.deps, who, message_id)
    if found["state"] == "resolved":
        raise Conflict("already_resolved", id=str(message_id))
    if found["state"] != "set_aside":
        set_aside(call.deps.telemetry, message_id, call.meta())
    return json_answer(_shown(_found(call.deps, who, message_id)))


def set_aside(telemetry: Telemetry, message_id: UUID, meta: Meta) -> None:
    """Record that nothing more is expected of a message, in the log and in the list."""
    now = meta.recorded_at
    history = telemetry.stream(message_id)
    version = history[-1].originator_version + 1 if history else 1
    event = QuarantineResolved(
        outcome="set_aside", actor_id=meta.actor_id, resolved_ms=int(now.timestamp() * 1000)
    )

    def mark(cur: psycopg.Cursor[Any], _position: int) -> None:
        cur.execute(queries.set_aside, (meta.actor_id, now, message_id))

    telemetry.append([Envelope(message_id, version, event, meta)], after=mark)


def _found(deps: Deps, who: Principal, message_id: UUID) -> Mapping[str, Any]:
    with deps.pool.connection() as conn, conn.cursor(row_factory=dict_row) as cur:
        row = cur.execute(queries.one, (message_id,)).fetchone()
    if row is None or not who.covers(_region(row["topic"])):
        raise NotFound("unknown_message", id=str(message_id))
    return row


def _region(topic: str) -> str:
    """Return the region of a topic `cc/v1/{region}/…`; nothing of it may be right."""
    levels = topic.split("/")
    return levels[2] if len(levels) > 2 else ""


def _after(key: tuple[Any, ...] | None) -> tuple[datetime, UUID]:
    if key is None:
        return _BEGINNING
    try:
        return datetime.fromisoformat(key[0]), UUID(key[1])
    except ValueError:
        raise Invalid("bad_cursor", field="cursor") from None


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    text = bytes(row["payload"]).decode(errors="replace")
    return {**row, "payload": text[:PAYLOAD_SHOWN_MAX]}
