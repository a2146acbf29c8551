"""Long charts come out of the roll-ups and show what the rows would show."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from projections import charts, rollups
from tests.conftest import Database
from tests.store.stored import Connection, event, store

FIRST = datetime(2026, 1, 3, 7, 41, tzinfo=UTC)
STEP = timedelta(minutes=17)
ROWS = 6_000  # 70 days
LAST = FIRST + ROWS * STEP


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[Connection]:
    """Store 70 days of one device with days unplugged, a gap and a peak of one reading; follow."""
    chance = random.Random(7)
    values = [None if 900 <= n < 1_300 else round(chance.gauss(5, 0.6), n % 3) for n in range(ROWS)]
    values[4_321], values[4_322] = 31.25, -7.5
    with psycopg.connect(database.app_dsn, autocommit=True) as made:
        for at in [n for n in range(0, ROWS, 400) if n != 2_000]:
            part = values[at : at + 400]
            store(made, event("A", at, FIRST + at * STEP, step=STEP, t1=part, t2=[3.0] * len(part)))
        follow(database)
        yield made


def follow(database: Database) -> None:
    with closing(rollups.connect(database.app_dsn)) as made:
        while not rollups.step(made).complete:
            pass


def asked(**changed: Any) -> dict[str, Any]:
    return {
        "device_id": "A",
        "channel": "t1",
        "t0": FIRST,
        "t1": LAST,
        "points": 200,
    } | changed


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"channel": "t2"},
        {"channel": "rh"},
        {"points": 2},
        {"points": 3_001},
        {"t0": FIRST + timedelta(hours=5, minutes=3), "t1": LAST - timedelta(minutes=59)},
        {"t0": FIRST - timedelta(days=300), "t1": LAST + timedelta(days=9), "points": 999},
        {"t0": datetime(2026, 1, 4, tzinfo=UTC), "t1": datetime(2026, 3, 1, tzinfo=UTC)},
    ],
)
def test_given_a_long_span_when_asked_of_the_rollups_then_the_same_as_of_the_rows(
    conn: Connection, changed: dict[str, Any]
) -> None:
    found = charts.long_readings(conn, **asked(**changed))
    assert found is not None
    chart, position = found
    assert chart == charts.readings(conn, **asked(**changed), telemetry=position)
    assert chart.decimated
    assert len(chart.t) <= asked(**changed)["points"]


def test_given_a_peak_of_one_reading_when_asked_for_months_then_it_shows(conn: Connection) -> None:
    found = charts.long_readings(conn, **asked(points=20))
    assert found is not None
    at = found[0].v.index(31.25)
    assert found[0].t[at] == int((FIRST + 4_321 * STEP).timestamp() * 1000)
    assert found[0].v[at + 1] == -7.5


@pytest.mark.parametrize(
    "changed",
    [
        {"t1": FIRST + timedelta(days=30)},  # short
        {"points": 20_000},  # spans shorter than an hour
        {"channel": "co2"},  # not rolled up
        {"device_id": "NONE"},  # nothing there
    ],
)
def test_given_no_gain_when_asked_of_the_rollups_then_rows_are_read(
    conn: Connection, changed: dict[str, Any]
) -> None:
    assert charts.long_readings(conn, **asked(**changed)) is None


def test_given_rollups_behind_when_asked_then_rows_are_read(
    conn: Connection, database: Database
) -> None:
    store(conn, event("B", 0, LAST + timedelta(days=1), t1=[5.0]))
    assert charts.long_readings(conn, **asked()) is not None  # the newest is not yet a minute old
    store(conn, event("B", 1, LAST + timedelta(days=2), t1=[5.0]))
    assert charts.long_readings(conn, **asked()) is None
    follow(database)
    assert charts.long_readings(conn, **asked()) is not None
    conn.execute("UPDATE rolled_up SET complete = false")
    assert charts.long_readings(conn, **asked()) is None
    conn.execute("UPDATE rolled_up SET complete = true")
