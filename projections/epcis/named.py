"""Named queries: what each name stands for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from domain.shared.ids import region_prefix
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
    conn: psycopg.Connection[Any], *, region: str, after: str = "", limit: int
) -> list[NamedQuery]:
    """Return up to `limit` named queries after a name, by name.

    Those of a region (its code), of regions in it and of those it lies in.
    """
    asked = {"region": region, "prefix": region_prefix(region), "after": after, "limit": limit}
    with conn.cursor(row_factory=class_row(NamedQuery)) as cur:
        return cur.execute(queries.queries, asked).fetchall()


def named_query(conn: psycopg.Connection[Any], name: str) -> NamedQuery | None:
    """Return one named query, None when there is none."""
    with conn.cursor(row_factory=class_row(NamedQuery)) as cur:
        return cur.execute(queries.query, (name,)).fetchone()
