"""Cold units and the loggers in them: first-order heat, compressor, doors, defrost, seeded.

A unit's air drifts towards its surroundings and is cooled in cycles around the set point; probes
follow the air with a lag, as buffered probes do. One step is one minute. Temperatures are degrees
Celsius, times are UTC milliseconds; the same seed gives the same minutes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulators.wire import Value

MINUTE_MS = 60_000
DAY_MIN = 1440
# China keeps one time, UTC+8, without summer time.
LOCAL_OFFSET_MIN = 8 * 60
# GSP appendix, automatic monitoring: out of range, a record at least every 2 minutes.
OUT_OF_RANGE_INTERVAL_S = 120
# Door openings of a working hour, by hour of the day; nobody comes at night.
DOOR_WEIGHT = (
    0,
    0,
    0,
    0,
    0,
    0,
    0.2,
    0.6,
    1,
    1,
    1,
    0.8,
    0.2,
    0.4,
    1,
    1,
    0.8,
    0.4,
    0.1,
    0,
    0,
    0,
    0,
    0,
)
DEFROST_EVERY_MIN = 8 * 60
# A compressor draws more heat from warm air: twice its rate at this much above the set point.
WARM_C = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How one kind of unit behaves, and the limits its contents must keep."""

    set_point_c: float
    band_c: float = 1.0  # the compressor starts and stops this far from the set point
    insulation_min: float  # time constant against the surroundings
    cooling_c_per_min: float
    door_min: float = 14.0  # time constant with the door wide open
    doors_per_hour: float = 2.0
    defrost_min: int = 0
    ambient_c: float = 22.0
    ambient_swing_c: float = 2.0
    low_c: float = 2.0
    high_c: float = 8.0


