"""Goods whose history reads otherwise by what came late: their holder by now is told.

Late readings and calibrations: their follower keeps what stood in the rows that they changed. Moved
probes and scans that were told late: they stand in the ledger, and are held against the goods one
by one. What is told of either and what is forgotten are one transaction, so nothing is told twice.
Rows wait until the sums are complete, and until the custody of that time is known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import structlog

from alerts.notices import EXPOSURE_REVISED, Notice, write
from alerts.weighing import Group, Looking, Place, borne, by_custody, by_place
from domain.cold_chain.events import ExposureRevised
from domain.cold_chain.model import TEMPERATURE_CHANNELS
from domain.shared.decide import fold
from domain.shared.ids import stream_id
from domain.traceability import model as traceability
from projections import thermal
from projections.shared import org_tree
from projections.thermal import Known
from projections.thermal.follow import LATE_MS
from projections.traceability.inside import named
from store.envelope import Envelope, Meta
from store.logs import Ledger
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "revised.sql")
log = structlog.get_logger(__name__)

SOURCE = "exposure"
# What the ledger tells late, beside what the follower of readings keeps.
PLACEMENT, CUSTODY = "placement", "custody"
# Seconds that a tick goes on for: never busy more than half of the time.
TICK_S = 0.5
_WINDOW = 10_000  # positions of the ledger looked through at a time
_CHANNELS = list(TEMPERATURE_CHANNELS)


class _Found(NamedTuple):
    """What one step came to: events, and what settles it in their transaction."""

    events: list[ExposureRevised]
    settle: Callable[[psycopg.Cursor[Any]], object]


class _Fact(NamedTuple):
    """What was told late at a position of the ledger: of which time, when, of which probe or place.

    `scan`: the position of the scan that is added there, or declared wrong.
    """

    position: int
    cause: str
    at_ms: int
    recorded_ms: int
    device_id: str
    channel: str
    site_id: str
    scan: int


class Revisions:
    """Tells while it leads. One thread uses it."""

    def __init__(self, ledger: Ledger, conn: psycopg.Connection[Any]) -> None:
        """`conn` is in autocommit mode; its session holds the lead."""
        self._ledger = ledger
        self._conn = conn
        self._leads = False

    def leads(self) -> bool:
        """Take the lead where nobody has it; True while this process has it."""
        if not self._leads:
            row = self._conn.execute(queries.try_lead).fetchone()
            self._leads = bool(row and row[0])
        return self._leads

    def tick(self, now: datetime) -> int:
        """Tell what there is, for a while; return how many events that made."""
        until, told = time.monotonic() + TICK_S, 0
        while True:
            try:
                found = self._next()
            except psycopg.errors.UndefinedTable:  # the read models are not built yet
                return told
            if found is None:
                return told
            self._store(found, now)
            told += len(found.events)
            if time.monotonic() > until:
                return told

    def _next(self) -> _Found | None:
        """Return what is next, None where there is nothing to do now."""
        with thermal.one_moment(self._conn) as moment:
            if not moment.complete:
                return None
            found = self._conn.execute(queries.progress, {"window": _WINDOW}).fetchone()
            looking = Looking(self._conn, moment.until_ms, self._bears)
            told, followed, upto, waits = found or (0, 0, 0, None)
            if waits is not None:
                return self._of_rows(looking) if waits <= followed else None
            if upto <= told:
                return None
            asked = {"after": told, "upto": upto, "late": LATE_MS}
            fact = self._conn.execute(queries.late_fact, asked).fetchone()
            if fact is None:
                return _Found([], lambda cur: cur.execute(queries.told, (upto,)))
            return self._of_fact(_Fact(*fact), looking)

    def _of_rows(self, looking: Looking) -> _Found:
        """Weigh what changed of a probe, and of those that ever stood beside it in a unit."""
        conn = self._conn
        rows = conn.execute(queries.pending, {"channels": _CHANNELS}).fetchall()
        before: dict[tuple[int, int], bytes] = {}
        for _, probe, block, data, _, _ in rows:
            before.setdefault((probe, block), data)
        chosen = [row for row in rows if row[5]]
        changed = sorted({(probe, block) for _, probe, block, *_ in chosen})
        rest = {key: data for key, data in before.items() if key not in set(changed)}
        stood = conn.execute(
            queries.stood,
            {
                "channels": _CHANNELS,
                "probes": [probe for probe, _ in changed],
                "blocks": [block for _, block in changed],
            },
        )
        places = _by_unit(Place(*row) for row in stood)
        then = Known(rows=thermal.earlier(conn, before))
        now = Known(rows=thermal.earlier(conn, rest) if rest else None)
        groups = by_place(looking, places, then, now)
        ids = [row[0] for row in chosen]
        return _Found(
            self._events(groups, chosen[0][4], str(ids[0])),
            lambda cur: cur.execute(queries.forget, (ids,)),
        )

    def _of_fact(self, fact: _Fact, looking: Looking) -> _Found:
        """Weigh a moved probe, or a scan, by what was known without it."""
        conn = self._conn
        if fact.cause == PLACEMENT:
            stood = conn.execute(queries.stood_otherwise, fact._asdict())
            places = _by_unit(Place(*row) for row in stood)
            then, now = Known(ledger=fact.position - 1), Known(ledger=fact.position)
            groups = by_place(looking, places, then, now)
        else:
            goods = named(conn, fact.scan, fact.at_ms)
            place = Place("", fact.site_id, "", "", fact.at_ms, fact.recorded_ms)
            groups = by_custody(looking, goods, place, fact.position)
        return _Found(
            self._events(groups, fact.cause, f"L{fact.position}"),
            lambda cur: cur.execute(queries.told, (fact.position,)),
        )

    def _events(self, groups: Sequence[Group], cause: str, of: str) -> list[ExposureRevised]:
        names = org_tree.names(self._conn, {group.site_id for group in groups})
        return [
            _event(group, names[group.site_id].region, cause, of)
            for group in groups
            if group.site_id in names
        ]

    def _store(self, found: _Found, now: datetime) -> None:
        envelopes = [
            Envelope(stream_id("cold_chain.revision", e.revision_id), 1, e, _meta(e, now))
            for e in found.events
        ]

        def settle(cur: psycopg.Cursor[Any]) -> None:
            write(cur, [_notice(event, now) for event in found.events])
            found.settle(cur)

        if envelopes:
            self._ledger.append(envelopes, before=settle)
            log.info("exposure_revised", events=len(envelopes), cause=found.events[0].cause)
        else:
            with self._conn.cursor() as cur:
                found.settle(cur)

    def _bears(self, product_id: str) -> frozenset[str]:
        """Return the limits that say nothing of a product, as it is kept beyond them."""
        told = self._ledger.stream(traceability.product_stream(product_id))
        product = fold(traceability.evolve_product, None, (each.event for each in told))
        return frozenset() if product is None else borne(product)


def _by_unit(places: Iterable[Place]) -> list[Place]:
    """Return one place a unit, of the first of its probes and of the whole time."""
    found: dict[str, Place] = {}
    for each in places:
        known = found.get(each.unit_id, each)
        since_ms, until_ms = min(known.since_ms, each.since_ms), max(known.until_ms, each.until_ms)
        found[each.unit_id] = known._replace(since_ms=since_ms, until_ms=until_ms)
    return list(found.values())


def _event(group: Group, region_code: str, cause: str, of: str) -> ExposureRevised:
    place, how = group.place, group.how
    key = [of, cause, place.unit_id, group.site_id, *(",".join(names) for names in how)]
    return ExposureRevised(
        revision_id=str(stream_id("cold_chain.revision_of", *key)),
        device_id=place.device_id,
        channel=place.channel,
        unit_id=place.unit_id,
        since=_time(place.since_ms),
        until=_time(place.until_ms),
        site_id=group.site_id,
        region_code=region_code,
        lot_ids=tuple(sorted({each.lot_id for each in group.goods})),
        codes=tuple(sorted(each.code for each in group.goods)),
        passed=how.passed,
        no_longer=how.no_longer,
        longer=how.longer,
        shorter=how.shorter,
        cause=cause,
    )


def _meta(event: ExposureRevised, now: datetime) -> Meta:
    region = event.region_code
    return Meta(occurred_at=now, recorded_at=now, region_code=region, source=SOURCE)


def _notice(event: ExposureRevised, now: datetime) -> Notice:
    grave = "freezing" in event.passed or "freezing" in event.longer
    return Notice(
        key=f"{event.revision_id}:{EXPOSURE_REVISED}:1",
        alert_id=event.revision_id,
        kind=EXPOSURE_REVISED,
        level=0,
        severity="critical" if grave else "major",
        region_code=event.region_code,
        payload={
            "alert_id": event.revision_id,
            "site_id": event.site_id,
            "unit_id": event.unit_id,
            "device_id": event.device_id,
            "channel": event.channel,
            "started_at": event.since.isoformat(),
            "ended_at": event.until.isoformat(),
            "lot_id": event.lot_ids[0],
            "lot_ids": list(event.lot_ids),
            "units": len(event.codes),
            "passed": list(event.passed),
            "no_longer": list(event.no_longer),
            "longer": list(event.longer),
            "shorter": list(event.shorter),
            "cause": event.cause,
        },
        created_at=now,
    )


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
