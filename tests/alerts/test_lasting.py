"""What was found as history and lasts to this day is told; what is over is not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from alerts.escalate import Escalator
from alerts.outbox import Pool, Sender
from ingest.worker import Worker
from projections import alerting as inbox
from projections.runner import Runner
from store.logs import Ledger
from tests.alerts.conftest import add_recipient, deliveries
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import MINUTE_MS, NOW_MS, batch_of

pytestmark = pytest.mark.database

DAY_STEPS = 24 * 12  # readings every five minutes


@pytest.fixture
def worker(database: Database, ledger: Ledger, clock: ManualClock) -> Iterator[Worker]:
    field.register(ledger)
    made = field.started(database.app_dsn, clock)
    yield made
    made.close()


def test_given_a_logger_that_tells_its_memory_in_order_when_it_is_warm_to_this_day_then_told_once(
    ledger: Ledger,
    following: Runner,
    pool: Pool,
    sender: Sender,
    worker: Worker,
    clock: ManualClock,
) -> None:
    for level, name in enumerate(("keeper", "head", "county")):
        add_recipient(pool, name, f"{name}@x.example", level=level)
    device, over = field.new_device(ledger), field.new_device(ledger)
    start_ms = NOW_MS - 26 * 60 * MINUTE_MS
    escalator = Escalator(ledger, following.conn)

    def tell(device_id: str, first: int, values: list[float]) -> list[str]:
        worker.take([batch_of(device_id, first, values, start_ms=start_ms)])
        following.follow_once()
        clock.advance(minutes=1)
        escalator.tick(clock.now())
        following.follow_once()
        sender.expand()
        return sorted(recipient for recipient, *_ in deliveries(pool))

    assert tell(over, 0, [15.0] * 9) == []
    assert tell(over, 9, [5.0] * (DAY_STEPS + 10)) == []
    assert tell(device, 0, [15.0] * 9) == []  # the last of them is more than a day old
    assert tell(device, 9, [15.0] * DAY_STEPS) == ["head", "keeper"]
    assert tell(device, 9 + DAY_STEPS, [15.0]) == ["head", "keeper"]
    (row,) = inbox.alerts(following.conn, state="firing", limit=9)
    assert (row.device_id, row.level, row.late) == (device, 1, False)
    told_at = clock.now() - timedelta(minutes=1)
    assert row.escalate_at == told_at + timedelta(minutes=10)
