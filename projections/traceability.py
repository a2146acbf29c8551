"""Read model of custody: facts about codes, stays in packs, the present of each code, and answers.

Facts are kept as they came, one narrow row a code and one wide row a scan; chains are folded when
they are asked for (domain/traceability/custody.py), so "as of" is a filter on positions. `contain`
and `node` are derived: they are computed anew, from all facts, for the codes a batch touches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row, tuple_row

from domain.shared.errors import Conflict, NotFound
from domain.traceability.codes import code_key, key_code, product_of
from domain.traceability.custody import Book, Product, State, passes_down
from domain.traceability.events import FactWithdrawn, LotReleased, ProductRegistered
from domain.traceability.facts import (
    BEGINNING,
    FIELDS,
    STEP_OF,
    Fact,
    FactEvent,
    Mention,
    Step,
    fact_of,
    mentions_of,
    texts_of,
)
from domain.traceability.hops import Hop, StockLine, hops_of, stock_of
from domain.traceability.progress import HOLDABLE, OWN, Status
from projections.projection import Projection
from store.envelope import Meta, Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "traceability.sql")

ALWAYS = 2**63 - 1  # t1 of a stay that has not ended

Cursor = psycopg.Cursor[Any]
Connection = psycopg.Connection[Any]


def apply(cur: Cursor, batch: Sequence[Recorded]) -> None:
    """Take products, lots, facts and withdrawals into the tables.

    Conflict("code_key_collision") when two GS1 codes have one key (never seen; the event is set
    aside with this error rather than mixing two packs).
    """
    late = [k for r in batch for k in _keep_master(cur, r)]
    facts = _keep_facts(cur, batch)
    withdrawn = _keep_withdrawals(cur, batch, [fact.fact_id for fact, _ in facts])
    touched = {mention.code for _, mentions in facts for mention in mentions}
    touched.update(late, (k for k, _ in withdrawn))
    if touched:
        touched |= _left_packs(cur, facts, withdrawn)
        _refresh(cur, touched)


PROJECTION = Projection(
    "traceability",
    2,
    (
        ProductRegistered.TOPIC,
        LotReleased.TOPIC,
        FactWithdrawn.TOPIC,
        *sorted(cls.TOPIC for cls in STEP_OF),
    ),
    apply,
    queries.ddl,
)

_Kept = tuple[Fact, list[Mention]]


def _keep_master(cur: Cursor, recorded: Recorded) -> list[int]:
    """Keep a product or lot; return codes that were dosed before their product was known."""
    event, position = recorded.envelope.event, recorded.position
    if isinstance(event, LotReleased):
        cur.execute(queries.keep_lot, (*_values(event), position))
    if not isinstance(event, ProductRegistered):
        return []
    cur.execute(queries.keep_product, (*_values(event), position))
    product = event.product_id
    low = code_key(product.ljust(20, "0")) if len(product) == 7 else 0
    high = code_key(product.ljust(20, "9")) if len(product) == 7 else -1
    params = {"low": low, "high": high, "gtin": f"(01){product}("}
    return [row[0] for row in cur.execute(queries.dosed_nodes, params)]


def _values(event: ProductRegistered | LotReleased) -> list[Any]:
    return [getattr(event, f.name) for f in fields(event)]


def _keep_facts(cur: Cursor, batch: Sequence[Recorded]) -> list[_Kept]:
    """Store facts not yet known by their id (the first holds); return them with their codes."""
    found: dict[str, tuple[Fact, FactEvent]] = {}
    for recorded in batch:
        event = recorded.envelope.event
        if type(event) in STEP_OF:
            fact = _fact(event, recorded.envelope.meta, recorded.position)  # type: ignore[arg-type]  # a key of STEP_OF
            found.setdefault(fact.fact_id, (fact, event))  # type: ignore[arg-type]  # as above
    for row in cur.execute(queries.known_facts, (list(found),)):
        del found[row[0]]
    _keep_code_texts(cur, [text for _, event in found.values() for text in texts_of(event)])
    kept = [(fact, mentions_of(event, fact)) for fact, event in found.values()]
    lots = _known_lots(cur, kept)
    with cur.copy(queries.copy_scan) as copy:
        for fact, _ in kept:
            copy.write_row([getattr(fact, name) for name in FIELDS])
    with cur.copy(queries.copy_fact) as copy:
        for fact, mentions in kept:
            for m in mentions:
                narrow = (m.code, fact.t_ms, fact.position, m.parent, m.as_parent)
                own = fact.step is Step.COMMISSIONING
                lot_id = fact.lot_id if own else lots.get(m.code, "")
                copy.write_row((*narrow, fact.step, fact.site_id, lot_id))
    return kept


def _fact(event: FactEvent, meta: Meta, position: int) -> Fact:
    return fact_of(
        event,
        t_ms=_ms(meta.occurred_at),
        recorded_ms=_ms(meta.recorded_at),
        position=position,
    )


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _keep_code_texts(cur: Cursor, codes: Iterable[str]) -> None:
    texts = {key: code for code in codes if key_code(key := code_key(code)) is None}
    if not texts:
        return
    cur.execute(queries.keep_code_texts, (list(texts), list(texts.values())))
    for key, code in cur.execute(queries.code_texts, (list(texts),)):
        if texts[key] != code:
            raise Conflict("code_key_collision", codes=[code, texts[key]])


def _known_lots(cur: Cursor, kept: Sequence[_Kept]) -> dict[int, str]:
    codes = list({m.code for _, mentions in kept for m in mentions})
    lots = {
        m.code: fact.lot_id
        for fact, mentions in kept
        for m in mentions
        if fact.step is Step.COMMISSIONING
    }
    known = {row[0]: row[1] for row in cur.execute(queries.nodes, (codes,))}
    return lots | known


def _keep_withdrawals(
    cur: Cursor, batch: Sequence[Recorded], new_facts: Sequence[str]
) -> list[tuple[int, int]]:
    """Mark facts declared wrong; return (code, time) of what they named."""
    declared = []
    for recorded in batch:
        event = recorded.envelope.event
        if isinstance(event, FactWithdrawn):
            declared.append(event.fact_id)
            told = (event.of_site, event.reason, event.declared_at)
            row = (event.fact_id, recorded.position, *told, list(event.corrective_fact_ids))
            cur.execute(queries.keep_withdrawal, row)
    marked = cur.execute(queries.withdraw, ([*new_facts, *declared],)).fetchall()
    if not marked:
        return []
    return cur.execute(queries.codes_at, ([row[0] for row in marked],)).fetchall()


def _left_packs(
    cur: Cursor, facts: Sequence[_Kept], withdrawn: Sequence[tuple[int, int]]
) -> set[int]:
    seeds = [(k, t_ms, True) for k, t_ms in withdrawn]
    for fact, mentions in facts:
        named = (m for m in mentions if passes_down(m) or fact.all_contents)
        seeds += [(m.code, fact.t_ms, fact.all_contents) for m in named]
    columns = [list(column) for column in zip(*seeds, strict=True)] or [[], [], []]
    return {row[0] for row in cur.execute(queries.left_packs, columns)}


def _refresh(cur: Cursor, touched: set[int]) -> None:
    codes = sorted(touched)
    mentions = _mentions(cur.execute(queries.mentions_upwards, (codes,)))
    texts = dict(cur.execute(queries.code_texts, (codes,)).fetchall())
    product = _product(cur.execute(queries.vials).fetchall(), texts)
    book = Book(mentions, product=product)
    parents = _keep_stays(cur, book, codes)
    new = _keep_nodes(cur, book, codes)
    _keep_levels(cur, parents | new)


def _mentions(cur: Cursor) -> list[Mention]:
    """Read rows of (k, parent, as_parent, scan.*); one Fact for all codes of a scan."""
    names = [column.name for column in cur.description or ()][3:]
    facts: dict[int, Fact] = {}
    place = 3 + names.index("position")
    mentions = []
    for row in cur:
        fact = facts.get(row[place])
        if fact is None:
            fact = facts[row[place]] = _stored(names, row[3:])
        mentions.append(Mention(row[0], row[1], row[2], fact))
    return mentions


def _stored(names: Sequence[str], values: Sequence[Any]) -> Fact:
    particulars = dict(zip(names, values, strict=True))
    return Fact(**particulars | {"step": Step(particulars["step"])})


def _product(rows: Iterable[Sequence[Any]], texts: dict[int, str]) -> Callable[[int], Product]:
    by_id = {row[0]: Product(*row[1:]) for row in rows}
    unknown = Product()

    def product(k: int) -> Product:
        code = key_code(k) or texts.get(k)
        return by_id.get(product_of(code), unknown) if code else unknown

    return product


def _keep_stays(cur: Cursor, book: Book, codes: Sequence[int]) -> set[int]:
    """Replace the stays that differ; return the packs whose contents changed."""
    old: dict[int, list[tuple[int, ...]]] = {}
    for row in cur.execute(queries.stays, (codes,)):
        old.setdefault(row[0], []).append(row)
    new = {
        k: [
            (k, s.parent, s.start[0] if s.start != BEGINNING else -ALWAYS - 1, _end(s.end))
            for s in book.stays(k)
        ]
        for k in codes
    }
    changed = [k for k in codes if sorted(old.get(k, [])) != sorted(new[k])]
    if not changed:
        return set()
    cur.execute(queries.forget_stays, (changed,))
    with cur.copy(queries.copy_contain) as copy:
        for k in changed:
            for stay in new[k]:
                copy.write_row(stay)
    return {stay[1] for k in changed for stay in [*old.get(k, []), *new[k]]}


def _end(end: tuple[int, int, str] | None) -> int:
    return ALWAYS if end is None else end[0]


def _keep_nodes(cur: Cursor, book: Book, codes: Sequence[int]) -> set[int]:
    """Replace the nodes that differ; return those that were not there."""
    old = {row[0]: row for row in cur.execute(queries.nodes, (codes,))}
    changed = []
    for k in codes:
        level = old[k][2] if k in old else 1
        row = _node(book, k, level)
        if row != old.get(k):
            changed.append(row)
    cur.execute(queries.forget_nodes, ([row[0] for row in changed],))
    moved = [row for row in changed if row[0] not in old or row[1] != old[row[0]][1]]
    cur.execute(queries.relot, ([row[0] for row in moved], [row[1] for row in moved]))
    with cur.copy(queries.copy_node) as copy:
        for row in changed:
            copy.write_row(row)
    return set(codes) - old.keys()


def _node(book: Book, k: int, level: int) -> tuple[Any, ...]:
    own, stay = book.progress(k), book.inside(k)
    status = own.status.value if stay is None or own.status in OWN else None
    place = (own.site_id, own.unit_id) if stay is None else ("", "")
    return (
        k,
        own.lot_id,
        own.level or level,
        own.level,
        stay.parent if stay else None,
        *place,
        status,
        bool(own.holds),
        any(own.holds.values()),
        own.doses_given,
        own.doses_wasted,
        own.since_ms,
        sorted(flag.value for flag in own.flags),
    )


def _keep_levels(cur: Cursor, packs: set[int]) -> None:
    """Work out levels upwards until nothing changes."""
    while packs:
        changed = [row[0] for row in cur.execute(queries.relevel, (list(packs),))]
        packs = {row[0] for row in cur.execute(queries.parents_of, (changed,))}


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
        mentions = _mentions(cur.execute(queries.chain_of_code, {"k": key}))
        book = _book(cur, mentions, {m.fact.lot_id for m in mentions}, as_of)
        known = [m.fact for m in mentions if m.code == key and _known(m.fact, as_of)]
        if not known:
            raise NotFound("unknown_code", code=code)
        chain, state = book.chain(key), book.state(key)
        named = {e.via for e in chain} | ({state.parent} if state.parent is not None else set())
        names = _texts(cur, named) | {key: code}
        wrong = sorted({f for f in known if not f.counts(as_of)}, key=lambda f: f.order)
        declared = _declared(cur, [f.fact_id for f in wrong])
        uses = book.uses(key)
    return CodeCustody(
        code=code,
        product_id=product_of(code),
        state=state,
        parent="" if state.parent is None else names[state.parent],
        chain=[
            _view(e.fact)
            | {"via": names[e.via], "inherited": e.inherited}
            | {"flags": sorted(uses.get(e.fact.fact_id, ()))}
            for e in chain
        ],
        withdrawn=[_view(fact) | declared.get(fact.fact_id, {}) for fact in wrong],
        as_of=as_of,
    )


def custody_of_lot(conn: Connection, lot_id: str, as_of: int | None = None) -> LotCustody:
    """Return the hops of a lot and its stock by place; NotFound("unknown_lot")."""
    with conn.cursor(row_factory=tuple_row) as cur:
        mentions = _mentions(cur.execute(queries.facts_of_lot, {"lot": lot_id}))
        book = _book(cur, mentions, {lot_id}, as_of)
    codes = [k for k in book.codes if book.progress(k).lot_id == lot_id]
    released = lot(conn, lot_id, as_of)
    if released is None and not codes:
        raise NotFound("unknown_lot", lot_id=lot_id)
    return LotCustody(lot_id, released, hops_of(book, codes), stock_of(book, codes), as_of)


def stock(
    conn: Connection, site_ids: Sequence[str] | None = None, as_of: int | None = None
) -> list[StockLine]:
    """Return stock by place, lot and status, of some places or of all (None).

    Goods on their way stand at the place they go to.
    """
    sites = None if site_ids is None else list(site_ids)
    with conn.cursor(row_factory=tuple_row) as cur:
        if as_of is None:
            rows = cur.execute(queries.stock_now, {"sites": sites}).fetchall()
            return _stock_lines(rows, _book(cur, [], None, None))
        mentions = _mentions(cur.execute(queries.facts_at_sites, {"sites": sites}))
        book = _book(cur, mentions, None, as_of)
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
        names = [column.name for column in found.description or ()]
        facts = [fact for row in found if (fact := _stored(names, row)).counts(None)]
    placed: list[Fact] = []
    for fact in sorted(facts, key=lambda fact: fact.order):
        placed = [*placed, fact] if fact.step is Step.HOLDING else []
    return placed


def lot_named(conn: Connection, lot_id: str) -> bool:
    """Tell whether a lot was released or any code was ever said to be of it."""
    with conn.cursor(row_factory=tuple_row) as cur:
        return bool(cur.execute(queries.lot_named, {"lot": lot_id}).fetchall()[0][0])


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


def _book(
    cur: Cursor, mentions: Sequence[Mention], lot_ids: set[str] | None, as_of: int | None
) -> Book:
    """Return the facts as a book, with the holds of these lots (None = all lots)."""
    named = None if lot_ids is None else list(lot_ids)
    found = cur.execute(queries.lot_facts, {"lots": named})
    names = [column.name for column in found.description or ()]
    holds = [_stored(names, row) for row in found]
    vials = cur.execute(queries.read_vials, {"as_of": as_of}).fetchall()
    product = _product(vials, _texts(cur, {m.code for m in mentions}))
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


# Times are given as times, the step by its name, the rest only where it says something.
_RENAMED = {"step", "t_ms", "recorded_ms", "withdrawn_position", "all_contents", "recall"}


def _view(fact: Fact) -> dict[str, Any]:
    found: dict[str, Any] = {
        "step": fact.step.name.lower(),
        "occurred_at": datetime.fromtimestamp(fact.t_ms / 1000, UTC),
        "recorded_at": datetime.fromtimestamp(fact.recorded_ms / 1000, UTC),
    }
    for name in FIELDS:
        value = getattr(fact, name)
        if name not in _RENAMED and value is not None and value != "":
            found[name] = value
    return found
