"""What of a device's readings plainly changes no threshold state: one comparison a value.

Within [from_ms, until_ms) the probe's places and rules are the same. A reading there whose values
lie within the limits changes nothing but the newest values, when no rule is pending or firing; one
that comes late must lie outside every episode as well. Everything else is judged with care
(judge.py). No reading is taken on trust here: what this screen lets through, the engine would let
through without a word (`domain.alerting.watch.is_quiet`), which a property test holds it to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.cold_chain.model import CHANNEL_ALIASES

Limits = tuple[tuple[float, float], ...]


@dataclass(slots=True)
class Screen:
    """The screen of one device. `calm_ms`: late readings after it lie outside every episode."""

    from_ms: float
    until_ms: float
    calm_ms: float
    # By the names of a message: the channels and their limits; None where care is needed.
    _limits: dict[str, tuple[float, float] | None]
    _by_names: dict[tuple[str, ...], tuple[tuple[str, ...], Limits] | None] = field(
        default_factory=dict
    )

    def passed(
        self,
        names: tuple[str, ...],
        columns: Sequence[Sequence[Any]],
        first_ms: int,
        last_ms: int,
        newest_ms: int,
    ) -> tuple[str, ...] | None:
        """Return the channels that a message names, when its readings need no care; else None.

        columns: of each name the values, None among them where a probe is unplugged. The readings
        lie from first_ms to last_ms; newest_ms: the time of the newest reading before them.
        """
        if first_ms < self.from_ms or last_ms >= self.until_ms:
            return None
        if first_ms <= newest_ms and first_ms <= self.calm_ms:
            return None
        if names not in self._by_names:
            self._by_names[names] = self._find(names)
        found = self._by_names[names]
        if found is None:
            return None
        channels, limits = found
        return channels if _within(limits, columns) else None

    def _find(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], Limits] | None:
        channels = tuple(CHANNEL_ALIASES.get(name, name) for name in names)
        limits = [self._limits.get(channel) for channel in channels]
        known = tuple(limit for limit in limits if limit is not None)
        if not channels or len(known) < len(channels) or len(set(channels)) < len(channels):
            return None
        return channels, known


def _within(limits: Limits, columns: Sequence[Sequence[Any]]) -> bool:
    """Tell whether each column has values only, and all within its limits."""
    try:
        for (low, high), values in zip(limits, columns, strict=True):
            if len(values) == 1:
                if not low <= values[0] <= high:
                    return False
            elif not (low <= min(values) and max(values) <= high):
                return False
    except TypeError:  # a missing value
        return False
    return True
