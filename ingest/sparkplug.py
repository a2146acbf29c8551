"""Take the messages of Sparkplug B 3.0: births, readings and deaths of gateways and devices.

`spBv1.0/{region}/{NBIRTH|NDATA|NDEATH}/{gateway}`, `…/{DBIRTH|DDATA|DDEATH}/{gateway}/{device}`;
the site is that of the gateway's registration. Metrics named as channels are readings, all others
are left out; those of one time are one reading, known by its time, since `seq` begins anew after
255. A gateway's own metrics are readings of the device of the same id, where one is registered.

A message played again tells of a time that is over: only its readings count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec
import psycopg

from domain.cold_chain.events import MetricsDeclared
from domain.shared.events import Event
from ingest.batch import Batch, Item, Report
from ingest.refusals import Refused
from ingest.rows import last_of_streams
from ingest.sparkplug_nodes import BD_SEQ, Birth, Node, birth_at, birth_stream, declared
from ingest.sparkplug_payload import Payload, parse
from ingest.topics import Topic
from ingest.wire import READINGS_MAX, Message, Value, check_clock, check_times, told_apart, unpacked

Connection = psycopg.Connection[Any]
Rows = dict[int, tuple[None, int, dict[str, Value]]]


def take(batch: Batch, conn: Connection, item: Item) -> tuple[Message, ...] | Report | None:
    """Return what a message tells; None when that is nothing to be stored. Refused with a reason.

    The item's topic gains the gateway's site. Of a message that is a report and holds readings,
    the readings become an item of their own.
    """
    directory, live = batch.directory, item.received.replay_id is None
    gateway = directory.gateways.get(item.topic.gateway_id)
    topic = item.topic = replace(item.topic, site_id=gateway.site_id if gateway else "")
    directory.check_gateway(topic)
    payload = parse(unpacked(item.received.payload))
    node = directory.nodes.node(conn, topic.gateway_id)
    if topic.kind == "NDEATH":
        return _death(batch, node, payload) if live else None
    if live and not node.follows(payload.seq) and topic.kind != "NBIRTH":
        directory.nodes.ask(node, topic, batch.now_ms)
    if topic.device_id:
        directory.check_device(topic)
    try:
        messages = _readings(batch, topic, payload, _birth(batch, conn, item, node, payload))
    except Refused as refused:
        if live and refused.code == "unknown_alias":
            directory.nodes.ask(node, topic, batch.now_ms)
        raise
    report = _report(batch, topic, payload) if live else None
    if report is None or not messages:
        return report or messages or None
    batch.items.append(Item(replace(item.received, connection=0, mid=b""), topic, messages))
    return report


def _death(batch: Batch, node: Node, payload: Payload) -> Report | None:
    """End the session whose death it is; that of an earlier one comes late and says nothing."""
    bd_seq, birth = _bd_seq(payload), node.births.get("")
    if birth is None or birth.bd_seq != bd_seq:
        return None
    node.die()
    return _told("NDEATH", batch.now_ms, online=False, bdSeq=bd_seq)


def _report(batch: Batch, topic: Topic, payload: Payload) -> Report | None:
    """Return what a gateway's birth or a device's death is on record as."""
    ts_ms = _sent_ms(payload, batch.now_ms)
    if topic.kind == "NBIRTH":
        return _told("NBIRTH", ts_ms, online=True, bdSeq=_bd_seq(payload))
    return _told("DDEATH", ts_ms, online=False) if topic.kind == "DDEATH" else None


def _told(kind: str, ts_ms: int, *, online: bool, **facts: int) -> Report:
    text = msgspec.json.encode({"kind": kind, "online": online, "ts": ts_ms, **facts}).decode()
    return Report(kind, ts_ms, online, text)


def _birth(
    batch: Batch, conn: Connection, item: Item, node: Node, payload: Payload
) -> Birth | None:
    """Return what tells the names of the message's metrics; a birth tells them itself."""
    topic, nodes = item.topic, batch.directory.nodes
    live = item.received.replay_id is None
    if topic.kind not in {"NBIRTH", "DBIRTH"}:
        if live:
            return nodes.birth(conn, topic.gateway_id, topic.device_id)
        return birth_at(conn, topic.gateway_id, topic.device_id, payload.ts_ms)
    event = _declaration(batch, topic, node if live else Node(), payload)
    birth = Birth.of(event)
    stream = birth_stream(topic.gateway_id, topic.device_id)
    last = last_of_streams(conn, [stream]).get(stream)
    if live:
        node.bear(topic.device_id, birth)
    elif last and isinstance(last.event, MetricsDeclared) and last.event.ts_ms >= event.ts_ms:
        return birth
    version = last.originator_version if last else 0
    while (stream, version + 1) in batch.telemetry:
        version += 1
        last = batch.telemetry[stream, version]
    if last is None or not _same(last.event, event):
        batch.add_telemetry(stream, version + 1, event, region_code=topic.region_code)
    return birth


