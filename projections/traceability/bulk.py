"""The tables of custody made from the whole log at once: what a rebuild does first.

Facts are read in one pass. All that they tell is copied into tables without indexes, the lives of
codes are followed in memory, and those that are over leave it. Then the indexes are made, and what
is out of the ordinary is derived from the stored facts as the follower does it: part by part, so
that it fits the memory however much it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from uuid import UUID

import psycopg

from domain.shared.events import Event
from domain.traceability.events import (
    FactWithdrawn,
    HoldCondemned,
    HoldPlaced,
    HoldReleased,
    LotReleased,
    ProductRegistered,
)
from domain.traceability.facts import STEP_OF, Step, texts_of
from domain.traceability.ordinary import Life, Lives
from domain.traceability.states import Status
from projections.projection import Log
from projections.traceability import (
    derived,
    exceptions,
    lane,
    master,
    recounts,
    stocktaking,
    sums,
    telling,
)
from projections.traceability.findings import look_again
from projections.traceability.findings import queries as beside
from projections.traceability.lane import ON_BILLS, Bills, Named, Quiet, Stored
from projections.traceability.rows import Cursor, queries
from projections.traceability.telling import Given
from store.envelope import Envelope, Meta, Recorded
from store.sql import load_queries

all_at_once = load_queries(Path(__file__).parents[1] / "sql" / "traceability_bulk.sql")

# Codes that the book reads at once, and subjects that are judged at once.
CAREFUL_AT_ONCE, JUDGED_AT_ONCE = 5_000, 1_000
_BESIDE = (
    ProductRegistered.TOPIC,
    LotReleased.TOPIC,
    FactWithdrawn.TOPIC,
    *exceptions.TOPICS,
)
_BINDING = (HoldPlaced, HoldCondemned, HoldReleased)
_FACTS = tuple(sorted(cls.TOPIC for cls in STEP_OF))
_COPY = {
    "scan": queries.copy_scan,
    "fact": queries.copy_fact,
    "movement": beside.copy_movement,
    "dose": queries.copy_dose,
    "contain": queries.copy_contain,
    "node": queries.copy_node,
    "doubt": all_at_once.copy_doubt,
}
_NO_STREAM = UUID(int=0)
_ORDER = itemgetter(0)
_Lines = dict[str, list[str]]


def load(cur: Cursor, log: Log) -> None:
    """Fill tables that have no rows yet from a log.

    Conflict("code_key_collision") as the follower, but nothing is set aside: the tables are of no
    use then.
    """
    cur.execute(all_at_once.settings)
    cur.execute(all_at_once.doubts)
    batch = _keep_beside(cur, log)
    facts = _Facts(cur, log)
    written: Future[None] | None = None
    with ThreadPoolExecutor(1) as writer:  # while one page is written, the next is followed
        for page in log.events(_FACTS):
            lines = facts.take(telling.given(page))
            if written is not None:
                written.result()
            written = writer.submit(_write, cur, lines)
        if written is not None:
            written.result()
    _write(cur, facts.rest())
    _finish(cur, batch, facts)


def _keep_beside(cur: Cursor, log: Log) -> list[Recorded]:
    """Keep all that facts are held against; return those events."""
    found: list[Recorded] = []
    for page in log.events(_BESIDE):
        batch = [_recorded(*each) for each in page]
        exceptions.keep_beside(cur, batch)
        for recorded in batch:
            master.keep(cur, recorded)
        found += batch
    master.keep_declarations(cur, found)
    return found


def _recorded(position: int, event: Event, meta: Meta) -> Recorded:
    return Recorded(position, Envelope(_NO_STREAM, 0, event, meta))


def _write(cur: Cursor, lines: _Lines) -> None:
    for table, copied in lines.items():
        telling.copy_lines(cur, _COPY[table], copied)


class _Facts:
    """Takes facts in order of position, and makes rows of them.

    `whole`: lots that something was said of as a whole, with the first time of it (ms); `texts`:
    GS1 codes that the book must tell of.
    """

    def __init__(self, cur: Cursor, log: Log) -> None:
        named = Named(*([row[0] for row in cur.execute(query).fetchall()] for query in _ALL))
        bound = {
            event.lot_id
            for page in log.events([cls.TOPIC for cls in _BINDING])
            for _, event, _ in page
            if isinstance(event, _BINDING)
        }
        self._lives = Lives(replace(lane.read_known(cur, named, 0), bound=bound - {""}))
        self._quiet = Quiet(cur, named)
        self._bills = Bills()
        self.whole: dict[str, int] = {}
        self.texts = set[str]()

    def take(self, given: Sequence[Given]) -> _Lines:
        """Take the facts of a page; return the rows that they make."""
        for told in sorted((told for told, _ in given), key=_ORDER):
            self._lives.take(told)
        life_of = self._lives.life
        lives = {code: life_of(code) for told, _ in given for code in told.scanned}
        unknown = {code for code, life in lives.items() if life is None}
        lots = {code: life.lot_id for code, life in lives.items() if life is not None}
        lines: _Lines = {
            **{table: [] for table in _COPY},
            "scan": [telling.scan_line(each) for each in given],
            "fact": telling.fact_lines(given, lots),
            "dose": telling.dose_lines(given, lots, unknown),
        }
        self._look(given, unknown, lines)
        for code, life in lives.items():
            if life is not None and life.status is Status.USED:
                _tell(code, life, lines)
                self._lives.forget(code)
        return lines

    def _look(self, given: Sequence[Given], unknown: set[int], lines: _Lines) -> None:
        for each in given:
            told, event = each
            if told.order[1] in ON_BILLS:
                lines["movement"].append(telling.movement_line(each))
                if told.bill_no:
                    sent = told.order[1] != Step.RECEIVING
                    self._bills.take(told.bill_no, sent, frozenset(told.codes))
            if not self._quiet.shows_nothing(each):
                lines["doubt"].append(f"f:{telling.escaped(told.order[2])}\n")
                if told.lot_id and not told.codes:
                    first_ms = self.whole.get(told.lot_id, told.order[0])
                    self.whole[told.lot_id] = min(first_ms, told.order[0])
            if unknown and not unknown.isdisjoint(told.scanned):
                self.texts.update(text for text in texts_of(event) if text.startswith("("))

    def rest(self) -> _Lines:
        """Return the rows of the lives that go on."""
        lines: _Lines = {table: [] for table in _COPY}
        for code, life in self._lives.going_on():
            _tell(code, life, lines)
        return lines

    def fallen(self) -> list[int]:
        """Return the codes that the book must tell of."""
        return self._lives.fallen()

    def unsettled(self) -> set[str]:
        """Return the bills that are to be judged, as subjects."""
        return {f"b:{bill}" for bill in self._bills.unsettled}


_ALL = (all_at_once.all_sites, all_at_once.all_devices, all_at_once.all_lots)


def _tell(code: int, life: Life, lines: _Lines) -> None:
    lines["node"].append(lane.node_line(code, life))
    if life.stay_in is not None:
        lines["contain"].append(lane.stay_line(code, life))


# ---- what the book tells ----


def _finish(cur: Cursor, batch: Sequence[Recorded], facts: _Facts) -> None:
    """Make the indexes, then bring up to date what does not follow from ordinary lives."""
    again = _indexed(cur)
    cur.execute(all_at_once.analyze)
    master.keep_code_texts(cur, facts.texts)
    declared = [
        r.envelope.event.fact_id for r in batch if isinstance(r.envelope.event, FactWithdrawn)
    ]
    gone = [row[0] for row in cur.execute(queries.withdraw, (declared,))] if declared else []
    named = [row[0] for row in cur.execute(queries.codes_at, (gone,))] if gone else []
    asked = ([*again, *named, *facts.fallen()],)
    careful = sorted({row[0] for row in cur.execute(all_at_once.contents_below, asked)})
    for codes in _parts(careful):
        derived.refresh(cur, codes, dict.fromkeys(codes), Stored(set(), set()))
        sums.keep_doses(cur, (), {}, codes)
    for codes in _parts(careful):
        sums.keep_mixed(cur, codes)
        _doubt(cur, exceptions.subjects_read(cur, codes, derived.read_book(cur, codes), gone))
    cur.execute(all_at_once.count_all_hops)
    cur.execute(all_at_once.analyze_hops)
    _doubt(cur, facts.unsettled())
    if stocktaking.any_told(cur):
        recounts.keep(cur, 0, gone)
        _doubt(cur, stocktaking.every(cur))
    told = [row[0] for row in cur.execute(all_at_once.corrective)]
    for subjects in exceptions.subjects_told(cur, batch, facts.whole.items(), gone, told):
        _doubt(cur, subjects)
    _judge(cur, {r.position: telling.ms(r.envelope.meta.recorded_at) for r in batch})


def _doubt(cur: Cursor, subjects: Iterable[str]) -> None:
    """Keep what has to be judged, once all is known."""
    telling.copy_lines(cur, all_at_once.copy_doubt, [f"{telling.escaped(s)}\n" for s in subjects])


def _judge(cur: Cursor, clock: dict[int, int]) -> None:
    """Find what is wrong; `clock` as of `look_again`."""
    cur.execute(all_at_once.index_doubts)
    last = ""
    while subjects := [
        row[0] for row in cur.execute(all_at_once.doubts_after, (last, JUDGED_AT_ONCE))
    ]:
        look_again(cur, subjects, clock, 0)
        last = subjects[-1]
    cur.execute(all_at_once.forget_doubts)


def _indexed(cur: Cursor) -> list[int]:
    """Make the indexes; where facts were told again, forget that, and return their codes."""
    try:
        with cur.connection.transaction():
            cur.execute(queries.indexes)
    except psycopg.errors.UniqueViolation:
        again = [row[0] for row in cur.execute(all_at_once.forget_repeated)]
        cur.execute(queries.indexes)
        return again
    return []


def _parts(codes: Sequence[int]) -> Iterator[Sequence[int]]:
    for n in range(0, len(codes), CAREFUL_AT_ONCE):
        yield codes[n : n + CAREFUL_AT_ONCE]
