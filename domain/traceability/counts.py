"""Counts by number and corrections of the books: which of them nothing explains.

A count tells how many packs of a lot, or of all lots of a product, are in a place, and how many
there should be by the book. A difference stands open until adjustments, losses and finds told of
that time or later make it up, or until it is counted again. An adjustment that makes up for a count
is explained by it; any other stands by itself.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from domain.traceability.exceptions import Finding
from domain.traceability.facts import Fact, Order, Step
from domain.traceability.kinds import Kind

# Steps that tell of numbers, and those that tell of codes whose number explains a difference.
BY_NUMBER = frozenset({Step.CYCLE_COUNTING, Step.ADJUSTING})
BY_CODE = {Step.LOSING: -1, Step.FINDING: 1}


class Told(NamedTuple):
    """A fact about a lot, or a product, at one site.

    `units`: packs of its codes, 0 = no codes; of a count, by how many more is due than it says.
    """

    fact: Fact
    scope: str  # lot id, or product id where a count is of all its lots
    units: int = 0

    @property
    def key(self) -> tuple[Order, str]:
        """Return where it stands among all."""
        return self.fact.order, self.scope


class _Open(NamedTuple):
    told: Told
    left: int


def scope_of(fact: Fact) -> str:
    """Return what a count or an adjustment is about: a lot, a product, or "" for neither."""
    return fact.lot_id or str(fact.more.get("product_id", ""))


def difference(fact: Fact) -> int:
    """Return by how many packs a count found more than there should be, or an adjustment adds.

    Of a count the smallest packs that it tells of, of whatever level.
    """
    if fact.step is Step.ADJUSTING:
        return fact.units or 0
    lines, level = fact.more.get("quantities", ()), lowest_level(fact)
    return sum(line["actual"] - line["due"] for line in lines if line["level"] == level)


def lowest_level(fact: Fact) -> int:
    """Return the level of the smallest packs that a count tells of, 0 where it tells of none."""
    return min((line["level"] for line in fact.more.get("quantities", ())), default=0)


def concerns_book(adjustment: Fact, count: Fact) -> bool:
    """Tell whether an adjustment corrects the book of its site that a count is held against."""
    here = count.unit_id in {"", adjustment.unit_id}
    lot_id, scope = adjustment.lot_id, scope_of(count)
    return here and lot_id != "" and scope in {lot_id, lot_id.partition(".")[0]}


def of_count(fact: Fact) -> Finding:
    """Return that a count or an adjustment stands by itself."""
    return Finding(
        Kind.MASS_IMBALANCE, fact.fact_id, None, fact.order, fact.site_id, (fact.fact_id,)
    )


class Tally:
    """What nothing explains of the facts put in so far, all of one site.

    Facts may come in any order, and be taken out again; those that come as they happened cost no
    more than the counts that are open.
    """

    def __init__(self) -> None:
        self._keys: list[tuple[Order, str]] = []
        self._told: list[Told] = []
        self._after: list[_State] = []  # after each of them, as far as that is worked out

    def put(self, told: Told) -> None:
        """Take a fact into account."""
        at = bisect_left(self._keys, told.key)
        self._keys.insert(at, told.key)
        self._told.insert(at, told)
        del self._after[at:]

    def drop(self, told: Told) -> None:
        """Leave a fact out that was put in."""
        at = bisect_left(self._keys, told.key)
        del self._keys[at], self._told[at], self._after[at:]

    def unexplained(self) -> frozenset[str]:
        """Return the ids of the counts and adjustments that nothing explains."""
        state = self._after[-1] if self._after else _State((), frozenset())
        for told in self._told[len(self._after) :]:
            state = state.then(told)
            self._after.append(state)
        return state.alone.union(count.told.fact.fact_id for count in state.counts)


class _State(NamedTuple):
    """Counts that are open, in order, and the adjustments that made up for none."""

    counts: tuple[_Open, ...]
    alone: frozenset[str]

    def then(self, told: Told) -> _State:
        """Return what is open after one more fact."""
        fact, counts = told.fact, self.counts
        if fact.step is Step.CYCLE_COUNTING:
            left = difference(fact) - told.units
            kept = tuple(c for c in counts if not _same(c.told, told))
            return _State((*kept, _Open(told, left)) if left else kept, self.alone)
        units = BY_CODE.get(fact.step, 0) * told.units or difference(fact)
        open_, met = _made_up(counts, told, units)
        alone = fact.step is Step.ADJUSTING and units and not met
        return _State(open_, self.alone | {fact.fact_id} if alone else self.alone)


def _same(count: Told, later: Told) -> bool:
    return (count.scope, count.fact.unit_id) == (later.scope, later.fact.unit_id)


def _made_up(counts: tuple[_Open, ...], by: Told, units: int) -> tuple[tuple[_Open, ...], bool]:
    """Take packs off the newest difference that they explain at least in part; tell whether any."""
    for n in reversed(range(len(counts))):
        count, left = counts[n]
        if _concerns(by, count) and units * left > 0 and abs(units) <= abs(left):
            rest = (_Open(count, left - units),) if left != units else ()
            return (*counts[:n], *rest, *counts[n + 1 :]), True
    return counts, False


def _concerns(by: Told, count: Told) -> bool:
    """Tell whether a fact may explain a count: of its lot; a correction, of its unit as well."""
    here = by.fact.step is not Step.ADJUSTING or count.fact.unit_id in {"", by.fact.unit_id}
    return here and count.scope in {by.scope, by.scope.partition(".")[0]}
