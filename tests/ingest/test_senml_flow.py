"""SenML on a real database: stored once, acknowledged, its relative times those of its receipt."""

from __future__ import annotations

import gzip
from dataclasses import replace
from uuid import uuid4

import pytest

from ingest.worker import Worker
from store.logs import Ledger
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import BASE, NOW_MS, message, said

pytestmark = pytest.mark.database

AT_S = NOW_MS // 1000


def rows(database: Database, device_id: str) -> list[tuple[object, ...]]:
    return database.query(
        "SELECT boot, seq, t1, rh FROM reading JOIN device_no USING (device_no)"
        " WHERE device_id = %s ORDER BY boot, seq",
        device_id,
    )


def test_given_a_pack_when_taken_twice_then_its_readings_are_stored_once(
    worker: Worker, device: str, database: Database
) -> None:
    records = [
        {"bn": f"{device}/", "bt": AT_S, "n": "t1", "u": "Cel", "v": 5.3, "seq_": 7},
        {"n": "rh", "u": "%RH", "v": 61},
        {"n": "t1", "t": -300, "u": "Cel", "v": 5.4, "seq_": 6},
    ]
    pack = message(f"{BASE}/tele/{device}", records)
    told = said(worker.take([pack, replace(pack, payload=gzip.compress(pack.payload))]))
    assert told == [
        {"v": 1, "boot": 0, "seq": 7, "n": 2, "dup": 0},
        {"v": 1, "boot": 0, "seq": 7, "n": 0, "dup": 2},
    ]
    worker.take([pack])
    assert rows(database, device) == [(0, 6, 5.4, None), (0, 7, 5.3, 61.0)]
    ((count,),) = database.query(
        "SELECT count(*) FROM quarantine WHERE topic LIKE %s", f"%{device}"
    )
    assert count == 0


def test_given_relative_times_when_played_again_then_counted_from_the_receipt(
    worker: Worker, ledger: Ledger, database: Database, clock: ManualClock
) -> None:
    device_id = f"d-{uuid4().hex[:8]}"
    topic = f"{BASE}/tele/{device_id}"
    worker.take([message(topic, [{"n": "t1", "t": -60, "v": 5.0}])])
    field.register(ledger, device_id)
    database.query("UPDATE quarantine SET state = 'replay' WHERE topic = %s", topic)
    clock.advance(hours=3)
    worker.replay()
    ((ts_ms, t1),) = database.query(
        "SELECT (extract(epoch FROM ts) * 1000)::bigint, t1 FROM reading"
        " JOIN device_no USING (device_no) WHERE device_id = %s",
        device_id,
    )
    assert (ts_ms, t1) == (NOW_MS - 60_000, 5.0)
