"""Counts whose number due is not what the book said when they were told.

What should be there is what the facts of the place tell of the time of the count, whenever they
are told. Where the book was read off before some of them, or after later ones, what is due moves:
by how many packs is kept, from the position on that tells it. Of goods the facts at the place of
the count are held against it; of what is told elsewhere the exceptions of single codes tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from domain.traceability.counts import concerns_book, lowest_level, scope_of
from domain.traceability.custody import Book, Product
from domain.traceability.facts import Fact, Mention, Order, Step
from domain.traceability.progress import Progress
from projections.traceability.findings import queries as codes
from projections.traceability.rows import Cursor, read_fact, read_mentions
from projections.traceability.stocktaking import THERE, queries

_STEPS = [step.value for step in Step if step < Step.ACKNOWLEDGING]
# Counts read at once.
_PART = 500


def keep(cur: Cursor, first: int, gone: Collection[int]) -> list[int]:
    """Keep by how many packs what is due moves, by what is told from position `first` on.

    `gone`: positions of what was declared wrong. Return the positions of the counts it moves for.
    """
    asked = {"first": first, "gone": list(gone)}
    found: dict[int, set[int]] = defaultdict(set)
    for position, at in cur.execute(queries.recounted, asked):
        found[position].add(at)
    rows: list[tuple[int, int, int]] = []
    positions = sorted(found)
    for n in range(0, len(positions), _PART):
        rows += _moved(cur, {p: found[p] for p in positions[n : n + _PART]})
    if rows:
        cur.executemany(queries.put_recount, rows)
    return [row[0] for row in rows]


def _moved(cur: Cursor, found: Mapping[int, Collection[int]]) -> Iterable[tuple[int, int, int]]:
    """Yield count, position and units, where these are others than before."""
    asked = (list(found),)
    counts = [read_fact(row) for row in cur.execute(queries.scans_at, asked)]
    before = dict(cur.execute(queries.recounted_by, asked).fetchall())
    sites = [*{fact.site_id for fact in counts}]
    adjusted: dict[str, list[Fact]] = defaultdict(list)
    for row in cur.execute(queries.adjustments, (sites,)):
        adjustment = read_fact(row)
        adjusted[adjustment.site_id].append(adjustment)
    gone: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for site_id, *told in cur.execute(queries.taken_back, (sites,)):
        gone[site_id].append((told[0], told[1], told[2]))
    for fact in counts:
        book = fact.more.get("book_position")
        if book is None:  # some text of it alone says so
            continue
        count = _Count(fact, book, scope_of(fact))
        late = _late(cur, count, gone[fact.site_id])
        corrections = [a for a in adjusted[fact.site_id] if concerns_book(a, fact)]
        read = _Read(cur, count, late, corrections)
        units = before.get(fact.position, 0)
        for at in sorted(found[fact.position]):
            if (now := read.moved(at)) != units:
                units = now
                yield fact.position, at, units


class _Count(NamedTuple):
    """A count with the position of the book that its number due was read off."""

    fact: Fact
    book: int
    scope: str


def _late(cur: Cursor, count: _Count, gone: Iterable[tuple[int, int, int]]) -> dict[int, int]:
    """Return codes of which the book knew something else, with the position since which."""
    fact = count.fact
    asked = {
        "site": fact.site_id,
        "scope": count.scope,
        "steps": _STEPS,
        "t_ms": fact.t_ms,
        "book": count.book,
    }
    found: dict[int, int] = {}
    told = [(k, max(at, fact.position)) for k, at in cur.execute(queries.late_of_count, asked)]
    told += [(k, max(back, fact.position)) for k, at, back in gone if at <= count.book < back]
    for k, at in told:
        found[k] = min(at, found.get(k, at))
    return found


class _Read:
    """What is known of the codes of a count at any position."""

    def __init__(
        self, cur: Cursor, count: _Count, late: Mapping[int, int], adjusted: Sequence[Fact]
    ) -> None:
        self._count, self._late, self._adjusted = count, late, adjusted
        self._mentions: list[Mention] = []
        self._product: tuple[int, int] | None = None
        if late:
            self._mentions = read_mentions(cur.execute(codes.family, (list(late),)))
            product = (count.scope.partition(".")[0],)
            self._product = cur.execute(queries.doses_known, product).fetchone()

    def moved(self, at: int) -> int:
        """Return by how many packs more is due than the book said, as known at a position."""
        fact, book = self._count.fact, self._count.book
        level = lowest_level(fact)
        units = sum(
            (a.units or 0) * ((a.order < fact.order and a.counts(at)) - a.counts(book))
            for a in self._adjusted
            if level == 1
        )
        told = [k for k, since in self._late.items() if since <= at]
        if told:
            now, then = self._known(at), self._known(book)
            for k in _with_contents(now, told):
                if now.levels.get(k, 1) == level:
                    units += self._there(now, k, fact.order) - self._there(then, k, None)
        return units

    def _known(self, at: int) -> Book:
        doses = Product(self._doses(at))
        return Book(self._mentions, product=lambda _: doses, as_of=at)

    def _doses(self, at: int) -> int | None:
        known = self._product
        return known[0] if known is not None and known[1] <= at else None

    def _there(self, book: Book, code: int, until: Order | None) -> bool:
        fact, scope = self._count.fact, self._count.scope
        lot_id = book.progress(code).lot_id
        if scope not in {lot_id, lot_id.partition(".")[0]}:
            return False
        progress = Progress(self._doses(self._count.book))
        for entry in book.chain(code):
            if until is None or entry.order < until:
                progress.take(entry)
        here = progress.site_id == fact.site_id and fact.unit_id in {"", progress.unit_id}
        return here and progress.status in THERE


def _with_contents(book: Book, told: Iterable[int]) -> set[int]:
    found = set(told)
    waiting = list(found)
    while waiting:
        inside = book.contents.get(waiting.pop(), set()) - found
        found |= inside
        waiting += inside
    return found
