"""The disk guard: intake stops while there is still room to finish what has begun."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

AGE_SECONDS = 1.0  # a look at the disk is good for this long


def free_pct(path: Path) -> float:
    """Return the share of a path's disk that programs may still use, in percent."""
    found = os.statvfs(path)
    return 100.0 * found.f_bavail / found.f_blocks if found.f_blocks else 100.0


class DiskGuard:
    """Tells whether there is room to take more in: call it before every read."""

    def __init__(
        self,
        paths: Sequence[Path],
        minimum_pct: float,
        *,
        measure: Callable[[Path], float] = free_pct,
    ) -> None:
        self._paths = paths
        self._minimum_pct = minimum_pct
        self._measure = measure
        self._looked_at = -AGE_SECONDS
        self.free_pct = 100.0

    def __call__(self) -> bool:
        """Tell whether every disk has its minimum free; cheap enough for a loop."""
        if time.monotonic() - self._looked_at >= AGE_SECONDS:
            self._looked_at = time.monotonic()
            self.free_pct = min(self._measure(path) for path in self._paths if path.exists())
        return self.free_pct >= self._minimum_pct
