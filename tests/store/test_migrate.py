"""Migrations: forward only, harmless twice, and a fresh schema equals a migrated one."""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from runtime.postgres import PostgresServer
from store.migrate import MigrationChanged, migrate, migrations, pending, schema_digest
from tests.conftest import create_database, drop_database


def test_given_each_step_alone_when_migrated_then_the_schema_of_a_fresh_one(
    postgres: PostgresServer,
) -> None:
    fresh = create_database(postgres, prepared=False)
    stepped = create_database(postgres, prepared=False)
    assert pending(fresh.owner_dsn) == [f.name for f in migrations()]
    migrate(fresh.owner_dsn)
    for file in migrations():
        assert migrate(stepped.owner_dsn, files=[file]) == [file.name]
    assert schema_digest(stepped.owner_dsn) == schema_digest(fresh.owner_dsn)
    assert migrate(fresh.owner_dsn) == pending(fresh.owner_dsn) == []
    drop_database(postgres, fresh)
    drop_database(postgres, stepped)


def test_given_two_migrators_at_once_when_run_then_both_end_well(postgres: PostgresServer) -> None:
    database = create_database(postgres, prepared=False)
    done: list[list[str]] = []
    threads = [
        Thread(target=lambda: done.append(migrate(database.owner_dsn, schemas=["rm_x"])))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, done)) == [0, len(migrations())]
    drop_database(postgres, database)


def test_given_an_applied_file_changed_when_migrated_then_refused(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    database = create_database(postgres, prepared=False)
    copies = [Path(shutil.copy(file, tmp_path)) for file in migrations()]
    migrate(database.owner_dsn, files=copies)
    copies[0].write_text(copies[0].read_text() + "\nSELECT 1;")
    with pytest.raises(MigrationChanged, match=copies[0].name):
        migrate(database.owner_dsn, files=copies)
    drop_database(postgres, database)


def test_given_days_when_partitions_are_ensured_then_made_once(postgres: PostgresServer) -> None:
    database = create_database(postgres)
    ask = "SELECT ensure_reading_partitions('2022-05-02', '2022-05-11')"
    assert database.query(ask) == [(10,)]
    assert database.query(ask) == [(0,)]
    drop_database(postgres, database)


def test_given_a_reader_in_the_middle_when_a_day_is_added_then_nobody_waits(
    postgres: PostgresServer,
) -> None:
    database = create_database(postgres)
    database.query("SELECT ensure_reading_partitions('2026-03-01', '2026-03-01')")
    with psycopg.connect(database.app_dsn) as reader:
        reader.execute("SELECT count(*) FROM reading")
        with psycopg.connect(database.app_dsn, autocommit=True) as writer:
            writer.execute("SET lock_timeout = '2s'")
            made = writer.execute("SELECT ensure_reading_partitions('2026-03-02', '2026-03-02')")
            assert made.fetchall() == [(1,)]
        reader.execute("SELECT count(*) FROM reading")
    drop_database(postgres, database)


@pytest.mark.parametrize("day", ["2014-12-31", "9000-01-01"])
def test_given_a_day_that_cannot_be_when_asked_for_then_refused(
    postgres: PostgresServer, day: str
) -> None:
    database = create_database(postgres)
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        database.query(f"SELECT ensure_reading_partitions('{day}', '{day}')")
    drop_database(postgres, database)
