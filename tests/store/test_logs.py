"""The two logs on the real database: append, read, roles, time to position."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread
from uuid import UUID, uuid4

import psycopg
import pytest

from domain.accounts.events import ApiKeyIssued, ApiKeyRevoked
from domain.shared.errors import Conflict
from domain.shared.events import Event
from store.envelope import Envelope, Meta
from store.logs import Ledger
from store.recorder import SMALL_MAX
from tests.conftest import START, Database

META = Meta(occurred_at=START, recorded_at=START, actor_id="tester", source="test")
ISSUED = ApiKeyIssued(key_id="k1", digest="0" * 64, role="cdc", region_code="640200")
REVOKED = ApiKeyRevoked(key_id="k1")


def envelopes(stream: UUID, *events: Event, first: int = 1, meta: Meta = META) -> list[Envelope]:
    return [Envelope(stream, first + n, event, meta) for n, event in enumerate(events)]


# Few go in one statement, many by COPY.
FEW_AND_MANY = pytest.mark.parametrize("number", [2, SMALL_MAX + 1])


@FEW_AND_MANY
def test_given_envelopes_when_appended_then_read_back_in_order(ledger: Ledger, number: int) -> None:
    stream, start = uuid4(), ledger.last_position()
    kept = envelopes(stream, ISSUED, *[REVOKED] * (number - 1))
    position = ledger.append(kept)
    assert [r.envelope for r in ledger.read(start, 100)] == kept
    assert ledger.stream(stream) == kept
    assert ledger.last_position() == position == start + number


@FEW_AND_MANY
def test_given_version_taken_when_appended_then_conflict_and_nothing_stored(
    ledger: Ledger, number: int
) -> None:
    stream = uuid4()
    ledger.append(envelopes(stream, ISSUED))
    other, head = uuid4(), ledger.last_position()
    more = envelopes(other, ISSUED, *[REVOKED] * (number - 2))
    with pytest.raises(Conflict, match="version_conflict"):
        ledger.append([*more, *envelopes(stream, REVOKED)])
    assert ledger.stream(other) == []
    assert ledger.last_position() == head


def test_given_a_failing_companion_when_appended_then_nothing_stored(ledger: Ledger) -> None:
    stream = uuid4()
    with pytest.raises(Exception, match="no_such_table"):
        ledger.append(
            envelopes(stream, ISSUED), before=lambda cur: cur.execute("DELETE FROM no_such_table")
        )
    assert ledger.stream(stream) == []


def test_given_four_writers_when_followed_meanwhile_then_no_position_is_skipped(
    ledger: Ledger,
) -> None:
    start = ledger.last_position()

    def write() -> None:
        for _ in range(50):
            ledger.append(envelopes(uuid4(), ISSUED, REVOKED))

    writers = [Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    seen: list[int] = []
    while len(seen) < 400:
        after = seen[-1] if seen else start
        seen += [r.position for r in ledger.read(after, 500)]
    for writer in writers:
        writer.join()
    assert seen == sorted(seen)
    assert ledger.last_position() == seen[-1]


@pytest.mark.parametrize("table", ["telemetry_events", "ledger_events", "reading", "batches"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
def test_given_application_role_when_it_tries_to_change_history_then_refused(
    database: Database, table: str, statement: str
) -> None:
    column = {"reading": "seq", "batches": "telemetry_id"}.get(table, "topic")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.query(statement.format(table, column, column))


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE ledger_events",
        "ALTER TABLE ledger_events DISABLE TRIGGER ALL",
        "CREATE TABLE public.mine (a int)",
        "DO $$ BEGIN LOCK TABLE ledger_events IN ACCESS EXCLUSIVE MODE; END $$",
        "CREATE OR REPLACE FUNCTION lock_ledger_events() RETURNS void LANGUAGE sql AS ''",
        "SET ROLE vaxtrail_owner",
    ],
)
def test_given_application_role_when_it_reaches_for_more_then_refused(
    database: Database, statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.query(statement)


@pytest.mark.parametrize("log", ["telemetry_events", "ledger_events"])
def test_given_a_writer_in_the_middle_when_others_come_then_only_writers_wait(
    database: Database, log: str
) -> None:
    lock = f"SELECT lock_{log}()"
    with (
        psycopg.connect(database.app_dsn) as writer,
        psycopg.connect(database.app_dsn) as other,
        psycopg.connect(database.owner_dsn, autocommit=True) as upkeep,
    ):
        writer.execute(lock)
        for session in (other, upkeep):
            session.execute("SET lock_timeout = '200ms'")
        upkeep.execute(f"VACUUM (ANALYZE) {log}")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(lock)


def test_given_moments_when_asked_then_last_position_recorded_before(ledger: Ledger) -> None:
    base = START + timedelta(days=400)
    marks = []
    for hour in range(5):
        moment = base + timedelta(hours=hour)
        meta = Meta(occurred_at=moment, recorded_at=moment)
        marks.append(ledger.append(envelopes(uuid4(), ISSUED, meta=meta)))
        ledger.append(envelopes(uuid4(), ISSUED, meta=meta))
    assert ledger.position_at(START - timedelta(days=1)) == 0
    assert ledger.position_at(base + timedelta(minutes=1)) == marks[0] + 1
    assert ledger.position_at(base + timedelta(hours=3)) == marks[2] + 1
    assert ledger.position_at(base + timedelta(days=9)) == ledger.last_position()


def test_given_a_writer_whose_clock_is_behind_when_asked_by_time_then_the_answer_stays(
    ledger: Ledger,
) -> None:
    later, earlier = START + timedelta(days=500), START + timedelta(days=499)
    moment = later - timedelta(hours=1)
    before = ledger.position_at(moment)
    ledger.append(envelopes(uuid4(), ISSUED, meta=Meta(occurred_at=later, recorded_at=later)))
    assert ledger.position_at(moment) == before
    ledger.append(envelopes(uuid4(), ISSUED, meta=Meta(occurred_at=earlier, recorded_at=earlier)))
    assert ledger.position_at(moment) == before
    assert ledger.position_at(later + timedelta(seconds=1)) == ledger.last_position()


def test_given_library_schema_when_compared_then_columns_agree(database: Database) -> None:
    rows = database.query(
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_name = 'ledger_events' ORDER BY ordinal_position"
    )
    assert rows == [
        ("originator_id", "uuid"),
        ("originator_version", "bigint"),
        ("topic", "text"),
        ("state", "bytea"),
        ("notification_id", "bigint"),
    ]
