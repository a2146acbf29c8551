"""Calibration of probes: from a certificate's date on, what a probe reads is counted corrected.

Nobody adjusts a sensor's values: a correction has a certificate, holds from its date on, and what
was read is stored for ever as it was read. A reading counts as itself less the deviation there,
which is interpolated between the points of the certificate and taken from the nearest one beyond.

Codes of refusals: bad_text, bad_points, bad_calibration_point, naive_time, in_future, bad_validity,
before_calibration, unknown_channel (Invalid); unknown_device (NotFound).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cached_property
from itertools import pairwise
from uuid import UUID

import numpy as np
import numpy.typing as npt

from domain.cold_chain.calibration_events import CalibrationPoint, CalibrationRecorded
from domain.cold_chain.model import (
    CHANNEL_ALIASES,
    LIMIT_C_MAX,
    LIMIT_C_MIN,
    TEMPERATURE_CHANNELS,
    Device,
    checked_past,
)
from domain.shared.errors import Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.shared.text import checked_text

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

POINTS_MAX = 20
# A probe that is further off is broken, or the figure is mistyped (own choice: ten times what GSP
# permits of a probe).
DEVIATION_C_MAX = 5.0
# Days of certificates are those of China's one time zone.
CHINA = timezone(timedelta(hours=8))
# Decimals of corrected values: limits are compared with them, and 8.3 less 0.3 is 8.
DECIMALS = 6
# From so long before its end a certificate is to be renewed. Source: cold-chain rules of the field.
RENEWAL = timedelta(days=30)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

# The certificates of a probe in the order in which they were recorded.
State = tuple[CalibrationRecorded, ...]
NONE: State = ()


def calibration_stream(device_id: str, channel: str) -> UUID:
    """Return the stream of a probe's calibrations."""
    return stream_id("cold_chain.calibration", device_id, channel)


def evolve_calibrations(state: State, event: CalibrationRecorded) -> State:
    """Return the certificates after `event`."""
    return (*state, event)


def record_calibration(
    state: State,
    *,
    device: Device | None,
    channel: str,
    certificate_no: str,
    laboratory: str,
    calibrated_on: date,
    since: datetime | None = None,
    valid_until: date,
    points: Sequence[CalibrationPoint],
    now: datetime,
) -> list[Event]:
    """Record a certificate; `since` (aware): from when on it counts, None: from its date on.

    The same one again changes nothing.
    """
    if device is None:
        raise NotFound("unknown_device")
    named = CHANNEL_ALIASES.get(channel, channel)
    if named not in device.registered.channels or named not in TEMPERATURE_CHANNELS:
        raise Invalid("unknown_channel", field="channel", value=channel)
    begin = _midnight(calibrated_on)
    checked_past(begin, now, "calibrated_on")
    counts_from = checked_past(since or begin, now, "since")
    if counts_from < begin:
        raise Invalid("before_calibration", field="since", calibrated_on=calibrated_on)
    if valid_until < calibrated_on:
        raise Invalid("bad_validity", field="valid_until", calibrated_on=calibrated_on)
    recorded = CalibrationRecorded(
        device_id=device.registered.device_id,
        channel=named,
        certificate_no=checked_text(certificate_no, "certificate_no"),
        laboratory=checked_text(laboratory, "laboratory"),
        calibrated_on=calibrated_on,
        since=counts_from,
        valid_until=valid_until,
        points=checked_points(points),
    )
    return [] if recorded in state else [recorded]


def checked_points(points: Sequence[CalibrationPoint]) -> tuple[CalibrationPoint, ...]:
    """Return the points, ascending, when readings can be corrected by them; Invalid otherwise.

    What a probe reads must rise with the temperature: two temperatures never read alike.
    """
    if not 1 <= len(points) <= POINTS_MAX:
        raise Invalid("bad_points", field="points", count_max=POINTS_MAX)
    for point in points:
        # Written so that NaN fails too.
        sound = (
            LIMIT_C_MIN <= point.reference_c <= LIMIT_C_MAX
            and abs(point.deviation_c) <= DEVIATION_C_MAX
            and 0 <= point.uncertainty_c <= DEVIATION_C_MAX
        )
        if not sound:
            raise Invalid(
                "bad_calibration_point",
                field="points",
                value=point.reference_c,
                deviation_c_max=DEVIATION_C_MAX,
            )
    ordered = sorted(points, key=lambda point: point.reference_c)
    for below, above in pairwise(ordered):
        if not (below.reference_c < above.reference_c and _indicated(below) < _indicated(above)):
            raise Invalid(
                "bad_calibration_point",
                field="points",
                value=above.reference_c,
                deviation_c_max=DEVIATION_C_MAX,
            )
    return tuple(ordered)


@dataclass(frozen=True)
class Calibration:
    """The certificates of one probe, ascending by when each begins to count."""

    certificates: tuple[CalibrationRecorded, ...]

    @classmethod
    def of(cls, recorded: Iterable[CalibrationRecorded]) -> Calibration:
        """Take certificates in the order in which they were recorded."""
        by_since = {each.since: each for each in recorded}
        return cls(tuple(by_since[since] for since in sorted(by_since)))

    @cached_property
    def since_ms(self) -> tuple[int, ...]:
        """From when on each counts (ms since 1970)."""
        return tuple((each.since - _EPOCH) // _MILLISECOND for each in self.certificates)

    @cached_property
    def _curves(self) -> tuple[tuple[Floats, Floats], ...]:
        """Of each what the probe reads at its points, and how much too much that is."""
        return tuple(
            (
                np.array([_indicated(point) for point in each.points]),
                np.array([point.deviation_c for point in each.points]),
            )
            for each in self.certificates
        )

    def corrected(self, values: Floats, at_ms: Ints) -> Floats:
        """Return what n values (°C; NaN: none), read at these times, are counted as."""
        epoch = np.searchsorted(self.since_ms, at_ms, "right") - 1
        found = np.array(values, np.float64)
        for n in np.unique(epoch[epoch >= 0]).tolist():
            which = epoch == n
            read = found[which]
            found[which] = np.round(read - np.interp(read, *self._curves[n]), DECIMALS)
        return found

    def extremes_at(self, at_ms: float) -> tuple[float, float]:
        """Return the least and the greatest deviation that is taken from readings then."""
        epoch = int(np.searchsorted(self.since_ms, at_ms, "right")) - 1
        if epoch < 0:
            return 0.0, 0.0
        deviation = self._curves[epoch][1]
        return float(deviation.min()), float(deviation.max())


def days_left(valid_until: date, now: datetime) -> int:
    """Return how many days a certificate still holds; below 0 once it is over."""
    return (valid_until - now.astimezone(CHINA).date()).days


def renewal_from(valid_until: date) -> datetime:
    """Return from when on a certificate is to be renewed."""
    return _midnight(valid_until) - RENEWAL


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=CHINA)


def _indicated(point: CalibrationPoint) -> float:
    return point.reference_c + point.deviation_c
