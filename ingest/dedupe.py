"""Second step: leave only what is not stored yet, whatever was sent again or cut anew.

Readings are held against what is stored of their device (readings.py), scans against the keys in
the ledger, reports against their streams.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg

from domain.alerting.watch import to_datetime
from domain.cold_chain.events import DeviceReported, GatewayReported
from domain.shared.events import Event
from domain.shared.ids import stream_id
from ingest import commands
from ingest.batch import Batch, Item, Report
from ingest.ranges import version_of
from ingest.readings import take_readings
from ingest.refusals import Refused
from ingest.rows import envelope_of, last_of_streams, queries
from ingest.scans import Scan
from store.envelope import Envelope

Connection = psycopg.Connection[Any]


def dedupe(batch: Batch, conn: Connection) -> None:
    """Turn what is new into rows and events, and count what is not."""
    messages = batch.messages
    scans = [(item, item.content) for item in batch.taken if isinstance(item.content, Scan)]
    reports = [(item, item.content) for item in batch.taken if isinstance(item.content, Report)]
    if messages:
        take_readings(batch, conn, messages)
    if scans:
        _take_scans(batch, conn, scans)
    if reports:
        _take_reports(batch, conn, reports)


def _take_scans(batch: Batch, conn: Connection, scans: Sequence[tuple[Item, Scan]]) -> None:
    keys = [_scan_key(item, scan) for item, scan in scans]
    streams, versions = [key[0] for key in keys], [key[1] for key in keys]
    found = conn.execute(queries.scans_stored, (streams, versions)).fetchall()
    stored = {(row[0], row[1]): envelope_of(row) for row in found}
    for key, (item, scan) in zip(keys, scans, strict=True):
        known = stored.get(key)
        if known is None:
            stored[key] = _add_scan(batch, key, item, scan)
        elif known.event == scan.event and known.meta.occurred_at == to_datetime(scan.ts_ms):
            item.repeated = 1
        else:
            item.refused = Refused(
                "scan_conflict", scanner=item.topic.gateway_id, boot=scan.boot, seq=scan.seq
            )


def _scan_key(item: Item, scan: Scan) -> tuple[UUID, int]:
    stream = stream_id("traceability.scanner", item.topic.gateway_id)
    return stream, version_of(scan.boot, scan.seq)


def _add_scan(batch: Batch, key: tuple[UUID, int], item: Item, scan: Scan) -> Envelope:
    item.new = 1
    return batch.add_ledger(
        *key,
        scan.event,
        occurred_at=to_datetime(scan.ts_ms),
        region_code=item.topic.region_code,
        device_id=item.topic.gateway_id,
    )


def _take_reports(batch: Batch, conn: Connection, reports: Sequence[tuple[Item, Report]]) -> None:
    """Store a device's report once; a gateway's when it differs from its last one.

    What it says of lost readings counts again when it is repeated: it may have come first before
    anything was known to be missing.
    """
    told: list[tuple[UUID, Event, Item, Report]] = []
    for item, report in reports:
        told.append((*_report_event(batch, item, report), item, report))
    last = {
        stream: (envelope.originator_version, envelope.event)
        for stream, envelope in last_of_streams(conn, {stream for stream, *_ in told}).items()
    }
    for stream, event, item, report in told:
        version, known = last.get(stream, (0, None))
        try:
            commands.note_report(batch.gaps, batch.replies, item.topic.device_id, report)
        except Refused as refused:
            item.refused = refused
            continue
        if _told_already(known, event):
            item.repeated = 1
            continue
        item.new = 1
        last[stream] = (version + 1, event)
        batch.add_telemetry(stream, version + 1, event, region_code=item.topic.region_code)


def _report_event(batch: Batch, item: Item, report: Report) -> tuple[UUID, Event]:
    device_id, gateway_id = item.topic.device_id, item.topic.gateway_id
    if not device_id:
        stream = stream_id("cold_chain.gateway_status", gateway_id)
        return stream, GatewayReported(
            gateway_id=gateway_id,
            online=report.online,
            payload=report.payload,
            received_ms=batch.now_ms,
        )
    digest = hashlib.sha256(report.payload.encode()).hexdigest()
    return stream_id("cold_chain.device_report", device_id, digest), DeviceReported(
        device_id=device_id,
        kind=report.kind,
        ts_ms=report.ts_ms,
        payload=report.payload,
        received_ms=batch.now_ms,
    )


def _told_already(known: Event | None, event: Event) -> bool:
    if isinstance(known, GatewayReported) and isinstance(event, GatewayReported):
        return known.payload == event.payload
    return known is not None
