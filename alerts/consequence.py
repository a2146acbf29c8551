"""What alerts mean for goods, looked at as alerts and custody go on: found, held, told.

Goods that were where an alert's probe stood while it lasted are named in events of the alert, held
at once where the policy says so, and told to those who have them. Every look finds all there is
and stores what is new of it, so that it may come late, twice, or after a restart; up to where
custody and alerts were looked through stands in a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import structlog

from alerts.notices import STOCK, STOCK_HERE, Notice, write
from domain.alerting import consequence, model, policy
from domain.alerting.events import AffectedStockFound, AlertFired
from domain.alerting.rules import HISTORY_AFTER
from domain.cold_chain import model as cold_chain
from domain.shared.decide import fold
from domain.shared.errors import Conflict
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.traceability import model as goods
from domain.traceability.thermal import Excursion
from projections import alerting_stock as read
from projections.shared import org_tree
from projections.traceability import PROJECTION as CUSTODY
from projections.traceability.inside import Inside, inside
from store.envelope import Envelope, Meta
from store.logs import Ledger
from store.sql import load_queries
from store.transient import AWAY

queries = load_queries(Path(__file__).with_name("sql") / "consequence.sql")
log = structlog.get_logger(__name__)

# Positions of the ledger looked through at a time.
WINDOW = 5_000
# What scanners without a network tell of an alert's time is looked at for so long after its end.
SETTLED_AFTER = timedelta(days=7)
# Between two looks at an alert that could not be looked at.
LOOK_AGAIN = timedelta(minutes=1)
# Attempts to store what was found, when somebody else writes the same streams meanwhile.
TRIES_MAX = 8
# What of an alert those are told who were not told of it.
_SHOWN = ("device_id", "channel", "side", "limit_c", "peak_c")
# Lots named one by one in a message.
LOTS_TOLD_MAX = 5
# Units that ride along: their alerts say nothing of the stock of the site they belong to.
_MOBILE = frozenset({cold_chain.UnitKind.REFRIGERATED_VEHICLE, cold_chain.UnitKind.COLD_BOX})


class Consequences:
    """Looks while it leads. One thread uses it."""

    def __init__(self, ledger: Ledger, conn: psycopg.Connection[Any]) -> None:
        """`conn` is in autocommit mode; its session holds the lead."""
        self._ledger = ledger
        self._conn = conn
        self._leads = False
        self._left: dict[str, datetime] = {}  # alerts that could not be looked at, and when

    def leads(self) -> bool:
        """Take the lead where nobody has it; True while this process has it."""
        if not self._leads:
            row = self._conn.execute(queries.try_lead).fetchone()
            self._leads = bool(row and row[0])
        return self._leads

    def tick(self, now: datetime) -> int:
        """Look at the alerts that something was told of; return at how many."""
        names = {"custody": CUSTODY.follower, "stock": read.PROJECTION.follower}
        looked = 0
        try:
            for alert_id in [one for one, at in self._left.items() if now - at >= LOOK_AGAIN]:
                self._look(alert_id, now)
            while True:
                ((after, upto),) = self._conn.execute(queries.progress, names).fetchall()
                upto = min(upto, after + WINDOW)
                if upto <= after:
                    return looked
                since_ms = round((now - SETTLED_AFTER).timestamp() * 1000)
                asked = {"after": after, "upto": upto, "since_ms": since_ms}
                due = sorted(row[0] for row in self._conn.execute(queries.due, asked))
                for alert_id in due:
                    self._look(alert_id, now)
                self._conn.execute(queries.looked, (upto,))
                looked += len(due)
        except psycopg.errors.UndefinedTable:  # the read models are not built yet
            return looked

    def _look(self, alert_id: str, now: datetime) -> None:
        """Look at one alert; what is wrong with it must not keep goods of the others unheld."""
        self._left.pop(alert_id, None)
        try:
            if self._stored(alert_id, now):
                return
        except (*AWAY, psycopg.errors.UndefinedTable):
            raise
        except Exception:
            log.exception("goods_not_looked_at", alert_id=alert_id)
        self._left[alert_id] = now

    def _stored(self, alert_id: str, now: datetime) -> bool:
        """Store what is new of an alert's goods; False where others write the same all the time."""
        for tried in range(TRIES_MAX):
            try:
                self._follow(alert_id, now, tried)
            except Conflict:
                log.info("consequence_raced", alert_id=alert_id, tried=tried)
            else:
                return True
        return False

    def _follow(self, alert_id: str, now: datetime, tried: int) -> None:
        """Store what is new of the goods that an alert affected, hold them and tell of them."""
        stream = consequence.stock_stream(alert_id)
        told = self._ledger.streams([model.episode_stream(alert_id), stream])
        case = _case(told[model.episode_stream(alert_id)], len(told[stream]))
        if case is None:
            return
        known = fold(consequence.evolve, consequence.Stock(), (e.event for e in told[stream]))
        why = _Reasons(self._ledger, case)
        events = consequence.follow(
            known,
            alert=case.alert,
            fired=case.fired,
            inside=[] if case.alert.withdrawn else self._inside(case, why),
            why=why,
            now=now,
            version=case.version,
            tried=tried,
        )
        if events:
            self._store(case, events, fold(consequence.evolve, known, events), now)

    def _inside(self, case: _Case, why: _Reasons) -> list[Inside]:
        """Return what was where the probe stood, from the first bad to the first good reading."""
        fired, extent = case.fired, consequence.extent_of(case.alert)
        told = self._ledger.stream(cold_chain.unit_stream(fired.unit_id))
        unit = fold(cold_chain.evolve_unit, None, (each.event for each in told))
        exposed = Excursion(
            device_id=fired.device_id,
            start_ms=_ms(extent.started_at),
            end_ms=read.LASTS if extent.ended_at is None else _ms(extent.ended_at) - 1,
            limit_c=fired.limit_c,
            peak_c=extent.peak_c,
            unit_id=fired.unit_id,
            site_id="" if unit and unit.kind in _MOBILE else fired.site_id,
        )
        return inside(self._conn, exposed, fired.site_id, lambda product: why(product) is not None)

    def _store(
        self, case: _Case, events: Sequence[Event], stock: consequence.Stock, now: datetime
    ) -> None:
        """Store events of an alert's goods with the holds that follow, and tell of them."""
        alert_id, region = case.fired.alert_id, case.fired.region_code
        sites = {event.site_id for event in events if isinstance(event, AffectedStockFound)}
        names = org_tree.names(self._conn, sites)
        regions = {site_id: name.region for site_id, name in names.items()}
        stream = consequence.stock_stream(alert_id)
        envelopes = [
            Envelope(stream, case.version + n, event, case.meta(region, now))
            for n, event in enumerate(events, start=1)
        ]
        for event in events:
            hold = policy.hold_of(event) if isinstance(event, AffectedStockFound) else None
            if hold is not None:
                meta = case.meta(regions.get(hold.site_id, region), now)
                envelopes.append(Envelope(goods.scan_stream(hold.fact_id), 1, hold, meta))
        told = _Telling(case, case.version + len(events), now)
        rows = [told.update(stock), *told.elsewhere(events, regions)]
        self._ledger.append(envelopes, before=lambda cur: write(cur, rows))
        waiting = len(stock.waiting)
        log.info("stock_affected", alert_id=alert_id, units=len(stock.units), waiting=waiting)


