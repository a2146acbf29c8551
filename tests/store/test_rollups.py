"""Hourly and daily roll-ups are a function of the rows, however and whenever these came."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from domain.cold_chain.events import ReadingsRecorded
from projections import rollups, runner
from runtime.postgres import PostgresServer
from runtime.process import wait_until
from store import columns
from store.headers import HOUR_MS, hours_of
from tests.conftest import Database, create_database, drop_database
from tests.store.stored import Connection, event, store

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FIRST = datetime(2026, 3, 1, 15, 30, tzinfo=UTC)  # half an hour before midnight of our days


@pytest.fixture
def empty(postgres: PostgresServer) -> Iterator[Database]:
    made = create_database(postgres)
    yield made
    drop_database(postgres, made)


@pytest.fixture
def conn(empty: Database) -> Iterator[Connection]:
    with psycopg.connect(empty.app_dsn, autocommit=True) as made:
        yield made


def follow(database: Database) -> None:
    with closing(rollups.connect(database.app_dsn)) as conn:
        while not rollups.step(conn).complete:
            pass


def kept(database: Database) -> list[list[tuple[Any, ...]]]:
    """Return both tables, every byte that counts."""
    return [
        database.query("SELECT * FROM rollup_hour ORDER BY device_no, ts"),
        database.query("SELECT * FROM rollup_day ORDER BY device_no, ts"),
    ]


def wanted(database: Database, width: timedelta, origin: datetime) -> dict[Any, Any]:
    """Work the roll-ups out of the rows by hand: (device, start) -> row of channel t1."""
    buckets: dict[Any, list[tuple[datetime, float | None]]] = {}
    rows = database.query("SELECT device_no, ts, t1 FROM reading ORDER BY ts, boot, seq")
    for device_no, ts, t1 in rows:
        start = origin + (ts - origin) // width * width
        buckets.setdefault((device_no, start), []).append((ts, t1))
    found = {}
    for key, told in buckets.items():
        values = [(v, ts) for ts, v in told if v is not None]
        lo = min(values, default=(None, None))
        hi = min(values, key=lambda each: (-each[0], each[1]), default=(None, None))
        total = round(sum(v for v, _ in values), 4) if values else None
        extremes = (lo[0], lo[1], hi[0], hi[1])
        found[key] = (len(told), told[0][0], told[-1][0], len(values), *extremes, total)
    return found


def shown(database: Database, view: str) -> dict[Any, Any]:
    query = sql.SQL(
        "SELECT device_no, ts, readings, first_ts, last_ts, n, lo, lo_ts, hi, hi_ts, total"
        " FROM {} WHERE channel = 't1'"
    ).format(sql.Identifier(view))
    with psycopg.connect(database.app_dsn) as conn:
        return {(row[0], row[1]): row[2:] for row in conn.execute(query)}


def messages(seed: int) -> list[ReadingsRecorded]:
    """Return three days of four devices: cut at random, gaps, unplugged probes, any order."""
    chance = random.Random(seed)
    found = []
    for device_id in ("A", "B", "C", "D"):
        seq = 0
        while seq < 500:
            n = chance.randint(1, 90)
            values = [
                None
                if chance.random() < 0.1
                else round(chance.uniform(-20, 9), chance.choice([1, 4]))
                for _ in range(n)
            ]
            start, step = FIRST + seq * timedelta(minutes=9), timedelta(minutes=9)
            found.append(event(device_id, seq, start, step=step, t1=values, rh=[50.5] * n))
            seq += n + chance.randint(0, 9)
    chance.shuffle(found)
    return found


@given(
    times=st.lists(st.integers(1_420_070_400_000, 2**43), min_size=1, max_size=40),
    device_id=st.text(min_size=1, max_size=64),
)
@settings(deadline=None)
def test_given_any_message_when_its_beginning_is_read_then_the_hours_of_its_times(
    times: list[int], device_id: str
) -> None:
    told = ReadingsRecorded(
        device_id=device_id,
        boot=7,
        seq=2**39,
        ts_ms=tuple(times),
        columns={"t1": (1.5,) * len(times)},
        received_ms=max(times),
    )
    found, hours = hours_of(columns.pack(told))
    earliest = {ts // HOUR_MS: ts for ts in sorted(times, reverse=True)}
    assert (found, hours) == (device_id, earliest)


@pytest.mark.parametrize("state", [b"", b"\x02\x99", b"\x01{}", b"\x01\x99"])
def test_given_no_readings_when_their_beginning_is_read_then_refused(state: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- msgspec's own texts
        hours_of(state)


def test_given_readings_in_any_order_when_followed_then_as_worked_out_by_hand(
    empty: Database, conn: Connection
) -> None:
    for n, told in enumerate(messages(1)):
        store(conn, told)
        if n % 7 == 0:
            follow(empty)
    follow(empty)
    midnight = datetime(2026, 2, 28, 16, tzinfo=UTC)
    assert shown(empty, "reading_hour") == wanted(empty, HOUR, midnight)
    assert shown(empty, "reading_day") == wanted(empty, DAY, midnight)
    assert {row[0] for row in shown(empty, "reading_day").values()} != {1}


def test_given_rollups_when_dropped_and_rebuilt_then_the_same(
    empty: Database, conn: Connection
) -> None:
    for told in messages(2):
        store(conn, told)
        follow(empty)
    before = kept(empty)
    assert runner.rebuild(empty.app_dsn, "rollups") == len(messages(2))
    assert kept(empty) == before
    with psycopg.connect(empty.owner_dsn) as owner:
        owner.execute("DELETE FROM rollup_hour")
    assert kept(empty) != before
    runner.rebuild(empty.app_dsn, "rollups")
    assert kept(empty) == before


@pytest.mark.parametrize("table", ["rollup_hour", "rollup_day"])
@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO {t} SELECT * FROM {t}", "UPDATE {t} SET t1_lo = 4", "DELETE FROM {t}"],
)
def test_given_the_application_when_it_writes_rollups_itself_then_refused(
    database: Database, statement: str, table: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.query(statement.format(t=table))


def test_given_a_follower_at_work_when_rebuilt_then_the_same(
    empty: Database, conn: Connection
) -> None:
    for told in messages(4):
        store(conn, told)
    follow(empty)
    before, stop = kept(empty), threading.Event()
    beside = threading.Thread(target=follow_often, args=(empty, stop))
    beside.start()
    try:
        for _ in range(5):
            rollups.rebuild(empty.app_dsn)
            assert kept(empty) == before
    finally:
        stop.set()
        beside.join()


def follow_often(database: Database, stop: threading.Event) -> None:
    while not stop.is_set():
        follow(database)


def test_given_a_late_reading_when_followed_then_only_its_hour_is_written(
    empty: Database, conn: Connection
) -> None:
    store(conn, event("A", 0, FIRST, step=HOUR, t1=[5.0] * 60))
    store(conn, event("B", 0, FIRST, step=HOUR, t1=[5.0] * 60))
    follow(empty)
    stamp = "SELECT device_no, ts, xmin::text FROM rollup_hour ORDER BY 1, 2"
    before = empty.query(stamp)
    store(conn, event("A", 99, FIRST + 3 * HOUR + timedelta(minutes=7), t1=[11.25]))
    follow(empty)
    changed = set(empty.query(stamp)) - set(before)
    assert [(no, ts) for no, ts, _ in changed] == [(1, datetime(2026, 3, 1, 18, tzinfo=UTC))]
    assert empty.query(
        "SELECT readings, lo, hi, hi_ts, mean FROM reading_hour"
        " WHERE device_no = 1 AND channel = 't1' AND readings > 1"
    ) == [(2, 5.0, 11.25, FIRST + 3 * HOUR + timedelta(minutes=7), 8.125)]


def test_given_a_backlog_when_followed_then_pass_by_pass_and_told_when_complete(
    empty: Database, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "PAGE_EVENTS", 4)
    monkeypatch.setattr(rollups, "PASS_EVENTS", 8)
    for n in range(20):
        store(conn, event("A", n, FIRST + n * HOUR, t1=[5.0]))
    with closing(rollups.connect(empty.app_dsn)) as follower:
        passes = [rollups.step(follower) for _ in range(4)]
    assert passes == [(8, False), (8, False), (4, True), (0, True)]
    assert empty.query("SELECT telemetry_id, complete FROM rolled_up") == [(20, True)]
    assert empty.query("SELECT count(*) FROM rollup_hour") == [(20,)]


def test_given_a_message_that_cannot_be_read_when_followed_then_the_rest_goes_on(
    empty: Database, conn: Connection
) -> None:
    store(conn, event("A", 0, FIRST, t1=[5.0]))
    conn.execute(
        "INSERT INTO telemetry_events (originator_id, originator_version, topic, state)"
        " VALUES (gen_random_uuid(), 1, %s, '\\x00')",
        (ReadingsRecorded.TOPIC,),
    )
    store(conn, event("A", 1, FIRST + HOUR, t1=[6.0]))
    follow(empty)
    assert empty.query("SELECT count(*) FROM rollup_hour") == [(2,)]


def test_given_switches_and_unplugged_probes_when_rolled_up_then_ones_and_nothing(
    empty: Database, conn: Connection
) -> None:
    store(conn, event("A", 0, FIRST, t2=[None] * 4, door=[1.0, 0.0, 1.0, 1.0]))
    follow(empty)
    assert empty.query(
        "SELECT channel, readings, n, lo, lo_ts, hi, hi_ts, mean FROM reading_day"
        " WHERE channel IN ('t2', 'door')  ORDER BY channel"
    ) == [
        ("door", 4, 4, 0.0, FIRST + timedelta(minutes=1), 1.0, FIRST, 0.75),
        ("t2", 4, 0, None, None, None, None, None),
    ]


def test_given_passes_that_fail_when_following_then_tried_again_until_stopped(
    empty: Database, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(rollups, "RETRY_SECONDS", 0.01)
    stop = threading.Event()
    following = threading.Thread(
        target=rollups.follow, kwargs={"app_dsn": empty.app_dsn, "stop": stop}
    )
    with psycopg.connect(empty.owner_dsn, autocommit=True) as owner:
        owner.execute("ALTER TABLE rollup_hour RENAME TO elsewhere")
        store(conn, event("A", 0, FIRST, t1=[5.0]))
        following.start()
        assert not wait_until(lambda: empty.query("SELECT complete FROM rolled_up")[0][0], 0.5)
        owner.execute("ALTER TABLE elsewhere RENAME TO rollup_hour")
        hours = "SELECT count(*) FROM rollup_hour"
        assert wait_until(lambda: empty.query(hours) == [(1,)], 10.0)
    stop.set()
    following.join(10.0)
    assert not following.is_alive()
