"""The same schema in a database with TimescaleDB: readings in a hypertable, nothing else changed.

Runs where TIMESCALE_TEST_DSN is the superuser's connection to a server kept for tests, with
`shared_preload_libraries = timescaledb` and without our two roles: they are made and dropped here.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ingest import rows as ingest_rows
from ingest.batch import Received
from projections import charts, cold_chain, readings
from projections.discovery import schemas
from projections.shared import placements
from store.logs import Ledger
from store.migrate import migrate, migrations
from store.tables import APP_ROLE, OWNER_ROLE
from tests.cold_chain.given import follow, tell_profiles
from tests.conftest import Database, ManualClock
from tests.ingest import field

VARIABLE = "TIMESCALE_TEST_DSN"
DAYS, STEP_MIN = 3, 5
ROWS_A_DAY = 24 * 60 // STEP_MIN
FIRST = datetime(2026, 2, 26, tzinfo=UTC)
DEVICES = [f"ts-{n}" for n in range(20)]
INDEX = "reading_device_no_ts_idx"
Connection = psycopg.Connection[Any]

pytestmark = [
    pytest.mark.database,
    pytest.mark.skipif(
        not os.environ.get(VARIABLE),
        reason=f"{VARIABLE} does not name a server that has TimescaleDB preloaded",
    ),
]


@pytest.fixture(scope="module")
def made() -> Iterator[Database]:
    """Make both roles and an empty database with the extension; drop them afterwards."""
    admin_dsn = os.environ[VARIABLE]
    name = f"timescale_{secrets.token_hex(4)}"
    passwords = {role: secrets.token_urlsafe() for role in (APP_ROLE, OWNER_ROLE)}
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        with admin.transaction():
            for role, password in passwords.items():
                create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
                admin.execute(create.format(sql.Identifier(role), sql.Literal(password)))
        try:
            create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0")
            admin.execute(create.format(sql.Identifier(name), sql.Identifier(OWNER_ROLE)))
            with psycopg.connect(make_conninfo(admin_dsn, dbname=name)) as inside:
                inside.execute("CREATE EXTENSION timescaledb")
            ways = [
                make_conninfo(admin_dsn, dbname=name, user=role, password=password)
                for role, password in passwords.items()
            ]
            yield Database(name, *ways)
        finally:
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            admin.execute(drop.format(sql.Identifier(name)))
            for role in passwords:
                admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture(scope="module")
def database(made: Database) -> Database:
    """Migrate the database; the fixtures of the logs follow this one."""
    assert migrate(made.owner_dsn, schemas=schemas()) == [file.name for file in migrations()]
    return made


@pytest.fixture(scope="module")
def filled(database: Database, ledger: Ledger) -> Database:
    """Take three days of twenty devices in through ingest, as the application role."""
    field.register(ledger, *DEVICES)
    tell_profiles(ledger)
    with closing(field.started(database.app_dsn, ManualClock())) as worker:
        for day in range(DAYS):
            said = field.said(worker.take([day_of(device_id, day) for device_id in DEVICES]))
            assert [ack["n"] for ack in said] == [ROWS_A_DAY] * len(DEVICES)
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        owner.execute("ANALYZE reading")
    follow(database)
    return database


@pytest.fixture
def app(filled: Database) -> Iterator[Connection]:
    """Connect as the application role; what a test changes is rolled back."""
    with psycopg.connect(filled.app_dsn) as conn:
        yield conn
        conn.rollback()


def day_of(device_id: str, day: int) -> Received:
    """Return a message with a day's readings, 4.0 to 6.8 °C and one of 9.0."""
    values: list[float | None] = [4.0 + n % 29 / 10 for n in range(ROWS_A_DAY)]
    values[100] = 9.0
    start_ms, step_ms = int(FIRST.timestamp() * 1000), STEP_MIN * field.MINUTE_MS
    seq = day * ROWS_A_DAY
    return field.batch_of(device_id, seq, values, start_ms=start_ms, step_ms=step_ms)


def chunks(conn: Connection) -> list[sql.Identifier]:
    """Return the tables behind the hypertable."""
    found = conn.execute(
        "SELECT chunk_schema, chunk_name FROM timescaledb_information.chunks"
        " WHERE hypertable_name = 'reading' ORDER BY range_start"
    )
    return [sql.Identifier(*row) for row in found]


def scans(
    conn: Connection, query: LiteralString, params: Sequence[Any] | Mapping[str, Any]
) -> tuple[set[str], set[str]]:
    """Return the chunks that a query reads rows of, and the indexes by which it finds them."""
    row: Any = conn.execute(sql.SQL("EXPLAIN (FORMAT JSON) ") + sql.SQL(query), params).fetchone()
    waiting, nodes = [row[0][0]["Plan"]], []
    while waiting:
        nodes.append(waiting.pop())
        waiting += nodes[-1].get("Plans", [])
    read = {node["Relation Name"] for node in nodes if "Relation Name" in node}
    used = {node["Index Name"] for node in nodes if "Index Name" in node}
    return {name for name in read if name.startswith("_hyper")}, used


def test_given_the_extension_when_migrated_then_readings_are_a_hypertable_by_day(
    database: Database,
) -> None:
    assert database.query(
        "SELECT hypertable_schema, hypertable_name, owner, num_dimensions"
        " FROM timescaledb_information.hypertables"
    ) == [("public", "reading", OWNER_ROLE, 1)]
    assert database.query(
        "SELECT column_name, time_interval FROM timescaledb_information.dimensions"
        " WHERE hypertable_name = 'reading'"
    ) == [("ts", timedelta(days=1))]
    assert database.query("SELECT indexname FROM pg_indexes WHERE tablename = 'reading'") == [
        (INDEX,)
    ]
    assert migrate(database.owner_dsn, schemas=schemas()) == []


