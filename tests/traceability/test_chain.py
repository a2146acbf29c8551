"""The synthetic chain captured in any order: the same chains, the same tables, the right ledger."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import psycopg
import pytest

from domain.traceability.codes import key_code
from projections import traceability
from tests.conftest import Database
from tests.traceability.chain import chain, expected, projected, recorded, tables

# Every line of this is run by other tests.
pytestmark = [pytest.mark.database, pytest.mark.no_cover]
COUNT = 150


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app_dsn, autocommit=True) as opened:
        yield opened


def chains(conn: psycopg.Connection[Any]) -> dict[str, list[tuple[str, str, str]]]:
    """Return for every code what happened to it."""
    codes = [row[0] for row in conn.execute("SELECT k FROM rm_traceability.node ORDER BY k")]
    found = {}
    for k in codes:
        code = key_code(k)
        assert code is not None
        custody = traceability.custody_of_code(conn, code)
        found[code] = [(e["fact_id"], e["step"], e["via"]) for e in custody.chain]
    return found


def shuffled(seed: int) -> list[int]:
    order = list(range(COUNT))
    random.Random(seed).shuffle(order)
    return order


def doubled(seed: int) -> list[int]:
    order = [*range(COUNT), *range(COUNT)]
    random.Random(seed).shuffle(order)
    return order


@cache
def in_order(conn: psycopg.Connection[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    with projected(conn, recorded(chain())):
        return tables(conn), chains(conn)


@pytest.mark.parametrize(
    ("order", "size"),
    [
        (list(range(COUNT)), 1),
        (list(reversed(range(COUNT))), 5),
        *[(shuffled(seed), size) for seed, size in ((1, 2000), (4, 20))],
        (doubled(8), 33),
    ],
)
def test_given_any_order_of_capture_when_projected_then_same_chains_and_tables(
    conn: psycopg.Connection[Any], order: list[int], size: int
) -> None:
    first = in_order(conn)
    with projected(conn, recorded(chain(order)), size):
        assert tables(conn) == first[0]
        assert size == 2000 or chains(conn) == first[1]


def test_given_the_chain_when_ledger_asked_then_counts_of_the_answer_key(
    conn: psycopg.Connection[Any],
) -> None:
    with projected(conn, recorded(chain())):
        lines = traceability.stock(conn)
        nodes = conn.execute(
            "SELECT lot_id, level, status, doses_given FROM rm_traceability.node"
        ).fetchall()
    for ledger in expected()["ledger"]:
        mine = [line for line in lines if line.lot_id.endswith(f".{ledger['lot']}")]
        on_hand: Counter[str] = Counter()
        for line in mine:
            if line.status in {"in_stock", "held", "opened"}:
                on_hand[line.site_id] += line.units
        by_status: Counter[str] = Counter()
        for line in mine:
            by_status[line.status] += line.units
        doses = sum(n[3] for n in nodes if n[0].endswith(f".{ledger['lot']}"))
        assert dict(+on_hand) == ledger["inStock"]
        assert doses == ledger["dosesGiven"]
        assert by_status["in_transit"] == ledger["missing"]
        assert by_status["used"] == ledger["used"]
        assert by_status["wasted"] == ledger["partlyWasted"]
        assert sum(by_status.values()) == ledger["vials"]
