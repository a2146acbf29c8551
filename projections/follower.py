"""Follow the ledger in batches: one read, all read models, one commit.

Each read model's tables and its progress change in one transaction, so a kill at any moment leaves
them agreeing. An event that a read model cannot take goes to `dead_letter` and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import structlog
from eventsourcing.persistence import Notification, Tracking
from eventsourcing.postgres import PostgresTrackingRecorder

from projections.projection import Projection
from store.envelope import Recorded
from store.logs import Ledger
from store.mapper import from_row
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "follower.sql")
log = structlog.get_logger(__name__)

# Larger batches gain little and hold the tables' locks longer.
BATCH_MAX = 2000


def tracking(ledger: Ledger) -> PostgresTrackingRecorder:
    """Return the library's record of how far each follower has come."""
    return PostgresTrackingRecorder(ledger.datastore, tracking_table_name="follower_tracking")


class Batch:
    """Events after a position, with the position that having taken them stands for."""

    def __init__(self, ledger: Ledger, after: int, topics: Sequence[str], stop: int) -> None:
        rows = ledger.recorder.select_notifications(
            after, BATCH_MAX, stop=stop, topics=topics, inclusive_of_start=False
        )
        self.rows: Sequence[Notification] = rows
        self.position = rows[-1].id if len(rows) == BATCH_MAX else stop

    def events_for(self, projection: Projection, after: int) -> tuple[list[Recorded], list[Any]]:
        """Return the decoded events a read model takes, and what could not be decoded."""
        taken: list[Recorded] = []
        broken: list[tuple[Notification, Exception]] = []
        for row in self.rows:
            if row.id > after and row.topic in projection.topics:
                try:
                    taken.append(Recorded(row.id, from_row(row)))
                except (KeyError, ValueError) as error:  # msgspec's errors are ValueErrors
                    broken.append((row, error))
        return taken, broken


class Follower:
    """Keeps read models up with the ledger over one connection."""

    def __init__(self, ledger: Ledger, projections: Sequence[Projection]) -> None:
        self._ledger = ledger
        self._projections = projections
        self._tracking = tracking(ledger)
        self._positions = {p.name: self.position(p) for p in projections}
        self._topics = sorted({topic for p in projections for topic in p.topics})

    def position(self, projection: Projection) -> int:
        """Return the position a read model stands at."""
        return self._tracking.max_tracking_id(projection.follower) or 0

    def behind(self) -> int:
        """Return how many positions the slowest read model is behind the ledger."""
        return max(0, self._ledger.last_position() - min(self._positions.values(), default=0))

    def step(self, conn: psycopg.Connection[Any]) -> int:
        """Take one batch into every read model and return how many events it held.

        `conn` is in autocommit mode. psycopg.OperationalError leaves everything as it was.
        """
        start = min(self._positions.values(), default=0)
        head = self._ledger.last_position()
        if head <= start:
            return 0
        batch = Batch(self._ledger, start, self._topics, head)
        behind = [p for p in self._projections if self._positions[p.name] < batch.position]
        with conn.transaction(), conn.cursor() as cur:
            for projection in behind:
                self._take(cur, projection, batch)
        self._positions.update((p.name, batch.position) for p in behind)
        return len(batch.rows)

    def _take(self, cur: psycopg.Cursor[Any], projection: Projection, batch: Batch) -> None:
        cur.execute(queries.lock, (projection.follower,))
        # A rebuild may have moved on meanwhile: its progress, not ours, is what the tables hold.
        after = self._stored_position(cur, projection)
        if after >= batch.position:
            return
        take(cur, projection, batch, after, projection.schema)
        # The library's tracking row, in the same transaction as the tables.
        self._tracking._insert_tracking(cur, Tracking(projection.follower, batch.position))

    def _stored_position(self, cur: psycopg.Cursor[Any], projection: Projection) -> int:
        cur.execute(self._tracking.max_tracking_id_statement, (projection.follower,))
        row = cur.fetchone()
        return int(row[0] or 0) if row else 0


def take(
    cur: psycopg.Cursor[Any], projection: Projection, batch: Batch, after: int, schema: str
) -> None:
    """Apply a batch to the tables in `schema`; what cannot be taken becomes dead letters."""
    events, broken = batch.events_for(projection, after)
    for row, error in broken:
        bury(cur, projection, row.id, row.topic, error)
    if events and not _applied(cur, projection, events, schema):
        for recorded in events:
            _applied(cur, projection, [recorded], schema, last=True)


def _applied(
    cur: psycopg.Cursor[Any],
    projection: Projection,
    events: Sequence[Recorded],
    schema: str,
    *,
    last: bool = False,
) -> bool:
    try:
        with cur.connection.transaction():
            cur.execute(queries.look_at, (f"{schema}, public",))
            projection.apply(cur, events)
    except (psycopg.OperationalError, psycopg.InterfaceError):
        raise
    except Exception as error:
        # Whatever one event does to one read model must not stop the others: a single event that
        # fails is kept with its error, listed, and taken again by a rebuild.
        if last:
            bury(cur, projection, events[0].position, events[0].envelope.event.TOPIC, error)
        return False
    return True


def bury(
    cur: psycopg.Cursor[Any], projection: Projection, position: int, topic: str, error: Exception
) -> None:
    """Keep an event that a read model cannot take."""
    text = f"{type(error).__name__}: {error}"
    cur.execute(queries.keep_dead_letter, (projection.follower, position, topic, text))
    log.error("dead_letter_kept", projection=projection.name, position=position, error=text)
