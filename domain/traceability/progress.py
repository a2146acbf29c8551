"""What becomes of one code as facts pass over it in order: place, status, doses, holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from domain.traceability.facts import Fact, Order, Step


class Status(StrEnum):
    """Where a code stands in its life."""

    UNKNOWN = "unknown"
    COMMISSIONED = "commissioned"
    IN_TRANSIT = "in_transit"
    IN_STOCK = "in_stock"
    RETURNED = "returned"
    HELD = "held"
    OPENED = "opened"
    USED = "used"
    WASTED = "wasted"
    DESTROYED = "destroyed"


class Flag(StrEnum):
    """Kinds of exception that the facts of one code show by themselves."""

    UNKNOWN_CODE = "UNKNOWN_CODE"
    ALREADY_USED = "ALREADY_USED"
    DOSES_EXCEED_VIAL = "DOSES_EXCEED_VIAL"
    EXPIRED = "EXPIRED"
    RECALLED = "RECALLED"
    OPEN_VIAL_OVERRUN = "OPEN_VIAL_OVERRUN"
    HIERARCHY_BROKEN = "HIERARCHY_BROKEN"
    ILLEGAL_STATE = "ILLEGAL_STATE"


# Ends of a life: only the withdrawal of the fact that led there opens them again.
ENDED = frozenset({Status.USED, Status.WASTED, Status.DESTROYED})
# A hold shows in place of these; goods on their way stay on their way, what has ended has ended.
HOLDABLE = frozenset({Status.COMMISSIONED, Status.IN_STOCK, Status.OPENED})
# A code inside a pack has the pack's status, except for what only happens to single codes.
OWN = ENDED | {Status.OPENED}


class Entry(NamedTuple):
    """A fact in the chain of a code; `via` is the code scanned, the code itself or a pack of it."""

    fact: Fact
    via: int
    as_parent: bool
    inherited: bool

    @property
    def order(self) -> Order:
        """Return where the fact stands among all facts."""
        return self.fact.order


@dataclass(slots=True)
class Progress:
    """The state of a code after the entries taken so far.

    `doses_per_vial` None = the product is not known: the first dose then empties the vial. Goods
    on their way are counted at the place they go to.
    """

    doses_per_vial: int | None = None
    status: Status = Status.UNKNOWN
    site_id: str = ""
    unit_id: str = ""
    lot_id: str = ""
    level: int | None = None
    doses_given: int = 0
    doses_wasted: int = 0
    since_ms: int | None = None
    holds: dict[int, bool] = field(default_factory=dict)  # code scanned -> is it a recall
    flags: set[Flag] = field(default_factory=set)
    commissioned: bool = False

    def take(self, entry: Entry) -> None:
        """Go on by one entry; entries come in their order."""
        _TAKE[entry.fact.step](self, entry)
        self.since_ms = entry.fact.t_ms

    def _commissioned(self, entry: Entry) -> None:
        if self.commissioned:
            return
        fact = entry.fact
        self.commissioned, self.lot_id, self.level = True, fact.lot_id, fact.level
        if self.status is Status.UNKNOWN:
            self.status, self.site_id, self.unit_id = (
                Status.COMMISSIONED,
                fact.site_id,
                fact.unit_id,
            )

    def _seen(self, entry: Entry) -> None:
        """Take a scan that shows where the code is, without a change of custody."""
        fact = entry.fact
        if self._ended():
            return
        if self.status in {Status.UNKNOWN, Status.IN_TRANSIT, Status.RETURNED}:
            self._stand(Status.IN_STOCK)
        if fact.unit_id or fact.site_id != self.site_id:
            self.unit_id = fact.unit_id
        self.site_id = fact.site_id

    def _left(self, entry: Entry) -> None:
        fact = entry.fact
        if self._ended():
            return
        self._stand(Status.IN_TRANSIT if fact.step is Step.SHIPPING else Status.RETURNED)
        self.site_id = fact.to_site_id or fact.site_id
        self.unit_id = fact.vehicle_id

    def _arrived(self, entry: Entry) -> None:
        fact = entry.fact
        if self._ended():
            return
        self._stand(Status.IN_STOCK)
        self.site_id, self.unit_id = fact.site_id, fact.unit_id
        if not fact.accepted:
            hold(self.holds, entry.via, recall=False)

    def _opened(self, entry: Entry) -> None:
        if not self._ended():
            self._seen(entry)
            self.status = Status.OPENED

    def _dispensed(self, entry: Entry) -> None:
        if self.level is not None and self.level > 1:
            self.flags.add(Flag.ILLEGAL_STATE)  # it was commissioned as a pack of vials
            return
        doses = self.doses_per_vial or 1
        if doses == 1 and self.doses_given:
            self.flags.add(Flag.ALREADY_USED)
            return
        if self.status is Status.DESTROYED:
            self.flags.add(Flag.ILLEGAL_STATE)
        else:
            self.site_id, self.unit_id = entry.fact.site_id, entry.fact.unit_id
        self.doses_given += 1
        self._count(doses, Status.USED)

    def _wasted(self, entry: Entry) -> None:
        if self._ended():
            return
        fact, doses = entry.fact, self.doses_per_vial or 1
        left = max(doses - self.doses_given - self.doses_wasted, 0)
        self.site_id, self.unit_id = fact.site_id, fact.unit_id
        self.doses_wasted += left if fact.doses is None or entry.inherited else fact.doses
        self._count(doses, Status.WASTED)

    def _count(self, doses: int, end: Status) -> None:
        spent = self.doses_given + self.doses_wasted
        if spent > doses:
            self.flags.add(Flag.DOSES_EXCEED_VIAL)
        if self.status not in ENDED:
            self.status = end if spent >= doses else Status.OPENED

    def _destroyed(self, entry: Entry) -> None:
        if self.status is Status.DESTROYED:
            self.flags.add(Flag.ILLEGAL_STATE)
            return
        self.status = Status.DESTROYED
        self.site_id, self.unit_id = entry.fact.site_id, entry.fact.unit_id

    def _held(self, entry: Entry) -> None:
        hold(self.holds, entry.via, recall=entry.fact.recall)

    def _released(self, entry: Entry) -> None:
        release(self.holds, entry.via if entry.inherited else None, recall=entry.fact.recall)

    def _stand(self, status: Status) -> None:
        if self.status is not Status.OPENED:
            self.status = status

    def _ended(self) -> bool:
        if self.status in ENDED:
            self.flags.add(Flag.ILLEGAL_STATE)
        return self.status in ENDED


def hold(holds: dict[int, bool], via: int, *, recall: bool) -> None:
    """Place a hold by way of a code; a recall stays one, whatever hold is added to it."""
    holds[via] = recall or holds.get(via, False)


def release(holds: dict[int, bool], via: int | None, *, recall: bool) -> None:
    """End the hold placed by way of one code, or all (None); recalls only where `recall` says."""
    named = list(holds) if via is None else [via]
    for key in named:
        if recall or not holds.get(key):
            holds.pop(key, None)


_TAKE: dict[Step, Callable[[Progress, Entry], None]] = {
    Step.COMMISSIONING: Progress._commissioned,
    Step.PACKING: Progress._seen,
    Step.SHIPPING: Progress._left,
    Step.RETURNING: Progress._left,
    Step.RECEIVING: Progress._arrived,
    Step.STORING: Progress._seen,
    Step.UNPACKING: Progress._seen,
    Step.OPENING: Progress._opened,
    Step.DISPENSING: Progress._dispensed,
    Step.WASTING: Progress._wasted,
    Step.DESTROYING: Progress._destroyed,
    Step.HOLDING: Progress._held,
    Step.RELEASING: Progress._released,
}
