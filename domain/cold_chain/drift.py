"""Drift of probes that stand in one unit: whether what they differ by grows with the days."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from domain.cold_chain.calibration import Floats

# Fewer days tell no drift.
DAYS_MIN = 7
# By so much they have drifted apart: the permitted error of a probe (GSP).
DRIFT_C = 0.5
# Of the normal distribution, for 95 %.
_TWO_SIDED = 1.96


class Drift(NamedTuple):
    """By how much one probe reads more than another (°C), and how that changes in 30 days.

    `half_width_c`: the change is known to within this (95 %). `drifting`: it is more than that, and
    amounts to what a probe may be wrong by over the days looked at.
    """

    days: int
    mean_c: float
    change_c: float
    half_width_c: float
    drifting: bool


def drift(day: Floats, one_c: Floats, other_c: Floats) -> Drift | None:
    """Return the drift of two probes from their means of n days (NaN: none); None: too few.

    A straight line through the differences, by least squares.
    """
    difference = one_c - other_c
    known = ~np.isnan(difference)
    x, y = day[known], difference[known]
    if x.size < DAYS_MIN:
        return None
    off = x - x.mean()
    spread = float(off @ off)
    slope = float(off @ y) / spread
    rest = y - y.mean() - slope * off
    error = float(np.sqrt(rest @ rest / (x.size - 2) / spread))
    half_width = _TWO_SIDED * error
    apart = abs(slope) * float(x.max() - x.min()) >= DRIFT_C
    return Drift(
        days=int(x.size),
        mean_c=round(float(y.mean()), 3),
        change_c=round(30 * slope, 3),
        half_width_c=round(30 * half_width, 3),
        drifting=bool(apart and abs(slope) > half_width),
    )
