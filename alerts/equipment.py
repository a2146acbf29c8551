"""What is stored about equipment, as the columns that `domain/alerting/conditions.py` judges.

Newest values and readings come as binary columns of all devices at once, not row by row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson
import psycopg

from domain.alerting.conditions import Bools, Floats, Found, Ground, Ints, Kind
from domain.alerting.rules import HISTORY_AFTER
from domain.alerting.signals import Rows, usual
from domain.alerting.watch import to_ms
from domain.cold_chain.model import TEMPERATURE_CHANNELS
from domain.shared.ids import stream_id
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "conditions.sql")

# How long the registry is held for true though nothing in it has changed: a placement may begin.
GROUND_AGAIN = timedelta(hours=1)
# Days from which it is learnt by how much probes of a unit differ usually.
USUAL_DAYS = timedelta(days=7)
# Readings older than this are no news any more.
NEWS = timedelta(hours=1)

Connection = psycopg.Connection[Any]

_EPOCH_2000_MS = to_ms(datetime(2000, 1, 1, tzinfo=UTC))
_HISTORY_MS = HISTORY_AFTER / timedelta(milliseconds=1)
_VALUES = 8  # t1 … t4, rh, door, mains, bat
# k things said: which device, when (ms), and the values (k, 8).
_Said: TypeAlias = tuple[Ints, Floats, Floats]


class Equipment:
    """Reads; remembers the registry, and what is usual, while nothing has changed."""

    def __init__(self) -> None:
        self._version, self._read_at = "", datetime.min.replace(tzinfo=UTC)
        self._ground: Ground | None = None
        self._reports: int | None = None
        self.numbers: Ints = np.empty(0, np.int64)  # (n): of the ground's devices
        self.usual_c: Floats = np.empty(0)  # (p)

    def ground(self, conn: Connection, now: datetime) -> Ground:
        """Return what is registered; the same object while it is the same.

        psycopg.errors.UndefinedTable while the read models are not built.
        """
        ((version,),) = conn.execute(queries.ground_version).fetchall()
        aged = not self._read_at <= now < self._read_at + GROUND_AGAIN
        if self._ground is None or aged or version != self._version:
            found = conn.execute(queries.ground, (now,)).fetchall()
            self.numbers = np.array([row[0] for row in found], np.int64)
            self._ground = _ground([row[1:] for row in found])
            self._version, self._read_at = version, now
            self.usual_c = self._usual(conn, self._ground, now)
        return self._ground

    def heard(self, conn: Connection, ground: Ground, now: datetime) -> tuple[Floats, Floats]:
        """Return when each device was heard last, and the time of its newest reading (ms).

        NaN for devices of which nothing is expected: they have told of times long past only.
        """
        (columns,) = conn.execute(queries.states, binary=True).fetchall()
        number = np.frombuffer(columns[0], ">i4").astype(np.int64)
        order = np.argsort(number)
        ts_ms, heard_ms = (_ms(column)[order] for column in columns[1:])
        at = np.searchsorted(number[order], self.numbers)
        known = np.isin(self.numbers, number)
        newest, heard = (np.full(len(self.numbers), np.nan) for _ in range(2))
        newest[known], heard[known] = ts_ms[at[known]], heard_ms[at[known]]
        self._look_closer(conn, now, now.timestamp() * 1000 - heard > ground.overdue_ms, heard)
        heard[heard - newest > _HISTORY_MS] = np.nan
        return heard, newest

    def _look_closer(self, conn: Connection, now: datetime, overdue: Bools, heard: Floats) -> None:
        """Look up in the readings whether those that seem overdue have been heard after all."""
        at = np.flatnonzero(overdue)
        if not at.size:
            return
        asked = {"devices": self.numbers[at].tolist(), "since": now - HISTORY_AFTER}
        for n, ts, recorded_at in conn.execute(queries.newest, asked):
            heard[at[n]] = max(heard[at[n]], to_ms(min(max(ts, recorded_at), now)))

    def rows(
        self,
        conn: Connection,
        newest_ms: Floats,
        last_ms: Floats,
        now: datetime,
    ) -> Iterator[Rows]:
        """Yield readings after `last_ms` (n): one of each device at a time, as their times go."""
        since_ms = np.fmax(last_ms, to_ms(now - NEWS))
        device, ts_ms, values = self._readings(conn, newest_ms, since_ms, now)
        new = ts_ms > since_ms[device]
        yield from _one_by_one(device[new], ts_ms[new], values[new])

    def reports(self, conn: Connection, ground: Ground, now: datetime) -> Iterator[Rows]:
        """Yield what devices told since of their doors and their power beside readings, as `rows`.

        However late it comes; what is older than a day is history.
        """
        device, ts_ms, values = self._reported(conn, ground, now)
        new = now.timestamp() * 1000 - ts_ms <= _HISTORY_MS
        yield from _one_by_one(device[new], ts_ms[new], values[new])

    def _readings(
        self, conn: Connection, newest_ms: Floats, since_ms: Floats, now: datetime
    ) -> _Said:
        at = np.flatnonzero(newest_ms > since_ms)
        asked = {
            "devices": self.numbers[at].tolist(),
            "since": since_ms[at].astype(np.int64).tolist(),
            "first": now - NEWS,
            "last": now,
        }
        (columns,) = conn.execute(queries.rows, asked, binary=True).fetchall()
        values = np.frombuffer(columns[2], ">f8").astype(np.float64).reshape(-1, _VALUES)
        return at[np.frombuffer(columns[0], ">i4")], _ms(columns[1]), values

    def _reported(self, conn: Connection, ground: Ground, now: datetime) -> _Said:
        if self._reports is None:
            ((self._reports,),) = conn.execute(queries.position_at, (now - NEWS,)).fetchall()
        found = conn.execute(queries.reports, (self._reports,)).fetchall()
        index = {device_id: n for n, device_id in enumerate(ground.devices)} if found else {}
        said: list[tuple[int, float, list[float]]] = []
        for position, device_id, kind, ts_ms, payload in found:
            self._reports = position
            told = _told(kind, orjson.loads(payload))
            if device_id in index and told is not None:
                said.append((index[device_id], float(ts_ms), told))
        device, times, values = _columns(said, 3)
        return (
            np.array(device, np.int64),
            np.array(times, np.float64),
            np.array(values, np.float64).reshape(-1, _VALUES),
        )

    def wills(self, conn: Connection, ground: Ground) -> Floats:
        """Return when each gateway took its leave by its will (ms); NaN: it has not."""
        wills = np.full(len(ground.gateways), np.nan)
        streams = [stream_id("cold_chain.gateway_status", name) for name in ground.gateways]
        for n, received_ms in conn.execute(queries.wills, (streams,)):
            wills[n] = received_ms
        return wills

    def wrong_clocks(self, conn: Connection, ground: Ground) -> Iterator[Found]:
        """Yield the devices whose clock is wrong."""
        index = {device_id: n for n, device_id in enumerate(ground.devices)}
        for device_id, severity, offset_ms, since in conn.execute(queries.wrong_clocks).fetchall():
            at = index.get(device_id)
            if at is not None:
                yield Found(
                    kind=Kind.CLOCK_SKEW,
                    subject_kind="device",
                    subject_id=device_id,
                    severity=severity,
                    since_ms=to_ms(since),
                    site=int(ground.site[at]),
                    unit=int(ground.unit[at]),
                    facts={"offset_s": offset_ms / 1000},
                )

    def _usual(self, conn: Connection, ground: Ground, now: datetime) -> Floats:
        means = np.full((len(ground.devices), len(TEMPERATURE_CHANNELS)), np.nan)
        asked = {"devices": self.numbers.tolist(), "since": now - USUAL_DAYS}
        for n, *of_channels in conn.execute(queries.means, asked):
            means[n] = [np.nan if mean is None else mean for mean in of_channels]
        return usual(ground, means[ground.probe_device, ground.probe_channel])


def _one_by_one(device: Ints, ts_ms: Floats, values: Floats) -> Iterator[Rows]:
    """Yield one row of each device at a time, each in the order of its times."""
    if not device.size:
        return
    order = np.lexsort((ts_ms, device))
    device, ts_ms, values = device[order], ts_ms[order], values[order]
    # How many of its device come before each: those of one number are taken together.
    starts = np.flatnonzero(np.append(True, np.diff(device) != 0))
    nth = np.arange(len(device)) - np.repeat(starts, np.diff(np.append(starts, len(device))))
    for n in range(int(nth.max()) + 1):
        one = nth == n
        rh, door, mains, bat = values[one, 4:].T
        yield Rows(device[one], ts_ms[one], values[one, :4], rh, door, mains, bat)


def _ms(column: bytes) -> Floats:
    """Return a column of times as milliseconds of UTC."""
    us = np.frombuffer(column, ">i8").astype(np.float64)
    ms: Floats = np.floor(us / 1000) + _EPOCH_2000_MS
    return ms


def _told(kind: str, said: Any) -> list[float] | None:
    """Return the values that a report gives: of a door whether it is open, of power whether on."""
    for named, column, field in (("door", 5, "open"), ("power", 6, "on")):
        if kind == named and isinstance(said.get(field), bool):
            values = [math.nan] * _VALUES
            values[column] = float(said[field])
            return values
    return None


class _Names:
    """Things in the order in which they were first named."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        return self.index.setdefault(name, len(self.index))

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(self.index)


