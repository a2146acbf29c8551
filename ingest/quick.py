"""The built-in JSON forms, read straight into columns: the common message and nothing else.

Of the flat form (one object or an array) only what block.py leaves comes here: with fields beside
it, numbers or offsets for times, or compressed. What does not look entirely ordinary gives None and
is decoded with care (wire.py), which then finds
the same readings or the reason to refuse them. Nothing is refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ingest.ranges import SEQ_END
from ingest.refusals import Refused
from ingest.wire import (
    GZIP,
    MESSAGE_BYTES_MAX,
    READINGS_MAX,
    Packet,
    checked_ms,
    decode_flat,
    decode_packet,
    unpacked,
)

FLAT_NAMES = ("temperature", "humidity")
# Within a message: so that every distance between two readings fits the stored form's 32 bits.
SPAN_MS_MAX = 2**31 - 1


class Rows(NamedTuple):
    """n >= 1 readings in a row: `ts_ms` strictly ascending, numbered from `seq` on.

    columns: of each name its n values: numbers, or None.
    """

    boot: int
    seq: int
    ts_ms: Sequence[int]
    names: tuple[str, ...]
    columns: Sequence[Sequence[Any]]


def read(payload: bytes, device_id: str) -> Rows | None:
    """Return the readings of an ordinary message of this device; None when it needs care."""
    try:
        body = unpacked(payload) if payload[:2] == GZIP else payload
        if len(body) > MESSAGE_BYTES_MAX:
            return None
        if body[:1] == b"[":
            return _array(body)
        packet = decode_packet(body)
        if packet.dev is not None and packet.dev != device_id:
            return None
        return _single(packet) if packet.rows is None else _batch(packet)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Refused, ValueError):
        return None


def _single(packet: Packet) -> Rows | None:
    if packet.seq is None or packet.ts is None:
        return None
    ts_ms = _times((packet.ts,))
    if packet.m is None:
        columns = ((packet.temperature,), (packet.humidity,))
        return Rows(packet.boot, packet.seq, ts_ms, FLAT_NAMES, columns)
    values = [(value,) for value in packet.m.values()]
    return Rows(packet.boot, packet.seq, ts_ms, tuple(packet.m), values)


def _array(payload: bytes) -> Rows | None:
    items = decode_flat(payload)
    n = len(items)
    if not 0 < n <= READINGS_MAX:
        return None
    first, boot = items[0].seq, items[0].boot
    if first is None or [item.seq for item in items] != list(range(first, first + n)):
        return None
    if n > 1 and {item.boot for item in items} != {boot}:
        return None
    ts_ms = _times([item.ts for item in items])
    if not _ascending(ts_ms):
        return None
    columns = [item.temperature for item in items], [item.humidity for item in items]
    return Rows(boot, first, ts_ms, FLAT_NAMES, columns)


def _batch(packet: Packet) -> Rows | None:
    base, names, rows = packet.base, packet.cols, packet.rows or []
    n = len(rows)
    if base is None or not names or not 0 < n <= READINGS_MAX:
        return None
    if packet.dts is not None:
        ts_ms: Sequence[int] = [base.ts + offset for offset in packet.dts]
    elif base.step and base.step * n <= SPAN_MS_MAX:
        ts_ms = range(base.ts, base.ts + n * base.step, base.step)
    else:
        return None
    if len(ts_ms) != n or base.seq + n > SEQ_END or not _ascending(ts_ms):
        return None
    if {len(row) for row in rows} != {len(names)}:
        return None
    columns = list(zip(*rows, strict=True))
    return Rows(packet.boot, base.seq, ts_ms, tuple(names), columns)


def _times(ts: Sequence[Any]) -> list[int]:
    return [checked_ms(each) for each in ts]


def _ascending(ts_ms: Sequence[int]) -> bool:
    if len(ts_ms) == 1:
        return True
    return ts_ms[-1] - ts_ms[0] <= SPAN_MS_MAX and sorted(set(ts_ms)) == list(ts_ms)
