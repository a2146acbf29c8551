"""Goods whose history passed a limit by readings that came late: their holder by now is told.

The follower of readings keeps what such readings changed; here it is held against the stays of the
goods. What is told and what is forgotten of it are one transaction, so nothing is told twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg
import structlog

from alerts.notices import EXPOSURE_REVISED, Notice, write
from domain.cold_chain.events import ExposureRevised
from domain.cold_chain.model import TEMPERATURE_CHANNELS
from domain.shared.decide import fold
from domain.shared.ids import stream_id
from domain.stability.arrhenius import Floats
from domain.stability.budget import passed
from domain.stability.exposure import COLD_C, FREEZING_C, WARM_C
from domain.traceability import model as traceability
from domain.traceability.codes import code_key
from domain.traceability.thermal import Excursion
from projections import thermal
from projections.shared import org_tree
from projections.thermal.blocks import BLOCK_MS, read_sums
from projections.traceability.inside import Inside, inside
from projections.traceability.stays import Stays, stays_of_codes
from store.envelope import Envelope, Meta
from store.logs import Ledger
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "revised.sql")
log = structlog.get_logger(__name__)

SOURCE = "exposure"


class Where(NamedTuple):
    """Where a probe stood in the time of what came late; `site_id`: where the unit belongs."""

    device_id: str
    channel: str
    unit_id: str
    site_id: str
    since_ms: int
    until_ms: int


class Changes(NamedTuple):
    """What came late of a probe: rows, when each quarter begins (ms), sums after less before."""

    ids: list[int]
    at_ms: npt.NDArray[np.int64]
    more: Floats


class Revisions:
    """Tells; one probe a tick, as one may concern many goods."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def tick(self, conn: psycopg.Connection[Any], now: datetime) -> int:
        """Tell what came late of the probe whose turn it is; return how many events that made."""
        found = conn.execute(queries.changes).fetchall()
        if not found:
            return 0
        changes = Changes(
            ids=[row[0] for row in found],
            at_ms=np.array([row[1] for row in found], np.int64) * BLOCK_MS,
            more=np.stack([read_sums(row[3])[0, 0] - read_sums(row[2])[0, 0] for row in found], 1),
        )
        try:
            stood = conn.execute(queries.next_probe, {"channels": list(TEMPERATURE_CHANNELS)})
            told = self._bears
            events = [e for r in stood.fetchall() for e in revised(conn, Where(*r), changes, told)]
        except psycopg.errors.UndefinedTable:  # the read models are not built yet
            return 0
        envelopes = [
            Envelope(stream_id("cold_chain.revision", e.revision_id), 1, e, _meta(e, now))
            for e in events
        ]

        def settle(cur: psycopg.Cursor[Any]) -> None:
            write(cur, [_notice(event, now) for event in events])
            cur.execute(queries.forget, (changes.ids,))

        self._ledger.append(envelopes, before=settle)
        if events:
            log.info("exposure_revised", events=len(events), probe=events[0].device_id)
        return len(events)

    def _bears(self, product_id: str) -> frozenset[str]:
        """Return the limits that say nothing of a product, as it is kept beyond them."""
        told = self._ledger.stream(traceability.product_stream(product_id))
        product = fold(traceability.evolve_product, None, (each.event for each in told))
        return frozenset() if product is None else borne(product)


def borne(product: traceability.Product) -> frozenset[str]:
    """Return the limits (`budget.LIMITS`) that a product is kept beyond, or that do not hurt it."""
    least, most = product.temperature_c_min, product.temperature_c_max
    frozen = not product.freeze_sensitive or least <= FREEZING_C
    found = {"above": most > WARM_C, "below": least < COLD_C, "freezing": frozen}
    return frozenset(name for name, bears in found.items() if bears)


