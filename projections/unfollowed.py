"""The ledger's events that a read model does not have yet, for answers that must be of now."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import orjson
import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg.rows import tuple_row

from domain.traceability.events import FactWithdrawn
from store.envelope import Recorded
from store.mapper import from_row
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "unfollowed.sql")


def followed(conn: psycopg.Connection[Any], follower: str) -> int:
    """Return the position up to which a read model has come; ask before reading its tables."""
    with conn.cursor(row_factory=tuple_row) as cur:
        row: Any = cur.execute(queries.followed, (follower,)).fetchone()
    return int(row[0])


def recorded_after(
    conn: psycopg.Connection[Any], after: int, topics: Collection[str], named: Collection[str]
) -> Iterator[Recorded]:
    """Yield events after a position that name one of the texts; of withdrawals, every one."""
    wanted = {
        "after": after,
        "topics": list(topics),
        "withdrawn": FactWithdrawn.TOPIC,
        # As they stand in the stored JSON, without the quotes around them.
        "named": [orjson.dumps(text)[1:-1] for text in sorted(named)],
    }
    names = ("originator_id", "originator_version", "topic", "state")
    with conn.cursor(row_factory=tuple_row) as cur:
        for position, *columns in cur.execute(queries.tail, wanted).fetchall():
            row = StoredEvent(**dict(zip(names, columns, strict=True)))
            yield Recorded(position, from_row(row))
