"""Exposure out of blocks against every reading, however and whenever these came."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from domain.cold_chain.events import ReadingsRecorded
from projections import runner, thermal
from projections.thermal import follow as exposure
from runtime.postgres import PostgresServer
from store.logs import Ledger
from tests.cold_chain import given
from tests.conftest import Database, create_database, drop_database
from tests.store.stored import event, store
from tests.thermal.raw import Placed, readings
from tests.thermal.raw import exposure as counted

pytestmark = pytest.mark.database

UNITS = ["R1", "R2", "R3"]
CHANNELS = ("t1", "t2")
DAYS = 2
START_MS = round(given.NOON.timestamp() * 1000)


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Database]:
    made = create_database(postgres)
    yield made
    drop_database(postgres, made)


def follow(database: Database) -> None:
    with closing(exposure.connect(database.app_dsn)) as conn:
        while not exposure.step(conn).complete:
            pass


def rows(database: Database) -> list[list[tuple[Any, ...]]]:
    """Return everything that is kept, byte for byte."""
    return [
        database.query("SELECT probe, block, lo, hi, data FROM exposure_block ORDER BY 1, 2"),
        database.query("SELECT probe, day, data FROM exposure_day ORDER BY 1, 2"),
    ]


class World:
    """Probes that are moved about three units, and what they read, cut into messages."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.intervals = {"A": 60, "B": 300, "C": 60, "D": 1800}
        self.placed: list[Placed] = []
        for name, interval_s in self.intervals.items():
            for channel in CHANNELS:
                self._place(name, channel, min(3 * interval_s, 900) * 1000)
        self.messages = [m for name in self.intervals for m in self._messages(name)]

    def _place(self, device_id: str, channel: str, hold_ms: int) -> None:
        since = START_MS - self.draw.randint(0, 5) * 3_600_000
        while since < START_MS + DAYS * 86_400_000:
            until = since + self.draw.randint(1, 3000) * 60_000 + self.draw.choice([0, 17_000])
            unit = self.draw.choice([*UNITS, ""])
            last = until >= START_MS + DAYS * 86_400_000  # nobody tells its end
            end = math.inf if last else until
            self.placed.append(Placed(device_id, channel, unit, since, end, hold_ms))
            since = until

    def _messages(self, name: str) -> list[ReadingsRecorded]:
        """Return days of a device: gaps, unplugged probes, times that are no whole minutes."""
        draw, found, seq = self.draw, [], 0
        step = timedelta(seconds=self.intervals[name])
        last = DAYS * 86_400 // self.intervals[name]
        while seq < last:
            n = draw.randint(1, max(2, last // 12))
            level = draw.choice([-3.0, 1.9, 2.0, 5.0, 5.0, 5.0, 8.0, 8.1, 15.0])
            columns: dict[str, Any] = {
                channel: [
                    None if draw.random() < 0.05 else round(level + draw.choice([0, 0.1, 0.013]), 3)
                    for _ in range(n)
                ]
                for channel in CHANNELS
                if channel == "t1" or draw.random() < 0.7
            }
            at = given.NOON + seq * step + timedelta(milliseconds=draw.choice([0, 0, 137]))
            found.append(event(name, seq, at, step=step, **columns))
            seq += n + draw.choice([0, 0, 0, 1, 20])
        return found

    def register(self, database: Database, ledger: Ledger) -> None:
        """Tell the ledger of the equipment, placements in any order."""
        given.tell(ledger, *(given.unit(unit) for unit in UNITS))
        for name, interval_s in self.intervals.items():
            given.tell(ledger, given.device(name, interval_s=interval_s))
        facts = [
            given.placed(
                p.device_id, p.unit_id, given.minutes((p.since - START_MS) / 60_000), p.channel
            )
            if p.unit_id
            else given.removed(p.device_id, given.minutes((p.since - START_MS) / 60_000), p.channel)
            for p in self.placed
        ]
        given.tell(ledger, *self.draw.sample(facts, len(facts)))
        given.follow(database)

    def stays(self, n: int) -> tuple[list[int], list[int], list[int]]:
        """Return units and times, some beginning and ending where something happened."""
        edges = [p.since for p in self.placed] + [m.ts_ms[0] for m in self.messages]
        unit, t0, t1 = [], [], []
        for _ in range(n):
            ends = sorted(
                self.draw.choice(edges)
                if self.draw.random() < 0.3
                else START_MS + self.draw.randint(-3_600_000, (DAYS + 1) * 86_400_000)
                for _ in range(2)
            )
            unit.append(self.draw.randrange(len(UNITS)))
            t0.append(ends[0])
            t1.append(
                ends[0] + self.draw.randint(0, 1_500_000) if self.draw.random() < 0.2 else ends[1]
            )
        return unit, t0, t1


def check(database: Database, world: World, stays: int) -> None:
    """Compare stays with what the readings say."""
    unit, t0, t1 = world.stays(stays)
    spans = thermal.Spans(np.array(unit), np.array(t0), np.array(t1))
    with psycopg.connect(database.app_dsn, autocommit=True) as conn, thermal.one_moment(conn):
        found = thermal.exposures(conn, UNITS, spans)
    known = {
        (name, channel): readings(database, name, channel)
        for name in world.intervals
        for channel in CHANNELS
    }
    for n in range(stays):
        expected = counted(known, world.placed, UNITS[unit[n]], t0[n], t1[n])
        np.testing.assert_allclose(
            found.sums[:, n],
            expected.sums,
            rtol=1e-9,
            atol=1e-6,
            err_msg=str((unit[n], t0[n], t1[n])),
        )
        np.testing.assert_equal((found.hi[n], found.lo[n]), (expected.hi, expected.lo))


@pytest.mark.parametrize("seed", [1, 2])
def test_given_late_readings_and_moved_probes_when_asked_then_as_from_every_reading(
    database: Database, seed: int
) -> None:
    world = World(random.Random(seed))
    with Ledger(database.app_dsn) as ledger:
        world.register(database, ledger)
    late = world.draw.sample(world.messages, len(world.messages) // 3)
    ordered = [m for m in world.messages if m not in late]
    ordered.sort(key=lambda m: m.ts_ms[0])
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        for n, told in enumerate([*ordered, *late]):
            store(conn, told)
            if world.draw.random() < 0.2:
                follow(database)
            if n == len(ordered):
                follow(database)
                check(database, world, 8)
    follow(database)
    check(database, world, 20)
    kept = rows(database)
    assert runner.rebuild(database.app_dsn, "thermal") == len(world.messages)
    assert rows(database) == kept


def test_given_readings_in_good_order_when_followed_one_by_one_then_only_the_end_is_written(
    database: Database,
) -> None:
    given_at = given.NOON
    stamp = "SELECT block, xmin::text FROM exposure_block ORDER BY 1"
    with Ledger(database.app_dsn) as ledger:
        given.tell(ledger, given.device("A", interval_s=60))
    given.follow(database)
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        store(conn, event("A", 0, given_at, t1=[5.0] * 100))
        follow(database)
        before = database.query(stamp)
        store(conn, event("A", 100, given_at + timedelta(minutes=100), t1=[5.0]))
        follow(database)
        after = database.query(stamp)
    assert len(set(after) - set(before)) == 1
    assert [row[0] for row in before] == [row[0] for row in after]
    assert database.query("SELECT count(*) FROM exposure_change") == [(0,)]


def test_given_rows_that_were_dropped_when_followed_and_rebuilt_then_their_sums_stay(
    database: Database,
) -> None:
    days = timedelta(days=1)
    with Ledger(database.app_dsn) as ledger:
        given.tell(ledger, given.device("A", interval_s=300))
    given.follow(database)
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        for day in range(3):
            at = given.NOON + day * days
            store(conn, event("A", day * 300, at, step=timedelta(minutes=5), t1=[9.0] * 280))
            follow(database)
    kept = rows(database)
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        owner.execute("INSERT INTO reading_dropped (day, readings) VALUES ('2026-03-02', 0)")
        owner.execute("DELETE FROM reading WHERE ts < '2026-03-03'")
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        store(conn, event("A", 2000, given.NOON + timedelta(minutes=2), t1=[20.0]))
    follow(database)
    assert rows(database) == kept
    runner.rebuild(database.app_dsn, "thermal")
    assert [row[:2] for row in rows(database)[0]] == [row[:2] for row in kept[0]]
    assert len(rows(database)[1]) == len(kept[1])
