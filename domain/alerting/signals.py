"""What the values themselves say of equipment and probes: power, doors, batteries, sensors.

A fold over readings, the newest of each device in order of time, as columns of all devices at once;
late readings change nothing here. What must be remembered of a probe are its last two readings, its
last hour by the minute, and since when it is as it is. After a restart the last hour of readings is
folded again. What lasts longer, or was told once before (a report of power that is gone), is not
found by that, and not over either (`settled`).

Source of limits and dwell times: cold-chain rules of the field, where not marked otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from domain.alerting.conditions import Bools, Floats, Found, Ground, Ints, Kind, silent_severity
from domain.alerting.threshold import MINUTE_MS

POWER_MS = 1 * MINUTE_MS
# Minutes a door may stay open, by kind of unit.
DOOR_MIN: Mapping[str, int] = {
    "cold_room": 5,
    "freezer_room": 5,
    "refrigerator": 3,
    "freezer": 3,
    "refrigerated_vehicle": 2,
    "cold_box": 3,  # own choice
}
# Per cent of a battery: told, graver; and well again (own choice).
BATTERY_LOW, BATTERY_EMPTY, BATTERY_WELL = 20.0, 10.0, 25.0
# Relative humidity of rooms, per cent (GSP), for so long.
HUMIDITY = (35.0, 75.0)
HUMIDITY_MS = 60 * MINUTE_MS
HUMID_KINDS = ("cold_room",)
# A value is stuck when it has not changed by its resolution while another probe of the unit moved,
# or for much longer alone; deep cold is that even.
RESOLUTION_C, MOVED_C = 0.1, 0.5
STUCK_MS, STUCK_ALONE_MS = 60 * MINUTE_MS, 360 * MINUTE_MS
EVEN_KINDS = ("freezer_room", "freezer")
# No probe in a cold unit gets warmer by so much between two readings.
JUMP_C, JUMP_SHOWN_MS = 20.0, 30 * MINUTE_MS
# °C a minute, one way over three readings.
RATE_C_MIN, RATE_SHOWN_MS = 1.0, 10 * MINUTE_MS
# Probes of a unit differ by more than this and what is usual between them.
APART_C, APART_MS = 2.0, 30 * MINUTE_MS
# Minutes of values that are kept.
KEPT_MIN = 60

# Rows of what is kept of a device and of a probe.
LAST, DOOR, MAINS, DAMP, BATTERY, LOW, POWERED, DOOR_TOLD, MAINS_TOLD = range(9)
V0, T0, V1, T1, SAME, SAME_V, JUMP, STEEP, FIRST = range(9)


@dataclass(frozen=True, slots=True)
class Rows:
    """One reading each of m devices (indexes, ascending): NaN where it says nothing of a channel.

    t (m, 4): temperatures in °C. rh, bat: per cent. door, mains: 0 or 1.
    """

    device: Ints
    ts_ms: Floats
    t: Floats
    rh: Floats
    door: Floats
    mains: Floats
    bat: Floats


class Signals:
    """What is remembered of devices (9, n), probes (9, p), units (u), and an hour of values."""

    def __init__(self, ground: Ground, since_ms: float) -> None:
        """`since_ms`: from when on readings are folded."""
        self.ground, self.since_ms = ground, since_ms
        self.devices = np.full((9, len(ground.devices)), np.nan)
        self.probes = np.full((9, len(ground.probe_device)), np.nan)
        self.recent = np.full((KEPT_MIN, len(ground.probe_device)), np.nan, np.float32)
        self.apart_ms = np.full(len(ground.units), np.nan)
        self._minute = int(since_ms // MINUTE_MS)
        self._places: dict[str, dict[str, int]] = {}

    def on(self, ground: Ground) -> Signals:
        """Return the same on other ground: what is still there keeps its memory."""
        made = Signals(ground, self.since_ms)
        made._minute = self._minute
        old = self.ground
        for name, before, after in (
            ("devices", old.devices, ground.devices),
            ("probes", _probes(old), _probes(ground)),
            ("recent", _probes(old), _probes(ground)),
            ("apart_ms", old.units, ground.units),
        ):
            known = {key: at for at, key in enumerate(before)}
            kept = np.array([key in known for key in after], np.bool_)
            from_ = [known[key] for key in after if key in known]
            getattr(made, name)[..., kept] = getattr(self, name)[..., from_]
        return made

    def take(self, rows: Rows) -> None:
        """Fold one more reading of each of these devices; each newer than its last."""
        kept, at, ts_ms = self.devices, rows.device, rows.ts_ms
        hole = ts_ms - kept[LAST, at] > self.ground.limit_ms[at]
        damp = (rows.rh < HUMIDITY[0]) | (rows.rh > HUMIDITY[1])
        self._note(DAMP, rows, ~np.isnan(rows.rh), damp, hole)
        self.report(rows, hole)
        kept[BATTERY, at] = np.where(np.isnan(rows.bat), kept[BATTERY, at], rows.bat)
        kept[LOW] = (kept[BATTERY] < BATTERY_LOW) | (
            (kept[LOW] == 1) & (kept[BATTERY] < BATTERY_WELL)
        )
        kept[LAST, at] = ts_ms
        self._take_values(rows)

    def report(self, rows: Rows, hole: Bools | None = None) -> None:
        """Take what these devices tell of doors and power, with a reading or by itself.

        What is newest counts, in whatever order it comes. `hole`: nothing was read for long before.
        """
        kept, at = self.devices, rows.device
        for row, told, value, bad in (
            (DOOR, DOOR_TOLD, rows.door, rows.door == 1),
            (MAINS, MAINS_TOLD, rows.mains, rows.mains == 0),
        ):
            new = ~(np.isnan(value) | (rows.ts_ms <= kept[told, at]))
            self._note(row, rows, new, bad, hole)
            kept[told, at] = np.where(new, rows.ts_ms, kept[told, at])
            if row == MAINS:
                kept[POWERED, at] = np.where(new, value, kept[POWERED, at])

    def _note(self, row: int, rows: Rows, new: Bools, bad: Bools, hole: Bools | None) -> None:
        """Note since when something is bad of those devices that say something new of it."""
        kept, at = self.devices, rows.device
        before = kept[row, at] if hole is None else np.where(hole, np.nan, kept[row, at])
        since = np.where(bad, np.where(np.isnan(before), rows.ts_ms, before), np.nan)
        kept[row, at] = np.where(new, since, kept[row, at])

    def _take_values(self, rows: Rows) -> None:
        ground, kept = self.ground, self.probes
        row_of = np.full(len(ground.devices), -1)
        row_of[rows.device] = np.arange(len(rows.device))
        row = row_of[ground.probe_device]
        at = np.flatnonzero(row >= 0)
        value = rows.t[row[at], ground.probe_channel[at]]
        at, value = at[~np.isnan(value)], value[~np.isnan(value)]
        ts_ms = rows.ts_ms[row[at]]
        v0, t0, v1, t1 = kept[:4, at]
        hole = ts_ms - t0 > ground.limit_ms[ground.probe_device[at]]
        jumped = (np.abs(value - v0) > JUMP_C) & ~hole
        one_way = ((value - v0) * (v0 - v1) > 0) & ~hole
        steep = one_way & (np.abs(value - v1) > RATE_C_MIN * (ts_ms - t1) / MINUTE_MS)
        same = (np.abs(value - kept[SAME_V, at]) < RESOLUTION_C / 2) & ~hole
        kept[V1, at] = np.where(hole, np.nan, v0)
        kept[T1, at] = np.where(hole, np.nan, t0)
        kept[V0, at], kept[T0, at] = value, ts_ms
        kept[FIRST, at] = np.where(np.isnan(kept[FIRST, at]), ts_ms, kept[FIRST, at])
        kept[SAME, at] = np.where(same, kept[SAME, at], ts_ms)
        kept[SAME_V, at] = np.where(same, kept[SAME_V, at], value)
        kept[JUMP, at] = np.where(jumped, ts_ms, kept[JUMP, at])
        kept[STEEP, at] = np.where(steep, ts_ms, kept[STEEP, at])
        self.recent[(ts_ms // MINUTE_MS).astype(np.int64) % KEPT_MIN, at] = value

    def advance(self, now_ms: float) -> None:
        """Make room for the minutes up to now, before their readings are taken."""
        minute = int(now_ms // MINUTE_MS)
        passed = range(max(self._minute + 1, minute - KEPT_MIN + 1), minute + 1)
        self.recent[[each % KEPT_MIN for each in passed]] = np.nan
        self._minute = max(self._minute, minute)

    def series(self, now_ms: float) -> tuple[Floats, Floats]:
        """Return the minutes that are kept, counted from now, and the values in them (60, p).

        Ascending; the last minute is the present one.
        """
        minute = np.arange(self._minute - KEPT_MIN + 1, self._minute + 1)
        values: Floats = self.recent[minute % KEPT_MIN].astype(np.float64).round(3)
        return (minute - now_ms // MINUTE_MS).astype(np.float64), values

    def speaks(self, now_ms: float) -> Bools:
        """Tell which devices speak: of the others nothing new can be said."""
        speaking: Bools = now_ms - self.devices[LAST] <= self.ground.limit_ms
        return speaking

    def settled(self, kind: str, subject_kind: str, subject_id: str, now_ms: float) -> bool:
        """Tell whether something that was told, and is found no more, is over by what was read.

        Not as long as nothing was read of it since the start, or it may be about to be found.
        """
        name, _, channel = subject_id.partition("/")
        if channel:
            return self._settled_probe(kind, self._at("device", name), channel, now_ms)
        at = self._at(subject_kind, name)
        of_subject = {"unit": self.ground.unit, "site": self.ground.site}.get(subject_kind)
        kept = self.devices[:, [at] if of_subject is None else of_subject == at]
        if kind == Kind.POWER_LOST:
            powered = kept[POWERED][~np.isnan(kept[POWERED])] == 1
            return bool(powered.any() if subject_kind == "site" else powered.size and powered.all())
        if kind == Kind.DOOR_OPEN:
            return bool((~np.isnan(kept[DOOR_TOLD])).any() and np.isnan(kept[DOOR]).all())
        if kind == Kind.DISAGREE:
            return bool(np.isnan(self.apart_ms[at]))
        if kind == Kind.BATTERY_LOW:
            return bool((kept[BATTERY] >= BATTERY_WELL).all())
        return kind != Kind.HUMIDITY or bool(np.isnan(kept[DAMP]).all())

    def _settled_probe(self, kind: str, device: int, channel: str, now_ms: float) -> bool:
        ground = self.ground
        here = (ground.probe_device == device) & (ground.probe_channel == int(channel[1:]) - 1)
        kept = self.probes[:, here]
        if kind == Kind.STUCK:
            return bool((kept[SAME] > kept[FIRST]).all())
        if kind == Kind.PROBE_OFFLINE:
            return bool((now_ms - kept[T0] <= ground.limit_ms[device]).all())
        return True

    def _at(self, subject_kind: str, name: str) -> int:
        if subject_kind not in self._places:
            ground = self.ground
            named = {"device": ground.devices, "unit": ground.units, "site": ground.sites}
            self._places[subject_kind] = {name: n for n, name in enumerate(named[subject_kind])}
        return self._places[subject_kind][name]

    def found(self, now_ms: float, usual_c: Floats) -> list[Found]:
        """Return everything that is so now. usual_c (p): by how much each probe is off usually."""
        off = self._without_power(now_ms)
        self._compare(now_ms, usual_c)
        return [
            *self._power(off),
            *self._doors(off),
            *self._batteries(),
            *self._humidity(),
            *self._probes(now_ms, off),
            *self._disagreements(now_ms, off),
        ]

    def _without_power(self, now_ms: float) -> Floats:
        """Return since when each unit is without power for long enough; NaN: it is not."""
        lost = now_ms - self.devices[MAINS] >= POWER_MS
        return self._by_unit(lost, self.devices[MAINS])

    def _by_unit(self, which: Bools, since_ms: Floats) -> Floats:
        """Return the earliest of these devices' times for each unit; NaN where none is."""
        earliest = np.full(len(self.ground.units), np.nan)
        np.fmin.at(earliest, self.ground.unit[which], since_ms[which])
        return earliest

    def _power(self, off_ms: Floats) -> Iterator[Found]:
        ground, s = self.ground, len(self.ground.sites)
        metered = np.zeros(len(ground.units), np.bool_)
        metered[ground.unit[~np.isnan(self.devices[POWERED])]] = True
        total = np.bincount(ground.unit_site[metered], minlength=s)
        lost = np.bincount(ground.unit_site[metered & ~np.isnan(off_ms)], minlength=s)
        whole = (total > 1) & (lost == total)
        for at in np.flatnonzero(whole).tolist():
            yield Found(
                kind=Kind.POWER_LOST,
                subject_kind="site",
                subject_id=ground.sites[at],
                severity="major",
                since_ms=int(np.nanmin(off_ms[ground.unit_site == at])),
                site=at,
                facts={"units": int(total[at])},
            )
        for at in np.flatnonzero(~np.isnan(off_ms)).tolist():
            held = bool(whole[ground.unit_site[at]])
            yield self._of_unit(Kind.POWER_LOST, at, "major", off_ms[at], held=held)

    def _doors(self, off_ms: Floats) -> Iterator[Found]:
        ground, kept = self.ground, self.devices
        limits = np.array([DOOR_MIN[kind] for kind in ground.unit_kinds], np.float64) * MINUTE_MS
        # A later reading must say so too: a door seen open once may be shut a moment later.
        long = kept[LAST] - kept[DOOR] >= limits[ground.unit]
        since = self._by_unit(long, kept[DOOR])
        for at in np.flatnonzero(~np.isnan(since)).tolist():
            held = not np.isnan(off_ms[at])
            yield self._of_unit(Kind.DOOR_OPEN, at, "minor", since[at], held=held)

    def _batteries(self) -> Iterator[Found]:
        for at in np.flatnonzero(self.devices[LOW] == 1).tolist():
            bat = float(self.devices[BATTERY, at])
            severity = "minor" if bat < BATTERY_EMPTY else "info"
            since = self.devices[LAST, at]
            yield self._of_device(Kind.BATTERY_LOW, at, severity, since, {"bat": bat})

    def _humidity(self) -> Iterator[Found]:
        ground, kept = self.ground, self.devices
        long = kept[LAST] - kept[DAMP] >= HUMIDITY_MS
        for at in np.flatnonzero(long & ground.of_kinds(HUMID_KINDS)[ground.unit]).tolist():
            yield self._of_device(Kind.HUMIDITY, at, "info", kept[DAMP, at], {})

    def _probes(self, now_ms: float, off_ms: Floats) -> Iterator[Found]:
        """Yield what is wrong with single probes of devices that do speak."""
        ground, kept = self.ground, self.probes
        limit_ms = ground.limit_ms[ground.probe_device]
        speaks = self.speaks(now_ms)[ground.probe_device]
        seen_ms = np.fmax(kept[T0], self.since_ms)
        checks: Sequence[tuple[Kind, Bools, Floats]] = (
            (Kind.PROBE_OFFLINE, now_ms - seen_ms > limit_ms, seen_ms),
            (Kind.IMPLAUSIBLE, now_ms - kept[JUMP] < JUMP_SHOWN_MS, kept[JUMP]),
            (Kind.RATE, now_ms - kept[STEEP] < RATE_SHOWN_MS, kept[STEEP]),
            (Kind.STUCK, self._stuck(), kept[SAME]),
        )
        for kind, which, since_ms in checks:
            for at in np.flatnonzero(which & speaks).tolist():
                unit, age = int(ground.probe_unit[at]), now_ms - since_ms[at]
                value = kept[V0, at]
                yield Found(
                    kind=kind,
                    subject_kind="device",
                    subject_id=ground.probe_id(at),
                    severity=silent_severity(age) if kind == Kind.PROBE_OFFLINE else "minor",
                    since_ms=int(since_ms[at]),
                    site=int(ground.unit_site[unit]),
                    unit=unit,
                    held=not np.isnan(off_ms[unit]),
                    facts={} if np.isnan(value) else {"value_c": round(float(value), 1)},
                )

    def _stuck(self) -> Bools:
        ground, kept = self.ground, self.probes
        low, high = np.fmin.reduce(self.recent, axis=0), np.fmax.reduce(self.recent, axis=0)
        moved = np.zeros(len(ground.units))
        np.fmax.at(moved, ground.probe_unit, (high - low).astype(np.float64))
        even = ground.of_kinds(EVEN_KINDS)[ground.probe_unit]
        unchanged = kept[T0] - kept[SAME]
        beside = (unchanged >= STUCK_MS) & (moved[ground.probe_unit] >= MOVED_C)
        stuck: Bools = beside | ((unchanged >= STUCK_ALONE_MS) & ~even)
        return stuck

    def _compare(self, now_ms: float, usual_c: Floats) -> None:
        """Note since when the probes of each unit differ by too much."""
        ground = self.ground
        fresh = now_ms - self.probes[T0] <= ground.limit_ms[ground.probe_device]
        value = np.where(fresh, self.probes[V0] - usual_c, np.nan)
        differing = _spread(value, ground.probe_unit, len(ground.units)) > APART_C
        since = np.where(np.isnan(self.apart_ms), now_ms, self.apart_ms)
        self.apart_ms = np.where(differing, since, np.nan)

    def _disagreements(self, now_ms: float, off_ms: Floats) -> Iterator[Found]:
        for at in np.flatnonzero(now_ms - self.apart_ms >= APART_MS).tolist():
            held = not np.isnan(off_ms[at])
            yield self._of_unit(Kind.DISAGREE, at, "minor", self.apart_ms[at], held=held)

    def _of_unit(self, kind: Kind, at: int, severity: str, since_ms: float, *, held: bool) -> Found:
        return Found(
            kind=kind,
            subject_kind="unit",
            subject_id=self.ground.units[at],
            severity=severity,
            since_ms=int(since_ms),
            site=int(self.ground.unit_site[at]),
            unit=at,
            held=held,
        )

    def _of_device(
        self, kind: Kind, at: int, severity: str, since_ms: float, facts: Mapping[str, float]
    ) -> Found:
        return Found(
            kind=kind,
            subject_kind="device",
            subject_id=self.ground.devices[at],
            severity=severity,
            since_ms=int(since_ms),
            site=int(self.ground.site[at]),
            unit=int(self.ground.unit[at]),
            facts=facts,
        )


