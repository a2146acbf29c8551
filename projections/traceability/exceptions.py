"""Findings kept by the follower: what is wrong, since which position, and until which.

Most facts are ordinary, and a look at the codes they touched tells so. What may be wrong is looked
at again as of every position of the batch that touched it, so that the rows are the same however
the events were cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from domain.alerting.events import AlertAmended, AlertFired, AlertResolved, AlertWithdrawn
from domain.alerting.policy import GRAVE
from domain.cold_chain.events import ProbePlaced, UnitRegistered
from domain.cold_chain.model import UnitKind
from domain.registry.events import SiteChanged, SiteRegistered
from domain.shared.events import Event
from domain.traceability.codes import key_code, product_of
from domain.traceability.counts import BY_CODE, BY_NUMBER
from domain.traceability.custody import Book
from domain.traceability.events import (
    ExceptionAssigned,
    ExceptionClosed,
    ExcursionConfirmed,
    FactWithdrawn,
    ShipmentOverdue,
)
from domain.traceability.exceptions import SENDING, Ground, of_fact
from domain.traceability.facts import Fact, Step
from domain.traceability.journeys import Place, impossible
from domain.traceability.progress import Entry, end_of
from domain.traceability.states import flag_of_hold
from projections.traceability import late, recounts, stocktaking
from projections.traceability.findings import (
    World,
    look_again,
    queries,
    read_world,
    units_in_doubt,
)
from projections.traceability.rows import Cursor
from projections.traceability.rows import queries as shared
from projections.traceability.sums import Kept
from store.envelope import Recorded

DDL = f"{queries.ddl};\n{stocktaking.queries.ddl}"
# What must be known beside the facts.
TOPICS = (
    AlertAmended.TOPIC,
    AlertFired.TOPIC,
    AlertResolved.TOPIC,
    AlertWithdrawn.TOPIC,
    ProbePlaced.TOPIC,
    UnitRegistered.TOPIC,
    SiteChanged.TOPIC,
    SiteRegistered.TOPIC,
    ExceptionAssigned.TOPIC,
    ExceptionClosed.TOPIC,
    ExcursionConfirmed.TOPIC,
    ShipmentOverdue.TOPIC,
)
_READ = (ExcursionConfirmed, AlertAmended, AlertFired, AlertResolved, AlertWithdrawn)
# Units that ride along: an alert of one says nothing of the stock of the site it belongs to.
_MOBILE = frozenset({UnitKind.REFRIGERATED_VEHICLE, UnitKind.COLD_BOX})
# The end of an excursion that goes on, and of one that never was (ms).
_GOES_ON, _NEVER = 2**62, -1
_ON_BILLS = SENDING | {Step.RECEIVING}
_COUNTED = BY_NUMBER | BY_CODE.keys()
_NO_PLACE = Place()
_STEPS = [step.value for step in Step]
# What a hold or a recall forbids.
_HELD_BACK = [
    step.value
    for step in Step
    if flag_of_hold(step, recall=True) or flag_of_hold(step, recall=False)
]


class Taken(NamedTuple):
    """What a batch did: its facts, the codes they touched with their facts, what was withdrawn.

    `withdrawn`: positions of facts declared wrong; `first`: where the batch begins. Of facts that
    show nothing, about codes whose lives are ordinary alone, only `told`, the ids of all facts,
    knows; `closure`: codes with such lives that were known before, and the packs above them.
    """

    facts: Sequence[Kept]
    touched: Collection[int]
    book: Book | None
    withdrawn: Collection[int]
    first: int
    told: Collection[str]
    closure: Collection[int] = ()


def keep(cur: Cursor, batch: Sequence[Recorded], taken: Taken) -> None:
    """Keep what a batch shows to be wrong, and end what it takes back."""
    _keep_movements(cur, taken.facts)
    subjects = _subjects(cur, batch, taken)
    if subjects:
        clock = {r.position: _ms(r.envelope.meta.recorded_at) for r in batch}
        look_again(cur, subjects, clock, taken.first)


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def keep_beside(cur: Cursor, batch: Sequence[Recorded]) -> None:
    """Keep places, excursions and acts."""
    for recorded in batch:
        keep_one = _KEEP.get(type(recorded.envelope.event))
        if keep_one is not None:
            keep_one(cur, recorded)


def _keep_site(cur: Cursor, recorded: Recorded) -> None:
    event: Any = recorded.envelope.event
    where = (event.org_code, event.region_code, event.latitude, event.longitude)
    cur.execute(queries.put_place, (event.site_id, recorded.position, *where))


def _keep_change(cur: Cursor, recorded: Recorded) -> None:
    event: Any = recorded.envelope.event
    where = {"latitude": event.latitude, "longitude": event.longitude}
    which = {"site_id": event.site_id, "position": recorded.position}
    cur.execute(queries.change_place, where | which)


def _keep_probe(cur: Cursor, recorded: Recorded) -> None:
    event: Any = recorded.envelope.event
    since_ms = _ms(event.placed_at)
    cur.execute(queries.put_probe, {"unit": event.unit_id, "at": recorded.position, "ms": since_ms})


def _keep_declared(cur: Cursor, recorded: Recorded) -> None:
    position, envelope = recorded
    event: Any = envelope.event
    cur.execute(queries.put_declared, (event.fact_id, position, _ms(envelope.meta.recorded_at)))


def _keep_excursion(cur: Cursor, recorded: Recorded) -> None:
    event: Any = recorded.envelope.event
    start_ms, end_ms = _ms(event.started_at), _ms(event.ended_at)
    where = (event.device_id, event.unit_id, event.site_id)
    key = f"{event.device_id}@{start_ms}"
    read = (start_ms, end_ms, event.limit_c, event.peak_c)
    cur.execute(queries.put_excursion, (key, recorded.position, *where, *read))


def _keep_unit(cur: Cursor, recorded: Recorded) -> None:
    event: Any = recorded.envelope.event
    if event.kind in _MOBILE:
        cur.execute(queries.put_mobile, (event.unit_id,))


def _keep_fired(cur: Cursor, recorded: Recorded) -> None:
    """Keep that an alert began: grave ones of the alert engine are excursions too."""
    event: Any = recorded.envelope.event
    if event.severity not in GRAVE:
        return
    row = {
        "key": event.alert_id,
        "position": recorded.position,
        "device_id": event.device_id,
        "unit_id": event.unit_id,
        "site_id": event.site_id,
        "start_ms": _ms(event.started_at),
        "end_ms": _GOES_ON,
        "limit_c": event.limit_c,
        "peak_c": event.peak_c,
    }
    cur.execute(queries.put_alert, row)


def _keep_ended(cur: Cursor, recorded: Recorded) -> None:
    """Keep what became of an alert; it recovered at its first good reading."""
    event: Any = recorded.envelope.event
    started, ended = getattr(event, "started_at", None), getattr(event, "recovered_at", None)
    end_ms = _GOES_ON if ended is None else _ms(ended) - 1
    row = {
        "key": event.alert_id,
        "position": recorded.position,
        "start_ms": None if started is None else _ms(started),
        "end_ms": _NEVER if isinstance(event, AlertWithdrawn) else end_ms,
        "peak_c": getattr(event, "peak_c", None),
    }
    cur.execute(queries.change_alert, row)


def _keep_act(cur: Cursor, recorded: Recorded) -> None:
    position, envelope = recorded
    event: Any = envelope.event
    act = "closed" if isinstance(event, ExceptionClosed) else "assigned"
    who = (_ms(envelope.meta.recorded_at), envelope.meta.actor_id)
    org_code, resolution = getattr(event, "org_code", ""), getattr(event, "resolution", "")
    said = (org_code, resolution, event.reason)
    cur.execute(queries.put_act, (event.case_id, position, act, *who, *said))


def _keep_overdue(cur: Cursor, recorded: Recorded) -> None:
    event: Any = recorded.envelope.event
    told = (event.fact_id, recorded.position, event.bill_no, _ms(event.expected_at))
    cur.execute(stocktaking.queries.put_overdue, told)


_KEEP: dict[type[Event], Callable[[Cursor, Recorded], None]] = {
    AlertFired: _keep_fired,
    **dict.fromkeys((AlertAmended, AlertResolved, AlertWithdrawn), _keep_ended),
    UnitRegistered: _keep_unit,
    SiteRegistered: _keep_site,
    SiteChanged: _keep_change,
    ProbePlaced: _keep_probe,
    FactWithdrawn: _keep_declared,
    ExcursionConfirmed: _keep_excursion,
    ShipmentOverdue: _keep_overdue,
    ExceptionClosed: _keep_act,
    ExceptionAssigned: _keep_act,
}


def _keep_movements(cur: Cursor, facts: Sequence[Kept]) -> None:
    with cur.copy(queries.copy_movement) as copy:
        for fact, mentions in facts:
            if fact.step in _ON_BILLS:
                said = (fact.bill_no, fact.device_id, fact.vehicle_id)
                copy.write_row((fact.position, fact.step, *said, len(mentions)))


# ---- what has to be looked at ----


def _subjects(cur: Cursor, batch: Sequence[Recorded], taken: Taken) -> set[str]:
    """Return what may show something now, or may have before and not any more."""
    facts = [fact for fact, _ in taken.facts]
    world = read_world(cur, [*facts, *_named(taken)])
    told_late = late.doubts(cur, batch, taken.first)
    whole = [(fact.lot_id, fact.t_ms) for fact, mentions in taken.facts if not mentions]
    codes = told_late.codes.union(*_codes_told_of(cur, batch, whole, taken.withdrawn))
    found = {f"f:{fact_id}" for fact_id in told_late.facts}
    found.update(_facts_in_doubt(taken.facts, world), _declared(cur, taken.withdrawn, taken.told))
    if taken.book is not None:
        withdrawn = _withdrawn_codes(cur, taken)
        codes |= _codes_in_doubt(cur, taken, taken.book, world, withdrawn)
        found |= units_in_doubt(cur, taken.book, taken.touched, taken.first, withdrawn)
    bills = {f.bill_no for f in facts if f.bill_no and f.step in _ON_BILLS}
    found |= _with_bills(cur, codes, bills) | _overdue(batch)
    ((known,),) = cur.execute(queries.any_finding).fetchall()
    closure = {*taken.closure, *(taken.book.codes if taken.book is not None else ())}
    if stocktaking.any_told(cur):
        told = [fact.position for fact in facts if fact.step in _COUNTED]
        told += [*taken.withdrawn, *recounts.keep(cur, taken.first, taken.withdrawn)]
        found |= stocktaking.in_doubt(cur, told, closure)
    if known and closure:
        found |= {row[0] for row in cur.execute(queries.subjects_of, (list(closure),))}
        inside = list({*taken.touched, *codes})
        found |= {row[0] for row in cur.execute(queries.subjects_inside, (inside,))}
        # (What was left open of units may be told by other packs now.)
        found |= {f"c:{row[0]}" for row in cur.execute(queries.units_left_open, (list(found),))}
    return found


def subjects_told(
    cur: Cursor,
    batch: Sequence[Recorded],
    whole: Iterable[tuple[str, int]],
    withdrawn: Collection[int],
    told: Collection[str],
) -> Iterator[set[str]]:
    """Yield what a whole log tells of beside the facts and codes that show it themselves.

    `batch`: what is known beside facts; `whole`: lots with the time (ms) of what was said of all
    of them; `withdrawn` and `told` as of `Taken`.
    """
    yield _overdue(batch).union(_declared(cur, withdrawn, told))
    for codes in _codes_told_of(cur, batch, whole, withdrawn):
        yield _with_bills(cur, codes, ())


def subjects_read(
    cur: Cursor, codes: Collection[int], book: Book, withdrawn: Collection[int]
) -> set[str]:
    """Return what some careful codes of a whole log may show; their book as of `Taken`."""
    taken = Taken((), codes, book, withdrawn, first=0, told=())
    gone = _withdrawn_codes(cur, taken)
    world = read_world(cur, _named(taken))
    doubtful = _codes_in_doubt(cur, taken, book, world, gone)
    return _with_bills(cur, doubtful, ()) | units_in_doubt(cur, book, codes, 0, gone)


def _overdue(batch: Sequence[Recorded]) -> set[str]:
    """Return the bills of shipments that a batch puts on record as overdue, as subjects."""
    events = (r.envelope.event for r in batch)
    return {f"b:{event.bill_no}" for event in events if isinstance(event, ShipmentOverdue)}


def _named(taken: Taken) -> list[Fact]:
    """Return the facts of the codes that a batch touched and that must be read with care."""
    book = taken.book
    return [] if book is None else [m.fact for k in book.codes for m in book.mentions(k)]


def _with_bills(cur: Cursor, codes: Collection[int], bills: Collection[str]) -> set[str]:
    """Return codes and bills, and the bills that codes were sent and received on, as subjects."""
    found = set(bills)
    if codes:
        found |= {row[0] for row in cur.execute(queries.bills_of, (list(codes),))}
    both = cur.execute(queries.both_sides, (list(found),)).fetchall() if found else ()
    told = [*(row[0] for row in both), *stocktaking.bills_overdue(cur, found)]
    return {*(f"c:{k}" for k in codes), *(f"b:{bill}" for bill in told)}


def _facts_in_doubt(facts: Sequence[Kept], world: World) -> Iterator[str]:
    ground = Ground(
        places={site: told[-1][1] for site, told in world.places.items()},
        probed={unit: min(ms for _, ms in told) for unit, told in world.probes.items()},
    )
    since = {site: told[0][0] for site, told in world.places.items()}
    for fact, mentions in facts:
        made = fact.step is Step.COMMISSIONING and fact.details
        # A partner that was not registered when the fact was told, but is now.
        partners = (fact.to_site_id, fact.from_site_id)
        strange = any(since.get(site, 0) > fact.position for site in partners)
        if made or strange or of_fact(fact, [m.code for m in mentions], ground):
            yield f"f:{fact.fact_id}"


def _declared(cur: Cursor, withdrawn: Collection[int], told: Collection[str]) -> Iterator[str]:
    """Yield facts that were declared wrong, and what is said to stand in the place of others."""
    if withdrawn:
        for fact_id, *_ in cur.execute(queries.withdrawn_at, (list(withdrawn),)).fetchall():
            yield from (f"f:{fact_id}", f"d:{fact_id}")
    ((any_declared,),) = cur.execute(shared.any_withdrawal).fetchall()
    if any_declared:
        for (fact_id,) in cur.execute(queries.corrected_by, (list(told),)).fetchall():
            yield f"d:{fact_id}"


def _codes_told_of(
    cur: Cursor,
    batch: Sequence[Recorded],
    whole: Iterable[tuple[str, int]],
    withdrawn: Collection[int],
) -> Iterator[Collection[int]]:
    """Yield codes whose lot was held or released after all, or not; then those of excursions."""
    told = list(whole)
    if withdrawn:
        told += [row[1:] for row in cur.execute(queries.withdrawn_at, (list(withdrawn),))]
    for lot_id, t_ms in told:
        if lot_id:
            asked = {"lot": lot_id, "steps": _HELD_BACK, "since_ms": t_ms}
            yield [row[0] for row in cur.execute(queries.moved_after, asked)]
    read = [r.position for r in batch if isinstance(r.envelope.event, _READ)]
    for row in cur.execute(queries.excursions_told, (read,)).fetchall():
        where = dict(zip(("site_id", "unit_id", "device_id", "end_ms"), row, strict=True))
        where["steps"] = _STEPS
        under = [row[0] for row in cur.execute(queries.codes_under, where)]
        yield {*under, *(row[0] for row in cur.execute(queries.apart_inside, (under,)))}


def _codes_in_doubt(
    cur: Cursor, taken: Taken, book: Book, world: World, withdrawn: Collection[int]
) -> set[int]:
    """Return the codes of a book that may show something, with the packs they ever were in."""
    lots = list({book.progress(k).lot_id for k in taken.touched})
    bound = {row[0] for row in cur.execute(queries.bound_lots, (lots,))}
    expiry = {row[0]: end_of(row[1]) for row in cur.execute(queries.expiring, (lots,))}
    products = {row[0]: row[3] for row in cur.execute(queries.products)}
    reader = _Reader(book, taken.first, world, _Beside(bound, expiry, products))
    return _with_packs(book, {k for k in taken.touched if k in withdrawn or not reader.ordinary(k)})


def _with_packs(book: Book, codes: set[int]) -> set[int]:
    """Return codes and all packs they ever were in: the outermost one tells of their balance."""
    found, waiting = set(codes), list(codes)
    while waiting:
        packs = {stay.parent for stay in book.stays(waiting.pop())} - found
        found |= packs
        waiting += packs
    return found


def _withdrawn_codes(cur: Cursor, taken: Taken) -> set[int]:
    if not taken.withdrawn:
        return set()
    ids = [row[0] for row in cur.execute(queries.withdrawn_at, (list(taken.withdrawn),))]
    return {row[1] for row in cur.execute(queries.codes_of_facts, (ids,))}


class _Beside(NamedTuple):
    """Lots bound as a whole, the last moment of each (ms), products with their positions."""

    bound: Collection[str]
    until_ms: Mapping[str, int]
    products: Mapping[str, int]


class _Reader:
    """Tells codes that show nothing, whatever was known first of the batch, from the others."""

    def __init__(self, book: Book, first: int, world: World, beside: _Beside) -> None:
        self._book, self._first, self._beside = book, first, beside
        self._places = world.places
        told = [e for each in world.excursions.values() for e in each]
        self._sites = {e.site_id for e in told if e.site_id}
        self._devices = {name for e in told for name in (e.device_id, e.unit_id) if name}

    def ordinary(self, code: int) -> bool:
        """Tell whether nothing can be wrong with a code."""
        own = self._book.progress(code)
        if own.found or self._book.judged(code) or own.lot_id in self._beside.bound:
            return False
        chain = self._book.chain(code)
        if not chain or chain[-1].fact.t_ms > self._beside.until_ms.get(own.lot_id, 2**63):
            return False
        if own.doses_given + own.doses_wasted and self._made_known_since(code):
            return False
        return self._in_turn(chain) and self._unpacked_once(code, own.lot_id)

    def _made_known_since(self, code: int) -> bool:
        """Tell whether a fact of a code came before it was known of what product it is."""
        known = self._beside.products.get(_prefix(code), -1)
        return any(mention.fact.position < known for mention in self._book.mentions(code))

    def _in_turn(self, chain: Sequence[Entry]) -> bool:
        """Tell whether facts became known as they happened, each where the last one left off."""
        last: Fact | None = None
        for entry in chain:
            fact = entry.fact
            if fact.site_id in self._sites or self._carried(fact):
                return False
            if last is not None:
                if fact.position < last.position and last.position >= self._first:
                    return False
                if not self._follows(last, fact):
                    return False
            last = fact
        return True

    def _carried(self, fact: Fact) -> bool:
        return not self._devices.isdisjoint((fact.device_id, fact.vehicle_id, fact.unit_id))

    def _follows(self, last: Fact, fact: Fact) -> bool:
        if last.step in SENDING:
            if last.to_site_id != fact.site_id or fact.step is not Step.RECEIVING:
                return False
            if max(self._known_since(last), self._known_since(fact)) > fact.position:
                return False
            return not impossible(self._at(last), self._at(fact), fact.t_ms - last.t_ms)
        return last.site_id == fact.site_id

    def _known_since(self, fact: Fact) -> int:
        told = self._places.get(fact.site_id)
        return told[-1][0] if told else -1

    def _at(self, fact: Fact) -> Place:
        told = self._places.get(fact.site_id)
        return told[-1][1] if told else _NO_PLACE

    def _unpacked_once(self, code: int, lot_id: str) -> bool:
        packed = 0
        stays = self._book.stays(code)
        for mention in self._book.mentions(code):
            step = mention.fact.step
            if step is Step.COMMISSIONING and lot_id.partition(".")[0] != _prefix(code):
                return False
            if mention.as_parent:
                continue
            packed += step is Step.PACKING
            if step is Step.DISPENSING and mention.parent is not None:
                packed += bool(stays) and stays[-1].parent != mention.parent
        return packed <= 1


def _prefix(code: int) -> str:
    text = key_code(code)
    return product_of(text) if text else ""
