"""Which limits a history has passed, and how long it takes to pass one.

Without a budget of the label's or the maker's any time out of range is to be assessed by a person;
what is left of a heat budget never releases anything.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from domain.stability.arrhenius import Floats
from domain.stability.exposure import Quantity

Flags = npt.NDArray[np.bool_]

# Limits that any time beyond is an event of its own, by what tells that time.
LIMITS = {
    "above": Quantity.ABOVE,
    "below": Quantity.BELOW,
    "freezing": Quantity.FREEZING,
}
# Once a limit has been passed, so much more or less time beyond it is worth telling: milliseconds.
STEPS_MS = {"above": 3_600_000, "below": 3_600_000, "freezing": 900_000}


class Compared(NamedTuple):
    """How time beyond a limit changed, for each of n histories: from none, to none, by steps."""

    passed: Flags
    no_longer: Flags
    longer: Flags
    shorter: Flags


def compared(then: Floats, now: Floats) -> dict[str, Compared]:
    """Compare histories with what they were, by limit; sums: a row a quantity.

    Steps are counted from none on, so that many small changes are told of as well in the end.
    """
    found = {}
    for name, row in LIMITS.items():
        was, by_now = _steps(name, then[row]), _steps(name, now[row])
        none_was, none_now = was == 0, by_now == 0
        found[name] = Compared(
            passed=none_was & ~none_now,
            no_longer=none_now & ~none_was,
            longer=~none_was & (by_now > was),
            shorter=~none_now & (by_now < was),
        )
    return found


def _steps(name: str, ms: Floats) -> npt.NDArray[np.int64]:
    """Return 0 for no time, else 1 and the whole steps."""
    # Times are whole milliseconds, but for what adding and taking away leaves.
    whole = np.rint(ms).astype(np.int64)
    return np.where(whole > 0, 1 + whole // STEPS_MS[name], 0)


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
