"""What becomes of one code as facts pass over it in order: place, status, doses, holds, flags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from domain.traceability.facts import Fact, Order, Step
from domain.traceability.particulars import BILLS_OF_HELD, two_persons
from domain.traceability.states import ENDED, Flag, Status, flag_of_hold, flag_of_status

# An expiry is a day in China: the vaccine may be used until its end.
ZONE = ZoneInfo("Asia/Shanghai")
MINUTE_MS = 60_000
# Seen in one of these, a code is where it was seen.
_ELSEWHERE = frozenset({Status.UNKNOWN, Status.IN_TRANSIT, Status.RETURNED, Status.MISSING})


class Entry(NamedTuple):
    """A fact in the chain of a code; `via` is the code scanned, the code itself or a pack of it."""

    fact: Fact
    via: int
    as_parent: bool
    inherited: bool
    of_lot: bool = False  # it happened to the whole lot

    @property
    def order(self) -> Order:
        """Return where the fact stands among all facts."""
        return self.fact.order


class LotHold(NamedTuple):
    """What binds a whole lot at one moment."""

    held: bool = False
    recalled: bool = False
    condemned: bool = False

    def after(self, fact: Fact) -> LotHold:
        """Return what binds it after a fact about the whole lot; they come in their order."""
        match fact.step:
            case Step.HOLDING:
                return LotHold(True, fact.recall or self.recalled, self.condemned)
            case Step.CONDEMNING:
                return LotHold(True, self.recalled, True)
            case _ if self.condemned or (self.recalled and not fact.recall):
                return self  # a recall ends only where the release says so
            case _:
                return FREE


FREE = LotHold()


@dataclass(slots=True)
class Progress:
    """The state of a code after the entries taken so far.

    `doses_per_vial` None = the product is not known: the first dose then empties the vial;
    `opened_limit_min`, `expires_on` None = no limit is known. Goods on their way are counted at
    the place they go to. `found`: flags by the fact that shows them, "" = by the whole chain;
    `held_back`: those of them that a hold or a recall is the reason of. `orders`: what was said by
    the code scanned that binds this one, as long as it does.
    """

    doses_per_vial: int | None = None
    opened_limit_min: int | None = None
    expires_on: date | None = None
    status: Status = Status.UNKNOWN
    site_id: str = ""
    unit_id: str = ""
    lot_id: str = ""
    level: int | None = None
    doses_given: int = 0
    doses_wasted: int = 0
    opened_ms: int | None = None
    since_ms: int | None = None
    holds: dict[int, bool] = field(default_factory=dict)  # code scanned -> is it a recall
    lot: LotHold = FREE
    condemned: bool = False
    found: dict[str, set[Flag]] = field(default_factory=dict)
    held_back: dict[str, Flag] = field(default_factory=dict)
    orders: dict[int, list[Fact]] = field(default_factory=dict)
    commissioned: bool = False

    @property
    def flags(self) -> set[Flag]:
        """Return every flag found."""
        return set().union(*self.found.values())

    @property
    def use_by_ms(self) -> int | None:
        """Return until when the opened vial may be used, None when it is closed or has no limit."""
        if self.opened_ms is None or self.opened_limit_min is None:
            return None
        return self.opened_ms + self.opened_limit_min * MINUTE_MS

    def take(self, entry: Entry) -> None:
        """Go on by one entry; entries come in their order."""
        fact = entry.fact
        if entry.of_lot:
            self.lot = self.lot.after(fact)
            return
        self._judge(entry)
        take = _TAKE.get(fact.step)
        if take is not None:
            take(self, entry)
            self.since_ms = fact.t_ms

    def flag(self, flag: Flag, fact_id: str = "") -> None:
        """Keep a flag of a fact."""
        self.found.setdefault(fact_id, set()).add(flag)

    def _judge(self, entry: Entry) -> None:
        """Keep what the table of states says of a step."""
        fact = entry.fact
        flag = flag_of_status(fact.step, self.status)
        if flag is not None and not (fact.step is Step.HOLDING and fact.recall):
            # (What was given before a recall is no fault of it.)
            moved = fact.step is Step.RECEIVING and fact.site_id != self.site_id
            known = self.status is Status.IN_STOCK and moved
            self.flag(Flag.PRODUCT_WITHOUT_DATA if known else flag, fact.fact_id)
        if (self.holds or self.lot.held) and fact.bill_type not in BILLS_OF_HELD:
            recall = self.lot.recalled or any(self.holds.values())
            held = flag_of_hold(fact.step, recall=recall)
            if held is not None:
                self.flag(held, fact.fact_id)
                self.held_back[fact.fact_id] = held

    def _commissioned(self, entry: Entry) -> None:
        fact = entry.fact
        if self.commissioned:
            self.flag(Flag.DATA_ERROR, fact.fact_id)  # no code is given twice
            return
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
        if self.status in ENDED:
            return
        if self.status in _ELSEWHERE:
            self._stand(Status.IN_STOCK)
        if fact.unit_id or fact.site_id != self.site_id:
            self.unit_id = fact.unit_id
        self.site_id = fact.site_id

    def _left(self, entry: Entry) -> None:
        fact = entry.fact
        if self.status in ENDED:
            return
        self._stand(Status.IN_TRANSIT if fact.step is Step.SHIPPING else Status.RETURNED)
        self.site_id = fact.to_site_id or fact.site_id
        self.unit_id = fact.vehicle_id

    def _arrived(self, entry: Entry) -> None:
        fact = entry.fact
        if self.status in ENDED:
            return
        self._stand(Status.IN_STOCK)
        self.site_id, self.unit_id = fact.site_id, fact.unit_id
        if not fact.accepted:
            self._bind(entry)

    def _opened(self, entry: Entry) -> None:
        if self.status not in ENDED:
            self._seen(entry)
            self._open(entry.fact)

    def _open(self, fact: Fact) -> None:
        self.status = Status.OPENED
        if self.opened_ms is None:
            self.opened_ms = fact.t_ms

    def _dispensed(self, entry: Entry) -> None:
        fact = entry.fact
        if self.level is not None and self.level > 1:
            self.flag(Flag.ILLEGAL_STATE, fact.fact_id)  # it was commissioned as a pack of vials
            return
        self._check_times(fact)
        doses = self.doses_per_vial or 1
        if doses == 1 and self.doses_given:
            self.flag(Flag.ALREADY_USED, fact.fact_id)
            return
        if self.status is not Status.DESTROYED:
            self.site_id, self.unit_id = fact.site_id, fact.unit_id
        self.doses_given += 1
        self._count(fact, doses, Status.USED)

    def _check_times(self, fact: Fact) -> None:
        """Hold a dose against the expiry of its lot and the time its vial has been open."""
        if self.expires_on is not None and _day(fact) > self.expires_on:
            self.flag(Flag.EXPIRED, fact.fact_id)
        use_by_ms = self.use_by_ms
        if use_by_ms is not None and fact.t_ms > use_by_ms:
            self.flag(Flag.OPEN_VIAL_OVERRUN, fact.fact_id)

    def _wasted(self, entry: Entry) -> None:
        if self.status in ENDED:
            return
        fact, doses = entry.fact, self.doses_per_vial or 1
        left = max(doses - self.doses_given - self.doses_wasted, 0)
        self.site_id, self.unit_id = fact.site_id, fact.unit_id
        self.doses_wasted += left if fact.doses is None or entry.inherited else fact.doses
        self._count(fact, doses, Status.WASTED)

    def _count(self, fact: Fact, doses: int, end: Status) -> None:
        spent = self.doses_given + self.doses_wasted
        if spent > doses:
            self.flag(Flag.DOSES_EXCEED_VIAL, fact.fact_id)
        if self.status not in ENDED:
            self._open(fact)
            self.status = end if spent >= doses else Status.OPENED

    def _sampled(self, entry: Entry) -> None:
        if self.status not in ENDED:
            self._end(entry.fact, Status.SAMPLED)

    def _destroyed(self, entry: Entry) -> None:
        self._check_signed(entry.fact)
        if self.status is not Status.DESTROYED:
            self._end(entry.fact, Status.DESTROYED)

    def _end(self, fact: Fact, status: Status) -> None:
        self.status, self.site_id, self.unit_id = status, fact.site_id, fact.unit_id

    def _lost(self, entry: Entry) -> None:
        """Take a loss: the code is counted where it was last."""
        if self.status not in ENDED:
            self.status = Status.MISSING
            self.site_id = self.site_id or entry.fact.site_id

    def _held(self, entry: Entry) -> None:
        self._bind(entry)

    def _condemned(self, entry: Entry) -> None:
        self._check_signed(entry.fact)
        self.condemned = True
        self._bind(entry)

    def _bind(self, entry: Entry) -> None:
        hold(self.holds, entry.via, recall=entry.fact.recall)
        self.orders.setdefault(entry.via, []).append(entry.fact)

    def _released(self, entry: Entry) -> None:
        self._check_signed(entry.fact)
        if self.condemned:
            if not entry.inherited:  # that of its pack does not speak of it
                self.flag(Flag.ILLEGAL_STATE, entry.fact.fact_id)
            return
        release(self.holds, entry.via if entry.inherited else None, recall=entry.fact.recall)
        for via in self.orders.keys() - self.holds.keys():
            del self.orders[via]

    def _check_signed(self, fact: Fact) -> None:
        if not two_persons(fact.executed_by, fact.supervised_by):
            self.flag(Flag.DATA_ERROR, fact.fact_id)

    def _stand(self, status: Status) -> None:
        self.status = status if self.opened_ms is None else Status.OPENED


def hold(holds: dict[int, bool], via: int, *, recall: bool) -> None:
    """Place a hold by way of a code; a recall stays one, whatever hold is added to it."""
    holds[via] = recall or holds.get(via, False)


def release(holds: dict[int, bool], via: int | None, *, recall: bool) -> None:
    """End the hold placed by way of one code, or all (None); recalls only where `recall` says."""
    named = list(holds) if via is None else [via]
    for key in named:
        if recall or not holds.get(key):
            holds.pop(key, None)


def end_of(day: date) -> int:
    """Return the last moment of a day in China, ms since 1970."""
    last = datetime(day.year, day.month, day.day, 23, 59, 59, 999_000, tzinfo=ZONE)
    return round(last.timestamp() * 1000)


def _day(fact: Fact) -> date:
    return datetime.fromtimestamp(fact.t_ms / 1000, UTC).astimezone(ZONE).date()


# Adjustments and acknowledgements change nothing of a code.
_TAKE: dict[Step, Callable[[Progress, Entry], None]] = {
    Step.COMMISSIONING: Progress._commissioned,
    Step.PACKING: Progress._seen,
    Step.SHIPPING: Progress._left,
    Step.RETURNING: Progress._left,
    Step.RECEIVING: Progress._arrived,
    Step.STORING: Progress._seen,
    Step.CYCLE_COUNTING: Progress._seen,
    Step.UNPACKING: Progress._seen,
    Step.SAMPLING: Progress._sampled,
    Step.OPENING: Progress._opened,
    Step.DISPENSING: Progress._dispensed,
    Step.WASTING: Progress._wasted,
    Step.LOSING: Progress._lost,
    Step.FINDING: Progress._seen,
    Step.DESTROYING: Progress._destroyed,
    Step.HOLDING: Progress._held,
    Step.CONDEMNING: Progress._condemned,
    Step.RELEASING: Progress._released,
}
