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
    """Compare all rows, and the newest values of each device, with all events at one moment."""
    with psycopg.connect(app_dsn) as conn:
        conn.execute(queries.start)
        live = {
            "reading": digest(_stream(conn, "rows", queries.stored_rows)),
            "latest": digest(_stream(conn, "latest", queries.latest_values)),
        }
        folded = Folded()
        events = _stream(conn, "events", queries.readings_events, (ReadingsRecorded.TOPIC,))
        for number, *row in events:
            folded.take(number, StoredEvent(row[0], row[1], row[2], bytes(row[3])))
    return Checked(NAME, folded.position, live, folded.digests())


class Folded:
    """What rows and newest values should be, event by event."""

    def __init__(self) -> None:
        self.position = 0
        self._rows, self._total = 0, 0
        # device -> channel -> (time, boot, sequence) of the newest reading that names it, and value
        self._latest: dict[str, dict[str, tuple[tuple[int, int, int], Any]]] = {}

    def take(self, position: int, stored: StoredEvent) -> None:
        """Take one stored event."""
        self.position = position
        event = from_row(stored).event
        if not isinstance(event, ReadingsRecorded):
            return
        for row in rows_of(event):
            self._rows, self._total = self._rows + 1, self._total + _hash(row)
        latest = self._latest.setdefault(event.device_id, {})
        for n, ts_ms in enumerate(event.ts_ms):
            at = (ts_ms, event.boot, event.seq_of(n))
            for channel in event.columns.keys() & set(CHANNELS):
                if channel not in latest or latest[channel][0] < at:
                    latest[channel] = (at, _value(event, channel, n))

    def digests(self) -> dict[str, tuple[int, str]]:
        """Return number and digest of both."""
        shown = (
            (device_id, *(latest[name][1] if name in latest else None for name in CHANNELS))
            for device_id, latest in self._latest.items()
        )
        rows = (self._rows, str(self._total % _MODULUS))
        return {"reading": rows, "latest": digest(shown)}


def rows_of(event: ReadingsRecorded) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that an event stands for, as `stored_rows` gives them."""
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
