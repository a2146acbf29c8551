"""Rows of quarter hours and days out of readings: what new readings change, and nothing else.

A new reading changes its own quarter; the next one, into which it may hold; the one whose last
reading was the newest of its probe until now; and the running sums after these.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from domain.stability.arrhenius import Floats
from domain.stability.exposure import QUANTITIES, Ints
from projections.thermal.blocks import (
    BLOCK_MS,
    BLOCKS_A_DAY,
    PROBE,
    Blocks,
    joined,
    summed,
    taken,
)

Flags = npt.NDArray[np.bool_]
_NEVER = 2**62


class Series(NamedTuple):
    """Readings of some probes: probe, ms since 1970, °C; ascending by probe and time."""

    probe: Ints
    at: Ints
    v: Floats


class Runs(NamedTuple):
    """Quarters of probes from `first` to `last`, of which all readings were read again.

    `followed`: something was read after all runs of the probe.
    """

    probe: Ints
    first: Ints
    last: Ints
    followed: Flags

    def keys(self) -> Ints:
        """Return the quarters, each as one number, ascending."""
        lengths = self.last - self.first + 1
        begins = np.repeat(self.probe * PROBE + self.first, lengths)
        into = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.unique(begins + into)


def among(keys: Ints, known: Ints) -> Flags:
    """Tell which keys are among some known ones (ascending)."""
    if not known.size:
        return np.zeros(keys.shape, np.bool_)
    return np.asarray(known[np.minimum(np.searchsorted(known, keys), known.size - 1)] == keys)


def made(told: Series, runs: Runs, before: Blocks, hold_ms: dict[int, int]) -> Blocks:
    """Return the rows of the quarters that change, their running sums still 0.

    `told`: the readings in these quarters; `before`: the stored row before each run, if there is
    one; `hold_ms`: how long a reading holds at most, by probe.
    """
    again = runs.keys()
    _, once = np.unique(before.key, return_index=True)
    before = taken(before, once[~among(before.key[once], again)])
    was_open = before.key[before.open]
    changing = np.unique(np.concatenate([again, was_open, was_open + 1]))
    series = _joined(told, before, again)
    hold = np.array([hold_ms[probe] for probe in series.probe.tolist()], np.int64)
    held_until = np.minimum(_next(series, runs), series.at + hold)
    return _rows(series, hold, held_until, changing)


def _joined(told: Series, before: Blocks, again: Ints) -> Series:
    """Return the readings with those before each run."""
    probe = before.probe[before.row]
    kept = ~among(probe * PROBE + before.at // BLOCK_MS, again)
    probe = np.concatenate([probe[kept], told.probe])
    at = np.concatenate([before.at[kept], told.at])
    order = np.lexsort((at, probe))
    return Series(probe[order], at[order], np.concatenate([before.v[kept], told.v])[order])


def _next(series: Series, runs: Runs) -> Ints:
    """Return when the next reading of the same probe was; the newest of all is its own."""
    found = np.empty_like(series.at)
    found[:-1] = series.at[1:]
    last = np.ones(series.at.size, np.bool_)
    last[:-1] = series.probe[1:] != series.probe[:-1]
    known = set(runs.probe[runs.followed].tolist())
    followed = np.array([probe in known for probe in series.probe[last].tolist()], np.bool_)
    found[last] = np.where(followed, _NEVER, series.at[last])
    return found


def _rows(series: Series, hold: Ints, held_until: Ints, changing: Ints) -> Blocks:
    """Cut what each reading holds into its own quarter and the next, and gather by quarter."""
    own, ends = series.at // BLOCK_MS, (series.at // BLOCK_MS + 1) * BLOCK_MS
    over = np.flatnonzero(held_until > ends)
    everyone = np.arange(series.at.size)
    # What is carried in comes first: nothing can have been read at that moment.
    which = np.concatenate([over, everyone])
    block = np.concatenate([own[over] + 1, own])
    key = series.probe[which] * PROBE + block
    chosen = np.flatnonzero(among(key, changing))
    which, block, key = which[chosen], block[chosen], key[chosen]
    order = np.lexsort((np.maximum(series.at[which], block * BLOCK_MS), key))
    which, block, key = which[order], block[order], key[order]
    begins = np.flatnonzero(np.diff(key, prepend=-1))
    first = np.append(begins, key.size)
    until = np.minimum(held_until[which], (block + 1) * BLOCK_MS)
    return Blocks(
        probe=series.probe[which[begins]],
        block=block[begins],
        hold=hold[which[begins]],
        before=np.zeros((QUANTITIES, begins.size)),
        first=first,
        at=series.at[which],
        v=series.v[which],
        until=until,
    )


def amounts_of(blocks: Blocks) -> Floats:
    """Return what each row amounts to."""
    began = np.maximum(blocks.at, blocks.start[blocks.row])
    return summed(blocks.v, blocks.until - began, blocks.first)


def extremes_of(blocks: Blocks) -> tuple[Floats, Floats]:
    """Return the least and the greatest value of each row."""
    begins = blocks.first[:-1]
    if not begins.size:
        return np.zeros(0), np.zeros(0)
    return np.minimum.reduceat(blocks.v, begins), np.maximum.reduceat(blocks.v, begins)


def merged(changed: Blocks, stored: Blocks) -> Blocks:
    """Return the rows of both in order; a changed one replaces the stored one."""
    kept = taken(stored, np.flatnonzero(~among(stored.key, np.sort(changed.key))))
    both = joined(kept, changed)
    return taken(both, np.argsort(both.key, kind="stable"))


def running(rows: Blocks, sums: Floats, known: dict[int, Floats]) -> Floats:
    """Return the sums of the day before each row, rows ascending.

    `known`: those of rows, by key, from which on the running sums of a day are to be made again; a
    day whose first row is none of these begins with it.
    """
    found = np.empty_like(sums)
    days = rows.probe * PROBE + rows.block // BLOCKS_A_DAY
    cuts = [*np.flatnonzero(np.diff(days, prepend=-1)).tolist(), days.size]
    for begin, end in pairwise(cuts):
        start = known.get(int(rows.key[begin]), np.zeros(QUANTITIES))
        # One after the other, so that it does not matter how often they were made.
        found[:, begin:end] = np.cumsum(np.column_stack([start, sums[:, begin : end - 1]]), axis=1)
    return found
