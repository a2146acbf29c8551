"""Between an Envelope and a stored row: TOPIC, version, upcasting.

A row's state is JSON `{"v": schema version, "m": metadata, "e": fields}`; readings alone have a
columnar form of their own, and carry no metadata beyond their receipt time.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, cast
from uuid import UUID

import msgspec
from eventsourcing.persistence import Mapper, StoredEvent

import domain
from domain.cold_chain.events import ReadingsRecorded
from domain.shared.events import Event, event_class
from store import columns
from store.envelope import Envelope, Meta


class _Row(msgspec.Struct):
    v: int
    m: Meta
    e: msgspec.Raw


_encode = msgspec.json.Encoder().encode
_decode_row = msgspec.json.Decoder(_Row).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode
# By TOPIC, today's version, and how to read a row of it at once.
_whole: dict[str, tuple[int, Callable[[bytes], Any]]] = {}


def load_event_classes() -> None:
    """Import every module's `events.py`, so that each stored TOPIC finds its class."""
    for module in pkgutil.iter_modules(domain.__path__, "domain."):
        name = f"{module.name}.events"
        if module.ispkg and module.name != "domain.shared" and find_spec(name):
            importlib.import_module(name)


def _reader(topic: str) -> tuple[int, Callable[[bytes], Any]]:
    cls = event_class(topic)
    row = msgspec.defstruct(cls.__name__, [("v", int), ("m", Meta), ("e", cls)], gc=False)
    found = _whole[topic] = cls.VERSION, msgspec.json.Decoder(row).decode
    return found


def _decode_any_version(topic: str, state: bytes) -> tuple[Event, Meta]:
    stored, cls = _decode_row(state), event_class(topic)
    data = _decode_any(stored.e)
    for older in range(stored.v, cls.VERSION):
        data = cls.upcast(older, data)
    # JSON gave strings where the class has times and bytes.
    return msgspec.convert(data, cls, strict=False), stored.m


def to_row(envelope: Envelope) -> StoredEvent:
    """Return the stored row of an envelope."""
    event = envelope.event
    if isinstance(event, ReadingsRecorded):
        state = columns.pack(event)
    else:
        state = _encode({"v": event.VERSION, "m": envelope.meta, "e": event})
    return StoredEvent(
        originator_id=envelope.originator_id,
        originator_version=envelope.originator_version,
        topic=event.TOPIC,
        state=state,
    )


def from_row(row: StoredEvent) -> Envelope:
    """Return the envelope of a stored row, upcast to today's version.

    KeyError when no module owns the TOPIC; msgspec.ValidationError when the fields do not fit.
    """
    event, meta = decode(row.topic, row.state)
    return Envelope(cast(UUID, row.originator_id), row.originator_version, event, meta)


def decode(topic: str, state: bytes) -> tuple[Event, Meta]:
    """Return the event in a stored state with its metadata; errors as `from_row`."""
    if topic == ReadingsRecorded.TOPIC:
        event: Event = columns.unpack(bytes(state))
        received = datetime.fromtimestamp(cast(ReadingsRecorded, event).received_ms / 1000, UTC)
        return event, Meta(occurred_at=received, recorded_at=received)
    version, read = _whole.get(topic) or _reader(topic)
    try:
        stored = read(state)
    except msgspec.ValidationError:
        if _decode_row(state).v == version:
            raise
        return _decode_any_version(topic, state)
    if stored.v != version:
        return _decode_any_version(topic, state)
    return stored.e, stored.m


class EnvelopeMapper(Mapper[UUID]):
    """The library's door to the two functions above."""

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """Return the stored row of an envelope."""
        return to_row(domain_event)

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """Return the envelope of a stored row."""
        return from_row(stored_event)


load_event_classes()
