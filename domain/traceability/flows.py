"""How a unit came to places and went from them, and what nothing on record explains of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from domain.traceability.custody import Book
from domain.traceability.exceptions import AT_A_DESK, SENDING, Finding
from domain.traceability.facts import Fact, Step
from domain.traceability.kinds import Kind
from domain.traceability.states import ON_THE_WAY, Status

_COMING = {Step.COMMISSIONING: "commissioned", Step.RECEIVING: "received"}


@dataclass(slots=True)
class Flows:
    """The ways of one unit.

    `moves`: (place, commissioned | received | dispatched), each as often as it was; `rest`: how
    often it is at each place by them; `untold`: by place, the facts between which it came or went
    there without a word; `last`: what was told last there; `at`: where it is on record, empty while
    it is on its way.
    """

    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    rest: Counter[str] = field(default_factory=Counter)
    untold: dict[str, list[Fact]] = field(default_factory=lambda: defaultdict(list))
    last: dict[str, Fact] = field(default_factory=dict)
    at: str = ""


def flows_of(book: Book, code: int) -> Flows:
    """Return how a unit came and went, by its chain."""
    found = Flows()
    last: Fact | None = None
    missing = False
    for entry in book.chain(code):
        fact = entry.fact
        missing = missing or fact.step is Step.LOSING
        if fact.step in AT_A_DESK:
            continue
        turned_up = fact.step is Step.FINDING and missing and not found.at
        missing = False
        if found.at != fact.site_id:
            _move(found, fact, last, "received" if turned_up else _COMING.get(fact.step, ""))
        if fact.step in SENDING:
            found.moves[fact.site_id, "dispatched"] += 1
            found.rest[fact.site_id] -= 1
            found.at = ""
        last = found.last[fact.site_id] = fact
    return found


def _move(found: Flows, fact: Fact, last: Fact | None, column: str) -> None:
    """Take a unit to the place of a fact."""
    told = [fact] if last is None else [last, fact]
    if column:
        found.moves[fact.site_id, column] += 1
        found.rest[fact.site_id] += 1
    else:
        found.untold[fact.site_id] += told
    if found.at:
        found.untold[found.at] += told
    found.at = fact.site_id


def told_in_turn(book: Book, code: int, first: int) -> bool:
    """Tell whether every way of a code is on record, and was before the next from `first` on."""
    last = 0
    for entry in book.chain(code):
        position = entry.fact.position
        if position < last and last >= first:
            return False
        last = position
    return not flows_of(book, code).untold


def of_balance(book: Book, codes: Iterable[int]) -> list[Finding]:
    """Return the smallest packs among codes that the balance of their lot and place leaves open.

    A case is a lot at a place; its evidence are the facts between which a unit came or went without
    a word.
    """
    return [
        finding
        for code in codes
        if book.levels.get(code) == 1
        for finding in _unexplained(book, code)
    ]


def _unexplained(book: Book, code: int) -> Iterator[Finding]:
    found = flows_of(book, code)
    state = book.standing(code)
    lost = state.status is Status.MISSING and not found.at
    if state.status not in ON_THE_WAY and not lost:
        found.rest[state.site_id] -= 1
    for site_id, count in found.rest.items():
        if count and site_id in found.last:
            told = found.untold.get(site_id) or [found.last[site_id]]
            ids = tuple(dict.fromkeys(fact.fact_id for fact in told))
            key = f"{state.lot_id}@{site_id}"
            yield Finding(Kind.UNEXPLAINED_UNIT, key, code, told[0].order, site_id, ids)
