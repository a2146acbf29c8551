"""What people, and alerts, ask of devices: put where ingest takes it from to the broker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg

from domain.alerting.watch import to_datetime
from domain.cold_chain.events import DeviceCommandIssued
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "device_commands.sql")


def hand_over(
    cur: psycopg.Cursor[Any],
    issued: Iterable[DeviceCommandIssued],
    *,
    region_code: str,
    actor_id: str,
    now: datetime,
) -> None:
    """Put commands down, in the transaction of their events, to be sent within a second or so."""
    for event in issued:
        row = asdict(event) | {"arguments": orjson.dumps(event.arguments).decode()}
        row |= {"expires_at": to_datetime(event.expires_ms), "issued_at": now}
        scope = {"region_code": region_code, "actor_id": actor_id}
        cur.execute(queries.insert_command, row | scope)
