"""Following, rebuilding and checking a read model, on the real database."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from domain.accounts.events import ApiKeyIssued, ApiKeyRevoked
from projections import rebuild
from projections.follower import Follower
from projections.projection import Projection
from store.envelope import Envelope, Meta, Recorded
from store.logs import Ledger
from store.migrate import migrate
from tests.conftest import START, Database

META = Meta(occurred_at=START, recorded_at=START)
DDL = """CREATE TABLE seen (position bigint PRIMARY KEY, key_id text NOT NULL);
CREATE INDEX ON seen (key_id)"""


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    for position, envelope in batch:
        event = envelope.event
        assert isinstance(event, ApiKeyIssued)
        if event.role == "poison":
            raise ValueError("cannot take this")
        cur.execute("INSERT INTO seen VALUES (%s, %s)", (position, event.key_id))


TOY = Projection("toy", 1, (ApiKeyIssued.TOPIC,), apply, DDL)


def issue(ledger: Ledger, *roles: str) -> int:
    return ledger.append(
        [
            Envelope(
                uuid4(), 1, ApiKeyIssued(key_id=f"k{n}", digest="", role=r, region_code=""), META
            )
            for n, r in enumerate(roles)
        ]
    )


@pytest.fixture
def conn(database: Database, ledger: Ledger) -> Iterator[psycopg.Connection[Any]]:
    migrate(database.owner_dsn, schemas=[TOY.schema, TOY.shadow])
    with psycopg.connect(database.app_dsn, autocommit=True) as made:
        rebuild.rebuild(ledger, made, TOY)
        yield made


def rows(conn: psycopg.Connection[Any]) -> list[int]:
    return [r[0] for r in conn.execute("SELECT position FROM rm_toy.seen ORDER BY 1").fetchall()]


def test_given_events_when_followed_then_rows_and_progress_agree(
    ledger: Ledger, conn: psycopg.Connection[Any]
) -> None:
    follower = Follower(ledger, [TOY])
    before = len(rows(conn))
    position = issue(ledger, *["cdc"] * 5)
    assert follower.behind() == 5
    while follower.step(conn):
        pass
    assert len(rows(conn)) == before + 5
    assert Follower(ledger, [TOY]).position(TOY) == position
    assert follower.behind() == 0


def test_given_other_topics_only_when_followed_then_progress_moves_on(
    ledger: Ledger, conn: psycopg.Connection[Any]
) -> None:
    follower = Follower(ledger, [TOY])
    position = ledger.append([Envelope(uuid4(), 1, ApiKeyRevoked(key_id="k"), META)])
    follower.step(conn)
    assert Follower(ledger, [TOY]).position(TOY) == position


def test_given_a_poison_event_when_followed_then_kept_aside_and_the_rest_taken(
    ledger: Ledger, conn: psycopg.Connection[Any]
) -> None:
    before = len(rows(conn))
    position = issue(ledger, "cdc", "poison", "cdc")
    Follower(ledger, [TOY]).step(conn)
    assert len(rows(conn)) == before + 2
    letters = conn.execute("SELECT error FROM dead_letter WHERE position = %s", (position - 1,))
    assert letters.fetchall() == [("ValueError: cannot take this",)]


def test_given_a_value_no_index_takes_when_followed_then_it_alone_is_kept_aside(
    ledger: Ledger, conn: psycopg.Connection[Any]
) -> None:
    """PostgreSQL's refusal of it looks like a lost database to the driver."""
    before = len(rows(conn))
    huge = ApiKeyIssued(key_id=secrets.token_hex(9000), digest="", role="cdc", region_code="")
    position = ledger.append([Envelope(uuid4(), 1, huge, META)])
    issue(ledger, "cdc")
    Follower(ledger, [TOY]).step(conn)
    assert len(rows(conn)) == before + 1
    letters = conn.execute("SELECT error FROM dead_letter WHERE position = %s", (position,))
    assert "index row" in letters.fetchall()[0][0]


def test_given_dead_letters_when_a_rebuild_is_cut_short_then_they_are_still_listed(
    ledger: Ledger, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    issue(ledger, "poison")
    Follower(ledger, [TOY]).step(conn)
    kept = "SELECT follower, position FROM dead_letter ORDER BY 1, 2"
    before = conn.execute(kept).fetchall()
    assert before
    with monkeypatch.context() as cut:
        cut.setattr(rebuild, "_follow", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            rebuild.rebuild(ledger, conn, TOY)
    assert conn.execute(kept).fetchall() == before
    rebuild.rebuild(ledger, conn, TOY)
    assert rebuild.check(ledger, conn, TOY).same
    assert conn.execute(kept).fetchall() == before


def test_given_rows_followed_when_checked_then_equal_to_a_rebuild(
    ledger: Ledger, conn: psycopg.Connection[Any]
) -> None:
    issue(ledger, "cdc", "cdc")
    Follower(ledger, [TOY]).step(conn)
    assert rebuild.check(ledger, conn, TOY).same


def test_given_a_row_altered_when_checked_then_told_and_a_rebuild_mends_it(
    ledger: Ledger, conn: psycopg.Connection[Any]
) -> None:
    issue(ledger, "cdc")
    follower = Follower(ledger, [TOY])
    follower.step(conn)
    conn.execute("UPDATE rm_toy.seen SET key_id = 'forged'")
    assert not rebuild.check(ledger, conn, TOY).same
    rebuild.rebuild(ledger, conn, TOY)
    assert rebuild.check(ledger, conn, TOY).same
    issue(ledger, "cdc")
    assert follower.step(conn) == 1
    assert rebuild.check(ledger, conn, TOY).same
