"""How the ledger's events change the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg

from domain.epcis.events import CaptureEnded, QueryDefined, QueryRemoved
from projections.epcis.events import keep_events
from store.envelope import Envelope, Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "epcis.sql")


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take events, capture jobs, definitions and removals of queries into the tables."""
    keep_events(cur, batch, queries)
    for position, envelope in batch:
        match envelope.event:
            case CaptureEnded():
                cur.execute(queries.put_job, _job(position, envelope, envelope.event))
            case QueryDefined() as event:
                meta = envelope.meta
                told = {"region_code": meta.region_code, "defined_at": meta.recorded_at}
                cur.execute(queries.define_query, asdict(event) | told)
            case QueryRemoved() as event:
                cur.execute(queries.remove_query, (event.name,))


def _job(position: int, envelope: Envelope, event: CaptureEnded) -> dict[str, Any]:
    return {
        "capture_id": event.capture_id,
        "position": position,
        "region_code": envelope.meta.region_code,
        "began_at": event.began_at,
        "ended_at": envelope.meta.recorded_at,
        "behaviour": event.behaviour,
        "success": event.success,
    }
