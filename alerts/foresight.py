"""What is likely to come: probes that approach their limits, defrosts, certificates that end.

Forecasts are made at every tick from the last hour of values, kept when made, and held against what
was read once their half hour is over. Of what was learnt of a unit only warnings know.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from domain.alerting import defrost
from domain.alerting.conditions import Bools, Floats, Found, Ground, Kind
from domain.alerting.defrost import Pattern
from domain.alerting.foresight import (
    HORIZON_MIN,
    KEPT_FROM,
    STAYS_FROM,
    TOLD_FROM,
    WINDOW_MIN,
    Forecast,
    forecast,
    rising,
)
from domain.alerting.signals import DOOR, MAINS, Signals
from domain.alerting.threshold import MINUTE_MS
from domain.alerting.watch import to_ms
from domain.cold_chain.calibration import CHINA, RENEWAL, days_left, renewal_from
from projections import charts
from projections.shared.calibrations import Calibrations, calibrations
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "foresight.sql")

Connection = psycopg.Connection[Any]

HORIZON = timedelta(minutes=HORIZON_MIN)
# Readings of a forecast's time may come so much later.
SETTLED_AFTER = timedelta(minutes=5)
# Days from which defrosts are learnt, how often, and of how many probes in one tick.
LEARNT_FROM, LEARNT_AGAIN, LEARNT_AT_ONCE = timedelta(days=7), timedelta(days=1), 3
# Readings of so many days at a minute; more are thinned to their peaks.
_POINTS = 20_000
_EVENTS = (Kind.DOOR_OPEN, Kind.POWER_LOST)


@dataclass(frozen=True, slots=True)
class _Probe:
    """A probe that may be on its way: minutes and values ascending, between its limits."""

    at: int
    minutes: Floats
    values: Floats
    low_c: float
    high_c: float


class Foresight:
    """Looks ahead; remembers what was told and what was learnt."""

    def __init__(self) -> None:
        self._ground: Ground | None = None
        self._low_c = self._high_c = np.empty(0)  # (p), of what readings count as
        self._low_read = self._high_read = np.empty(0)  # (p), of what is read: within these it is
        self._certified, self._known = -1, Calibrations({})
        self._on: dict[str, Found] | None = None
        self._told: set[str] = set()
        self._kept: dict[tuple[str, bool], datetime] = {}
        self._patterns: dict[str, Pattern] = {}
        self._learnt: datetime | None = None
        self._to_learn: deque[tuple[str, str, str]] = deque()

    def found(
        self, conn: Connection, ground: Ground, signals: Signals, now: datetime
    ) -> list[Found]:
        """Return the probes that are about to leave their limits, and certificates that end."""
        try:
            self._remember(conn, ground, now)
            self._settle(conn, now)
            self._learn(conn, now)
            due = list(_due(conn, ground, now))
        except psycopg.errors.UndefinedTable:  # the read models are not built yet
            return []
        return [*due, *self._ahead(conn, ground, signals, now)]

    def with_time(self, found: Iterable[Found]) -> Iterator[Found]:
        """Yield these conditions; open doors and lost power with the time that is left."""
        soonest: dict[int, Found] = {}
        for one in (self._on or {}).values():
            if "eta_min" in one.facts:
                known = soonest.setdefault(one.unit, one)
                if one.facts["eta_min"] < known.facts["eta_min"]:
                    soonest[one.unit] = one
        for one in found:
            ahead = soonest.get(one.unit) if one.kind in _EVENTS else None
            if ahead is not None:
                facts = {name: ahead.facts[name] for name in ("eta_min", "limit_c")}
                one = replace(one, facts={**one.facts, **facts})  # noqa: PLW2901
            yield one

    def _remember(self, conn: Connection, ground: Ground, now: datetime) -> None:
        if self._on is None:
            self._told = {name for (name,) in conn.execute(queries.told, (Kind.LIMIT_FORECAST,))}
            self._kept = {(name, told): at for name, told, at in conn.execute(queries.open)}
            self._patterns = _patterns(conn)
            self._on = {}
        ((certified,),) = conn.execute(queries.calibrated).fetchall()
        if certified != self._certified:
            self._certified, self._known, self._ground = certified, calibrations(conn), None
        if ground is not self._ground:
            self._ground = ground
            low, high = _limits(conn, ground, now)
            self._low_c, self._high_c = low[ground.probe_unit], high[ground.probe_unit]
            least, greatest = self._deviations(ground, to_ms(now))
            self._low_read, self._high_read = self._low_c + greatest, self._high_c + least

    def _ahead(
        self, conn: Connection, ground: Ground, signals: Signals, now: datetime
    ) -> list[Found]:
        now_ms = to_ms(now)
        minutes, values = signals.series(now_ms)
        window = minutes >= -WINDOW_MIN
        near = rising(minutes[window], values[window], self._low_read, self._high_read)
        speaks = signals.speaks(now_ms)[ground.probe_device]
        on: dict[str, Found] = {}
        for probe in self._probes(ground, near & speaks, (minutes, values), now_ms):
            name = ground.probe_id(probe.at)
            value = float(probe.values[-1])
            if not probe.low_c <= value <= probe.high_c:
                # It came true: what was told stays until the probe is back.
                if name in self._told:
                    on[name] = (self._on or {}).get(name) or _found(ground, probe, now_ms, None, {})
                continue
            limit_c, ahead = _forecast(probe, _event_min(signals, ground, probe.at, now_ms))
            if ahead is None:
                continue
            told = ahead.chance >= (STAYS_FROM if name in self._told else TOLD_FROM)
            self._keep(conn, ground, probe, (limit_c, ahead, told), now)
            if told or ahead.chance >= KEPT_FROM:
                found = _found(ground, probe, now_ms, ahead, {"limit_c": limit_c})
                muted = limit_c == probe.high_c and self._in_defrost(name, probe, now_ms)
                on[name] = replace(found, held=muted or not told)
        self._on = on
        self._told = {name for name, one in on.items() if not one.held}
        return list(on.values())

    def _deviations(self, ground: Ground, now_ms: int) -> tuple[Floats, Floats]:
        """Return the least and the greatest that is taken from what each probe reads (p)."""
        least, greatest = (np.zeros(len(ground.probe_device)) for _ in range(2))
        if self._known.by_probe:
            for at in range(len(ground.probe_device)):
                device_id, _, channel = ground.probe_id(at).partition("/")
                known = self._known.by_probe.get((device_id, channel))
                if known is not None:
                    least[at], greatest[at] = known.extremes_at(now_ms)
        return least, greatest

    def _probes(
        self, ground: Ground, near: Bools, read: tuple[Floats, Floats], now_ms: int
    ) -> Iterator[_Probe]:
        """Yield the probes to look at: those near a limit, and those that were told of."""
        minutes, values = read
        chosen = set(np.flatnonzero(near).tolist())
        if self._told:
            chosen.update(at for at in range(len(near)) if ground.probe_id(at) in self._told)
        for at in sorted(chosen):
            known = ~np.isnan(values[:, at])
            if known.any():
                device_id, _, channel = ground.probe_id(at).partition("/")
                at_ms = (now_ms + minutes[known] * MINUTE_MS).astype(np.int64)
                counted = self._known.corrected(values[known, at], device_id, channel, at_ms)
                limits = (float(self._low_c[at]), float(self._high_c[at]))
                yield _Probe(at, minutes[known], counted, *limits)

    def _in_defrost(self, name: str, probe: _Probe, now_ms: int) -> bool:
        pattern = self._patterns.get(name)
        if pattern is None:
            return False
        recent = probe.minutes >= -defrost.LASTS_MS / MINUTE_MS
        coldest = probe.minutes[recent][np.argmin(probe.values[recent])]
        began_ms = int(now_ms + coldest * MINUTE_MS)
        return defrost.mutes(pattern, began_ms, now_ms, float(probe.values[-1]), probe.high_c)

    def _keep(
        self,
        conn: Connection,
        ground: Ground,
        probe: _Probe,
        made: tuple[float, Forecast, bool],
        now: datetime,
    ) -> None:
        """Keep a forecast, one of a probe in half an hour, and one more when it is told."""
        limit_c, ahead, told = made
        name = ground.probe_id(probe.at)
        last = self._kept.get((name, told))
        if ahead.chance < KEPT_FROM or (last is not None and now - last < HORIZON):
            return
        self._kept[name, told] = now
        device_id, _, channel = name.partition("/")
        late = ahead.late_min
        row = {
            "device_id": device_id,
            "channel": channel,
            "unit_id": ground.units[ground.probe_unit[probe.at]],
            "made_at": now,
            "value_c": float(probe.values[-1]),
            "limit_c": limit_c,
            "side": "high" if limit_c == probe.high_c else "low",
            "chance": ahead.chance,
            "eta_at": now + timedelta(minutes=ahead.eta_min),
            "early_at": now + timedelta(minutes=ahead.early_min),
            "late_at": None if late is None else now + timedelta(minutes=late),
            "method": ahead.method,
            "told": told,
        }
        conn.execute(queries.keep, row)

    def _settle(self, conn: Connection, now: datetime) -> None:
        """Hold forecasts whose time is over against what was read."""
        asked = {"before": now - HORIZON - SETTLED_AFTER, "horizon": HORIZON}
        rows = conn.execute(queries.over, asked).fetchall()
        for forecast_id, of_one in groupby(rows, itemgetter(0)):
            read = [row for row in of_one if row[6] is not None]
            outcome, came_at = "unknown", None
            if read:
                _, device_id, channel, side, limit_c, _, _ = read[0]
                at_ms = np.array([to_ms(row[5]) for row in read], np.int64)
                values = np.array([row[6] for row in read], np.float64)
                counted = self._known.corrected(values, device_id, channel, at_ms)
                beyond = counted > limit_c if side == "high" else counted < limit_c
                outcome = "came" if beyond.any() else "not"
                came_at = read[int(np.argmax(beyond))][5] if beyond.any() else None
            settled = {"forecast_id": forecast_id, "outcome": outcome, "came_at": came_at}
            conn.execute(queries.settle, settled)

    def _learn(self, conn: Connection, now: datetime) -> None:
        """Learn the defrosts of a few probes that were warned of; once a day of each."""
        if self._learnt is None or not self._learnt <= now < self._learnt + LEARNT_AGAIN:
            self._learnt = now
            asked = {"since": now - LEARNT_FROM}
            self._to_learn = deque(conn.execute(queries.suspects, asked).fetchall())
        for _ in range(min(LEARNT_AT_ONCE, len(self._to_learn))):
            self._learn_of(conn, *self._to_learn.popleft(), now)

    def _learn_of(
        self, conn: Connection, device_id: str, channel: str, unit_id: str, now: datetime
    ) -> None:
        ground, name = self._ground, f"{device_id}/{channel}"
        if ground is None or unit_id not in ground.units:
            return
        high_c = _limits(conn, ground, now)[1][ground.units.index(unit_id)]
        asked: dict[str, Any] = {"device_id": device_id, "channel": channel, "points": _POINTS}
        read = charts.readings(conn, **asked, t0=now - LEARNT_FROM, t1=now)
        at_ms = np.array(read.t, np.int64)
        values = np.array([np.nan if v is None else v for v in read.v], np.float64)
        values = self._known.corrected(values, device_id, channel, at_ms)
        known = ~np.isnan(values)
        pattern = defrost.recognised(at_ms[known], values[known], float(high_c))
        self._patterns.pop(name, None)
        if pattern is not None:
            self._patterns[name] = pattern
        learnt = pattern._asdict() if pattern else dict.fromkeys(Pattern._fields)
        row = {"device_id": device_id, "channel": channel, "unit_id": unit_id, "learnt_at": now}
        conn.execute(queries.learn, row | learnt)


def _forecast(probe: _Probe, event_min: float | None) -> tuple[float, Forecast | None]:
    """Return the limit that a probe goes towards, and when it reaches it."""
    value = probe.values[-1]
    if np.isfinite(probe.high_c):
        ahead = forecast(probe.minutes, probe.values, probe.high_c, event_min=event_min)
        if ahead is not None:
            return probe.high_c, ahead
    if np.isfinite(probe.low_c) and value > probe.low_c:
        return probe.low_c, forecast(probe.minutes, probe.values, probe.low_c, event_min=event_min)
    return probe.high_c, None


def _event_min(signals: Signals, ground: Ground, probe: int, now_ms: int) -> float | None:
    """Return when the door of a probe's unit was opened, or its power lost; None: neither is so."""
    since = signals.devices[[DOOR, MAINS]][:, ground.unit == ground.probe_unit[probe]]
    if np.isnan(since).all():
        return None
    return float(np.nanmin(since) - now_ms) / MINUTE_MS


