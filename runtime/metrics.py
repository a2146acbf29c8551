"""What Prometheus reads from any API process, told by the database itself.

One page therefore covers all processes, on one machine or several, and nothing is lost when a
process restarts. Rates are for Prometheus to take: `rate(vaxtrail_readings_stored_total[5m])`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg_pool import ConnectionPool

from runtime.broker_log import faults
from runtime.disk import DiskGuard
from runtime.health import queries


class DatabaseCollector(Collector):
    """Asks at every scrape; when the database is away only the disk is told."""

    def __init__(self, pool: ConnectionPool[psycopg.Connection[Any]], disk: DiskGuard) -> None:
        self._pool = pool
        self._disk = disk

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are known at the first scrape, not before the database is up."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the present values."""
        self._disk()
        yield GaugeMetricFamily(
            "vaxtrail_disk_free_percent", "Room left where the data are", self._disk.free_pct
        )
        try:
            with self._pool.connection(timeout=2.0) as conn:
                found = [*_logs(conn), *_followers(conn), *_alerts(conn), *_refused(conn)]
        except psycopg.OperationalError:  # PoolTimeout is one as well
            found = []
        yield from found


class GatewayFaults(Collector):
    """Asks at every scrape what the broker says of gateways (`runtime/broker_log.py`)."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def describe(self) -> Iterable[Metric]:
        """Return nothing, as above."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield how often each gateway was complained of, by cause; gone after a quiet day."""
        family = GaugeMetricFamily(
            "vaxtrail_gateway_faults", "Refusals by the broker", labels=["gateway", "cause"]
        )
        for fault in faults(self._data):
            family.add_metric([fault.gateway, fault.cause], fault.count)
        yield family


def _logs(conn: psycopg.Connection[Any]) -> Iterator[Metric]:
    (readings,) = conn.execute(queries.readings_stored).fetchone() or (0,)
    ledger, telemetry = conn.execute(queries.positions).fetchone() or (0, 0)
    yield CounterMetricFamily("vaxtrail_readings_stored", "Readings written", readings)
    position = GaugeMetricFamily("vaxtrail_log_position", "Newest position", labels=["log"])
    position.add_metric(["ledger"], ledger)
    position.add_metric(["telemetry"], telemetry)
    yield position


def _followers(conn: psycopg.Connection[Any]) -> Iterator[Metric]:
    behind = GaugeMetricFamily(
        "vaxtrail_follower_behind_events", "Ledger events still to take", labels=["follower"]
    )
    for follower, _, events in conn.execute(queries.followers):
        behind.add_metric([follower], events)
    yield behind
    for (messages,) in conn.execute(queries.rollups_behind):
        yield GaugeMetricFamily(
            "vaxtrail_rollups_behind_events", "Telemetry not yet in the roll-ups", messages
        )
    (dead,) = conn.execute(queries.dead_letters).fetchone() or (0,)
    yield GaugeMetricFamily("vaxtrail_dead_letters", "Events a read model refused", dead)


def _alerts(conn: psycopg.Connection[Any]) -> Iterator[Metric]:
    quantiles, counted = conn.execute(queries.alert_delay).fetchone() or (None, 0)
    delay = GaugeMetricFamily(
        "vaxtrail_alert_delay_seconds", "Notice to delivery", labels=["quantile"]
    )
    if quantiles and counted:
        for quantile, seconds in zip(("0.5", "0.99"), quantiles, strict=True):
            delay.add_metric([quantile], seconds)
    yield delay
    yield _by_state(conn, "vaxtrail_deliveries", "Alert deliveries", queries.deliveries_by_state)


def _refused(conn: psycopg.Connection[Any]) -> Iterator[Metric]:
    yield _by_state(conn, "vaxtrail_quarantine", "Refused messages", queries.quarantine_by_state)
    yield _by_state(conn, "vaxtrail_gaps", "Gaps in numbers, not filled", queries.gaps_by_state)


def _by_state(conn: psycopg.Connection[Any], name: str, text: str, query: Any) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state, count in conn.execute(query):
        family.add_metric([state], count)
    return family
