"""What is kept of a device: its latest values whatever the order, and not too many ranges."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import psycopg
import pytest

from domain.shared.ids import stream_id
from ingest.batch import Received
from ingest.ranges import RANGES_MAX
from ingest.rows import queries
from ingest.worker import Worker
from store.logs import Ledger
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import BASE, GATEWAY, NOW_MS, message, said

pytestmark = pytest.mark.database


def reading(device: str, seq: int, values: dict[str, float | None]) -> Received:
    """Return a message of one reading, a second after the one numbered before."""
    body = {"v": 1, "boot": 1, "seq": seq, "ts": NOW_MS - 100_000 + 1000 * seq, "m": values}
    return message(f"{BASE}/tele/{device}", body)


def numbered(device: str, seqs: range) -> Received:
    """Return a message of readings that bear these numbers."""
    start_ms = NOW_MS - 10_000_000
    rows = [{"ts": start_ms + seq * 10, "temperature": 5.0, "seq": seq} for seq in seqs]
    return message(f"{BASE}/tele/{device}", rows)


@pytest.mark.parametrize("restart", [False, True])
def test_given_channels_in_different_readings_when_in_any_order_then_the_same_latest_values(
    worker: Worker, ledger: Ledger, database: Database, clock: ManualClock, restart: bool
) -> None:
    said_of: list[dict[str, float | None]] = [
        {"t1": 5.0, "t2": 1.0, "co2": 400.0},
        {"t1": 5.5, "t2": None},
        {"rh": 60.0, "door": 1},
    ]
    latest = []
    for order in permutations(range(3)):
        device = f"latest-{restart}-{''.join(map(str, order))}"
        field.register(ledger, device)
        for n in order:
            worker.take([reading(device, n, said_of[n])])
            if restart:
                worker.close()
                worker = field.started(database.app_dsn, clock)
        latest += database.query(
            "SELECT ts, seq, t1, t2, rh, door, extra, older FROM device_state"
            " JOIN device_no USING (device_no) WHERE device_id = %s",
            device,
        )
    worker.close()
    assert latest == [latest[0]] * 6
    _, seq, *values, older = latest[0]
    assert (seq, values) == (2, [5.5, None, 60.0, True, {"co2": 400.0}])
    first_ms = NOW_MS - 100_000
    middle = [first_ms + 1000, 1, 1]
    assert older == {"t1": middle, "t2": middle, "co2": [first_ms, 1, 0]}


def test_given_a_device_with_very_many_holes_when_they_are_filled_late_then_nothing_is_lost(
    worker: Worker, ledger: Ledger, database: Database
) -> None:
    field.register(ledger, "holes")
    sent = 4 * RANGES_MAX
    for first in range(0, sent, 500):
        last = min(first + 500, sent)
        worker.take([numbered("holes", range(2 * first, 2 * last, 2))])
    size = (
        "SELECT length(ranges) FROM device_state JOIN device_no USING (device_no)"
        " WHERE device_id = 'holes'"
    )
    assert database.query(size) == [(16 * RANGES_MAX,)]
    (odd,) = said(worker.take([numbered("holes", range(1, 801, 2))]))
    assert (odd["n"], odd["dup"]) == (400, 0)
    (again,) = said(worker.take([numbered("holes", range(300, 800))]))
    assert (again["n"], again["dup"]) == (0, 500)
    mixed = said(worker.take([numbered("holes", range(790, 810))] * 2))
    assert [(a["n"], a["dup"]) for a in mixed] == [(5, 15), (0, 20)]
    rows = "SELECT seq FROM reading JOIN device_no USING (device_no) WHERE device_id = 'holes'"
    seqs = sorted(seq for (seq,) in database.query(rows))
    assert seqs == sorted({*range(0, 2 * sent, 2), *range(810)})


def test_given_a_long_status_history_when_its_last_is_looked_up_then_only_that_is_read(
    worker: Worker, database: Database
) -> None:
    for first in range(0, 400, 200):
        worker.take([message(f"{BASE}/status", {"clock": n}) for n in range(first, first + 200)])
    stream = stream_id("cold_chain.gateway_status", GATEWAY)
    explain = b"EXPLAIN (ANALYZE, FORMAT JSON) " + queries.last_of_streams.encode()
    with psycopg.connect(database.app_dsn) as conn:
        conn.execute("SET enable_seqscan = off")  # a table as small as this one would be scanned
        ((found,),) = conn.execute(explain, ([stream],)).fetchall()
    assert max(_rows_read(found[0]["Plan"])) == 1


def _rows_read(plan: dict[str, Any]) -> list[float]:
    below = [count for part in plan.get("Plans", ()) for count in _rows_read(part)]
    return [plan["Actual Rows"], *below]


def test_given_a_topic_with_a_nul_when_taken_then_quarantined_and_answered(
    worker: Worker, database: Database
) -> None:
    sent = Received(f"cc/v1/640202/s\x00x/{GATEWAY}/tele/d", b"{}", 1, b"\0\5")
    (answer,) = worker.take([sent])
    assert (answer.connection, answer.mids) == (1, [b"\0\5"])
    kept = database.query("SELECT code, topic FROM quarantine WHERE payload = %s", b"{}")
    assert kept == [("schema", f"cc/v1/640202/s\\0x/{GATEWAY}/tele/d")]
