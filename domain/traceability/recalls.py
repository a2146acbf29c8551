"""Recall: where every unit of a lot is, who was given it, and who has acknowledged.

Who was given a dose before the recall is no fault: the list is there so that they can be told.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from domain.traceability.custody import Book
from domain.traceability.facts import Fact, Step
from domain.traceability.progress import FREE
from domain.traceability.states import ENDED, ON_THE_WAY, Status


class Unit(NamedTuple):
    """A smallest pack: where it is, or was last; `lost`: it did not arrive with the rest."""

    code: int
    site_id: str
    status: Status
    lost: bool = False


class Dose(NamedTuple):
    """A dose that was given; `recipient` is a pseudonym."""

    code: int
    site_id: str
    t_ms: int
    recipient: str
    fact_id: str


@dataclass(frozen=True, slots=True)
class Recall:
    """`orders`: the recalls in force; `acknowledged`: what holders said of them, oldest first.

    `bound`: what a recall of single codes is about, by its fact id; all others are about all units.
    """

    orders: list[Fact]
    units: list[Unit]
    doses: list[Dose]
    acknowledged: list[Fact]
    bound: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def on_hand(self, order: Fact) -> list[Unit]:
        """Return the units that a recall is about and that are not used up."""
        codes = self.bound.get(order.fact_id)
        left = (unit for unit in self.units if unit.status not in ENDED)
        return [unit for unit in left if codes is None or unit.code in codes]

    def holders(self, order: Fact) -> list[str]:
        """Return the sites that have, or await, such units, ascending."""
        return sorted({unit.site_id for unit in self.on_hand(order)} - {""})

    def is_after(self, dose: Dose) -> bool:
        """Tell whether a dose was given of what was recalled already."""
        return any(
            dose.t_ms >= order.t_ms and dose.code in self.bound.get(order.fact_id, (dose.code,))
            for order in self.orders
        )

    def outstanding(self, order: Fact) -> list[str]:
        """Return the holders that have not acknowledged a recall, ascending."""
        told = {fact.site_id for fact in self.acknowledged if _answers(fact, order)}
        return [site_id for site_id in self.holders(order) if site_id not in told]


def binding(facts: Iterable[Fact]) -> list[Fact]:
    """Return the holds, recalls and condemnations of a lot that no release ended, oldest first."""
    found: list[Fact] = []
    hold = FREE
    for fact in sorted((f for f in facts if f.step >= Step.HOLDING), key=lambda f: f.order):
        hold = hold.after(fact)
        if fact.step is not Step.RELEASING:
            found.append(fact)
        elif hold == FREE:
            found = []
    return found


def orders_in_force(facts: Iterable[Fact]) -> list[Fact]:
    """Return the recalls of a lot that no release ended, oldest first."""
    return [fact for fact in binding(facts) if fact.recall]


def acknowledged(orders: Iterable[Fact], facts: Iterable[Fact]) -> list[Fact]:
    """Return the facts that acknowledge one of these recalls of a lot, oldest first."""
    of = list(orders)
    found = [f for f in facts if any(_answers(f, order) for order in of)]
    return sorted(found, key=lambda f: f.order)


def _answers(fact: Fact, order: Fact) -> bool:
    """Tell whether a fact acknowledges a recall: by its id, or else of the lot and not before."""
    if fact.step is not Step.ACKNOWLEDGING:
        return False
    if recall_id := fact.more.get("recall_id"):
        return bool(recall_id == order.fact_id)
    return fact.lot_id == order.lot_id != "" and fact.t_ms >= order.t_ms


def recalled_codes(book: Book, codes: Iterable[int]) -> dict[str, tuple[Fact, frozenset[int]]]:
    """Return the recalls in force that name codes, or packs they are in, and the codes of each."""
    orders: dict[str, Fact] = {}
    named: dict[str, set[int]] = {}
    for code in codes:
        for fact_id, fact in book.recalls(code).items():
            orders[fact_id] = fact
            named.setdefault(fact_id, set()).add(code)
    return {fact_id: (fact, frozenset(named[fact_id])) for fact_id, fact in orders.items()}


def recall_of(
    book: Book, codes: Collection[int], lot_facts: Iterable[Fact], lost: Container[int] = ()
) -> Recall:
    """Return the recall of a lot: `codes` are all of it, `lot_facts` what was said of the lot.

    Asked of a lot that is not recalled, it tells the same with no order. `lost`: codes that were
    sent and did not arrive with the rest.
    """
    facts = list({f.fact_id: f for f in lot_facts}.values())
    units: list[Unit] = []
    doses: list[Dose] = []
    for code in codes:
        if book.levels[code] != 1:
            continue
        stands = book.standing(code)
        units.append(Unit(code, stands.site_id, stands.status, is_lost(stands.status, code, lost)))
        doses += [
            Dose(code, m.fact.site_id, m.fact.t_ms, m.fact.recipient, m.fact.fact_id)
            for m in book.mentions(code)
            if m.fact.step is Step.DISPENSING
        ]
    of_codes = recalled_codes(book, codes)
    orders = [*orders_in_force(facts), *(fact for fact, _ in of_codes.values())]
    return Recall(
        orders=sorted(orders, key=lambda fact: fact.order),
        units=sorted(units),
        doses=sorted(doses, key=_given),
        acknowledged=acknowledged(orders, facts),
        bound={fact_id: named for fact_id, (_, named) in of_codes.items()},
    )


def is_lost(status: Status, code: int, lost: Container[int]) -> bool:
    """Tell whether a unit is lost: missed where it was, or not arrived with the rest."""
    return status is Status.MISSING or (status in ON_THE_WAY and code in lost)


def _given(dose: Dose) -> tuple[int, int, str]:
    return dose.t_ms, dose.code, dose.fact_id
