"""What a command needs of its request, and how it is answered: versions, idempotency, waiting.

A route says which stream and what to decide; this gives the envelope its metadata, honours
`If-Match`, `Idempotency-Key` and `Prefer: wait=N`, and answers with a receipt.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import orjson
from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.asof import Position, followed
from api.auth import Principal
from api.deps import Deps, DepsOf
from api.routing import json_answer
from domain.shared.decide import fold
from domain.shared.errors import Invalid
from domain.shared.events import Event
from store.commands import Answer, Command, Decide, Idempotency, Outcome, execute
from store.envelope import Envelope, Meta
from store.logs import Streams
from store.recorder import Also

# Seconds that `Prefer: wait=N` may ask for at most.
WAIT_S_MAX = 5
# Seconds between two looks at the followers while waiting.
WAIT_STEP_S = 0.01

_WAIT = re.compile(r"(?:^|,)\s*wait=([0-9]{1,3})\s*(?:,|$)")

S = TypeVar("S")


class Receipt(BaseModel):
    """What a command did: the thing's new version, and where the logs stood after it."""

    model_config = ConfigDict(extra="forbid")

    location: str = Field(examples=["/api/v1/sites/dwk-store"])
    version: int = Field(ge=0, examples=[1])
    position: str = Field(pattern=r"^L[0-9]+\.T[0-9]+$", examples=["L12.T34"])


@dataclass(frozen=True, slots=True)
class Call:
    """A command's request: who asks, under which key, how long to wait for the read models."""

    deps: Deps
    who: Principal
    trace_id: str
    body: bytes
    request_hash: str
    idempotency_key: str | None
    wait_s: int

    def meta(
        self, *, region_code: str = "", occurred_at: datetime | None = None, reason: str = ""
    ) -> Meta:
        """Return the metadata of the events of this request."""
        now = self.deps.clock.now()
        return Meta(
            occurred_at=occurred_at or now,
            recorded_at=now,
            actor_id=self.who.key_id,
            actor_role=self.who.role.value,
            region_code=region_code or self.who.region_code,
            correlation_id=self.trace_id,
            source="api",
            reason=reason,
        )

    def run(
        self,
        stream: UUID,
        decide: Callable[[list[Event]], Sequence[Event]],
        *,
        location: str,
        meta: Meta,
        expected_version: int | None = None,
        claims: Sequence[tuple[UUID, Event]] = (),
        guards: Sequence[tuple[UUID, Decide]] = (),
        before: Also | None = None,
        known: Sequence[Envelope] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> Response:
        """Run a command and answer its receipt, and `more`: 201 when the thing is new, else 200.

        `known`: the stream's events where they were read already. `before`: SQL of the same
        transaction.
        """
        telemetry = self.deps.telemetry.last_position()

        def answer(outcome: Outcome) -> Answer:
            return receipt(outcome, location, telemetry, more)

        command = Command(
            stream,
            decide,
            meta,
            expected_version=expected_version,
            claims=claims,
            guards=guards,
            before=before,
            known=known,
            idempotency=self.idempotency(answer),
        )
        outcome = execute(self.deps.ledger, command)
        return self.answered(outcome, answer)

    def idempotency(self, answer: Callable[[Outcome], Answer]) -> Idempotency | None:
        """Return how this request is remembered, None when it asks for nothing."""
        if self.idempotency_key is None:
            return None
        return Idempotency(self.who.key_id, self.idempotency_key, self.request_hash, answer)

    def answered(self, outcome: Outcome, answer: Callable[[Outcome], Answer]) -> Response:
        """Return the answer of a command, after the read models reached it where asked for."""
        self.wait_for(outcome.position)
        given = outcome.answer or answer(outcome)
        headers = dict(given.headers)
        if outcome.replayed:
            headers["Idempotency-Replayed"] = "true"
        return Response(given.body, given.status, headers, media_type="application/json")

    def wait_for(self, position: int, seconds: int = 0) -> None:
        """Wait until every read model has reached a position, at most `wait_s`, or `seconds`."""
        longest = max(self.wait_s, seconds)
        until = time.monotonic() + longest
        while longest and followed(self.deps) < position and time.monotonic() < until:
            time.sleep(WAIT_STEP_S)


def receipt(
    outcome: Outcome, location: str, telemetry: int, more: Mapping[str, object] | None = None
) -> Answer:
    """Return the answer of a command that stands for the thing at `location`."""
    location = quote(location)
    position = str(Position(outcome.position, telemetry))
    body = {"location": location, "version": outcome.version, "position": position}
    headers = {
        "Location": location,
        "ETag": f'"{outcome.version}"',
        "Vaxtrail-Position": position,
    }
    created = bool(outcome.events) and outcome.version == len(outcome.events)
    return Answer(201 if created else 200, headers, orjson.dumps(body | dict(more or {})))


def versioned(
    streams: Streams, stream: UUID, evolve: Callable[[S | None, Any], S | None]
) -> tuple[S | None, int]:
    """Return the present state of a stream and its version, (None, 0) when it has no events."""
    envelopes = streams.stream(stream)
    version = envelopes[-1].originator_version if envelopes else 0
    return fold(evolve, None, (envelope.event for envelope in envelopes)), version


def state_of(
    streams: Streams, stream: UUID, evolve: Callable[[S | None, Any], S | None]
) -> S | None:
    """Return the present state of a stream, None when it has no events."""
    return versioned(streams, stream, evolve)[0]


def shown(state: Event, version: int, /, **more: object) -> Response:
    """Answer a thing whose state has the shape of an event, and `more`; its version is the ETag."""
    headers = {"ETag": f'"{version}"'}
    return json_answer({**asdict(state), **more, "version": version}, headers=headers)  # type: ignore[call-overload]  # every event is a dataclass


async def call_of(
    request: Request,
    deps: DepsOf,
    idempotency_key: Annotated[
        str | None,
        Header(
            pattern=r"^[A-Za-z0-9_.:-]{1,200}$",
            description="The same key gives the first answer again, whatever happened to it.",
        ),
    ] = None,
    prefer: Annotated[
        str | None,
        Header(
            pattern=r"^[A-Za-z0-9=,; -]{1,100}$",
            examples=["wait=2"],
            description="`wait=N`: answer when the read models have it, after N <= 5 s at most.",
        ),
    ] = None,
) -> Call:
    """Return what a command needs of its request."""
    body = await request.body()
    asked = f"{request.method} {request.url.path}\n".encode() + body
    return Call(
        deps=deps,
        who=request.state.principal,
        trace_id=request.scope["trace_id"],
        body=body,
        request_hash=hashlib.sha256(asked).hexdigest(),
        idempotency_key=idempotency_key,
        wait_s=_wait_s(prefer or ""),
    )


def _wait_s(prefer: str) -> int:
    found = _WAIT.search(prefer)
    return min(int(found[1]), WAIT_S_MAX) if found else 0


async def version_of(
    if_match: Annotated[
        str | None,
        Header(
            pattern=r'^"[0-9]{1,15}"$',
            examples=['"1"'],
            description="Required: the ETag of the thing as the caller saw it.",
        ),
    ] = None,
) -> int:
    """Return the version that the caller decided on; 428 when it names none."""
    if if_match is None:
        raise Invalid("version_required", field="If-Match")
    return int(if_match.strip('"'))


CallOf = Annotated[Call, Depends(call_of)]
VersionOf = Annotated[int, Depends(version_of)]
