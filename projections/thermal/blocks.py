"""Quarter hours of a probe as they are stored, many at a time, and what they amount to.

A row holds what was read in its quarter hour, and first the reading before it where that one still
holds. In bytes, little-endian: how long a reading holds at most (ms, int32), until when the last
one holds (ms into the quarter, int32; its own time: nothing followed it yet), the sums of the day
before this quarter (float64 each), then ms into the quarter (int32) and °C (float64) a reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from domain.stability.arrhenius import Floats
from domain.stability.exposure import QUANTITIES, Ints, amounts

BLOCK_MS = 900_000
BLOCKS_A_DAY = 96
DAY_MS = BLOCK_MS * BLOCKS_A_DAY
# Keys of rows in one number: more quarters than there will be, and probes above them.
PROBE = 2**32

_POINT = np.dtype([("at", "<i4"), ("v", "<f8")])
_HEAD = np.dtype([("hold", "<i4"), ("last", "<i4"), ("before", "<f8", (QUANTITIES,))])
# A head takes the room of so many points: bytes of many rows can be read as points throughout.
_HEAD_POINTS = _HEAD.itemsize // _POINT.itemsize
_SUMS = QUANTITIES * 8


class Blocks(NamedTuple):
    """n rows with m readings in all: those of row i are `first[i]` … `first[i + 1]`.

    `block`: quarter hours since 1970; `at`: ms since 1970; `until`: when each reading ceases to
    hold in its row. `before`: a row a quantity.
    """

    probe: Ints
    block: Ints
    hold: Ints
    before: Floats
    first: Ints
    at: Ints
    v: Floats
    until: Ints

    @property
    def key(self) -> Ints:
        """Return probe and quarter in one number."""
        return self.probe * PROBE + self.block

    @property
    def start(self) -> Ints:
        """Return when each quarter begins, ms since 1970."""
        return self.block * BLOCK_MS

    @property
    def row(self) -> Ints:
        """Return the row of each reading."""
        return np.repeat(np.arange(self.block.size), np.diff(self.first))

    @property
    def last(self) -> Ints:
        """Return the place of the last reading of each row."""
        return self.first[1:] - 1

    @property
    def open(self) -> npt.NDArray[np.bool_]:
        """Tell of which rows the last reading is the newest of its probe."""
        return np.asarray(self.until[self.last] == self.at[self.last])

    def until_ms(self, cut_ms: npt.ArrayLike) -> Floats:
        """Return what each row amounts to up to a moment of its own, ms since 1970."""
        row = self.row
        cut = np.broadcast_to(np.asarray(cut_ms, np.int64), self.block.shape)[row]
        began = np.maximum(self.at, self.start[row])
        return summed(self.v, np.minimum(self.until, cut) - began, self.first)

    def whole(self) -> Floats:
        """Return what each row amounts to."""
        return self.until_ms(self.start + BLOCK_MS)


def summed(v: Floats, ms: Ints, first: Ints) -> Floats:
    """Return what runs of readings amount to, a row a quantity; `first` as in `Blocks`.

    The sum of a run depends on nothing but the run: not on what stands beside it.
    """
    found = np.zeros((QUANTITIES, first.size - 1))
    lasting = ms > 0
    counts = np.diff(np.concatenate([[0], np.cumsum(lasting)])[first])
    some = counts > 0
    if some.any():
        begins = (np.cumsum(counts) - counts)[some]
        found[:, some] = np.add.reduceat(amounts(v[lasting], ms[lasting]), begins, axis=1)
    return found


def decode(probe: Ints, block: Ints, sizes: Ints, data: bytes) -> Blocks:
    """Read n rows: `sizes` in bytes, `data` all of them in a row."""
    points = np.frombuffer(data, _POINT)
    ends = np.cumsum(sizes) // _POINT.itemsize
    begins = ends - sizes // _POINT.itemsize
    head_at = begins[:, None] + np.arange(_HEAD_POINTS)
    heads = points[head_at].view(_HEAD).reshape(-1)
    of_head = np.zeros(points.size, np.bool_)
    of_head[head_at] = True
    told = points[~of_head]
    counts = ends - begins - _HEAD_POINTS
    first = np.concatenate([[0], np.cumsum(counts)])
    start = block * BLOCK_MS
    row = np.repeat(np.arange(block.size), counts)
    at = told["at"] + start[row]
    hold, until = heads["hold"].astype(np.int64), np.empty(at.size, np.int64)
    until[:-1] = np.minimum(at[1:], (at + hold[row])[:-1])
    until[first[1:] - 1] = start + heads["last"]
    before = np.ascontiguousarray(heads["before"].T)
    return Blocks(probe, block, hold, before, first, at, told["v"].astype(np.float64), until)


def encode(blocks: Blocks) -> list[bytes]:
    """Return the bytes of each row."""
    counts = np.diff(blocks.first)
    ends = np.cumsum(counts + _HEAD_POINTS)
    begins = ends - counts - _HEAD_POINTS
    heads = np.empty(counts.size, _HEAD)
    heads["hold"] = blocks.hold
    heads["last"] = blocks.until[blocks.last] - blocks.start
    heads["before"] = blocks.before.T
    points = np.empty(int(ends[-1]) if ends.size else 0, _POINT)
    head_at = begins[:, None] + np.arange(_HEAD_POINTS)
    points[head_at] = heads.view(_POINT).reshape(-1, _HEAD_POINTS)
    of_head = np.zeros(points.size, np.bool_)
    of_head[head_at] = True
    told = np.empty(blocks.at.size, _POINT)
    told["at"] = blocks.at - blocks.start[blocks.row]
    told["v"] = blocks.v
    points[~of_head] = told
    data, size = points.tobytes(), _POINT.itemsize
    cuts = zip((begins * size).tolist(), (ends * size).tolist(), strict=True)
    return [data[begin:end] for begin, end in cuts]


def content(data: bytes) -> bytes:
    """Return the bytes of a row without the running sums: what it tells of its own quarter."""
    return data[: _HEAD.itemsize - _SUMS] + data[_HEAD.itemsize :]


def joined(one: Blocks, other: Blocks) -> Blocks:
    """Return the rows of the one, then those of the other."""
    return Blocks(
        probe=np.concatenate([one.probe, other.probe]),
        block=np.concatenate([one.block, other.block]),
        hold=np.concatenate([one.hold, other.hold]),
        before=np.concatenate([one.before, other.before], axis=1),
        first=np.concatenate([one.first[:-1], other.first + one.first[-1]]),
        at=np.concatenate([one.at, other.at]),
        v=np.concatenate([one.v, other.v]),
        until=np.concatenate([one.until, other.until]),
    )


def sums_bytes(sums: Floats) -> bytes:
    """Return the sums of one thing as they are stored."""
    return np.ascontiguousarray(sums, "<f8").tobytes()


def read_sums(data: bytes, each: int = 1) -> Floats:
    """Return n times `each` stored sums: an array of n × each × quantities."""
    return np.frombuffer(data, "<f8").astype(np.float64).reshape(-1, each, QUANTITIES)


def taken(blocks: Blocks, rows: Sequence[int] | Ints) -> Blocks:
    """Return some of the rows, in this order."""
    chosen = np.asarray(rows, np.int64)
    counts = np.diff(blocks.first)[chosen]
    first = np.concatenate([[0], np.cumsum(counts)])
    points = np.repeat(blocks.first[chosen] - first[:-1], counts) + np.arange(first[-1])
    return Blocks(
        blocks.probe[chosen],
        blocks.block[chosen],
        blocks.hold[chosen],
        blocks.before[:, chosen],
        first,
        blocks.at[points],
        blocks.v[points],
        blocks.until[points],
    )
