"""Fourth step: what is refused is kept whole, with its reason; a mended message leaves again.

Quarantine is telemetry, never ledger: one event a message (stream = topic and payload), however
often it is sent. A message played again that is stored now is told as resolved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg

from domain.alerting.watch import to_ms
from domain.cold_chain.events import MessageQuarantined, QuarantineResolved
from domain.shared.events import Event
from domain.shared.ids import stream_id
from ingest.batch import Batch, Item, Received
from ingest.rows import last_of_streams, queries

# Messages played again in one batch.
REPLAY_MAX = 100


def set_aside(batch: Batch, conn: psycopg.Connection[Any]) -> None:
    """Add the events of refused, mended and conflicting messages that are not told yet."""
    for item in batch.items:
        if item.refused is not None or item.received.replay_id is not None:
            item.quarantine_id = item.received.replay_id or quarantine_id(item.received)
    asked = {item.quarantine_id for item in batch.items if item.quarantine_id}
    if not asked and not batch.conflicts:
        return
    found = last_of_streams(conn, asked | batch.conflicts.keys())
    last = {stream: (e.originator_version, e.event) for stream, e in found.items()}
    for stream, conflict in batch.conflicts.items():
        if stream not in last:
            batch.add_telemetry(stream, 1, conflict)
    for item in batch.items:
        if item.quarantine_id is not None:
            _tell(batch, item, item.quarantine_id, last)


def quarantine_id(received: Received) -> UUID:
    """Return the id of a message in quarantine: the same message has the same id."""
    digest = hashlib.sha256(received.payload).hexdigest()
    return stream_id("cold_chain.quarantined_message", received.topic, digest)


def replays(
    conn: psycopg.Connection[Any], regions: Sequence[str], *, strays: bool
) -> list[Received]:
    """Return messages of these regions (none = all) that somebody wants to be taken again.

    With `strays` also those of no worker's region.
    """
    asked = {"regions": list(regions), "strays": strays, "limit": REPLAY_MAX}
    found = conn.execute(queries.quarantine_to_replay, asked).fetchall()
    return [
        Received(
            topic=topic,
            payload=bytes(payload),
            replay_id=id_,
            replayed_by=actor_id,
            received_ms=to_ms(received_at),
        )
        for id_, topic, payload, actor_id, received_at in found
    ]


def write_quarantine(cur: psycopg.Cursor[Any], batch: Batch) -> None:
    """Write the working table beside the events: what is open, what was mended."""
    kept, reopened, resolved = [], [], []
    for item in batch.items:
        refused, received = item.refused, item.received
        if refused is None:
            if received.replay_id is not None:
                resolved.append((batch.now, received.replay_id))
        elif received.replay_id is not None:
            reopened.append((refused.code, refused.detail, received.replay_id))
        else:
            topic = received.topic.replace("\x00", "\\0")  # PostgreSQL's text has no NUL
            message = (item.quarantine_id, topic, received.payload)
            kept.append((*message, refused.code, refused.detail, batch.now))
    for query, values in (
        (queries.upsert_quarantine, kept),
        (queries.reopen_quarantine, reopened),
        (queries.resolve_quarantine, resolved),
    ):
        if values:
            cur.executemany(query, values)


def _tell(batch: Batch, item: Item, stream: UUID, last: dict[UUID, tuple[int, Event]]) -> None:
    version, known = last.get(stream, (0, None))
    event: Event
    if item.refused is not None:
        if _stands(known):
            return
        event = MessageQuarantined(
            topic=item.received.topic,
            payload=item.received.payload,
            code=item.refused.code,
            detail=item.refused.detail,
            received_ms=batch.now_ms,
        )
    else:
        event = QuarantineResolved(
            outcome="stored", actor_id=item.received.replayed_by, resolved_ms=batch.now_ms
        )
    last[stream] = (version + 1, event)
    batch.add_telemetry(stream, version + 1, event, region_code=item.topic.region_code)


def _stands(known: Event | None) -> bool:
    """Tell whether the message is in quarantine already, or was put aside by a person."""
    if isinstance(known, QuarantineResolved):
        return known.outcome == "set_aside"
    return known is not None