def _found(
    ground: Ground, probe: _Probe, now_ms: int, ahead: Forecast | None, facts: Mapping[str, float]
) -> Found:
    unit = int(ground.probe_unit[probe.at])
    told: dict[str, float] = {"value_c": round(float(probe.values[-1]), 1), **facts}
    if ahead is not None:
        told |= {"eta_min": round(ahead.eta_min), "early_min": int(ahead.early_min)}
        told |= {"chance": ahead.chance}
        if ahead.late_min is not None:
            told["late_min"] = round(ahead.late_min)
    return Found(
        kind=Kind.LIMIT_FORECAST,
        subject_kind="device",
        subject_id=ground.probe_id(probe.at),
        severity="minor",
        since_ms=now_ms,
        site=int(ground.unit_site[unit]),
        unit=unit,
        facts=told,
    )


def _limits(conn: Connection, ground: Ground, now: datetime) -> tuple[Floats, Floats]:
    """Return the lowest and the highest temperature that no rule calls bad (u); infinite: none."""
    low, high = np.full(len(ground.units), -np.inf), np.full(len(ground.units), np.inf)
    index = {unit_id: at for at, unit_id in enumerate(ground.units)}
    asked = {"units": list(ground.units), "now": now}
    for unit_id, rules in conn.execute(queries.limits, asked):
        at = index[unit_id]
        for rule in rules:
            if rule["side"] == "high":
                high[at] = min(high[at], rule["limit_c"])
            else:
                low[at] = max(low[at], rule["limit_c"])
    return low, high


def _patterns(conn: Connection) -> dict[str, Pattern]:
    return {name: Pattern(*learnt) for name, *learnt in conn.execute(queries.patterns)}


def _due(conn: Connection, ground: Ground, now: datetime) -> Iterator[Found]:
    """Yield the probes whose certificates end within 30 days, or have ended."""
    day = (now + RENEWAL).astimezone(CHINA).date()
    rows = conn.execute(queries.due, (day,)).fetchall()
    index = {ground.probe_id(at): at for at in range(len(ground.probe_device))} if rows else {}
    for device_id, channel, valid_until in rows:
        at = index.get(name := f"{device_id}/{channel}")
        if at is None:
            continue
        left, unit = days_left(valid_until, now), int(ground.probe_unit[at])
        yield Found(
            kind=Kind.CALIBRATION_OVERDUE,
            subject_kind="device",
            subject_id=name,
            severity="info" if left >= 0 else "major",
            since_ms=to_ms(renewal_from(valid_until)),
            site=int(ground.unit_site[unit]),
            unit=unit,
            facts={"days": left},
        )
