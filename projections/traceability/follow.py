"""Tables of custody kept by the follower: facts, stays in packs, the present of each code.

Facts are kept as they came, one narrow row a code and one wide row a scan. `contain` and `node`
are derived: they are computed anew, from all facts, for the codes a batch touches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, NamedTuple

from domain.shared.errors import Conflict
from domain.traceability.codes import code_key, key_code
from domain.traceability.custody import Book, passes_down
from domain.traceability.events import FactWithdrawn, LotReleased, ProductRegistered
from domain.traceability.facts import (
    BEGINNING,
    STEP_OF,
    Fact,
    FactEvent,
    Mention,
    Step,
    fact_of,
    mentions_of,
    texts_of,
)
from domain.traceability.states import OWN
from projections.projection import Projection
from projections.traceability import exceptions, sums
from projections.traceability.rows import (
    ALWAYS,
    Cursor,
    product_by_key,
    queries,
    read_mentions,
    scan_row,
)
from projections.traceability.sums import Kept
from store.envelope import Meta, Recorded


def apply(cur: Cursor, batch: Sequence[Recorded]) -> None:
    """Take products, lots, facts and withdrawals into the tables.

    Conflict("code_key_collision") when two GS1 codes have one key (never seen; the event is set
    aside with this error rather than mixing two packs).
    """
    late = [k for r in batch for k in _keep_master(cur, r)]
    facts, lots = _keep_facts(cur, batch)
    gone, withdrawn = _keep_withdrawals(cur, batch, [fact.fact_id for fact, _ in facts])
    touched = {mention.code for _, mentions in facts for mention in mentions}
    touched.update(late, (k for k, _, _ in withdrawn))
    if touched:
        touched |= _left_packs(cur, facts, withdrawn)
        # What the batch told is at hand; only what was told before is read again.
        first = ALWAYS if withdrawn else batch[0].position
        told = () if withdrawn else [m for _, mentions in facts for m in mentions]
        found = _refresh(cur, touched, first, told, lots)
        _keep_sums(cur, facts, batch[0].position, found, withdrawn)
    book = found.book if touched else None
    exceptions.keep(cur, batch, exceptions.Taken(facts, touched, book, gone))


PROJECTION = Projection(
    "traceability",
    7,
    (
        ProductRegistered.TOPIC,
        LotReleased.TOPIC,
        FactWithdrawn.TOPIC,
        *sorted(cls.TOPIC for cls in STEP_OF),
        *exceptions.TOPICS,
    ),
    apply,
    f"{queries.ddl};\n{exceptions.DDL}",
)


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


def _keep_facts(cur: Cursor, batch: Sequence[Recorded]) -> tuple[list[Kept], dict[int, str]]:
    """Store facts not yet known by their id (the first holds).

    Return them with their codes, and the lots that the codes were kept under.
    """
    found: dict[str, tuple[Fact, FactEvent]] = {}
    for recorded in batch:
        event = recorded.envelope.event
        if type(event) in STEP_OF:
            fact = _fact(event, recorded.envelope.meta, recorded.position)  # type: ignore[arg-type]  # a key of STEP_OF
            found.setdefault(fact.fact_id, (fact, event))  # type: ignore[arg-type]  # as above
    if not found:
        return [], {}
    for row in cur.execute(queries.known_facts, (list(found),)):
        del found[row[0]]
    _keep_code_texts(cur, [text for _, event in found.values() for text in texts_of(event)])
    kept = [(fact, mentions_of(event, fact)) for fact, event in found.values()]
    lots = _known_lots(cur, kept)
    with cur.copy(queries.copy_scan) as copy:
        for fact, _ in kept:
            copy.write_row(scan_row(fact))
    with cur.copy(queries.copy_fact) as copy:
        for fact, mentions in kept:
            for m in mentions:
                narrow = (m.code, fact.t_ms, fact.position, m.parent, m.as_parent)
                own = fact.step is Step.COMMISSIONING
                lot_id = fact.lot_id if own else lots.get(m.code, "")
                copy.write_row((*narrow, fact.step, fact.site_id, lot_id))
    return kept, lots


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


def _known_lots(cur: Cursor, kept: Sequence[Kept]) -> dict[int, str]:
    codes = list({m.code for _, mentions in kept for m in mentions})
    if not codes:
        return {}
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
) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Mark facts declared wrong; return their positions, and (code, time, position) they named."""
    declared = []
    for recorded in batch:
        event = recorded.envelope.event
        if isinstance(event, FactWithdrawn):
            declared.append(event.fact_id)
            told = (event.of_site, event.reason, event.declared_at)
            row = (event.fact_id, recorded.position, *told, list(event.corrective_fact_ids))
            cur.execute(queries.keep_withdrawal, row)
    rows = cur.execute(queries.withdraw, ([*new_facts, *declared],)).fetchall()
    marked = [row[0] for row in rows]
    return marked, cur.execute(queries.codes_at, (marked,)).fetchall() if marked else []


