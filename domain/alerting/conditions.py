"""What is wrong with the equipment itself, and above all who is silent: rules over columns.

No reading can say that there are no readings: these rules are asked by a clock, for all probes at
once. Everything is a function of what is registered (`Ground`), of when each device was heard last,
and of the moment; `signals` adds what the values themselves say. Times are milliseconds of UTC.

Who is silent, from the whole to the part: a site of which every gateway is dead is told as one, a
dead gateway speaks for its devices, a silent device for its probes. What is about to turn out as
part of something larger is held back meanwhile (`Found.held`): devices while most of their gateway
is overdue, gateways while all of their site are.

Severities, limits and dwell times: cold-chain rules of the field, where not marked otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from domain.alerting.threshold import MINUTE_MS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# A device is silent after three of its intervals, but not before these.
SILENT_INTERVALS = 3
SILENT_MS, SILENT_VEHICLE_MS = 15 * MINUTE_MS, 20 * MINUTE_MS
# From here on nobody knows how warm it is where vaccine may be.
SILENT_MAJOR_MS = 60 * MINUTE_MS
# Overdue: one message has not come, and half the time to the next is over (own choice).
OVERDUE_INTERVALS, OVERDUE_MS = 1.5, 30_000
# So much of a gateway's devices stands for all of it.
SHARE = 0.8
# A gateway's will is believed after 30 s; as long again others at its site may follow it.
WILL_MS = 60_000
# Messages that were on their way when the will came.
WILL_AHEAD_MS = 1_000

VEHICLE = "refrigerated_vehicle"


class Kind(StrEnum):
    """Kinds of conditions: permanent, they stand in alerts and in their ids."""

    PROBE_OFFLINE = "probe_offline"
    GATEWAY_OFFLINE = "gateway_offline"
    SITE_OFFLINE = "site_offline"
    POWER_LOST = "power_lost"
    DOOR_OPEN = "door_open"
    BATTERY_LOW = "battery_low"
    HUMIDITY = "humidity"
    STUCK = "stuck"
    IMPLAUSIBLE = "implausible"
    DISAGREE = "disagree"
    RATE = "rate"
    CLOCK_SKEW = "clock_skew"
    RECORD_MISSED = "record_missed"
    CALIBRATION_OVERDUE = "calibration_overdue"
    LIMIT_FORECAST = "limit_forecast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Something that is so now. `held`: it is not to be told of, but what was told stays.

    `subject_id`: of a site, gateway, unit or device; of one probe alone, device/channel.
    """

    kind: str
    subject_kind: str  # site | gateway | unit | device
    subject_id: str
    severity: str
    since_ms: int
    site: int  # index in Ground.sites
    unit: int = -1  # index in Ground.units
    held: bool = False
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What is registered: n devices with probes in units, g gateways, s sites, u units, p probes.

    Indexes lead from one to the other. A probe is a temperature channel (0 … 3) that stands in a
    unit; `unit` (n): that of the device's first probe.
    """

    devices: tuple[str, ...]
    interval_ms: Floats
    gateway: Ints
    unit: Ints
    gateways: tuple[str, ...]
    gateway_site: Ints
    sites: tuple[str, ...]
    regions: tuple[str, ...]
    units: tuple[str, ...]
    unit_kinds: tuple[str, ...]
    unit_site: Ints
    probe_device: Ints
    probe_channel: Ints
    probe_unit: Ints

    @cached_property
    def site(self) -> Ints:
        """The site of each device: that of its gateway."""
        return self.gateway_site[self.gateway]

    @cached_property
    def limit_ms(self) -> Floats:
        """After how long each device is silent."""
        vehicle = np.array([kind == VEHICLE for kind in self.unit_kinds], np.bool_)
        least = np.where(vehicle[self.unit], SILENT_VEHICLE_MS, SILENT_MS)
        limits: Floats = np.maximum(SILENT_INTERVALS * self.interval_ms, least)
        return limits

    @cached_property
    def overdue_ms(self) -> Floats:
        """After how long each device is overdue."""
        return OVERDUE_INTERVALS * self.interval_ms + OVERDUE_MS

    def of_kinds(self, kinds: Sequence[str]) -> Bools:
        """Tell which units are of these kinds."""
        return np.array([kind in kinds for kind in self.unit_kinds], np.bool_)

    def probe_id(self, probe: int) -> str:
        """Return device/channel."""
        return f"{self.devices[self.probe_device[probe]]}/t{self.probe_channel[probe] + 1}"


def silences(
    ground: Ground,
    heard_ms: Floats,
    will_ms: Floats,
    now_ms: float,
    attended_ms: Floats | float = -np.inf,
) -> list[Found]:
    """Return every silent device, dead gateway and dark site.

    heard_ms (n): when each device was heard last, NaN for one that is not expected to speak.
    will_ms (g): when each gateway took its leave (NaN: it has not, or came again).
    attended_ms (n): since when somebody listens; nobody is silent for a time before.
    """
    expected = ~np.isnan(heard_ms)
    attended = np.where(expected, np.maximum(heard_ms, attended_ms), np.nan)
    age = np.where(expected, now_ms - attended, -np.inf)
    silent, overdue = age > ground.limit_ms, age > ground.overdue_ms
    groups = _Gateways(ground, heard_ms, attended, expected)
    n_silent, n_overdue = groups.count(silent), groups.count(overdue)
    mute = (n_overdue == groups.n) & (now_ms - groups.attended_ms > groups.shortest_ms)
    left = (now_ms - will_ms >= WILL_MS) & (groups.attended_ms <= will_ms + WILL_AHEAD_MS)
    dead = groups.any & (mute | left | (n_silent >= SHARE * groups.n))
    suspect = dead | (groups.any & (n_overdue >= SHARE * groups.n))
    dark, doubtful = _of_sites(ground, groups.any, dead), _of_sites(ground, groups.any, suspect)
    found = list(_dark_sites(ground, groups, dark))
    held = doubtful[ground.gateway_site]
    for at in np.flatnonzero(dead).tolist():
        found.append(
            Found(
                kind=Kind.GATEWAY_OFFLINE,
                subject_kind="gateway",
                subject_id=ground.gateways[at],
                severity="major",
                since_ms=int(groups.last_ms[at]),
                site=int(ground.gateway_site[at]),
                held=bool(held[at]),
                facts={"devices": int(groups.n[at]), "silent": int(n_overdue[at])},
            )
        )
    for at in np.flatnonzero(silent).tolist():
        found.append(
            Found(
                kind=Kind.PROBE_OFFLINE,
                subject_kind="device",
                subject_id=ground.devices[at],
                severity=silent_severity(age[at]),
                since_ms=int(heard_ms[at]),
                site=int(ground.site[at]),
                unit=int(ground.unit[at]),
                held=bool(suspect[ground.gateway[at]]),
            )
        )
    return found


def silent_severity(age_ms: float) -> str:
    """Return how grave it is that nothing is known for so long."""
    return "major" if age_ms > SILENT_MAJOR_MS else "minor"


class _Gateways:
    """Of each gateway, from its devices that are expected to speak: how many, and of them all."""

    def __init__(
        self, ground: Ground, heard_ms: Floats, attended_ms: Floats, expected: Bools
    ) -> None:
        self._of, self._g = ground.gateway, len(ground.gateways)
        self.n = self.count(expected)
        self.any = self.n > 0
        self.last_ms, self.attended_ms = (np.full(self._g, -np.inf) for _ in range(2))
        np.maximum.at(self.last_ms, self._of[expected], heard_ms[expected])
        np.maximum.at(self.attended_ms, self._of[expected], attended_ms[expected])
        self.shortest_ms = np.full(self._g, np.inf)
        np.minimum.at(self.shortest_ms, self._of[expected], ground.limit_ms[expected])

    def count(self, which: Bools) -> Ints:
        """Return how many devices of each gateway are among these."""
        return np.bincount(self._of[which], minlength=self._g)


def _of_sites(ground: Ground, counted: Bools, which: Bools) -> Bools:
    """Tell of which sites that have several gateways all are among these."""
    s = len(ground.sites)
    total = np.bincount(ground.gateway_site[counted], minlength=s)
    some = np.bincount(ground.gateway_site[counted & which], minlength=s)
    all_of_several: Bools = (total > 1) & (some == total)
    return all_of_several


def _dark_sites(ground: Ground, groups: _Gateways, dark: Bools) -> Iterator[Found]:
    last_ms = np.full(len(ground.sites), -np.inf)
    np.maximum.at(last_ms, ground.gateway_site, groups.last_ms)
    for at in np.flatnonzero(dark).tolist():
        here = ground.gateway_site == at
        yield Found(
            kind=Kind.SITE_OFFLINE,
            subject_kind="site",
            subject_id=ground.sites[at],
            severity="major",
            since_ms=int(last_ms[at]),
            site=at,
            facts={
                "gateways": int((here & groups.any).sum()),
                "devices": int(groups.n[here].sum()),
            },
        )
