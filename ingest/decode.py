"""First step: open each message and check that its sender is who the registry says."""

from __future__ import annotations

from typing import Any

import msgspec
import psycopg

from domain.shared.errors import Invalid
from ingest import scans, senml, sparkplug, vendors, wire
from ingest.batch import NOWHERE, Batch, Item, Received, Report
from ingest.directory import Directory
from ingest.refusals import Refused
from ingest.topics import Topic, parse
from ingest.wire import Message

Connection = psycopg.Connection[Any]
Content = Message | tuple[Message, ...] | scans.Scan | Report | None

# Of a report's own name for its kind.
KIND_LENGTH_MAX = 64


def decode(batch: Batch, conn: Connection) -> None:
    """Give every message its topic and content, or the reason why it is refused."""
    for item in tuple(batch.items):  # a message can make a second item
        item.topic = topic_of(item.received)
        try:
            item.content = _content(batch, conn, item, item.topic)
        except Refused as refused:
            item.refused = refused


def topic_of(received: Received) -> Topic:
    """Return the parts of a message's topic; NOWHERE when it is none of ours."""
    try:
        return parse(received.topic)
    except Invalid:
        return NOWHERE


def _content(batch: Batch, conn: Connection, item: Item, topic: Topic) -> Content:
    payload, directory = item.received.payload, batch.directory
    match topic.kind:
        case "tele" | "backfill":
            return _readings(batch, item, topic)
        case "scan":
            return _scan(directory, topic, payload, batch.now_ms)
        case "event":
            directory.check_device(topic)
            report = _report(payload, batch.now_ms, timed=True)
            directory.check_device(topic, report.ts_ms)
            return report
        case "status":
            directory.check_gateway(topic)
            return _report(payload, batch.now_ms, timed=False)
        case "NBIRTH" | "NDATA" | "NDEATH" | "DBIRTH" | "DDATA" | "DDEATH":
            return sparkplug.take(batch, conn, item)
        case "NCMD" | "DCMD":
            return None  # what servers say, we among them
        case _:
            return vendors.take(batch, item)


def _readings(batch: Batch, item: Item, topic: Topic) -> Message | tuple[Message, ...]:
    batch.directory.check_device(topic)
    body = wire.unpacked(item.received.payload)
    if not senml.is_pack(body):
        message = wire.decode_body(topic.device_id, body, batch.now_ms)
        batch.directory.check_device(topic, max(message.ts_ms))
        return message
    received_ms = item.received.received_ms or batch.now_ms
    messages = senml.decode(topic.device_id, body, batch.now_ms, received_ms)
    batch.directory.check_device(topic, max(max(message.ts_ms) for message in messages))
    return messages


def _scan(directory: Directory, topic: Topic, payload: bytes, now_ms: int) -> scans.Scan:
    directory.check_site(topic)
    scan = scans.decode(topic.gateway_id, topic.site_id, payload, now_ms)
    scans.check_products(scan, directory.products)
    return scan


def _report(payload: bytes, now_ms: int, *, timed: bool) -> Report:
    """Return a report as it came: a JSON object; a device's names the time it tells of."""
    body = wire.unpacked(payload)
    try:
        text = body.decode()
        fields: Any = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise Refused("bad_json", text=error) from error
    if not isinstance(fields, dict):
        raise Refused("bad_field", text="$")
    ts_ms = fields.get("ts", now_ms if not timed else None)
    if type(ts_ms) is not int:
        raise Refused("bad_field", text="$.ts")
    wire.check_clock(ts_ms, now_ms)
    kind = str(fields.get("kind", ""))[:KIND_LENGTH_MAX]
    return Report(kind, ts_ms, fields.get("online") is True, text)
