"""The columnar form of a message's readings: small, exact, permanent.

A stored payload is one format byte and a msgpack array. Times are millisecond deltas, a channel is
an array of scaled integers with the smallest decimal scale that gives back every value exactly
(doubles where none does). Little-endian throughout.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from domain.cold_chain.events import ReadingsRecorded

FORMAT = 1
DECIMALS_MAX = 4
# By decimals; the last stands for "no scale fits" and is not used for values.
_POWERS = np.array([10.0**n for n in range(DECIMALS_MAX + 1)] + [1.0])

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Packed = tuple[int, str, bytes]
# The lowest value of each integer type stands for "no value" (the probe was unplugged).
_SMALL, _LARGE = ("h", -(2**15)), ("i", -(2**31))

_FORMAT_BYTE = bytes([FORMAT])
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def _scaled(values: Sequence[float | None], decimals: int) -> list[int] | None:
    factor = 10**decimals
    scaled: list[int] = []
    for value in values:
        if value is None:
            scaled.append(_LARGE[1])
            continue
        if abs(value) >= 2**31:
            return None
        integer = round(value * factor)
        if integer / factor != value or not _LARGE[1] < integer < 2**31:
            return None
        scaled.append(integer)
    return scaled


def pack_columns(values: Floats, counts: Ints) -> list[Packed]:
    """Return what `pack_column` gives for each message of many, found for all of them at once.

    values: one channel of the messages in a row, finite, none missing. counts: values of each
    message (>= 1), which sum up to len(values).
    """
    starts = np.cumsum(counts) - counts
    decimals = np.full(len(values), DECIMALS_MAX + 1)
    for n in range(DECIMALS_MAX, -1, -1):
        decimals[np.rint(values * _POWERS[n]) / _POWERS[n] == values] = n
    of_message = np.maximum.reduceat(decimals, starts)
    factor = np.repeat(_POWERS[of_message], counts)
    scaled = np.rint(values * factor)
    exact = np.logical_and.reduceat(scaled / factor == values, starts)
    size = np.maximum.reduceat(np.abs(scaled), starts)
    plain = (of_message <= DECIMALS_MAX) & exact & (size < 2**15)
    with np.errstate(invalid="ignore"):  # values too large for it are packed one by one below
        small = scaled.astype("<i8").astype("<i2").tobytes()
    return [
        (d, "h", small[2 * at : 2 * (at + n)])
        if fits
        else pack_column(values[at : at + n].tolist())
        for d, fits, at, n in zip(
            of_message.tolist(), plain.tolist(), starts.tolist(), counts.tolist(), strict=True
        )
    ]


def pack_column(values: Sequence[float | None]) -> Packed:
    """Return (decimals, struct type, bytes) of one channel; NaN and infinity are not values."""
    n = len(values)
    for decimals in range(DECIMALS_MAX + 1):
        scaled = _scaled(values, decimals)
        if scaled is None:
            continue
        kind, none = _SMALL
        if all(-(2**15) < v < 2**15 or v == _LARGE[1] for v in scaled):
            return (
                decimals,
                kind,
                struct.pack(f"<{n}{kind}", *(none if v == _LARGE[1] else v for v in scaled)),
            )
        return decimals, _LARGE[0], struct.pack(f"<{n}{_LARGE[0]}", *scaled)
    plain = (float("nan") if v is None else v for v in values)
    return 0, "d", struct.pack(f"<{n}d", *plain)


def unpack_column(decimals: int, kind: str, data: bytes) -> tuple[float | None, ...]:
    """Return the values `pack_column` was given."""
    raw = struct.unpack(f"<{len(data) // struct.calcsize(kind)}{kind}", data)
    if kind == "d":
        return tuple(None if math.isnan(v) else v for v in raw)
    none = _SMALL[1] if kind == _SMALL[0] else _LARGE[1]
    factor = 10**decimals
    return tuple(None if v == none else v / factor for v in raw)


def pack(event: ReadingsRecorded) -> bytes:
    """Return the stored state of a readings event."""
    times = event.ts_ms
    deltas = [b - a for a, b in itertools.pairwise(times)]
    kind = "i" if all(-(2**31) <= d < 2**31 for d in deltas) else "q"
    return pack_fields(
        event.device_id,
        event.boot,
        event.seq,
        event.received_ms,
        event.backfill,
        times[0],
        kind,
        struct.pack(f"<{len(deltas)}{kind}", *deltas),
        {name: pack_column(values) for name, values in event.columns.items()},
    )


def pack_fields(*fields: object) -> bytes:
    """Return the stored state of a readings event from its packed fields, in `pack`'s order."""
    return _FORMAT_BYTE + _encode(fields)


def unpack(state: bytes) -> ReadingsRecorded:
    """Return the readings event of a stored state. ValueError for an unknown format byte."""
    if state[0] != FORMAT:
        raise ValueError(f"unknown format of stored readings: {state[0]}")
    fields: Any = _decode(memoryview(state)[1:])
    device_id, boot, seq, received_ms, backfill, first, kind, deltas, columns = fields
    times = [first]
    for delta in struct.unpack(f"<{len(deltas) // struct.calcsize(kind)}{kind}", deltas):
        times.append(times[-1] + delta)
    return ReadingsRecorded(
        device_id=device_id,
        boot=boot,
        seq=seq,
        ts_ms=tuple(times),
        columns={name: unpack_column(*packed) for name, packed in columns.items()},
        received_ms=received_ms,
        backfill=backfill,
    )
