"""Commands on one stream: If-Match, idempotency, claims, races."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from uuid import uuid4

import psycopg
import pytest

from domain.accounts.events import ApiKeyIssued, ApiKeyRevoked
from domain.registry.events import SiteNumberClaimed
from domain.shared.errors import Conflict, StaleVersion
from domain.shared.events import Event
from store.commands import Answer, Command, Idempotency, Outcome, execute
from store.envelope import Meta
from store.logs import Ledger
from tests.conftest import START, Database

META = Meta(occurred_at=START, recorded_at=START)
ISSUED = ApiKeyIssued(key_id="k1", digest="0" * 64, role="cdc", region_code="640200")
REVOKED = ApiKeyRevoked(key_id="k1")
CLAIM = SiteNumberClaimed(org_code="91350100M000100Y43", site_no=1, site_id="A")


def once(events: list[Event]) -> Sequence[Event]:
    return [] if events else [ISSUED]


def again(events: list[Event]) -> Sequence[Event]:
    return [REVOKED]


def answer(outcome: Outcome) -> Answer:
    return Answer(201, {"ETag": f'"{outcome.version}"'}, b"{}")


def asked(key: str, request: str = "r1") -> Idempotency:
    return Idempotency("tester", key, request, answer)


def test_given_nothing_when_commanded_then_stored_at_version_one(ledger: Ledger) -> None:
    stream = uuid4()
    outcome = execute(ledger, Command(stream, once, META))
    assert (outcome.version, list(outcome.events)) == (1, [ISSUED])
    assert execute(ledger, Command(stream, once, META)).events == []


def test_given_a_stream_that_moved_on_when_commanded_by_what_was_known_then_read_again(
    ledger: Ledger,
) -> None:
    stream = uuid4()
    known = ledger.stream(stream)
    execute(ledger, Command(stream, once, META, known=known))
    outcome = execute(ledger, Command(stream, once, META, known=known))
    assert (outcome.version, outcome.events) == (1, [])


def test_given_version_two_when_expected_one_then_stale(ledger: Ledger) -> None:
    stream = uuid4()
    execute(ledger, Command(stream, once, META))
    execute(ledger, Command(stream, again, META, expected_version=1))
    with pytest.raises(StaleVersion) as caught:
        execute(ledger, Command(stream, again, META, expected_version=1))
    assert caught.value.facts == {"expected": 1, "actual": 2}


def test_given_same_key_when_commanded_twice_then_one_event_and_the_first_answer(
    ledger: Ledger,
) -> None:
    stream, key = uuid4(), str(uuid4())
    first = execute(ledger, Command(stream, again, META, idempotency=asked(key)))
    second = execute(ledger, Command(stream, again, META, idempotency=asked(key)))
    assert len(ledger.stream(stream)) == 1
    assert second.replayed
    assert (second.answer, second.position) == (first.answer, first.position)


def test_given_same_key_when_another_request_then_conflict(ledger: Ledger) -> None:
    key = str(uuid4())
    execute(ledger, Command(uuid4(), again, META, idempotency=asked(key)))
    with pytest.raises(Conflict, match="idempotency_key_reused"):
        execute(ledger, Command(uuid4(), again, META, idempotency=asked(key, "r2")))


def test_given_same_key_when_commanded_at_once_then_one_event(ledger: Ledger) -> None:
    stream, key = uuid4(), str(uuid4())
    outcomes: list[Outcome] = []

    def run() -> None:
        outcomes.append(execute(ledger, Command(stream, again, META, idempotency=asked(key))))

    threads = [Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.stream(stream)) == 1
    assert sum(not outcome.replayed for outcome in outcomes) == 1
    assert len(outcomes) == 6


def test_given_claim_taken_when_commanded_then_conflict_and_nothing_stored(
    ledger: Ledger,
) -> None:
    claim, stream = (uuid4(), CLAIM), uuid4()
    execute(ledger, Command(uuid4(), once, META, claims=[claim]))
    with pytest.raises(Conflict, match="already_claimed"):
        execute(ledger, Command(stream, once, META, claims=[claim]))
    assert ledger.stream(stream) == []


def test_given_racing_writers_when_commanded_then_every_event_stored(ledger: Ledger) -> None:
    stream = uuid4()
    threads = [
        Thread(target=lambda: execute(ledger, Command(stream, again, META))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e.originator_version for e in ledger.stream(stream)] == [1, 2, 3, 4]


def test_given_commands_stored_together_when_one_is_in_the_way_then_each_told_where_its_event_is(
    ledger: Ledger, database: Database
) -> None:
    streams, key = [uuid4() for _ in range(4)], str(uuid4())
    # The last one finds its key taken after the others were told their positions.
    keys = [None, asked(key), None, asked(key)]
    with psycopg.connect(database.app_dsn) as conn, ThreadPoolExecutor(4) as threads:
        conn.execute("SELECT lock_ledger_events()")  # the first one waits, and the others behind it
        waiting = []
        for stream, each in zip(streams, keys, strict=True):
            command = Command(stream, again, META, idempotency=each)
            waiting.append(threads.submit(execute, ledger, command))
            time.sleep(0.1)
        conn.commit()
        *outcomes, replayed = [each.result() for each in waiting]
    for stream, outcome in zip(streams, outcomes, strict=False):
        (read,) = ledger.read(outcome.position - 1, 1)
        assert (read.position, read.envelope.originator_id) == (outcome.position, stream)
    assert (replayed.replayed, replayed.position) == (True, outcomes[1].position)


def test_given_a_guard_when_commanded_then_both_streams_or_neither(ledger: Ledger) -> None:
    stream, guard = uuid4(), uuid4()
    seen: list[int] = []

    def counted(events: list[Event]) -> Sequence[Event]:
        seen.append(len(events))
        if len(events) > 1:
            raise Conflict("full")
        return [CLAIM]

    guarded = [(guard, counted)]
    execute(ledger, Command(stream, again, META, guards=guarded))
    execute(ledger, Command(stream, again, META, guards=guarded))
    with pytest.raises(Conflict, match="full"):
        execute(ledger, Command(stream, again, META, guards=guarded))
    execute(ledger, Command(stream, lambda _: [], META, guards=guarded))
    assert seen == [0, 1, 2]
    assert [len(ledger.stream(stream)), len(ledger.stream(guard))] == [2, 2]
