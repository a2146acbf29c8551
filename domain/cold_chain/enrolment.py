"""Devices that spoke before they were registered: what to register them as, and doing so.

A person enrols; nothing is registered because it spoke. Codes of refusals: those of `model.py`,
no_suggestion (Invalid).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median

from domain.cold_chain.model import (
    CHANNELS_MAX,
    INTERVAL_S_MAX,
    INTERVAL_S_MIN,
    Device,
    Gateway,
    Unit,
    evolve_device,
    place_probe,
    register_device,
)
from domain.shared.decide import fold
from domain.shared.errors import Invalid
from domain.shared.events import Event


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Channels that messages told of, seconds between their readings (None: not to be seen)."""

    channels: tuple[str, ...] = ()
    interval_s: int | None = None


@dataclass(frozen=True, slots=True)
class Placing:
    """A probe to be placed with its device: from `placed_at` (aware) on in this unit."""

    channel: str
    unit_id: str
    placed_at: datetime


def suggested(samples: Iterable[tuple[Collection[str], Sequence[int]]]) -> Suggestion:
    """Return what a device seems to be, from (channels, times in UTC ms) of some messages."""
    channels: dict[str, None] = {}
    times: set[int] = set()
    for named, ts_ms in samples:
        channels |= dict.fromkeys(named)
        times |= set(ts_ms)
    steps = [after - before for before, after in pairwise(sorted(times))]
    seconds = round(median(steps) / 1000) if steps else None
    if seconds is not None:
        seconds = min(max(seconds, INTERVAL_S_MIN), INTERVAL_S_MAX)
    return Suggestion(tuple(channels)[:CHANNELS_MAX], seconds)


def enrol_device(
    state: Device | None,
    *,
    suggestion: Suggestion,
    gateway: Gateway | None,
    device_id: str,
    gateway_id: str,
    channels: Sequence[str] | None = None,
    interval_s: int | None = None,
    placings: Sequence[Placing] = (),
    units: Mapping[str, Unit],
) -> list[Event]:
    """Register a device as it is named, else as known, else as suggested, and place its probes."""
    if state is not None:
        known = state.registered
        suggestion = Suggestion(known.channels, known.interval_s)
    channels = channels or suggestion.channels
    interval_s = interval_s or suggestion.interval_s
    if not channels or interval_s is None:
        raise Invalid("no_suggestion", field="interval_s" if channels else "channels")
    events = register_device(
        state,
        gateway=gateway,
        device_id=device_id,
        gateway_id=gateway_id,
        channels=channels,
        interval_s=interval_s,
    )
    for placing in placings:
        events += place_probe(
            fold(evolve_device, state, events),
            unit=units.get(placing.unit_id),
            channel=placing.channel,
            unit_id=placing.unit_id,
            placed_at=placing.placed_at,
        )
    return events
