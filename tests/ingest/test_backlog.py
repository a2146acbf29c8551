"""What devices send again from their memory, over real brokers, holds up nothing of now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from uuid import uuid4

import pytest

from ingest.batch import Received
from ingest.lots import Lot
from ingest.mqtt import Receiver
from runtime.broker import ACK_WAIT, BrokerServer
from store.logs import Ledger
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import BASE, NOW_MS, batch_of
from tests.ingest.test_broker import (
    publish,
    running,
    start_process,
    wait_for_session,
    wait_until,
)

pytestmark = [pytest.mark.database, pytest.mark.broker]

BATCH, MESSAGES = 60, 120  # readings a message, messages a device
PAST = BATCH * MESSAGES  # the backlog's readings; those of now follow
STORED = """SELECT device_id, backfill, count(*), count(DISTINCT seq) FROM reading
            JOIN device_no USING (device_no) WHERE device_id = ANY(%s) GROUP BY 1, 2"""
GAPS = "SELECT state, asked FROM gap JOIN device_no USING (device_no) WHERE device_id = ANY(%s)"


def backlog_of(devices: Sequence[str], first: int = 0, past: int = MESSAGES) -> list[Received]:
    """Return messages of the devices in turn, a reading a second up to now."""
    return [
        Received(told.topic.replace("/tele/", "/backfill/"), told.payload)
        for n in range(first, past)
        for told in (_message(device, n * BATCH, BATCH) for device in devices)
    ]


def _message(device: str, seq: int, number: int) -> Received:
    return batch_of(device, seq, [4.0] * number, start_ms=NOW_MS - PAST * 1_000, step_ms=1_000)


def stored(database: Database, devices: Sequence[str]) -> Counter[bool]:
    """Return how many readings are stored, each once, by whether they are backfill."""
    found: Counter[bool] = Counter()
    for _, backfill, rows, distinct in database.query(STORED, list(devices)):
        assert rows == distinct
        found[backfill] += rows
    return found


def registered(ledger: Ledger, number: int) -> list[str]:
    """Register new devices."""
    field.register(ledger)
    devices = [f"d-{uuid4().hex[:8]}" for _ in range(number)]
    field.register(ledger, *devices)
    return devices


@contextmanager
def session(url: str, client_id: str, wanted: Sequence[str]) -> Iterator[Receiver]:
    """Open a session as it is, and take what it gives without an answer."""
    receiver = Receiver(
        url, client_id=client_id, filters=wanted, may_read=lambda: True, clock=ManualClock()
    )
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


@pytest.mark.no_cover  # of 144,000 readings
@pytest.mark.parametrize("kind", ["embedded", "mosquitto"])
def test_given_a_backlog_in_the_broker_when_readings_follow_then_they_are_stored_before_it(
    database: Database, ledger: Ledger, request: pytest.FixtureRequest, kind: str
) -> None:
    server, gateway = urls(request, kind)
    devices, client_id = registered(ledger, 20), f"ingest-{uuid4().hex}"
    with running(database.app_dsn, server, client_id):
        wait_for_session(gateway, client_id, database)
        publish(gateway, [Received(f"{BASE}/backfill/{client_id}", b"{}")])
        refused = "SELECT 1 FROM quarantine WHERE topic LIKE '%%' || %s"
        wait_until(lambda: bool(database.query(refused, client_id)))  # so that session is there too
    everything = len(devices) * PAST
    publish(gateway, backlog_of(devices))
    publish(gateway, [_message(device, PAST, 1) for device in devices])
    with running(database.app_dsn, server, client_id):
        wait_until(lambda: stored(database, devices)[False] == len(devices))
        early = stored(database, devices)[True]
        wait_until(lambda: stored(database, devices)[True] == everything)
        wait_until(lambda: {state for state, _ in database.query(GAPS, devices)} == {"filled"})
    assert early < everything / 2
    assert {asked for _, asked in database.query(GAPS, devices)} == {0}
    assert database.query("SELECT count(*) FROM episode") == [(0,)]
    (live, to_live), (again, to_again) = Lot(0, (field.REGION,)).sessions(client_id).items()
    with session(server, live, to_live) as one, session(server, again, to_again) as other:
        assert one.inbox.take(comes_again_s(kind)) is None  # all was acknowledged
        assert other.inbox.take(0) is None


def comes_again_s(kind: str) -> float:
    """Return when all that was not acknowledged has come again to a session that was opened."""
    return 1.0 + (float(ACK_WAIT.rstrip("s")) if kind == "embedded" else 0.0)


def urls(request: pytest.FixtureRequest, kind: str) -> tuple[str, str]:
    """Return the addresses of a broker for ingest and for gateways."""
    if kind == "mosquitto":
        url: str = request.getfixturevalue("mosquitto")
        return url, url
    broker: BrokerServer = request.getfixturevalue("broker")
    return broker.server_url, broker.gateway_url


def test_given_a_backlog_and_readings_when_ingest_is_killed_then_each_is_stored_once(
    database: Database, ledger: Ledger, broker: BrokerServer
) -> None:
    devices, client_id = registered(ledger, 10), f"ingest-{uuid4().hex}"
    process = start_process(database, broker.server_url, client_id)
    try:
        wait_for_session(broker.gateway_url, client_id, database)
        senders = [
            Thread(target=publish, args=(broker.gateway_url, messages))
            for messages in (
                backlog_of(devices),
                [_message(device, PAST + n, 1) for n in range(40) for device in devices],
            )
        ]
        for sender in senders:
            sender.start()
        wait_until(lambda: stored(database, devices).total() > 10_000)
        process.kill()
        process.wait()
        process = start_process(database, broker.server_url, client_id)
        for sender in senders:
            sender.join()
        wanted = {True: len(devices) * PAST, False: len(devices) * 40}
        wait_until(lambda: stored(database, devices) == wanted, 60.0)
    finally:
        process.terminate()
        assert process.wait(20) == 0
