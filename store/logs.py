"""The two logs: `telemetry` (readings, quarantine) and `ledger` (everything people rely on).

Each is an eventsourcing application with its own table, lock and notification sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Protocol, Self, cast
from uuid import UUID

import psycopg
from eventsourcing.application import Application
from eventsourcing.persistence import IntegrityError, Notification, StoredEvent
from eventsourcing.postgres import PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from domain.shared.errors import Conflict
from store.envelope import Envelope, Recorded
from store.mapper import from_row
from store.recorder import SMALL_MAX, Also, CopyRecorder, queries, record_batch
from store.together import Entry, Together

# Followers and requests of one process; PostgreSQL's own limit is 100 for all processes.
POOL_SIZE, POOL_OVERFLOW = 2, 8


class Streams(Protocol):
    """Whatever gives the events of a stream in order of version."""

    def stream(self, stream: UUID, /) -> Sequence[Envelope]:
        """Return them, none where there are none."""


class Log(Application[UUID]):
    """An append-only log of envelopes. Subclasses differ in their name, which names the table."""

    env: ClassVar[dict[str, str]] = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "APPLICATION_RECORDER_TOPIC": "store.recorder:CopyRecorder",
        "MAPPER_TOPIC": "store.mapper:EnvelopeMapper",
        "CREATE_TABLE": "n",
        "POSTGRES_POOL_SIZE": str(POOL_SIZE),
        "POSTGRES_POOL_MAX_OVERFLOW": str(POOL_OVERFLOW),
    }

    def __init__(self, dsn: str) -> None:
        parts = conninfo_to_dict(dsn)
        names = {"dbname": "DBNAME", "host": "HOST", "port": "PORT", "user": "USER"}
        settings = {f"POSTGRES_{v}": str(parts.get(k, "")) for k, v in names.items()}
        settings["POSTGRES_PORT"] = str(parts.get("port") or 5432)
        settings["POSTGRES_PASSWORD"] = str(parts.get("password") or "")
        super().__init__(env=settings)
        # The library takes these five only; TLS, several hosts and the like go to the pool itself.
        rest = {key: value for key, value in parts.items() if key not in {*names, "password"}}
        pool = self.datastore.pool
        pool.kwargs = {**cast(dict[str, Any], pool.kwargs), **rest}
        self._together = Together(self._store)

    @property
    def datastore(self) -> PostgresDatastore:
        """Return the library's door to the database, with its pool of connections."""
        return cast(CopyRecorder, self.recorder).datastore

    @property
    def table(self) -> str:
        """Return the name of the table of events."""
        return cast(CopyRecorder, self.recorder).events_table_name

    def read(self, after: int, limit: int, topics: Sequence[str] = ()) -> list[Recorded]:
        """Return up to `limit` events after a position, in order, of these TOPICs (or all)."""
        found = self.read_rows(after, limit, topics)
        return [Recorded(row.id, from_row(row)) for row in found]

    def read_rows(
        self, after: int, limit: int, topics: Sequence[str] = ()
    ) -> Sequence[Notification]:
        """Return the same as stored rows, undecoded."""
        return self.recorder.select_notifications(
            after, limit, topics=topics, inclusive_of_start=False
        )

    def last_position(self) -> int:
        """Return the position of the newest event, 0 when there is none."""
        return self.recorder.max_notification_id() or 0

    def stream(self, stream: UUID, *, after_version: int = 0) -> list[Envelope]:
        """Return a stream's events in order of version."""
        found: Iterable[Any] = self.events.get(stream, gt=after_version)
        return list(found)

    def append(
        self,
        envelopes: Sequence[Envelope],
        *,
        before: Also | None = None,
        after: Callable[[psycopg.Cursor[Any], int], None] | None = None,
    ) -> int:
        """Store envelopes in one transaction and return the position of the last.

        `before(cursor)` runs in the same transaction ahead of the table lock; `after(cursor,
        position)` just before the commit. Conflict("version_conflict") when a stream already has
        one of the versions: nothing is stored then. Few envelopes that come while others are being
        stored share the next transaction with whatever else came meanwhile.
        """
        entry = Entry(envelopes, after)
        if before is None and envelopes and len(envelopes) <= SMALL_MAX:
            self._together.put(entry)
        else:
            self._store([entry], before)
        return entry.position

    def _store(self, entries: Sequence[Entry], before: Also | None = None) -> None:
        """Store entries in one transaction and tell each its position."""
        envelopes = [envelope for entry in entries for envelope in entry.envelopes]

        def recorded(cur: psycopg.Cursor[Any], last: int) -> None:
            if envelopes:
                at = max(envelope.meta.recorded_at for envelope in envelopes)
                record_batch(cur, at=at, **{f"{self.name}_id": last})
            left = len(envelopes)
            for entry in entries:
                left -= len(entry.envelopes)
                entry.position = last - left
                if entry.after is not None:
                    entry.after(cur, entry.position)

        try:
            self.events.put(cast(Any, envelopes), before=before, after=recorded)
        except IntegrityError as error:
            if isinstance(error.__cause__, psycopg.errors.UniqueViolation):
                raise Conflict("version_conflict") from error
            raise
        if not envelopes:
            entries[-1].position = self.last_position()

    def position_at(self, moment: datetime) -> int:
        """Return the last position recorded before a moment, 0 when there is none.

        Times along a log never fall, so the answer is the same for ever, once every transaction
        that began before the moment has ended.
        """
        with self.datastore.get_connection() as conn:
            query = getattr(queries, f"position_at_{self.table}")
            row: Any = conn.execute(query, (moment,)).fetchone()
        return int(row["position"]) if row else 0

    def __enter__(self) -> Self:
        """Return itself; the pool opens with the first use."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the pool."""
        self.close()


class Telemetry(Log):
    """Readings as they came, and what was refused."""

    name = "telemetry"


class Ledger(Log):
    """Scans, custody, alerts, registries and every business module: one order for all."""

    name = "ledger"

    def streams(self, streams: Collection[UUID]) -> dict[UUID, list[Envelope]]:
        """Return the events of many streams in order of version; empty where there are none."""
        found: dict[UUID, list[Envelope]] = {stream: [] for stream in streams}
        with self.datastore.get_connection() as conn:
            rows: Iterable[Any] = conn.execute(queries.ledger_streams, (list(found),))
            for row in rows:
                found[row["originator_id"]].append(from_row(StoredEvent(**row)))
        return found

    def together(self, streams: Collection[UUID]) -> list[Envelope]:
        """Return the events of some streams in the order in which they were stored."""
        with self.datastore.get_connection() as conn:
            rows: Iterable[Any] = conn.execute(queries.ledger_together, (list(streams),))
            return [from_row(StoredEvent(**row)) for row in rows]
