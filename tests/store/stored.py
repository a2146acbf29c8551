"""Readings put into the store as ingest does it: their events, their rows and the batch's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from domain.cold_chain.events import ReadingsRecorded
from domain.cold_chain.model import device_stream
from projections.readings import rows_of
from store.envelope import Envelope, Meta
from store.mapper import to_row
from store.recorder import copy_events, record_batch

Connection = psycopg.Connection[Any]
Value = float | None


def event(
    device_id: str,
    seq: int,
    ts: datetime | Sequence[datetime],
    *,
    boot: int = 1,
    step: timedelta = timedelta(minutes=1),
    **columns: Sequence[Value],
) -> ReadingsRecorded:
    """Return an event of readings at these times, or `step` apart from a time on."""
    n = len(next(iter(columns.values())))
    times = [ts + step * i for i in range(n)] if isinstance(ts, datetime) else ts
    ms = tuple(round(t.timestamp() * 1000) for t in times)
    return ReadingsRecorded(
        device_id=device_id,
        boot=boot,
        seq=seq,
        ts_ms=ms,
        columns={name: tuple(values) for name, values in columns.items()},
        received_ms=max(ms),
    )


def store(conn: Connection, *events: ReadingsRecorded) -> int:
    """Store the events of one batch and return the telemetry position."""
    with conn.transaction(), conn.cursor() as cur:
        found = cur.execute("SELECT nextval('batch_seq')").fetchone()
        assert found is not None
        for each in events:
            _rows(cur, each, int(found[0]))
        envelopes = [_envelope(each) for each in events]
        position = copy_events(cur, "telemetry_events", [to_row(each) for each in envelopes])
        at = envelopes[-1].meta.recorded_at
        record_batch(cur, at=at, batch=int(found[0]), telemetry_id=position)
    return position


def _rows(cur: psycopg.Cursor[Any], told: ReadingsRecorded, batch: int) -> None:
    cur.execute(
        "INSERT INTO device_no (device_id) VALUES (%s) ON CONFLICT DO NOTHING", (told.device_id,)
    )
    days = [datetime.fromtimestamp(ts / 1000, UTC).date() for ts in told.ts_ms]
    cur.execute("SELECT ensure_reading_partitions(%s, %s)", (min(days), max(days)))
    cur.executemany(
        "INSERT INTO reading SELECT device_no, to_timestamp(%s / 1000.0), %s, %s, %s, %s, %s, %s,"
        " %s, %s, %s, %s, %s, %s, %s FROM device_no WHERE device_id = %s",
        [
            (ts, boot, seq, batch, late, *values, json.dumps(extra) if extra else None, device_id)
            for device_id, boot, seq, ts, late, *values, extra in rows_of(told)
        ],
    )


def _envelope(told: ReadingsRecorded) -> Envelope:
    received = datetime.fromtimestamp(told.received_ms / 1000, UTC)
    meta = Meta(occurred_at=received, recorded_at=received)
    version = (told.boot << 40) + told.seq
    return Envelope(device_stream(told.device_id), version, told, meta)
