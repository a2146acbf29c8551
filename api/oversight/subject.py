"""What is asked about: a lot, a code, or places in a time; its facts as known at a position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from psycopg.rows import dict_row, tuple_row

from api.oversight.rows import Connection, queries
from domain.shared.errors import Invalid, NotFound
from domain.traceability.codes import code_key, product_of
from domain.traceability.custody import Book
from domain.traceability.facts import Fact, Mention
from domain.traceability.progress import Entry
from projections.traceability.answers import lot_book
from projections.traceability.answers import queries as custody
from projections.traceability.cases import texts_of
from projections.traceability.rows import read_fact, read_mentions

# Scans in a time at places: beyond it, ask for less; an answer is made within seconds.
SCANS_MAX = 20_000
# Every time is before it, and after its negative, ms.
EVER_MS = 2**62


@dataclass(frozen=True, slots=True)
class Span:
    """Places (None = everywhere) in a time, ms since 1970: `since_ms` <= t < `until_ms`."""

    site_ids: frozenset[str] | None
    since_ms: int
    until_ms: int

    def holds(self, fact: Fact) -> bool:
        """Tell whether a fact happened there then, or sent something there."""
        if not self.since_ms <= fact.t_ms < self.until_ms:
            return False
        ends = {fact.site_id, fact.to_site_id}
        return self.site_ids is None or not self.site_ids.isdisjoint(ends)


class Asked(NamedTuple):
    """What is asked about: lot | code | place | period | unit | bill, and which."""

    name: str
    key: str


class Told(NamedTuple):
    """The facts of codes, folded and as they are, and the codes asked about."""

    book: Book
    codes: Sequence[int]
    mentions: Sequence[Mention]


@dataclass(frozen=True)
class Subject:
    """The facts of the codes asked about, of their packs and lots, as known at `at`.

    `lots` and `products`: what is registered of them, by id;
    `lot_facts`: holds, recalls and releases of whole lots; `told`: every mention, those declared
    wrong too.
    """

    name: str
    key: str
    at: int
    book: Book
    codes: Sequence[int]
    texts: Mapping[int, str]
    lots: Mapping[str, dict[str, Any]]
    products: Mapping[str, dict[str, Any]]
    told: Sequence[Mention]
    lot_facts: Sequence[Fact] = ()
    span: Span | None = None
    only: Sequence[str] = ()  # of places: of these lots alone, where any are named

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """Yield what happened to the codes where and when it is asked about."""
        for code in self.codes:
            for entry in self.book.chain(code):
                if self.wants(entry.fact):
                    yield code, entry

    def wants(self, fact: Fact) -> bool:
        """Tell whether a fact is asked about."""
        return self.span is None or self.span.holds(fact)

    @cached_property
    def facts(self) -> dict[str, Fact]:
        """Return the facts asked about by id, in their order."""
        found = {entry.fact.fact_id: entry.fact for _, entry in self.entries()}
        return dict(sorted(found.items(), key=lambda item: item[1].order))

    @cached_property
    def wrong(self) -> list[Fact]:
        """Return the facts asked about that were declared wrong by then, in their order."""
        found = {
            m.fact.position: m.fact
            for m in self.told
            if m.fact.position <= self.at and not m.fact.counts(self.at) and self.wants(m.fact)
        }
        return sorted(found.values(), key=lambda fact: fact.order)


def of_lot(conn: Connection, lot_id: str, at: int) -> Subject:
    """Return a lot; NotFound("unknown_lot")."""
    mentions = _mentions(conn, custody.facts_of_lot, {"lot": lot_id})
    book = _book(conn, mentions, {lot_id}, at)
    codes = [k for k in book.codes if book.progress(k).lot_id == lot_id]
    found = _subject(conn, Asked("lot", lot_id), at, Told(book, codes, mentions))
    if not codes and lot_id not in found.lots:
        raise NotFound("unknown_lot", lot_id=lot_id)
    return found


def of_code(conn: Connection, code: str, at: int) -> Subject:
    """Return a canonical code; NotFound("unknown_code")."""
    key = code_key(code)
    mentions = _mentions(conn, custody.chain_of_code, {"k": key})
    if not any(m.code == key and m.fact.position <= at for m in mentions):
        raise NotFound("unknown_code", code=code)
    book = _book(conn, mentions, {m.fact.lot_id for m in mentions}, at)
    return _subject(conn, Asked("code", code), at, Told(book, [key], mentions))


def of_span(
    conn: Connection, asked_for: Asked, at: int, span: Span, only: Sequence[str] = ()
) -> Subject:
    """Return what was scanned at places in a time, of these lots alone where any are named.

    Invalid("report_too_large") beyond SCANS_MAX scans.
    """
    asked = {
        "sites": None if span.site_ids is None else sorted(span.site_ids),
        "since": span.since_ms,
        "until": span.until_ms,
        "limit": SCANS_MAX + 1,
    }
    ((count,),) = conn.execute(queries.count_scans, asked).fetchall()
    if count > SCANS_MAX:
        raise Invalid("report_too_large", field="since", max=SCANS_MAX)
    mentions = _mentions(conn, queries.facts_of_period, asked)
    book = _book(conn, mentions, None, at)
    codes = [
        k
        for k in book.codes
        if (not only or book.progress(k).lot_id in only)
        and any(span.holds(e.fact) for e in book.chain(k))
    ]
    found = _subject(conn, asked_for, at, Told(book, codes, mentions))
    return replace(found, span=span, only=only)


def of_places(conn: Connection, asked_for: Asked, at: int, span: Span) -> Subject:
    """Return places without what was scanned there: for what is there, and what is wrong there."""
    found = _subject(conn, asked_for, at, Told(_book(conn, [], set(), at), [], []))
    return replace(found, span=span)


def of_unit(conn: Connection, unit_id: str, at: int, until_ms: int) -> Subject:
    """Return all that ever came into a cold unit, or left in a vehicle, before a time."""
    mentions = _mentions(conn, queries.facts_of_unit, {"unit": unit_id, "until": until_ms})
    book = _book(conn, mentions, None, at)
    return _subject(conn, Asked("unit", unit_id), at, Told(book, book.codes, mentions))


def of_bill(conn: Connection, bill_no: str, at: int) -> Subject:
    """Return what was ever on a bill, whoever sent it; NotFound("unknown_bill")."""
    mentions = _mentions(conn, queries.facts_of_bill, {"bill": bill_no})
    if not any(m.fact.bill_no == bill_no and m.fact.position <= at for m in mentions):
        raise NotFound("unknown_bill", bill_no=bill_no)
    book = _book(conn, mentions, None, at)
    return _subject(conn, Asked("bill", bill_no), at, Told(book, book.codes, mentions))


def _mentions(conn: Connection, query: Any, asked: Mapping[str, Any]) -> list[Mention]:
    with conn.cursor(row_factory=tuple_row) as cur:
        return read_mentions(cur.execute(query, asked))


def _book(conn: Connection, mentions: Sequence[Mention], lot_ids: set[str] | None, at: int) -> Book:
    with conn.cursor(row_factory=tuple_row) as cur:
        return lot_book(cur, mentions, lot_ids, at)


def _subject(conn: Connection, asked: Asked, at: int, told: Told) -> Subject:
    book, codes, mentions = told
    lot_ids = {book.progress(code).lot_id for code in codes} - {""}
    lot_ids |= {asked.key} if asked.name == "lot" else set()
    with conn.cursor(row_factory=tuple_row) as cur:
        texts = texts_of(cur, {m.code for m in mentions} | set(codes))
        held = cur.execute(custody.lot_facts, {"lots": sorted(lot_ids)})
        facts = [fact for row in held if (fact := read_fact(row)).counts(at)]
    with conn.cursor(row_factory=dict_row) as cur:
        known = {"ids": sorted(lot_ids), "as_of": at}
        registered = {row["lot_id"]: row for row in cur.execute(queries.lots_of, known)}
        product_ids = {product_of(texts[code]) for code in codes}
        product_ids |= {row["product_id"] for row in registered.values()}
        known = {"ids": sorted(product_ids), "as_of": at}
        products = {row["product_id"]: row for row in cur.execute(queries.products, known)}
    return Subject(
        name=asked.name,
        key=asked.key,
        at=at,
        book=book,
        codes=codes,
        texts=texts,
        lots=registered,
        products=products,
        told=mentions,
        lot_facts=sorted(facts, key=lambda fact: fact.order),
    )
