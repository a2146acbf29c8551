"""Rows of old readings go and come back; what the law, a hold or the roll-ups need stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from projections import charts, readings, rollups
from runtime.postgres import PostgresServer
from store import retention
from store.logs import Ledger
from tests.conftest import Database, ManualClock, create_database, drop_database
from tests.ingest import field
from tests.runtime.instance import Done, run
from tests.store.stored import Connection, event, store

OLD = datetime(2016, 3, 1, 6, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
BEFORE = date(2017, 1, 1)
DAYS = [date(2016, 3, 1), date(2016, 3, 2), date(2016, 3, 3)]


@pytest.fixture
def empty(postgres: PostgresServer) -> Iterator[Database]:
    made = create_database(postgres)
    yield made
    drop_database(postgres, made)


@pytest.fixture
def conn(empty: Database) -> Iterator[Connection]:
    with psycopg.connect(empty.app_dsn, autocommit=True) as made:
        yield made


@pytest.fixture
def owner(empty: Database) -> Iterator[Connection]:
    with psycopg.connect(empty.owner_dsn, autocommit=True) as made:
        yield made


@pytest.fixture
def filled(empty: Database, conn: Connection) -> Database:
    """Three old days of two devices, with a peak, an unplugged hour and a further channel."""
    for device_id in ("A", "B"):
        for at in range(0, 120, 8):
            values = [None if at == 40 else 4.0 + n / 10 for n in range(8)]
            more: dict[str, Any] = {"rh": [55.5] * 8, "door": [1.0] * 8, "co2": [400.0 + at] * 8}
            start = OLD + at * HALF_HOUR
            store(conn, event(device_id, at, start, step=HALF_HOUR, t1=values, **more))
    store(conn, event("A", 900, OLD + 31 * HALF_HOUR + timedelta(minutes=7), t1=[19.75]))
    follow(empty)
    return empty


def follow(database: Database) -> None:
    with closing(rollups.connect(database.app_dsn)) as made:
        while not rollups.step(made).complete:
            pass


def drop_all(owner: Connection) -> tuple[int, dict[date, str]]:
    return retention.drop(owner, retention.old_days(owner, BEFORE))


def rows(database: Database) -> list[tuple[Any, ...]]:
    return database.query("SELECT * FROM reading ORDER BY device_no, ts")


def rolled_up(database: Database) -> list[tuple[Any, ...]]:
    hours = database.query("SELECT * FROM rollup_hour ORDER BY device_no, ts")
    return hours + database.query("SELECT * FROM rollup_day ORDER BY device_no, ts")


def as_events_say(database: Database) -> bool:
    checked = readings.check(database.app_dsn)
    return checked.live["reading"] == checked.rebuilt["reading"]


def test_given_old_days_when_dropped_then_rows_go_and_rollups_and_events_stay(
    filled: Database, owner: Connection
) -> None:
    before, events = rolled_up(filled), filled.query("SELECT count(*) FROM telemetry_events")
    found = retention.old_days(owner, BEFORE)
    assert [day.day for day in found] == DAYS
    assert all(day.size_bytes > 0 and not day.held for day in found)
    assert drop_all(owner) == (3, {})
    assert rows(filled) == []
    assert rolled_up(filled) == before
    assert filled.query("SELECT count(*) FROM telemetry_events") == events
    assert filled.query("SELECT day, readings FROM reading_dropped ORDER BY day") == [
        (DAYS[0], 73),
        (DAYS[1], 96),
        (DAYS[2], 72),
    ]
    assert retention.old_days(owner, BEFORE) == []
    assert as_events_say(filled)


def test_given_dropped_days_when_restored_then_the_same_rows_and_rollups(
    filled: Database, owner: Connection
) -> None:
    before, summed = rows(filled), rolled_up(filled)
    drop_all(owner)
    assert readings.restore(filled.owner_dsn, DAYS[1], DAYS[1]) == {DAYS[1]: 96}
    assert [row[1].date() for row in rows(filled)] == [DAYS[1]] * 96
    assert readings.restore(filled.owner_dsn, DAYS[0], DAYS[2]) == {DAYS[0]: 73, DAYS[2]: 72}
    assert rows(filled) == before
    assert rolled_up(filled) == summed
    assert readings.restore(filled.owner_dsn, DAYS[0], DAYS[2]) == {}
    assert as_events_say(filled)
    partitions = "SELECT tablename, indexname FROM pg_indexes WHERE tablename LIKE 'reading\\_2%%'"
    assert len(filled.query(partitions)) == 3


def test_given_a_late_reading_of_a_dropped_day_when_followed_then_kept_for_the_restore(
    filled: Database, conn: Connection, owner: Connection
) -> None:
    summed = rolled_up(filled)
    drop_all(owner)
    store(conn, event("B", 950, OLD + timedelta(minutes=3), t1=[-3.25]))
    follow(filled)
    assert rolled_up(filled) == summed
    assert as_events_say(filled)
    rollups.rebuild(filled.app_dsn)
    assert rolled_up(filled) == summed
    assert readings.restore(filled.owner_dsn, DAYS[0], DAYS[0]) == {DAYS[0]: 74}
    assert filled.query("SELECT count(*), min(t1) FROM reading") == [(74, -3.25)]
    assert filled.query("SELECT min(lo) FROM reading_day WHERE channel = 't1'") == [(-3.25,)]


def test_given_rows_dropped_when_a_chart_is_asked_then_hours_stand_for_them(
    filled: Database, conn: Connection, owner: Connection
) -> None:
    asked: dict[str, Any] = {"device_id": "A", "channel": "t1", "t0": OLD, "points": 50}
    asked["t1"] = OLD + 130 * HALF_HOUR
    before = charts.readings(conn, **asked)
    retention.drop(owner, retention.old_days(owner, DAYS[2]))
    after = charts.readings(conn, **asked)
    assert (after.rows, after.decimated, max(v for v in after.v if v)) == (121, True, 19.75)
    assert after == before
    everything = charts.readings(conn, **{**asked, "points": 1_000})
    assert everything.decimated
    assert everything.t == sorted(everything.t)


@pytest.mark.parametrize("day", [date.today(), date.today() - timedelta(days=1820)])  # noqa: DTZ011
def test_given_a_day_within_five_years_when_dropped_then_refused(
    owner: Connection, day: date
) -> None:
    owner.execute("SELECT ensure_reading_partitions(%s, %s)", (day, day))
    dropped, left = retention.drop(owner, [retention.Day(day, 0, held=False)])
    assert dropped == 0
    assert "younger than five years" in left[day]


def test_given_a_hold_when_dropped_then_its_days_stay_until_it_is_lifted(
    filled: Database, owner: Connection
) -> None:
    number = retention.hold(owner, DAYS[1], DAYS[2], "争议 17 号")
    assert [day.held for day in retention.old_days(owner, BEFORE)] == [False, True, True]
    assert drop_all(owner) == (1, {})
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="held"):
        owner.execute("SELECT drop_reading_day(%s)", (DAYS[1],))
    assert [held.reason for held in retention.holds(owner)] == ["争议 17 号"]
    assert retention.lift(owner, number)
    assert not retention.lift(owner, number)
    assert drop_all(owner) == (2, {})


def test_given_rollups_behind_when_dropped_then_that_day_stays(
    filled: Database, conn: Connection, owner: Connection
) -> None:
    store(conn, event("B", 950, OLD + timedelta(minutes=3), t1=[-3.25]))
    dropped, left = drop_all(owner)
    assert (dropped, list(left)) == (2, [DAYS[0]])
    assert "roll-ups know" in left[DAYS[0]]
    follow(filled)
    assert drop_all(owner) == (1, {})


def test_given_somebody_reading_when_dropped_then_left_for_another_time(
    filled: Database, owner: Connection
) -> None:
    with psycopg.connect(filled.app_dsn) as busy:
        busy.execute("SELECT count(*) FROM reading")
        dropped, left = retention.drop(owner, retention.old_days(owner, DAYS[1]))
        assert (dropped, list(left)) == (0, [DAYS[0]])
    assert drop_all(owner) == (3, {})


@pytest.mark.parametrize(
    "forbidden",
    [
        "SELECT drop_reading_day('2016-03-01')",
        "DROP TABLE reading_20160301",
        "ALTER TABLE reading DETACH PARTITION reading_20160301",
        "DELETE FROM reading_dropped",
        "INSERT INTO reading_dropped (day, readings) VALUES ('2016-03-01', 1)",
        "UPDATE reading_hold SET lifted_at = now()",
    ],
)
def test_given_the_application_role_when_dropping_readings_then_refused(
    filled: Database, conn: Connection, forbidden: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(forbidden.encode())


def test_given_a_worker_at_work_when_days_are_dropped_then_late_readings_of_them_are_stored(
    empty: Database, owner: Connection
) -> None:
    with closing(Ledger(empty.app_dsn)) as ledger:
        field.register(ledger, "late")
    old_ms = int(OLD.timestamp() * 1000)
    with closing(field.started(empty.app_dsn, ManualClock())) as worker:
        worker.take([field.batch_of("late", 0, [5.0] * 4, start_ms=old_ms)])
        follow(empty)
        assert drop_all(owner) == (1, {})
        (ack,) = field.said(worker.take([field.batch_of("late", 4, [6.0], start_ms=old_ms)]))
    assert ack["n"] == 1
    assert empty.query("SELECT t1 FROM reading") == [(6.0,)]
    assert empty.query("SELECT count(*) FROM quarantine") == [(0,)]
    assert readings.restore(empty.owner_dsn, DAYS[0], DAYS[0]) == {DAYS[0]: 5}


def command(database: Database, tmp_path: Path, *arguments: str, **settings: str) -> Done:
    ways = {
        "VAXTRAIL_DATABASE_URL": database.app_dsn,
        "VAXTRAIL_OWNER_DATABASE_URL": database.owner_dsn,
    }
    return run(tmp_path, *arguments, **ways, **settings)


def test_given_a_setting_when_applied_by_command_then_old_rows_go_and_come_back(
    filled: Database, tmp_path: Path
) -> None:
    kept = command(filled, tmp_path, "retention", "apply")
    assert (kept.returncode, kept.stderr.count("\n")) == (1, 2)
    six = {"VAXTRAIL_READINGS_KEEP_YEARS": "6", "VAXTRAIL_LONGEST_SHELF_LIFE_YEARS": "1"}
    span = ("2016-03-02", "2016-03-02")
    held = command(filled, tmp_path, "retention", "hold", *span, "--reason", "争议")
    assert held.returncode == 0, held.stderr
    shown = command(filled, tmp_path, "retention", "show", **six)
    assert "2 days may go" in shown.stdout
    assert "1 more are held" in shown.stdout
    assert command(filled, tmp_path, "retention", "lift", "1").returncode == 0
    assert command(filled, tmp_path, "retention", "lift", "1").returncode == 1
    applied = command(filled, tmp_path, "retention", "apply", **six)
    assert "rows of 3 days were dropped" in applied.stdout
    assert rows(filled) == []
    made = command(
        filled, tmp_path, "readings", "rebuild", "--from", "2016-03-01", "--to", "2016-03-31"
    )
    assert "3 days made again, 241 rows" in made.stdout
