"""Rows of readings are held against their events, and a difference is found."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from ingest.worker import Worker
from projections import runner
from store.logs import Ledger
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import BASE, MINUTE_MS, NOW_MS, batch_of, message


@pytest.fixture(scope="module")
def stored(database: Database, ledger: Ledger) -> Iterator[Worker]:
    """Take messages of every shape in."""
    field.register(ledger, "TH-a", "TH-b")
    worker = field.started(database.app_dsn, ManualClock())
    flat = [
        {"ts": NOW_MS - 9 * MINUTE_MS, "temperature": 4.1, "co2": 400},
        {"ts": NOW_MS - 7 * MINUTE_MS, "temperature": 4.25, "humidity": 61},
    ]
    switches = {"m": {"t1": 5.123, "t2": None, "door": 1, "mains": 0, "bat": 87}}
    worker.take([batch_of("TH-a", 0, [4.0, 4.1, 4.2]), message(f"{BASE}/tele/TH-b", flat)])
    worker.take(
        [
            batch_of("TH-a", 2, [4.2, 4.3]),
            message(
                f"{BASE}/backfill/TH-a",
                {"v": 1, "dev": "TH-a", "boot": 2, "seq": 0, "ts": NOW_MS - MINUTE_MS, **switches},
            ),
        ]
    )
    yield worker
    worker.close()


@pytest.mark.usefixtures("stored")
def test_given_messages_of_every_shape_when_checked_then_rows_say_what_events_say(
    database: Database,
) -> None:
    found = runner.check(database.app_dsn, "readings")
    assert (found.live["reading"][0], found.live["latest"][0]) == (7, 2)
    assert found.same


@pytest.mark.usefixtures("stored")
def test_given_a_row_changed_behind_our_back_when_checked_then_told(database: Database) -> None:
    with psycopg.connect(database.owner_dsn) as conn:
        conn.execute("UPDATE reading SET t1 = t1 + 0.1 WHERE seq = 1")
        conn.commit()
        assert not runner.check(database.app_dsn, "readings").same
        conn.execute("UPDATE reading SET t1 = 4.1 WHERE seq = 1")
        conn.execute("UPDATE device_state SET bat = 86")
        conn.commit()
        assert not runner.check(database.app_dsn, "readings").same
        conn.execute("UPDATE device_state SET bat = 87 WHERE bat = 86 AND t1 = 5.123")
        conn.execute("UPDATE device_state SET bat = NULL WHERE bat = 86")
    assert runner.check(database.app_dsn, "readings").same


def test_given_an_ingest_at_rest_when_days_pass_then_their_partitions_are_there_already(
    database: Database, stored: Worker
) -> None:
    days = "SELECT count(*) FROM pg_class WHERE relname IN ('reading_20260302', 'reading_20260309')"
    stored.settle()
    assert database.query(days) == [(2,)]
