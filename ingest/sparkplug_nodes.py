"""What Sparkplug gateways declared at their births, in memory: what a metric's alias stands for.

A session begins with the gateway's birth (NBIRTH) and ends with its death; each device behind it is
born (DBIRTH) within it. Births are events of the telemetry log, so that a session goes on after
ingest was started again. Since a birth may have been missed meanwhile, and after every message that
was, the gateway is asked to be born again; until it is, what it declared last is held for true.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from domain.cold_chain.events import GatewayReported, MetricsDeclared
from domain.cold_chain.model import CHANNEL_ALIASES, CHANNEL_PATTERN
from domain.shared.ids import stream_id
from ingest.refusals import Refused
from ingest.rows import envelope_of, last_of_streams
from ingest.sparkplug_payload import SEQ_END, Datatype, Metric, Payload, serialized
from ingest.topics import SPARKPLUG, Topic
from store.sql import load_queries

Connection = psycopg.Connection[Any]

UNSURE = -1  # in place of a message's number: any may come next
BD_SEQ, REBIRTH = "bdSeq", "Node Control/Rebirth"
# A gateway is asked no more often to be born again.
REBIRTH_MS = 60_000
# Gateways in memory; beyond, all are read again as they come.
NODES_MAX = 20_000
# Births that a message played again is held against.
BIRTHS_MAX = 200

_channel = re.compile(CHANNEL_PATTERN)
_queries = load_queries(Path(__file__).with_name("sparkplug.sql"))


def birth_stream(gateway_id: str, device_id: str) -> UUID:
    """Return the stream of what a gateway (`device_id` empty) or a device declared."""
    return stream_id("cold_chain.sparkplug_birth", gateway_id, device_id)


def status_stream(gateway_id: str) -> UUID:
    """Return the stream of a gateway's reports of itself."""
    return stream_id("cold_chain.gateway_status", gateway_id)


def channel_of(name: str) -> str:
    """Return the channel that a metric's name stands for; empty when it is no name of a channel."""
    channel = CHANNEL_ALIASES.get(name.lower(), name.lower())
    return channel if name != BD_SEQ and _channel.fullmatch(channel) else ""


@dataclass(frozen=True, slots=True)
class Birth:
    """What was declared: by alias and by name, the channel (empty: it is none) and the datatype.

    An alias of several metrics tells nothing: these are known by their names alone.
    """

    ts_ms: int
    session_ms: int
    bd_seq: int
    metrics: Mapping[int | str, tuple[str, int | None]]

    @classmethod
    def of(cls, event: MetricsDeclared) -> Birth:
        """Return the birth that an event tells of."""
        metrics: dict[int | str, tuple[str, int | None]] = {}
        of_several = {alias for alias, n in Counter(event.aliases).items() if n > 1}
        for name, alias, datatype in zip(event.names, event.aliases, event.datatypes, strict=True):
            meant = (_numeric_channel(name, datatype), datatype)
            if channel_of(name):
                metrics[name] = meant
            if alias >= 0 and alias not in of_several:
                metrics[alias] = meant
        return cls(event.ts_ms, event.session_ms, event.bd_seq, metrics)


@dataclass(slots=True)
class Node:
    """A gateway's session: births by device (the gateway's own under ""), the last `seq` seen.

    known: what the log tells has been read. restored: the births are those of the log, and a
    device's is looked up there.
    """

    births: dict[str, Birth | None] = field(default_factory=dict)
    known: bool = False
    restored: bool = False
    seq: int | None = None
    asked_ms: int = 0

    @property
    def session_ms(self) -> int:
        """When the gateway's own birth was sent; 0 when none is known."""
        birth = self.births.get("")
        return birth.ts_ms if birth else 0

    def bear(self, device_id: str, birth: Birth) -> None:
        """Begin the session (`device_id` empty), or add a device to it."""
        if not device_id:
            self.births.clear()
            self.restored = False
        self.births[device_id] = birth

    def die(self) -> None:
        """End the session: nothing that was declared in it holds any longer."""
        self.births.clear()
        self.restored, self.seq = False, None

    def follows(self, seq: int | None) -> bool:
        """Note a message's number; tell whether it is the one after the last that was seen."""
        if seq is None:
            return True
        before, self.seq = self.seq, seq
        return before == UNSURE or (before is not None and seq == (before + 1) % SEQ_END)


