"""Readings as they count, by their probe's calibration: what is judged, never what is stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from domain.alerting.watch import Reading
from domain.cold_chain.calibration import Calibration


def counted(calibration: Calibration | None, readings: Sequence[Reading]) -> Sequence[Reading]:
    """Return the readings of a probe with the values that they count as."""
    if calibration is None or not readings:
        return readings
    at_ms = np.array([ts_ms for ts_ms, _, _ in readings], np.int64)
    read = np.array([np.nan if v is None else v for _, _, v in readings], np.float64)
    values = calibration.corrected(read, at_ms).tolist()
    return [
        (ts_ms, seq, None if told is None else value)
        for (ts_ms, seq, told), value in zip(readings, values, strict=True)
    ]
