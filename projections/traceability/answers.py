"""Questions about custody: the chain of a code, of a lot, and what is where.

Chains are folded when they are asked for, so "as of" is a filter on positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row, tuple_row

from domain.shared.errors import NotFound
from domain.traceability.codes import code_key, key_code, product_of
from domain.traceability.custody import Book, State
from domain.traceability.facts import Fact, Mention, Step
from domain.traceability.hops import Hop, StockLine, hops_of, stock_of
from domain.traceability.states import HOLDABLE, Status
from domain.traceability.steps import LotStep, steps_of
from projections.traceability.rows import (
    ALWAYS,
    Connection,
    Cursor,
    product_by_key,
    read_fact,
    read_mentions,
)
from projections.traceability.views import view
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "traceability_read.sql")


@dataclass(frozen=True, slots=True)
class CodeCustody:
    """The chain of one code. Entries name step, times, places and the code scanned (`via`)."""

    code: str
    product_id: str
    state: State
    parent: str  # the pack it is in now
    chain: list[dict[str, Any]]
    withdrawn: list[dict[str, Any]]  # facts naming the code that were declared wrong
    as_of: int | None


@dataclass(frozen=True, slots=True)
class LotCustody:
    """The chain of a lot, hop by hop, and where it is."""

    lot_id: str
    lot: dict[str, Any] | None  # None: codes name the lot, nobody released it
    hops: list[Hop]
    stock: list[StockLine]
    as_of: int | None


def custody_of_code(conn: Connection, code: str, as_of: int | None = None) -> CodeCustody:
    """Return the chain of a canonical code, as known at a position (None = now).

    NotFound("unknown_code") when no fact names it by then.
    """
    key = code_key(code)
    with conn.cursor(row_factory=tuple_row) as cur:
        mentions = read_mentions(cur.execute(queries.chain_of_code, {"k": key}))
        book = lot_book(cur, mentions, {m.fact.lot_id for m in mentions}, as_of)
        known = [m.fact for m in mentions if m.code == key and _known(m.fact, as_of)]
        if not known:
            raise NotFound("unknown_code", code=code)
        chain, state = book.chain(key), book.state(key)
        named = {e.via for e in chain} | ({state.parent} if state.parent is not None else set())
        names = _texts(cur, named) | {key: code}
        wrong = sorted({f for f in known if not f.counts(as_of)}, key=lambda f: f.order)
        declared = _declared(cur, [f.fact_id for f in wrong])
        uses = book.judged(key)
    return CodeCustody(
        code=code,
        product_id=product_of(code),
        state=state,
        parent="" if state.parent is None else names[state.parent],
        chain=[
            view(e.fact)
            | {"via": names[e.via], "inherited": e.inherited}
            | {"flags": sorted(uses.get(e.fact.fact_id, ()))}
            for e in chain
        ],
        withdrawn=[view(fact) | declared.get(fact.fact_id, {}) for fact in wrong],
        as_of=as_of,
    )


def custody_of_lot(conn: Connection, lot_id: str, as_of: int | None = None) -> LotCustody:
    """Return the hops of a lot and its stock by place; NotFound("unknown_lot")."""
    with conn.cursor(row_factory=tuple_row) as cur:
        mentions = read_mentions(cur.execute(queries.facts_of_lot, {"lot": lot_id}))
        book = lot_book(cur, mentions, {lot_id}, as_of)
    codes = [k for k in book.codes if book.progress(k).lot_id == lot_id]
    released = lot(conn, lot_id, as_of)
    if released is None and not codes:
        raise NotFound("unknown_lot", lot_id=lot_id)
    return LotCustody(lot_id, released, hops_of(book, codes), stock_of(book, codes), as_of)


def steps_of_lot(conn: Connection, lot_id: str, as_of: int | None = None) -> list[LotStep]:
    """Return the steps of a lot by place, folded from its facts; NotFound("unknown_lot")."""
    with conn.cursor(row_factory=tuple_row) as cur:
        mentions = read_mentions(cur.execute(queries.facts_of_lot, {"lot": lot_id}))
        book = lot_book(cur, mentions, {lot_id}, as_of)
    codes = [k for k in book.codes if book.progress(k).lot_id == lot_id]
    if not codes and lot(conn, lot_id, as_of) is None:
        raise NotFound("unknown_lot", lot_id=lot_id)
    return steps_of(book, lot_id, codes)


def stock(
    conn: Connection,
    site_ids: Sequence[str] | None = None,
    as_of: int | None = None,
    *,
    unit_id: str | None = None,
) -> list[StockLine]:
    """Return stock by place, lot and status, of some places or of all (None).

    Goods on their way stand at the place they go to. `unit_id`: what is in that unit now.
    """
    sites = None if site_ids is None else list(site_ids)
    with conn.cursor(row_factory=tuple_row) as cur:
        if as_of is None:
            rows = cur.execute(queries.stock_now, {"sites": sites, "unit": unit_id}).fetchall()
            return _stock_lines(rows, lot_book(cur, [], None, None))
        mentions = read_mentions(cur.execute(queries.facts_at_sites, {"sites": sites}))
        book = lot_book(cur, mentions, None, as_of)
    lines = stock_of(book, book.codes)
    return [line for line in lines if sites is None or line.site_id in sites]


def _stock_lines(rows: Iterable[Sequence[Any]], holds: Book) -> list[StockLine]:
    lines: dict[tuple[str, str, str], StockLine] = {}
    for site_id, lot_id, status, held, level, count in rows:
        is_held = (held or holds.lot_hold(lot_id)[0]) and status in HOLDABLE
        key = (site_id, lot_id, Status.HELD.value if is_held else status)
        lines.setdefault(key, StockLine(*key)).add(level, count)
    return [lines[key].sorted() for key in sorted(lines)]


def lot(conn: Connection, lot_id: str, as_of: int | None = None) -> dict[str, Any] | None:
    """Return a released lot, None when there is none (by then)."""
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(queries.lot, {"lot": lot_id, "as_of": as_of}).fetchone()


def lot_holds(conn: Connection, lot_id: str) -> list[Fact]:
    """Return the holds of a whole lot that are in force."""
    with conn.cursor(row_factory=tuple_row) as cur:
        found = cur.execute(queries.lot_facts, {"lots": [lot_id]})
        facts = [fact for row in found if (fact := read_fact(row)).counts(None)]
    placed: list[Fact] = []
    for fact in sorted(facts, key=lambda fact: fact.order):
        placed = [] if fact.step is Step.RELEASING else [*placed, fact]
    return placed


def lot_named(conn: Connection, lot_id: str) -> bool:
    """Tell whether a lot was released or any code was ever said to be of it."""
    with conn.cursor(row_factory=tuple_row) as cur:
        return bool(cur.execute(queries.lot_named, {"lot": lot_id}).fetchall()[0][0])


def earlier_lot(conn: Connection, site_id: str, codes: Sequence[str], today: date) -> str:
    """Return a lot in stock at a site that expires before that of these codes; "" = there is none.

    `today`: what has expired by then is no choice.
    """
    with conn.cursor(row_factory=tuple_row) as cur:
        params = {"codes": list(map(code_key, codes)), "site": site_id, "today": today}
        row = cur.execute(queries.earlier_lot, params).fetchone()
    return "" if row is None else str(row[0])


def lots(
    conn: Connection, *, product_id: str | None = None, after: str = "", limit: int = 100
) -> list[dict[str, Any]]:
    """Return released lots by id, those after one."""
    with conn.cursor(row_factory=dict_row) as cur:
        params = {"product": product_id, "after": after, "limit": limit}
        return cur.execute(queries.lots, params).fetchall()


def products(conn: Connection, *, after: str = "", limit: int = 100) -> list[dict[str, Any]]:
    """Return registered products by id, those after one."""
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(queries.products, {"after": after, "limit": limit}).fetchall()


def lot_codes(
    conn: Connection, lot_id: str, *, after: str = "", limit: int = 100
) -> list[tuple[str, int]]:
    """Return codes of a lot with their pack level, in the order of their keys, after a code."""
    key = code_key(after) if after else -ALWAYS - 1
    with conn.cursor(row_factory=tuple_row) as cur:
        params = {"lot": lot_id, "after": key, "limit": limit}
        rows = cur.execute(queries.lot_codes, params).fetchall()
    return [(text or key_code(k) or "", level) for k, text, level in rows]


def lot_book(
    cur: Cursor, mentions: Sequence[Mention], lot_ids: set[str] | None, as_of: int | None
) -> Book:
    """Return the facts as a book, with the holds of these lots (None = all lots)."""
    named = None if lot_ids is None else list(lot_ids)
    found = cur.execute(queries.lot_facts, {"lots": named})
    holds = [read_fact(row) for row in found]
    vials = cur.execute(queries.read_vials, {"as_of": as_of}).fetchall()
    product = product_by_key(vials, _texts(cur, {m.code for m in mentions}))
    found = cur.execute(queries.expiries, {"lots": named, "as_of": as_of})
    expires_on: dict[str, date] = dict(found.fetchall())
    return Book(mentions, facts=holds, product=product, expires_on=expires_on, as_of=as_of)


def _texts(cur: Cursor, keys: Iterable[int]) -> dict[int, str]:
    plain = {k: key_code(k) for k in keys}
    texts = {k: code for k, code in plain.items() if code is not None}
    hashed = [k for k, code in plain.items() if code is None]
    if hashed:
        texts.update(cur.execute(queries.read_code_texts, (hashed,)).fetchall())
    return texts


def _known(fact: Fact, as_of: int | None) -> bool:
    return as_of is None or fact.position <= as_of


def _declared(cur: Cursor, fact_ids: list[str]) -> dict[str, dict[str, Any]]:
    rows = cur.execute(queries.withdrawals, (fact_ids,)).fetchall() if fact_ids else []
    names = ("declared_at", "withdrawal_reason", "corrective_fact_ids")
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}
