"""Named queries over WebSocket: events as they become known, or at the times of a schedule.

The controls are those of a subscription, as parameters of the address. Each text frame is an
EPCISQueryDocument. Nothing is acknowledged: who comes back asks from a time on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from alerts.subscriptions import since
from api import asof
from api.auth import Principal
from api.deps import Deps
from api.epcis import headers, paging
from api.epcis.named import require_query
from api.epcis.problems import PATH
from api.epcis.routing import READERS
from api.epcis.subscriptions import (
    Controls,
    begin_at,
    controls_of,
    instant,
    refused,
    require_unlimited,
)
from api.errors import UNAVAILABLE, refusal
from api.routing import SocketRoute
from domain.epcis import named
from domain.epcis.query import Query
from domain.epcis.schedule import FIELDS, schedule_of
from domain.epcis.translate import EpcFormat
from domain.shared.errors import Busy, DomainError
from projections.epcis import answers
from projections.epcis.documents import query_document, together

# Sockets open at a time in one process, seconds between two looks, events in one frame.
SOCKETS_MAX = 100
POLL_S = 0.5
BATCH_MAX = 500
# Why a socket is closed (RFC 6455): the query went, the key went, the database is away.
GOING_AWAY, POLICY, TRY_AGAIN = 1001, 1008, 1013

_open: set[WebSocket] = set()


@dataclass(slots=True)
class Following:
    """How far one socket was told; every method runs in a thread."""

    deps: Deps
    who: Principal
    name: str
    query: Query
    controls: Controls
    form: EpcFormat
    position: int
    ordinal: int
    due_at: datetime

    def report(self) -> bytes | None:
        """Return the next document to send, None when there is none now."""
        now = self.deps.clock.now()
        require_query(self.deps, self.who, self.name)
        if now < self.due_at:
            return None
        with self.deps.pool.connection() as conn:
            followed = asof.shown_now(conn).ledger
            found = answers.events(
                conn,
                self.query,
                position=followed,
                region=self.who.region_prefix,
                after=answers.Key("", self.position, self.ordinal, 0),
                limit=BATCH_MAX,
            )
            companies = answers.companies(conn, followed) if self.form is EpcFormat.URN else ()
        kept = together(found)
        if len(kept) == BATCH_MAX or len(kept) < len(found):
            self.position, self.ordinal = kept[-1].position, kept[-1].ordinal
        else:
            self.position, self.ordinal = max(self.position, followed), 2**31 - 1
            if self.controls.schedule is not None:
                self.due_at = schedule_of(self.controls.schedule).next_after(now)
        if not kept and not self.controls.report_if_empty:
            return None
        told: dict[str, Any] = {"form": self.form, "companies": companies, "now": now}
        return query_document(kept, query_name=self.name, **told)


async def follow(socket: WebSocket) -> None:
    """Serve one socket until the client, the query or the key goes."""
    socket.scope["trace_id"] = uuid4().hex
    try:
        await READERS.check(socket)
        headers.negotiate(socket)
        following = await run_in_threadpool(_followed, socket)
        if len(_open) >= SOCKETS_MAX:
            raise Busy("busy")
    except DomainError as error:
        await socket.send_denial_response(refusal(socket, error))
        return
    _open.add(socket)
    try:
        begin = following.controls.initial or following.deps.clock.now()
        begun = {**headers.ALWAYS, "GS1-Query-Min-Record-Time": instant(begin)}
        await socket.accept(headers=[(n.lower().encode(), v.encode()) for n, v in begun.items()])
        await _serve(socket, following)
    except WebSocketDisconnect:
        pass
    except UNAVAILABLE:
        await _close(socket, TRY_AGAIN)
    finally:
        _open.discard(socket)


async def _serve(socket: WebSocket, following: Following) -> None:
    listening = asyncio.ensure_future(_until_gone(socket))
    try:
        while not listening.done():
            try:
                await READERS.check(socket)
                found = await run_in_threadpool(following.report)
            except DomainError as error:
                removed = error.code == "unknown_query"
                await _close(socket, GOING_AWAY if removed else POLICY)
                return
            if found is None:
                await asyncio.wait([listening], timeout=POLL_S)
            else:
                await socket.send_text(found.decode())
    finally:
        listening.cancel()


async def _until_gone(socket: WebSocket) -> None:
    """Wait until the client closes; what it says meanwhile is not read."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _close(socket: WebSocket, code: int) -> None:
    if socket.application_state is WebSocketState.CONNECTED:
        await socket.close(code)


def _followed(socket: WebSocket) -> Following:
    """Return what a socket asks for, from its address and headers."""
    deps = cast(Deps, socket.app.state.deps)
    name = socket.path_params["name"]
    query = require_query(deps, socket.state.principal, name)
    require_unlimited(query)
    controls = controls_of(_told(paging.parameters_of(socket)))
    now = deps.clock.now()
    schedule = controls.schedule
    return Following(
        deps=deps,
        who=socket.state.principal,
        name=name,
        query=since(named.query_of(query.query, query.extensions), controls.initial),
        controls=controls,
        form=headers.epc_format(socket),
        position=begin_at(deps, controls.initial),
        ordinal=2**31 - 1,
        due_at=schedule_of(schedule).next_after(now) if schedule else now,
    )


def _told(parameters: dict[str, str]) -> dict[str, Any]:
    """Return the controls of an address as those of a subscription's body."""
    schedule = {name: parameters[name] for name in FIELDS if name in parameters}
    told: dict[str, Any] = {"schedule": schedule} if schedule else {}
    for name in parameters.keys() - schedule.keys():
        read = _READ.get(name)
        if read is None:
            raise refused(name[:64], parameters[name], ", ".join([*_READ, *FIELDS]))
        told[name] = read(parameters[name])
    return told


def _flag(text: str) -> object:
    return {"true": True, "false": False}.get(text.lower(), text)


_READ: dict[str, Callable[[str], object]] = {
    "stream": _flag,
    "reportIfEmpty": _flag,
    "initialRecordTime": str,
}

route = SocketRoute(f"{PATH}/queries/{{name}}/events", follow, READERS)
