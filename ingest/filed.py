"""Readings out of a file: stored as those that a device sends from its memory, without a broker.

A worker of its own number takes them, beside those that are at work: the devices are the file's.
What is stored already is known by its time, so that doing it twice stores nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as StopEvent
from typing import Any

import msgspec
import psycopg

from domain.shared.clock import Clock
from ingest.answers import Answer
from ingest.batch import Received
from ingest.worker import Worker
from store.sql import load_queries

queries = load_queries(Path(__file__).with_suffix(".sql"))

# Beyond the numbers of workers that settings allow.
WORKER = 32


@dataclass(slots=True)
class Stored:
    """What became of readings, and of messages refused: what the refusals say."""

    new: int = 0
    known: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)


def store(dsn: str, clock: Clock, messages: Sequence[tuple[str, bytes]]) -> Stored:
    """Store the readings in messages, (topic, payload). AlreadyRunning: another file is at it."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        # Whatever was stored, moved or changed before is the concern of the others.
        conn.execute(queries.enter, (WORKER,))
    worker = Worker(dsn, clock, StopEvent(), number=WORKER)
    try:
        worker.start()
        # (With care: the states are written with the readings, and nothing is to be recalled.)
        return _told(worker.take_carefully([Received(*message) for message in messages]))
    finally:
        worker.close()


def _told(answers: Iterable[Answer]) -> Stored:
    found = Stored()
    for answer in answers:
        for topic, payload in answer.publications:
            said = msgspec.json.decode(payload)
            if topic.rpartition("/")[0].endswith("/ack"):
                found.new += said["n"]
                found.known += said.get("dup", 0) + said.get("conflict", 0)
            else:
                found.refused.append(said)
    return found
