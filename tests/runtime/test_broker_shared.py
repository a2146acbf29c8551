"""What the shared account may say and hear at the embedded broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.broker import BrokerServer
from tests.runtime.brokers import Client

BASE, SPARK = "cc/v1/640202/s1/g1", "spBv1.0/640202"
SERVER_ONLY = [
    *(f"{BASE}/{kind}" for kind in ("ack/d1", "reject/d1", "cmd/d1", "ack/scan", "reject/scan")),
    *(f"{SPARK}/{kind}" for kind in ("NCMD/g1", "DCMD/g1/d1")),
    "spBv1.0/STATE/host",
]
HEARD = (f"{BASE}/#", f"{SPARK}/#", "spBv1.0/STATE/+")


@pytest.fixture
def server(broker: BrokerServer) -> Iterator[Client]:
    """Give a client of our own, which hears all."""
    yield from _client(broker.server_url)


@pytest.fixture
def gateway(broker: BrokerServer) -> Iterator[Client]:
    """Give a client with the shared account, which hears all it may."""
    yield from _client(broker.gateway_url)


def _client(url: str) -> Iterator[Client]:
    client = Client(url, *HEARD)
    assert not client.refused
    yield client
    client.leave()


@pytest.mark.parametrize("qos", [0, 1])
def test_given_gateway_when_it_speaks_as_the_server_then_dropped_and_readings_pass(
    broker: BrokerServer, server: Client, gateway: Client, qos: int
) -> None:
    forger = Client(broker.gateway_url)
    forged, birth, last = (f"{what} {qos}".encode() for what in ("forged", "birth", "reading"))
    for topic in SERVER_ONLY:
        forger.say(topic, forged, qos=qos)
        forger.say(topic, forged, qos=qos, retain=True)
    forger.say(f"{SPARK}/DDATA/g1/d1", birth, qos=qos)
    forger.say(f"{BASE}/tele/d1", last, qos=qos)
    for listener in (server, gateway):
        heard = listener.hears(birth, last)
        assert forged not in {payload for _, payload in heard}
    late = Client(broker.gateway_url, *HEARD)  # nothing was kept for those who come later, either
    server.say(f"{BASE}/ack/late", f"late {qos}".encode())
    assert forged not in {payload for _, payload in late.hears(f"late {qos}".encode())}
    forger.leave()
    late.leave()


def test_given_gateway_when_the_server_speaks_then_it_hears(
    server: Client, gateway: Client
) -> None:
    for topic in SERVER_ONLY:
        server.say(topic, topic.encode())
    heard = gateway.hears(*map(str.encode, SERVER_ONLY))
    assert {(topic, topic.encode()) for topic in SERVER_ONLY} <= heard
