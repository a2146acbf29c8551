"""Events of calibrations: what laboratories found out about probes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar

from domain.shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationPoint:
    """At `reference_c` the probe read `deviation_c` too much (°C), give or take `uncertainty_c`."""

    reference_c: float
    deviation_c: float
    uncertainty_c: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRecorded(Event):
    """A certificate of a probe: from `since` on its readings are counted less these deviations.

    What it reads is stored as it reads it. Stream = the probe. Of two with the same `since` the one
    recorded later is in force.
    """

    TOPIC: ClassVar[str] = "cold_chain.CalibrationRecorded"
    device_id: str
    channel: str
    certificate_no: str
    laboratory: str
    calibrated_on: date
    since: datetime
    valid_until: date  # the last day
    points: tuple[CalibrationPoint, ...]
