"""Whether the clock of a device is right, told by when its live messages come.

A sample is the receipt of a live message minus the time of its newest reading, in ms: above 0 the
device is behind, or its message was under way. Backfill is no sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low
from uuid import UUID

from domain.shared.ids import stream_id

# What a clock may be wrong by; the median of so many samples decides.
SAMPLES = 5
MINOR_MS, MAJOR_MS = 60_000, 300_000
RIGHT = ""


def clock_stream(device_id: str) -> UUID:
    """Return the stream of what was found about a device's clock."""
    return stream_id("cold_chain.clock", device_id)


def offset_ms(samples: Sequence[int]) -> int:
    """Return by how much the device's clock is behind, below 0 ahead."""
    return median_low(samples)


def severity(offset: int) -> str:
    """Return minor or major for a wrong clock, RIGHT for a right one."""
    if abs(offset) > MAJOR_MS:
        return "major"
    return "minor" if abs(offset) > MINOR_MS else RIGHT
