"""The whole way in, over real brokers: answered after the commit, through kills and restarts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event as StopEvent
from threading import Thread
from uuid import uuid4

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from ingest.batch import Received
from ingest.main import run
from ingest.mqtt import Receiver, SubscriptionRefused
from runtime.broker import BrokerServer
from runtime.postgres import PostgresServer
from simulators.wire import Message, Publisher
from store.logs import Ledger
from tests.conftest import Database, ManualClock, create_database
from tests.ingest import field
from tests.ingest.field import BASE, batch_of, code, scan, single
from tests.runtime.instance import untraced

pytestmark = [pytest.mark.database, pytest.mark.broker]

ROOT = Path(__file__).parents[2]
Query = Callable[..., list[tuple[object, ...]]]


@contextmanager
def running(dsn: str, url: str, client_id: str) -> Iterator[None]:
    """Run ingest in a thread; what it fails with is raised at the end."""
    stop, failures = StopEvent(), list[BaseException]()

    def target() -> None:
        try:
            run(
                app_dsn=dsn,
                mqtt_url=url,
                regions=(field.REGION,),
                clock=ManualClock(),
                stop=stop,
                client_id=client_id,
            )
        except BaseException as error:
            failures.append(error)
            raise

    thread = Thread(target=target)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
        assert not failures, failures


def sent(received: Received, *, refused: str = "") -> Message:
    """Return a message as the simulators' publisher sends it."""
    return Message(received.topic, received.payload, refused=refused)


