"""Hold the rows of readings against the events they come from, or make dropped ones again.

The rows are written with their events in one transaction; `check` proves, row by row, that they say
the same: each side is summed up as a set of hashes, without keeping either in memory. `restore`
puts back what the owner has dropped (`store.retention`), as it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg import sql
from psycopg.types.json import Jsonb

from domain.cold_chain.events import ReadingsRecorded
from projections.projection import Checked
from store.headers import hours_of
from store.mapper import from_row
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "readings.sql")

NAME = "readings"
CHANNELS = ("t1", "t2", "t3", "t4", "rh", "door", "mains", "bat")
SWITCHES = frozenset({"door", "mains"})
FETCH_ROWS = 5000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
# A reading is stored with its own time, at most five minutes ahead of the commit's.
AHEAD = HOUR
LOCK_TRIES = 10
_MODULUS = 2**64


def check(app_dsn: str) -> Checked:
    """Compare all rows, and the newest values of each device, with all events at one moment."""
    with psycopg.connect(app_dsn) as conn:
        conn.execute(queries.start)
        dropped = {row[0] for row in conn.execute(queries.dropped_days)}
        live = {
            "reading": digest(_stream(conn, "rows", queries.stored_rows)),
            "latest": digest(_stream(conn, "latest", queries.latest_values)),
        }
        folded = Folded(dropped)
        events = _stream(conn, "events", queries.readings_events, (ReadingsRecorded.TOPIC,))
        for number, *row in events:
            folded.take(number, StoredEvent(row[0], row[1], row[2], bytes(row[3])))
    return Checked(NAME, folded.position, live, folded.digests())


class Folded:
    """What rows and newest values should be, event by event."""

    def __init__(self, dropped: Collection[date] = ()) -> None:
        self.position = 0
        self._dropped = frozenset(dropped)
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
            if not self._dropped or _day(row[3]) not in self._dropped:
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


def _day(ts_ms: int) -> date:
    return (EPOCH + timedelta(milliseconds=ts_ms)).date()


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def restore(owner_dsn: str, first: date, last: date) -> dict[date, int]:
    """Make the rows of dropped UTC days from `first` to `last` again; return their numbers by day.

    One transaction: ingest and readers wait only while the rows are put in place. Then the roll-ups
    are made anew, since readings of these days may have come in meanwhile.
    """
    with psycopg.connect(owner_dsn, autocommit=True) as conn:
        found = conn.execute(queries.dropped_between, (first, last)).fetchall()
        days = [row[0] for row in found]
        if not days:
            return {}
        (hypertable,) = conn.execute(queries.is_hypertable).fetchone() or (False,)
        with conn.transaction():
            made = Restored(conn, days, hypertable=hypertable)
            made.fill()
            made.put_in_place()
        for day in days:
            span = {"day": day, "begin": _midnight(day)}
            for query in (
                (queries.refresh,) if hypertable else (queries.roll_up_hours, queries.roll_up_days)
            ):
                conn.execute(query, span)
    return {day: made.counts[day] for day in days}


class Restored:
    """Tables beside the readings, a dropped day each, filled from the telemetry log."""

    def __init__(
        self, conn: psycopg.Connection[Any], days: Sequence[date], *, hypertable: bool
    ) -> None:
        self.counts: defaultdict[date, int] = defaultdict(int)
        self._conn = conn
        self._days = days
        self._hypertable = hypertable
        self._hours = {(_midnight(day) - EPOCH) // HOUR + n for day in days for n in range(24)}
        begin = _midnight(days[0]) - AHEAD
        stored = conn.execute(queries.position_before, (begin,)).fetchone()
        self._position: int = stored[0] if stored else 0
        self._numbers: dict[str, int] = dict(conn.execute(queries.device_numbers).fetchall())
        for day in days:
            self._run(queries.make_table, day)

    def fill(self) -> None:
        """Take every event that is stored, and was not taken yet, into the tables."""
        while page := self._page():
            rows: defaultdict[date, list[tuple[Any, ...]]] = defaultdict(list)
            for position, batch, *stored in page:
                self._position = position
                if self._hours.isdisjoint(hours_of(stored[3])[1]):
                    continue
                event = from_row(StoredEvent(*stored)).event
                if isinstance(event, ReadingsRecorded):
                    for row in rows_of(event):
                        rows[_day(row[3])].append(self._stored(row, batch))
            for day in rows.keys() & set(self._days):
                self._copy(day, rows[day])

    def put_in_place(self) -> None:
        """Wait for whoever writes, take what they wrote, and let the tables be seen."""
        for day in self._days:
            if not self._hypertable:
                self._run(queries.index_table, day)
        self._lock()
        self.fill()
        for day in self._days:
            place = queries.put_into_hypertable if self._hypertable else queries.attach_table
            self._run(place, day)
        self._conn.execute(queries.no_longer_dropped, (self._days,))

    def _page(self) -> list[Any]:
        asked = (ReadingsRecorded.TOPIC, self._position, FETCH_ROWS)
        return self._conn.execute(queries.events_with_batch, asked, binary=True).fetchall()

    def _stored(self, row: tuple[Any, ...], batch: int) -> tuple[Any, ...]:
        device_id, boot, seq, ts_ms, backfill, *values, extra = row
        ts = EPOCH + timedelta(milliseconds=ts_ms)
        key = (self._numbers[device_id], ts, boot, seq, batch, backfill)
        return (*key, *values, None if extra is None else Jsonb(extra))

    def _copy(self, day: date, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._conn.cursor() as cur, cur.copy(self._text(queries.copy_rows, day)) as copy:
            for row in rows:
                copy.write_row(row)
        self.counts[day] += len(rows)

    def _lock(self) -> None:
        """Take the readings for ourselves; give way to the others between tries."""
        for left in count(LOCK_TRIES - 1, -1):
            try:
                with self._conn.transaction():
                    self._conn.execute(queries.lock_readings)
            except psycopg.errors.LockNotAvailable:
                if left == 0:
                    raise
            else:
                return

    def _run(self, query: Any, day: date) -> None:
        for statement in self._text(query, day).as_string(self._conn).split(";"):
            self._conn.execute(statement.encode())

    def _text(self, query: Any, day: date) -> sql.Composed:
        return sql.SQL(query).format(
            made=sql.Identifier(f"restored_{day:%Y%m%d}"),
            table=sql.Identifier(f"reading_{day:%Y%m%d}"),
            begin=sql.Literal(f"{day}Z"),
            end=sql.Literal(f"{day + DAY}Z"),
        )
