"""Plain SQL migrations, forward only, run once by the owner role.

A file `NNNN_{pre,post}_purpose.sql` runs in one transaction with its entry in `schema_migration`;
a file that was applied and has changed since is refused, so a fresh schema equals a migrated one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from store.sql import load_queries
from store.tables import APP_ROLE, MIGRATIONS

queries = load_queries(Path(__file__).with_name("schema.sql"))


class MigrationChanged(RuntimeError):
    """A migration file differs from what was applied to this database."""


def migrations(folder: Path = MIGRATIONS) -> list[Path]:
    """Return the migration files in order."""
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))


def migrate(
    owner_dsn: str, *, schemas: Iterable[str] = (), files: Sequence[Path] | None = None
) -> list[str]:
    """Bring a database to the newest schema and return the names applied.

    `schemas` are read models' schemas to make room for. The application role must exist. Running
    it twice, or from two processes at once, is harmless.
    """
    done: list[str] = []
    with psycopg.connect(owner_dsn) as conn:
        conn.execute(queries.lock)
        conn.execute(queries.create_ledger_of_migrations)
        conn.execute(queries.grant_reading)
        applied: dict[str, str] = dict(conn.execute(queries.applied).fetchall())
        for file in files if files is not None else migrations():
            text = file.read_text(encoding="utf-8")
            digest = _digest(text)
            known = applied.get(file.name)
            if known is None:
                conn.execute(text.encode())
                conn.execute(queries.record, (file.name, digest))
                done.append(file.name)
            elif known != digest:
                raise MigrationChanged(file.name)
        for name in schemas:
            schema = sql.Identifier(name)
            conn.execute(sql.SQL(queries.create_schema).format(schema=schema))
            grant = sql.SQL(queries.grant_schema)
            conn.execute(grant.format(schema=schema, role=sql.Identifier(APP_ROLE)))
    return done


def pending(dsn: str) -> list[str]:
    """Return the migrations a database lacks or has in another form; all when it is empty."""
    digests = {file.name: _digest(file.read_text(encoding="utf-8")) for file in migrations()}
    with psycopg.connect(dsn) as conn:
        found = conn.execute("SELECT to_regclass('schema_migration')").fetchone()
        if found is None or found[0] is None:
            return list(digests)
        applied: dict[str, str] = dict(conn.execute(queries.applied).fetchall())
    return [name for name, digest in digests.items() if applied.get(name) != digest]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def schema_digest(owner_dsn: str) -> str:
    """Return a SHA-256 over every table, index, constraint, function and grant."""
    with psycopg.connect(owner_dsn) as conn:
        lines = [row[0] for row in conn.execute(queries.describe).fetchall()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
