"""Counts by number: which difference stands, and what explains it, in any cut into batches."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from domain.shared.events import Event
from domain.traceability import events as told_as
from domain.traceability.counts import Tally, Told
from domain.traceability.facts import Fact, fact_of
from projections.traceability import apply
from projections.traceability import cases as read
from projections.traceability.stocktaking import on_hand
from store.envelope import Recorded
from tests.conftest import Database
from tests.traceability.chain import START, projected, recorded

pytestmark = pytest.mark.database
P = "8474354"
LOT, OTHER = f"{P}.A1", f"{P}.B2"
BOX = f"{P}{100:013d}"
V = [f"{P}{n:013d}" for n in range(5)]
NOW = 2**62
ROWS = (
    "SELECT kind, key, since, gone FROM rm_traceability.finding WHERE kind = 'MASS_IMBALANCE' "
    "ORDER BY since, key"
)
Timed = tuple[Event, datetime, datetime]


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app_dsn, autocommit=True) as opened:
        yield opened


def at(hours: float, event: Event) -> Timed:
    moment = START + timedelta(hours=hours)
    return event, moment, moment


def count(hour: float, actual: int, due: int = 5, **fields: Any) -> Timed:
    """Return a count of the lot at A, or of what is named."""
    named = {"lot_id": LOT} | fields
    boxes = told_as.Quantity(level=2, due=1, actual=0)  # the smallest packs tell
    lines = (told_as.Quantity(level=1, due=due, actual=actual), boxes)
    return at(
        hour, told_as.StockCounted(fact_id=f"c{hour}", site_id="A", quantities=lines, **named)
    )


def adjusted(hour: int, units: int, **fields: Any) -> Timed:
    named = {"lot_id": LOT} | fields
    fact = told_as.StockAdjusted(
        fact_id=f"a{hour}", site_id="A", units=units, reason="破损", **named
    )
    return at(hour, fact)


def missing(hour: int, *codes: str) -> Timed:
    return at(hour, told_as.CodesMissing(fact_id=f"l{hour}", site_id="A", reason="x", codes=codes))


def found(hour: int, *codes: str) -> Timed:
    return at(hour, told_as.CodesFound(fact_id=f"f{hour}", site_id="A", codes=codes))


def fact(timed: Timed) -> Fact:
    event, at_, _ = timed
    t_ms = round(at_.timestamp() * 1000)
    return fact_of(event, t_ms=t_ms, recorded_ms=t_ms, position=1)  # type: ignore[arg-type]


def withdrawn(hour: int, fact_id: str) -> Timed:
    moment = START + timedelta(hours=hour)
    wrong = told_as.FactWithdrawn(fact_id=fact_id, site_id="A", reason="错", declared_at=moment)
    return wrong, moment, moment


BASE: list[Timed] = [
    at(0, told_as.CodesCommissioned(fact_id="m", site_id="A", lot_id=LOT, codes=tuple(V))),
    at(0, told_as.PacksAggregated(fact_id="p", site_id="A", parent=BOX, codes=tuple(V[:3]))),
]
IN_U: dict[str, Any] = {"unit_id": "u"}


@pytest.mark.parametrize(
    ("later", "open_at_last"),
    [
        pytest.param([count(1, 5)], [], id="as the book says"),
        pytest.param([count(1, 4)], ["c1"], id="one too few"),
        pytest.param([count(1, 4), adjusted(2, -1)], [], id="adjusted"),
        pytest.param([adjusted(2, -1), count(1, 4)], [], id="adjusted, told first"),
        pytest.param([count(1, 3), adjusted(2, -1)], ["c1"], id="adjusted in part"),
        pytest.param([count(1, 3), adjusted(2, -1), adjusted(3, -1)], [], id="in two parts"),
        pytest.param([count(1, 4), adjusted(2, 1)], ["a2", "c1"], id="adjusted the other way"),
        pytest.param([count(1, 4), adjusted(2, -2)], ["a2", "c1"], id="adjusted by more"),
        pytest.param([adjusted(1, -1), count(2, 4)], ["a1", "c2"], id="adjusted before"),
        pytest.param([count(1, 4), adjusted(2, -1, lot_id=OTHER)], ["a2", "c1"], id="other lot"),
        pytest.param([count(1, 4, lot_id="", product_id=P), adjusted(2, -1)], [], id="a product"),
        pytest.param([count(1, 4, **IN_U), adjusted(2, -1)], ["a2", "c1"], id="a unit"),
        pytest.param([count(1, 4, **IN_U), adjusted(2, -1, **IN_U)], [], id="in that unit"),
        pytest.param([count(1, 4), adjusted(2, -1), withdrawn(3, "a2")], ["c1"], id="taken back"),
        pytest.param([count(1, 4), withdrawn(3, "c1")], [], id="count withdrawn"),
        pytest.param([count(1, 4), missing(2, V[4])], [], id="missed by code"),
        pytest.param([count(1, 2), missing(2, BOX)], [], id="a box missed"),
        pytest.param([missing(1, V[4]), count(2, 5, due=4), found(3, V[4])], [], id="found"),
        pytest.param([count(1, 4), count(2, 5)], [], id="counted again"),
        pytest.param([count(1, 4), count(2, 3)], ["c2"], id="counted again and fewer"),
        pytest.param([adjusted(1, 0)], [], id="adjusted by nothing"),
    ],
)
def test_given_counts_by_number_when_more_is_told_then_what_nothing_explains_stands(
    conn: psycopg.Connection[Any], later: Sequence[Timed], open_at_last: list[str]
) -> None:
    log = recorded([*BASE, *later])
    rows = []
    for size in (2000, 1):
        with projected(conn, log, size):
            rows.append(conn.execute(ROWS).fetchall())
            seen = read.cases(conn, read.Wanted(state="open"), read.Seen(NOW, NOW), limit=9)
            stand = sorted(case["key"] for case in seen if case["kind"] == "MASS_IMBALANCE")
            assert stand == open_at_last
    assert rows[1] == rows[0]


STORED = told_as.PutAway(fact_id="u", site_id="A", unit_id="u", codes=(BOX,))
GIVEN = told_as.DoseAdministered(fact_id="d", site_id="A", codes=(V[4],))
SENT = told_as.GoodsDispatched(fact_id="s", site_id="A", to_site_id="B", bill_no="1", codes=(V[3],))
MOVES: list[Timed] = [at(1, STORED), at(2, GIVEN), at(4, SENT)]


def stocktaken(rng: random.Random, **fields: Any) -> list[Timed]:
    """Return counts, corrections, losses and finds of two lots, some taken back."""
    lots = [{"lot_id": rng.choice([LOT, OTHER])} | fields for _ in range(8)]
    later = [count(n, rng.randint(3, 6), **lot) for n, lot in enumerate(lots, start=1)]
    later += [count(20, 4, lot_id="", product_id=P, **fields), count(21, 4, **IN_U, **fields)]
    later += [adjusted(n, rng.choice([-2, -1, 1])) for n in range(1, 9)]
    later += [missing(3, V[4]), missing(5, BOX), found(7, V[4])]
    told = rng.sample(later, 16)
    return [
        *BASE,
        *told,
        withdrawn(30, fact(told[2]).fact_id),
        withdrawn(30, fact(told[5]).fact_id),
    ]


@pytest.mark.parametrize("seed", range(2))
def test_given_counts_when_told_in_any_order_then_the_same_stands(
    conn: psycopg.Connection[Any], seed: int
) -> None:
    rng = random.Random(seed)
    told, alive = stocktaken(rng), []
    for size in (2000, 1, 3):
        with projected(conn, recorded(told), size):
            alive.append({key for _, key, _, gone in conn.execute(ROWS) if gone is None})
        rng.shuffle(told)
    assert alive[0]
    assert alive[1] == alive[0] == alive[2]


def told_against_the_book(conn: psycopg.Connection[Any], told: Sequence[Timed]) -> list[Recorded]:
    """Tell events in this order, each count against the book as it is then; return the log."""
    log: list[Recorded] = []
    with projected(conn, log), conn.cursor() as cur:
        for event, occurred_at, _ in told:
            said, position = event, len(log)
            if isinstance(event, told_as.StockCounted):
                due = on_hand(conn, "A", event.unit_id, event.lot_id or event.product_id)
                lines = (replace(event.quantities[0], due=due[1]),)
                said = replace(event, quantities=lines, book_position=position)
            (one,) = recorded([(said, occurred_at, occurred_at)])
            log.append(one._replace(position=position + 1))
            apply(cur, log[-1:])
    return log


@pytest.mark.parametrize("seed", range(2))
def test_given_facts_told_in_any_order_when_counted_against_the_book_then_the_same_stands(
    conn: psycopg.Connection[Any], seed: int
) -> None:
    rng = random.Random(seed)
    elsewhere = told_as.StockAdjusted(fact_id="b", site_id="B", lot_id=LOT, units=2, reason="盘盈")
    more = told_as.CodesCommissioned(
        fact_id="n", site_id="A", lot_id=LOT, codes=(f"{P}{50:013d}", f"{P}{51:013d}")
    )
    told = [at(3.5, more), *MOVES, adjusted(3, -1), adjusted(6, 1), at(2, elsewhere)]
    numbers = [rng.randint(1, 5) for _ in range(3)]
    told += [
        count(5, numbers[0]),
        count(2.5, numbers[1], **IN_U),
        count(7, numbers[2], lot_id="", product_id=P),
    ]
    told += [withdrawn(9, rng.choice(["d", "s", "a3", "none"]))]
    logs = [told_against_the_book(conn, [*BASE, *told])]
    for _ in range(3):
        rng.shuffle(told)
        logs.append(told_against_the_book(conn, [*BASE, *told]))
    alive = []
    for log in logs:
        rows = []
        for size in (2000, 1, 4):
            with projected(conn, log, size):
                stands = {key for _, key, _, gone in conn.execute(ROWS) if gone is None}
                kept = conn.execute("SELECT * FROM rm_traceability.recount ORDER BY 1, 2")
                rows.append((conn.execute(ROWS).fetchall(), kept.fetchall()))
        assert rows[1] == rows[0] == rows[2]
        alive.append(stands)
    assert alive == [alive[0]] * len(alive)


def test_given_facts_put_in_and_taken_out_in_any_order_then_what_stands_is_of_those_left() -> None:
    rng = random.Random(7)
    later = [count(n, rng.randint(2, 7), lot_id=rng.choice([LOT, OTHER, P])) for n in range(12)]
    later += [adjusted(n, rng.choice([-2, -1, 1])) for n in range(12)]
    later += [missing(n, V[0]) for n in range(12)]
    for _ in range(60):
        told = [Told(f, f.lot_id or LOT, 1) for f in map(fact, rng.sample(later, 9))]
        gone = rng.sample(told, 4)
        tally, plain = Tally(), Tally()
        for step in rng.sample(told, len(told)):
            tally.put(step)
            tally.unexplained()
        for step in gone:
            tally.drop(step)
            tally.unexplained()
        for step in sorted((t for t in told if t not in gone), key=lambda t: t.key):
            plain.put(step)
        assert tally.unexplained() == plain.unexplained()


def test_given_a_place_when_its_book_is_asked_then_what_is_there_with_what_was_corrected(
    conn: psycopg.Connection[Any],
) -> None:
    put = told_as.PutAway(fact_id="u", site_id="A", unit_id="u", codes=(BOX,))
    given = told_as.DoseAdministered(fact_id="d", site_id="A", codes=(V[4],))
    boxed = told_as.CodesCommissioned(fact_id="b", site_id="A", lot_id=LOT, level=2, codes=(BOX,))
    log = [*BASE, at(0, boxed), at(1, put), at(2, given), adjusted(3, -1), adjusted(4, -9, **IN_U)]
    with projected(conn, recorded(log)):
        assert on_hand(conn, "A", "", LOT) == Counter({2: 1, 1: 0})
        assert on_hand(conn, "A", "u", P) == Counter({2: 1, 1: 0})
    with projected(conn, recorded(log[:-1])):
        assert on_hand(conn, "A", "", P) == Counter({2: 1, 1: 3})
        assert on_hand(conn, "A", "u", LOT) == Counter({2: 1, 1: 3})
        assert on_hand(conn, "A", "", OTHER)[1] == 0
