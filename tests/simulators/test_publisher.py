"""The publisher on the real broker: every message is answered, each answer finds its message."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from runtime.broker import BrokerServer
from simulators import faults, wire
from simulators.wire import Publisher, Unanswered

pytestmark = pytest.mark.broker

BASE = wire.prefix("640202", "dwk-c1", "GW-1")
GOOD = wire.single(BASE, "TH-1", boot=1, seq=7, ts_ms=1_788_742_800_000, values={"t1": 5.0})


class Server:
    """Answers as the product does: broken JSON is refused, anything else acknowledged."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.silent = False
        self._ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self._client.username_pw_set(parts.username or "", unquote(parts.password or ""))
        self._client.on_message = self._answer
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect(parts.hostname or "", parts.port or 1883)
        self._client.loop_start()
        self._client.subscribe("cc/v1/+/+/+/tele/+", 1)
        assert self._ready.wait(10)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _answer(self, client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        if self.silent:
            return
        base, _, device = message.topic.rsplit("/", 2)
        try:
            body = json.loads(message.payload)
        except ValueError:
            refusal = {"v": 1, "code": "schema", "detail_zh": "坏", "detail_en": "bad", "id": "q1"}
            client.publish(f"{base}/reject/{device}", json.dumps(refusal))
            return
        ack = {"v": 1, "boot": body["boot"], "seq": body["seq"], "n": 1, "dup": 0}
        client.publish(f"{base}/ack/{device}", json.dumps(ack))


@pytest.fixture
def server(broker: BrokerServer) -> Iterator[Server]:
    answering = Server(broker.server_url)
    yield answering
    answering.close()


@pytest.fixture
def publisher(broker: BrokerServer) -> Iterator[Publisher]:
    made = Publisher(broker.gateway_url, "test-publisher")
    yield made
    made.close()


def test_given_good_and_broken_messages_when_sent_then_all_are_answered_and_counted(
    server: Server, publisher: Publisher
) -> None:
    acks = publisher.send([faults.broken(GOOD), GOOD, faults.repeated(GOOD)], timeout_s=20)
    assert [ack["seq"] for ack in acks] == [7, 7]
    tally = publisher.tally
    assert (tally.readings, tally.readings_repeated, tally.readings_refused) == (3, 1, 1)
    assert [refusal.code for refusal in tally.refusals] == ["schema"]


def test_given_nobody_answers_when_sent_then_it_is_told_which_message_waits(
    server: Server, publisher: Publisher
) -> None:
    server.silent = True
    with pytest.raises(Unanswered, match="TH-1"):
        publisher.send([GOOD], timeout_s=1)
