"""What readings say of a stretch of time: spells outside the limits, gaps, tests of a cold store.

A reading holds from its begin to its end, in ms; between two that do not meet nothing is known.
Limits are inclusive: what equals one is within.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Limits = tuple[float, float]

# What a test of a cold store does to its temperature shows within so long of its end.
AFTER_TEST_MS = 30 * 60_000


class Held(NamedTuple):
    """n values in °C that held from `begin` to `end`, ascending, of one probe."""

    begin: Ints
    end: Ints
    celsius: Floats


@dataclass(frozen=True, slots=True)
class Spell:
    """A time beyond a limit without a break, and how far it went: high | low."""

    side: str
    begin_ms: int
    end_ms: int
    peak_c: float


@dataclass(frozen=True, slots=True)
class Tested:
    """What a test did: the extremes at its begin and until it was over, in °C; minutes.

    `held_min`: from its begin until the first probe left the limits, None: none did.
    `recovered_min`: from its end until all were back, 0: none was outside then; None: it is not
    known that they came back.
    """

    start_lo_c: float | None
    start_hi_c: float | None
    lo_c: float | None
    hi_c: float | None
    held_min: float | None
    recovered_min: float | None


def spells(held: Held, limits: Limits) -> list[Spell]:
    """Return the spells of one probe outside its limits, in order."""
    found: list[Spell] = []
    for side, outside in (("low", held.celsius < limits[0]), ("high", held.celsius > limits[1])):
        at = np.flatnonzero(outside)
        if not at.size:
            continue
        meets = (np.diff(at) == 1) & (held.end[at[:-1]] >= held.begin[at[1:]])
        for part in np.split(at, np.flatnonzero(~meets) + 1):
            peak = held.celsius[part].max() if side == "high" else held.celsius[part].min()
            found.append(
                Spell(side, int(held.begin[part[0]]), int(held.end[part[-1]]), float(peak))
            )
    return sorted(found, key=lambda spell: (spell.begin_ms, spell.side))


def gaps(probes: Sequence[Held], begin_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """Return the times in [begin, end) in which no probe's reading holds, in order."""
    begin = np.concatenate([np.array([begin_ms]), *(p.begin for p in probes), np.array([end_ms])])
    end = np.concatenate([np.array([begin_ms]), *(p.end for p in probes), np.array([end_ms])])
    order = np.argsort(begin, kind="stable")
    begin, reached = begin[order], np.maximum.accumulate(end[order])
    at = np.flatnonzero(begin[1:] > reached[:-1])
    return [(int(reached[n]), int(begin[n + 1])) for n in at]


def measured_test(probes: Sequence[Held], limits: Limits, begin_ms: int, end_ms: int) -> Tested:
    """Return what a test from `begin_ms` to `end_ms` did to the probes of a unit."""
    until = end_ms + AFTER_TEST_MS
    start = [p.celsius[(p.begin <= begin_ms) & (p.end > begin_ms)] for p in probes]
    during = [p.celsius[(p.begin < until) & (p.end > begin_ms)] for p in probes]
    outside = [
        (spell, int(p.end[-1]))
        for p in probes
        for spell in spells(p, limits)
        if spell.begin_ms < until and spell.end_ms > begin_ms
    ]
    first = min((max(spell.begin_ms, begin_ms) for spell, _ in outside), default=None)
    open_ended = any(spell.end_ms == last for spell, last in outside)
    back = max((spell.end_ms for spell, _ in outside), default=end_ms)
    return Tested(
        *_extremes(start),
        *_extremes(during),
        held_min=None if first is None else (first - begin_ms) / 60_000,
        recovered_min=None if open_ended else max(back - end_ms, 0) / 60_000,
    )


def spread(probes: Sequence[Held], begin_ms: int, end_ms: int) -> tuple[float, float] | None:
    """Return by how much probes differ at one moment, on average and at most, looked at by minute.

    None where never two of them say anything at once.
    """
    grid = np.arange(begin_ms, end_ms, 60_000)
    told = np.array([values_at(probe, grid) for probe in probes]).reshape(len(probes), grid.size)
    several = (~np.isnan(told)).sum(axis=0) > 1
    if not several.any():
        return None
    apart = np.nanmax(told[:, several], axis=0) - np.nanmin(told[:, several], axis=0)
    return float(apart.mean()), float(apart.max())


def values_at(probe: Held, moments: Ints) -> Floats:
    """Return what a probe's reading was at n moments (ms); NaN where none holds."""
    found = np.full(moments.size, np.nan)
    if probe.end.size:
        at = np.searchsorted(probe.begin, moments, side="right") - 1
        holds = (at >= 0) & (probe.end[at] > moments)
        found[holds] = probe.celsius[at[holds]]
    return found


def _extremes(parts: Sequence[Floats]) -> tuple[float | None, float | None]:
    told = np.concatenate([np.empty(0), *parts])
    return (float(told.min()), float(told.max())) if told.size else (None, None)
