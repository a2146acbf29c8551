"""A sheet: the messages of the fast lane for one transaction, gathered in columns.

Rows and events leave it in COPY's binary form, put together by numpy for the whole sheet, or as
plain rows where they are few. Both are, to the bit, what the careful way stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from eventsourcing.persistence import StoredEvent

from domain.alerting.watch import to_datetime, to_ms
from domain.cold_chain.events import ReadingsRecorded
from ingest.ranges import BOOT_SHIFT, SEQ_END
from ingest.readings import device_stream
from ingest.state import BOOLEAN, TYPED, DeviceState, columns
from store.columns import Packed, pack_columns, pack_fields

Channels = tuple[str, ...]

DAY_MS = 86_400_000
# PostgreSQL counts microseconds from here.
_EPOCH_MS = 946_684_800_000  # 2000-01-01T00:00:00Z
_TOPIC = ReadingsRecorded.TOPIC.encode()
_TOPIC_FIELD = len(_TOPIC).to_bytes(4, "big") + _TOPIC
_FIXED = (("device_no", ">i4"), ("ts", ">i8"), ("boot", ">i4"), ("seq", ">i8"), ("batch", ">i8"))
_dtypes: dict[Channels, np.dtype[Any]] = {}


class Lane:
    """One topic of one device whose ordinary messages go straight into columns (lanes.py).

    `end_index`: index in the device's ranges of the end that the topic's next message continues;
    ends have odd indexes.
    """

    __slots__ = ("ack", "backfill", "end_index", "event_head", "state")

    def __init__(self, state: DeviceState, ack: str, *, backfill: bool) -> None:
        self.state = state
        self.ack = ack
        self.backfill = backfill
        self.end_index = 1
        stream = device_stream(state.device_id).bytes
        # The beginning of the stored event in COPY's binary form: 4 columns, 16 bytes of uuid, and
        # the length of the version that follows.
        self.event_head = b"\0\x04" + b"\0\0\0\x10" + stream + b"\0\0\0\x08"


@dataclass(slots=True)
class Group:
    """The messages that name the same channels: one entry each, and their readings in a row."""

    channels: Channels
    lanes: list[Lane] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    ts_ms: list[int] = field(default_factory=list)
    columns: list[list[float]] = field(default_factory=list)


@dataclass(slots=True)
class Sheet:
    """The messages of one transaction. `mids`: the packet ids to acknowledge on `connection`."""

    connection: int = 0
    mids: Sequence[bytes] = ()
    groups: dict[Channels, Group] = field(default_factory=dict)
    rows: int = 0

    def add(
        self,
        lane: Lane,
        version: int,
        ts_ms: Sequence[int],
        channels: Channels,
        values: Sequence[Iterable[float]],
    ) -> None:
        """Add a message: n readings from `version` on, of each channel n values, none missing."""
        group = self.groups.get(channels)
        if group is None:
            group = self.groups[channels] = Group(channels, columns=[[] for _ in channels])
        n = len(ts_ms)
        group.lanes.append(lane)
        group.versions.append(version)
        group.counts.append(n)
        group.ts_ms += ts_ms
        for column, added in zip(group.columns, values, strict=True):
            column.extend(added)
        self.rows += n

    def days(self) -> set[int]:
        """Return the days of the readings, counted from 1970."""
        found = (np.unique(np.array(group.ts_ms) // DAY_MS) for group in self.groups.values())
        return {day for days in found for day in days.tolist()}

    def readings(self, number: int) -> list[bytes]:
        """Return the rows of `reading` in COPY's binary form; `number` is the batch's."""
        return [_reading_rows(group, number) for group in self.groups.values()]

    def reading_rows(self, number: int) -> list[tuple[object, ...]]:
        """Return the same rows as plain values, for the few of a small sheet."""
        return [row for group in self.groups.values() for row in _plain_rows(group, number)]

    def events(self, now: datetime) -> list[bytes]:
        """Return the rows of telemetry events in COPY's binary form."""
        parts: list[bytes] = []
        for group in self.groups.values():
            for lane, version, state in _states(group, to_ms(now)):
                parts += (
                    lane.event_head,
                    version.to_bytes(8, "big"),
                    _TOPIC_FIELD,
                    len(state).to_bytes(4, "big"),
                    state,
                )
        return parts

    def stored_events(self, now: datetime) -> list[StoredEvent]:
        """Return the same events as plain rows."""
        return [
            StoredEvent(UUID(bytes=lane.event_head[6:22]), version, ReadingsRecorded.TOPIC, state)
            for group in self.groups.values()
            for lane, version, state in _states(group, to_ms(now))
        ]


