"""Golden stored rows: one for every TOPIC and version that was ever written; lines never change.

They lie beside each module's tests, so that a new module brings its own.

`python -m tests.store.golden` adds the rows of TOPICs and versions that have none yet.
"""

from __future__ import annotations

import base64
import json
import types
import typing
from dataclasses import fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from eventsourcing.persistence import StoredEvent

from domain.shared.events import Event, event_class, topics
from store.envelope import Envelope, Meta
from store.mapper import from_row, to_row

TESTS = Path(__file__).parents[1]
NAME = "golden_rows.jsonl"
STREAM = UUID("00000000-0000-5000-8000-000000000001")
MOMENT = datetime(2026, 3, 2, 8, 0, 1, 250000, tzinfo=UTC)
META = Meta(occurred_at=MOMENT, recorded_at=MOMENT, actor_id="sample", source="api")


class Golden(NamedTuple):
    """A stored row and the fields it must give back."""

    topic: str
    version: int
    row: StoredEvent
    expected: dict[str, Any]


def load() -> list[Golden]:
    """Return all golden rows."""
    found = []
    lines = [
        line
        for file in sorted(TESTS.glob(f"*/{NAME}"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    for line in lines:
        kept = json.loads(line)
        row = StoredEvent(STREAM, 1, kept["topic"], base64.b64decode(kept["state"]))
        found.append(Golden(kept["topic"], kept["version"], row, kept["expected"]))
    return found


def fields_of(event: Event) -> dict[str, Any]:
    """Return an event's fields as plain JSON values."""
    plain: dict[str, Any] = json.loads(msgspec.json.encode(event))
    return plain


_SAMPLES: dict[Any, Any] = {
    str: "样本 sample",
    int: 7,
    float: 5.25,
    bool: True,
    bytes: b"\x00sample\xff",
    datetime: MOMENT,
    date: date(2028, 2, 29),
}


def sample_value(kind: Any) -> Any:
    """Return one fixed value of a field's type."""
    if kind in _SAMPLES:
        return _SAMPLES[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return (sample_value(arguments[0]),) * 2
    if origin is dict:
        return {"t1": sample_value(arguments[1])}
    if origin in {types.UnionType, typing.Union}:
        return sample_value(next(a for a in arguments if a is not types.NoneType))
    return sample(kind)


def sample(kind: Any) -> Any:
    """Return an instance of a dataclass with every field set."""
    hints = typing.get_type_hints(kind)
    return kind(**{f.name: sample_value(hints[f.name]) for f in fields(kind)})


def add_missing() -> list[str]:
    """Append the rows that are missing and return their TOPICs."""
    known = {(g.topic, g.version) for g in load()}
    added = []
    for topic in topics():
        kind = event_class(topic)
        if topic.startswith("test.") or (topic, kind.VERSION) in known:
            continue
        row = to_row(Envelope(STREAM, 1, sample(kind), META))
        kept = {
            "topic": topic,
            "version": kind.VERSION,
            "state": base64.b64encode(row.state).decode(),
            "expected": fields_of(from_row(row).event),
        }
        file = TESTS / topic.split(".")[0] / NAME
        file.parent.mkdir(exist_ok=True)
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(kept, ensure_ascii=False, sort_keys=True) + "\n")
        added.append(topic)
    return added


if __name__ == "__main__":
    print("\n".join(add_missing()))  # noqa: T201 (a tool for people)
