"""What of a device's readings plainly changes no threshold state: one comparison a value.

Within [from_ms, until_ms) the probe's places and rules are the same. A reading there whose values
lie within the limits changes nothing but the newest values, when no rule is pending or firing; one
that comes late must lie outside every episode as well. Everything else is judged with care
(judge.py). No reading is taken on trust here: what this screen lets through, the engine would let
through without a word (`domain.alerting.watch.is_quiet`), which a property test holds it to.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from domain.cold_chain.model import CHANNEL_ALIASES

Names = tuple[str, ...]
ANYTHING = (-math.inf, math.inf)
NAMES_MAX = 64  # kept of a device, which may call its channels anything


def channels_of(names: Names) -> Names:
    """Return the channels that a message of these names tells of."""
    return tuple(CHANNEL_ALIASES.get(name, name) for name in names)


@dataclass(slots=True)
class Screen:
    """The screen of one device. `calm_ms`: late readings after it lie outside every episode.

    `rows`: what `row` has returned, by the names of a message.
    """

    from_ms: float
    until_ms: float
    calm_ms: float
    # Of each channel its limits; None where care is needed.
    _limits: dict[str, tuple[float, float] | None]
    rows: dict[Names, bytes] = field(default_factory=dict)

    def row(self, names: Names) -> bytes:
        """Return the bounds of a message that needs no care, one that names these.

        As doubles in a row: from_ms, until_ms, calm_ms, and of each name the lowest and the highest
        value, inclusive. Bounds that nothing meets where every such message needs care.
        """
        if len(self.rows) >= NAMES_MAX:
            self.rows.clear()
        found = self._find(names)
        row = self.rows[names] = struct.pack(f"={len(found)}d", *found)
        return row

    def is_left(self, names: Names, columns: Sequence[Sequence[float | None]]) -> bool:
        """Tell whether a value lies beyond its limits; `columns`: of each name its values."""
        for channel, values in zip(channels_of(names), columns, strict=True):
            told = [value for value in values if value is not None]
            limits = self._limits.get(channel, ANYTHING)
            if told and (limits is None or min(told) < limits[0] or max(told) > limits[1]):
                return True
        return False

    def _find(self, names: Names) -> tuple[float, ...]:
        channels = channels_of(names)
        limits = [self._limits.get(channel) for channel in channels]
        known = [limit for limit in limits if limit is not None]
        if not channels or len(known) < len(channels) or len(set(channels)) < len(channels):
            return (math.inf, -math.inf, math.inf) + (math.inf, -math.inf) * len(names)
        return (self.from_ms, self.until_ms, self.calm_ms, *chain.from_iterable(known))
