"""Facts about codes, in the form that is folded: what a step said once, and which codes it named.

Facts are ordered by (time, step, fact id), never by order of arrival, so that late, repeated and
shuffled captures give the same chain. A position is only ever used to answer "as of".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from enum import IntEnum
from operator import attrgetter
from typing import Any, NamedTuple

from domain.traceability.codes import code_key
from domain.traceability.events import (
    CodesCommissioned,
    CodesFound,
    CodesMissing,
    DoseAdministered,
    DosesWasted,
    GoodsDestroyed,
    GoodsDispatched,
    GoodsReceived,
    GoodsReturned,
    GoodsSampled,
    HoldCondemned,
    HoldPlaced,
    HoldReleased,
    PacksAggregated,
    PacksDisaggregated,
    PutAway,
    Quantity,
    RecallAcknowledged,
    StockAdjusted,
    StockCounted,
    VialOpened,
)
from domain.traceability.particulars import two_persons

FactEvent = (
    CodesCommissioned
    | PacksAggregated
    | PacksDisaggregated
    | GoodsDispatched
    | GoodsReceived
    | PutAway
    | VialOpened
    | DoseAdministered
    | DosesWasted
    | HoldPlaced
    | HoldReleased
    | HoldCondemned
    | RecallAcknowledged
    | GoodsReturned
    | GoodsSampled
    | GoodsDestroyed
    | StockCounted
    | StockAdjusted
    | CodesMissing
    | CodesFound
)


class Step(IntEnum):
    """What was done. The number is stored, and orders facts of one moment: it is permanent.

    From HOLDING on, a step may be about a whole lot: it then happens to every code of it.
    """

    COMMISSIONING = 10
    PACKING = 20
    SHIPPING = 30
    RETURNING = 35
    RECEIVING = 40
    STORING = 50
    CYCLE_COUNTING = 55
    ADJUSTING = 57
    UNPACKING = 60
    SAMPLING = 65
    OPENING = 70
    DISPENSING = 80
    WASTING = 90
    LOSING = 92
    FINDING = 94
    DESTROYING = 100
    ACKNOWLEDGING = 105
    HOLDING = 110
    CONDEMNING = 115
    RELEASING = 120


STEP_OF: dict[type[FactEvent], Step] = {
    CodesCommissioned: Step.COMMISSIONING,
    PacksAggregated: Step.PACKING,
    GoodsDispatched: Step.SHIPPING,
    GoodsReturned: Step.RETURNING,
    GoodsReceived: Step.RECEIVING,
    PutAway: Step.STORING,
    PacksDisaggregated: Step.UNPACKING,
    VialOpened: Step.OPENING,
    DoseAdministered: Step.DISPENSING,
    DosesWasted: Step.WASTING,
    GoodsDestroyed: Step.DESTROYING,
    HoldPlaced: Step.HOLDING,
    HoldReleased: Step.RELEASING,
    HoldCondemned: Step.CONDEMNING,
    RecallAcknowledged: Step.ACKNOWLEDGING,
    GoodsSampled: Step.SAMPLING,
    StockCounted: Step.CYCLE_COUNTING,
    StockAdjusted: Step.ADJUSTING,
    CodesMissing: Step.LOSING,
    CodesFound: Step.FINDING,
}

# Deeper than small, middle and large pack on a pallet in a container, the facts go in circles.
LEVEL_MAX = 9
Order = tuple[int, int, str]
BEGINNING: Order = (-(2**63), 0, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that happened to some codes, with the particulars of any step.

    `t_ms` is the event time, `recorded_ms` when the ledger learned it (ms since 1970, UTC). A
    fact counts as of position P when `position` <= P and it is not withdrawn at or before P.
    """

    fact_id: str
    step: Step
    t_ms: int
    recorded_ms: int
    position: int
    withdrawn_position: int | None = None
    site_id: str
    to_site_id: str = ""
    from_site_id: str = ""
    unit_id: str = ""
    vehicle_id: str = ""
    device_id: str = ""
    bill_no: str = ""
    bill_type: str = ""
    lot_id: str = ""
    level: int | None = None
    temperature_c: float | None = None
    transport_c_min: float | None = None
    transport_c_max: float | None = None
    accepted: bool = True
    recall: bool = False
    units: int | None = None  # smallest packs, where no code tells
    doses: int | None = None
    dose_number: int | None = None
    recipient: str = ""
    vaccinator: str = ""
    executed_by: str = ""
    supervised_by: str = ""
    reason: str = ""
    all_contents: bool = False  # an unpacking that names no child empties the pack
    details: str = ""  # JSON object of all that was said beyond this, by attribute of the event

    # Where the fact stands among all facts.
    order: Order = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", (self.t_ms, self.step, self.fact_id))

    @property
    def more(self) -> dict[str, Any]:
        """Return what was said beyond the particulars above: JSON values, times as ISO texts."""
        return json.loads(self.details) if self.details else {}

    def counts(self, as_of: int | None) -> bool:
        """Tell whether the fact was known and not withdrawn at a position (None = now)."""
        if as_of is None:
            return self.withdrawn_position is None
        gone = self.withdrawn_position
        return self.position <= as_of and (gone is None or gone > as_of)