def test_given_a_hypertable_when_partitions_are_ensured_then_nothing_is_made(
    app: Connection,
) -> None:
    before = chunks(app)
    ask = "SELECT ensure_reading_partitions('2026-02-20', '2026-03-20')"
    assert app.execute(ask).fetchall() == app.execute(ask).fetchall() == [(0,)]
    assert chunks(app) == before
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        app.execute("SELECT ensure_reading_partitions('2026-02-20', '2026-02-19')")


def test_given_readings_taken_in_when_looked_for_then_a_chunk_a_day_of_the_owner(
    app: Connection,
) -> None:
    days = [FIRST + timedelta(days=n) for n in range(DAYS)]
    found = app.execute(
        "SELECT range_start, range_end, tableowner FROM timescaledb_information.chunks"
        " JOIN pg_tables ON schemaname = chunk_schema AND tablename = chunk_name"
        " WHERE hypertable_name = 'reading' ORDER BY range_start"
    ).fetchall()
    assert found == [(day, day + timedelta(days=1), OWNER_ROLE) for day in days]
    assert app.execute("SELECT count(*) FROM ONLY reading").fetchone() == (0,)
    total = DAYS * ROWS_A_DAY * len(DEVICES)
    assert app.execute("SELECT count(*) FROM reading").fetchone() == (total,)
    app.execute(
        "INSERT INTO reading (device_no, ts, boot, seq, batch, backfill, t1)"
        " SELECT device_no, '2031-05-04 23:59:59.999+00', 0, 0, 0, true, 4.0 FROM device_no"
    )
    assert len(chunks(app)) == DAYS + 1


@pytest.mark.parametrize(
    "forbidden",
    ["UPDATE {} SET t1 = 5.0", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}"],
)
def test_given_the_application_role_when_changing_readings_then_refused(
    app: Connection, forbidden: LiteralString
) -> None:
    for table in [sql.Identifier("reading"), *chunks(app)]:
        with pytest.raises(psycopg.errors.InsufficientPrivilege), app.transaction():
            app.execute(sql.SQL(forbidden).format(table))


@pytest.mark.parametrize(
    "forbidden",
    [
        "SELECT drop_chunks('reading', older_than => TIMESTAMPTZ '2030-01-01')",
        "SELECT add_retention_policy('reading', drop_after => INTERVAL '1 day')",
        "SELECT set_chunk_time_interval('reading', INTERVAL '7 days')",
        "SELECT _timescaledb_functions.drop_chunk(show_chunks('reading'))",
        "SELECT detach_tablespaces('reading')",
        "ALTER TABLE reading SET (timescaledb.enable_columnstore)",
        "UPDATE _timescaledb_catalog.hypertable SET table_name = 'gone'",
        "DELETE FROM _timescaledb_catalog.chunk",
    ],
)
def test_given_the_application_role_when_using_the_extension_to_drop_readings_then_refused(
    app: Connection, forbidden: LiteralString
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(forbidden)


def test_given_a_device_and_a_day_when_read_then_by_index_from_one_chunk(app: Connection) -> None:
    day, next_day = FIRST + timedelta(days=1), FIRST + timedelta(days=2)
    chart = {"device_id": DEVICES[3], "channel": "t1", "t0": day, "t1": next_day, "telemetry": None}
    for read, used in (
        scans(app, ingest_rows.queries.probe_readings, (3, day, next_day)),
        scans(app, charts.queries.rows, chart),
    ):
        assert len(read) == 1
        assert {f"{chunk}_{INDEX}" for chunk in read} <= used


def test_given_readings_taken_in_when_queried_then_as_the_events_say(
    filled: Database, app: Connection
) -> None:
    checked = readings.check(filled.app_dsn)
    assert checked.same
    assert checked.live["reading"][0] == DAYS * ROWS_A_DAY * len(DEVICES)
    end = FIRST + timedelta(days=DAYS)
    wanted: dict[str, Any] = {"channel": "t1", "t0": FIRST, "t1": end, "points": 60}
    found = charts.readings(app, device_id=DEVICES[0], **wanted)
    assert (found.rows, found.decimated) == (DAYS * ROWS_A_DAY, True)
    assert max(value for value in found.v if value is not None) == 9.0
    assert len(cold_chain.latest(app, limit=100)) == len(DEVICES)
    first = charts.readings(app, device_id=DEVICES[0], **wanted, telemetry=1)
    assert first.rows == 0
    summary = placements.temperature_summary(app, field.UNIT, FIRST, end)
    assert summary.n == DAYS * ROWS_A_DAY * len(DEVICES)
    assert (summary.temperature_c_min, summary.temperature_c_max) == (4.0, 9.0)
    assert summary.above_min == DAYS * STEP_MIN


def test_given_readings_taken_in_when_sent_again_then_stored_once(
    filled: Database, app: Connection
) -> None:
    with closing(field.started(filled.app_dsn, ManualClock())) as worker:
        (ack,) = field.said(worker.take([day_of(DEVICES[0], 1)]))
    assert (ack["n"], ack["dup"]) == (0, ROWS_A_DAY)
    assert app.execute("SELECT count(*) FROM reading").fetchone() == (
        DAYS * ROWS_A_DAY * len(DEVICES),
    )
