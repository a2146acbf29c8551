"""Subscriptions to named EPCIS queries: who is sent which events, and how far each has been sent.

Destinations and secrets are others' own and change: rows, not events. A secret leaves this table
only towards the report that it signs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from domain.epcis import named
from domain.epcis.query import Query, Span
from domain.epcis.schedule import schedule_of
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "subscriptions.sql")

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription; columns as in the table. schedule: None = each event as it becomes known."""

    subscription_id: UUID
    query_name: str
    query: str
    extensions: str
    key_id: str
    region_code: str
    dest: str
    secret: str = field(repr=False)
    epc_format: str
    schedule: dict[str, str] | None
    report_if_empty: bool
    initial_record_time: datetime | None
    created_at: datetime
    position: int
    ordinal: int
    sending_position: int | None = None
    sending_ordinal: int | None = None
    batch_max: int = 0
    attempts: int = 0
    due_at: datetime
    executed_at: datetime
    notified_at: datetime | None = None
    last_error: str = ""

    def asks(self) -> Query:
        """Return what is asked for: the query, from the initial record time on."""
        return since(named.query_of(self.query, self.extensions), self.initial_record_time)

    def next_due(self, now: datetime) -> datetime:
        """Return when to look again after all there was has been told."""
        if self.schedule is None:
            return now
        return schedule_of(self.schedule).next_after(now)


def since(query: Query, initial: datetime | None) -> Query:
    """Return a query for events recorded at or after a moment, in the order of becoming known."""
    start = query.record_time.start
    if initial is not None:
        start = max(start, initial) if start else initial
    return Query(query.conditions, query.event_time, Span(start, query.record_time.end))


def add(conn: Connection, subscription: Subscription) -> None:
    """Put down a subscription."""
    schedule = subscription.schedule
    values = asdict(subscription) | {"schedule": Jsonb(schedule) if schedule else None}
    conn.execute(queries.add, values)


def of_query(
    conn: Connection,
    query_name: str,
    *,
    region: str,
    after: tuple[str, str] = ("-infinity", "00000000-0000-0000-0000-000000000000"),
    limit: int,
) -> list[Subscription]:
    """Return a page of the subscriptions to a query in a region, oldest first."""
    asked = {"query_name": query_name, "region": region, "limit": limit}
    page = {"created_at": after[0], "subscription_id": after[1]}
    with conn.cursor(row_factory=class_row(Subscription)) as cur:
        return cur.execute(queries.of_query, asked | page).fetchall()


def one(conn: Connection, query_name: str, subscription_id: UUID) -> Subscription | None:
    """Return a subscription, None when there is none."""
    with conn.cursor(row_factory=class_row(Subscription)) as cur:
        return cur.execute(queries.one, (query_name, subscription_id)).fetchone()


def remove(conn: Connection, query_name: str, subscription_id: UUID) -> None:
    """End a subscription."""
    conn.execute(queries.remove, (query_name, subscription_id))


def count_beyond(conn: Connection, query_name: str, *, region: str) -> int:
    """Return how many subscriptions to a query are of regions beyond one (a prefix of codes)."""
    ((count,),) = conn.execute(queries.count_beyond, (query_name, region)).fetchall()
    return int(count)


def remove_of_query(conn: Connection, query_name: str) -> None:
    """End all subscriptions to a query."""
    conn.execute(queries.remove_of_query, (query_name,))
