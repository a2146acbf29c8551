"""Findings kept by the follower: what is wrong, since which position, and until which.

Most facts are ordinary, and a look at the codes they touched tells so. What may be wrong is looked
at again as of every position of the batch that touched it, so that the rows are the same however
the events were cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from domain.alerting.events import AlertAmended, AlertFired, AlertResolved, AlertWithdrawn
from domain.cold_chain.events import ProbePlaced, UnitRegistered
from domain.cold_chain.model import UnitKind
from domain.registry.events import SiteChanged, SiteRegistered
from domain.shared.events import Event
from domain.traceability.codes import key_code, product_of
from domain.traceability.custody import Book
from domain.traceability.events import (
    ExceptionAssigned,
    ExceptionClosed,
    ExcursionConfirmed,
    FactWithdrawn,
    LotReleased,
    ProductRegistered,
)
from domain.traceability.exceptions import SENDING, Ground, of_fact
from domain.traceability.facts import Fact, Mention, Step
from domain.traceability.journeys import Place, impossible
from domain.traceability.progress import ZONE, Entry
from domain.traceability.states import flag_of_hold
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

DDL = queries.ddl
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
)
_ALERTS = (AlertAmended, AlertFired, AlertResolved, AlertWithdrawn)
_READ = (ExcursionConfirmed, *_ALERTS)
_MASTER = (
    ProductRegistered,
    LotReleased,
    SiteRegistered,
    SiteChanged,
    ExcursionConfirmed,
    *_ALERTS,
)
# Units that ride along: an alert of one says nothing of the stock of the site it belongs to.
_MOBILE = frozenset({UnitKind.REFRIGERATED_VEHICLE, UnitKind.COLD_BOX})
# The end of an excursion that goes on, and of one that never was (ms).
_GOES_ON, _NEVER = 2**62, -1
_ON_BILLS = SENDING | {Step.RECEIVING}
_NO_PLACE = Place()
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
    judge(cur, batch, taken, lambda: {r.position: _ms(r.envelope.meta.recorded_at) for r in batch})


def judge(
    cur: Cursor,
    batch: Sequence[Recorded],
    taken: Taken,
    clock: Callable[[], Mapping[int, int]],
    also: Collection[str] = (),
) -> None:
    """Do so where the movements are stored; `also`: subjects to be looked at besides.

    `clock` gives the positions of all that was taken with the ms they were recorded at.
    """
    subjects = _subjects(cur, batch, taken).union(also)
    if subjects:
        extra = [r.position for r in batch if isinstance(r.envelope.event, _MASTER)]
        look_again(cur, subjects, clock(), extra)


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
    cur.execute(queries.put_probe, (event.unit_id, recorded.position))


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
    """Keep that an alert began: the alert engine's episodes are excursions too, with its dwell."""
    event: Any = recorded.envelope.event
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


