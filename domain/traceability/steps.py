"""The steps of a whole lot by place, as scanned: short enough to be kept ready for every lot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from domain.traceability.custody import Book
from domain.traceability.facts import Step


@dataclass(frozen=True, slots=True)
class LotStep:
    """One step at one place: how many packs of any level were scanned, first and last (ms)."""

    step: Step
    site_id: str
    packs: int
    first_ms: int
    last_ms: int


def steps_of(book: Book, lot_id: str, codes: Collection[int]) -> list[LotStep]:
    """Return the steps of a lot's codes in order of their beginning.

    Packs that are not of the lot count where they were scanned with something of it inside. A
    commissioning counts for the lot it names.
    """
    own = set(codes)
    found: dict[tuple[Step, str], dict[tuple[int, int], int]] = defaultdict(dict)
    for code in book.codes:
        for mention in book.mentions(code):
            fact = mention.fact
            named = fact.lot_id == lot_id if fact.step is Step.COMMISSIONING else code in own
            if named:
                found[fact.step, fact.site_id][code, fact.position] = fact.t_ms
    for code in own:
        for entry in book.chain(code):
            fact = entry.fact
            if entry.via not in own and not entry.of_lot:
                found[fact.step, fact.site_id][entry.via, fact.position] = fact.t_ms
    steps = [
        LotStep(*key, len({code for code, _ in of}), min(of.values()), max(of.values()))
        for key, of in found.items()
    ]
    return sorted(steps, key=lambda s: (s.first_ms, s.step, s.site_id))