def revised(
    conn: psycopg.Connection[Any],
    where: Where,
    changes: Changes,
    bears: Callable[[str], frozenset[str]],
) -> list[ExposureRevised]:
    """Return what a probe's late readings changed of the goods in its unit, by holder.

    `bears`: the limits that say nothing of a product.
    """
    excursion = Excursion(
        device_id="",
        start_ms=where.since_ms,
        end_ms=where.until_ms - 1,
        limit_c=0.0,
        peak_c=0.0,
        unit_id=where.unit_id,
    )
    by_product: dict[str, list[Inside]] = defaultdict(list)
    for each in inside(conn, excursion, where.site_id, lambda _product: False):
        by_product[each.product_id].append(each)
    found: dict[tuple[str, frozenset[str], frozenset[str]], list[Inside]] = defaultdict(list)
    for product_id, some in by_product.items():
        borne_here = bears(product_id)
        for each, by_now, no_longer in _crossed(conn, where, changes, product_id, some):
            if by_now - borne_here or no_longer - borne_here:
                key = (each.site_id, by_now - borne_here, no_longer - borne_here)
                found[key].append(each)
    names = org_tree.names(conn, {site_id for site_id, _, _ in found})
    return [
        _event(where, changes, names[key[0]].region, key, some)
        for key, some in found.items()
        if key[0] in names
    ]


def _crossed(
    conn: psycopg.Connection[Any],
    where: Where,
    changes: Changes,
    product_id: str,
    goods: Sequence[Inside],
) -> list[tuple[Inside, frozenset[str], frozenset[str]]]:
    """Return the goods that passed a limit by what came late, or no longer have passed it."""
    by_key = {code_key(each.code): each for each in goods}
    with thermal.one_moment(conn) as (_, until_ms):
        stays = stays_of_codes(conn, list(by_key), product_id)
        after = thermal.histories(conn, stays.presence, stays.units, until_ms).exposed.sums
    more = _more(stays, where, changes)
    now, then = passed(after), passed(after - more)
    found = []
    for n, key in enumerate(stays.keys[stays.presence.code].tolist()):
        by_now = frozenset(name for name in now if now[name][n] and not then[name][n])
        no_longer = frozenset(name for name in now if then[name][n] and not now[name][n])
        if by_now or no_longer:
            found.append((by_key[key], by_now, no_longer))
    return found


def _more(stays: Stays, where: Where, changes: Changes) -> Floats:
    """Return by how much what came late changed the sums of each code, quarter by quarter."""
    here = stays.presence
    unit = stays.units.index(where.unit_id) if where.unit_id in stays.units else -1
    sums = np.concatenate([np.zeros((changes.more.shape[0], 1)), np.cumsum(changes.more, 1)], 1)
    found = np.zeros((changes.more.shape[0], here.code.size))
    for n in np.flatnonzero(here.unit == unit).tolist():
        t0, t1 = max(int(here.t0[n]), where.since_ms), min(int(here.t1[n]), where.until_ms)
        some = np.flatnonzero((here.of_group == here.group[n]) & (here.left > here.since[n]))
        ends = np.maximum(np.minimum(here.left_ms[some], t1), t0)
        # A quarter counts for whom it began with.
        first, last = np.searchsorted(changes.at_ms, t0), np.searchsorted(changes.at_ms, ends)
        found[:, some] += sums[:, np.maximum(last, first)] - sums[:, [first]]
    return found


def _event(
    where: Where,
    changes: Changes,
    region_code: str,
    key: tuple[str, frozenset[str], frozenset[str]],
    goods: Sequence[Inside],
) -> ExposureRevised:
    site_id, by_now, no_longer = key
    named = [str(changes.ids[0]), where.device_id, where.channel, where.unit_id, site_id]
    named += [",".join(sorted(by_now)), ",".join(sorted(no_longer))]
    return ExposureRevised(
        revision_id=str(stream_id("cold_chain.revision_of", *named)),
        device_id=where.device_id,
        channel=where.channel,
        unit_id=where.unit_id,
        since=_time(where.since_ms),
        until=_time(where.until_ms),
        site_id=site_id,
        region_code=region_code,
        lot_ids=tuple(sorted({each.lot_id for each in goods})),
        codes=tuple(sorted(each.code for each in goods)),
        passed=tuple(sorted(by_now)),
        no_longer=tuple(sorted(no_longer)),
    )


def _meta(event: ExposureRevised, now: datetime) -> Meta:
    region = event.region_code
    return Meta(occurred_at=now, recorded_at=now, region_code=region, source=SOURCE)


def _notice(event: ExposureRevised, now: datetime) -> Notice:
    return Notice(
        key=f"{event.revision_id}:{EXPOSURE_REVISED}:1",
        alert_id=event.revision_id,
        kind=EXPOSURE_REVISED,
        level=0,
        severity="critical" if "freezing" in event.passed else "major",
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
        },
        created_at=now,
    )


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
