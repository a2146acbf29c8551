"""Sums of probes up to moments: as they are kept, or as they were before some rows changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import psycopg

from domain.stability.arrhenius import Floats
from domain.stability.exposure import QUANTITIES, Ints
from projections.thermal.blocks import (
    BLOCK_MS,
    PROBE,
    Blocks,
    decode,
    joined,
    read_sums,
    taken,
)
from projections.thermal.follow import decoded, queries

Connection = psycopg.Connection[Any]

_SUMS_BYTES = 8 * QUANTITIES


class Looked(NamedTuple):
    """What was found at moments: the sums up to each; the quarter by then, -1 = none."""

    sums: Floats
    row: Ints
    blocks: Blocks


class Earlier:
    """Rows as they were: some quarters of probes, each with what stood there before."""

    def __init__(self, now: Blocks, old: Blocks) -> None:
        """`now`: the rows, ascending by key; `old`: what they were, where there was anything."""
        self._keys, self._now, self._old = now.key, now, old
        place = {key: n for n, key in enumerate(old.key.tolist())}
        self._place = np.array([place.get(key, -1) for key in self._keys.tolist()], np.int64)
        less = -now.whole()
        less[:, self._place >= 0] += taken(old, self._place[self._place >= 0]).whole()
        self._before = np.concatenate([np.zeros((QUANTITIES, 1)), np.cumsum(less, axis=1)], axis=1)

    def at(self, looked: Looked, probe: Ints, t_ms: Ints) -> Looked:
        """Return what would have been found."""
        key = probe * PROBE + t_ms // BLOCK_MS
        place = np.searchsorted(self._keys, key)
        first = np.searchsorted(self._keys, probe * PROBE)
        sums = looked.sums + self._before[:, place] - self._before[:, first]
        here = np.flatnonzero(np.append(self._keys, -1)[place] == key)
        rows = place[here]
        sums[:, here] -= taken(self._now, rows).until_ms(t_ms[here])
        had = self._place[rows] >= 0
        old = taken(self._old, self._place[rows[had]])
        sums[:, here[had]] += old.until_ms(t_ms[here[had]])
        row = looked.row.copy()
        row[here] = -1
        row[here[had]] = looked.blocks.block.size + np.arange(old.block.size)
        return Looked(sums, row, joined(looked.blocks, old))


def earlier(conn: Connection, before: Mapping[tuple[int, int], bytes]) -> Earlier:
    """Return rows (by probe and quarter) as they were; no bytes: there was none."""
    keys = sorted(before)
    columns = [[key[0] for key in keys], [key[1] for key in keys]]
    now = decoded(conn.execute(queries.rows_now, columns, binary=True).fetchall())
    found = [(*key, before[key]) for key in keys if before[key]]
    return Earlier(now, decoded(found))


def look(conn: Connection, probe: Ints, t_ms: Ints, as_they_were: Earlier | None) -> Looked:
    """Return the sums of probes up to moments."""
    asked = {
        "probes": listed(probe),
        "blocks": listed(t_ms // BLOCK_MS),
        "length": _SUMS_BYTES,
    }
    row: Any = conn.execute(queries.sums_at, asked, binary=True).fetchone()
    place = numbers(row[0]) - 1
    sums = np.zeros((QUANTITIES, probe.size))
    has_day = numbers(row[1]) > 0
    sums[:, place[has_day]] = read_sums(row[2])[:, 0].T
    sizes = numbers(row[4])
    has_row = sizes > 0
    where = place[has_row]
    blocks = decode(probe[where], numbers(row[3])[has_row], sizes[has_row], row[5])
    sums[:, where] += blocks.before + blocks.until_ms(t_ms[where])
    found = np.full(probe.size, -1, np.int64)
    found[where] = np.arange(where.size)
    looked = Looked(sums, found, blocks)
    return looked if as_they_were is None else as_they_were.at(looked, probe, t_ms)


def numbers(column: bytes) -> Ints:
    """Return a column of big-endian integers."""
    return np.frombuffer(column, ">i4").astype(np.int64)


def listed(values: Ints) -> str:
    """Return numbers as SQL takes an array: many times quicker than number by number."""
    return f"{{{','.join(map(str, values.tolist()))}}}"
