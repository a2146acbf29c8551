"""Read model of what the outside is told: immunizations, and where uploads stand.

Immunizations are rows of doses joined, when they are read, with what traceability, vaccination and
the registry know by then. Uploads stand in a table of their own, kept by the connector.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import class_row, dict_row

from domain.shared.ids import stream_id
from domain.traceability.codes import code_key
from domain.traceability.events import DoseAdministered, FactWithdrawn
from domain.vaccination.events import DoseNotGiven, NotGivenWithdrawn
from projections.projection import Projection
from store.envelope import Envelope, Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "platform.sql")

Connection = psycopg.Connection[Any]
# Kinds of finding that make a dose doubtful.
SPOILING = ("USE_AFTER_EXCURSION", "OPEN_VIAL_OVERRUN", "EXPIRED_USE")
EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
LATEST = datetime(9999, 12, 30, tzinfo=UTC)
NO_ID = UUID(int=0)
_APART = ("fact_id", "site_id", "codes", "recipient")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which immunizations: of any where None; times from (inclusive) and to (exclusive).

    states: done, withdrawn (declared wrong), not_done.
    """

    region: str = ""
    ids: Sequence[UUID] | None = None
    recipients: Sequence[str] | None = None
    lots: Sequence[str] | None = None
    states: list[str] | None = field(default_factory=lambda: ["done", "withdrawn"])
    given_from: datetime = EARLIEST
    given_to: datetime = LATEST
    changed_from: datetime = EARLIEST
    changed_to: datetime = LATEST


@dataclass(frozen=True, slots=True)
class UploadRow:
    """An upload as it stands; `day` is the local day it is counted on."""

    upload_id: str
    platform: str
    kind: str
    bill_type: str
    bill_code: str
    fact_id: str
    site_id: str
    region_code: str
    day: date
    codes: int
    state: str
    round: int
    attempts: int
    missing: bool
    changed_at: datetime
    last_error: str


def immunization_id(fact_id: str, code: str) -> UUID:
    """Return the id under which a dose of a code is known outside."""
    return stream_id("platform.immunization", fact_id, code)


def not_given_id(told_id: str) -> UUID:
    """Return the id under which a dose that was not given is known outside."""
    return stream_id("platform.not_given", told_id)


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take doses and withdrawals into the tables."""
    for given, events in groupby(batch, key=_is_dose):
        if given:
            cur.executemany(queries.put, [row for _, dose in events for row in _rows(dose)])
        else:
            _take(cur, events)


def _is_dose(recorded: Recorded) -> bool:
    """Tell whether an event is a dose: many come in a row, and are taken together."""
    return isinstance(recorded.envelope.event, DoseAdministered)


def _take(cur: psycopg.Cursor[Any], events: Iterable[Recorded]) -> None:
    for _, envelope in events:
        match envelope.event:
            case FactWithdrawn() as event:
                at = envelope.meta.recorded_at
                cur.execute(queries.put_withdrawn, (event.fact_id, event.of_site, at))
                cur.execute(queries.withdraw, (at, event.fact_id, event.of_site))
            case DoseNotGiven() as event:
                cur.execute(queries.put_not_given, _not_given(event, envelope))
            case NotGivenWithdrawn() as event:
                gone = (envelope.meta.recorded_at, not_given_id(event.not_given_id))
                cur.execute(queries.withdraw_not_given, gone)


PROJECTION = Projection(
    name="platform",
    version=2,
    topics=tuple(
        cls.TOPIC for cls in (DoseAdministered, FactWithdrawn, DoseNotGiven, NotGivenWithdrawn)
    ),
    apply=apply,
    ddl=queries.ddl,
)


def _rows(envelope: Envelope) -> Iterable[dict[str, Any]]:
    event = cast(DoseAdministered, envelope.event)
    return (_row(event, code, envelope) for code in event.codes)


def _row(event: DoseAdministered, code: str, envelope: Envelope) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(event)
    return {
        "id": immunization_id(event.fact_id, code),
        "fact_id": event.fact_id,
        "k": code_key(code),
        "code": code,
        "site_id": event.site_id,
        "region_code": envelope.meta.region_code,
        "recipient": event.recipient,
        "given_at": envelope.meta.occurred_at,
        "recorded_at": envelope.meta.recorded_at,
        "said": msgspec.json.encode(
            {name: value for name, value in said.items() if name not in _APART}
        ).decode(),
    }


def _not_given(event: DoseNotGiven, envelope: Envelope) -> dict[str, Any]:
    said = {name: getattr(event, name) for name in ("product_id", "series_dose", "cause", "note")}
    return {
        "id": not_given_id(event.not_given_id),
        "fact_id": event.not_given_id,
        "site_id": event.site_id,
        "region_code": envelope.meta.region_code,
        "recipient": event.recipient,
        "given_at": event.decided_at,
        "recorded_at": envelope.meta.recorded_at,
        "said": msgspec.json.encode(said).decode(),
    }


def immunizations(
    conn: Connection, asked: Asked, *, after: tuple[datetime, UUID] = (EARLIEST, NO_ID), limit: int
) -> list[dict[str, Any]]:
    """Return up to `limit` immunizations in the order of their change, after (time, id)."""
    values = {name: getattr(asked, name) for name in Asked.__dataclass_fields__}
    page = {"after_at": after[0], "after_id": after[1], "limit": limit}
    with conn.cursor(row_factory=dict_row) as cur:
        asking = values | page | {"spoiling": list(SPOILING)}
        return cur.execute(queries.immunizations, asking).fetchall()


def uploads(
    conn: Connection,
    *,
    region: str,
    state: str | None = None,
    kind: str | None = None,
    after: str = "",
    limit: int,
) -> list[UploadRow]:
    """Return up to `limit` uploads of a region by id, after an id."""
    asked = {"region": region, "state": state, "kind": kind, "after": after, "limit": limit}
    with conn.cursor(row_factory=class_row(UploadRow)) as cur:
        return cur.execute(queries.uploads, asked).fetchall()


def upload(conn: Connection, upload_id: str) -> UploadRow | None:
    """Return an upload, None when there is none."""
    with conn.cursor(row_factory=class_row(UploadRow)) as cur:
        return cur.execute(queries.upload, (upload_id,)).fetchone()


def reconciliation(
    conn: Connection, *, first: date, last: date, region: str
) -> list[dict[str, Any]]:
    """Return the counts of uploads by local day and kind."""
    asked = {"first": first, "last": last, "region": region}
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(queries.reconciliation, asked).fetchall()
