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
    is_lost,
    orders_in_force,
    recall_of,
    recalled_codes,
)
from domain.traceability.states import ON_THE_WAY, Status, shown, status_inside
from projections.traceability.answers import lot_book
from projections.traceability.answers import queries as custody
from projections.traceability.cases import texts_of
from projections.traceability.findings import queries
from projections.traceability.rows import (
    ALWAYS,
    Connection,
    Cursor,
    read_fact,
    read_mentions,
)

_STATUS: dict[str | None, Status] = {None: Status.UNKNOWN} | {s.value: s for s in Status}


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


def recall_now(conn: Connection, lot_id: str, at: int = ALWAYS) -> LotRecall:
    """Return the recall of a lot as the read model stands; NotFound("unknown_lot").

    Folded as of `at` where the tables tell of later than that, or single codes are recalled.
    """
    with conn.cursor(binary=True, row_factory=tuple_row) as cur:
        groups = cur.execute(queries.units_of_lot, (lot_id,)).fetchall()
        packs = {row[0]: row for row in cur.execute(queries.packs_of_lot, (lot_id,)).fetchall()}
        if not groups and not packs:
            raise NotFound("unknown_lot", lot_id=lot_id)
        strange = {row[0] for row in groups} | {row[1] for row in packs.values()}
        strange -= packs.keys() | {None}
        above = cur.execute(queries.nodes_above, (list(strange),)).fetchall() if strange else []
        named = {"lot": lot_id, "packs": [row[0] for row in above], "at": at}
        ((apart,),) = cur.execute(queries.recalled_apart, named).fetchall()
        if apart:
            return recall_at(conn, lot_id, at)
        facts = _lot_facts(cur, lot_id, at)
        held = Book((), facts=facts).lot_hold(lot_id).held
        units = _Places(packs | {row[0]: row for row in above}, held=held).units(groups)
        lost = _lost(cur, [unit.code for unit in units if unit.status in ON_THE_WAY], at)
        if lost:
            units = [unit._replace(lost=is_lost(unit.status, unit.code, lost)) for unit in units]
        orders = orders_in_force(facts)
        found = Recall(
            orders=orders,
            units=units,
            doses=list(starmap(Dose, cur.execute(queries.doses_of_lot, (lot_id,)).fetchall())),
            acknowledged=acknowledged(orders, _acknowledging(cur, lot_id, orders, at)),
        )
        return LotRecall(found, texts_of(cur, [unit.code for unit in units]))


class _Places:
    """Resolves place, status and hold of packs inside packs; `held`: all of them are."""

    def __init__(self, nodes: Mapping[int, Sequence[Any]], *, held: bool) -> None:
        self._nodes, self._held = nodes, held
        self._known: dict[int, tuple[Status, str, bool]] = {}

    def units(self, groups: Iterable[Sequence[Any]]) -> list[Unit]:
        """Return the smallest packs in rows of (pack, site, status, held, codes as int8s)."""
        found: list[Unit] = []
        for parent, site_id, status, held, packed in groups:
            own, place, bound = _STATUS[status], site_id, held or self._held
            if parent is not None:
                outer, place, above = self._known.get(parent) or self._of(parent, 1)
                own, bound = status_inside(own, outer), bound or above
            own = shown(own, held=bound)
            gone = own is Status.MISSING
            codes = unpack(f">{len(packed) // 8}q", packed)
            found += [Unit(k, place, own, gone) for k in codes]
        return found

    def _of(self, k: int, depth: int) -> tuple[Status, str, bool]:
        node = self._nodes.get(k)
        if node is None or depth > LEVEL_MAX:
            return Status.UNKNOWN, "", False
        _, parent, place, status, held = node
        found = _STATUS[status]
        if parent is not None:
            outer, place, above = self._known.get(parent) or self._of(parent, depth + 1)
            found, held = status_inside(found, outer), held or above
        self._known[k] = found, place, held
        return found, place, held


def _lost(cur: Cursor, codes: Sequence[int], at: int) -> set[int]:
    if not codes:
        return set()
    found = cur.execute(queries.lost, {"codes": list(codes), "at": at})
    return {row[0] for row in found}


def _lot_facts(cur: Cursor, lot_id: str, at: int) -> list[Fact]:
    facts = map(read_fact, cur.execute(queries.orders_of_lot, (lot_id,)))
    return [fact for fact in facts if fact.counts(at)]


def _acknowledging(cur: Cursor, lot_id: str, orders: Iterable[Fact], at: int) -> list[Fact]:
    asked = {"lot": lot_id, "orders": [fact.fact_id for fact in orders]}
    facts = map(read_fact, cur.execute(queries.acknowledged, asked))
    return [fact for fact in facts if fact.counts(at)]


def recall_at(conn: Connection, lot_id: str, at: int) -> LotRecall:
    """Return the recall of a lot as of a position; NotFound("unknown_lot")."""
    with conn.cursor(row_factory=tuple_row) as cur:
        book, codes = _book(cur, lot_id, at)
        facts = _lot_facts(cur, lot_id, at)
        of_codes = [fact for fact, _ in recalled_codes(book, codes).values()]
        said = _acknowledging(cur, lot_id, [*orders_in_force(facts), *of_codes], at)
        found = recall_of(book, codes, [*facts, *said], _lost(cur, codes, at))
        return LotRecall(found, texts_of(cur, [unit.code for unit in found.units]))


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