class Mention(NamedTuple):
    """A code (by key) named by a fact; `as_parent`: it is the pack that was filled or emptied."""

    code: int
    parent: int | None
    as_parent: bool
    fact: Fact


# The particulars of a fact, by name.
FIELDS = tuple(f.name for f in fields(Fact) if f.init)
_COPIED = {cls: tuple(f.name for f in fields(cls) if f.name in FIELDS) for cls in STEP_OF}
# What of an event is said of it in other ways: its codes are mentions.
_APART = {*FIELDS, "codes", "parent"}
_SAID = {cls: [f for f in fields(cls) if f.name not in _APART] for cls in STEP_OF}
# How to take all of it at once (of two attributes or more attrgetter makes a tuple), and what it is
# where nothing was said.
_TAKE = {cls: attrgetter("TOPIC", "VERSION", *(f.name for f in _SAID[cls])) for cls in STEP_OF}
_NOTHING = {cls: (cls.TOPIC, cls.VERSION, *(f.default for f in _SAID[cls])) for cls in STEP_OF}


def fact_of(
    event: FactEvent,
    *,
    t_ms: int,
    recorded_ms: int,
    position: int,
    withdrawn_position: int | None = None,
) -> Fact:
    """Return the fact that a stored event states."""
    cls = type(event)
    return Fact(
        step=STEP_OF[cls],
        t_ms=t_ms,
        recorded_ms=recorded_ms,
        position=position,
        withdrawn_position=withdrawn_position,
        all_contents=cls is PacksDisaggregated and not event.codes,
        details=details_of(event),
        **{name: getattr(event, name) for name in _COPIED[cls]},
    )


def details_of(event: FactEvent) -> str:
    """Return what was said beyond the particulars of facts, as JSON; "" where nothing was."""
    cls = type(event)
    values = _TAKE[cls](event)
    if values == _NOTHING[cls]:
        return ""
    given = zip(_SAID[cls], values[2:], strict=True)
    said = {f.name: value for f, value in given if value != f.default}
    return json.dumps(said, ensure_ascii=False, default=_plain)


def _plain(value: date | Quantity) -> object:
    return asdict(value) if isinstance(value, Quantity) else value.isoformat()


def mentions_of(event: FactEvent, fact: Fact) -> list[Mention]:
    """Return the codes a fact names, each once; a pack inside itself is not believed."""
    named = getattr(event, "parent", "")
    parent = code_key(named) if named else None
    children = dict.fromkeys(map(code_key, event.codes))
    mentions = [Mention(code, parent, False, fact) for code in children if code != parent]
    if parent is not None and not isinstance(event, DoseAdministered):
        mentions.append(Mention(parent, None, True, fact))
    return mentions


def binds_lot(event: FactEvent) -> bool:
    """Tell whether a fact holds, condemns or releases a whole lot, or orders or lifts a recall.

    Whoever states that must have authority over the lot; a scanner never has.
    """
    match event:
        case HoldPlaced() | HoldReleased():
            return bool(event.lot_id) or event.recall
        case HoldCondemned():
            return bool(event.lot_id)
        case _:
            return False


def signed_by_two(event: FactEvent) -> bool:
    """Tell whether a fact that two persons must answer for names two different ones."""
    if not isinstance(event, HoldReleased | HoldCondemned | GoodsDestroyed):
        return True
    return two_persons(event.executed_by, event.supervised_by)


def texts_of(event: FactEvent) -> Sequence[str]:
    """Return the codes of an event as texts, the pack among them."""
    named = getattr(event, "parent", "")
    return [*event.codes, named] if named else event.codes
