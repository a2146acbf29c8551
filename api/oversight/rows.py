"""The queries of oversight, and stored events with the hash of their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("reports.sql"))

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """A ledger event as stored: `state` are its bytes, JSON of version, metadata and fields."""

    position: int
    stream: str
    version: int
    topic: str
    state: bytes

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of the stored bytes, hex."""
        return hashlib.sha256(self.state).hexdigest()


def stored(conn: Connection, positions: Iterable[int]) -> dict[int, Stored]:
    """Return ledger events by position, in its order."""
    found = conn.execute(queries.stored, (sorted(set(positions)),))
    return {row[0]: Stored(row[0], str(row[1]), row[2], row[3], bytes(row[4])) for row in found}


def hashes(conn: Connection, positions: Iterable[int]) -> dict[int, str]:
    """Return the SHA-256 (hex) of the bytes of ledger events, by position."""
    return dict(conn.execute(queries.hashes, (sorted(set(positions)),)).fetchall())


def telemetry_head(conn: Connection, position: int) -> str | None:
    """Return the SHA-256 (hex) of the bytes of a telemetry event, None where there is none."""
    row = conn.execute(queries.telemetry_head, (position,)).fetchone()
    return row[0] if row else None