def usual(ground: Ground, mean_c: Floats) -> Floats:
    """Return by how much each probe is off the middle of its unit, from long means (p; NaN: none).

    At most by what would be too much: a probe that drifts away is no habit.
    """
    off = np.zeros(len(mean_c))
    order, starts, counts = _grouped(mean_c, ground.probe_unit)
    middle = np.repeat(_middles(mean_c[order], starts, counts), counts)
    off[order] = np.clip(mean_c[order] - middle, -APART_C, APART_C)
    return off


def _spread(value: Floats, group: Ints, groups: int) -> Floats:
    """Return by how much the values of each group differ; 0 where there are not two.

    Two from one another, more from their middle.
    """
    order, starts, counts = _grouped(value, group)
    values, ends = value[order], starts + counts - 1
    middle = _middles(values, starts, counts)
    low, high = values[starts], values[ends]
    spread = np.zeros(groups)
    farthest = np.maximum(high - middle, middle - low)
    spread[group[order][starts]] = np.where(counts == 2, high - low, farthest)
    return spread


def _grouped(value: Floats, group: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the order of known values by group and size, where groups begin, how long they are."""
    known = np.flatnonzero(~np.isnan(value))
    order = known[np.lexsort((value[known], group[known]))]
    _, starts, counts = np.unique(group[order], return_index=True, return_counts=True)
    return order, starts, counts


def _middles(values: Floats, starts: Ints, counts: Ints) -> Floats:
    """Return the median of each group of ascending values."""
    middle: Floats = (values[starts + (counts - 1) // 2] + values[starts + counts // 2]) / 2
    return middle


def _probes(ground: Ground) -> list[tuple[str, int, str]]:
    """Return what each probe is known by: a probe in another unit is another one."""
    devices, channels, units = ground.probe_device, ground.probe_channel, ground.probe_unit
    return [
        (ground.devices[device], channel, ground.units[unit])
        for device, channel, unit in zip(
            devices.tolist(), channels.tolist(), units.tolist(), strict=True
        )
    ]
