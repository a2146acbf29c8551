"""The ordinary lane of the follower: what the tables say of codes whose lives are ordinary.

All facts that the codes of a batch depend on are taken in the order in which they happened; of a
code whose life is ordinary after them the rows follow, and no exception does. The other codes are
left to the book.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from domain.cold_chain.events import ProbePlaced
from domain.traceability.events import CodesCommissioned, GoodsReceived
from domain.traceability.exceptions import LATE_MS, SENDING
from domain.traceability.facts import BEGINNING, Step
from domain.traceability.journeys import Place
from domain.traceability.ordinary import NO_END_MS, STEPS, Known, Life, Lives, Told
from domain.traceability.progress import end_of
from projections.traceability import telling
from projections.traceability.findings import queries as beside
from projections.traceability.rows import ALWAYS, Cursor, keys, queries
from projections.traceability.telling import NULL, Given, name
from store.envelope import Recorded

ON_BILLS = SENDING | {Step.RECEIVING}
_OF_CODES = ON_BILLS | {Step.DISPENSING}


@dataclass(slots=True)
class Lane:
    """What a batch came to: ordinary lives by code, and the codes that are left to the book.

    `nodes`: rows of codes known before; `told`: all facts taken, in their order; `earlier`: those
    of them that were told before.
    """

    nodes: dict[int, tuple[Any, ...]]
    earlier: list[Told] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    lives: dict[int, Life] = field(default_factory=dict)
    careful: set[int] = field(default_factory=set)

    def closure(self) -> set[int]:
        """Return the codes known before, and the packs above them, of which findings may tell."""
        return {code for told in self.earlier for code in told.scanned}


class Stored(NamedTuple):
    """Of the ordinary lives stored, codes that are new, and old ones with other stays in packs."""

    new: set[int]
    resettled: set[int]


def follow(
    cur: Cursor,
    given: Sequence[Given],
    touched: set[int],
    *,
    fallen: Collection[int],
    gone: Collection[int],
    first: int,
) -> Lane:
    """Follow the lives of codes touched by a batch from position `first` on.

    `fallen`: codes that are out of the ordinary whatever their facts say; `gone`: positions of
    facts that were declared wrong.
    """
    codes = touched | {t.pack for t, _ in given if t.pack is not None}
    nodes = {row[0]: row for row in cur.execute(queries.nodes_among, (keys(codes),))}
    lane = Lane(nodes)
    if nodes:
        asked = {"codes": keys(nodes), "first": first}
        lane.earlier = telling.told_before(cur.execute(queries.mentions_upwards, asked))
    new = [t for t, _ in given if t.position not in gone]
    lane.told = sorted([*lane.earlier, *new])
    known = read_known(cur, Named.of(lane.told), first)
    lives = Lives(replace(known, levels={k: row[2] for k, row in nodes.items()}), fallen)
    for told in lane.told:
        lives.take(told)
    for code in touched:
        life = lives.life(code)
        if life is not None and _as_before(life, nodes.get(code)):
            lane.lives[code] = life
        else:
            lane.careful.add(code)
    return lane


def _as_before(life: Life, node: tuple[Any, ...] | None) -> bool:
    """Tell whether lot and level of a code are what they were, so that no other row changes."""
    return node is None or (node[1], node[3]) == (life.lot_id, life.declared)


class Named(NamedTuple):
    """Places, devices (with vehicles) and lots that facts name."""

    sites: Collection[str]
    devices: Collection[str]
    lots: Collection[str]

    @classmethod
    def of(cls, told: Iterable[Told]) -> Named:
        """Return what these facts name."""
        sites, devices, lots = set[str](), set[str](), set[str]()
        for each in told:
            sites.update((each.site_id, each.to_site_id))
            devices.update((each.device_id, each.vehicle_id, each.unit_id))
            lots.add(each.lot_id)
        return cls(sites - {""}, devices - {""}, lots)


def read_known(cur: Cursor, named: Named, first: int) -> Known:
    """Return what is known beside facts; see `Known`."""
    names = {"sites": list(named.sites), "devices": list(named.devices)}
    places, doubtful = _places(cur, names["sites"])
    for _, _, device_id, unit_id, site_id, _, end_ms, *_ in cur.execute(beside.excursions, names):
        for each in (device_id, unit_id, site_id):
            if each:
                doubtful[each] = max(end_ms, doubtful.get(each, 0))
    whole = (list(named.lots),)
    return Known(
        first=first,
        bound={row[0] for row in cur.execute(beside.bound_lots, whole)},
        until_ms={row[0]: end_of(row[1]) for row in cur.execute(beside.expiring, whole)},
        doubtful=doubtful,
        places=places,
        shared={row[0] for row in cur.execute(queries.vials) if row[1] > 1},
    )


def _places(
    cur: Cursor, sites: Sequence[str]
) -> tuple[dict[str, tuple[int, Place]], dict[str, int]]:
    """Return where sites are; those that moved on the map are doubtful for ever."""
    places, doubtful = dict[str, tuple[int, Place]](), dict[str, int]()
    for site_id, position, latitude, longitude in cur.execute(beside.places, (list(sites),)):
        if site_id in places:
            doubtful[site_id] = NO_END_MS
        places[site_id] = position, Place(latitude, longitude)
    return places, doubtful


# ---- rows ----


def keep(cur: Cursor, lane: Lane) -> Stored:
    """Store what is derived of ordinary lives."""
    old = [code for code in lane.lives if code in lane.nodes]
    resettled = _keep_stays(cur, lane.lives, old)
    again, lines = [], []
    for code, life in lane.lives.items():
        known = lane.nodes.get(code)
        if known is not None:
            if life.declared is None:
                life.level = max(life.level, known[2])
            if known == _node_row(code, life):
                continue
            again.append(code)
        lines.append(node_line(code, life))
    if again:
        cur.execute(queries.forget_nodes, (again,))
    telling.copy_lines(cur, queries.copy_node, lines)
    return Stored(lane.lives.keys() - lane.nodes.keys(), resettled)


def _keep_stays(cur: Cursor, lives: dict[int, Life], old: list[int]) -> set[int]:
    """Store the stays that are not stored yet; return the codes known before that have others."""
    stored: dict[int, list[tuple[Any, ...]]] = {code: [] for code in old}
    if old:
        for row in cur.execute(queries.stays, (old,)):
            stored[row[0]].append(row)
    lines, changed = [], set()
    for code, life in lives.items():
        if code in stored:
            if stored[code] == ([] if life.stay_in is None else [_stay_row(code, life)]):
                continue
            changed.add(code)
        if life.stay_in is not None:
            lines.append(stay_line(code, life))
    if changed:
        cur.execute(queries.forget_stays, (list(changed),))
    telling.copy_lines(cur, queries.copy_contain, lines)
    return changed


def _stay_row(code: int, life: Life) -> tuple[int, int | None, int, int]:
    start = -ALWAYS - 1 if life.start == BEGINNING else life.start[0]
    return code, life.stay_in, start, ALWAYS if life.end is None else life.end[0]


def stay_line(code: int, life: Life) -> str:
    """Return the stay of a life as COPY takes it."""
    child, parent, start, end = _stay_row(code, life)
    return f"{child}\t{parent}\t{start}\t{end}\n"


def _node_row(code: int, life: Life) -> tuple[Any, ...]:
    parent = life.parent
    inside = parent is not None
    return (
        code,
        life.lot_id,
        life.level,
        life.declared,
        parent,
        *(("", "", None) if inside else (life.site_id, life.unit_id, life.status.value)),
        False,
        False,
        life.doses_given,
        0,
        life.since_ms,
        [],
    )


def node_line(code: int, life: Life) -> str:
    """Return the present of an ordinary life as COPY takes it."""
    declared = NULL if life.declared is None else life.declared
    parent = life.parent
    if parent is None:
        where = f"{NULL}\t{name(life.site_id)}\t{name(life.unit_id)}\t{life.status.value}"
    else:
        where = f"{parent}\t\t\t{NULL}"
    return (
        f"{code}\t{name(life.lot_id)}\t{life.level}\t{declared}\t{where}\tf\tf\t"
        f"{life.doses_given}\t0\t{life.since_ms}\t{{}}\n"
    )


# ---- facts that show nothing by themselves ----


class Quiet:
    """Tells facts that nothing is wrong with, whatever else is known of their codes, from others.

    `named`: their partners, devices and lots; `probed`: units with a probe, not stored yet.
    """

    def __init__(self, cur: Cursor, named: Named, probed: Iterable[str] = ()) -> None:
        self._places = _places(cur, list(named.sites))[0]
        ((self._any_place,),) = cur.execute(queries.any_place).fetchall()
        self._probed = {row[0] for row in cur.execute(beside.probes, (list(named.devices),))}
        self._probed.update(probed)
        self._expiry = dict(
            row[:2] for row in cur.execute(beside.expiring, (list(named.lots),)).fetchall()
        )

    def shows_nothing(self, given: Given) -> bool:
        """Tell whether a fact shows nothing by itself."""
        told, event = given
        if told.silent:
            return True
        if told.order[1] not in STEPS or told.recorded_ms - told.order[0] > LATE_MS:
            return False
        if not told.plain or not told.codes:
            return told.order[1] == Step.UNPACKING
        return not (
            getattr(event, "quantities", ())
            or self._strange(given)
            or (isinstance(event, GoodsReceived) and told.vehicle_id in self._probed)
            or (isinstance(event, CodesCommissioned) and self._misprinted(event))
        )

    def _strange(self, given: Given) -> bool:
        """Tell whether a partner is not known, or was not yet."""
        if not self._any_place:
            return False
        for site_id in _partners(given):
            place = self._places.get(site_id)
            if place is None or place[0] > given[0].position:
                return True
        return False

    def _misprinted(self, event: CodesCommissioned) -> bool:
        printed = event.expires_on
        return printed is not None and self._expiry.get(event.lot_id, printed) != printed


def _partners(given: Given) -> list[str]:
    named = (given[0].to_site_id, getattr(given[1], "from_site_id", ""))
    return [site for site in named if site]


def others(
    cur: Cursor, given: Sequence[Given], batch: Iterable[Recorded], lane: Lane
) -> list[Given]:
    """Store the movements of facts that show nothing, about ordinary lives; return the others."""
    loud = [g for g in given if not g[0].silent]
    partners = {site for g in loud for site in _partners(g)}
    named = Named.of(t for t, _ in loud)._replace(sites=partners)
    placed = (r.envelope.event for r in batch if isinstance(r.envelope.event, ProbePlaced))
    quiet = Quiet(cur, named, (event.unit_id for event in placed))
    unsettled = _unsettled(cur, given, lane.told)
    lines, found = [], []
    for each in given:
        told = each[0]
        if (
            quiet.shows_nothing(each)
            and lane.careful.isdisjoint(told.scanned)
            and told.bill_no not in unsettled
        ):
            if told.order[1] in ON_BILLS:
                lines.append(telling.movement_line(each))
        else:
            found.append(each)
    telling.copy_lines(cur, beside.copy_movement, lines)
    return found


def _unsettled(cur: Cursor, given: Sequence[Given], told: Sequence[Told]) -> set[str]:
    """Return the bills on which not simply all that was sent at once arrived at once."""
    bills = Bills()
    moved = [t for t, _ in given if t.order[1] in ON_BILLS and t.bill_no]
    if not moved:
        return set()
    codes = {t.position: frozenset(t.codes) for t in told if t.order[1] in ON_BILLS}
    numbers = list({t.bill_no for t in moved})
    for bill_no, step, position, number in cur.execute(queries.movements_of, (numbers,)):
        named = codes.get(position, frozenset())
        # Of a movement that named other codes, too, not all facts are read.
        bills.take(bill_no, step in SENDING, named if len(named) == number else None)
    for each in moved:
        bills.take(each.bill_no, each.order[1] in SENDING, codes.get(each.position))
    return bills.unsettled


class Bills:
    """Bills by what was told of them; `unsettled`: not simply all sent at once arrived at once."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[bool, frozenset[int] | None] | None] = {}
        self.unsettled = set[str]()

    def take(self, bill_no: str, sent: bool, codes: frozenset[int] | None) -> None:
        """Take a movement on a bill; `codes` None: they are not known."""
        known = self._told.get(bill_no)
        if bill_no not in self._told:
            self._told[bill_no] = sent, codes
        elif known is None:
            self.unsettled.add(bill_no)
        elif known[0] == sent:
            self._told[bill_no] = sent, None  # what comes the other way cannot be all of one
        elif codes is None or known[1] != codes:
            self.unsettled.add(bill_no)
        else:
            self._told[bill_no] = None
