"""Stays in packs and the present of codes, derived anew from all facts about them.

For codes that the book has to tell of; ordinary lives are stored by lane.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from domain.traceability.codes import key_code
from domain.traceability.custody import Book
from domain.traceability.facts import BEGINNING
from domain.traceability.states import OWN
from projections.traceability import sums
from projections.traceability.lane import Stored
from projections.traceability.rows import (
    ALWAYS,
    Cursor,
    keys,
    product_by_key,
    queries,
    read_mentions,
)


class Refreshed(NamedTuple):
    """What came out anew: the lot of each code read in the book, and what the sums count again.

    `new` and `resettled`: of ordinary lives, too. `book`: None where no code needed it.
    """

    lots: dict[int, str]
    new: set[int]
    moved: set[int]  # to another lot
    resettled: set[int]  # in other packs, or at other times
    hops: set[sums.Hop]
    book: Book | None


def read_book(cur: Cursor, codes: Collection[int]) -> Book:
    """Return the book of codes, and of all that ever held them, as of now."""
    asked = {"codes": keys(codes), "first": ALWAYS}
    mentions = read_mentions(cur.execute(queries.mentions_upwards, asked))
    hashed = [k for k in codes if key_code(k) is None]
    texts = dict(cur.execute(queries.code_texts, (hashed,)).fetchall()) if hashed else {}
    product = product_by_key(cur.execute(queries.vials).fetchall(), texts)
    return Book(mentions, product=product)


def refresh(
    cur: Cursor, careful: Collection[int], lots: Mapping[int, str | None], ordinary: Stored
) -> Refreshed:
    """Compute anew, from all their facts, what is derived of codes.

    `lots`: those that their facts are stored under, None where that is not known.
    """
    if not careful:
        return Refreshed({}, ordinary.new, set(), ordinary.resettled, set(), None)
    codes = sorted(careful)
    book = read_book(cur, codes)
    resettled, packs = _keep_stays(cur, book, codes)
    new, moved, relevelled = _keep_nodes(cur, book, codes)
    found = {k: book.progress(k).lot_id for k in codes}
    other = [k for k in (*new, *moved) if k in moved or lots.get(k, "") != found[k]]
    hops = sums.relot(cur, other, [found[k] for k in other])
    undeclared = (k for k in new if book.progress(k).level is None)
    _keep_levels(cur, packs.union(relevelled, undeclared))
    new, resettled = new | ordinary.new, resettled | ordinary.resettled
    return Refreshed(found, new, moved, resettled, hops, book)


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
