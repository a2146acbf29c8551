"""The clock as the rest of the system sees it; only `runtime/` implements it on real time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """One time for a whole process tree; aware UTC."""

    @property
    def stepped(self) -> bool:
        """Tell whether a driver moves this clock."""

    def now(self) -> datetime:
        """Return the present moment."""

    def set(self, now: datetime) -> None:
        """Move a stepped clock forward.

        Conflict("clock_backwards") or Invalid("clock_not_stepped") otherwise.
        """

    def ticked(self, now: datetime) -> None:
        """Tell the driver that all timers due by `now` have been handled."""

    def last_tick(self) -> datetime:
        """Return the latest moment passed to `ticked`."""
