"""Hold the rows of readings against the events they come from.

The rows are written with their events in one transaction; this proves, row by row, that they say
the same: each side is summed up as a set of hashes, without keeping either in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import psycopg
from eventsourcing.persistence import StoredEvent

from domain.cold_chain.events import ReadingsRecorded
from projections.projection import Checked
from store.mapper import from_row
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "readings.sql")

NAME = "readings"
CHANNELS = ("t1", "t2", "t3", "t4", "rh", "door", "mains", "bat")
SWITCHES = frozenset({"door", "mains"})
FETCH_ROWS = 5000
_MODULUS = 2**64


def check(app_dsn: str) -> Checked:
    """Compare all rows with all events at one moment; `latest` counts devices that differ."""
    with psycopg.connect(app_dsn) as conn:
        conn.execute(queries.start)
        stored = digest(_stream(conn, "rows", queries.stored_rows))
        position, rows = 0, 0
        total = 0
        events = _stream(conn, "events", queries.readings_events, (ReadingsRecorded.TOPIC,))
        for number, *row in events:
            position = number
            for found in rows_of(StoredEvent(row[0], row[1], row[2], bytes(row[3]))):
                rows, total = rows + 1, total + _hash(found)
        apart = conn.execute(queries.latest_apart).fetchone()
    live = {"reading": stored, "latest": (apart[0] if apart else 0, "")}
    rebuilt = {"reading": (rows, str(total % _MODULUS)), "latest": (0, "")}
    return Checked(NAME, position, live, rebuilt)


def rows_of(stored: StoredEvent) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that a stored readings event stands for, as `stored_rows` gives them."""
    event = from_row(stored).event
    if not isinstance(event, ReadingsRecorded):
        return
    others = sorted(set(event.columns) - set(CHANNELS))
    for n, ts_ms in enumerate(event.ts_ms):
        values = tuple(_value(event, name, n) for name in CHANNELS)
        extra = {k: v for k in others if (v := event.columns[k][n]) is not None}
        identity = (event.device_id, event.boot, event.seq_of(n), ts_ms, event.backfill)
        yield (*identity, *values, extra or None)


def digest(rows: Iterable[tuple[Any, ...]]) -> tuple[int, str]:
    """Return the number of rows and the sum of their hashes, whatever their order."""
    count, total = 0, 0
    for row in rows:
        count, total = count + 1, total + _hash(row)
    return count, str(total % _MODULUS)


def _value(event: ReadingsRecorded, channel: str, n: int) -> float | bool | None:
    column = event.columns.get(channel)
    value = column[n] if column else None
    return bool(value) if value is not None and channel in SWITCHES else value


def _hash(row: tuple[Any, ...]) -> int:
    return int.from_bytes(blake2b(repr(row).encode(), digest_size=8).digest(), "big")


def _stream(
    conn: psycopg.Connection[Any], name: str, query: Any, params: tuple[Any, ...] = ()
) -> Iterator[tuple[Any, ...]]:
    with conn.cursor(name=name) as cur:
        cur.itersize = FETCH_ROWS
        yield from cur.execute(query, params)
