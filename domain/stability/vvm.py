"""The estimated heat budget: what a vaccine vial monitor of a type would have lost by now.

Loss = Σ A·e^(−B/T)·Δdays, its end point at 1. Constants: Goldwood and Diesburg 2018, as used by
Nexleaf; they are on the safe side, since a label must turn before the time that WHO specifies
(PQS E006/IN05). Of types 11 and 250 no constants are known. Vials of the national programme carry
no monitor as a rule: this is an estimate and never the reading of one. It can shorten what is left
of a vaccine's life and never lengthens it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from domain.stability.arrhenius import Floats, factor

MS_PER_DAY = 86_400_000


class VvmType(StrEnum):
    """Types by the days that their end point takes at 37 °C."""

    VVM_2 = "2"
    VVM_7 = "7"
    VVM_14 = "14"
    VVM_30 = "30"


class Constants(NamedTuple):
    """A, of a day, and B in kelvin."""

    a_per_day: float
    b_k: float


CONSTANTS = {
    VvmType.VVM_2: Constants(1.4422e17, 12_429.0),
    VvmType.VVM_7: Constants(2.1532e18, 13_652.0),
    VvmType.VVM_14: Constants(1.0766e18, 13_652.0),
    VvmType.VVM_30: Constants(5.1131e17, 13_657.0),
}


def loss(kind: VvmType, celsius: npt.ArrayLike, days: npt.ArrayLike) -> float:
    """Return the share of a budget that n temperatures in °C took in n times in days."""
    spent = np.asarray(days, np.float64) * factor(celsius, CONSTANTS[kind].b_k)
    return CONSTANTS[kind].a_per_day * float(np.sum(spent))


def of_sums(kind: VvmType, arrhenius: npt.ArrayLike) -> Floats:
    """Return the losses of sums over milliseconds of the factor of the type's B."""
    return CONSTANTS[kind].a_per_day / MS_PER_DAY * np.asarray(arrhenius, np.float64)


def days_left(kind: VvmType, spent: float, celsius: float) -> float:
    """Return the days to the end point at one temperature in °C, 0 when it has been reached."""
    a_day = loss(kind, [celsius], [1.0])
    return max(0.0, 1.0 - spent) / a_day
