"""Threads that store at once: one transaction for those that waited, each with its own outcome."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psycopg
import pytest

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
