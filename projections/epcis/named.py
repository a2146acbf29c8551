"""Named queries: what each name stands for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from projections.epcis.follow import queries


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A named query as it was defined: the JSON text, and the prefixes of its names."""

    name: str
    query: str
    extensions: str
    region_code: str
    defined_at: datetime


def named_queries(
    conn: psycopg.Connection[Any], *, after: str = "", limit: int
) -> list[NamedQuery]:
    """Return up to `limit` named queries after a name, by name."""
    with conn.cursor(row_factory=class_row(NamedQuery)) as cur:
        return cur.execute(queries.queries, {"after": after, "limit": limit}).fetchall()


def named_query(conn: psycopg.Connection[Any], name: str) -> NamedQuery | None:
    """Return one named query, None when there is none."""
    with conn.cursor(row_factory=class_row(NamedQuery)) as cur:
        return cur.execute(queries.query, (name,)).fetchone()
