"""The ordinary lane of the follower: with it or without, in any batches, the same tables."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from domain.traceability.ordinary import Lives
from projections.traceability import lane
from tests.conftest import Database
from tests.traceability import lives
from tests.traceability.chain import projected, recorded

pytestmark = pytest.mark.database
TABLES = ("scan", "fact", "contain", "node", "hop", "dose", "mixed", "movement", "finding")


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app_dsn, autocommit=True) as opened:
        yield opened


def tables(conn: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Return every row with every column, positions too."""
    query = "SELECT * FROM rm_traceability.{}"
    return {name: sorted(map(str, conn.execute(query.format(name).encode()))) for name in TABLES}


@pytest.mark.parametrize(("seed", "wrong"), [(1, 0.0), (2, 0.03), (3, 0.1), (4, 0.1), (5, 0.3)])
def test_given_any_lives_when_followed_with_and_without_the_lane_then_the_same_tables(
    conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, seed: int, wrong: float
) -> None:
    log = recorded(lives.log(random.Random(seed), 3, wrong))
    careful = []
    follow = lane.follow

    def seen(*args: Any, **named: Any) -> lane.Lane:
        found = follow(*args, **named)
        careful.append(bool(found.careful))
        return found

    monkeypatch.setattr(lane, "follow", seen)
    found = []
    for size in (2000, 7):
        with projected(conn, log, size):
            found.append(tables(conn))
    ordinary = careful.count(False)
    monkeypatch.setattr(Lives, "life", lambda *_: None)
    for size in (2000, 7):
        with projected(conn, log, size):
            found.append(tables(conn))
    assert found[1] == found[0]
    assert found[2] == found[0]
    assert found[3] == found[0]
    assert ordinary or wrong > 0.05