KINDS = {
    "cold_room": Kind(
        set_point_c=4.8,
        insulation_min=600,
        cooling_c_per_min=0.12,
        door_min=60,
        doors_per_hour=3,
        defrost_min=10,
    ),
    "refrigerator": Kind(
        set_point_c=4.8, insulation_min=260, cooling_c_per_min=0.25, door_min=10, doors_per_hour=1.5
    ),
    "freezer_room": Kind(
        set_point_c=-21,
        band_c=1.5,
        insulation_min=700,
        cooling_c_per_min=0.25,
        door_min=80,
        doors_per_hour=1,
        defrost_min=10,
        low_c=-50,
        high_c=-15,
    ),
    "freezer": Kind(
        set_point_c=-21,
        band_c=1.5,
        insulation_min=420,
        cooling_c_per_min=0.3,
        door_min=60,
        doors_per_hour=0.5,
        low_c=-50,
        high_c=-15,
    ),
    "refrigerated_vehicle": Kind(
        set_point_c=4.8,
        insulation_min=150,
        cooling_c_per_min=0.35,
        door_min=40,
        doors_per_hour=0,
        ambient_c=16.0,
        ambient_swing_c=7.0,
    ),
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Between two times the compressor stands still and, when `door`, the door stays open."""

    from_ms: int
    to_ms: int
    door: bool = False

    def holds(self, ms: int) -> bool:
        """Tell whether it is so at this time."""
        return self.from_ms <= ms < self.to_ms


@dataclass(slots=True)
class Probe:
    """A buffered probe: its own small offset, and the time constant of its buffer in minutes."""

    offset_c: float
    lag_min: float
    value_c: float


class ColdUnit:
    """The air of one unit, minute by minute, and the probes in it."""

    def __init__(self, kind: str, *, seed: str, start_ms: int) -> None:
        """Begin in the middle of a working cycle at `start_ms`."""
        self.kind = KINDS[kind]
        self.start_ms = start_ms
        self.now_ms = start_ms
        self.probes: list[Probe] = []
        self.troubles: list[Trouble] = []
        self.openings: list[tuple[int, int]] = []  # planned: from, to (loading a vehicle)
        self.door_open = False
        self.mains = True
        self._random = random.Random(f"unit:{seed}")
        self._air_c = self.kind.set_point_c + self._random.uniform(-0.5, 0.5)
        self._cooling = False
        self._open_min = 0.0
        self._defrost_at = self._random.randrange(DEFROST_EVERY_MIN)
        self._ambient_shift_c = self._random.uniform(-1.5, 1.5)
        self._history: list[float] = [self._air_c]

    def add_probe(self) -> Probe:
        """Hang up another probe; it starts at the temperature of the air."""
        probe = Probe(
            self._random.uniform(-0.25, 0.25), self._random.uniform(4.0, 6.0), self._air_c
        )
        self.probes.append(probe)
        return probe

    def temperature_at(self, ms: int) -> float:
        """Return the air temperature at a time already passed, to 0.1 °C."""
        index = (ms - self.start_ms) // MINUTE_MS
        return round(self._history[max(0, min(index, len(self._history) - 1))], 1)

    def extremes(self, from_ms: int, to_ms: int) -> tuple[float, float]:
        """Return the lowest and the highest air temperature between two times passed."""
        first = max(0, (from_ms - self.start_ms) // MINUTE_MS)
        last = max(first + 1, (to_ms - self.start_ms) // MINUTE_MS + 1)
        span = self._history[first:last] or self._history[-1:]
        return round(min(span), 1), round(max(span), 1)

    def minute(self) -> None:
        """Let one minute pass."""
        now = self.now_ms
        local_min = (now // MINUTE_MS + LOCAL_OFFSET_MIN) % DAY_MIN
        trouble = next((t for t in self.troubles if t.holds(now)), None)
        open_part = self._door_part(now, local_min, trouble)
        self.mains = trouble is None or trouble.door
        ambient_c = self._ambient_c(local_min)
        change = (ambient_c - self._air_c) * (
            1 / self.kind.insulation_min + open_part / self.kind.door_min
        )
        if self._compressor(local_min) and trouble is None:
            warm_c = max(0.0, self._air_c - self.kind.set_point_c)
            change -= self.kind.cooling_c_per_min * (1 + warm_c / WARM_C)
        self._air_c += change
        for probe in self.probes:
            probe.value_c += (self._air_c - probe.value_c) / probe.lag_min
        self.now_ms += MINUTE_MS
        self._history.append(self._air_c)

    def measured(self, probe: Probe) -> float:
        """Return what a probe shows, to 0.1 °C."""
        return round(probe.value_c + probe.offset_c + self._random.uniform(-0.05, 0.05), 1)

    def humidity(self) -> int:
        """Return the relative humidity of the air in per cent."""
        return round(58 + 3 * math.sin(self.now_ms / 5_400_000) + self._random.uniform(-2, 2))

    def _ambient_c(self, local_min: int) -> float:
        # Coldest at 03:00, warmest at 15:00.
        day = -math.cos((local_min - 180) / DAY_MIN * 2 * math.pi)
        return self.kind.ambient_c + self._ambient_shift_c + self.kind.ambient_swing_c * day

    def _door_part(self, now: int, local_min: int, trouble: Trouble | None) -> float:
        rate = self.kind.doors_per_hour * DOOR_WEIGHT[local_min // 60] / 60
        if self._random.random() < rate:
            self._open_min = self._random.uniform(0.3, 1.0)
        part = min(1.0, self._open_min)
        self._open_min -= part
        if trouble is not None and trouble.door:
            part = 1.0
        if any(begin <= now < end for begin, end in self.openings):
            part = 1.0
        self.door_open = part >= 0.5
        return part

    def _compressor(self, local_min: int) -> bool:
        if self.kind.defrost_min:
            since = (local_min - self._defrost_at) % DEFROST_EVERY_MIN
            if since < self.kind.defrost_min:
                return False
        # A warm body makes the compressor run until it is cold again.
        if self._air_c > self.kind.set_point_c + self.kind.band_c:
            self._cooling = True
        elif self._air_c < self.kind.set_point_c - self.kind.band_c:
            self._cooling = False
        return self._cooling


@dataclass(slots=True)
class Logger:
    """A device with probes in one unit; it numbers its rows and keeps the latest for re-sending."""

    device_id: str
    base: str  # cc/v1/{region}/{site}/{gateway}
    unit: ColdUnit
    channels: tuple[str, ...]
    interval_s: int
    boot: int
    seq: int = 0  # of the next row
    unplugged: tuple[Trouble, ...] = ()  # the last temperature channel shows nothing
    pending: list[tuple[int, tuple[Value, ...]]] = field(default_factory=list)
    sent: list[tuple[int, int, tuple[Value, ...]]] = field(default_factory=list)  # seq, ts, row
    _probes: list[Probe] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Hang up one probe for each temperature channel."""
        self._probes = [self.unit.add_probe() for name in self.channels if name.startswith("t")]

    def sample(self) -> None:
        """Take a row when one is due at the unit's present minute."""
        interval_ms = 1000 * self._interval_now_s()
        if self.unit.now_ms % interval_ms == 0:
            self.pending.append((self.unit.now_ms, self._row()))

    def _interval_now_s(self) -> int:
        kind = self.unit.kind
        inside = all(kind.low_c <= p.value_c + p.offset_c <= kind.high_c for p in self._probes)
        return self.interval_s if inside else min(self.interval_s, OUT_OF_RANGE_INTERVAL_S)

    def _row(self) -> tuple[Value, ...]:
        return tuple(self._value(name) for name in self.channels)

    def _value(self, name: str) -> Value:
        if name == "rh":
            return self.unit.humidity()
        if name == "door":
            return int(self.unit.door_open)
        if name == "mains":
            return int(self.unit.mains)
        temperatures = self._temperature_channels()
        index = temperatures.index(name)
        last = index == len(temperatures) - 1
        if last and any(trouble.holds(self.unit.now_ms) for trouble in self.unplugged):
            return None
        return self.unit.measured(self._probes[index])

    def _temperature_channels(self) -> Sequence[str]:
        return [name for name in self.channels if name.startswith("t")]
