"""What a probe's readings amount to: quantities that add up over time, whatever they add up.

A reading holds until the next one of its probe, but no longer than a cap; the time beyond is
unknown. The last reading of all holds for no time (cold-chain rules, exposure convention). Limits
are inclusive: 2.0 and 8.0 °C are within.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from domain.stability import mkt, vvm
from domain.stability.arrhenius import Floats, factor
from domain.stability.vvm import VvmType

Ints = npt.NDArray[np.int64]

# Refrigerated vaccines, label and GSP: both inclusive. What is no warmer may freeze (WHO PQS E006).
COLD_C, WARM_C, FREEZING_C = 2.0, 8.0, -0.5
MS_PER_MIN = 60_000


class Quantity(IntEnum):
    """Rows of sums: ms, °C·ms, and ms of Arrhenius factors (types 7 and 14 share one)."""

    KNOWN = 0
    DEGREES = 1
    ABOVE = 2
    BELOW = 3
    FREEZING = 4
    DEGREES_ABOVE = 5
    DEGREES_BELOW = 6
    MKT = 7
    VVM_2 = 8
    VVM_7 = 9
    VVM_30 = 10


QUANTITIES = len(Quantity)
# Where probes stood side by side there is a row more: known ms of those that means are taken of.
WEIGHED = QUANTITIES
HEAT = {
    VvmType.VVM_2: Quantity.VVM_2,
    VvmType.VVM_7: Quantity.VVM_7,
    VvmType.VVM_14: Quantity.VVM_7,
    VvmType.VVM_30: Quantity.VVM_30,
}
_ARRHENIUS = {
    Quantity.MKT: mkt.DELTA_H_OVER_R_K,
    **{row: vvm.CONSTANTS[kind].b_k for kind, row in HEAT.items()},
}


class Told(NamedTuple):
    """What sums mean, n of each: minutes, °C·min, °C, and shares of heat budgets by type.

    `mean_c` and `mkt_c` are NaN where nothing is known. `unknown_min`: time without any reading
    that holds; what happened in it is not in the others.
    """

    known_min: Floats
    unknown_min: Floats
    above_min: Floats
    below_min: Floats
    freezing_min: Floats
    above_c_min: Floats
    below_c_min: Floats
    mean_c: Floats
    mkt_c: Floats
    heat_budget: dict[VvmType, Floats]


def lasting(ts_ms: npt.ArrayLike, hold_ms: int) -> Ints:
    """Return for how many ms each of n readings holds; times ascending, the last holds for none."""
    ts = np.asarray(ts_ms, np.int64)
    found = np.zeros(ts.shape, np.int64)
    np.minimum(np.diff(ts), hold_ms, out=found[:-1])
    return found


def amounts(celsius: npt.ArrayLike, ms: npt.ArrayLike) -> Floats:
    """Return what n temperatures amount to that held for n times in ms: a row a quantity."""
    v, held = np.asarray(celsius, np.float64), np.asarray(ms, np.float64)
    found = np.empty((QUANTITIES, v.size))
    above, below = v > WARM_C, v < COLD_C
    found[Quantity.KNOWN] = held
    found[Quantity.DEGREES] = v * held
    found[Quantity.ABOVE] = held * above
    found[Quantity.BELOW] = held * below
    found[Quantity.FREEZING] = held * (v <= FREEZING_C)
    found[Quantity.DEGREES_ABOVE] = (v - WARM_C) * found[Quantity.ABOVE]
    found[Quantity.DEGREES_BELOW] = (COLD_C - v) * found[Quantity.BELOW]
    for row, kelvin in _ARRHENIUS.items():
        found[row] = factor(v, kelvin) * held
    return found


def total(ts_ms: npt.ArrayLike, celsius: npt.ArrayLike, hold_ms: int) -> Floats:
    """Return the sums of a whole series: n times ascending in ms, n temperatures in °C."""
    return np.asarray(amounts(celsius, lasting(ts_ms, hold_ms)).sum(axis=1))


def told(sums: Floats, span_ms: npt.ArrayLike) -> Told:
    """Return what sums mean, a row a quantity of n histories, over n spans of time in ms."""
    known, minutes = sums[Quantity.KNOWN], sums / MS_PER_MIN
    weighed = sums[WEIGHED] if len(sums) > WEIGHED else known
    mean = np.full(known.shape, np.nan)
    np.divide(sums[Quantity.DEGREES], weighed, out=mean, where=weighed > 0)
    return Told(
        known_min=minutes[Quantity.KNOWN],
        unknown_min=np.asarray(span_ms, np.float64) / MS_PER_MIN - minutes[Quantity.KNOWN],
        above_min=minutes[Quantity.ABOVE],
        below_min=minutes[Quantity.BELOW],
        freezing_min=minutes[Quantity.FREEZING],
        above_c_min=minutes[Quantity.DEGREES_ABOVE],
        below_c_min=minutes[Quantity.DEGREES_BELOW],
        mean_c=mean,
        mkt_c=mkt.of_sums(sums[Quantity.MKT], weighed),
        heat_budget={kind: vvm.of_sums(kind, sums[row]) for kind, row in HEAT.items()},
    )
