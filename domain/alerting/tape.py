"""Stored and late readings joined into one ordered series, read no further than needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeAlias

from domain.alerting.episodes import Stored
from domain.alerting.watch import Reading, Watch

# First window of stored readings looked at around a late one; each further one is twice as long.
WINDOW_MS = 6 * 3_600_000

# (ts_ms, seq): the order of readings, and their identity.
Key: TypeAlias = tuple[int, int]
# A reading with a value.
Known: TypeAlias = tuple[int, int, float]


def known(readings: Iterable[Reading]) -> list[Known]:
    """Return the readings that have a value, ascending, the first of each identity."""
    values: dict[Key, float] = {}
    for ts_ms, seq, value_c in readings:
        if value_c is not None:
            values.setdefault((ts_ms, seq), value_c)
    return [(ts_ms, seq, value_c) for (ts_ms, seq), value_c in sorted(values.items())]


class Tape:
    """The readings of a watch around a moment, the pivot, read in windows, each once for all rules.

    Stored ones, and from the pivot on the late ones among them, up to `to_ms`.
    """

    def __init__(
        self, watch: Watch, stored: Stored, pivot_ms: int, to_ms: int, late: Sequence[Known] = ()
    ) -> None:
        self.watch = watch
        self.start_ms = watch.start_ms
        self._end_ms = to_ms if watch.end_ms is None else min(to_ms, watch.end_ms)
        self._pivot_ms = pivot_ms
        self._stored = stored
        self._late = late
        self._windows: dict[int, list[Known]] = {}

    def backwards(self) -> Iterator[list[Known]]:
        """Yield windows of readings before the pivot, the nearest first, each ascending."""
        before_ms, width_ms = self._pivot_ms, WINDOW_MS
        while before_ms > self.start_ms:
            from_ms = max(before_ms - width_ms, self.start_ms)
            yield self._window(from_ms, before_ms, ())
            before_ms, width_ms = from_ms, 2 * width_ms

    def forwards(self) -> Iterator[Known]:
        """Yield the readings from the pivot on, late ones among them, ascending."""
        from_ms, width_ms = self._pivot_ms, WINDOW_MS
        while from_ms < self._end_ms:
            before_ms = min(from_ms + width_ms, self._end_ms)
            yield from self._window(from_ms, before_ms, self._late)
            from_ms, width_ms = before_ms, 2 * width_ms

    def newest(self) -> Key:
        """Return the key of the last reading from the pivot on; before all when there is none."""
        key = (self.start_ms - 1, 0)
        for ts_ms, seq, _ in self.forwards():
            key = (ts_ms, seq)
        return key

    def _window(self, from_ms: int, before_ms: int, late: Sequence[Known]) -> list[Known]:
        if from_ms not in self._windows:
            stored = self._stored.readings(from_ms, before_ms)
            here = (reading for reading in late if from_ms <= reading[0] < before_ms)
            self._windows[from_ms] = known(chain(stored, here))
        return self._windows[from_ms]
