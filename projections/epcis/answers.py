"""Answers to queries about events, as known at a position of the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import class_row, tuple_row

from domain.epcis.query import LIKE, Query, Test
from domain.shared.errors import Invalid
from projections.epcis.follow import queries

Connection = psycopg.Connection[Any]

# Milliseconds for an answer; a question that takes longer is to be asked more narrowly.
ANSWER_MS_MAX = 10_000
_LAST = 2**63 - 1, 2**31 - 1


class Key(NamedTuple):
    """Where an answer goes on: the last event given, and how many were."""

    event_time: str
    position: int
    ordinal: int
    given: int


@dataclass(frozen=True, slots=True)
class Kept:
    """An event of the repository: `content` is JSON as received, `contexts` what it stood in."""

    position: int
    ordinal: int
    event_time: datetime
    record_time: datetime
    event_id: str
    content: str
    contexts: str


def events(
    conn: Connection,
    query: Query,
    *,
    position: int,
    region: str,
    after: Key | None = None,
    limit: int,
) -> list[Kept]:
    """Return up to `limit` events of a region (a prefix of its code) that a query asks for.

    Without an order they come as they became known. Invalid("query_too_complex") for a query that
    takes longer than ANSWER_MS_MAX.
    """
    values = _values(query, position, region) | {"limit": limit}
    descending = bool(query.order_by) and query.descending
    if query.order_by == "eventTime":
        begin = "infinity" if descending else "-infinity"
        tail = queries.by_time_desc if descending else queries.by_time
        values["after_time"] = after.event_time if after else begin
    elif query.order_by in ("", "recordTime"):
        tail = queries.by_record_desc if descending else queries.by_record
    else:
        tail = queries.by_field_desc if descending else queries.by_field
        number, moment = f"{query.order_by} #", f"{query.order_by} @"
        values |= {"text": query.order_by, "number": number, "moment": moment}
        values["given"] = after.given if after else 0
    first = _LAST if descending else (-1, -1)
    values["after_position"], values["after_ordinal"] = after[1:3] if after else first
    with _in_time(conn), conn.cursor(row_factory=class_row(Kept)) as cur:
        asked = sql.SQL("\n").join([sql.SQL(queries.asked), sql.SQL(tail)])
        # Planned for these values each time: a plan for any would not use the index of facets.
        return cur.execute(asked, values, prepare=False).fetchall()


def count(conn: Connection, query: Query, *, position: int, region: str, limit: int) -> int:
    """Return how many events a query asks for, counted up to a limit; Invalid as `events`."""
    values = _values(query, position, region) | {"limit": limit}
    with _in_time(conn), conn.cursor(row_factory=tuple_row) as cur:
        counting = sql.SQL(queries.count).format(asked=sql.SQL(queries.asked))
        return int(cur.execute(counting, values, prepare=False).fetchall()[0][0])


def key_of(kept: Kept, given: int) -> Key:
    """Return where an answer goes on after an event, the last of so many."""
    return Key(kept.event_time.isoformat(), kept.position, kept.ordinal, given)


def members(
    conn: Connection, kind: str, *, position: int, region: str, after: str = "", limit: int
) -> list[tuple[str, str]]:
    """Return a page of a collection: plain forms, and the forms as captured."""
    page = {"kind": kind, "position": position, "region": region, "after": after, "limit": limit}
    with conn.cursor(row_factory=tuple_row) as cur:
        return cur.execute(queries.members, page).fetchall()


def is_member(conn: Connection, kind: str, value: str, *, region: str) -> bool:
    """Tell whether an event of a region has a value, in plain form, for a collection."""
    asked = {"kind": kind, "value": value, "region": region}
    with conn.cursor(row_factory=tuple_row) as cur:
        return bool(cur.execute(queries.is_member, asked).fetchall()[0][0])


def companies(conn: Connection, position: int) -> frozenset[str]:
    """Return the company prefixes told by URNs up to a position."""
    with conn.cursor(row_factory=tuple_row) as cur:
        return frozenset(row[0] for row in cur.execute(queries.companies, (position,)))


@contextmanager
def _in_time(conn: Connection) -> Iterator[None]:
    """Bound what is asked in the block in time."""
    try:
        with conn.transaction():
            conn.execute(queries.bound_time, (str(ANSWER_MS_MAX),))
            yield
    except psycopg.errors.QueryCanceled:
        raise Invalid("query_too_complex", field="query", max=ANSWER_MS_MAX // 1000) from None


def _values(query: Query, position: int, region: str) -> dict[str, Any]:
    return {
        "position": position,
        "region": region,
        "of": path_of(query.conditions),
        "event_from": query.event_time.start,
        "event_to": query.event_time.end,
        "record_from": query.record_time.start,
        "record_to": query.record_time.end,
    }


def path_of(conditions: Sequence[Sequence[Test]]) -> str | None:
    """Return conditions as a JSON path predicate on facets; None when there are none."""
    clauses = ["(" + " || ".join(map(_comparison, condition)) + ")" for condition in conditions]
    return " && ".join(clauses) or None


def _comparison(test: Test) -> str:
    facet, operand = json.dumps(test.facet), json.dumps(test.operand)
    operator = "like_regex" if test.operator == LIKE else test.operator
    return f"$.{facet}[*] {operator} {operand}"
