"""Rebuild a read model beside the one in use, and swap; or compare the two.

Both make the tables in a shadow schema from position 0: a rebuild in bulk where the read model can,
a comparison in batches as the follower does. The swap happens in one transaction with the progress,
under the lock the follower takes: readers see the old tables or the new ones.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

import psycopg
import structlog
from eventsourcing.persistence import Tracking
from psycopg import sql
from psycopg.rows import tuple_row

from domain.shared.errors import NotFound
from domain.shared.events import Event
from projections.discovery import discover
from projections.follower import Batch, bury, queries, take, tracking
from projections.projection import Checked, Projection
from store.envelope import Meta
from store.logs import Ledger
from store.mapper import decode
from store.transient import is_transient

log = structlog.get_logger(__name__)

# Events that a bulk load reads at once.
PAGE = 20_000


class Listed(NamedTuple):
    """One read model in use."""

    name: str
    version: int
    rebuilt_at: datetime
    position: int
    dead_letters: int


def listing(conn: psycopg.Connection[Any]) -> list[Listed]:
    """Return the read models in use with their progress."""
    return [Listed(*row) for row in conn.execute(queries.listing).fetchall()]


def named(name: str) -> Projection:
    """Return the read model of a name. NotFound("no_such_projection") otherwise."""
    for projection in discover():
        if projection.name == name:
            return projection
    raise NotFound("no_such_projection", name=name)


def prepare(ledger: Ledger, conn: psycopg.Connection[Any]) -> list[str]:
    """Rebuild every read model whose tables are missing or of another version; return names."""
    rebuilt = []
    for projection in discover():
        row = conn.execute(queries.known_version, (projection.name,)).fetchone()
        if row is None or row[0] != projection.version:
            rebuild(ledger, conn, projection)
            rebuilt.append(projection.name)
    return rebuilt


def rebuild(ledger: Ledger, conn: psycopg.Connection[Any], projection: Projection) -> int:
    """Make a read model anew from all events and put it into use; return its position."""
    recorder = tracking(ledger)
    with _shadow(conn, projection):
        position = _filled(ledger, conn, projection, ledger.last_position())
        with conn.transaction(), conn.cursor() as cur:
            cur.execute(queries.lock, (projection.follower,))
            head = ledger.last_position()
            _follow(ledger, conn, projection, position, head)
            _empty(cur, projection.schema)
            for table in _tables(cur, projection.shadow):
                cur.execute(_named(queries.move_table, projection, table))
            cur.execute(queries.forget_dead_letters, (projection.follower,))
            cur.execute(
                queries.take_over_dead_letters, (projection.follower, projection.rehearsal.letters)
            )
            cur.execute(queries.forget_progress, (projection.follower,))
            recorder._insert_tracking(cur, Tracking(projection.follower, head))
            cur.execute(queries.keep_version, (projection.name, projection.version))
    return head


def check(ledger: Ledger, conn: psycopg.Connection[Any], projection: Projection) -> Checked:
    """Rebuild a read model aside, at the very position of the one in use, and compare them."""
    recorder = tracking(ledger)
    with _shadow(conn, projection):
        before = recorder.max_tracking_id(projection.follower) or 0
        _make_tables(conn, projection, projection.ddl)
        position = _follow(ledger, conn, projection, 0, before)
        with conn.transaction(), conn.cursor() as cur:
            cur.execute(queries.lock, (projection.follower,))
            live_at = recorder.max_tracking_id(projection.follower) or 0
            _follow(ledger, conn, projection, position, live_at)
            live = _digests(cur, projection, projection.schema)
            rebuilt = _digests(cur, projection, projection.shadow)
        with conn.transaction(), conn.cursor() as cur:
            _empty(cur, projection.shadow)
            cur.execute(queries.forget_dead_letters, (projection.rehearsal.letters,))
    return Checked(projection.name, live_at, live, rebuilt)


@contextmanager
def _shadow(conn: psycopg.Connection[Any], projection: Projection) -> Iterator[None]:
    """Hold the shadow schema for the session."""
    conn.execute(queries.lock_shadow, (projection.follower,))
    try:
        yield
    finally:
        conn.execute(queries.unlock_shadow, (projection.follower,))


def _make_tables(conn: psycopg.Connection[Any], projection: Projection, ddl: LiteralString) -> None:
    """Make the tables of the shadow schema, where nothing else is left."""
    with conn.transaction(), conn.cursor() as cur:
        _empty(cur, projection.shadow)
        cur.execute(queries.forget_dead_letters, (projection.rehearsal.letters,))
        cur.execute(queries.look_at, (f"{projection.shadow}, public",))
        cur.execute(ddl)


def _filled(
    ledger: Ledger, conn: psycopg.Connection[Any], projection: Projection, stop: int
) -> int:
    """Make and fill the shadow's tables up to a position; return it."""
    if projection.bulk is not None and stop:
        try:
            _load(ledger, conn, projection, stop)
        except Exception as error:
            if isinstance(error, psycopg.Error) and is_transient(error):
                raise
            # What one event does to a bulk load must not end a rebuild: in batches, that event
            # alone is set aside.
            log.warning("bulk_load_failed", projection=projection.name, error=str(error))
        else:
            return stop
    _make_tables(conn, projection, projection.ddl)
    return _follow(ledger, conn, projection, 0, stop)