@dataclass(frozen=True, slots=True)
class _Case:
    """An alert by a threshold as its stream tells it; `version`: of the stream of its goods."""

    first: Envelope
    fired: AlertFired
    alert: model.Alert
    version: int

    @property
    def rouses(self) -> bool:
        """Tell whether people were told of the alert: one found long after is history."""
        return self.first.meta.recorded_at - self.fired.fired_at <= HISTORY_AFTER

    def meta(self, region_code: str, now: datetime) -> Meta:
        """Return the metadata of what follows from the alert."""
        return Meta(
            occurred_at=now,
            recorded_at=now,
            region_code=region_code,
            causation_id=self.first.event_id,
            source=policy.SOURCE,
        )


def _case(history: Sequence[Envelope], version: int) -> _Case | None:
    """Return the alert of a stream, None where it is none by a threshold."""
    alert = fold(model.evolve, None, (each.event for each in history))
    if alert is None or not isinstance(alert.fired, AlertFired):
        return None
    return _Case(history[0], alert.fired, alert, version)


class _Reasons:
    """For which reason an alert holds goods of a product; products are looked up once."""

    def __init__(self, ledger: Ledger, case: _Case) -> None:
        self._ledger, self._case = ledger, case
        self._known: dict[str, str | None] = {}

    def __call__(self, product_id: str) -> str | None:
        """Return the reason, None where goods of a product are not held."""
        if product_id not in self._known:
            told = self._ledger.stream(goods.product_stream(product_id))
            product = fold(goods.evolve_product, None, (each.event for each in told))
            extent = consequence.extent_of(self._case.alert)
            self._known[product_id] = policy.holds(self._case.fired, extent.peak_c, product)
        return self._known[product_id]


class _Telling:
    """Notices of goods, under the version of the stream that tells of them."""

    def __init__(self, case: _Case, version: int, now: datetime) -> None:
        self._fired, self._rouses = case.fired, case.rouses
        self._version, self._now = version, now

    def update(self, stock: consequence.Stock) -> Notice:
        """Return what those are told who were told of the alert: all goods by now."""
        payload = {"stock": _sums(stock)}
        return self._notice(self._fired.alert_id, STOCK, self._fired.region_code, payload)

    def elsewhere(self, events: Sequence[Event], regions: Mapping[str, str]) -> Iterator[Notice]:
        """Yield what those are told whose goods were held, where nobody was told of the alert."""
        by_site: dict[str, list[AffectedStockFound]] = {}
        for event in events:
            if isinstance(event, AffectedStockFound) and event.hold_id:
                by_site.setdefault(event.site_id, []).append(event)
        fired = self._fired
        for site_id, found in by_site.items():
            if site_id in regions and not (self._rouses and site_id == fired.site_id):
                here = fold(consequence.evolve, consequence.Stock(), found)
                payload = {
                    **{name: getattr(fired, name) for name in _SHOWN},
                    "site_id": site_id,
                    "unit_id": fired.unit_id,
                    "of_alert": fired.alert_id,
                    "started_at": fired.started_at.isoformat(),
                    "stock": _sums(here),
                }
                alert_id = str(stream_id("alerting.stock_here", fired.alert_id, site_id))
                yield self._notice(alert_id, STOCK_HERE, regions[site_id], payload)

    def _notice(
        self, alert_id: str, kind: str, region_code: str, payload: Mapping[str, object]
    ) -> Notice:
        return Notice(
            key=f"{alert_id}:{kind}:{self._version}",
            alert_id=alert_id,
            kind=kind,
            level=0,
            severity=self._fired.severity,
            region_code=region_code,
            payload={"alert_id": alert_id, **payload},
            created_at=self._now,
        )


def _sums(stock: consequence.Stock) -> dict[str, object]:
    lots = stock.lots
    return {
        "lots": len(lots),
        "units": sum(units for units, _ in lots.values()),
        "doses": sum(doses for _, doses in lots.values()),
        "held": len(stock.waiting),
        "listed": [[lot_id, *sums] for lot_id, sums in list(lots.items())[:LOTS_TOLD_MAX]],
    }


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
