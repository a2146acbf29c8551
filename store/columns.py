"""The columnar form of a message's readings: small, exact, permanent.

A stored payload is one format byte and a msgpack array. Times are millisecond deltas, a channel is
an array of scaled integers with the smallest decimal scale that gives back every value exactly
(doubles where none does). Little-endian throughout.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
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


@dataclass(frozen=True, slots=True)
class Alike:
    """Messages whose stored states have the same length: their indexes (k), the states (k, bytes).

    A state is a row of the matrix.
    """

    of: Ints
    states: Bytes


def pack_alike(
    *,
    ids: Sequence[bytes],
    boots: Ints,
    seqs: Ints,
    received_ms: int,
    backfill: Bools,
    counts: Ints,
    ts_ms: Ints,
    columns: Mapping[str, Floats],
) -> list[Alike]:
    """Return what `pack` gives for messages of readings, found for many at once.

    ids (`pack_id`), boots, seqs, backfill, counts: of each of m messages; counts >= 1 readings.
    ts_ms and each column: of all readings in a row, steps within 32 bits, values finite, none
    missing. Messages with values that need more than 16 bits are left out.
    """
    starts = starts_of(counts)
    scaled = {name: _small(values, starts, counts) for name, values in columns.items()}
    fits = np.logical_and.reduce([fit for *_, fit in scaled.values()])
    firsts = ts_ms[starts]
    alike = counts * 1_024 + np.array([len(each) for each in ids])
    for values in (boots, seqs, firsts):
        alike = alike * len(_FORMS) + _widths(values)
    _, shapes = np.unique(alike, return_inverse=True)
    found = []
    for shape in range(int(shapes.max()) + 1):
        of = np.flatnonzero((shapes == shape) & fits)
        if not len(of):
            continue
        n = int(counts[of[0]])
        within = starts[of][:, np.newaxis] + np.arange(n)
        deltas = np.diff(ts_ms[within], axis=1).astype("<i4")
        fields: list[bytes | Bytes] = [
            _FORMAT_BYTE + b"\x99",
            _rows(np.array([ids[i] for i in of.tolist()])),
            *_integers(boots[of]),
            *_integers(seqs[of]),
            _encode(received_ms),
            np.where(backfill[of], 0xC3, 0xC2).astype(np.uint8)[:, np.newaxis],
            *_integers(firsts[of]),
            _encode("i") + _binary_head(4 * (n - 1)),
            _rows(deltas),
            bytes([0x80 | len(columns)]),
        ]
        for name, (decimals, small, _) in scaled.items():
            fields += [_encode(name) + b"\x93", _rows(decimals[of].astype(np.uint8))]
            fields += [_encode(_SMALL[0]) + _binary_head(2 * n), _rows(small[within])]
        found.append(Alike(of, joined(len(of), fields)))
    return found


def starts_of(counts: Ints) -> Ints:
    """Return where each message begins among the readings of all; `counts` readings each."""
    found: Ints = np.cumsum(counts) - counts
    return found


def pack_id(device_id: str) -> bytes:
    """Return a device's id as it stands in a stored state."""
    return _encode(device_id)


def joined(k: int, fields: Sequence[bytes | Bytes]) -> Bytes:
    """Return a matrix of k rows: each field's row, or the bytes that all rows share, in order."""
    widths = [len(each) if isinstance(each, bytes) else each.shape[1] for each in fields]
    rows = np.empty((k, sum(widths)), dtype=np.uint8)
    at = 0
    for each, width in zip(fields, widths, strict=True):
        shared = isinstance(each, bytes)
        rows[:, at : at + width] = np.frombuffer(each, dtype=np.uint8) if shared else each
        at += width
    return rows


def _rows(values: npt.NDArray[Any]) -> Bytes:
    """Return the bytes of k values, or of k rows of values, as a matrix of k rows."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)


def _small(values: Floats, starts: Ints, counts: Ints) -> tuple[Ints, npt.NDArray[np.int16], Bools]:
    """Return decimals of each message, scaled values, and whether 16 bits hold all of a message.

    As `pack_column` chooses them: the fewest decimals that give back every value.
    """
    decimals = np.full(len(values), DECIMALS_MAX + 1)
    for n in range(DECIMALS_MAX, -1, -1):
        decimals[np.rint(values * _POWERS[n]) / _POWERS[n] == values] = n
    of_message = np.maximum.reduceat(decimals, starts)
    factor = np.repeat(_POWERS[of_message], counts)
    scaled = np.rint(values * factor)
    exact = np.logical_and.reduceat(scaled / factor == values, starts)
    size = np.maximum.reduceat(np.abs(scaled), starts)
    fits = (of_message <= DECIMALS_MAX) & exact & (size < 2**15)
    with np.errstate(invalid="ignore"):  # what is too large does not fit, and is not used
        return of_message, scaled.astype("<i8").astype("<i2"), fits


# Integers in msgpack: the first that is too large for a form, the form's mark, and its type.
_FORMS = (
    (1 << 7, b"", ">u1"),
    (1 << 8, b"\xcc", ">u1"),
    (1 << 16, b"\xcd", ">u2"),
    (1 << 32, b"\xce", ">u4"),
    (1 << 63, b"\xcf", ">u8"),
)


def _widths(values: Ints) -> Ints:
    """Return of integers >= 0 which form each takes."""
    return np.searchsorted([end for end, *_ in _FORMS], values, side="right")


def _integers(values: Ints) -> tuple[bytes, Bytes]:
    """Return integers >= 0 that all take the same form."""
    _, mark, kind = _FORMS[int(_widths(values[:1])[0])]
    return mark, _rows(values.astype(kind))


def _binary_head(size: int) -> bytes:
    """Return what stands before so many bytes."""
    return _encode(bytes(size))[:-size] if size else _encode(b"")


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
    fields = (
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
