"""One question asked again and again from an event loop, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from store.asking import CONNECTIONS_MAX, Asking
from tests.conftest import Database

QUERY = """SELECT %(n)s::int8 + g, %(text)s || '%%', pg_backend_pid(), 1 / (%(n)s::int8 + 1)
           FROM generate_series(0, 1) g"""


def asking(database: Database) -> Asking[Sequence[Any]]:
    return Asking(database.app_dsn, QUERY, {"n": int, "text": str}, tuple)


def test_given_many_questions_at_once_when_asked_then_each_has_its_answer(
    database: Database,
) -> None:
    async def ask() -> list[list[Sequence[Any]]]:
        door = asking(database)
        return await asyncio.gather(*(door.rows(n, f"苗{n}") for n in range(50)))

    found = asyncio.run(ask())
    assert [[row[:2] for row in rows] for rows in found] == [
        [(n, f"苗{n}%"), (n + 1, f"苗{n}%")] for n in range(50)
    ]
    assert len({rows[0][2] for rows in found}) <= CONNECTIONS_MAX


def test_given_a_server_that_ended_the_connection_when_asked_then_on_another(
    database: Database,
) -> None:
    async def ask() -> tuple[int, int]:
        door = asking(database)
        ((_, _, first, _), _) = await door.rows(1, "")
        await asyncio.to_thread(database.query, "SELECT pg_terminate_backend(%s)", first)
        await asyncio.sleep(0.2)  # the loop sees that it has gone
        ((_, _, second, _), _) = await door.rows(1, "")
        return first, second

    first, second = asyncio.run(ask())
    assert first != second


def test_given_a_question_that_fails_when_asked_then_its_error_and_the_next_is_answered(
    database: Database,
) -> None:
    async def ask() -> list[Sequence[Any]]:
        door = asking(database)
        with pytest.raises(psycopg.errors.DivisionByZero):
            await door.rows(-1, "")
        return await door.rows(1, "")

    assert len(asyncio.run(ask())) == 2


def test_given_a_server_that_is_silent_when_asked_then_an_error_in_time_and_the_next_is_answered(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.asking.ANSWER_S", 0.1)
    query = "SELECT %(n)s::int8 FROM pg_sleep(%(n)s::int8)"

    async def ask() -> list[Sequence[Any]]:
        door = Asking[Sequence[Any]](database.app_dsn, query, {"n": int}, tuple)
        with pytest.raises(psycopg.OperationalError, match="silent"):
            await door.rows(30)
        return await door.rows(0)

    assert asyncio.run(ask()) == [(0,)]


def test_given_no_server_when_asked_then_an_error() -> None:
    door = Asking("host=127.0.0.1 port=1 dbname=none", QUERY, {"n": int, "text": str}, tuple)
    with pytest.raises(psycopg.OperationalError):
        asyncio.run(door.rows(1, ""))
