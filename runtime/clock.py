"""The only clocks: real time, or a stepped one that moves when a driver moves it.

All processes of one data folder share a stepped clock through a 16-byte file: two native int64,
milliseconds since 1970 UTC: the present moment, and the moment up to which timers are handled.
"""

from __future__ import annotations

import mmap
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from domain.shared.clock import Clock
from domain.shared.errors import Conflict, Invalid

# Where a stepped clock begins: before any scenario; the first step moves it to where one starts.
STEPPED_START = datetime(2015, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_NOW, _TICKED = 0, 1


class RealClock:
    """The machine's own time."""

    stepped = False

    def __init__(self) -> None:
        self._ticked = _EPOCH

    def now(self) -> datetime:
        """Return the present moment, aware UTC."""
        return datetime.now(UTC)

    def set(self, now: datetime) -> None:
        """Refuse: Invalid("clock_not_stepped")."""
        raise Invalid("clock_not_stepped", now=now.isoformat())

    def ticked(self, now: datetime) -> None:
        """Note that all timers due by `now` have been handled (in this process)."""
        self._ticked = now

    def last_tick(self) -> datetime:
        """Return the latest moment passed to `ticked` in this process."""
        return self._ticked


class SteppedClock:
    """A clock in a file, moved by `set` from any process and never backwards; steps of 1 ms."""

    stepped = True

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size == 0:
                start = _milliseconds(STEPPED_START).to_bytes(8, "little")
                os.pwrite(descriptor, start * 2, 0)
            # Aligned 8-byte items: each is read and written whole.
            self._words = memoryview(mmap.mmap(descriptor, 16)).cast("q")
        finally:
            os.close(descriptor)

    def now(self) -> datetime:
        """Return the moment the clock was moved to last, aware UTC."""
        return _EPOCH + self._words[_NOW] * _MS

    def set(self, now: datetime) -> None:
        """Move the clock. Conflict("clock_backwards") when `now` lies before its present time."""
        wanted = _milliseconds(now)
        if wanted < self._words[_NOW]:
            raise Conflict("clock_backwards", now=self.now().isoformat(), wanted=now.isoformat())
        self._words[_NOW] = wanted

    def ticked(self, now: datetime) -> None:
        """Note that all timers due by `now` have been handled."""
        self._words[_TICKED] = _milliseconds(now)

    def last_tick(self) -> datetime:
        """Return the latest moment passed to `ticked` by any process."""
        return _EPOCH + self._words[_TICKED] * _MS


def open_clock(kind: str, data: Path) -> Clock:
    """Return the clock of a data folder; `kind` is "real" or "stepped"."""
    return SteppedClock(data / "clock") if kind == "stepped" else RealClock()


def _milliseconds(moment: datetime) -> int:
    # Rounded up: a driver that waits for last_tick() >= now must not wait for a lost fraction.
    return -((_EPOCH - moment) // _MS)