def _left_packs(
    cur: Cursor, facts: Sequence[Kept], withdrawn: Sequence[tuple[int, int, int]]
) -> set[int]:
    seeds = [(k, t_ms, True) for k, t_ms, _ in withdrawn]
    for fact, mentions in facts:
        named = (m for m in mentions if passes_down(m) or fact.all_contents)
        seeds += [(m.code, fact.t_ms, fact.all_contents) for m in named]
    if not seeds:
        return set()
    columns = [list(column) for column in zip(*seeds, strict=True)]
    return {row[0] for row in cur.execute(queries.left_packs, columns)}


class _Refreshed(NamedTuple):
    """What came out anew: the lot of each code touched, and what the sums have to count again."""

    lots: dict[int, str]
    new: set[int]
    moved: set[int]  # to another lot
    resettled: set[int]  # in other packs, or at other times
    hops: set[sums.Hop]
    book: Book


def _refresh(
    cur: Cursor, touched: set[int], first: int, told: Sequence[Mention], lots: dict[int, str]
) -> _Refreshed:
    """Compute anew what is derived of the codes: `told` are the facts from position `first` on."""
    codes = sorted(touched)
    earlier = cur.execute(queries.mentions_upwards, {"codes": codes, "first": first})
    mentions = [*read_mentions(earlier), *told]
    hashed = [k for k in codes if key_code(k) is None]
    texts = dict(cur.execute(queries.code_texts, (hashed,)).fetchall()) if hashed else {}
    product = product_by_key(cur.execute(queries.vials).fetchall(), texts)
    book = Book(mentions, product=product)
    resettled, packs = _keep_stays(cur, book, codes)
    new, moved, relevelled = _keep_nodes(cur, book, codes)
    found = {k: book.progress(k).lot_id for k in codes}
    other = [k for k in (*new, *moved) if k in moved or lots.get(k, "") != found[k]]
    hops = sums.relot(cur, other, [found[k] for k in other])
    undeclared = (k for k in new if book.progress(k).level is None)
    _keep_levels(cur, packs.union(relevelled, undeclared))
    return _Refreshed(found, new, moved, resettled, hops, book)


def _keep_sums(
    cur: Cursor,
    facts: Sequence[Kept],
    first: int,
    found: _Refreshed,
    withdrawn: Sequence[tuple[int, int, int]],
) -> None:
    stale = found.hops
    if withdrawn:
        positions = list({position for *_, position in withdrawn})
        stale.update(cur.execute(queries.hops_at, (positions,)).fetchall())
    sums.keep_hops(cur, facts, found.lots, _seen(facts, found, first), stale)
    gone = {k for k, *_ in withdrawn}
    sums.keep_doses(cur, facts, found.lots, found.moved | gone)
    other = found.new | found.moved
    inside = cur.execute(queries.contents_of, (list(other),)).fetchall() if other else ()
    sums.keep_mixed(cur, found.moved.union(found.resettled, (row[0] for row in inside)))


def _seen(facts: Sequence[Kept], found: _Refreshed, first: int) -> Iterator[sums.CodeHop]:
    """Yield the hops that the codes of a batch were in before."""
    for k in {m.code for _, mentions in facts for m in mentions} - found.new:
        for mention in found.book.mentions(k):
            fact = mention.fact
            if fact.position < first:
                lot_id = fact.lot_id if fact.step is Step.COMMISSIONING else found.lots[k]
                yield k, lot_id, int(fact.step), fact.site_id


def _keep_stays(cur: Cursor, book: Book, codes: Sequence[int]) -> tuple[set[int], set[int]]:
    """Replace the stays that differ; return whose, and the packs whose contents changed."""
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
        return set(), set()
    gone = [k for k in changed if k in old]
    if gone:
        cur.execute(queries.forget_stays, (gone,))
    with cur.copy(queries.copy_contain) as copy:
        for k in changed:
            for stay in new[k]:
                copy.write_row(stay)
    packs = {stay[1] for k in changed for stay in [*old.get(k, []), *new[k]]}
    return set(changed), packs


def _end(end: tuple[int, int, str] | None) -> int:
    return ALWAYS if end is None else end[0]


def _keep_nodes(
    cur: Cursor, book: Book, codes: Sequence[int]
) -> tuple[set[int], set[int], set[int]]:
    """Replace the nodes that differ.

    Return those that are new, those of another lot now, and those of another level as commissioned
    (which keep the level they had: what changes it changes the packs they are in, too).
    """
    old = {row[0]: row for row in cur.execute(queries.nodes, (codes,))}
    changed = []
    for k in codes:
        level = old[k][2] if k in old else book.progress(k).level or 1
        row = _node(book, k, level)
        if row != old.get(k):
            changed.append(row)
    gone = [row[0] for row in changed if row[0] in old]
    if gone:
        cur.execute(queries.forget_nodes, (gone,))
    with cur.copy(queries.copy_node) as copy:
        for row in changed:
            copy.write_row(row)
    again = [(row, old[row[0]]) for row in changed if row[0] in old]
    moved = {row[0] for row, before in again if row[1] != before[1]}
    relevelled = {row[0] for row, before in again if row[3] != before[3]}
    return set(codes) - old.keys(), moved, relevelled


def _node(book: Book, k: int, level: int) -> tuple[Any, ...]:
    own, stay = book.progress(k), book.inside(k)
    status = own.status.value if stay is None or own.status in OWN else None
    place = (own.site_id, own.unit_id) if stay is None else ("", "")
    return (
        k,
        own.lot_id,
        level,
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
