"""The chain of custody: facts in any order in, chain and present state of each code out.

A code's chain is its own facts and, for every stay in a pack, the facts of that pack in the time of
the stay (and so on upwards). A stay begins with packing and ends with unpacking, with packing into
another pack, with an emptying of the whole pack, or when the code alone is scanned in a step that
moves it: it cannot be in the pack any more, whatever was not written down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import NamedTuple

from domain.traceability.facts import BEGINNING, LEVEL_MAX, Fact, Mention, Order, Step
from domain.traceability.progress import FREE, Entry, LotHold, Progress
from domain.traceability.states import ENDED, Flag, Status, shown, status_inside

# Steps that move a code: scanned alone in one of them, it is no longer in its pack.
MOVING = frozenset(
    {
        Step.SHIPPING,
        Step.RETURNING,
        Step.RECEIVING,
        Step.STORING,
        Step.SAMPLING,
        Step.OPENING,
        Step.DISPENSING,
        Step.WASTING,
        Step.LOSING,
        Step.FINDING,
        Step.DESTROYING,
    }
)
# What a pack goes through, its contents go through; these happen to single codes.
NOT_INHERITED = frozenset({Step.COMMISSIONING, Step.OPENING, Step.DISPENSING})


class Stay(NamedTuple):
    """A time inside a pack, after `start` and before `end` (None = still there)."""

    parent: int
    start: Order
    end: Order | None

    def covers(self, order: Order) -> bool:
        """Tell whether something that happened to the pack happened to this content too."""
        return self.start < order and (self.end is None or order < self.end)


class Standing(NamedTuple):
    """Where a code is and what binds it; inside a pack, place and holds are the pack's."""

    status: Status
    site_id: str
    unit_id: str
    lot_id: str
    held: bool
    recalled: bool
    condemned: bool


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a code now, or as of the position asked for.

    `doses_left` None = not known, or a pack. `use_by_ms`: until when an opened vial may be used,
    None where none is open or no limit is known.
    """

    status: Status
    site_id: str
    unit_id: str
    parent: int | None
    lot_id: str
    doses_given: int
    doses_wasted: int
    doses_left: int | None
    opened_ms: int | None
    use_by_ms: int | None
    held: bool
    recalled: bool
    condemned: bool
    since_ms: int | None
    flags: tuple[Flag, ...]


class Product(NamedTuple):
    """What the fold needs of a code's product; None = not known, or no limit."""

    doses_per_vial: int | None = None
    opened_limit_min: int | None = None


def _no_product(_code: int) -> Product:
    return Product()


