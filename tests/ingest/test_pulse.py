"""Sessions that are subscribed and give nothing, made for real: found, opened again, given up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from urllib.request import urlopen
from uuid import uuid4

import paho.mqtt.client as mqtt
import pytest
import structlog.testing
from paho.mqtt.enums import CallbackAPIVersion

from ingest import pulse
from ingest.batch import Received
from ingest.mqtt import Receiver, identify, port_of
from ingest.pulse import PAYLOAD, WORD, Pulse
from ingest.topics import mark
from runtime.broker import HOST, BrokerServer
from tests.conftest import ManualClock
from tests.ingest.test_backlog import urls
from tests.ingest.test_broker import publish, wait_until

REGION = "640297"
FILTERS = [f"cc/v1/{REGION}/+/+/tele/+", f"cc/v1/{REGION}/+/+/status"]
TOPIC = f"cc/v1/{REGION}/s/g/tele/d"
PULSE_S, SILENT_S = 0.2, 1.5


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test take seconds."""
    monkeypatch.setattr(pulse, "PULSE_S", PULSE_S)
    monkeypatch.setattr(pulse, "SILENT_S", SILENT_S)


@contextmanager
def receiving(
    url: str, client_id: str, may_read: Callable[[], bool] = lambda: True
) -> Iterator[Receiver]:
    """Give a receiver whose first marks have come back."""
    receiver = Receiver(
        url, client_id=client_id, filters=FILTERS, may_read=may_read, clock=ManualClock()
    )
    receiver.start()
    try:
        wait_until(lambda: receiver.connected)
        time.sleep(PULSE_S)
        yield receiver
    finally:
        receiver.stop()


def paused(broker: BrokerServer, seconds: float) -> None:
    """Let the sessions of these tests give nothing for so long, though they stay subscribed."""
    until = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    payload = json.dumps({"pause_until": until}).encode()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"pause-{uuid4().hex}")
    parts = urlsplit(broker.server_url)
    identify(client, parts)
    client.connect(parts.hostname or "", port_of(parts))
    client.loop_start()
    for consumer in consumers(broker):
        topic = f"$JS/API/CONSUMER/PAUSE/$MQTT_msgs/{consumer}"
        client.publish(topic, payload).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def consumers(broker: BrokerServer) -> Sequence[str]:
    """Return the broker's names of the subscriptions to this test's region."""
    address = f"http://{HOST}:{broker._monitor_port}/jsz?consumers=1&config=1&streams=1&accounts=1"
    with urlopen(address) as answer:
        (account,) = json.load(answer)["account_details"]
    return [
        consumer["name"]
        for stream in account["stream_detail"]
        if stream["name"] == "$MQTT_msgs"
        for consumer in stream.get("consumer_detail", ())
        if REGION in consumer["config"]["filter_subject"]
    ]


@pytest.mark.broker
def test_given_a_session_silent_for_a_while_when_found_then_opened_again_and_nothing_is_lost(
    broker: BrokerServer,
) -> None:
    with (
        structlog.testing.capture_logs() as said,
        receiving(broker.server_url, f"pulse-{uuid4().hex}") as receiver,
    ):
        first = receiver.connection
        paused(broker, 1.6 * SILENT_S)
        publish(broker.gateway_url, [Received(TOPIC, b"waits")])
        wait_until(lambda: not receiver.connected)
        assert receiver.inbox.take(0) is None
        wait_until(lambda: receiver.connected)
        block = receiver.inbox.take(10)
        assert receiver.failure is None
    assert block is not None
    assert [payload for _, payload, _ in block.packets] == [b"waits"]
    assert block.connection > first
    found = [entry["filters"] for entry in said if entry["event"] == "session_silent"]
    assert [set(filters) <= set(FILTERS) for filters in found] == [True]


@pytest.mark.broker
def test_given_a_session_that_stays_silent_when_found_again_then_told_and_opened_again(
    broker: BrokerServer,
) -> None:
    with (
        structlog.testing.capture_logs() as said,
        receiving(broker.server_url, f"pulse-{uuid4().hex}") as receiver,
    ):
        first = receiver.connection
        paused(broker, 60)
        wait_until(lambda: receiver.connection >= first + 2)
        assert not receiver.connected
        assert receiver.failure is None
    told = [entry for entry in said if entry["event"] == "session_silent"]
    assert len(told) == 2
    assert FILTERS[0] in told[0]["filters"]


@pytest.mark.broker
@pytest.mark.parametrize("kind", ["embedded", "mosquitto"])
def test_given_sessions_with_the_same_filters_when_nothing_comes_then_none_is_silent_nor_disturbed(
    request: pytest.FixtureRequest, kind: str
) -> None:
    server, gateway = urls(request, kind)
    with (
        receiving(server, f"pulse-{uuid4().hex}") as one,
        receiving(server, f"pulse-{uuid4().hex}") as other,
    ):
        connections = one.connection, other.connection
        time.sleep(2 * SILENT_S)
        assert (one.inbox.take(0), other.inbox.take(0)) == (None, None)
        assert (one.connection, other.connection) == connections
        assert one.connected
        assert other.connected
        publish(gateway, [Received(TOPIC, b"x")])
        assert one.inbox.take(5) is not None
        assert other.inbox.take(5) is not None


@pytest.mark.broker
def test_given_messages_in_hand_or_no_reading_when_marks_wait_then_it_is_not_silence(
    broker: BrokerServer,
) -> None:
    reading = [True]
    with receiving(broker.server_url, f"pulse-{uuid4().hex}", lambda: reading[0]) as receiver:
        connection = receiver.connection
        many = [Received(TOPIC, str(n).encode()) for n in range(pulse.BEHIND)]
        publish(broker.gateway_url, many)
        wait_until(lambda: len(receiver._in_hand) == len(many))
        paused(broker, 2 * SILENT_S)
        time.sleep(2 * SILENT_S)
        assert receiver.connected
        assert receiver.connection == connection
    with receiving(broker.server_url, f"pulse-{uuid4().hex}", lambda: reading[0]) as receiver:
        connection = receiver.connection
        reading[0] = False
        time.sleep(2 * SILENT_S)
        reading[0] = True
        time.sleep(2 * PULSE_S)
        assert receiver.connected
        assert receiver.connection == connection


def test_given_marks_in_a_block_when_taken_out_then_repeats_are_those_of_before() -> None:
    own, another = mark(FILTERS[0], WORD).encode(), mark("cc/v1/+/+/+/scan", WORD).encode()
    a, b = (b"t", b"a", b"\0\1"), (b"t", b"b", b"\0\2")
    alike = (b"t", PAYLOAD, b"\0\3")  # a gateway's: not for us to drop
    taken = [a, (own, PAYLOAD, b"\0\4"), b, (another, PAYLOAD, b""), alike]
    assert Pulse(FILTERS).without_marks(taken, [1, 2, 4]) == ([a, b, alike], [1, 2], [b"\0\4"])
    assert Pulse(FILTERS).without_marks([a, b], [1]) == ([a, b], [1], [])


@pytest.mark.parametrize(("silences", "marks"), [(0, 2), (1, 2), (2, 0), (9, 0)])
def test_given_a_session_opened_again_when_it_was_silent_before_then_marks_at_once_only_once(
    silences: int, marks: int
) -> None:
    pulse = Pulse(["a/+", "b"])
    pulse.silences = silences
    pulse.begin()
    sent: list[bytes] = []

    def publish(topic: bytes, _payload: bytes) -> int:
        sent.append(topic)
        return len(sent)

    assert pulse.beat(publish, held=False) == []
    assert len(sent) == marks
