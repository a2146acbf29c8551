"""How often a robot may be told: tokens that come back some time after they were taken.

So no stretch of that time holds more messages than there are tokens, and a burst after a quiet
minute goes out at once. A share of the tokens is for critical messages alone, and these come back
for one before the others: a storm of lesser ones does not hold them up.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# One token in so many is for critical messages alone.
KEPT = 4
# Seconds by which the others come back later than critical ones.
BEHIND_S = 1.0


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` messages to one robot in any `seconds`."""

    most: int
    seconds: float


class Buckets:
    """The tokens of robots of one kind; all threads share them."""

    def __init__(
        self, limits: Sequence[Limit], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` gives seconds that never go back."""
        self._limits = limits
        self._clock = clock
        most = max(limit.most for limit in limits)
        self._taken: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=most))
        self._shut: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, robot: str, *, critical: bool) -> float:
        """Take a token and return 0, or the seconds after which to come back for one."""
        with self._lock:
            now = self._clock()
            taken = self._taken[robot]
            free_at = max(_free_at(limit, taken, critical=critical) for limit in self._limits)
            wait = max(free_at, self._shut.get(robot, now)) - now
            if wait > 0:
                return wait if critical else wait + BEHIND_S
            taken.append(now)
            return 0.0

    def shut(self, robot: str, seconds: float) -> None:
        """Give no token for so long: the robot says that it was told too often."""
        with self._lock:
            self._shut[robot] = self._clock() + seconds


def _free_at(limit: Limit, taken: deque[float], *, critical: bool) -> float:
    """Return when a token is there, by the times at which the last ones were taken."""
    room = limit.most if critical else limit.most - limit.most // KEPT
    return taken[-room] + limit.seconds if len(taken) >= room else float("-inf")
