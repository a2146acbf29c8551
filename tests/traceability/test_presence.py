"""Where the codes of a lot were, all at once, against the book of custody code by code."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from domain.traceability import events as told
from domain.traceability.codes import code_key
from domain.traceability.custody import Book, Product
from domain.traceability.presence import OPEN_MS
from domain.traceability.thermal import whereabouts
from projections.traceability import stays
from store.envelope import Recorded
from tests.conftest import Database
from tests.traceability import lives
from tests.traceability.chain import START, mentions, projected, recorded
from tests.traceability.test_quick import LOTS, log_of

pytestmark = pytest.mark.database
Where = list[tuple[str, str, int, int]]


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app_dsn, autocommit=True) as opened:
        yield opened


def by_code(found: stays.Stays) -> dict[int, Where]:
    """Return the stays of each code, each until the code left its group."""
    here = found.presence
    where: dict[int, Where] = {}
    for n, code in enumerate(here.code):
        of_group = np.flatnonzero(here.group == here.of_group[n])
        where[int(found.keys[code])] = [
            (
                found.sites[here.site[i]],
                found.units[here.unit[i]],
                int(here.t0[i]),
                int(min(here.t1[i], here.left_ms[n])),
            )
            for i in of_group
            if here.since[i] < here.left[n]
        ]
    return where


def expected(book: Book, key: int, doses: int) -> Where:
    return [
        (w.site_id, w.unit_id, w.start_ms, OPEN_MS if w.end_ms is None else w.end_ms)
        for w in whereabouts(book.chain(key), doses)
    ]


def compare(conn: psycopg.Connection[Any], log: list[Recorded], lots: list[str], doses: int) -> int:
    """Compare lots, packs and codes with the book; return how many codes there were."""
    book = Book(mentions(log), product=lambda _: Product(doses))
    compared = 0
    with projected(conn, log):
        for lot in lots:
            members = {k for k in book.codes if book.progress(k).lot_id == lot}
            found = by_code(stays.stays_of_lot(conn, lot))
            assert found.keys() == {k for k in members if book.levels[k] == 1}
            for key, where in found.items():
                assert where == expected(book, key, doses), key
            compared += len(found)
        for pack in book.contents:
            inside: dict[int, Where] = {}
            for part in stays.stays_of_pack(conn, pack):
                inside |= by_code(part)
            for key, where in inside.items():
                assert where == expected(book, key, doses), key
    return compared


@pytest.mark.parametrize(
    ("seed", "wrong", "doses"), [(1, 0.0, 1), (2, 0.05, 1), (3, 0.3, 1), (4, 0.3, 3), (5, 0.6, 1)]
)
def test_given_any_lives_when_followed_at_once_then_each_as_the_book_says(
    conn: psycopg.Connection[Any], seed: int, wrong: float, doses: int
) -> None:
    log = recorded([*lives.masters(doses), *lives.log(random.Random(seed), 4, wrong)[3:]])
    assert compare(conn, log, [lives.LOT, lives.OTHER], doses) >= 12


@pytest.mark.parametrize("seed", range(4))
def test_given_everyday_facts_when_followed_at_once_then_each_as_the_book_says(
    conn: psycopg.Connection[Any], seed: int
) -> None:
    log = log_of(random.Random(seed))
    assert compare(conn, log, LOTS, 1) >= 4


def test_given_codes_as_texts_when_asked_by_one_then_the_same(
    conn: psycopg.Connection[Any],
) -> None:
    log = log_of(random.Random(9))
    book = Book(mentions(log), product=lambda _: Product(1))
    gs1 = "(01)06901234567892(21)V0"
    with projected(conn, log):
        for code in (gs1, f"{lives.P}{200:013d}"):
            found = stays.stays_of_code(conn, code)
            assert by_code(found) == {code_key(code): expected(book, code_key(code), 1)}
            assert stays.texts_of(conn, found.keys[found.presence.code]) == [code]


def test_given_packs_in_each_other_when_followed_at_once_then_each_as_the_book_says(
    conn: psycopg.Connection[Any],
) -> None:
    vial, one, other = (lives.code(n) for n in (1, 2, 3))
    facts: list[Any] = [
        told.CodesCommissioned(fact_id="a", site_id="maker", lot_id=lives.LOT, codes=(vial,)),
        told.PacksAggregated(
            fact_id="b", site_id="maker", unit_id="C1", parent=one, codes=(vial, other)
        ),
        told.PacksAggregated(fact_id="c", site_id="maker", parent=other, codes=(one,)),
        told.GoodsDispatched(
            fact_id="d", site_id="maker", to_site_id="city", bill_no="", codes=(one,)
        ),
        told.GoodsReceived(fact_id="e", site_id="city", unit_id="C2", bill_no="", codes=(one,)),
    ]
    timed = [(fact, START + timedelta(hours=n), START) for n, fact in enumerate(facts)]
    log = recorded([*lives.masters(), *timed])
    assert compare(conn, log, [lives.LOT], 1) == 1
    with projected(conn, log):
        found = stays.stays_of_lot(conn, lives.LOT)
    senders = [found.sites[n] for n in found.senders[found.presence.since]]
    assert senders == ["", "", "maker", ""], (
        "who sent goods is known of packs in each other as well"
    )
