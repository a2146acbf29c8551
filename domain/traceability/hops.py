"""From the chains of many codes to what a person asks: the hops of a lot, and stock by place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from domain.traceability.custody import MOVING, Book
from domain.traceability.facts import Fact, Step
from domain.traceability.progress import Entry

# Steps that make a hop; packing, unpacking and opening change no custody and no place.
_BINDING = frozenset({Step.HOLDING, Step.CONDEMNING, Step.RELEASING})
_HOPS = (MOVING | _BINDING | {Step.COMMISSIONING}) - {Step.OPENING}
_LAST = frozenset({Step.DISPENSING, Step.WASTING, Step.SAMPLING, Step.LOSING, Step.DESTROYING})

_Key = tuple[Step, str, str, str, str, str]


@dataclass(slots=True)
class Hop:
    """One step of a lot at one place (and bill, and cold unit or vehicle).

    `packs`: level -> how many packs were scanned; `units`: smallest packs in or among them;
    `until_ms`: when the last of them had gone on (None = some are still there), so that readings
    of `unit_id` in [first_ms, until_ms] are the temperatures of this hop. Positions and fact ids
    name the evidence.
    """

    step: Step
    site_id: str
    to_site_id: str
    from_site_id: str
    bill_no: str
    unit_id: str
    first_ms: int
    last_ms: int
    until_ms: int | None = None
    units: int = 0
    packs: dict[int, int] = field(default_factory=dict)
    device_id: str = ""
    temperature_c: float | None = None
    transport_c_min: float | None = None
    transport_c_max: float | None = None
    accepted: bool = True
    fact_ids: tuple[str, ...] = ()
    positions: tuple[int, ...] = ()


@dataclass(slots=True)
class StockLine:
    """What of one lot is at one place in one status; `packs` by level, `units` = level 1."""

    site_id: str
    lot_id: str
    status: str
    units: int = 0
    packs: dict[int, int] = field(default_factory=dict)

    def add(self, level: int, count: int = 1) -> None:
        """Count packs of a level."""
        self.packs[level] = self.packs.get(level, 0) + count
        self.units += count if level == 1 else 0

    def sorted(self) -> StockLine:
        """Return the line with its levels in order."""
        return replace(self, packs=dict(sorted(self.packs.items())))


class _Group:
    def __init__(self) -> None:
        self.facts: dict[str, Fact] = {}
        self.scanned: set[int] = set()
        self.units: set[int] = set()
        self.until_ms: list[int | None] = []


def hops_of(book: Book, codes: Iterable[int]) -> list[Hop]:
    """Return the hops of these codes in order of their beginning.

    The chains of the innermost packs are followed: what happened to a pack counts for its
    contents at that moment, also when it was unpacked or rearranged later.
    """
    groups: dict[_Key, _Group] = defaultdict(_Group)
    for code in codes:
        if code not in book.contents:
            _follow(book, code, groups)
    found = [_hop(key, group, book.levels) for key, group in groups.items()]
    return sorted(found, key=lambda h: (h.first_ms, h.step, h.site_id, h.bill_no, h.unit_id))


def _follow(book: Book, code: int, groups: dict[_Key, _Group]) -> None:
    gone_on: int | None = None
    for entry in reversed(book.chain(code)):
        fact = entry.fact
        if fact.step in _HOPS and not entry.as_parent:
            group = groups[_key(entry)]
            group.facts[fact.fact_id] = fact
            group.scanned.add(entry.via)
            group.until_ms.append(fact.t_ms if fact.step in _LAST else gone_on)
            if book.levels[code] == 1:
                group.units.add(code)
        if fact.step in MOVING:
            gone_on = fact.t_ms


def _key(entry: Entry) -> _Key:
    fact = entry.fact
    unit_id = fact.vehicle_id if fact.step in {Step.SHIPPING, Step.RETURNING} else fact.unit_id
    return (fact.step, fact.site_id, fact.to_site_id, fact.from_site_id, fact.bill_no, unit_id)


def _hop(key: _Key, group: _Group, levels: dict[int, int]) -> Hop:
    facts = sorted(group.facts.values(), key=lambda f: f.order)
    packs: dict[int, int] = defaultdict(int)
    for code in group.scanned:
        packs[levels[code]] += 1
    gone = [t for t in group.until_ms if t is not None]
    coldest = [f.transport_c_min for f in facts if f.transport_c_min is not None]
    warmest = [f.transport_c_max for f in facts if f.transport_c_max is not None]
    return Hop(
        *key,
        first_ms=facts[0].t_ms,
        last_ms=facts[-1].t_ms,
        until_ms=max(gone) if len(gone) == len(group.until_ms) else None,
        units=len(group.units),
        packs=dict(sorted(packs.items())),
        device_id=next((f.device_id for f in facts if f.device_id), ""),
        temperature_c=next((f.temperature_c for f in facts if f.temperature_c is not None), None),
        transport_c_min=min(coldest, default=None),
        transport_c_max=max(warmest, default=None),
        accepted=all(f.accepted for f in facts),
        fact_ids=tuple(f.fact_id for f in facts),
        positions=tuple(f.position for f in facts),
    )


def stock_of(book: Book, codes: Iterable[int]) -> list[StockLine]:
    """Return by place, lot and status where these codes are, as far as their place is known.

    Packs whose contents have all left are left out.
    """
    lines: dict[tuple[str, str, str], StockLine] = {}
    for code in codes:
        state = book.standing(code)
        if state.site_id and not book.emptied(code):
            key = (state.site_id, state.lot_id, str(state.status))
            lines.setdefault(key, StockLine(*key)).add(book.levels[code])
    return [lines[key].sorted() for key in sorted(lines)]
