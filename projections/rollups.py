"""Keep the hourly and daily roll-ups of readings up with the telemetry log.

Of each stored message only the beginning is read: which hours of which device it touches, and from
when on. These are brought up to date from the rows: later rows are added, else the whole hour is
aggregated anew, so late readings, repetitions and rebuilds all end in the same roll-ups. With
TimescaleDB the server keeps them itself, and there is nothing to follow.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import structlog

from domain.cold_chain.events import ReadingsRecorded
from store.headers import hours_of
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "rollups.sql")
log = structlog.get_logger(__name__)

NAME = "rollups"
EPOCH = date(1970, 1, 1)
HOURS_EAST = 8  # days begin at midnight of China's one time zone
PAGE_EVENTS = 10_000
# One pass, one commit: a backlog is worth long passes, each hour then being aggregated less often.
PASS_EVENTS, PASS_HOURS = 2_000_000, 50_000
# Often, and so little at a time: readings wait while a pass has a core.
IDLE_SECONDS = 1.0
RETRY_SECONDS = 5.0


class Touched:
    """Hours of devices that have new readings."""

    def __init__(self) -> None:
        self.events = 0
        self.hours: dict[tuple[str, int], int] = {}  # (device, hour) -> earliest new reading, ms

    def read(self, conn: psycopg.Connection[Any], after: int, head: int) -> int:
        """Take what the log holds after a position, up to a pass; return the position reached."""
        while after < head and self.events < PASS_EVENTS and len(self.hours) < PASS_HOURS:
            asked = (after, head, ReadingsRecorded.TOPIC, PAGE_EVENTS)
            page = conn.execute(queries.events, asked, binary=True).fetchall()
            for position, state in page:
                try:
                    device_id, hours = hours_of(state)
                except ValueError:  # msgspec's errors are ValueErrors
                    log.exception("rollup_event_unreadable", position=position)
                    continue
                for hour, ts in hours.items():
                    known = self.hours.get((device_id, hour), ts)
                    self.hours[device_id, hour] = min(known, ts)
            self.events += len(page)
            after = page[-1][0] if len(page) == PAGE_EVENTS else head
        return after

    def roll_up(self, conn: psycopg.Connection[Any]) -> None:
        """Bring them up to date, one partition after the other, and then the days they lie in."""
        names = list({device_id for device_id, _ in self.hours})
        numbers = dict(conn.execute(queries.device_numbers, (names,)).fetchall())
        by_day: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for (device_id, hour), since in self.hours.items():
            by_day[hour // 24].append((numbers[device_id], hour, since))
        for day, told in sorted(by_day.items()):
            at = EPOCH + timedelta(days=day)
            conn.execute(queries.roll_up_hours, (at, *_columns(told)))
        days = {(no, (hour + HOURS_EAST) // 24) for told in by_day.values() for no, hour, _ in told}
        if days:
            conn.execute(queries.roll_up_days, _columns(days))


def _columns(rows: Iterable[tuple[int, ...]]) -> list[list[int]]:
    """Return the columns of these rows, put in order: neighbours in it lie together."""
    return [list(column) for column in zip(*sorted(rows), strict=True)]


class Pass(NamedTuple):
    """What a pass found; `complete`: the roll-ups are exactly what is stored at their position."""

    events: int
    complete: bool


def connect(app_dsn: str) -> psycopg.Connection[Any]:
    """Open the follower's connection: what a pass sees is stored at one moment."""
    conn: psycopg.Connection[Any] = psycopg.connect(app_dsn, autocommit=True)
    conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    # Safe here: roll-ups and position are lost together, and followed again.
    conn.execute("SET synchronous_commit = off")
    return conn


@contextmanager
def alone(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """Keep every other follower and rebuild out; before a transaction, which sees one moment."""
    conn.execute(queries.lock)
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute(queries.unlock)


def step(conn: psycopg.Connection[Any]) -> Pass:
    """Take one pass of the telemetry log into the roll-ups, in one commit."""
    with alone(conn), conn.transaction():
        after, head = conn.execute(queries.positions).fetchone() or (0, 0)
        touched = Touched()
        reached = touched.read(conn, after, head)
        touched.roll_up(conn)
        complete = reached == head
        if reached > after:
            conn.execute(queries.keep_position, (reached, complete))
    return Pass(touched.events, complete)


def kept_by_follower(conn: psycopg.Connection[Any]) -> bool:
    """Tell whether this database leaves the roll-ups to the follower."""
    return bool((conn.execute(queries.kept_by_follower).fetchone() or (False,))[0])


def follow(*, app_dsn: str, stop: threading.Event) -> None:
    """Follow until `stop`, never busy more than half of the time: ingest comes first."""
    while not stop.is_set():
        try:
            with closing(connect(app_dsn)) as conn:
                if not kept_by_follower(conn):
                    return
                while not stop.is_set():
                    begun = time.monotonic()
                    complete = step(conn).complete
                    stop.wait(IDLE_SECONDS if complete else time.monotonic() - begun)
        except psycopg.Error as error:
            log.warning("rollups_wait", error=str(error))
            stop.wait(RETRY_SECONDS)
        except Exception:  # charts then read rows; what else the process does must go on
            log.exception("rollups_fail")
            stop.wait(RETRY_SECONDS)


def rebuild(app_dsn: str) -> int:
    """Make the roll-ups anew from all rows there are; return the position they stand for.

    Those of days whose rows were dropped stay. With TimescaleDB nothing is done: position 0.
    """
    with closing(connect(app_dsn)) as conn:
        if kept_by_follower(conn):
            with alone(conn), conn.transaction():
                conn.execute(queries.forget)
                conn.execute(queries.keep_position, (0, False))
            while not step(conn).complete:
                pass
        return int((conn.execute(queries.position).fetchone() or (0,))[0])
