"""What a sender is told once its message is committed: `ack` for stored, `reject` for refused.

These are answers of the application, beside the PUBACK: a device may free its memory on an `ack`.
`n` rows were new, `dup` stored before; `conflict`, where there are any, came with another value
than the stored one and were kept aside as events. Messages in order of one device may share an
`ack`: `n` counts the rows of all, `of` the messages, and `seq` is the last of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from ingest.batch import Batch, Item, Report
from ingest.ranges import BOOT_SHIFT, SEQ_END
from ingest.scans import Scan
from ingest.sheet import Lane, Sheet
from ingest.wire import Message

# Kinds of message whose senders listen for answers.
ANSWERED = frozenset({"tele", "backfill", "event", "scan"})

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Answer:
    """The PUBACKs that are due on one connection, and publications (QoS 0): (topic, payload)."""

    connection: int
    mids: Sequence[bytes] = ()
    publications: Sequence[tuple[str, bytes]] = ()


@dataclass(slots=True)
class Owed:
    """Acks of the fast lane that are yet to be told, one a topic however many its messages."""

    _rows: dict[Lane, list[int]] = field(default_factory=dict)  # messages, rows, last version

    def add(self, sheet: Sheet) -> None:
        """Note the messages of a committed sheet."""
        owed = self._rows
        for _, part in sheet.groups:
            messages = zip(part.lanes, part.versions.tolist(), part.counts.tolist(), strict=True)
            for lane, version, n in messages:
                known = owed.get(lane)
                if known is None:
                    owed[lane] = [1, n, version + n - 1]
                else:
                    known[0] += 1
                    known[1] += n
                    known[2] = max(known[2], version + n - 1)

    def pay(self) -> list[tuple[str, bytes]]:
        """Return the publications of all acks owed."""
        owed, self._rows = self._rows, {}
        return [(lane.ack, _encode(_joined(*rows))) for lane, rows in owed.items()]


def _joined(messages: int, n: int, version: int) -> dict[str, int]:
    body = {"v": 1, "boot": version >> BOOT_SHIFT, "seq": version & (SEQ_END - 1), "n": n, "dup": 0}
    return body if messages == 1 else body | {"of": messages}


def answers(batch: Batch) -> list[Answer]:
    """Return the answers of a committed batch, one a connection, in order of arrival."""
    mids: dict[int, list[bytes]] = {}
    publications: dict[int, list[tuple[str, bytes]]] = {}
    for item in batch.items:
        received = item.received
        mids.setdefault(received.connection, []).extend([received.mid] if received.mid else [])
        kind, body = _body(item)
        if kind and item.topic.kind in ANSWERED:
            told = (item.topic.answer(kind), _encode({"v": 1, **body}))
            publications.setdefault(received.connection, []).append(told)
    return [Answer(c, of, publications.get(c, ())) for c, of in mids.items()]


def _body(item: Item) -> tuple[str, dict[str, object]]:
    refused, content = item.refused, item.content
    if refused is not None:
        details = {"detail_zh": refused.zh, "detail_en": refused.en}
        return "reject", {"code": refused.code, **details, "id": str(item.quarantine_id)}
    match content:
        case Message() | (*_, Message()):
            last = content[-1] if isinstance(content, tuple) else content
            body: dict[str, object] = {"boot": last.boot, "seq": last.seqs[-1]}
            body |= {"n": item.new, "dup": item.repeated}
            return "ack", body | ({"conflict": item.conflicting} if item.conflicting else {})
        case Scan():
            return "ack", {"boot": content.boot, "seq": content.seq}
        case Report():
            return "ack", {"ts": content.ts_ms}
        case _:
            return "", {}
