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

from projections.projection import Place, Projection
from store.envelope import Recorded
from store.logs import Ledger
from store.mapper import from_row
from store.sql import load_queries
from store.transient import is_transient

queries = load_queries(Path(__file__).parent / "sql" / "follower.sql")
log = structlog.get_logger(__name__)

# What is new is taken in batches that hold the tables' locks for a moment only. Far behind, larger
# ones are quicker: more of what they tell of a code is in one of them.
BATCH_MAX, CATCH_UP_MAX = 2000, 10_000


def tracking(ledger: Ledger) -> PostgresTrackingRecorder:
    """Return the library's record of how far each follower has come."""
    return PostgresTrackingRecorder(ledger.datastore, tracking_table_name="follower_tracking")


class Batch:
    """Events after a position, with the position that having taken them stands for."""

    def __init__(self, ledger: Ledger, after: int, topics: Sequence[str], stop: int) -> None:
        limit = BATCH_MAX if stop - after <= CATCH_UP_MAX else CATCH_UP_MAX
        rows = ledger.recorder.select_notifications(
            after, limit, stop=stop, topics=topics, inclusive_of_start=False
        )
        self.rows: Sequence[Notification] = rows
        self.position = rows[-1].id if len(rows) == limit else stop
        self._read = [(row, _decoded(row)) for row in rows]

    def events_for(self, projection: Projection, after: int) -> tuple[list[Recorded], list[Any]]:
        """Return the decoded events a read model takes, and what could not be decoded."""
        taken: list[Recorded] = []
        broken: list[tuple[Notification, Exception]] = []
        topics = frozenset(projection.topics)
        for row, read in self._read:
            if row.id > after and row.topic in topics:
                if isinstance(read, Recorded):
                    taken.append(read)
                else:
                    broken.append((row, read))
        return taken, broken


def _decoded(row: Notification) -> Recorded | Exception:
    try:
        return Recorded(row.id, from_row(row))
    except (KeyError, ValueError) as error:  # msgspec's errors are ValueErrors
        return error


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
        take(cur, projection, batch, after, projection.live)
        # The library's tracking row, in the same transaction as the tables.
        self._tracking._insert_tracking(cur, Tracking(projection.follower, batch.position))

    def _stored_position(self, cur: psycopg.Cursor[Any], projection: Projection) -> int:
        cur.execute(self._tracking.max_tracking_id_statement, (projection.follower,))
        row = cur.fetchone()
        return int(row[0] or 0) if row else 0


def take(
    cur: psycopg.Cursor[Any], projection: Projection, batch: Batch, after: int, place: Place
) -> None:
    """Apply a batch to the tables of a place; what they cannot take becomes dead letters."""
    events, broken = batch.events_for(projection, after)
    for row, error in broken:
        bury(cur, place.letters, row.id, row.topic, error)
    if events:
        _take_in_parts(cur, projection, events, place)


def _take_in_parts(
    cur: psycopg.Cursor[Any], projection: Projection, events: Sequence[Recorded], place: Place
) -> None:
    """Apply events; where they fail, either half of them, down to those that are at fault."""
    failure = _failed(cur, projection, events, place.schema)
    if failure is None:
        return
    if len(events) == 1:
        ((position, envelope),) = events
        bury(cur, place.letters, position, envelope.event.TOPIC, failure)
        return
    half = len(events) // 2
    _take_in_parts(cur, projection, events[:half], place)
    _take_in_parts(cur, projection, events[half:], place)


def _failed(
    cur: psycopg.Cursor[Any], projection: Projection, events: Sequence[Recorded], schema: str
) -> Exception | None:
    """Apply events in a savepoint; return what was wrong with them, None when they are taken."""
    try:
        with cur.connection.transaction():
            cur.execute(queries.look_at, (f"{schema}, public",))
            projection.apply(cur, events)
    except Exception as error:
        if isinstance(error, psycopg.Error) and is_transient(error):
            raise
        # Whatever one event does to one read model must not stop the others: a single event that
        # fails is kept with its error, listed, and taken again by a rebuild.
        return error
    return None


def bury(
    cur: psycopg.Cursor[Any], letters: str, position: int, topic: str, error: Exception
) -> None:
    """Keep an event that a read model cannot take."""
    text = f"{type(error).__name__}: {error}"
    cur.execute(queries.keep_dead_letter, (letters, position, topic, text))
    log.error("dead_letter_kept", follower=letters, position=position, error=text)
