"""What the routes work with: one frozen value that `runtime/` builds and `create_app` takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import UUID

from fastapi import Depends, Request

from alerts.channels.destinations import Destinations
from alerts.channels.offered import Offer
from domain.shared.errors import NotFound

if TYPE_CHECKING:
    import psycopg
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from prometheus_client.registry import Collector
    from psycopg_pool import ConnectionPool

    from domain.shared.clock import Clock
    from store.envelope import Envelope
    from store.logs import Ledger, Telemetry


# Channels and times (UTC ms) of the readings in a message of a device; None: it cannot be read.
Sample = tuple[Collection[str], Sequence[int]]
ReadSample = Callable[[str, bytes, int], Sample | None]


def _no_key() -> Ed25519PrivateKey:
    raise NotFound("no_signing_key")


def _unread(_device_id: str, _payload: bytes, _now_ms: int) -> Sample | None:
    return None


@dataclass(frozen=True, slots=True)
class Deps:
    """The parts of a running instance.

    `pool` serves reads (autocommit, 4 to 8 connections, application role). `readiness` names the
    parts that are not ready with the reason; empty = ready. `collectors` tell the rest of the
    instance's figures on `/metrics`. `read_sample` opens a message of readings, given its device
    and the time now (UTC ms). `signing_key` gives the key for files that leave the instance.
    `elements` is the table of immunization data elements (None: the one shipped). `offer` is which
    channels of alerts are set up. `known` are the streams of the ledger that were read for the
    request in hand.
    """

    ledger: Ledger
    telemetry: Telemetry
    pool: ConnectionPool[psycopg.Connection[Any]]
    clock: Clock
    readiness: Callable[[], Mapping[str, str]]
    collectors: Sequence[Collector] = ()
    read_sample: ReadSample = _unread
    signing_key: Callable[[], Ed25519PrivateKey] = _no_key
    elements: Path | None = None
    destinations: Destinations = field(default_factory=Destinations)
    offer: Offer = field(default_factory=Offer)
    known: Mapping[UUID, Sequence[Envelope]] = field(default_factory=dict)

    def knowing(self, streams: Collection[UUID]) -> Deps:
        """Return the same parts for one request, after these streams were read in one question."""
        return replace(self, known=self.ledger.streams(streams))

    def stream(self, stream: UUID) -> Sequence[Envelope]:
        """Return a stream of the ledger; one that is known is not read again."""
        return self.known[stream] if stream in self.known else self.ledger.stream(stream)


async def deps_of(request: Request) -> Deps:
    """Return the parts of the application that serves this request."""
    return cast(Deps, request.app.state.deps)


DepsOf = Annotated[Deps, Depends(deps_of)]
