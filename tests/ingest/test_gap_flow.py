"""Gaps, commands and clocks through the whole of ingest, over the broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from threading import Event
from typing import Any
from uuid import uuid4

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from domain.cold_chain.events import ClockSkewDetected, SeqGapClosed, SeqGapOpened
from domain.cold_chain.gaps import QUIET_MS
from domain.shared.events import Event as Fact
from ingest.batch import Received
from ingest.worker import Worker
from runtime.broker import BrokerServer
from store.logs import Ledger, Telemetry
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import BASE, MINUTE_MS, NOW_MS, batch_of, message, single
from tests.ingest.gap_field import gap_rows
from tests.ingest.test_broker import publish, running, wait_for_session, wait_until

pytestmark = pytest.mark.database


class RunningClock(ManualClock):
    """A clock that a test moves and that counts as one that runs by itself."""

    stepped = False


@pytest.fixture
def running_clock() -> RunningClock:
    return RunningClock()


@pytest.fixture
def worker(database: Database, device: str, running_clock: RunningClock) -> Iterator[Worker]:
    made = field.started(database.app_dsn, running_clock)
    yield made
    made.close()


def backfill(device_id: str, seq: int, n: int) -> Received:
    sent = batch_of(device_id, seq, [4.0] * n)
    return Received(sent.topic.replace("/tele/", "/backfill/"), sent.payload)


def told(telemetry: Telemetry, after: int, *kinds: type[Fact]) -> list[Any]:
    topics = [kind.TOPIC for kind in kinds]
    return [recorded.envelope.event for recorded in telemetry.read(after, 100, topics)]


def test_given_an_outage_when_backfilled_in_order_then_one_gap_opened_waited_for_and_filled(
    worker: Worker,
    device: str,
    running_clock: RunningClock,
    database: Database,
    telemetry: Telemetry,
) -> None:
    before = telemetry.last_position()
    worker.take([batch_of(device, 0, [4.0] * 10)])
    worker.take([batch_of(device, 100, [4.0])])
    (opened,) = told(telemetry, before, SeqGapOpened)
    assert (opened.first_seq, opened.past_seq) == (10, 100)
    for seq in range(10, 90, 10):
        running_clock.advance(seconds=10)
        worker.take([backfill(device, seq, 10)])
        worker.flush()
        assert worker.due() == [], "asked for while it comes"
    assert gap_rows(database, device)[0][3] == "open"
    running_clock.advance(milliseconds=2 * QUIET_MS)
    worker.due()
    running_clock.advance(milliseconds=QUIET_MS)
    (asked,) = worker.due()
    body = json.loads(asked.payload)
    assert (asked.topic, body["from"], body["to"]) == (f"{BASE}/cmd/{device}", 90, 99)
    worker.take([backfill(device, 90, 10)])
    assert worker.due() == []
    (closed,) = told(telemetry, before, SeqGapClosed)
    assert (closed.outcome, closed.first_seq, closed.past_seq) == ("filled", 10, 100)


def test_given_a_device_that_lost_readings_when_it_says_so_then_acknowledged_and_closed(
    worker: Worker, device: str, telemetry: Telemetry
) -> None:
    before = telemetry.last_position()
    worker.take([batch_of(device, 0, [4.0]), batch_of(device, 5, [4.0])])
    lost = {"kind": "lost", "ts": NOW_MS, "boot": 1, "from": 1, "to": 4}
    (ack,) = field.said(worker.take([message(f"{BASE}/event/{device}", lost)]))
    assert ack == {"v": 1, "ts": NOW_MS}
    assert worker.due() == []
    assert [event.outcome for event in told(telemetry, before, SeqGapClosed)] == ["lost"]
    (refused,) = field.said(worker.take([message(f"{BASE}/event/{device}", lost | {"to": 0})]))
    assert refused["code"] == "schema"


def test_given_readings_lost_when_said_before_they_are_missed_and_again_then_closed_once(
    worker: Worker, device: str, telemetry: Telemetry
) -> None:
    before = telemetry.last_position()
    body = {"kind": "lost", "ts": NOW_MS, "boot": 1, "from": 1, "to": 4}
    lost = message(f"{BASE}/event/{device}", body)
    worker.take([batch_of(device, 0, [4.0]), lost])
    worker.take([batch_of(device, 5, [4.0])])
    for _ in range(3):
        worker.take([lost])
        worker.flush()
        assert worker.due() == []
    assert [event.outcome for event in told(telemetry, before, SeqGapClosed)] == ["lost"]


def test_given_a_slow_clock_when_it_sends_live_then_told_and_set(
    worker: Worker, device: str, running_clock: RunningClock, telemetry: Telemetry
) -> None:
    before = telemetry.last_position()
    for n in range(6):
        running_clock.advance(minutes=1)
        late_ms = NOW_MS + n * MINUTE_MS - 2 * MINUTE_MS
        worker.take([single(device, n, 4.0, ts=late_ms)])
    (set_clock,) = worker.due()
    assert json.loads(set_clock.payload)["server_ms"] == NOW_MS + 6 * MINUTE_MS
    (skew,) = told(telemetry, before, ClockSkewDetected)
    assert (skew.severity, skew.offset_ms) == ("minor", 3 * MINUTE_MS)


@pytest.mark.broker
def test_given_a_person_who_asks_when_ingest_runs_then_the_gateway_hears_it(
    database: Database, ledger: Ledger, device: str, broker: BrokerServer
) -> None:
    heard, subscribed = list[mqtt.MQTTMessage](), Event()
    client_id = f"ingest-{uuid4().hex}"
    with running(database.app_dsn, broker.server_url, client_id):
        wait_for_session(broker.gateway_url, client_id, database)
        publish(broker.gateway_url, [batch_of(device, 0, [4.0] * 3)])
        gateway = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"gw-{uuid4().hex}")
        user, _, place = broker.gateway_url.removeprefix("mqtt://").rpartition("@")
        gateway.username_pw_set(*user.split(":"))
        host, _, port = place.partition(":")
        gateway.on_connect = lambda c, *_: c.subscribe(f"{BASE}/cmd/#", 1)
        gateway.on_message = lambda _c, _u, m: heard.append(m)
        gateway.on_subscribe = lambda *_: subscribed.set()
        gateway.connect(host, int(port))
        gateway.loop_start()
        assert subscribed.wait(10)
        database.query(
            "INSERT INTO device_command (command_id, device_id, region_code, cmd, arguments,"
            " actor_id, issued_at, expires_at, changed_at) SELECT %s, %s, %s, 'identify', '{}',"
            " 'k1', t, t + interval '1 day', t FROM (VALUES (%s::timestamptz)) AS v (t)",
            uuid4(),
            device,
            field.REGION,
            ManualClock().now(),
        )
        wait_until(lambda: bool(heard))
        gateway.disconnect()
        gateway.loop_stop()
    assert (heard[0].topic, heard[0].qos) == (f"{BASE}/cmd/{device}", 1)
    assert json.loads(heard[0].payload)["cmd"] == "identify"


@pytest.mark.broker
def test_given_a_gap_when_ingest_runs_then_asked_for_only_after_a_while_without_backlog(
    database: Database, device: str, broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = "SELECT asked FROM gap JOIN device_no USING (device_no) WHERE device_id = %s"
    late = """UPDATE gap SET due_at = due_at - interval '1 hour'
        FROM device_no d WHERE d.device_no = gap.device_no AND d.device_id = %s RETURNING 1"""
    waits = """SELECT 1 FROM gap JOIN device_no USING (device_no)
        WHERE device_id = %s AND due_at > opened_at"""
    client_id = f"ingest-{uuid4().hex}"
    monkeypatch.setattr("ingest.main.ASKING_S", 1000.0)
    with running(database.app_dsn, broker.server_url, client_id):
        wait_for_session(broker.gateway_url, client_id, database)
        publish(broker.gateway_url, [batch_of(device, 0, [4.0]), batch_of(device, 5, [4.0])])
        wait_until(lambda: bool(database.query(late, device)))
        wait_until(lambda: bool(database.query(waits, device)))
        assert database.query(asked, device) == [(0,)]
        monkeypatch.setattr("ingest.main.ASKING_S", 0.0)
        database.query(late, device)
        wait_until(lambda: database.query(asked, device) == [(1,)])
