"""Counts by number beside the book: how many packs should be in a place, and which counts stand."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from domain.traceability.counts import BY_CODE, Tally, Told, difference, scope_of
from domain.traceability.custody import Book
from domain.traceability.exceptions import smallest
from domain.traceability.facts import Fact
from domain.traceability.states import Status
from projections.traceability import answers
from projections.traceability.rows import Connection, Cursor, read_fact
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "traceability_beside.sql")

NEVER = 2**62
# What stands where it is counted.
THERE = frozenset({Status.COMMISSIONED, Status.IN_STOCK, Status.HELD, Status.OPENED})


def on_hand(conn: Connection, site_id: str, unit_id: str, scope: str) -> Counter[int]:
    """Return how many packs of each level of a lot, or of all lots of a product, should be there.

    By the codes, and by what the books were corrected by; `unit_id` "": at the whole site.
    """
    found = Counter[int]()
    for line in answers.stock(conn, [site_id], unit_id=unit_id or None):
        if line.status in THERE and scope in {line.lot_id, line.lot_id.partition(".")[0]}:
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


def any_told(cur: Cursor) -> bool:
    """Tell whether there are counts or adjustments at all."""
    return bool(cur.execute(queries.any_stocktaking).fetchall()[0][0])


def in_doubt(cur: Cursor, positions: Collection[int], codes: Collection[int]) -> set[str]:
    """Return the stocktakings, as subjects, in which a batch may change what is explained.

    `positions`: of its facts that tell of numbers or of codes missed and found, of counts by which
    what is due has moved, and of what it took back; `codes`: those that it tells more of.
    """
    asked = {"positions": list(positions), "codes": list(codes)}
    sites = [row[0] for row in cur.execute(queries.missed_and_found, asked)]
    told = cur.execute(queries.stocktakings_at, asked).fetchall()
    return {_subject(*row) for row in told} | (every(cur, sites) if sites else set())


def every(cur: Cursor, sites: Collection[str] | None = None) -> set[str]:
    """Return all stocktakings at some sites (None: at any), as subjects."""
    asked = {"sites": None if sites is None else list(sites)}
    return {_subject(*row) for row in cur.execute(queries.stocktakings, asked)}


def _subject(site_id: str, product_id: str) -> str:
    return f"s:{site_id}/{product_id}"


class Stocktaking:
    """What is told of numbers of one product at one site, looked at position after position.

    `moved_at`: positions from which on more or less is due of a count, with when they were
    recorded (ms).
    """

    def __init__(self) -> None:
        self.moved_at: dict[int, int] = {}
        self._numbers: dict[str, Fact] = {}  # by fact id
        self._differs = False
        self._coded: list[tuple[Fact, list[int]]] = []
        self._changes: list[_Change] = []
        self._tally = Tally()
        self._of_codes: dict[str, list[Told]] = defaultdict(list)  # those put in, by fact id

    def take(self, fact: Fact, codes: list[int], moved: Sequence[tuple[int, int]] = ()) -> None:
        """Take a fact; facts come as they happened.

        `moved`: of a count, since which positions how many more are due than it says. Codes missed
        or found before any number differed explain nothing, and are left out.
        """
        if fact.step in BY_CODE:
            if self._differs:
                self._coded.append((fact, codes))
            return
        self._numbers[fact.fact_id] = fact
        self._differs |= bool(moved or difference(fact))
        gone = NEVER if fact.withdrawn_position is None else fact.withdrawn_position
        units, since = [0, *(n for _, n in moved)], [fact.position, *(at for at, _ in moved), gone]
        for n, at in enumerate(since[:-1]):
            until = min(since[n + 1], gone)
            if at < until:
                told = Told(fact, scope_of(fact), units[n])
                self._changes += [_Change(at, False, told), _Change(until, True, told)]

    def begin(self) -> None:
        """Look from the first position on."""
        self._changes.sort(key=lambda change: (-change.position, change.gone))

    @property
    def facts(self) -> list[Fact]:
        """Return the facts that tell of numbers or explain them."""
        return [*self._numbers.values(), *(fact for fact, _ in self._coded)]

    @property
    def codes(self) -> set[int]:
        """Return the codes missed and found."""
        return {code for _, codes in self._coded for code in codes}

    def unexplained(self, book: Book, at: int) -> list[Fact]:
        """Return the counts and adjustments that nothing known at a position explains.

        To be asked in the order of positions. `book`: of the codes, as known then.
        """
        while self._changes and self._changes[-1].position <= at:
            _, gone, told = self._changes.pop()
            (self._tally.drop if gone else self._tally.put)(told)
        for fact, codes in self._coded:
            self._tell_codes(fact, _of_lots(fact, codes, book) if fact.counts(at) else [])
        return [self._numbers[fact_id] for fact_id in self._tally.unexplained()]

    def _tell_codes(self, fact: Fact, now: list[Told]) -> None:
        before = self._of_codes[fact.fact_id]
        if now != before:
            for told in before:
                self._tally.drop(told)
            for told in now:
                self._tally.put(told)
            self._of_codes[fact.fact_id] = now


class _Change(NamedTuple):
    """A fact is told, or `gone`: declared wrong."""

    position: int
    gone: bool
    told: Told


def read(cur: Cursor, subjects: Iterable[str]) -> dict[str, Stocktaking]:
    """Return the stocktakings among some subjects, by these."""
    found = {subject: Stocktaking() for subject in subjects if subject[0] == "s"}
    if not found:
        return {}
    names = [subject[2:].partition("/") for subject in found]
    asked = {"sites": [name[0] for name in names], "products": [name[2] for name in names]}
    at_site: dict[str, list[Stocktaking]] = defaultdict(list)
    for (site_id, _, _), each in zip(names, found.values(), strict=True):
        at_site[site_id].append(each)
    moved: dict[int, list[tuple[int, int]]] = defaultdict(list)
    times: dict[int, int] = {}
    for position, since, units, recorded_ms in cur.execute(queries.recounts, asked):
        moved[position].append((since, units))
        times[since] = recorded_ms
    for product_id, codes, *row in cur.execute(queries.stocktaking, asked):
        fact = read_fact(row)
        subject = _subject(fact.site_id, product_id)
        one = [found[subject]] if subject in found else []
        for each in at_site[fact.site_id] if fact.step in BY_CODE else one:
            each.take(fact, codes, moved[fact.position])
            each.moved_at.update((since, times[since]) for since, _ in moved[fact.position])
    for each in found.values():
        each.begin()
    return found


def _of_lots(fact: Fact, codes: Iterable[int], book: Book) -> list[Told]:
    """Return a fact about codes once a lot, with the number of its smallest packs."""
    inside = {k for code in codes for k in smallest(book, code, fact.order)}
    units = Counter(book.progress(k).lot_id for k in inside)
    return [Told(fact, lot_id, count) for lot_id, count in units.items()]
