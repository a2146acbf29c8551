"""What of a device's readings plainly changes no threshold state: one comparison a value.

Within [from_ms, until_ms) the probe's places and rules are the same. A reading there whose values
lie within the limits changes nothing but the newest values, when no rule is pending or firing; one
that comes late must lie outside every episode as well. Everything else is judged with care
(judge.py). No reading is taken on trust here: what this screen lets through, the engine would let
through without a word (`domain.alerting.watch.is_quiet`), which a property test holds it to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from domain.alerting.watch import Watch
from domain.cold_chain.model import CHANNEL_ALIASES, TEMPERATURE_CHANNELS
from ingest.directory import Directory
from ingest.state import TYPED, DeviceState
from ingest.wire import SENTINELS_C, VALUE_RANGES

# Above what a probe sends for "nothing is connected".
TEMPERATURE_C_LOW = math.nextafter(min(SENTINELS_C), math.inf)

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

    def limits(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], Limits] | None:
        """Return the channels that these names of a message mean, and their limits; None: care."""
        try:
            return self._by_names[names]
        except KeyError:
            found = self._by_names[names] = self._find(names)
            return found

    def _find(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], Limits] | None:
        channels = tuple(CHANNEL_ALIASES.get(name, name) for name in names)
        limits = [self._limits.get(channel) for channel in channels]
        known = tuple(limit for limit in limits if limit is not None)
        if not channels or len(known) < len(channels) or len(set(channels)) < len(channels):
            return None
        return channels, known


def screen_of(state: DeviceState, directory: Directory) -> Screen:
    """Return the screen for readings around the device's newest one."""
    at_ms = state.newest_ms
    moments = list(_moments(directory, state.device_id))
    return Screen(
        max((ms for ms in moments if ms <= at_ms), default=-math.inf),
        min((ms for ms in moments if ms > at_ms), default=math.inf),
        math.inf if state.calm_ms is None else state.calm_ms,
        {channel: _limits(state, directory, channel) for channel in TYPED},
    )


def _moments(directory: Directory, device_id: str) -> Iterable[int]:
    """Give every moment at which the place or the rules of one of the probes change."""
    for channel in TEMPERATURE_CHANNELS:
        for watch in directory.watches(device_id, channel):
            yield watch.start_ms
            yield from () if watch.end_ms is None else (watch.end_ms,)
            yield from (rule_set.effective_ms for rule_set in watch.rule_sets)


def _limits(state: DeviceState, directory: Directory, channel: str) -> tuple[float, float] | None:
    low, high = VALUE_RANGES[channel]
    if channel not in TEMPERATURE_CHANNELS:
        return low, high
    low = max(low, TEMPERATURE_C_LOW)
    covering = [w for w in directory.watches(state.device_id, channel) if w.covers(state.newest_ms)]
    if not covering:
        return low, high
    (watch,) = covering
    if not _idle(state, watch, channel):
        return None
    band_low, band_high = watch.rule_set(state.newest_ms).band_c
    return max(low, band_low), min(high, band_high)


def _idle(state: DeviceState, watch: Watch, channel: str) -> bool:
    """Tell whether the present watch was judged under its newest rules and nothing is pending."""
    kept = state.probes.get(channel)
    return (
        kept is not None
        and watch.end_ms is None
        and kept.state.watch_ms == watch.start_ms
        and kept.rule_version == watch.rule_sets[-1].version
        and not kept.state.active
    )
