"""A transaction in one piece: all or nothing, and the connection goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from store.one_trip import one_trip
from tests.conftest import Database

pytestmark = pytest.mark.database

Connection = psycopg.Connection[Any]


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """Give a connection with an empty table of its own."""
    with psycopg.connect(database.app_dsn, autocommit=True) as opened:
        opened.execute("CREATE TEMP TABLE one (n int PRIMARY KEY)")
        yield opened


def insert(conn: Connection, *values: int, then: Exception | None = None) -> None:
    """Put these down together; fail at last where asked to."""
    with one_trip(conn):
        for value in values:
            conn.execute("INSERT INTO one VALUES (%s)", (value,))
        if then:
            raise then


def numbers(conn: Connection) -> list[int]:
    return [n for (n,) in conn.execute("SELECT n FROM one ORDER BY n")]


def test_given_statements_when_sent_together_then_results_are_there_after_them(
    conn: Connection,
) -> None:
    with one_trip(conn):
        made = conn.execute("INSERT INTO one VALUES (1), (2) RETURNING n")
        began = conn.execute("SELECT transaction_timestamp() < statement_timestamp()")
    assert made.fetchall() == [(1,), (2,)]
    assert began.fetchone() == (True,)
    assert conn.info.transaction_status is TransactionStatus.IDLE


def test_given_a_statement_fails_when_sent_together_then_nothing_of_it_is_stored(
    conn: Connection,
) -> None:
    for _ in range(8):  # statements become prepared ones meanwhile
        with pytest.raises(psycopg.errors.UniqueViolation):
            insert(conn, 3, 3, 4)
    with pytest.raises(ZeroDivisionError):
        insert(conn, 5, then=ZeroDivisionError())
    insert(conn, 6)
    assert numbers(conn) == [6]


def test_given_the_connection_ends_meanwhile_when_sent_then_that_is_what_is_said(
    conn: Connection, database: Database
) -> None:
    with psycopg.connect(database.app_dsn, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (conn.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError, match="terminat"):
        insert(conn, 7)
    assert conn.closed