def _same(told: Event, event: MetricsDeclared) -> bool:
    """Tell whether a birth is on record already, however often it is received."""
    return (
        isinstance(told, MetricsDeclared) and replace(told, received_ms=event.received_ms) == event
    )


def _declaration(batch: Batch, topic: Topic, node: Node, payload: Payload) -> MetricsDeclared:
    """Return what a birth declares; a device is born in the session of its gateway."""
    ts_ms, own = _sent_ms(payload, batch.now_ms), node.births.get("")
    if not all(metric.name for metric in payload.metrics):
        raise Refused("bad_field", text="name")
    bd_seq = _bd_seq(payload) if topic.kind == "NBIRTH" else own.bd_seq if own else -1
    return MetricsDeclared(
        gateway_id=topic.gateway_id,
        device_id=topic.device_id,
        bd_seq=bd_seq,
        session_ms=ts_ms if topic.kind == "NBIRTH" else node.session_ms,
        ts_ms=ts_ms,
        names=tuple(metric.name for metric in payload.metrics),
        aliases=tuple(-1 if m.alias is None else m.alias for m in payload.metrics),
        datatypes=tuple(metric.datatype or 0 for metric in payload.metrics),
        received_ms=batch.now_ms,
    )


def _readings(
    batch: Batch, topic: Topic, payload: Payload, birth: Birth | None
) -> tuple[Message, ...]:
    """Return the readings in a message: those of the past apart, and no message too long."""
    device_id = topic.device_id or topic.gateway_id
    if device_id not in batch.directory.devices:
        return ()
    rows: dict[bool, Rows] = {True: {}, False: {}}  # the newest last
    for metric in payload.metrics:
        channel, datatype = declared(birth, metric, device_id)
        if not channel or metric.transient:
            continue
        ts_ms = payload.ts_ms if metric.ts_ms is None else metric.ts_ms
        if ts_ms is None:
            raise Refused("bad_field", text="timestamp")
        _, _, values = rows[metric.historical].setdefault(ts_ms, (None, 0, {}))
        value = metric.number(datatype)
        if values.setdefault(channel, value) != value:
            raise Refused(
                "repeated", field=f"{metric.name or metric.alias}, timestamp", value=ts_ms
            )
    for of_kind in rows.values():
        check_times(list(of_kind), batch.now_ms)
        if of_kind:
            batch.directory.check_device(replace(topic, device_id=device_id), max(of_kind))
    return tuple(
        replace(message, backfill=historical)
        for historical, of_kind in rows.items()
        for part in _parts(of_kind)
        for message in told_apart(device_id, part)
    )


def _parts(rows: Rows) -> Iterator[Rows]:
    """Cut readings, ascending in time, into as many as a message may hold."""
    ascending = iter(sorted(rows))
    while part := list(islice(ascending, READINGS_MAX)):
        yield {ts_ms: rows[ts_ms] for ts_ms in part}


def _sent_ms(payload: Payload, now_ms: int) -> int:
    if payload.ts_ms is None:
        raise Refused("bad_field", text="timestamp")
    check_clock(payload.ts_ms, now_ms)
    return payload.ts_ms


def _bd_seq(payload: Payload) -> int:
    metric = payload.metric(BD_SEQ)
    if metric is None or type(metric.value) is not int:
        raise Refused("bad_field", text=BD_SEQ)
    return metric.value
