"""API keys: those that open something, for the table in memory, and all of them as a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import class_row

from domain.accounts.events import ApiKeyIssued, ApiKeyRevoked
from projections.projection import Projection
from store.envelope import Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "accounts.sql")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, known by the SHA-256 of its secret; `region_code` 000000 is the whole country."""

    key_id: str
    digest: str
    role: str
    region_code: str
    label: str
    revoked: bool
    version: int


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take issued and revoked keys into the table."""
    for recorded in batch:
        version = {"version": recorded.envelope.originator_version}
        match recorded.envelope.event:
            case ApiKeyIssued() as event:
                cur.execute(queries.put_key, asdict(event) | version)
            case ApiKeyRevoked() as event:
                cur.execute(queries.revoke_key, asdict(event) | version)


PROJECTION = Projection(
    name="accounts",
    version=1,
    topics=(ApiKeyIssued.TOPIC, ApiKeyRevoked.TOPIC),
    apply=apply,
    ddl=queries.ddl,
)


def keys(conn: psycopg.Connection[Any]) -> list[ApiKey]:
    """Return every key that is not revoked."""
    with conn.cursor(row_factory=class_row(ApiKey)) as cur:
        return cur.execute(queries.keys).fetchall()


def key_list(
    conn: psycopg.Connection[Any], *, region: str = "", after: str = "", limit: int
) -> list[ApiKey]:
    """Return up to `limit` keys of a region (a prefix of its code) by id, after the id `after`."""
    with conn.cursor(row_factory=class_row(ApiKey)) as cur:
        page = {"region": region, "after": after, "limit": limit}
        return cur.execute(queries.key_list, page).fetchall()


def key(conn: psycopg.Connection[Any], key_id: str) -> ApiKey | None:
    """Return one key."""
    with conn.cursor(row_factory=class_row(ApiKey)) as cur:
        return cur.execute(queries.key, (key_id,)).fetchone()
