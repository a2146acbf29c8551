"""The library's PostgreSQL recorder with a COPY write path and the owner's lock.

One transaction: what the caller adds, then the table lock and NOTIFY, then a binary COPY of the
event rows. The lock comes last, so it covers only the rows and the commit. Ids come from the
table's sequence under that lock: they are visible in order, and contiguous within one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder
from psycopg import sql

from store.one_trip import one_trip
from store.sql import load_queries
from store.tables import SQL_FILE

queries = load_queries(SQL_FILE)

# Signature, flags, length of an extension; the end: no more columns.
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TAIL = b"\xff\xff"
# Rows of a command: they go in one statement, which can be sent with others; COPY cannot.
SMALL_MAX = 16

Also = Callable[["psycopg.Cursor[Any]"], object]


def copy_events(cur: psycopg.Cursor[Any], table: str, rows: Sequence[StoredEvent]) -> int:
    """Lock, notify and COPY rows into `telemetry_events` or `ledger_events`.

    Return the last notification id. psycopg.errors.UniqueViolation when a key is taken.
    """
    cur.execute(getattr(queries, f"lock_{table}"))
    with cur.copy(getattr(queries, f"copy_{table}")) as copy:
        copy.set_types(["uuid", "int8", "text", "bytea"])
        for row in rows:
            copy.write_row((row.originator_id, row.originator_version, row.topic, row.state))
    return _last(cur, table)


def _last(cur: psycopg.Cursor[Any], table: str) -> int:
    """Return the last notification id that this transaction has given."""
    cur.execute(getattr(queries, f"last_{table}"))
    found = cur.fetchone()
    if found is None:
        raise psycopg.DataError("the sequence gave no value")
    return int(next(iter(found.values())) if isinstance(found, dict) else found[0])


def append_events(
    cur: psycopg.Cursor[Any], table: str, rows: Sequence[StoredEvent], *, small: bool
) -> None:
    """Lock, notify and append rows: few by a statement that fits a pipeline, many by COPY."""
    if not rows:
        return
    if not small:
        copy_events(cur, table, rows)
        return
    cur.execute(getattr(queries, f"lock_{table}"))
    values = [(row.originator_id, row.originator_version, row.topic, row.state) for row in rows]
    columns = [list(column) for column in zip(*values, strict=True)]
    cur.execute(getattr(queries, f"insert_{table}"), columns)


def copy_event_rows(cur: psycopg.Cursor[Any], table: str, rows: Sequence[bytes]) -> None:
    """Lock, notify and COPY rows that are in COPY's binary form already."""
    cur.execute(getattr(queries, f"lock_{table}"))
    copy_binary(cur, getattr(queries, f"copy_{table}"), rows)


def copy_binary(
    cur: psycopg.Cursor[Any], statement: LiteralString | sql.Composed, rows: Iterable[bytes]
) -> None:
    """COPY rows that are in its binary form: what stands before and after them is added here."""
    with cur.copy(statement) as copy:
        copy.write(b"".join((_COPY_HEAD, *rows, _COPY_TAIL)))


def record_batch(
    cur: psycopg.Cursor[Any],
    *,
    at: datetime,
    batch: int | None = None,
    telemetry_id: int | None = None,
    ledger_id: int | None = None,
) -> None:
    """Record the positions a transaction reached; the locks of these logs must be held.

    `batch` is its number where rows carry one already, else the next. The time kept is `at`, or
    that of the last transaction when `at` lies before it.
    """
    values = {"batch": batch, "telemetry_id": telemetry_id, "ledger_id": ledger_id, "at": at}
    cur.execute(queries.record_batch, values)


class CopyRecorder(PostgresApplicationRecorder):
    """Appends by COPY; reads, subscriptions and schema checks stay the library's."""

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Append rows in one transaction and return their notification ids.

        `before` and `after` are optional callables on the transaction's cursor: the first runs
        before the lock is taken, the second with the last notification id, before the commit.
        Few rows take two round trips, where nothing runs before them.
        """
        before: Also | None = kwargs.get("before")
        after: Callable[[psycopg.Cursor[Any], int], None] | None = kwargs.get("after")
        table, small = self.events_table_name, len(stored_events) <= SMALL_MAX
        with (
            self.datastore.get_connection() as conn,
            one_trip(conn) if small and before is None else conn.transaction(),
            conn.cursor() as cur,
        ):
            if before is not None:
                before(cur)
            last = 0
            if stored_events and small:
                append_events(cur, table, stored_events, small=True)
                last = _last(cur, table)
            elif stored_events:
                last = copy_events(cur, table, stored_events)
            if after is not None:
                after(cur, last)
        return range(last - len(stored_events) + 1, last + 1)
