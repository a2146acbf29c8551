"""Defrosts: short rises that come again and again in time, as a unit melts its ice by itself.

A unit that was seen to do so several times is expected to do so again, at its own hours: a warning
in such a rise is no news. Alarms are: nothing here concerns them, and exposure is counted anyway.

Source of the figures: cold-chain rules of the field, where not marked otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from domain.alerting.conditions import Floats, Ints
from domain.alerting.threshold import MINUTE_MS

RISE_C = 1.0
ABOVE_LIMIT_C = 4.0
LASTS_MS = 40 * MINUTE_MS
REGULAR = 0.2
MATCHES_MIN = 3
# A compressor's own cycles are shorter (own choice).
PERIOD_MS_MIN = 120 * MINUTE_MS
# A rise is over when it is within so much of what is usual again (own choice).
OVER_C = 0.5
# What was learnt holds for so many periods, then it must have been seen again (own choice).
PERIODS_MAX = 20


class Pattern(NamedTuple):
    """A unit's defrosts as a probe sees them: every `period_ms`, the last from `last_ms` on.

    `peak_c`: the warmest of them; `lasts_ms`: the longest; `matches`: how many came in time.
    """

    period_ms: int
    last_ms: int
    lasts_ms: int
    peak_c: float
    matches: int


def recognised(at_ms: Ints, values: Floats, limit_c: float) -> Pattern | None:
    """Return the defrosts that n readings of a probe show (ascending in time), if they do."""
    if at_ms.size < MATCHES_MIN:
        return None
    usual = float(np.median(values))
    warm = values > usual + OVER_C
    edges = np.flatnonzero(np.diff(warm.astype(np.int8), prepend=0, append=0))
    begins, ends = edges[::2], edges[1::2]
    begun: list[int] = []
    lasted: list[int] = []
    peaks: list[float] = []
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        peak = float(values[begin:end].max())
        lasts = int(at_ms[min(end, at_ms.size - 1)] - at_ms[begin])
        if peak >= usual + RISE_C and peak <= limit_c + ABOVE_LIMIT_C and lasts <= LASTS_MS:
            begun.append(int(at_ms[begin]))
            lasted.append(lasts)
            peaks.append(peak)
    if len(begun) <= MATCHES_MIN:
        return None
    between = np.diff(begun)
    period = float(np.median(between))
    in_time = np.abs(between - period) <= REGULAR * period
    # Regular for the most part, and by the end: a unit that has changed is learnt anew.
    regular = in_time.sum() >= max(MATCHES_MIN, 0.8 * between.size) and in_time[-1]
    if period < PERIOD_MS_MIN or not regular:
        return None
    return Pattern(round(period), begun[-1], max(lasted), max(peaks), int(in_time.sum()))


def expected(pattern: Pattern, began_ms: int) -> bool:
    """Tell whether a rise that began then is the defrost that was to come."""
    periods = (began_ms - pattern.last_ms) / pattern.period_ms
    nearest = round(periods)
    return 1 <= nearest <= PERIODS_MAX and abs(periods - nearest) <= REGULAR


def mutes(pattern: Pattern, began_ms: int, now_ms: int, value_c: float, limit_c: float) -> bool:
    """Tell whether a warning in a rise is no news: in time, not too warm, not too long."""
    short = now_ms - began_ms <= LASTS_MS
    return short and value_c <= limit_c + ABOVE_LIMIT_C and expected(pattern, began_ms)