def publish(url: str, messages: list[Received]) -> None:
    """Publish at QoS 1 and wait until the broker has acknowledged each."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"gw-{uuid4().hex}")
    user, _, rest = url.removeprefix("mqtt://").rpartition("@")
    if user:
        client.username_pw_set(*user.split(":"))
    host, _, port = rest.partition(":")
    client.max_inflight_messages_set(1000)
    client.connect(host, int(port))
    client.loop_start()
    for info in [client.publish(m.topic, m.payload, qos=1) for m in messages]:
        info.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition; fail after a while."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def counted(database: Database, device_id: str) -> tuple[int, int]:
    """Return rows and distinct identities stored of a device."""
    ((rows, distinct),) = database.query(
        "SELECT count(*), count(DISTINCT (boot, seq)) FROM reading"
        " JOIN device_no USING (device_no) WHERE device_id = %s",
        device_id,
    )
    return rows, distinct


def wait_for_session(url: str, client_id: str, database: Database) -> None:
    """Wait until ingest has subscribed: a message sent now is kept for it."""
    probe = single("nobody", 0, 4.0)
    marked = Received(probe.topic, json.dumps({"probe": client_id}).encode())

    def seen() -> bool:
        publish(url, [marked])
        time.sleep(0.1)
        asked = "SELECT 1 FROM quarantine WHERE payload = %s"
        return bool(database.query(asked, marked.payload))

    wait_until(seen)


def go_the_whole_way(database: Database, ledger: Ledger, server: str, gateway: str) -> None:
    """Send one of each kind and compare what is told and stored."""
    device, client_id = f"d-{uuid4().hex[:8]}", f"ingest-{uuid4().hex}"
    field.register(ledger)
    field.register(ledger, device)
    with running(database.app_dsn, server, client_id):
        wait_for_session(gateway, client_id, database)
        publisher = Publisher(gateway, f"gateway-{uuid4().hex}")
        seq = int(uuid4().hex[:8], 16)
        acks = publisher.send(
            [
                sent(batch_of(device, 0, [4.0, 4.1, 4.2])),
                sent(single(device, 10, 4.3)),
                sent(scan(seq, [code(seq % 10**9)])),
                sent(Received(f"{BASE}/tele/{device}", b"nonsense"), refused="schema"),
            ]
        )
        publisher.close()
    assert sorted(ack.get("n", 0) for ack in acks) == [0, 1, 3]
    (refusal,) = publisher.tally.refusals
    assert refusal.code == "schema"
    assert refusal.detail_zh.startswith("不是合法的 JSON")
    assert counted(database, device) == (4, 4)


def test_given_the_embedded_broker_when_messages_come_then_stored_and_answered(
    database: Database, ledger: Ledger, broker: BrokerServer
) -> None:
    go_the_whole_way(database, ledger, broker.server_url, broker.gateway_url)


def test_given_mosquitto_when_messages_come_then_stored_and_answered(
    database: Database, ledger: Ledger, mosquitto: str
) -> None:
    go_the_whole_way(database, ledger, mosquitto, mosquitto)


def start_process(database: Database, url: str, client_id: str) -> subprocess.Popen[bytes]:
    """Start ingest as a process."""
    argv = [sys.executable, "-m", "tests.ingest.process", database.app_dsn, url, client_id]
    env = untraced(os.environ)
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, env=env)


def test_given_a_flow_when_ingest_is_killed_again_and_again_then_each_reading_is_stored_once(
    database: Database, ledger: Ledger, broker: BrokerServer
) -> None:
    device, client_id = "d-killed", f"ingest-{uuid4().hex}"
    field.register(ledger)
    field.register(ledger, device)
    process = start_process(database, broker.server_url, client_id)
    try:
        wait_for_session(broker.gateway_url, client_id, database)
        for first in (0, 1500):
            part = [single(device, n, 4.0) for n in range(first, first + 1500)]
            sender = Thread(target=publish, args=(broker.gateway_url, part))
            sender.start()
            wait_until(lambda: counted(database, device)[0] > first + 200)  # noqa: B023 (used in this turn)
            process.kill()
            process.wait()
            process = start_process(database, broker.server_url, client_id)
            sender.join()
            wait_until(lambda: counted(database, device)[1] == first + 1500)  # noqa: B023 (used in this turn)
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert counted(database, device) == (3000, 3000)


def test_given_a_flow_when_the_database_restarts_then_nothing_is_lost_or_doubled(
    broker: BrokerServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("restarted")
    for parent in [folder, *folder.parents]:
        if "pytest" in parent.name:
            parent.chmod(0o755)
    server = PostgresServer(folder)
    server.start()
    try:
        database = create_database(server)
        with Ledger(database.app_dsn) as ledger:
            field.register(ledger, "d-restarted")
        client_id = f"ingest-{uuid4().hex}"
        with running(database.app_dsn, broker.server_url, client_id):
            wait_for_session(broker.gateway_url, client_id, database)
            messages = [single("d-restarted", n, 4.0) for n in range(2000)]
            sender = Thread(target=publish, args=(broker.gateway_url, messages))
            sender.start()
            wait_until(lambda: counted(database, "d-restarted")[0] > 200)
            server.stop()
            server.start()
            sender.join()
            wait_until(lambda: _counted_or_none(database, "d-restarted") == (2000, 2000))
    finally:
        server.stop()


def test_given_a_broker_restart_when_messages_follow_then_they_are_stored(
    database: Database, ledger: Ledger, tmp_path_factory: pytest.TempPathFactory
) -> None:
    field.register(ledger)
    field.register(ledger, "d-reconnected")
    broker = BrokerServer(tmp_path_factory.mktemp("restarting"), sync="interval", shared=True)
    broker.start()
    try:
        client_id = f"ingest-{uuid4().hex}"
        with running(database.app_dsn, broker.server_url, client_id):
            wait_for_session(broker.gateway_url, client_id, database)
            publish(broker.gateway_url, [single("d-reconnected", 0, 4.0)])
            broker.stop()
            broker.start()
            publish(broker.gateway_url, [single("d-reconnected", 1, 4.0)])
            wait_until(lambda: counted(database, "d-reconnected") == (2, 2))
    finally:
        broker.stop()


def _counted_or_none(database: Database, device_id: str) -> tuple[int, int] | None:
    try:
        return counted(database, device_id)
    except psycopg.OperationalError:
        return None


def test_given_a_disk_nearly_full_when_messages_come_then_the_broker_keeps_them(
    broker: BrokerServer,
) -> None:
    may_read = StopEvent()
    client_id = f"ingest-{uuid4().hex}"
    topic = "cc/v1/640299/s/g/tele/d"
    receiver = Receiver(
        broker.server_url,
        client_id=client_id,
        filters=["cc/v1/640299/+/+/tele/+"],
        may_read=may_read.is_set,
        clock=ManualClock(),
    )
    may_read.set()
    receiver.start()
    try:
        publish(broker.gateway_url, [Received(topic, b"0")])
        wait_until(lambda: _first(receiver) == b"0" or _again(broker, topic))
        may_read.clear()
        time.sleep(0.6)
        publish(broker.gateway_url, [Received(topic, b"1")])
        assert not receiver.inbox.take(0.7)
        may_read.set()
        wait_until(lambda: _first(receiver) == b"1")
    finally:
        receiver.stop()


def _first(receiver: Receiver) -> bytes:
    taken = receiver.inbox.take(0.2)
    return taken.packets[-1][1] if taken else b""


def _again(broker: BrokerServer, topic: str) -> bool:
    publish(broker.gateway_url, [Received(topic, b"0")])
    return False


def test_given_a_broker_that_refuses_a_subscription_when_started_then_it_ends_with_an_error(
    broker: BrokerServer,
) -> None:
    receiver = Receiver(
        broker.gateway_url,
        client_id=f"ingest-{uuid4().hex}",
        filters=["forbidden/+"],
        may_read=lambda: True,
        clock=ManualClock(),
    )
    receiver.start()
    wait_until(lambda: receiver.failure is not None)
    receiver.stop()
    assert isinstance(receiver.failure, SubscriptionRefused)