def _load(ledger: Ledger, conn: psycopg.Connection[Any], projection: Projection, stop: int) -> None:
    bulk: Any = projection.bulk
    with _uncollected(), conn.transaction(), conn.cursor() as cur:
        _make_tables(conn, projection, bulk.ddl)
        cur.execute(queries.look_at, (f"{projection.shadow}, public",))
        pages = Pages(ledger, stop)
        bulk.load(cur, pages)
        for position, topic, error in pages.broken:
            bury(cur, projection.rehearsal.letters, position, topic, error)


class Pages:
    """The ledger up to a position in pages; `broken`: what could not be decoded."""

    def __init__(self, ledger: Ledger, stop: int) -> None:
        self._ledger, self._stop = ledger, stop
        self.broken: list[tuple[int, str, Exception]] = []

    def events(self, topics: Sequence[str]) -> Iterator[list[tuple[int, Event, Meta]]]:
        """Yield pages of (position, event, what is known of it) in order of position."""
        after = 0
        with (
            self._ledger.datastore.get_connection() as conn,
            conn.cursor(row_factory=tuple_row, binary=True) as cur,
            ThreadPoolExecutor(1) as reader,
        ):

            def read(after: int) -> list[tuple[int, str, bytes]]:
                asked = (after, self._stop, list(topics), PAGE)
                return cur.execute(queries.page, asked).fetchall()

            ahead = reader.submit(read, after)
            while rows := ahead.result():
                ahead = reader.submit(read, rows[-1][0])
                yield self._decoded(rows)

    def _decoded(self, rows: Sequence[tuple[int, str, bytes]]) -> list[tuple[int, Event, Meta]]:
        found = []
        for position, topic, state in rows:
            try:
                found.append((position, *decode(topic, state)))
            except (KeyError, ValueError) as error:  # msgspec's errors are ValueErrors
                self.broken.append((position, topic, error))
        return found


def _follow(
    ledger: Ledger, conn: psycopg.Connection[Any], projection: Projection, after: int, stop: int
) -> int:
    # While the tables take a batch, the next is read.
    with _uncollected(), ThreadPoolExecutor(1) as reader:

        def read(after: int) -> Future[Batch] | None:
            if after >= stop:
                return None
            return reader.submit(Batch, ledger, after, projection.topics, stop)

        ahead = read(after)
        while ahead is not None:
            batch = ahead.result()
            ahead = read(batch.position)
            with conn.transaction(), conn.cursor() as cur:
                take(cur, projection, batch, after, projection.rehearsal)
            after = batch.position
            gc.collect()
    return after


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leave cycles among objects alone meanwhile: millions are made here that are in none."""
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def _tables(cur: psycopg.Cursor[Any], schema: str) -> list[str]:
    return [row[0] for row in cur.execute(queries.tables_of, (schema,)).fetchall()]


def _empty(cur: psycopg.Cursor[Any], schema: str) -> None:
    for table in _tables(cur, schema):
        name = sql.Identifier(schema)
        cur.execute(sql.SQL(queries.drop_table).format(schema=name, table=sql.Identifier(table)))


def _named(query: Any, projection: Projection, table: str) -> sql.Composed:
    return sql.SQL(query).format(
        schema=sql.Identifier(projection.schema),
        shadow=sql.Identifier(projection.shadow),
        table=sql.Identifier(table),
    )


def _digests(
    cur: psycopg.Cursor[Any], projection: Projection, schema: str
) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    for table in _tables(cur, schema):
        query = sql.SQL(queries.digest).format(
            schema=sql.Identifier(schema), table=sql.Identifier(table)
        )
        row = cur.execute(query).fetchone()
        if row is not None:
            found[table] = (row[0], row[1])
    return found
