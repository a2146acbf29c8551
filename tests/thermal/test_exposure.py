"""Exposure out of blocks against every reading, however and whenever these came."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from domain.cold_chain.calibration import calibration_stream
from domain.cold_chain.calibration_events import CalibrationPoint, CalibrationRecorded
from domain.cold_chain.events import ReadingsRecorded
from domain.stability.exposure import Quantity
from projections import runner, thermal
from projections.thermal import follow as exposure
from runtime.postgres import PostgresServer
from store.envelope import Envelope
from store.logs import Ledger
from tests.cold_chain import given
from tests.conftest import Database, create_database, drop_database
from tests.store.stored import event, store
from tests.thermal.raw import Certified, Placed, readings
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
    """Probes that are moved about three units, what they read, cut into messages, and are off by.

    A third of it all, `late`, is told when somebody may have been told of the rest.
    """

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.intervals = {"A": 60, "B": 300, "C": 60, "D": 1800}
        self.moves = [
            move
            for name in self.intervals
            for channel in CHANNELS
            for move in self._moves(name, channel)
        ]
        self.certified = [
            Certified(name, "t1", START_MS + draw.randint(-1, DAYS) * 43_200_123, off)
            for name, off in (("A", 0.4), ("C", -1.5), ("C", 2.0))
        ]
        self.messages = [m for name in self.intervals for m in self._messages(name)]
        self.late = self.draw.sample(self.messages, len(self.messages) // 3)
        self.late_moves = self.draw.sample(self.moves, len(self.moves) // 4)
        self.known_certified: list[Certified] = []
        self.known_moves = [move for move in self.moves if move not in self.late_moves]

    def _moves(self, device_id: str, channel: str) -> Iterator[tuple[str, str, int, str]]:
        since = START_MS - self.draw.randint(0, 5) * 3_600_000
        while since < START_MS + DAYS * 86_400_000:
            yield device_id, channel, since, self.draw.choice([*UNITS, ""])
            since += self.draw.randint(1, 3000) * 60_000 + self.draw.choice([0, 17_000])

    @property
    def placed(self) -> list[Placed]:
        """Return where probes stood, as far as was told."""
        found = []
        for n, (name, channel, since, unit) in enumerate(moves := sorted(self.known_moves)):
            follows = n + 1 < len(moves) and moves[n + 1][:2] == (name, channel)
            until = moves[n + 1][2] if follows else math.inf
            hold_ms = min(3 * self.intervals[name], 900) * 1000
            found.append(Placed(name, channel, unit, since, until, hold_ms))
        return found

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
        self.tell(database, ledger, self.known_moves)

    def tell(
        self, database: Database, ledger: Ledger, moves: Sequence[tuple[str, str, int, str]]
    ) -> None:
        """Tell the ledger of placements, in any order."""
        for name, channel, since, unit in self.draw.sample(moves, len(moves)):
            at = given.minutes((since - START_MS) / 60_000)
            moved = given.placed(name, unit, at, channel) if unit else None
            given.tell(ledger, moved or given.removed(name, at, channel))
        given.follow(database)

    def correct(self, database: Database, ledger: Ledger) -> None:
        """Tell the ledger of late placements, and of certificates."""
        self.known_moves = self.moves
        self.tell(database, ledger, self.late_moves)
        for n, (name, channel, since, off) in enumerate(self.certified):
            told = CalibrationRecorded(
                device_id=name,
                channel=channel,
                certificate_no=f"C{n}",
                laboratory="计量院",
                calibrated_on=given.NOON.date(),
                since=given.minutes((since - START_MS) / 60_000),
                valid_until=given.NOON.date(),
                points=(CalibrationPoint(reference_c=5.0, deviation_c=off, uncertainty_c=0.1),),
            )
            ledger.append([Envelope(calibration_stream(name, f"{n}"), 1, told, given.META)])
        self.known_certified = self.certified
        given.follow(database)

    def stays(self, n: int) -> tuple[list[int], list[int], list[int]]:
        """Return units and times, some beginning and ending where something happened."""
        edges = [move[2] for move in self.moves] + [m.ts_ms[0] for m in self.messages]
        unit, t0, t1 = [], [], []
        for _ in range(n):
            ends = sorted(
                self.draw.choice(edges)
                if self.draw.random() < 0.4
                else START_MS + self.draw.randint(-3_600_000, (DAYS + 1) * 86_400_000)
                for _ in range(2)
            )
            unit.append(self.draw.randrange(len(UNITS)))
            if self.draw.random() < 0.3:  # what was read elsewhere may still hold
                name, _, since, where = self.draw.choice([move for move in self.moves if move[3]])
                unit[-1] = UNITS.index(where)
                ends[0] = since + self.draw.randint(1, 2000 * self.intervals[name])
                ends[1] = max(ends)
            t0.append(ends[0])
            t1.append(
                ends[0] + self.draw.randint(0, 1_500_000) if self.draw.random() < 0.3 else ends[1]
            )
        return unit, t0, t1


def check(database: Database, world: World, stays: int) -> thermal.Spans:
    """Compare stays with what the readings say; return them."""
    unit, t0, t1 = world.stays(stays)
    spans = thermal.Spans(np.array(unit), np.array(t0), np.array(t1))
    with psycopg.connect(database.app_dsn, autocommit=True) as conn, thermal.one_moment(conn):
        found = thermal.exposures(conn, UNITS, spans)
    known = {
        (name, channel): readings(database, name, channel, world.known_certified)
        for name in world.intervals
        for channel in CHANNELS
    }
    placed = world.placed
    for n in range(stays):
        expected = counted(known, placed, UNITS[unit[n]], t0[n], t1[n])
        np.testing.assert_allclose(
            found.sums[:, n],
            expected.sums,
            rtol=1e-9,
            atol=1e-6,
            err_msg=str((unit[n], t0[n], t1[n])),
        )
        np.testing.assert_equal((found.hi[n], found.lo[n]), (expected.hi, expected.lo))
    return spans


class Remembered:
    """What was told of some stays once, and at which positions: nothing waits from before."""

    def __init__(self, database: Database, spans: thermal.Spans) -> None:
        self.database, self.spans = database, spans
        with psycopg.connect(database.app_dsn, autocommit=True) as conn:
            row = conn.execute("SELECT max(notification_id) FROM ledger_events").fetchone()
            self.ledger = int(row[0]) if row else 0
            conn.execute("DELETE FROM exposure_change")
            with thermal.one_moment(conn) as moment:
                assert moment.complete
                self.telemetry = moment.position
                self.found = thermal.exposures(conn, UNITS, spans)

    def check(self) -> None:
        """Compare it with what can be said of that time by now."""
        with psycopg.connect(self.database.app_dsn, autocommit=True) as conn:
            with thermal.one_moment(conn):
                before: dict[tuple[int, int], bytes] = {}
                for probe, block, data in conn.execute(
                    "SELECT probe, block, before FROM exposure_change ORDER BY id"
                ):
                    before.setdefault((probe, block), data)
                assert before
                then = thermal.Known(self.ledger, thermal.earlier(conn, before))
                was = thermal.exposures(conn, UNITS, self.spans, then)
            rows = thermal.exposures_of_rows(
                conn, UNITS, self.spans, ledger=self.ledger, telemetry=self.telemetry
            )
        telling = [Quantity.ABOVE, Quantity.BELOW, Quantity.FREEZING]
        np.testing.assert_allclose(was.sums[telling], self.found.sums[telling], atol=1e-3)
        np.testing.assert_allclose(rows.sums, self.found.sums, rtol=1e-9, atol=1e-6)
        np.testing.assert_equal((rows.hi, rows.lo), (self.found.hi, self.found.lo))


@pytest.mark.parametrize("seed", [1, 2])
def test_given_late_readings_moved_probes_and_calibrations_when_asked_then_as_from_every_reading(
    database: Database, seed: int
) -> None:
    world = World(random.Random(seed))
    ordered = sorted((m for m in world.messages if m not in world.late), key=lambda m: m.ts_ms[0])
    with (
        Ledger(database.app_dsn) as ledger,
        psycopg.connect(database.app_dsn, autocommit=True) as conn,
    ):
        world.register(database, ledger)
        for told in ordered:
            store(conn, told)
            if world.draw.random() < 0.2:
                follow(database)
        follow(database)
        remembered = Remembered(database, check(database, world, 8))
        for n, told in enumerate(world.late):
            store(conn, replace(told, received_ms=told.received_ms + 86_400_000))
            if n == len(world.late) // 2:
                world.correct(database, ledger)
            if world.draw.random() < 0.2:
                follow(database)
    follow(database)
    remembered.check()
    check(database, world, 20)
    kept = rows(database)
    assert runner.rebuild(database.app_dsn, "thermal") == len(world.messages)
    assert rows(database) == kept
    remembered.check()


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
