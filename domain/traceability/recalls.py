"""Recall: where every unit of a lot is, who was given it, and who has acknowledged.

Who was given a dose before the recall is no fault: the list is there so that they can be told.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from domain.traceability.custody import Book
from domain.traceability.facts import Fact, Step
from domain.traceability.progress import FREE
from domain.traceability.states import ENDED, Status


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
    """`orders`: the recalls in force; `acknowledged`: what holders said of them, oldest first."""

    orders: list[Fact]
    units: list[Unit]
    doses: list[Dose]
    acknowledged: list[Fact]

    @property
    def holders(self) -> list[str]:
        """Return the sites that have, or await, units that are not used up, ascending."""
        return sorted({u.site_id for u in self.units if u.status not in ENDED and u.site_id})

    def outstanding(self, order: Fact) -> list[str]:
        """Return the holders that have not acknowledged a recall, ascending."""
        told = {fact.site_id for fact in self.acknowledged if _answers(fact, order)}
        return [site_id for site_id in self.holders if site_id not in told]


def orders_in_force(facts: Iterable[Fact]) -> list[Fact]:
    """Return the recalls of a lot that no release ended, oldest first."""
    orders: list[Fact] = []
    hold = FREE
    for fact in sorted((f for f in facts if f.step >= Step.HOLDING), key=lambda f: f.order):
        hold = hold.after(fact)
        if fact.step is Step.HOLDING and fact.recall:
            orders.append(fact)
        elif not hold.recalled:
            orders = []
    return orders


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
    return fact.lot_id == order.lot_id and fact.t_ms >= order.t_ms


def recall_of(
    book: Book, codes: Iterable[int], lot_facts: Iterable[Fact], lost: Container[int] = ()
) -> Recall:
    """Return the recall of a lot: `codes` are all of it, `lot_facts` what was said of the lot.

    Asked of a lot that is not recalled, it tells the same with no order.
    """
    facts = list({f.fact_id: f for f in lot_facts}.values())
    units: list[Unit] = []
    doses: list[Dose] = []
    for code in codes:
        if book.levels[code] != 1 or book.contents.get(code):
            continue
        stands = book.standing(code)
        gone = stands.status is Status.MISSING or code in lost
        units.append(Unit(code, stands.site_id, stands.status, gone))
        doses += [
            Dose(code, m.fact.site_id, m.fact.t_ms, m.fact.recipient, m.fact.fact_id)
            for m in book.mentions(code)
            if m.fact.step is Step.DISPENSING
        ]
    orders = orders_in_force(facts)
    said = acknowledged(orders, facts)
    return Recall(orders, sorted(units), sorted(doses, key=_given), said)


def _given(dose: Dose) -> tuple[int, int, str]:
    return dose.t_ms, dose.code, dose.fact_id
