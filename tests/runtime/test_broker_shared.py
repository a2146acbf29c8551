"""What the shared account may say and hear at the embedded broker."""

from __future__ import annotations

from pathlib import Path
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from runtime.broker import BrokerServer

ROOT = Path(__file__).parents[2]
BASE = "cc/v1/640202/s1/g1"
SERVER_ONLY = ["ack/d1", "reject/d1", "cmd/d1", "ack/scan", "reject/scan"]
WAIT_SECONDS = 10.0


class Client:
    """An MQTT client that hears everything of one gateway and remembers topics and payloads."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.heard: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
        ready: SimpleQueue[list[bool]] = SimpleQueue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="")
        self._client.username_pw_set(parts.username or "", parts.password)
        self._client.on_message = lambda _c, _u, m: self.heard.put((m.topic, bytes(m.payload)))
        self._client.on_subscribe = lambda _c, _u, _m, reasons, _p: ready.put(
            [reason.is_failure for reason in reasons]
        )
        self._client.connect(parts.hostname or "", parts.port or 0)
        self._client.loop_start()
        self._client.subscribe(f"{BASE}/#", 1)
        assert ready.get(timeout=WAIT_SECONDS) == [False]

    def say(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Publish; a refused message is dropped in silence, so nothing is to be awaited."""
        self._client.publish(topic, payload, qos, retain)

    def hears_until(self, last: bytes) -> set[tuple[str, bytes]]:
        """Return everything heard up to and with the payload `last`."""
        found: set[tuple[str, bytes]] = set()
        while not any(payload == last for _, payload in found):
            try:
                found.add(self.heard.get(timeout=WAIT_SECONDS))
            except Empty:
                raise AssertionError(f"{last!r} was not heard, but {found}") from None
        return found

    def leave(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(scope="module")
def urls(broker: BrokerServer) -> tuple[str, str]:
    """Give the addresses of the server and of the shared account."""
    return broker.server_url, broker.gateway_url


@pytest.mark.parametrize("qos", [0, 1])
def test_given_gateway_when_it_speaks_as_the_server_then_dropped_and_readings_pass(
    urls: tuple[str, str], qos: int
) -> None:
    server, gateway, forger = Client(urls[0]), Client(urls[1]), Client(urls[1])
    forged, last = f"forged {qos}".encode(), f"reading {qos}".encode()
    for kind in SERVER_ONLY:
        forger.say(f"{BASE}/{kind}", forged, qos=qos)
        forger.say(f"{BASE}/{kind}", forged, qos=qos, retain=True)
    forger.say(f"{BASE}/tele/d1", last, qos=qos)
    for listener in (server, gateway):
        assert forged not in {payload for _, payload in listener.hears_until(last)}
    late = Client(urls[1])  # nothing was kept for those who come later, either
    server.say(f"{BASE}/ack/late", f"late {qos}".encode())
    assert forged not in {payload for _, payload in late.hears_until(f"late {qos}".encode())}
    for client in (server, gateway, forger, late):
        client.leave()


def test_given_gateway_when_the_server_speaks_then_it_hears(urls: tuple[str, str]) -> None:
    server, gateway = Client(urls[0]), Client(urls[1])
    for kind in SERVER_ONLY:
        server.say(f"{BASE}/{kind}", b"said " + kind.encode())
    heard = gateway.hears_until(b"said " + SERVER_ONLY[-1].encode())
    assert {(f"{BASE}/{kind}", b"said " + kind.encode()) for kind in SERVER_ONLY} <= heard
    server.leave()
    gateway.leave()
