"""Who is told, and what became of telling them: for the routes and the command line.

Names and addresses are personal data that change: rows, not events. A secret leaves this table only
towards the channel that signs with it.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import class_row

from domain.shared.errors import Conflict
from store.sql import load_queries

# A mobile number of mainland China.
PHONE = re.compile(r"(\+86)?1[3-9][0-9]{9}")

queries = load_queries(Path(__file__).with_name("sql") / "recipients.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Somebody (or a system) told of alerts in a region, optionally of one site only.

    channel: one of `channels.offered.NEEDS`. level: from which step of escalation a person is told,
    0 at once. severity_min: the least severity told of. With `person_id` it is a contact of that
    person, used in the order of `rank`; of what they are told, their duties say.
    """

    recipient_id: str
    name: str
    channel: str
    address: str
    region_code: str
    site_id: str
    level: int
    severity_min: str
    person_id: str = ""
    rank: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One notice to one recipient. state: queued, sending, sent, failed.

    accepted_id: under which a provider took it; delivered_at: when a phone or a siren had it.
    """

    delivery_id: int
    recipient_id: str
    name: str
    channel: str
    address: str
    kind: str
    level: int
    state: str
    attempts: int
    created_at: datetime
    next_at: datetime | None
    sent_at: datetime | None
    last_error: str
    accepted_id: str
    delivered_at: datetime | None
    person_id: str


def add(conn: psycopg.Connection[Any], recipient: Recipient, *, secret: str) -> None:
    """Put down a recipient.

    Conflict("recipient_exists") when the id is taken, "contact_taken" when the address is already a
    contact of somebody.
    """
    values = {**asdict(recipient), "secret": secret}
    try:
        made = conn.execute(queries.insert_recipient, values).fetchone()
    except psycopg.errors.UniqueViolation:
        raise Conflict("contact_taken", channel=recipient.channel) from None
    if made is None:
        raise Conflict("recipient_exists", recipient_id=recipient.recipient_id)


def remove(conn: psycopg.Connection[Any], recipient_id: str) -> None:
    """Forget a recipient; what is still queued for them will not be sent."""
    conn.execute(queries.delete_recipient, (recipient_id,))


def one(conn: psycopg.Connection[Any], recipient_id: str) -> Recipient | None:
    """Return a recipient, None when there is none."""
    with conn.cursor(row_factory=class_row(Recipient)) as cur:
        return cur.execute(queries.recipient, (recipient_id,)).fetchone()


def listed(
    conn: psycopg.Connection[Any], *, region: str, after: str, limit: int
) -> list[Recipient]:
    """Return up to `limit` recipients of a region (a prefix of its code) by id, after `after`."""
    with conn.cursor(row_factory=class_row(Recipient)) as cur:
        page = {"region": region, "after": after, "limit": limit}
        return cur.execute(queries.recipients, page).fetchall()


def deliveries(
    conn: psycopg.Connection[Any], alert_id: str, *, after: int, limit: int
) -> list[Delivery]:
    """Return up to `limit` deliveries of an alert in order, after the id `after`."""
    with conn.cursor(row_factory=class_row(Delivery)) as cur:
        page = {"alert_id": alert_id, "after": after, "limit": limit}
        return cur.execute(queries.deliveries, page).fetchall()


def masked(address: str) -> str:
    """Return an address as others may see it: enough to recognise, not enough to write to."""
    if not address:
        return ""
    if "://" in address:
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.hostname}/***"
    if "@" in address:
        local, _, domain = address.rpartition("@")
        return f"{local[:1]}***@{domain}"
    if PHONE.fullmatch(address):
        digits = address.removeprefix("+86")
        return f"{digits[:3]}****{digits[-4:]}"
    return f"{address[:4]}***"