def _states(group: Group, received_ms: int) -> list[tuple[Lane, int, bytes]]:
    """Return of each message its lane, its version and the stored state of its event."""
    counts = np.array(group.counts)
    floats = [np.array(column, dtype=np.float64) for column in group.columns]
    packed: list[list[Packed]] = [pack_columns(column, counts) for column in floats]
    deltas = np.diff(np.array(group.ts_ms)).astype("<i4").tobytes()
    states = []
    at = 0
    for lane, version, n, *of_channels in zip(
        group.lanes, group.versions, group.counts, *packed, strict=True
    ):
        state = pack_fields(
            lane.state.device_id,
            version >> BOOT_SHIFT,
            version & (SEQ_END - 1),
            received_ms,
            lane.backfill,
            group.ts_ms[at],
            "i",
            deltas[4 * at : 4 * (at + n - 1)],
            dict(zip(group.channels, of_channels, strict=True)),
        )
        states.append((lane, version, state))
        at += n
    return states


def _dtype(channels: Channels) -> np.dtype[Any]:
    """Return the layout of a row in COPY's binary form: a length before every value."""
    fields: list[tuple[str, str]] = [("n", ">i2")]
    for name, kind in (*_FIXED, ("backfill", "u1")):
        fields += [(f"{name}.n", ">i4"), (name, kind)]
    for name in TYPED:
        fields.append((f"{name}.n", ">i4"))
        if name in channels:
            fields.append((name, "u1" if name in BOOLEAN else ">f8"))
    return np.dtype([*fields, ("extra.n", ">i4")])


def _lengths(dtype: np.dtype[Any]) -> list[tuple[str, int]]:
    """Return the length that stands before every value of a row."""
    fields: Any = dtype.fields or {}
    return [
        (name, fields[name[:-2]][0].itemsize if name[:-2] in fields else -1)
        for name in fields
        if name.endswith(".n")
    ]


def _reading_rows(group: Group, number: int) -> bytes:
    dtype = _dtypes.get(group.channels)
    if dtype is None:
        dtype = _dtypes[group.channels] = _dtype(group.channels)
    rows = np.zeros(len(group.ts_ms), dtype=dtype)
    for name, length in _lengths(dtype):
        rows[name] = length
    counts = np.array(group.counts)
    numbers = [lane.state.device_no for lane in group.lanes]
    versions = np.repeat(np.array(group.versions), counts)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    rows["n"] = len(_FIXED) + 1 + len(TYPED) + 1
    rows["device_no"] = np.repeat(np.array(numbers), counts)
    rows["ts"] = (np.array(group.ts_ms) - _EPOCH_MS) * 1_000
    rows["boot"] = versions >> BOOT_SHIFT
    rows["seq"] = (versions & (SEQ_END - 1)) + np.arange(len(rows)) - starts
    rows["batch"] = number
    rows["backfill"] = np.repeat(np.array([lane.backfill for lane in group.lanes]), counts)
    for channel, column in zip(group.channels, group.columns, strict=True):
        rows[channel] = np.array(column) != 0 if channel in BOOLEAN else column
    return rows.tobytes()


def _plain_rows(group: Group, number: int) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    at = 0
    for lane, version, n in zip(group.lanes, group.versions, group.counts, strict=True):
        boot, seq = version >> BOOT_SHIFT, version & (SEQ_END - 1)
        for i in range(n):
            found = (float(column[at + i]) for column in group.columns)
            values = dict(zip(group.channels, found, strict=True))
            ts = to_datetime(group.ts_ms[at + i])
            key = (lane.state.device_no, ts, boot, seq + i, number, lane.backfill)
            rows.append((*key, *columns(values)))
        at += n
    return rows
