"""The queries of this layer, and reading stored events by them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.persistence import StoredEvent

from store.envelope import Envelope
from store.mapper import from_row
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("ingest.sql"))


def envelope_of(row: Sequence[Any]) -> Envelope:
    """Return the envelope of a row (originator_id, originator_version, topic, state)."""
    return from_row(StoredEvent(row[0], row[1], row[2], bytes(row[3])))


def last_of_streams(conn: psycopg.Connection[Any], streams: Iterable[UUID]) -> dict[UUID, Envelope]:
    """Return the newest telemetry event of each of these streams that has one."""
    asked = list(streams)
    found = conn.execute(queries.last_of_streams, (asked,)).fetchall() if asked else []
    return {row[0]: envelope_of(row) for row in found}
