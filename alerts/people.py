"""Persons who are told of alerts: contacts, duties and leave, and what became of telling them.

A person's contacts are recipients, in an order; where and of what a person is told, duties say: a
region or a site, a level of escalation, a period, a deputy. The chain of a place is the duties that
cover it, from its own to the country's. Rows change with the event that tells it (`domain.alerting.
duty`); names and addresses are in rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import class_row

from domain.alerting.duty_events import (
    DutyAssigned,
    DutyEnded,
    LeaveEnded,
    LeaveTaken,
)
from domain.alerting.rules import SEVERITIES
from domain.shared.errors import Conflict
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "people.sql")

# The languages in which persons are told; others read both in one message.
LOCALES = ("zh", "en")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who is told. `key_id`: the key by which they use the interface, or empty."""

    person_id: str
    name: str
    locale: str
    region_code: str
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """One way to reach a person. `failed_at`: since when nothing has reached it."""

    recipient_id: str
    channel: str
    address: str
    rank: int
    failed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Somebody in the chain of a place at a moment. `holder_id`: for whom a deputy stands in."""

    level: int
    severity_min: str
    duty_id: str
    person_id: str
    name: str
    holder_id: str
    region_code: str
    site_id: str
    ends_at: datetime | None
    channels: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of telling a person of an alert: first times, and by which channel."""

    person_id: str
    name: str
    level: int
    queued_at: datetime
    accepted_at: datetime | None
    accepted_by: str
    delivered_at: datetime | None
    delivered_by: str
    read_at: datetime | None
    failed_by: list[str]


def put(conn: psycopg.Connection[Any], person: Person) -> None:
    """Put down a person, or give them other particulars; the region stays.

    Conflict("key_taken") when the key is another person's.
    """
    try:
        conn.execute(queries.put_person, asdict(person))
    except psycopg.errors.UniqueViolation:
        raise Conflict("key_taken", key_id=person.key_id) from None


def one(conn: psycopg.Connection[Any], person_id: str) -> Person | None:
    """Return a person, None when there is none."""
    with conn.cursor(row_factory=class_row(Person)) as cur:
        return cur.execute(queries.person, (person_id,)).fetchone()


def listed(conn: psycopg.Connection[Any], *, region: str, after: str, limit: int) -> list[Person]:
    """Return up to `limit` persons of a region (a prefix of its code) by id, after `after`."""
    with conn.cursor(row_factory=class_row(Person)) as cur:
        page = {"region": region, "after": after, "limit": limit}
        return cur.execute(queries.people, page).fetchall()


def contacts(conn: psycopg.Connection[Any], person_id: str) -> list[Contact]:
    """Return a person's contacts in the order in which they are used."""
    with conn.cursor(row_factory=class_row(Contact)) as cur:
        return cur.execute(queries.contacts, (person_id,)).fetchall()


def remove(conn: psycopg.Connection[Any], person_id: str, now: datetime) -> None:
    """Forget a person with all contacts; Conflict("person_on_duty") while a duty is not over."""
    with conn.transaction():
        conn.execute(queries.lock_floor)
        left = conn.execute(queries.duties_left, {"person_id": person_id, "now": now}).fetchone()
        if left is not None:
            raise Conflict("person_on_duty", duty_id=left[0])
        conn.execute(queries.delete_person, (person_id,))


def person_of_key(conn: psycopg.Connection[Any], key_id: str) -> str:
    """Return the id of the person who acts by a key, empty when nobody is known to."""
    row = conn.execute(queries.person_of_key, (key_id,)).fetchone()
    return str(row[0]) if row else ""


def names_of_keys(conn: psycopg.Connection[Any], keys: Sequence[str]) -> dict[str, str]:
    """Return the names of the persons who act by these keys, by key."""
    return dict(conn.execute(queries.names_of_keys, (list(keys),)).fetchall())


def keep(
    cur: psycopg.Cursor[Any], event: DutyAssigned | DutyEnded | LeaveTaken | LeaveEnded
) -> None:
    """Put down what an event says, in its transaction."""
    put_down = {
        DutyAssigned: queries.put_duty,
        DutyEnded: queries.end_duty,
        LeaveTaken: queries.put_leave,
        LeaveEnded: queries.end_leave,
    }
    cur.execute(put_down[type(event)], asdict(event))


def duty(conn: psycopg.Connection[Any], duty_id: str) -> DutyAssigned | None:
    """Return a duty as it stands, None when there is none."""
    with conn.cursor(row_factory=class_row(DutyAssigned)) as cur:
        return cur.execute(queries.duty, (duty_id,)).fetchone()


def duties(
    conn: psycopg.Connection[Any],
    *,
    region: str,
    site_id: str,
    person_id: str,
    at: datetime | None,
    now: datetime,
    after: str,
    limit: int,
) -> list[DutyAssigned]:
    """Return up to `limit` duties by id: those in force at `at`, or all that are not over."""
    asked = {"region": region, "site_id": site_id, "person_id": person_id, "at": at, "now": now}
    with conn.cursor(row_factory=class_row(DutyAssigned)) as cur:
        return cur.execute(queries.duties, {**asked, "after": after, "limit": limit}).fetchall()


def leave(conn: psycopg.Connection[Any], leave_id: str) -> LeaveTaken | None:
    """Return a leave as it stands, None when there is none."""
    with conn.cursor(row_factory=class_row(LeaveTaken)) as cur:
        return cur.execute(queries.leave, (leave_id,)).fetchone()


def leaves(
    conn: psycopg.Connection[Any], *, region: str, now: datetime, after: str, limit: int
) -> list[LeaveTaken]:
    """Return up to `limit` leaves that are not over, by id."""
    page = {"region": region, "now": now, "after": after, "limit": limit}
    with conn.cursor(row_factory=class_row(LeaveTaken)) as cur:
        return cur.execute(queries.leaves, page).fetchall()


def chain(
    conn: psycopg.Connection[Any], *, region_code: str, site_id: str, at: datetime
) -> list[Link]:
    """Return who is told of a place at a moment, by level."""
    asked = {"region_code": region_code, "site_id": site_id, "at": at}
    with conn.cursor(row_factory=class_row(Link)) as cur:
        return cur.execute(queries.chain, asked).fetchall()


def told_at(
    conn: psycopg.Connection[Any],
    *,
    region_code: str,
    site_id: str,
    severity: str,
    level: int,
    at: datetime,
) -> tuple[str, ...]:
    """Return the ids of those who are told of an alert by a level, at a moment."""
    place = {"region_code": region_code, "site_id": site_id, "level": level, "at": at}
    asked = {**place, "severity": severity, "severities": list(SEVERITIES)}
    return tuple(row[0] for row in conn.execute(queries.told_at, asked))


def evidence(conn: psycopg.Connection[Any], alert_id: str) -> Sequence[Told]:
    """Return what became of telling each person of an alert, in order of time."""
    with conn.cursor(row_factory=class_row(Told)) as cur:
        return cur.execute(queries.evidence, (alert_id,)).fetchall()


def record_read(conn: psycopg.Connection[Any], *, alert_id: str, key_id: str, at: datetime) -> None:
    """Keep as evidence that whoever acts by a key looked at an alert they were told of."""
    asked = {"alert_id": alert_id, "key_id": key_id, "at": at.isoformat()}
    conn.execute(queries.record_read, asked)
