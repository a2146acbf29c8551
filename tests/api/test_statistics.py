"""What the instance holds: counted while it is little, estimated when it is much."""

from __future__ import annotations

import httpx
import psycopg
import pytest

from api import system
from tests.conftest import Database

ROWS = 40_000


def test_given_more_rows_than_are_counted_when_asked_then_about_as_many(
    admin: httpx.Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = {"readings_stored": 0, "scans_stored": 0, "about": False}
    assert admin.get("/api/v1/statistics").json() == empty
    database.query("SELECT ensure_reading_partitions('2026-03-01', '2026-03-02')")
    database.query(
        "INSERT INTO reading (device_no, ts, boot, seq, batch, backfill, t1)"
        " SELECT 1, TIMESTAMPTZ '2026-03-01Z' + n * INTERVAL '1 second', 1, n, 1, false, 5.0"
        " FROM generate_series(1, %s) AS n",
        ROWS,
    )
    counted = admin.get("/api/v1/statistics").json()
    assert (counted["readings_stored"], counted["about"]) == (ROWS, False)
    with psycopg.connect(database.owner_dsn) as conn:
        conn.execute("ANALYZE reading")  # as the server does by itself after a while
    monkeypatch.setattr(system, "COUNTED_MAX", ROWS // 2)
    told = admin.get("/api/v1/statistics").json()
    assert told["about"] is True
    assert told["readings_stored"] == pytest.approx(ROWS, rel=0.05)
