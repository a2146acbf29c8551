"""The beginning of a stored readings message, read without its values."""

from __future__ import annotations

import struct
from itertools import accumulate
from typing import NamedTuple

import msgspec

from store.columns import FORMAT

HOUR_MS = 3_600_000

# device, boot, seq, received, backfill, first time, type and bytes of the steps, columns: these are
# skipped over, which makes it several times as fast as unpacking a message.
_Beginning = tuple[str, int, int, int, bool, int, str, bytes, msgspec.Raw]
_decode = msgspec.msgpack.Decoder(_Beginning).decode


class Beginning(NamedTuple):
    """Of a stored message: its device, when it came, how many readings, which hours it touches.

    `hours`: by hour since 1970 the earliest reading there. Times are UTC milliseconds.
    """

    device_id: str
    received_ms: int
    readings: int
    hours: dict[int, int]


def beginning_of(state: bytes) -> Beginning:
    """Return the beginning of a stored message; ValueError for what is no readings message."""
    if state[:1] != bytes([FORMAT]):
        raise ValueError(f"unknown format of stored readings: {state[:1]!r}")
    device_id, _, _, received, _, first, kind, steps, _ = _decode(memoryview(state)[1:])
    earliest, readings = {first // HOUR_MS: first}, 1
    if steps:
        deltas = struct.unpack(f"<{len(steps) // struct.calcsize(kind)}{kind}", steps)
        readings += len(deltas)
        for ts in accumulate(deltas, initial=first):
            hour = ts // HOUR_MS
            if earliest.get(hour, ts) >= ts:
                earliest[hour] = ts
    return Beginning(device_id, received, readings, earliest)


def hours_of(state: bytes) -> tuple[str, dict[int, int]]:
    """Return the device of a stored message, and by hour since 1970 its earliest reading there.

    ValueError for what is no readings message.
    """
    told = beginning_of(state)
    return told.device_id, told.hours
