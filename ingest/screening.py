"""The screen of a device, from what the registry and its threshold states say."""

from __future__ import annotations

import math
from collections.abc import Iterable

from domain.alerting.watch import Watch
from domain.cold_chain.calibration import DECIMALS
from domain.cold_chain.model import TEMPERATURE_CHANNELS
from ingest.directory import Directory
from ingest.screen import Screen
from ingest.state import TYPED, DeviceState
from ingest.wire import SENTINELS_C, VALUE_RANGES

# Above what a probe sends for "nothing is connected".
TEMPERATURE_C_LOW = math.nextafter(min(SENTINELS_C), math.inf)
# More than the rounding of corrected values moves them.
_ROUNDED = 10.0**-DECIMALS


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
    """Give every moment at which place, rules or calibration of one of the probes change."""
    for channel in TEMPERATURE_CHANNELS:
        for watch in directory.watches(device_id, channel):
            yield watch.start_ms
            yield from () if watch.end_ms is None else (watch.end_ms,)
            yield from (rule_set.effective_ms for rule_set in watch.rule_sets)
        calibration = directory.calibrations.get((device_id, channel))
        yield from calibration.since_ms if calibration else ()


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
    calibration = directory.calibrations.get((state.device_id, channel))
    if calibration:
        # Whatever the probe reads within these is within the band, by any point of the certificate.
        least, greatest = calibration.extremes_at(state.newest_ms)
        band_low, band_high = band_low + greatest + _ROUNDED, band_high + least - _ROUNDED
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
