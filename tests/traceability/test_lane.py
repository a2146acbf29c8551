"""The ordinary lane: with it or without, in any batches or in bulk, the same tables."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from domain.traceability.events import CodesCommissioned
from domain.traceability.ordinary import Lives
from projections import rebuild
from projections.traceability import bulk, derived, lane, master
from runtime.postgres import PostgresServer
from store.envelope import Recorded
from store.logs import Ledger
from tests.conftest import Database, create_database, drop_database
from tests.traceability import lives
from tests.traceability.chain import START, projected, recorded
from tests.traceability.stories import Story
from tests.traceability.test_counts import MOVES, stocktaken
from tests.traceability.test_findings import log as with_faults
from tests.traceability.test_read_model import random_life

pytestmark = pytest.mark.database
PART = 5  # of what is judged at once
TABLES = ("scan", "fact", "contain", "node", "hop", "dose", "mixed", "movement", "finding")


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app_dsn, autocommit=True) as opened:
        yield opened


def tables(conn: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Return every row with every column, positions too."""
    query = "SELECT * FROM rm_traceability.{}"
    return {name: sorted(map(str, conn.execute(query.format(name).encode()))) for name in TABLES}


@pytest.mark.parametrize(("seed", "wrong"), [(1, 0.0), (2, 0.03), (5, 0.3)])
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


def _watched(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    """Return how much a function is given at once from now on."""
    sizes: list[int] = []
    of = getattr(module, name)

    def seen(cur: Any, given: Any, *more: Any) -> Any:
        sizes.append(len(given))
        return of(cur, given, *more)

    monkeypatch.setattr(module, name, seen)
    return sizes


def shuffled(seed: int) -> list[Recorded]:
    order = list(range(150))
    random.Random(seed).shuffle(order)
    return with_faults(order)


def counted_by_number() -> list[Recorded]:
    told = stocktaken(random.Random(4), book_position=2)
    return recorded([*told[:9], *MOVES, *told[9:]])


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(lambda: recorded(lives.log(random.Random(6), 3, 0.0)), id="ordinary"),
        pytest.param(lambda: recorded(lives.log(random.Random(7), 4, 0.1)), id="some wrong"),
        pytest.param(lambda: shuffled(3), id="planted faults", marks=pytest.mark.no_cover),
        pytest.param(lambda: recorded(random_life(random.Random(2))), id="without sense"),
        pytest.param(lambda: recorded(Story(7, steps=9).told), id="all that can go wrong"),
        pytest.param(counted_by_number, id="counted by number"),
    ],
)
def test_given_a_log_when_rebuilt_in_bulk_then_the_tables_of_the_follower_part_by_part(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, log: Callable[[], list[Recorded]]
) -> None:
    monkeypatch.setattr(rebuild, "PAGE", 40)
    monkeypatch.setattr(rebuild.log, "warning", pytest.fail)
    monkeypatch.setattr(bulk, "CAREFUL_AT_ONCE", PART)
    monkeypatch.setattr(bulk, "JUDGED_AT_ONCE", PART)
    at_once = []
    for module, name in ((derived, "read_book"), (bulk, "look_again")):
        at_once.append(_watched(monkeypatch, module, name))
    database = create_database(postgres)
    with (
        Ledger(database.app_dsn) as ledger,
        psycopg.connect(database.app_dsn, autocommit=True) as conn,
    ):
        ledger.append([replace(each.envelope, originator_id=uuid4()) for each in log()])
        projection = rebuild.named("traceability")
        rebuild.rebuild(ledger, conn, projection)
        assert all(size <= PART for sizes in at_once for size in sizes)
        compared = rebuild.check(ledger, conn, projection)
    drop_database(postgres, database)
    assert compared.rebuilt == compared.live
    assert compared.live["fact"][0]


def test_given_what_cannot_be_loaded_in_bulk_when_rebuilt_then_in_batches_but_for_it(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gs1 = [f"(01)06901234567892(21)A{n}" for n in range(2)]
    same = {gs1[0]: 2**62, gs1[1]: 2**62}
    events = [CodesCommissioned(fact_id=c, site_id="s", lot_id=lives.LOT, codes=(c,)) for c in gs1]
    log = recorded([*lives.masters(), *((event, START, START) for event in events)])
    database = create_database(postgres)
    monkeypatch.setattr(master, "code_key", same.__getitem__)
    with (
        Ledger(database.app_dsn) as ledger,
        psycopg.connect(database.app_dsn, autocommit=True) as conn,
    ):
        ledger.append([each.envelope for each in log])
        rebuild.rebuild(ledger, conn, rebuild.named("traceability"))
        letters = conn.execute("SELECT error FROM dead_letter").fetchall()
        facts = conn.execute("SELECT count(*) FROM rm_traceability.fact").fetchall()
    drop_database(postgres, database)
    assert ["code_key_collision" in error for (error,) in letters] == [True]
    assert facts == [(1,)]
