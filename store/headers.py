"""The beginning of a stored readings message, read without its values."""

from __future__ import annotations

import struct
from itertools import accumulate

import msgspec

from store.columns import FORMAT

HOUR_MS = 3_600_000

# device, boot, seq, received, backfill, first time, type and bytes of the steps, columns: these are
# skipped over, which makes it several times as fast as unpacking a message.
_Beginning = tuple[str, int, int, int, bool, int, str, bytes, msgspec.Raw]
_decode = msgspec.msgpack.Decoder(_Beginning).decode


def hours_of(state: bytes) -> tuple[str, dict[int, int]]:
    """Return the device of a stored message, and by hour since 1970 its earliest reading there.

    Times are UTC milliseconds. ValueError for what is no readings message.
    """
    if state[:1] != bytes([FORMAT]):
        raise ValueError(f"unknown format of stored readings: {state[:1]!r}")
    device_id, _, _, _, _, first, kind, steps, _ = _decode(memoryview(state)[1:])
    earliest = {first // HOUR_MS: first}
    if steps:
        deltas = struct.unpack(f"<{len(steps) // struct.calcsize(kind)}{kind}", steps)
        for ts in accumulate(deltas, initial=first):
            hour = ts // HOUR_MS
            if earliest.get(hour, ts) >= ts:
                earliest[hour] = ts
    return device_id, earliest
