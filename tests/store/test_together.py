"""Threads that store at once: one transaction for those that waited, each with its own outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import OperationalError

from domain.accounts.events import ApiKeyIssued
from domain.shared.errors import Conflict
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.conftest import START, Database

META = Meta(occurred_at=START, recorded_at=START)
ISSUED = ApiKeyIssued(key_id="k1", digest="0" * 64, role="cdc", region_code="640200")
WRITERS = 6


def batches(database: Database) -> int:
    ((count,),) = database.query("SELECT count(*) FROM batches")
    return int(count)


@pytest.mark.parametrize("taken", [False, True])
def test_given_writers_that_wait_when_stored_then_together_and_each_told_its_own(
    ledger: Ledger, database: Database, taken: bool
) -> None:
    streams = [uuid4() for _ in range(WRITERS)]
    if taken:
        ledger.append([Envelope(streams[-1], 1, ISSUED, META)])
    before = batches(database)

    def write(stream: UUID) -> int | Conflict:
        try:
            return ledger.append([Envelope(stream, 1, ISSUED, META)])
        except Conflict as error:
            return error

    with (
        psycopg.connect(database.app_dsn) as conn,
        ThreadPoolExecutor(WRITERS) as threads,
    ):
        conn.execute("SELECT lock_ledger_events()")  # the first one waits, and the others behind it
        first = threads.submit(write, streams[0])
        time.sleep(0.2)
        rest = [threads.submit(write, stream) for stream in streams[1:]]
        time.sleep(0.2)
        conn.commit()
        found = [first.result(), *(each.result() for each in rest)]

    refused = [each for each in found if isinstance(each, Conflict)]
    assert len(refused) == taken
    stored = WRITERS - taken
    assert len({each for each in found if isinstance(each, int)}) == stored
    assert batches(database) - before == (stored if taken else 2)
    for stream, position in zip(streams, found, strict=True):
        if isinstance(position, int):
            (read,) = ledger.read(position - 1, 1)
            assert (read.position, read.envelope.originator_id) == (position, stream)


def cancelled(cur: psycopg.Cursor[Any], _position: int) -> None:
    """Do what ends like a statement that takes too long."""
    cur.execute("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(5)")


def deadlocked(cur: psycopg.Cursor[Any], _position: int) -> None:
    """Wait for what another holds that waits for the ledger by now."""
    cur.execute("SELECT pg_advisory_xact_lock(4711)")


@pytest.mark.parametrize("fails", [cancelled, deadlocked])
def test_given_writers_that_wait_when_one_is_undone_by_the_server_then_the_others_are_stored_once(
    ledger: Ledger,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[[psycopg.Cursor[Any], int], None],
) -> None:
    streams = [uuid4() for _ in range(WRITERS)]
    wrong, attempts, together = streams[2], [0], []
    store = ledger._together._store

    def watched(entries: Any) -> None:
        together.append(len(entries))
        store(entries)

    monkeypatch.setattr(ledger._together, "_store", watched)

    def write(stream: UUID) -> int | OperationalError:
        def after(cur: psycopg.Cursor[Any], position: int) -> None:
            if stream == wrong:
                attempts[0] += 1
                if attempts[0] == 1 or fails is cancelled:
                    fails(cur, position)

        try:
            return ledger.append([Envelope(stream, 1, ISSUED, META)], after=after)
        except OperationalError as error:
            return error

    with (
        psycopg.connect(database.app_dsn) as conn,
        psycopg.connect(database.app_dsn) as other,
        ThreadPoolExecutor(WRITERS) as threads,
    ):
        other.execute("SELECT pg_advisory_xact_lock(4711)")
        conn.execute("SELECT lock_ledger_events()")
        first = threads.submit(write, streams[0])
        time.sleep(0.2)
        rest = [threads.submit(write, stream) for stream in streams[1:]]
        time.sleep(0.2)
        conn.commit()
        time.sleep(0.3)  # those that waited hold the ledger, and one of them waits for `other`
        other.execute("SELECT lock_ledger_events()")
        other.commit()
        found = [first.result(), *(each.result() for each in rest)]

    assert together[:2] == [1, WRITERS - 1]
    named = zip(streams, found, strict=True)
    undone = [stream for stream, each in named if isinstance(each, OperationalError)]
    assert undone == ([wrong] if fails is cancelled else [])
    query = "SELECT notification_id FROM ledger_events WHERE originator_id = %s"
    for stream, position in zip(streams, found, strict=True):
        stored = database.query(query, stream)
        assert stored == ([(position,)] if isinstance(position, int) else [])
