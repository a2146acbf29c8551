"""Roll-ups, retention and the columnstore with TimescaleDB: same names, same columns, same answers.

Runs where `test_timescale.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from projections import charts, readings, rollups
from projections.discovery import schemas
from store import retention
from store.migrate import migrate
from tests.conftest import Database
from tests.store import test_timescale
from tests.store.stored import Connection, event, store
from tests.store.test_rollups import DAY, HOUR, messages, shown, wanted

made = test_timescale.made
pytestmark = test_timescale.pytestmark

MIDNIGHT = datetime(2016, 2, 28, 16, tzinfo=UTC)
OLD = datetime(2016, 3, 1, 6, tzinfo=UTC)
RECENT = datetime(2026, 3, 1, 6, tzinfo=UTC)
STEP = timedelta(minutes=30)


@pytest.fixture(scope="module")
def database(made: Database) -> Database:
    """Store a year-old disorder, 70 days of one device, and three days that the law lets go."""
    migrate(made.owner_dsn, schemas=schemas())
    with psycopg.connect(made.app_dsn, autocommit=True) as conn:
        store(conn, *messages(3)[:20])
        for at in range(0, 70 * 48, 400):
            values = [None if at == 800 else 4 + (at + n) % 37 / 10 for n in range(400)]
            store(conn, event("LONG", at, RECENT + at * STEP, step=STEP, t1=values))
        old = [4.0 + n % 9 / 10 for n in range(120)]
        store(conn, event("OLD", 0, OLD, step=STEP, t1=old, co2=[400.0] * 120))
    # The server's own job may have begun amid all that; what it missed is its next run's to take.
    with psycopg.connect(made.owner_dsn, autocommit=True) as conn:
        refresh(conn)
    return made


@pytest.fixture
def owner(database: Database) -> Iterator[Connection]:
    with psycopg.connect(database.owner_dsn, autocommit=True) as conn:
        yield conn


def refresh(owner: Connection) -> None:
    for name in ("rollup_hour", "rollup_day"):
        owner.execute("CALL refresh_continuous_aggregate(%s::regclass, NULL, NULL)", (name,))


def run_policies(owner: Connection) -> None:
    jobs = "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name LIKE 'policy_refresh%'"
    found = owner.execute(jobs).fetchall()
    assert len(found) == 2
    for (job_id,) in found:
        owner.execute("CALL run_job(%s)", (job_id,))


def test_given_readings_when_rolled_up_by_the_server_then_as_worked_out_by_hand(
    database: Database,
) -> None:
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        newest = RECENT + 200 * DAY  # nobody has rolled it up yet: worked out when asked
        store(conn, event("LONG", 90_000, newest, t1=[3.0, 2.5, 2.75]))
    assert shown(database, "reading_hour") == wanted(database, HOUR, MIDNIGHT)
    assert shown(database, "reading_day") == wanted(database, DAY, MIDNIGHT)


def test_given_the_server_keeps_rollups_when_followed_then_nothing_to_do(
    database: Database,
) -> None:
    with rollups.connect(database.app_dsn) as conn:
        assert not rollups.kept_by_follower(conn)
    assert rollups.rebuild(database.app_dsn) == 0


def test_given_a_long_span_when_charted_then_the_same_as_of_the_rows(
    database: Database,
) -> None:
    asked: dict[str, Any] = {"device_id": "LONG", "channel": "t1", "points": 300}
    asked |= {"t0": RECENT + timedelta(minutes=5), "t1": RECENT + timedelta(days=69)}
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        found = charts.long_readings(conn, **asked)
        assert found is not None
        assert found[0] == charts.readings(conn, **asked, telemetry=found[1])


def test_given_chunks_in_columns_when_read_and_added_to_then_nothing_changes_but_the_room(
    database: Database, owner: Connection
) -> None:
    before = database.query("SELECT * FROM reading ORDER BY device_no, ts")
    owner.execute("SELECT compress_chunk(c) FROM show_chunks('reading') AS c")
    assert database.query("SELECT * FROM reading ORDER BY device_no, ts") == before
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        store(conn, event("LONG", 9_999, RECENT + timedelta(seconds=1), t1=[17.5]))
    assert len(database.query("SELECT ts FROM reading")) == len(before) + 1
    assert owner.execute(
        "SELECT count(*) FROM timescaledb_information.jobs WHERE proc_name = 'policy_compression'"
    ).fetchone() == (1,)


def test_given_old_days_when_dropped_and_restored_then_the_same_rows_and_rollups(
    database: Database, owner: Connection
) -> None:
    refresh(owner)
    rows = database.query("SELECT * FROM reading ORDER BY device_no, ts")
    summed = shown(database, "reading_hour"), shown(database, "reading_day")
    found = retention.old_days(owner, date(2017, 1, 1))
    assert [day.day for day in found] == [date(2016, 3, n) for n in (1, 2, 3)]
    assert retention.drop(owner, found) == (3, {})
    assert database.query("SELECT count(*) FROM reading WHERE ts < '2017-01-01'") == [(0,)]
    assert (shown(database, "reading_hour"), shown(database, "reading_day")) == summed
    assert retention.old_days(owner, date(2017, 1, 1)) == []
    run_policies(owner)
    assert (shown(database, "reading_hour"), shown(database, "reading_day")) == summed
    restored = readings.restore(database.owner_dsn, date(2016, 3, 1), date(2016, 3, 3))
    assert sum(restored.values()) == 120
    assert database.query("SELECT * FROM reading ORDER BY device_no, ts") == rows
    refresh(owner)
    assert (shown(database, "reading_hour"), shown(database, "reading_day")) == summed