class Book:
    """Facts about some codes and about all packs above them, ready to be asked.

    `facts` without codes are holds, condemnations and releases of whole lots. Facts given twice, or
    two with one fact id, count once (the earlier position). Nothing depends on their order.
    `expires_on` holds the expiry days of lots.
    """

    def __init__(
        self,
        mentions: Iterable[Mention],
        *,
        facts: Iterable[Fact] = (),
        product: Callable[[int], Product] = _no_product,
        expires_on: Mapping[str, date] | None = None,
        as_of: int | None = None,
    ) -> None:
        self._product = product
        self._expires_on = expires_on or {}
        named = [m for m in mentions if m.fact.counts(as_of)]
        first = _first_positions(m.fact for m in named)
        self._by_code: dict[int, dict[tuple[str, bool], Mention]] = defaultdict(dict)
        for mention in named:
            fact = mention.fact
            if first[fact.fact_id] == fact.position:
                self._by_code[mention.code][fact.fact_id, mention.as_parent] = mention
        self._mentions = {
            code: sorted(found.values(), key=lambda m: (m.fact.order, m.as_parent))
            for code, found in self._by_code.items()
        }
        binding = (f for f in facts if f.step >= Step.HOLDING and f.counts(as_of))
        self._lot_facts: dict[str, list[Fact]] = defaultdict(list)
        for fact in sorted(binding, key=lambda f: f.order):
            self._lot_facts[fact.lot_id].append(fact)
        self._stays: dict[int, tuple[Stay, ...]] = {}
        self._entries: dict[int, list[Entry]] = {}
        self._chains: dict[int, list[Entry]] = {}
        self._passed: dict[int, list[Entry]] = {}
        self._progress: dict[int, Progress] = {}
        self._whole: dict[int, Progress] = {}

    @property
    def codes(self) -> list[int]:
        """Return the keys of all codes that a fact names, ascending."""
        return sorted(self._mentions)

    def mentions(self, code: int) -> list[Mention]:
        """Return the facts that name the code itself, in order."""
        return self._mentions.get(code, [])

    def stays(self, code: int) -> tuple[Stay, ...]:
        """Return the times a code was inside packs, in order, without overlap."""
        if code not in self._stays:
            self._stays[code] = tuple(self._derive_stays(code))
        return self._stays[code]

    def inside(self, code: int) -> Stay | None:
        """Return the stay that has not ended, if any."""
        stays = self.stays(code)
        return stays[-1] if stays and stays[-1].end is None else None

    def chain(self, code: int) -> list[Entry]:
        """Return the chain of a code: every fact that happened to it or to its lot, in order."""
        if code not in self._chains:
            chain = self._climb(code, ())[0]
            lot_facts = self._lot_facts.get(self.progress(code).lot_id) if self._lot_facts else None
            if lot_facts:
                lot = [Entry(fact, code, False, True, True) for fact in lot_facts]
                chain = sorted([*chain, *lot], key=lambda entry: entry.order)
            self._chains[code] = chain
        return self._chains[code]

    def progress(self, code: int) -> Progress:
        """Return what became of a code outside the pack it is in now (if it is in one).

        Neither the holds of its lot nor the lot's expiry are looked at.
        """
        if code not in self._progress:
            inside = self.inside(code)
            progress = Progress(*self._product(code))
            for entry in self._climb(code, ())[0]:
                if not (entry.inherited and inside and inside.covers(entry.order)):
                    progress.take(entry)
            self._flag_packing(code, progress)
            self._progress[code] = progress
        return self._progress[code]

    def judged(self, code: int) -> dict[str, set[Flag]]:
        """Return what was wrong with the facts of a code's whole chain, by fact id.

        By "" what its facts show together: that nobody commissioned it, or that it is a pack and
        a dose of it was given.
        """
        return self._gone_through(code).found

    def held_back(self, code: int) -> dict[str, Flag]:
        """Return which facts of a code's whole chain a hold or a recall forbade, by fact id."""
        return self._gone_through(code).held_back

    def _gone_through(self, code: int) -> Progress:
        """Return what became of a code by its whole chain, with the holds and expiry of its lot."""
        if code not in self._whole:
            self._whole[code] = self._go_through(code)
        return self._whole[code]

    def _go_through(self, code: int) -> Progress:
        own = self.progress(code)
        expires_on = self._expires_on.get(own.lot_id) if own.doses_given else None
        if expires_on is None and self.inside(code) is None and not self._lot_facts:
            return own
        progress = Progress(*self._product(code), expires_on)
        for entry in self.chain(code):
            progress.take(entry)
        self._flag_packing(code, progress)
        return progress

    def _flag_packing(self, code: int, progress: Progress) -> None:
        mentions = self.mentions(code)
        if not progress.commissioned:
            progress.flag(Flag.UNKNOWN_CODE)
        if progress.doses_given and any(m.as_parent for m in mentions):
            progress.flag(Flag.HIERARCHY_BROKEN)

    def standing(self, code: int) -> Standing:
        """Return where a code is and what binds it."""
        own = self.progress(code)
        status, place, holds, condemned = self._resolved(code, ())
        lot = self.lot_hold(own.lot_id)
        held = bool(holds) or lot.held
        return Standing(
            shown(status, held=held),
            *place,
            lot_id=own.lot_id,
            held=held,
            recalled=any(holds) or lot.recalled,
            condemned=condemned or lot.condemned,
        )

    def state(self, code: int) -> State:
        """Return the present state of a code."""
        own, stay = self.progress(code), self.inside(code)
        stands = self.standing(code)
        opened = own.status is Status.OPENED
        return State(
            status=stands.status,
            site_id=stands.site_id,
            unit_id=stands.unit_id,
            parent=stay.parent if stay else None,
            lot_id=own.lot_id,
            doses_given=own.doses_given,
            doses_wasted=own.doses_wasted,
            doses_left=self._doses_left(code, stands.status),
            opened_ms=own.opened_ms,
            use_by_ms=own.use_by_ms if opened else None,
            held=stands.held,
            recalled=stands.recalled,
            condemned=stands.condemned,
            since_ms=own.since_ms,
            flags=tuple(sorted(set().union(*self.judged(code).values()))),
        )

    def recalls(self, code: int) -> dict[str, Fact]:
        """Return the recalls in force that bind a code or a pack it is in, not its whole lot."""
        return {fact_id: fact for fact_id, fact in self.orders(code).items() if fact.recall}

    def orders(self, code: int) -> dict[str, Fact]:
        """Return all that binds a code or a pack it is in, not its whole lot, by fact id."""
        found: dict[str, Fact] = {}
        above: list[int] = []
        within: int | None = code
        while within is not None and within not in above:
            for orders in self.progress(within).orders.values():
                found.update((fact.fact_id, fact) for fact in orders)
            above.append(within)
            stay = self.inside(within)
            within = stay.parent if stay else None
        return found

    def _doses_left(self, code: int, status: Status) -> int | None:
        own = self.progress(code)
        pack = (own.level or 1) > 1 or any(m.as_parent for m in self.mentions(code))
        if own.doses_per_vial is None or pack:
            return None
        left = own.doses_per_vial - own.doses_given - own.doses_wasted
        return 0 if status in ENDED else max(left, 0)

    def emptied(self, code: int) -> bool:
        """Tell whether a code is a pack all of whose contents have left it."""
        return self._emptied_pack(code, ())

    def _emptied_pack(self, code: int, above: tuple[int, ...]) -> bool:
        ever = self.contents.get(code)
        if not ever or code in above:
            return False
        inner = [c for c in ever if (stay := self.inside(c)) and stay.parent == code]
        return all(self._emptied_pack(c, (*above, code)) for c in inner)

    def lot_hold(self, lot_id: str) -> LotHold:
        """Return what binds a whole lot."""
        hold = FREE
        for fact in self._lot_facts.get(lot_id, ()):
            hold = hold.after(fact)
        return hold

    @cached_property
    def contents(self) -> dict[int, set[int]]:
        """Return for each pack every code that was ever in it, as far as the facts given tell."""
        found: dict[int, set[int]] = {}
        for code in self._mentions:
            for stay in self.stays(code):
                found.setdefault(stay.parent, set()).add(code)
        return found

    @cached_property
    def levels(self) -> dict[int, int]:
        """Return the pack level of every code: as commissioned, else 1 + that of its contents.

        What ever held something was no smallest pack, whatever it was commissioned as.
        """
        found: dict[int, int] = {}
        for code in self.codes:
            self._level(code, found, 1)
        return found

    def _level(self, code: int, found: dict[int, int], depth: int) -> int:
        if code not in found:
            declared = self.progress(code).level
            smallest = (declared or 1) == 1 and depth < LEVEL_MAX
            inner = self.contents.get(code, ()) if smallest else ()
            deepest = max((self._level(child, found, depth + 1) for child in inner), default=0)
            found[code] = 1 + deepest if inner else declared or 1
        return found[code]

    def _derive_stays(self, code: int) -> Iterable[Stay]:
        opened: tuple[int, Order] | None = None
        first = True
        for mention in self.mentions(code):
            fact, order = mention.fact, mention.fact.order
            if mention.as_parent:
                continue
            if opened and (emptied := self._emptied(*opened, order)):
                yield Stay(*opened, emptied)
                opened = None
            if opened and self._ends(opened[0], mention):
                yield Stay(*opened, order)
                opened = None
            elif first and fact.step is not Step.PACKING and mention.parent is not None:
                # Taken out of a pack that nobody saw it put into: it was there all along.
                yield Stay(mention.parent, BEGINNING, order)
                first = False
            if fact.step is Step.PACKING and mention.parent is not None and not opened:
                opened, first = (mention.parent, order), False
        if opened:
            yield Stay(*opened, self._emptied(*opened, None))

    def _ends(self, parent: int, mention: Mention) -> bool:
        match mention.fact.step:
            case Step.PACKING:
                return mention.parent != parent
            case Step.UNPACKING:
                # Told of another pack, it is late word of one left before.
                return mention.parent in {None, parent}
            case step:
                together = (mention.fact.fact_id, False) in self._by_code.get(parent, ())
                return step in MOVING and not together

    def _emptied(self, parent: int, start: Order, before: Order | None) -> Order | None:
        for mention in self.mentions(parent):
            order = mention.fact.order
            if before is not None and order >= before:
                return None
            if mention.as_parent and mention.fact.all_contents and order > start:
                return order
        return None

    def _climb(self, code: int, below: tuple[int, ...]) -> tuple[list[Entry], bool]:
        """Return the chain, and whether it is whole: packs that contain each other cut it short."""
        if code in self._entries:
            return self._entries[code], True
        entries = {
            m.fact.fact_id: Entry(m.fact, code, m.as_parent, False) for m in self.mentions(code)
        }
        whole = True
        for stay in self.stays(code):
            if stay.parent == code or stay.parent in below:
                whole = False
                continue
            above, complete = self._passing(stay.parent, (*below, code))
            whole = whole and complete
            for entry in above:
                if stay.covers(entry.fact.order):
                    entries.setdefault(entry.fact.fact_id, entry)
        chain = sorted(entries.values(), key=lambda entry: entry.fact.order)
        if whole:
            self._entries[code] = chain
        return chain, whole

    def _passing(self, pack: int, below: tuple[int, ...]) -> tuple[list[Entry], bool]:
        """Return of the chain of a pack what its contents go through too; for all of them once."""
        if pack in self._passed:
            return self._passed[pack], True
        above, whole = self._climb(pack, below)
        passed = [
            entry if entry.inherited else entry._replace(inherited=True)
            for entry in above
            if passes_down(entry)
        ]
        if whole:
            self._passed[pack] = passed
        return passed, whole

    def _resolved(
        self, code: int, below: tuple[int, ...]
    ) -> tuple[Status, tuple[str, str], tuple[bool, ...], bool]:
        """Return status, place, holds and whether it is condemned, by its packs where inside."""
        if code in below:
            return Status.UNKNOWN, ("", ""), (), False
        own, stay = self.progress(code), self.inside(code)
        holds = tuple(own.holds.values())
        if stay is None:
            return own.status, (own.site_id, own.unit_id), holds, own.condemned
        outer, place, outer_holds, condemned = self._resolved(stay.parent, (*below, code))
        status = status_inside(own.status, outer)
        return status, place, holds + outer_holds, own.condemned or condemned


def passes_down(named: Entry | Mention) -> bool:
    """Tell whether what happened to a pack happened to its contents as well."""
    return not named.as_parent and named.fact.step not in NOT_INHERITED


def _first_positions(facts: Iterable[Fact]) -> dict[str, int]:
    first: dict[str, int] = {}
    for fact in facts:
        first[fact.fact_id] = min(fact.position, first.get(fact.fact_id, fact.position))
    return first
