"""Commands on the ledger as it would be after those before: tried together, stored together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from domain.shared.decide import fold
from domain.shared.errors import Conflict
from domain.shared.events import Event
from store.envelope import Envelope, Meta
from store.logs import Ledger

S = TypeVar("S")


class Rehearsal:
    """The ledger as it stands, and `new`: what the commands so far would add to it.

    `allow` raises for a region that this caller may not touch.
    """

    def __init__(self, ledger: Ledger, meta: Meta, allow: Callable[[str], object]) -> None:
        self.new: list[Envelope] = []
        self.allow = allow
        self._ledger = ledger
        self._meta = meta
        self._streams: dict[UUID, list[Event]] = {}

    def foresee(self, streams: Collection[UUID]) -> None:
        """Read streams that will be needed, at once rather than one by one."""
        stored = self._ledger.streams(streams)
        self._streams |= {key: [e.event for e in envelopes] for key, envelopes in stored.items()}

    def state_of(self, stream: UUID, evolve: Callable[[S | None, Any], S | None]) -> S | None:
        """Return the state of a stream as it would be, None when it would have no events."""
        return fold(evolve, None, self._events(stream))

    def run(
        self,
        stream: UUID,
        decide: Callable[[Sequence[Event]], Sequence[Event]],
        *,
        region: str = "",
        claims: Sequence[tuple[UUID, Event]] = (),
    ) -> None:
        """Run a command on a stream as `store.commands.execute` does; its errors are the same."""
        if region:
            self.allow(region)
        meta = msgspec.structs.replace(self._meta, region_code=region or self._meta.region_code)
        events = decide(self._events(stream))
        for claimed, claim in claims if events else ():
            if self._events(claimed):
                raise Conflict("already_claimed", claim=claim.TOPIC)
            self._add(claimed, claim, meta)
        for event in events:
            self._add(stream, event, meta)

    def undo(self, count: int) -> None:
        """Forget what was added beyond the first `count`."""
        for envelope in reversed(self.new[count:]):
            self._streams[envelope.originator_id].pop()
        del self.new[count:]

    def _events(self, stream: UUID) -> list[Event]:
        if stream not in self._streams:
            stored = self._ledger.stream(stream)
            self._streams[stream] = [envelope.event for envelope in stored]
        return self._streams[stream]

    def _add(self, stream: UUID, event: Event, meta: Meta) -> None:
        events = self._events(stream)
        events.append(event)
        self.new.append(Envelope(stream, len(events), event, meta))