def _ground(rows: Sequence[tuple[Any, ...]]) -> Ground:
    """Return the rows of `ground` as columns."""
    gateways, sites, units = _Names(), _Names(), _Names()
    regions: dict[int, str] = {}
    gateway_site: dict[int, int] = {}
    of_unit: dict[int, tuple[str, int]] = {}
    of_device: list[tuple[str, int, int, int]] = []
    probes: list[tuple[int, int, int]] = []
    for at, (device_id, interval_s, gateway_id, site_id, region, *places) in enumerate(rows):
        gateway, site = gateways(gateway_id), sites(site_id)
        gateway_site[gateway], regions[site] = site, region
        for channel, unit_id, kind, unit_site_id, unit_region in zip(*places, strict=True):
            unit_site = sites(unit_site_id)
            regions.setdefault(unit_site, unit_region)
            of_unit[units(unit_id)] = (kind, unit_site)
            if channel in TEMPERATURE_CHANNELS:
                probes.append((at, TEMPERATURE_CHANNELS.index(channel), units(unit_id)))
        of_device.append((device_id, interval_s, gateway, units(places[1][0])))
    device_ids, intervals, of_gateway, first_unit = _columns(of_device, 4)
    probe_device, probe_channel, probe_unit = _columns(probes, 3)
    return Ground(
        devices=tuple(device_ids),
        interval_ms=np.array(intervals, np.float64) * 1000,
        gateway=np.array(of_gateway, np.int64),
        unit=np.array(first_unit, np.int64),
        gateways=gateways.all,
        gateway_site=np.array([gateway_site[n] for n in range(len(gateways.all))], np.int64),
        sites=sites.all,
        regions=tuple(regions[n] for n in range(len(sites.all))),
        units=units.all,
        unit_kinds=tuple(of_unit[n][0] for n in range(len(units.all))),
        unit_site=np.array([of_unit[n][1] for n in range(len(units.all))], np.int64),
        probe_device=np.array(probe_device, np.int64),
        probe_channel=np.array(probe_channel, np.int64),
        probe_unit=np.array(probe_unit, np.int64),
    )


def _columns(rows: Sequence[tuple[Any, ...]], n: int) -> list[list[Any]]:
    return [[row[column] for row in rows] for column in range(n)]
