"""A sheet: the messages of the fast lane for one transaction, gathered in columns.

Rows and events leave it in COPY's binary form, put together by numpy for the whole sheet, or as
plain rows where they are few. Both are, to the bit, what the careful way stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import numpy as np
from eventsourcing.persistence import StoredEvent

from domain.alerting.watch import to_datetime, to_ms
from domain.cold_chain.events import ReadingsRecorded
from ingest.ranges import BOOT_SHIFT, SEQ_END
from ingest.readings import device_stream
from ingest.state import BOOLEAN, TYPED, DeviceState, columns
from store.columns import Floats, Ints, joined, pack, pack_alike, pack_id, starts_of

Channels = tuple[str, ...]

DAY_MS = 86_400_000
# PostgreSQL counts microseconds from here.
_EPOCH_MS = 946_684_800_000  # 2000-01-01T00:00:00Z
_TOPIC = ReadingsRecorded.TOPIC.encode()
_TOPIC_FIELD = len(_TOPIC).to_bytes(4, "big") + _TOPIC
_FIXED = (
    ("device_no", ">i4"),
    ("ts", ">i8"),
    ("boot", ">i4"),
    ("seq", ">i8"),
    ("batch", ">i8"),
    ("backfill", "u1"),
)


class Lane:
    """One topic of one device whose ordinary messages go straight into columns (lanes.py).

    `end_index`: index in the device's ranges of the end that the topic's next message continues;
    ends have odd indexes. `sample_ms`: when its clock is looked at next.
    """

    __slots__ = (
        "ack",
        "backfill",
        "device_no",
        "end_index",
        "event_head",
        "packed_id",
        "sample_ms",
        "state",
    )

    def __init__(self, state: DeviceState, ack: str, *, backfill: bool) -> None:
        self.state = state
        self.ack = ack
        self.backfill = backfill
        self.end_index = 1
        self.sample_ms = 0
        self.device_no = state.device_no
        self.packed_id = pack_id(state.device_id)
        stream = device_stream(state.device_id).bytes
        # The beginning of the stored event in COPY's binary form: 4 columns, 16 bytes of uuid, and
        # the length of the version that follows.
        self.event_head = b"\0\x04" + b"\0\0\0\x10" + stream + b"\0\0\0\x08"


@dataclass(frozen=True, slots=True)
class Part:
    """m messages, one entry each, and their readings in a row: times and of each channel values."""

    lanes: Sequence[Lane]
    versions: Ints
    counts: Ints
    ts_ms: Ints
    columns: Sequence[Floats]

    @property
    def starts(self) -> Ints:
        """The index of each message's first reading."""
        return starts_of(self.counts)

    def only(self, of: Ints) -> Part:
        """Return a part of these messages, by their indexes, in this order."""
        counts = self.counts[of]
        moved = self.starts[of] - starts_of(counts)
        readings = np.repeat(moved, counts) + np.arange(counts.sum())
        return Part(
            [self.lanes[n] for n in of.tolist()],
            self.versions[of],
            counts,
            self.ts_ms[readings],
            [column[readings] for column in self.columns],
        )


