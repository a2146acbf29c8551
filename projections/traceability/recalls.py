"""Where every unit of a lot is and who was given it, and the balance of a lot by place.

As it is now, a recall is read off the tables of what is where; as of an earlier position, both are
folded from the facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from struct import unpack
from typing import Any

from psycopg.rows import tuple_row

from domain.shared.errors import NotFound
from domain.traceability.balance import Balance, balance_of
from domain.traceability.custody import Book
from domain.traceability.facts import LEVEL_MAX, Fact
from domain.traceability.recalls import (
    Dose,
    Recall,
    Unit,
    acknowledged,
    orders_in_force,
    recall_of,
)
from domain.traceability.states import ENDED, OWN, Status
from projections.traceability.answers import lot_book
from projections.traceability.cases import texts_of
from projections.traceability.findings import queries
from projections.traceability.rows import Connection, Cursor, read_fact, read_mentions
from projections.traceability.rows import queries as custody

_STATUS: dict[str | None, Status] = {None: Status.UNKNOWN} | {s.value: s for s in Status}
# What becomes of a pack becomes of an opened vial inside too.
_OVERRIDES = ENDED | {Status.MISSING}


@dataclass(frozen=True, slots=True)
class LotRecall:
    """A recall with the texts of the codes in it."""

    recall: Recall
    texts: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class LotBalance:
    """A balance with the texts of the codes that make differences."""

    balance: Balance
    texts: Mapping[int, str]


def recall_now(conn: Connection, lot_id: str, at: int) -> LotRecall:
    """Return the recall of a lot as the read model stands (at `at`); NotFound("unknown_lot")."""
    with conn.cursor(binary=True, row_factory=tuple_row) as cur:
        groups = cur.execute(queries.units_of_lot, (lot_id,)).fetchall()
        packs = {row[0]: row for row in cur.execute(queries.packs_of_lot, (lot_id,)).fetchall()}
        if not groups and not packs:
            raise NotFound("unknown_lot", lot_id=lot_id)
        strange = {row[0] for row in groups} | {row[1] for row in packs.values()}
        strange -= packs.keys() | {None}
        above = cur.execute(queries.nodes_above, (list(strange),)).fetchall() if strange else []
        units = _Places(packs | {row[0]: row for row in above}).units(groups)
        moving = [unit.code for unit in units if unit.status is Status.IN_TRANSIT]
        lost = _lost(cur, moving, at)
        if lost:
            units = [unit._replace(lost=True) if unit.code in lost else unit for unit in units]
        doses = list(starmap(Dose, cur.execute(queries.doses_of_lot, (lot_id,)).fetchall()))
        orders, said = _orders(cur, lot_id, at)
        found = Recall(orders, units, doses, said)
        return LotRecall(found, texts_of(cur, [unit.code for unit in units]))


class _Places:
    """Resolves the place and status of packs inside packs."""

    def __init__(self, nodes: Mapping[int, Sequence[Any]]) -> None:
        self._nodes = nodes
        self._known: dict[int, tuple[Status, str]] = {}

    def units(self, groups: Iterable[Sequence[Any]]) -> list[Unit]:
        """Return the smallest packs in rows of (pack, site, status, codes as big-endian int8)."""
        found: list[Unit] = []
        for parent, site_id, status, packed in groups:
            own, place = _STATUS[status], site_id
            if parent is not None:
                outer, place = self._known.get(parent) or self._of(parent, 1)
                own = _inside(own, outer)
            gone = own is Status.MISSING
            codes = unpack(f">{len(packed) // 8}q", packed)
            found += [Unit(k, place, own, gone) for k in codes]
        return found

    def _of(self, k: int, depth: int) -> tuple[Status, str]:
        node = self._nodes.get(k)
        if node is None or depth > LEVEL_MAX:
            return Status.UNKNOWN, ""
        _, parent, place, status = node
        found = _STATUS[status]
        if parent is not None:
            outer, place = self._known.get(parent) or self._of(parent, depth + 1)
            found = _inside(found, outer)
        self._known[k] = found, place
        return found, place


def _inside(own: Status, outer: Status) -> Status:
    """Return the status of what is inside a pack of another."""
    if outer is Status.USED:
        outer = Status.IN_STOCK  # a pack scanned as an injection: nothing inside was given
    kept = own in ENDED or (own in OWN and outer not in _OVERRIDES)
    return own if kept else outer


def _lost(cur: Cursor, codes: Sequence[int], at: int) -> set[int]:
    if not codes:
        return set()
    found = cur.execute(queries.lost, {"codes": list(codes), "at": at})
    return {row[0] for row in found}


def _orders(cur: Cursor, lot_id: str, at: int) -> tuple[list[Fact], list[Fact]]:
    facts = [read_fact(row) for row in cur.execute(queries.orders_of_lot, (lot_id,))]
    orders = orders_in_force(fact for fact in facts if fact.counts(at))
    asked = {"lot": lot_id, "orders": [fact.fact_id for fact in orders]}
    told = [read_fact(row) for row in cur.execute(queries.acknowledged, asked)]
    return orders, acknowledged(orders, (f for f in told if f.counts(at)))


def recall_at(conn: Connection, lot_id: str, at: int) -> LotRecall:
    """Return the recall of a lot as of a position; NotFound("unknown_lot")."""
    with conn.cursor(row_factory=tuple_row) as cur:
        book, codes = _book(cur, lot_id, at)
        orders, said = _orders(cur, lot_id, at)
        found = recall_of(book, codes, [*orders, *said], _lost(cur, codes, at))
        return LotRecall(found, texts_of(cur, codes))


def balance(conn: Connection, lot_id: str, at: int) -> LotBalance:
    """Return the balance of a lot as of a position; NotFound("unknown_lot")."""
    with conn.cursor(row_factory=tuple_row) as cur:
        book, codes = _book(cur, lot_id, at)
        found = balance_of(book, codes, _lost(cur, codes, at))
        return LotBalance(found, texts_of(cur, found.total.unexplained))


def _book(cur: Cursor, lot_id: str, at: int) -> tuple[Book, list[int]]:
    mentions = read_mentions(cur.execute(custody.facts_of_lot, {"lot": lot_id}))
    book = lot_book(cur, mentions, {lot_id}, at)
    codes = [k for k in book.codes if book.progress(k).lot_id == lot_id]
    if not codes:
        raise NotFound("unknown_lot", lot_id=lot_id)
    return book, codes


def lots_of_number(conn: Connection, number: str) -> list[str]:
    """Return the released lots that have a number; products may share one."""
    with conn.cursor(row_factory=tuple_row) as cur:
        return [row[0] for row in cur.execute(queries.lots_of_number, (number,))]
