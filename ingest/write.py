"""Last step but one: everything of a batch in ONE transaction.

Rows first, then the telemetry lock with its events, then the ledger lock with its events (nobody
takes them in the other order), the batch's row, commit. The locks cover as little as possible.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

import psycopg

from alerts import notices
from domain.alerting.watch import to_datetime
from ingest.batch import Batch, EpisodeRow, Row
from ingest.quarantine import write_quarantine
from ingest.rows import queries
from ingest.state import columns, to_row
from store.mapper import to_row as event_row
from store.recorder import copy_events, record_batch

# Days for which there is room before their first reading comes.
AHEAD_DAYS = 7


class Partitions:
    """The days for which the readings table has room."""

    def __init__(self) -> None:
        self._days: set[date] = set()

    def ensure(self, conn: psycopg.Connection[Any], rows: Iterable[Row]) -> None:
        """Make the partitions that these rows need; in a transaction of its own."""
        self._make(conn, {to_datetime(row.ts_ms).date() for row in rows})

    def make_ahead(self, conn: psycopg.Connection[Any], now: datetime) -> None:
        """Make the partitions of the next days while nothing waits for them."""
        self._make(conn, {now.date() + timedelta(days=n) for n in range(AHEAD_DAYS + 1)})

    def _make(self, conn: psycopg.Connection[Any], days: set[date]) -> None:
        for first, last in _stretches(days - self._days):
            conn.execute(queries.ensure_partitions, (first, last))
        self._days |= days


def write(batch: Batch, conn: psycopg.Connection[Any], partitions: Partitions) -> None:
    """Store the batch. psycopg.Error when it cannot be: then nothing of it is stored."""
    partitions.ensure(conn, batch.rows)
    with conn.transaction(), conn.cursor() as cur:
        _copy_readings(cur, batch)
        _write_states(cur, batch)
        write_quarantine(cur, batch)
        _write_episodes(cur, batch)
        notices.write(cur, batch.notices)
        telemetry_id = _copy_events(cur, "telemetry_events", batch.telemetry.values())
        ledger_id = _copy_events(cur, "ledger_events", batch.ledger.values())
        if telemetry_id or ledger_id:
            record_batch(
                cur,
                at=batch.now,
                batch=batch.number,
                telemetry_id=telemetry_id,
                ledger_id=ledger_id,
            )


def _copy_readings(cur: psycopg.Cursor[Any], batch: Batch) -> None:
    if not batch.rows:
        return
    with cur.copy(queries.copy_readings) as copy:
        for row in batch.rows:
            key = (row.state.device_no, to_datetime(row.ts_ms), row.boot, row.seq)
            copy.write_row((*key, batch.number, row.backfill, *columns(row.values)))


def _write_states(cur: psycopg.Cursor[Any], batch: Batch) -> None:
    devices = batch.directory.devices
    changed = [
        to_row(state, devices[state.device_id].registered.region_code, batch.now)
        for state in batch.states.values()
        if state.changed
    ]
    if changed:
        cur.executemany(queries.upsert_states, changed)


def _write_episodes(cur: psycopg.Cursor[Any], batch: Batch) -> None:
    if batch.episodes:
        cur.executemany(queries.upsert_episode, map(_episode_values, batch.episodes.values()))


def _episode_values(row: EpisodeRow) -> tuple[object, ...]:
    episode = row.episode
    return (
        episode.alert_id,
        row.device_no,
        row.channel,
        episode.unit_id,
        episode.rule_id,
        episode.rule_version,
        episode.severity,
        to_datetime(episode.start_ms),
        to_datetime(episode.fired_ms),
        episode.peak_c,
        _maybe_datetime(episode.recovered_ms),
        _maybe_datetime(episode.resolved_ms),
        episode.withdrawn,
        episode.version,
    )


def _maybe_datetime(ms: int | None) -> datetime | None:
    return None if ms is None else to_datetime(ms)


def _copy_events(cur: psycopg.Cursor[Any], table: str, envelopes: Iterable[Any]) -> int | None:
    rows = [event_row(envelope) for envelope in envelopes]
    return copy_events(cur, table, rows) if rows else None


def _stretches(days: set[date]) -> list[tuple[date, date]]:
    """Return the days as stretches without a gap."""
    found: list[tuple[date, date]] = []
    for day in sorted(days):
        if found and found[-1][1] + timedelta(days=1) == day:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found
