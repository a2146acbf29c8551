"""Counts by number and corrections of the books: which of them nothing explains.

A count tells how many packs of a lot, or of all lots of a product, are in a place, and how many
there should be by the book. A difference stands open until adjustments, losses and finds told of
that time or later make it up, or until it is counted again. An adjustment that makes up for a count
is explained by it; any other stands by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from domain.traceability.facts import Fact, Step

# Steps that tell of numbers, and those that tell of codes whose number explains a difference.
BY_NUMBER = frozenset({Step.CYCLE_COUNTING, Step.ADJUSTING})
BY_CODE = {Step.LOSING: -1, Step.FINDING: 1}


class Told(NamedTuple):
    """A fact about a lot, or a product, at one site; `units`: packs of its codes, 0 = no codes."""

    fact: Fact
    scope: str  # lot id, or product id where a count is of all its lots
    units: int = 0


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
    lines = fact.more.get("quantities", ())
    level = min((line["level"] for line in lines), default=0)
    return sum(line["actual"] - line["due"] for line in lines if line["level"] == level)


def unexplained(told: Iterable[Told]) -> set[str]:
    """Return the ids of the counts and adjustments at one site that nothing explains."""
    counts: list[_Open] = []
    found: set[str] = set()
    for each in sorted(told, key=lambda t: (t.fact.order, t.scope)):
        fact = each.fact
        if fact.step is Step.CYCLE_COUNTING:
            counts = [c for c in counts if not _same(c.told, each)]
            counts += [_Open(each, left)] if (left := difference(fact)) else []
        else:
            units = BY_CODE.get(fact.step, 0) * each.units or difference(fact)
            counts, met = _made_up(counts, each, units)
            if fact.step is Step.ADJUSTING and units and not met:
                found.add(fact.fact_id)
    return found | {c.told.fact.fact_id for c in counts}


def _same(count: Told, later: Told) -> bool:
    return (count.scope, count.fact.unit_id) == (later.scope, later.fact.unit_id)


def _made_up(counts: list[_Open], by: Told, units: int) -> tuple[list[_Open], bool]:
    """Take packs off the newest difference that they explain at least in part; tell whether any."""
    for n in reversed(range(len(counts))):
        count, left = counts[n]
        if _concerns(by, count) and units * left > 0 and abs(units) <= abs(left):
            rest = [_Open(count, left - units)] if left != units else []
            return [*counts[:n], *rest, *counts[n + 1 :]], True
    return counts, False


def _concerns(by: Told, count: Told) -> bool:
    """Tell whether a fact may explain a count: of its lot; a correction, of its unit as well."""
    here = by.fact.step is not Step.ADJUSTING or count.fact.unit_id in {"", by.fact.unit_id}
    return here and count.scope in {by.scope, by.scope.partition(".")[0]}