_KEEP: dict[type[Event], Callable[[Cursor, Recorded], None]] = {
    AlertFired: _keep_fired,
    **dict.fromkeys((AlertAmended, AlertResolved, AlertWithdrawn), _keep_ended),
    UnitRegistered: _keep_unit,
    SiteRegistered: _keep_site,
    SiteChanged: _keep_change,
    ProbePlaced: _keep_probe,
    FactWithdrawn: _keep_declared,
    ExcursionConfirmed: _keep_excursion,
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
    named = _named(taken)
    world = read_world(cur, named)
    found = set(_facts_in_doubt(cur, taken, world))
    codes = _codes_in_doubt(cur, batch, taken, world)
    found |= {f"c:{k}" for k in codes}
    found |= _bills_in_doubt(cur, taken, codes)
    if taken.book is not None:
        withdrawn = _withdrawn_codes(cur, taken)
        found |= units_in_doubt(cur, taken.book, taken.touched, taken.first, withdrawn)
    ((known,),) = cur.execute(queries.any_finding).fetchall()
    closure = {*taken.closure, *(taken.book.codes if taken.book is not None else ())}
    if known and closure:
        found |= {row[0] for row in cur.execute(queries.subjects_of, (list(closure),))}
        inside = list({*taken.touched, *codes})
        found |= {row[0] for row in cur.execute(queries.subjects_inside, (inside,))}
    return found


def _named(taken: Taken) -> list[Mention]:
    """Return the facts of the codes that a batch touched."""
    named = [m for _, mentions in taken.facts for m in mentions]
    if taken.book is not None:
        named += [m for k in taken.book.codes for m in taken.book.mentions(k)]
    return named


def _facts_in_doubt(cur: Cursor, taken: Taken, world: World) -> Iterator[str]:
    ground = Ground(
        places={site: told[-1][1] for site, told in world.places.items()},
        probed=frozenset(world.probes),
    )
    for fact, mentions in taken.facts:
        made = fact.step is Step.COMMISSIONING and fact.details
        if made or of_fact(fact, [m.code for m in mentions], ground):
            yield f"f:{fact.fact_id}"
    if taken.withdrawn:
        for fact_id, *_ in cur.execute(queries.withdrawn_at, (list(taken.withdrawn),)).fetchall():
            yield from (f"f:{fact_id}", f"d:{fact_id}")
    told = list(taken.told) if cur.execute(shared.any_withdrawal).fetchall()[0][0] else []
    for (fact_id,) in cur.execute(queries.corrected_by, (told,)).fetchall():
        yield f"d:{fact_id}"


def _codes_in_doubt(cur: Cursor, batch: Sequence[Recorded], taken: Taken, world: World) -> set[int]:
    found = _codes_of_lots(cur, taken)
    read = [r.position for r in batch if isinstance(r.envelope.event, _READ)]
    for row in cur.execute(queries.excursions_told, (read,)).fetchall():
        where = dict(zip(("site_id", "unit_id", "device_id", "end_ms"), row, strict=True))
        under = [row[0] for row in cur.execute(queries.codes_under, where)]
        given = [row[0] for row in cur.execute(queries.given_inside, (under,))]
        found.update(under, given)
    book = taken.book
    if book is None:
        return found
    lots = list({book.progress(k).lot_id for k in taken.touched})
    bound = {row[0] for row in cur.execute(queries.bound_lots, (lots,))}
    expiry = {row[0]: end_of(row[1]) for row in cur.execute(queries.expiring, (lots,))}
    reader = _Reader(book, taken.first, world, bound, expiry)
    withdrawn = _withdrawn_codes(cur, taken)
    found.update(k for k in taken.touched if k in withdrawn or not reader.ordinary(k))
    return found


def _codes_of_lots(cur: Cursor, taken: Taken) -> set[int]:
    """Return codes whose lot was held, recalled or released after all, or not after all."""
    told = [(fact.lot_id, fact.t_ms) for fact, mentions in taken.facts if not mentions]
    if taken.withdrawn:
        rows = cur.execute(queries.withdrawn_at, (list(taken.withdrawn),))
        told += [(lot_id, t_ms) for _, lot_id, t_ms in rows]
    found = set[int]()
    for lot_id, t_ms in told:
        if lot_id:
            rows = cur.execute(queries.moved_after, (lot_id, _HELD_BACK, t_ms))
            found.update(row[0] for row in rows)
    return found


def _withdrawn_codes(cur: Cursor, taken: Taken) -> set[int]:
    if not taken.withdrawn:
        return set()
    ids = [row[0] for row in cur.execute(queries.withdrawn_at, (list(taken.withdrawn),))]
    return {row[1] for row in cur.execute(queries.codes_of_facts, (ids,))}


def end_of(day: date) -> int:
    """Return the last moment of a day in China, ms since 1970."""
    return _ms(datetime(day.year, day.month, day.day, 23, 59, 59, 999_000, tzinfo=ZONE))


def _bills_in_doubt(cur: Cursor, taken: Taken, codes: Collection[int]) -> set[str]:
    bills = {f.bill_no for f, _ in taken.facts if f.bill_no and f.step in _ON_BILLS}
    if codes:
        bills |= {row[0] for row in cur.execute(queries.bills_of, (list(codes),))}
    if not bills:
        return set()
    return {f"b:{row[0]}" for row in cur.execute(queries.both_sides, (list(bills),))}


class _Reader:
    """Tells codes that show nothing, whatever was known first of the batch, from the others."""

    def __init__(
        self,
        book: Book,
        first: int,
        world: World,
        bound: Collection[str],
        expiry: Mapping[str, int],
    ) -> None:
        self._book, self._first, self._bound, self._expiry = book, first, bound, expiry
        self._places = world.places
        told = [e for each in world.excursions.values() for e in each]
        self._sites = {e.site_id for e in told if e.site_id}
        self._devices = {e.device_id for e in told} | {e.unit_id for e in told}

    def ordinary(self, code: int) -> bool:
        """Tell whether nothing can be wrong with a code."""
        own = self._book.progress(code)
        if own.found or own.lot_id in self._bound:
            return False
        chain = self._book.chain(code)
        if not chain or chain[-1].fact.t_ms > self._expiry.get(own.lot_id, 2**63):
            return False
        return self._in_turn(chain) and self._unpacked_once(code, own.lot_id)

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
                if not entry.inherited and not self._follows(last, fact):
                    return False
            last = fact
        return True

    def _carried(self, fact: Fact) -> bool:
        return bool(self._devices) and (
            fact.device_id in self._devices or fact.vehicle_id in self._devices
        )

    def _follows(self, last: Fact, fact: Fact) -> bool:
        if last.step in SENDING:
            if last.to_site_id != fact.site_id or fact.step is not Step.RECEIVING:
                return False
            return not impossible(self._at(last), self._at(fact), fact.t_ms - last.t_ms)
        return last.site_id == fact.site_id

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
