"""Last step but one: everything of a batch in ONE transaction.

Rows first, then the telemetry lock with its events, then the ledger lock with its events (nobody
takes them in the other order), the batch's row, commit. The locks cover as little as possible. Few
rows go to the server in one round trip, many by COPY.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from alerts import notices
from domain.alerting.watch import to_datetime
from ingest import commands, gaps
from ingest.batch import Batch, EpisodeRow, Row
from ingest.quarantine import write_quarantine
from ingest.rows import queries
from ingest.sheet import DAY_MS, Sheet
from ingest.state import TYPED, columns
from store.mapper import to_row as event_row
from store.one_trip import one_trip
from store.recorder import append_events, copy_binary, copy_event_rows
from store.recorder import queries as event_queries

# Days for which there is room before their first reading comes.
AHEAD_DAYS = 7
# Rows and events up to which one round trip is quicker than COPY.
SMALL_MAX = 64

READING = ("device_no", "ts", "boot", "seq", "batch", "backfill", *TYPED)

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]


class Partitions:
    """The days for which the readings table has room."""

    def __init__(self) -> None:
        self._days: set[date] = set()

    def ensure(self, conn: psycopg.Connection[Any], days: Iterable[int]) -> None:
        """Make the partitions of these days since 1970; in a transaction of its own."""
        self._make(conn, {to_datetime(day * DAY_MS).date() for day in days})

    def make_ahead(self, conn: psycopg.Connection[Any], now: datetime) -> None:
        """Make the partitions of the next days while nothing waits for them."""
        self._make(conn, {now.date() + timedelta(days=n) for n in range(AHEAD_DAYS + 1)})

    def _make(self, conn: psycopg.Connection[Any], days: set[date]) -> None:
        for first, last in _stretches(days - self._days):
            conn.execute(queries.ensure_partitions, (first, last))
        self._days |= days


@dataclass(slots=True)
class Entry:
    """What one transaction writes: a sheet or a careful batch, and states with it.

    states: rows of `upsert_states`. `worker`: whose states stand for everything stored so far once
    this is committed; None when some are yet to be written.
    """

    number: int
    now: datetime
    content: Sheet | Batch
    states: list[dict[str, object]] = field(default_factory=list)
    worker: int | None = None
    ledger_top: int = 0  # position of the ledger's newest event, told by the commit


def write(entry: Entry, conn: psycopg.Connection[Any], partitions: Partitions) -> None:
    """Store an entry. psycopg.Error when it cannot be: then nothing of it is stored."""
    small = _is_small(entry.content)
    partitions.ensure(conn, _days(entry.content))
    with one_trip(conn) if small else conn.transaction():
        reached = _write(entry, conn, small=small)
    found = reached.fetchone() if reached is not None else None
    if found is not None:
        entry.ledger_top = found[0]


def _write(entry: Entry, conn: Connection, *, small: bool) -> Cursor | None:
    """Write everything; return the cursor that will tell the ledger's newest position."""
    content, cur = entry.content, conn.cursor()
    _write_readings(cur, entry, small=small)
    write_states(cur, entry.states)
    telemetry, ledger = True, False  # a sheet is never empty
    if isinstance(content, Batch):
        gaps.write(cur, content.gaps, content)
        commands.write(cur, content.replies, content)
        write_quarantine(cur, content)
        _write_episodes(cur, content)
        notices.write(cur, content.notices)
        events = [
            list(map(event_row, found.values())) for found in (content.telemetry, content.ledger)
        ]
        append_events(cur, "telemetry_events", events[0], small=small)
        append_events(cur, "ledger_events", events[1], small=small)
        telemetry, ledger = bool(events[0]), bool(events[1])
    elif small:
        append_events(cur, "telemetry_events", content.stored_events(entry.now), small=True)
    else:
        copy_event_rows(cur, "telemetry_events", content.events(entry.now))
    if not telemetry and not ledger:
        return None
    reached = {"batch": entry.number, "at": entry.now, "telemetry": telemetry, "ledger": ledger}
    top = conn.cursor()
    with nullcontext() if small else conn.pipeline():  # a small one is in one already
        cur.execute(event_queries.record_reached, reached)
        if entry.worker is not None and telemetry:
            cur.execute(queries.states_are_written, (entry.worker,))
        top.execute(queries.ledger_position)
    return top


def write_states(cur: Cursor, rows: Sequence[dict[str, object]]) -> None:
    """Write rows of device_state."""
    if rows:
        cur.execute(queries.upsert_states, (msgspec.json.encode(rows).decode(),))


def _is_small(content: Sheet | Batch) -> bool:
    if isinstance(content, Sheet):
        return content.rows <= SMALL_MAX
    return max(len(content.rows), len(content.telemetry), len(content.ledger)) <= SMALL_MAX


def _days(content: Sheet | Batch) -> set[int]:
    if isinstance(content, Sheet):
        return content.days()
    return {row.ts_ms // DAY_MS for row in content.rows}


def _write_readings(cur: Cursor, entry: Entry, *, small: bool) -> None:
    content = entry.content
    if isinstance(content, Sheet) and not small:
        copy_binary(cur, _copy_into(content.columns), content.readings(entry.number))
        return
    if isinstance(content, Sheet):
        rows = content.reading_rows(entry.number)
    else:
        rows = [_reading_row(row, entry.number) for row in content.rows]
    if small and rows:
        cur.execute(queries.insert_readings, (_as_json(rows),))
    elif rows:
        with cur.copy(queries.copy_readings) as copy:
            for row in rows:
                copy.write_row(row)


@lru_cache
def _copy_into(columns: tuple[str, ...]) -> sql.Composed:
    """Return the COPY of these columns; without the empty ones a row costs a twentieth less."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("COPY reading ({}) FROM STDIN (FORMAT BINARY)").format(names)


def _reading_row(row: Row, number: int) -> tuple[object, ...]:
    key = (row.state.device_no, to_datetime(row.ts_ms), row.boot, row.seq)
    return (*key, number, row.backfill, *columns(row.values))


def _as_json(rows: Sequence[tuple[object, ...]]) -> str:
    """Return rows of `reading` by the names of their columns."""
    named = []
    for *values, extra in rows:
        row = dict(zip(READING, values, strict=True))
        named.append(
            row | {"extra": msgspec.Raw(extra.encode())} if isinstance(extra, str) else row
        )
    return msgspec.json.encode(named).decode()


def _write_episodes(cur: Cursor, batch: Batch) -> None:
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


def _stretches(days: set[date]) -> list[tuple[date, date]]:
    """Return the days as stretches without a gap."""
    found: list[tuple[date, date]] = []
    for day in sorted(days):
        if found and found[-1][1] + timedelta(days=1) == day:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found
