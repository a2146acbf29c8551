"""What the receiver takes and answers: QoS 0 among QoS 1, and what the broker sends again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from ingest.answers import Answer
from ingest.batch import Received
from ingest.client import Packet
from ingest.inbox import Block
from ingest.mqtt import Receiver, identify, port_of
from runtime.broker import ACK_WAIT, BrokerServer
from store.logs import Ledger
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import single
from tests.ingest.test_backlog import urls
from tests.ingest.test_broker import publish, running, wait_for_session, wait_until

READINGS = 40
TOPIC = "cc/v1/640298/s/g/tele/d"
ACK_WAIT_S = float(ACK_WAIT.rstrip("s"))


def publish_mixed(url: str, messages: list[Received]) -> None:
    """Publish every other message at QoS 0, the others at QoS 1, beginning with QoS 1."""
    parts = urlsplit(url)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"gw-{uuid4().hex}")
    identify(client, parts)
    client.connect(parts.hostname or "", port_of(parts))
    client.loop_start()
    for n, message in enumerate(messages):
        client.publish(message.topic, message.payload, qos=1 - n % 2).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


@pytest.mark.database
@pytest.mark.broker
@pytest.mark.parametrize("kind", ["embedded", "mosquitto"])
def test_given_qos_0_among_qos_1_when_sent_then_nothing_is_cut_off_and_all_of_qos_1_is_stored(
    database: Database,
    ledger: Ledger,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    connections: list[Receiver] = []
    opened = Receiver._on_socket_open

    def counted(self: Receiver, *args: object) -> None:
        connections.append(self)
        opened(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Receiver, "_on_socket_open", counted)
    server, gateway = urls(request, kind)
    device, client_id = f"d-{kind}", f"ingest-{uuid4().hex}"
    field.register(ledger)
    field.register(ledger, device)
    with running(database.app_dsn, server, client_id):
        wait_for_session(gateway, client_id, database)
        publish_mixed(gateway, [single(device, seq, 4.0) for seq in range(READINGS)])
        wait_until(lambda: set(range(0, READINGS, 2)) <= _stored(database, device))
        publish(gateway, [single(device, READINGS, 4.0)])  # the connection still serves
        wait_until(lambda: READINGS in _stored(database, device))
    assert len(_stored(database, device)) > READINGS // 2 + 1  # some of QoS 0 came as well
    assert len(connections) == len(set(map(id, connections))) == 2  # its two sessions, once each


def _stored(database: Database, device: str) -> set[int]:
    rows = database.query(
        "SELECT seq FROM reading JOIN device_no USING (device_no) WHERE device_id = %s", device
    )
    return {seq for (seq,) in rows}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Give a receiver that is not connected: blocks and answers are given to it by hand."""
    made = Receiver(
        "mqtt://127.0.0.1:1",
        client_id="unused",
        filters=[],
        may_read=lambda: True,
        clock=ManualClock(),
    )
    yield made
    made._wake_in.close()
    made._wake_out.close()


def _taken(receiver: Receiver, texts: str, *, again: str = "") -> str:
    """Hand over a block and return what goes into the inbox; a letter is a message and its id.

    A lower-case letter is the same packet id as its capital, and a dot is a message of QoS 0;
    `again`: the letters of messages that the broker marks as sent again.
    """
    packets = [_packet(text) for text in texts]
    receiver._on_packets(packets, [n for n, text in enumerate(texts) if text in again])
    block = receiver.inbox.take(0)
    return "" if block is None else "".join(payload.decode() for _, payload, _ in block.packets)


def _packet(text: str) -> Packet:
    return b"t", text.encode(), b"" if text == "." else text.lower().encode().rjust(2, b"\0")


def _answered(receiver: Receiver, texts: str) -> None:
    receiver.answer([Answer(receiver.connection, [mid for *_, mid in map(_packet, texts)])])
    receiver._send_answers()


def test_given_messages_in_hand_when_they_come_again_then_dropped(receiver: Receiver) -> None:
    assert _taken(receiver, "a.b") == "a.b"
    assert _taken(receiver, "ab.c", again="ab") == ".c"
    assert _taken(receiver, "abc", again="abc") == ""
    assert _taken(receiver, "ddde", again="d") == "de"  # also within one block


def test_given_answered_messages_when_they_come_again_then_dropped_until_their_ids_are_used_anew(
    receiver: Receiver,
) -> None:
    assert _taken(receiver, "abc") == "abc"
    _answered(receiver, "abc")
    assert _taken(receiver, "ab", again="ab") == ""
    assert _taken(receiver, "Ab", again="b") == "A"  # without the mark: another message
    assert _taken(receiver, "Ab", again="Ab") == ""  # one in hand, one answered
    _answered(receiver, "A")
    assert _taken(receiver, "A", again="A") == ""
    assert _taken(receiver, "d", again="d") == "d"  # sent before this connection, never taken here


def test_given_another_connection_when_messages_come_again_then_they_are_taken(
    receiver: Receiver,
) -> None:
    assert _taken(receiver, "ab") == "ab"
    _answered(receiver, "a")

    class _Socket:
        def setsockopt(self, *_args: int) -> None:
            """There is nothing to set."""

    receiver._on_socket_open(receiver._client, None, _Socket())
    assert _taken(receiver, "ab", again="ab") == "ab"


@contextmanager
def _receiving(broker: BrokerServer, may_read: Callable[[], bool]) -> Iterator[Receiver]:
    """Give a receiver that has subscribed."""
    receiver = Receiver(
        broker.server_url,
        client_id=f"ingest-{uuid4().hex}",
        filters=["cc/v1/640298/+/+/tele/+"],
        may_read=may_read,
        clock=ManualClock(),
    )
    receiver.start()
    try:
        wait_until(lambda: receiver.connected)
        time.sleep(0.5)  # the subscription
        yield receiver
    finally:
        receiver.stop()


@pytest.mark.broker
def test_given_reading_paused_when_the_broker_sends_again_then_nothing_is_taken_twice(
    broker: BrokerServer,
) -> None:
    reading, blocks = [True], list[Block]()
    with _receiving(broker, lambda: reading[0]) as receiver:
        texts = [str(n).encode() for n in range(5)]
        publish(broker.gateway_url, [Received(TOPIC, text) for text in texts])
        wait_until(lambda: len(_drained(receiver, blocks)) == len(texts))
        reading[0] = False
        time.sleep(ACK_WAIT_S + 1.5)  # as while the database is away
        _answer(receiver, blocks)
        reading[0] = True
        publish(broker.gateway_url, [Received(TOPIC, b"last")])
        wait_until(lambda: b"last" in _drained(receiver, blocks))
        time.sleep(0.5)
        assert sorted(_drained(receiver, blocks)) == sorted([*texts, b"last"])


def _answer(receiver: Receiver, blocks: list[Block]) -> None:
    for block in blocks:
        receiver.answer([Answer(block.connection, [mid for *_, mid in block.packets])])


def _drained(receiver: Receiver, blocks: list[Block]) -> list[bytes]:
    """Add what waits to the blocks; return the payloads of all."""
    while block := receiver.inbox.take(0.1):
        blocks.append(block)
    return [payload for block in blocks for _, payload, _ in block.packets]
