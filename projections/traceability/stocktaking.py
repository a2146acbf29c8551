"""Counts by number beside the book: how many packs should be in a place, and which counts stand."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from domain.traceability.counts import BY_CODE, BY_NUMBER, Told, scope_of, unexplained
from domain.traceability.custody import Book
from domain.traceability.exceptions import smallest
from domain.traceability.facts import Fact
from domain.traceability.states import Status
from projections.traceability import answers
from projections.traceability.rows import Connection, Cursor, read_fact
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "traceability_beside.sql")

# What stands where it is counted.
_THERE = frozenset({Status.COMMISSIONED, Status.IN_STOCK, Status.HELD, Status.OPENED})


def on_hand(conn: Connection, site_id: str, unit_id: str, scope: str) -> Counter[int]:
    """Return how many packs of each level of a lot, or of all lots of a product, should be there.

    By the codes, and by what the books were corrected by; `unit_id` "": at the whole site.
    """
    found = Counter[int]()
    for line in answers.stock(conn, [site_id], unit_id=unit_id or None):
        if line.status in _THERE and scope in {line.lot_id, line.lot_id.partition(".")[0]}:
            found.update(line.packs)
    asked = {"site": site_id, "unit": unit_id, "scope": scope}
    ((adjusted,),) = conn.execute(queries.adjusted, asked).fetchall()
    found[1] = max(found[1] + adjusted, 0)
    return found


def bills_overdue(cur: Cursor, bills: Collection[str]) -> dict[str, list[tuple[str, int, int]]]:
    """Return the shipments on bills that are on record as overdue: (fact id, position, ms due)."""
    found: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for bill_no, *told in cur.execute(queries.overdue_of, (list(bills),)) if bills else ():
        found[bill_no].append((told[0], told[1], told[2]))
    return found


def in_doubt(cur: Cursor, positions: Collection[int], codes: Collection[int]) -> set[str]:
    """Return the counts and adjustments, as subjects, that a batch may explain, or not any more.

    `positions`: of its facts that tell of numbers or of codes missed and found, and of what it took
    back; `codes`: those that it tells more of.
    """
    ((any_told,),) = cur.execute(queries.any_stocktaking).fetchall()
    if not any_told:
        return set()
    found = cur.execute(queries.stocktaking_beside, (list(positions),)).fetchall()
    found += cur.execute(queries.stocktaking_of, (list(codes),)).fetchall()
    return {f"f:{row[0]}" for row in found}


class Stocktaking:
    """What is told of numbers at the sites of some counts and adjustments."""

    def __init__(self, cur: Cursor, facts: Iterable[Fact]) -> None:
        self._told: dict[str, list[tuple[Fact, list[int]]]] = defaultdict(list)
        sites = {fact.site_id for fact in facts if fact.step in BY_NUMBER}
        if sites:
            for codes, *row in cur.execute(queries.stocktaking, (list(sites),)):
                fact = read_fact(row)
                self._told[fact.site_id].append((fact, codes))

    @property
    def facts(self) -> list[Fact]:
        """Return all these facts."""
        return [fact for told in self._told.values() for fact, _ in told]

    def beside(self, fact: Fact) -> list[Fact]:
        """Return the facts that may explain one."""
        return [told for told, _ in self._told.get(fact.site_id, ())] if _counts(fact) else []

    def codes(self, fact: Fact | None) -> set[int]:
        """Return the codes missed and found where a count or an adjustment was told."""
        told = self._told.get(fact.site_id, ()) if fact is not None and _counts(fact) else ()
        return {code for other, codes in told if other.step in BY_CODE for code in codes}

    def explained(self, fact: Fact, book: Book, at: int) -> bool:
        """Tell whether a count or an adjustment was explained by what was known at a position."""
        if not _counts(fact):
            return False
        told: list[Told] = []
        for other, codes in self._told[fact.site_id]:
            if other.step in BY_NUMBER and other.counts(at):
                told.append(Told(other, scope_of(other)))
            elif other.counts(at):
                told += _of_lots(other, codes, book)
        return fact.fact_id not in unexplained(told)


def _counts(fact: Fact) -> bool:
    return fact.step in BY_NUMBER


def _of_lots(fact: Fact, codes: Iterable[int], book: Book) -> list[Told]:
    """Return a fact about codes once a lot, with the number of its smallest packs."""
    inside = {k for code in codes for k in smallest(book, code, fact.order)}
    units = Counter(book.progress(k).lot_id for k in inside)
    return [Told(fact, lot_id, count) for lot_id, count in units.items()]
