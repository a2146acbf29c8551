"""The records that the law asks for, as people list them: signed temperatures, filed loggers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg.rows import class_row

from domain.cold_chain.record_events import LoggerFileRead, TemperatureRecordSigned
from projections.projection import Projection
from store.envelope import Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "cold_chain_records.sql")

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Record:
    """A signed record, as its event says; `probes` have device_id, channel, value_c, read_at."""

    unit_id: str
    day: date
    half: str
    site_id: str
    region_code: str
    due_at: datetime
    shown_at: datetime
    as_of: str
    since: datetime
    probes: list[dict[str, Any]]
    min_c: float | None
    max_c: float | None
    outside_min: float | None
    unknown_min: float
    alert_ids: list[str]
    own_c: float | None
    remark: str
    signed_by: str
    signed_at: datetime
    late: bool


@dataclass(frozen=True, slots=True)
class File:
    """A filed logger, without its readings; `since` and `until` None: it has summaries alone."""

    sha256: str
    kind: str
    serial: str
    zone: str
    unit_id: str
    bill_no: str
    readings: int
    days: int
    since: datetime | None
    until: datetime | None
    region_code: str
    filed_at: datetime


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take signed records and filed loggers."""
    for _, envelope in batch:
        meta = envelope.meta
        match envelope.event:
            case TemperatureRecordSigned() as event:
                probes = msgspec.json.encode(event.probes).decode()
                more = {"probes": probes, "alert_ids": list(event.alert_ids)}
                told = asdict(event) | more | {"signed_at": meta.recorded_at}
                cur.execute(queries.put_record, told)
                cur.execute(queries.put_keeping, told)
            case LoggerFileRead() as event:
                filed = {"region_code": meta.region_code, "filed_at": meta.recorded_at}
                cur.execute(queries.put_file, asdict(event) | filed)


PROJECTION = Projection(
    name="cold_chain_records",
    version=1,
    topics=(LoggerFileRead.TOPIC, TemperatureRecordSigned.TOPIC),
    apply=apply,
    ddl=queries.ddl,
)


def records(
    conn: Connection,
    *,
    unit_id: str | None = None,
    site_id: str | None = None,
    first: date,
    last: date,
) -> list[Record]:
    """Return what was signed of a unit, or of a site, by unit and time."""
    asked = {"unit_id": unit_id, "site_id": site_id, "first": first, "last": last}
    with conn.cursor(row_factory=class_row(Record)) as cur:
        return cur.execute(queries.records, asked).fetchall()


def shown_last(conn: Connection, unit_ids: Sequence[str], before: datetime) -> dict[str, datetime]:
    """Return when the newest record of each unit before a moment was shown to who signed it."""
    asked = {"unit_ids": list(unit_ids), "before": before}
    return dict(conn.execute(queries.shown_last, asked).fetchall())


def signed(conn: Connection, due_at: Sequence[datetime]) -> set[tuple[datetime, str]]:
    """Return the units whose records of some windows are signed, each with when it was due."""
    return {(row[0], row[1]) for row in conn.execute(queries.signed, (list(due_at),))}


def keeping(conn: Connection) -> dict[str, datetime]:
    """Return since when sites sign records: those that ever signed one."""
    return dict(conn.execute(queries.keeping).fetchall())


def files(
    conn: Connection,
    *,
    region: str = "",
    unit_id: str | None = None,
    bill_no: str | None = None,
    after: str = "",
    limit: int,
) -> list[File]:
    """Return up to `limit` files filed in a region, of one unit or bill where named, by SHA-256."""
    asked = {"region": region, "unit_id": unit_id, "bill_no": bill_no}
    with conn.cursor(row_factory=class_row(File)) as cur:
        return cur.execute(queries.files, {**asked, "after": after, "limit": limit}).fetchall()


def files_in(
    conn: Connection, t0: datetime, t1: datetime, *, unit_id: str = "", bill_no: str = ""
) -> list[File]:
    """Return the files with readings of a unit in a time, or of a bill, by their begin."""
    asked = {"t0": t0, "t1": t1, "unit_id": unit_id, "bill_no": bill_no}
    with conn.cursor(row_factory=class_row(File)) as cur:
        return cur.execute(queries.files_in, asked).fetchall()
