"""Rebuild a read model beside the one in use, and swap; or compare the two.

Both make the tables in a shadow schema from position 0. The swap happens in one transaction with
the progress, under the lock the follower takes: readers see the old tables or the new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from eventsourcing.persistence import Tracking
from psycopg import sql

from domain.shared.errors import NotFound
from projections.discovery import discover
from projections.follower import Batch, queries, take, tracking
from projections.projection import Checked, Projection
from store.logs import Ledger


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
        position = _follow(ledger, conn, projection, 0, ledger.last_position())
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
    """Hold the shadow schema, emptied and with the read model's tables made."""
    conn.execute(queries.lock_shadow, (projection.follower,))
    try:
        with conn.transaction(), conn.cursor() as cur:
            _empty(cur, projection.shadow)
            cur.execute(queries.forget_dead_letters, (projection.rehearsal.letters,))
            cur.execute(queries.look_at, (f"{projection.shadow}, public",))
            cur.execute(projection.ddl)
        yield
    finally:
        conn.execute(queries.unlock_shadow, (projection.follower,))


def _follow(
    ledger: Ledger, conn: psycopg.Connection[Any], projection: Projection, after: int, stop: int
) -> int:
    while after < stop:
        batch = Batch(ledger, after, projection.topics, stop)
        with conn.transaction(), conn.cursor() as cur:
            take(cur, projection, batch, after, projection.rehearsal)
        after = batch.position
    return after


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
