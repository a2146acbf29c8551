"""Which limits a history has passed, and how long it takes to pass one.

Without a budget of the label's or the maker's any time out of range is to be assessed by a person;
what is left of a heat budget never releases anything.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from domain.stability.arrhenius import Floats
from domain.stability.exposure import Quantity

# Limits that any time beyond is an event of its own, by what tells that time.
LIMITS = {
    "above": Quantity.ABOVE,
    "below": Quantity.BELOW,
    "freezing": Quantity.FREEZING,
}
# Less is what adding and taking away leaves, and no time: milliseconds.
_NOTHING_MS = 0.5


def passed(sums: Floats) -> dict[str, npt.NDArray[np.bool_]]:
    """Tell which histories spent any time beyond a limit, by limit; sums: a row a quantity."""
    return {name: sums[row] > _NOTHING_MS for name, row in LIMITS.items()}


def minutes_to_limit(
    celsius: float, *, ambient_c: float, limit_c: float, tau_min: float
) -> float | None:
    """Return the minutes until a unit without power reaches a limit; None: it is not on the way.

    Newton's law: the distance to the ambient temperature shrinks e-fold in `tau_min` minutes, which
    the validation of the unit tells.
    """
    left = ambient_c - limit_c
    shrinks = (ambient_c - celsius) / left if left else 0.0
    return tau_min * math.log(shrinks) if shrinks >= 1 else None


def minutes_at_rate(celsius: float, *, limit_c: float, c_per_min: float) -> float | None:
    """Return the minutes until a steady drift reaches a limit; None: it is not on the way."""
    left = (limit_c - celsius) / c_per_min if c_per_min else -1.0
    return left if left >= 0 else None
