"""The shared EPCIS documents, stored as captured and followed into the read model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from domain.epcis.document import PREFIXES
from domain.epcis.names import prefixes_in
from domain.epcis.query import parse
from domain.traceability import model
from domain.traceability.events import CaptureStored
from projections.epcis import answers
from projections.runner import Runner
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.conftest import START, Database


def accepted(shared: Path) -> dict[str, bytes]:
    """Return the documents that must be accepted, by name; those alike once."""
    folder = shared / "standards" / "epcis"
    manifest = json.loads((folder / "manifest.json").read_text())
    names = [name for name, told in manifest.items() if told["expect"] == "accept"]
    by_content = {(folder / name).read_bytes(): name for name in names}
    return {name: content for content, name in by_content.items()}


@dataclass
class Kept:
    """A read model of documents, to be asked."""

    database: Database
    ledger: Ledger
    runner: Runner

    def store(self, *documents: bytes, region: str = "640200") -> int:
        """Store documents as one capture each; return the position of the last."""
        position = stored(self.ledger, *documents, region=region)
        self.runner.follow_once()
        return position

    def ask(
        self, parameters: dict[str, Any], *, extensions: str = "", **options: Any
    ) -> list[dict[str, Any]]:
        """Return the content of the events that these parameters ask for."""
        query = parse(parameters, {**PREFIXES, **prefixes_in(extensions)})
        asked: dict[str, Any] = {"position": 10**9, "region": "", "limit": 1000} | options
        with psycopg.connect(self.database.app_dsn, autocommit=True) as conn:
            return [json.loads(found.content) for found in answers.events(conn, query, **asked)]


def stored(ledger: Ledger, *documents: bytes, region: str, at: datetime = START) -> int:
    """Append documents as they are captured; return the position of the last."""
    envelopes = []
    for document in documents:
        sha256 = hashlib.sha256(document).hexdigest()
        event = CaptureStored(sha256=sha256, document=document, event_count=1)
        meta = Meta(occurred_at=at, recorded_at=at, region_code=region)
        envelopes.append(Envelope(model.capture_stream(sha256), 1, event, meta))
    return ledger.append(envelopes)


def object_event(**fields: Any) -> dict[str, Any]:
    """Return an ObjectEvent with these fields."""
    return {
        "type": "ObjectEvent",
        "eventTime": "2026-03-01T08:00:00+08:00",
        "eventTimeZoneOffset": "+08:00",
        "action": "OBSERVE",
    } | fields


def document(events: Sequence[dict[str, Any]], *context: Any, **header: Any) -> bytes:
    """Return an EPCISDocument of these events."""
    base = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
    made = {
        "@context": [base, *context],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-03-01T00:00:00Z",
        "epcisBody": {"eventList": list(events)},
    }
    return json.dumps(made | ({"epcisHeader": header} if header else {})).encode()
