"""A batch: the messages of one transaction on their way through the steps.

A step takes the batch and adds to it. The database is written by `write` alone, but for the numbers
of devices seen for the first time; the states of devices in memory run ahead of it. When a batch
fails, it and all of them are dropped, and it is made anew from its messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from alerts.notices import Notice
from domain.alerting.episodes import Episode
from domain.alerting.watch import to_ms
from domain.cold_chain.commands import Reply
from domain.cold_chain.gaps import GapNotes
from domain.shared.events import Event
from ingest.directory import Directory
from ingest.refusals import Refused
from ingest.scans import Scan
from ingest.state import DeviceState, DeviceStates, Values
from ingest.topics import Topic
from ingest.wire import Message
from store.envelope import Envelope, Meta

# The topic of a message until, and unless, its own is understood.
NOWHERE = Topic("", "", "", "")


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came. `connection` and `mid` say which PUBACK it waits for, if any."""

    topic: str
    payload: bytes
    connection: int = 0
    mid: bytes = b""  # of the packet, as its two bytes
    replay_id: UUID | None = None  # of the quarantine, for a message played again
    replayed_by: str = ""
    received_ms: int = 0  # when it first came, for a message played again


@dataclass(frozen=True, slots=True)
class Report:
    """What a device or a gateway tells beside readings: JSON as it came."""

    kind: str
    ts_ms: int
    online: bool
    payload: str


@dataclass(slots=True)
class Item:
    """One message of the batch: what it said, or why it is refused, and what became of it."""

    received: Received
    topic: Topic = NOWHERE
    content: Message | tuple[Message, ...] | Scan | Report | None = None
    refused: Refused | None = None
    new: int = 0
    repeated: int = 0
    conflicting: int = 0
    quarantine_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A new reading: identity, time, values."""

    state: DeviceState
    backfill: bool
    boot: int
    seq: int
    ts_ms: int
    values: Values


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """The engine's record of an episode, and the probe it belongs to."""

    device_no: int
    channel: str
    episode: Episode


@dataclass(slots=True)
class Batch:
    """The messages of one transaction, and all that it will write.

    `shifted`: a device whose probes moved or whose rules changed, judged again though it is silent.
    """

    now: datetime
    items: list[Item]
    directory: Directory
    memory: DeviceStates
    shifted: str = ""
    states: dict[str, DeviceState] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    telemetry: dict[tuple[UUID, int], Envelope] = field(default_factory=dict)
    ledger: dict[tuple[UUID, int], Envelope] = field(default_factory=dict)
    episodes: dict[str, EpisodeRow] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    conflicts: dict[UUID, Event] = field(default_factory=dict)
    gaps: GapNotes = field(default_factory=GapNotes)
    replies: list[Reply] = field(default_factory=list)

    @property
    def messages(self) -> list[tuple[Item, Message]]:
        """The readings of messages that are not refused; one message may tell of many devices."""
        told = ((item, item.content) for item in self.taken)
        return [
            (item, message)
            for item, content in told
            for message in (content if isinstance(content, tuple) else (content,))
            if isinstance(message, Message)
        ]

    @property
    def now_ms(self) -> int:
        """The batch's own time in UTC milliseconds: when its messages are recorded."""
        return to_ms(self.now)

    @property
    def taken(self) -> list[Item]:
        """The messages that are not refused."""
        return [item for item in self.items if item.refused is None]

    def load(
        self, conn: psycopg.Connection[Any], device_ids: Iterable[str], *, numbering: bool
    ) -> None:
        """Add the states of these devices; see DeviceStates.load."""
        wanted = {device_id for device_id in device_ids if device_id not in self.states}
        self.states.update(self.memory.load(conn, wanted, numbering=numbering))

    def add_telemetry(self, stream: UUID, version: int, event: Event, **meta: Any) -> None:
        """Add an event of the telemetry log."""
        self.telemetry[stream, version] = self._envelope(stream, version, event, meta)

    def add_ledger(self, stream: UUID, version: int, event: Event, **meta: Any) -> Envelope:
        """Add an event of the ledger and return it in its envelope."""
        envelope = self.ledger[stream, version] = self._envelope(stream, version, event, meta)
        return envelope

    def _envelope(self, stream: UUID, version: int, event: Event, meta: dict[str, Any]) -> Envelope:
        occurred_at = meta.pop("occurred_at", self.now)
        source = meta.pop("source", "mqtt")
        whole = Meta(occurred_at=occurred_at, recorded_at=self.now, source=source, **meta)
        return Envelope(stream, version, event, whole)
