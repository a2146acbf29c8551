"""Capture jobs, newest attempt first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from projections.epcis.follow import queries


@dataclass(frozen=True, slots=True)
class Job:
    """A capture job as it is listed; `position` is the ledger's of its newest attempt."""

    capture_id: str
    position: int
    began_at: datetime
    ended_at: datetime
    behaviour: str
    success: bool


def jobs(conn: psycopg.Connection[Any], *, region: str, before: int, limit: int) -> list[Job]:
    """Return up to `limit` jobs of a region (a prefix of its code) before a position."""
    with conn.cursor(row_factory=class_row(Job)) as cur:
        page = {"region": region, "before": before, "limit": limit}
        return cur.execute(queries.jobs, page).fetchall()