class Nodes:
    """The sessions in memory, and what gateways are yet to be asked."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._asked: dict[str, bytes] = {}  # by topic

    def forget(self) -> None:
        """Drop what ran ahead of the log: it must be read again."""
        for node in self._nodes.values():
            node.known = False
            node.seq = None if node.seq is None else UNSURE  # its last messages come again

    def node(self, conn: Connection, gateway_id: str) -> Node:
        """Return a gateway's session, as the log tells it when it is not in memory."""
        node = self._nodes.get(gateway_id)
        if node is None:
            if len(self._nodes) >= NODES_MAX:
                self._nodes.clear()
            node = self._nodes[gateway_id] = Node()
        if not node.known:
            births = _stored(conn, gateway_id)
            node.births, node.restored, node.known = births, bool(births), True
        return node

    def birth(self, conn: Connection, gateway_id: str, device_id: str) -> Birth | None:
        """Return what holds for a device in the gateway's present session."""
        node = self.node(conn, gateway_id)
        if node.restored and device_id not in node.births:
            stream = birth_stream(gateway_id, device_id)
            found = last_of_streams(conn, [stream]).get(stream)
            birth = _birth(found.event if found else None)
            of_session = birth is not None and birth.session_ms == node.session_ms
            node.births[device_id] = birth if of_session else None
        return node.births.get(device_id)

    def ask(self, node: Node, topic: Topic, now_ms: int) -> None:
        """Ask the topic's gateway to be born again, unless it was asked just now."""
        if now_ms - node.asked_ms >= REBIRTH_MS:
            node.asked_ms = now_ms
            asked = f"{SPARKPLUG}/{topic.region_code}/NCMD/{topic.gateway_id}"
            self._asked[asked] = rebirth_request(now_ms)

    def due(self) -> list[tuple[str, bytes]]:
        """Return (topic, payload) of the requests to be sent now, at QoS 0; they are taken out."""
        due, self._asked = list(self._asked.items()), {}
        return due


def rebirth_request(now_ms: int) -> bytes:
    """Return the payload that asks a gateway for its births."""
    metric = Metric(
        REBIRTH, ts_ms=now_ms, datatype=Datatype.BOOLEAN, field="boolean_value", value=True
    )
    return serialized(Payload(now_ms, None, [metric]))


def host_state(host_id: str, ts_ms: int, *, online: bool) -> tuple[str, bytes]:
    """Return (topic, payload) by which gateways know whether we listen: QoS 1, retained.

    Gateways that are told to wait for this host keep their readings while it is off line, and send
    them as historical ones. `ts_ms`: when the connection was made, in the will as well.
    """
    body = {"online": online, "timestamp": ts_ms}
    return f"{SPARKPLUG}/STATE/{host_id}", msgspec.json.encode(body)


def birth_at(conn: Connection, gateway_id: str, device_id: str, ts_ms: int | None) -> Birth | None:
    """Return the birth that held for a message sent then; the first after it where none is older.

    For messages played again: what holds now may be another session's.
    """
    stream = birth_stream(gateway_id, device_id)
    found = conn.execute(_queries.births, (stream, BIRTHS_MAX)).fetchall()
    births = [birth for row in found if (birth := _birth(envelope_of(row).event))]
    older = [birth for birth in births if ts_ms is not None and birth.ts_ms <= ts_ms]
    if older:
        return max(older, key=lambda birth: birth.ts_ms)
    return min(births, key=lambda birth: birth.ts_ms, default=None)


def _stored(conn: Connection, gateway_id: str) -> dict[str, Birth | None]:
    """Return the gateway's own birth as the log tells it; nothing when the session is over."""
    own, status = birth_stream(gateway_id, ""), status_stream(gateway_id)
    found = {stream: e.event for stream, e in last_of_streams(conn, [own, status]).items()}
    told = found.get(status)
    over = isinstance(told, GatewayReported) and not told.online
    return {} if over else {"": _birth(found.get(own))}


def _birth(event: object) -> Birth | None:
    return Birth.of(event) if isinstance(event, MetricsDeclared) else None


def _numeric_channel(name: str, datatype: int) -> str:
    """Return the channel of a metric; empty for names of none and for what is no number."""
    return "" if Datatype.BOOLEAN < datatype <= Datatype.LAST else channel_of(name)


def declared(birth: Birth | None, metric: Metric, device_id: str) -> tuple[str, int | None]:
    """Return the channel and the datatype of a metric as it came; an empty channel: it is none.

    Refused("unknown_alias") when no birth is known that tells.
    """
    of_birth = birth.metrics if birth else {}
    if metric.name:
        return _by_name(of_birth, metric, device_id)
    if metric.alias is None or metric.alias not in of_birth:
        raise Refused("unknown_alias", device=device_id, alias=metric.alias)
    return of_birth[metric.alias]


def _by_name(
    of_birth: Mapping[int | str, tuple[str, int | None]], metric: Metric, device_id: str
) -> tuple[str, int | None]:
    if metric.datatype is not None:
        return _numeric_channel(metric.name, metric.datatype), metric.datatype
    known = of_birth.get(metric.name)
    channel = channel_of(metric.name)
    if known is not None or not channel or metric.field == "string_value":
        return known or ("", None)
    if metric.field in {"int_value", "long_value"}:  # signed or not, and how wide
        raise Refused("unknown_alias", device=device_id, alias=metric.name)
    return channel, None
