"""What a probe's readings are taken for, after its calibration."""

from __future__ import annotations

from domain.stability.arrhenius import Floats
from domain.stability.exposure import Ints


def corrected(values: Floats, device_id: str, at_ms: Ints) -> Floats:
    """Return n values in °C that a device read at n times (ms since 1970) as they are counted.

    As read: what is stored of calibrations says nothing of offsets.
    """
    return values
