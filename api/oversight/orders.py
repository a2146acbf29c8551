"""What binds goods at a position: holds, recalls and condemnations, of whole lots and of codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from api.oversight.subject import Subject
from domain.traceability.facts import Fact, Step
from domain.traceability.recalls import binding
from domain.traceability.states import ENDED
from projections.traceability.views import time_of

Row = dict[str, Any]


class Bound(NamedTuple):
    """Units of a lot that are not used up: those held (or recalled), those recalled."""

    held: int = 0
    recalled: int = 0


def bound_units(subject: Subject) -> dict[str, Bound]:
    """Return how much of each lot asked about is bound, whatever by."""
    held, recalled = Counter[str](), Counter[str]()
    for code in _on_hand(subject):
        stands = subject.book.standing(code)
        held[stands.lot_id] += stands.held
        recalled[stands.lot_id] += stands.recalled
    return {lot_id: Bound(held[lot_id], recalled[lot_id]) for lot_id in held}


def orders(subject: Subject) -> list[Row]:
    """Return what is in force of the codes asked about and of their lots, oldest first.

    One row an order and lot; `units`: how many it binds that are not used up.
    """
    book = subject.book
    of_lot = Counter[str]()
    facts: dict[str, Fact] = {}
    of_codes = Counter[tuple[str, str]]()
    for code in _on_hand(subject):
        lot_id = book.progress(code).lot_id
        of_lot[lot_id] += 1
        told = book.orders(code)
        facts |= told
        of_codes.update((fact_id, lot_id) for fact_id in told)
    found = [(facts[fact_id], lot, "codes", units) for (fact_id, lot), units in of_codes.items()]
    for lot_id in {fact.lot_id for fact in subject.lot_facts}:
        whole = binding(fact for fact in subject.lot_facts if fact.lot_id == lot_id)
        found += [(fact, lot_id, "lot", of_lot[lot_id]) for fact in whole]
    return [_row(*each) for each in sorted(found, key=lambda each: (each[0].order, each[1]))]


def _on_hand(subject: Subject) -> Iterator[int]:
    """Yield the smallest packs asked about that are not used up; of a code, whatever it is."""
    for code in subject.codes:
        wanted = subject.book.levels[code] == 1 or subject.name == "code"
        if wanted and subject.book.standing(code).status not in ENDED:
            yield code


_BINDS = {Step.CONDEMNING: "condemned", Step.RECEIVING: "refused"}


def _row(fact: Fact, lot_id: str, scope: str, units: int) -> Row:
    more = fact.more
    return {
        "binds": "recall" if fact.recall else _BINDS.get(fact.step, "hold"),
        "scope": scope,
        "lot_id": lot_id,
        "units": units,
        "site_id": fact.site_id,
        "occurred_at": time_of(fact.t_ms),
        "recall_class": more.get("recall_class", ""),
        "issued_by": more.get("issued_by", ""),
        "notice_no": more.get("notice_no", ""),
        "decision_no": more.get("decision_no", ""),
        "reason": fact.reason,
        "fact_id": fact.fact_id,
        "recorded_at": time_of(fact.recorded_ms),
        "events": [fact.position],
    }
