"""What a sender is told once its message is committed: `ack` for stored, `reject` for refused.

These are answers of the application, beside the PUBACK: a device may free its memory on an `ack`.
`n` rows were new, `dup` stored before; `conflict`, where there are any, came with another value
than the stored one and were kept aside as events.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ingest.batch import NOWHERE, Batch, Item, Report
from ingest.scans import Scan
from ingest.wire import Message


@dataclass(frozen=True, slots=True)
class Answer:
    """A PUBACK that is due on one connection, and a publication (QoS 0) if there is one."""

    connection: int
    mid: int
    topic: str = ""
    payload: bytes = b""


def answers(batch: Batch) -> list[Answer]:
    """Return the answers of a committed batch, in order of arrival."""
    return [_answer(item) for item in batch.items]


def _answer(item: Item) -> Answer:
    kind, body = _body(item)
    received = item.received
    if not kind or item.topic is NOWHERE or not (item.topic.device_id or item.topic.kind == "scan"):
        return Answer(received.connection, received.mid)
    payload = msgspec.json.encode({"v": 1, **body})
    return Answer(received.connection, received.mid, item.topic.answer(kind), payload)


def _body(item: Item) -> tuple[str, dict[str, object]]:
    refused, content = item.refused, item.content
    if refused is not None:
        details = {"detail_zh": refused.zh, "detail_en": refused.en}
        return "reject", {"code": refused.code, **details, "id": str(item.quarantine_id)}
    match content:
        case Message():
            body: dict[str, object] = {"boot": content.boot, "seq": content.seqs[-1]}
            body |= {"n": item.new, "dup": item.repeated}
            return "ack", body | ({"conflict": item.conflicting} if item.conflicting else {})
        case Scan():
            return "ack", {"boot": content.boot, "seq": content.seq}
        case Report():
            return "ack", {"ts": content.ts_ms}
        case _:
            return "", {}