@dataclass(slots=True)
class Sheet:
    """The messages of one transaction. `mids`: the packet ids to acknowledge on `connection`."""

    connection: int = 0
    mids: Sequence[bytes] = ()
    rows: int = 0
    _parts: dict[Channels, list[Part]] = field(default_factory=dict)
    _groups: dict[Channels, Part] = field(default_factory=dict)

    def add(self, channels: Channels, part: Part) -> None:
        """Add messages that name the same channels; no value is missing."""
        self._parts.setdefault(channels, []).append(part)
        self.rows += len(part.ts_ms)

    @property
    def devices(self) -> set[int]:
        """The numbers of the devices it has messages of. Ask while it gathers."""
        parts = (part for parts in self._parts.values() for part in parts)
        return {lane.device_no for part in parts for lane in part.lanes}

    @property
    def groups(self) -> Iterable[tuple[Channels, Part]]:
        """The messages by the channels that they name, one device after the other.

        So neighbours fall on the same pages of every index: in order of arrival, a row of many
        devices costs PostgreSQL nearly twice as much. Ask when nothing will be added any more.
        """
        if self._parts:
            self._groups = {name: _in_order(_joined(parts)) for name, parts in self._parts.items()}
            self._parts = {}
        return self._groups.items()

    def days(self) -> set[int]:
        """Return the days of the readings, counted from 1970."""
        found = (np.unique(part.ts_ms // DAY_MS) for _, part in self.groups)
        return {day for days in found for day in days.tolist()}

    @property
    def columns(self) -> Channels:
        """The columns of `readings`: what every reading has, and the channels that any names."""
        named = {channel for channels, _ in self.groups for channel in channels}
        return (*(name for name, _ in _FIXED), *(name for name in TYPED if name in named))

    def readings(self, number: int) -> list[bytes]:
        """Return the rows of `reading` in COPY's binary form; `number` is the batch's."""
        among = self.columns
        return [_reading_rows(channels, among, part, number) for channels, part in self.groups]

    def reading_rows(self, number: int) -> list[tuple[object, ...]]:
        """Return the same rows as plain values, for the few of a small sheet."""
        return [
            row for channels, part in self.groups for row in _plain_rows(channels, part, number)
        ]

    def events(self, now: datetime) -> list[bytes]:
        """Return the rows of telemetry events in COPY's binary form."""
        ms = to_ms(now)
        return [rows for channels, part in self.groups for rows in _event_rows(channels, part, ms)]

    def stored_events(self, now: datetime) -> list[StoredEvent]:
        """Return the same events as plain rows."""
        return [
            StoredEvent(UUID(bytes=lane.event_head[6:22]), version, ReadingsRecorded.TOPIC, state)
            for channels, part in self.groups
            for lane, version, state in _states(channels, part, to_ms(now), range(len(part.lanes)))
        ]


def _in_order(part: Part) -> Part:
    """Return the part with its messages by device, and by version."""
    devices = np.array([lane.device_no for lane in part.lanes])
    return part.only(np.lexsort((part.versions, devices)))


def _joined(parts: Sequence[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    return Part(
        [lane for part in parts for lane in part.lanes],
        np.concatenate([part.versions for part in parts]),
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.ts_ms for part in parts]),
        [np.concatenate(of) for of in zip(*[part.columns for part in parts], strict=True)],
    )


def _event_rows(channels: Channels, part: Part, received_ms: int) -> Iterable[bytes]:
    """Return the rows of the events: those of the same length together, others one by one."""
    lanes, left = part.lanes, np.ones(len(part.lanes), dtype=np.bool_)
    for alike in pack_alike(
        ids=[lane.packed_id for lane in lanes],
        boots=part.versions >> BOOT_SHIFT,
        seqs=part.versions & (SEQ_END - 1),
        received_ms=received_ms,
        backfill=np.array([lane.backfill for lane in lanes]),
        counts=part.counts,
        ts_ms=part.ts_ms,
        columns=dict(zip(channels, part.columns, strict=True)),
    ):
        left[alike.of] = False
        heads = b"".join([lanes[i].event_head for i in alike.of.tolist()])
        size = alike.states.shape[1]
        versions = part.versions[alike.of].astype(">i8")
        fields = [
            np.frombuffer(heads, dtype=np.uint8).reshape(len(alike.of), -1),
            versions.view(np.uint8).reshape(len(alike.of), -1),
            _TOPIC_FIELD + size.to_bytes(4, "big"),
            alike.states,
        ]
        yield joined(len(alike.of), fields).tobytes()
    for lane, version, state in _states(channels, part, received_ms, np.flatnonzero(left).tolist()):
        length = len(state).to_bytes(4, "big")
        yield lane.event_head + version.to_bytes(8, "big") + _TOPIC_FIELD + length + state


def _states(
    channels: Channels, part: Part, received_ms: int, of: Iterable[int]
) -> Iterable[tuple[Lane, int, bytes]]:
    """Return of some messages the lane, the version and the stored state of the event."""
    starts = part.starts
    for i in of:
        lane, version = part.lanes[i], int(part.versions[i])
        within = slice(starts[i], starts[i] + part.counts[i])
        event = ReadingsRecorded(
            device_id=lane.state.device_id,
            boot=version >> BOOT_SHIFT,
            seq=version & (SEQ_END - 1),
            ts_ms=tuple(part.ts_ms[within].tolist()),
            columns={
                name: tuple(values[within].tolist())
                for name, values in zip(channels, part.columns, strict=True)
            },
            received_ms=received_ms,
            backfill=lane.backfill,
        )
        yield lane, version, pack(event)


@lru_cache
def _dtype(channels: frozenset[str], among: Channels) -> np.dtype[Any]:
    """Return the layout of a row in COPY's binary form: a length before every value.

    among: all columns; of channels that are not named there is the length only.
    """
    fields: list[tuple[str, str]] = [("n", ">i2")]
    for name, kind in _FIXED:
        fields += [(f"{name}.n", ">i4"), (name, kind)]
    for name in among[len(_FIXED) :]:
        fields.append((f"{name}.n", ">i4"))
        if name in channels:
            fields.append((name, "u1" if name in BOOLEAN else ">f8"))
    return np.dtype(fields)


def _lengths(dtype: np.dtype[Any]) -> list[tuple[str, int]]:
    """Return the length that stands before every value of a row."""
    fields: Any = dtype.fields or {}
    return [
        (name, fields[name[:-2]][0].itemsize if name[:-2] in fields else -1)
        for name in fields
        if name.endswith(".n")
    ]


def _reading_rows(channels: Channels, among: Channels, part: Part, number: int) -> bytes:
    dtype = _dtype(frozenset(channels), among)
    lanes, counts = part.lanes, part.counts
    rows = np.zeros(len(part.ts_ms), dtype=dtype)
    for name, length in _lengths(dtype):
        rows[name] = length
    versions = np.repeat(part.versions, counts)
    rows["n"] = len(among)
    rows["device_no"] = np.repeat(np.array([lane.device_no for lane in lanes]), counts)
    rows["ts"] = (part.ts_ms - _EPOCH_MS) * 1_000
    rows["boot"] = versions >> BOOT_SHIFT
    rows["seq"] = (versions & (SEQ_END - 1)) + np.arange(len(rows)) - np.repeat(part.starts, counts)
    rows["batch"] = number
    rows["backfill"] = np.repeat(np.array([lane.backfill for lane in lanes]), counts)
    for channel, column in zip(channels, part.columns, strict=True):
        rows[channel] = column != 0 if channel in BOOLEAN else column
    return rows.tobytes()


def _plain_rows(channels: Channels, part: Part, number: int) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    ts_ms = part.ts_ms.tolist()
    of_rows = list(zip(*[column.tolist() for column in part.columns], strict=True))
    at = 0
    for lane, version, n in zip(
        part.lanes, part.versions.tolist(), part.counts.tolist(), strict=True
    ):
        boot, seq = version >> BOOT_SHIFT, version & (SEQ_END - 1)
        for i in range(n):
            values = dict(zip(channels, of_rows[at + i], strict=True))
            key = (lane.device_no, to_datetime(ts_ms[at + i]), boot, seq + i, number, lane.backfill)
            rows.append((*key, *columns(values)))
        at += n
    return rows
