"""Sparkplug B over real brokers: births, data, a death as a will; our state, and a request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from domain.cold_chain.events import GatewayReported
from ingest.sparkplug_payload import parse
from runtime.broker import BrokerServer
from store.logs import Ledger, Telemetry
from tests.conftest import Database
from tests.ingest import field
from tests.ingest.field import GATEWAY, NOW_MS
from tests.ingest.sparkplug import SITE_ROOT, metric, ndeath, sent, session
from tests.ingest.test_broker import counted, running, wait_for_session, wait_until

pytestmark = [pytest.mark.database, pytest.mark.broker]


@contextmanager
def edge(url: str, bd_seq: int) -> Iterator[mqtt.Client]:
    """Connect as the field's gateway, with its death as will; at the end the line is cut."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"edge-{uuid4().hex}")
    user, _, rest = url.removeprefix("mqtt://").rpartition("@")
    if user:
        client.username_pw_set(*user.split(":"))
    death = ndeath(bd_seq)
    client.will_set(death.topic, death.payload, qos=1)
    host, _, port = rest.partition(":")
    client.connect(host, int(port))
    client.loop_start()
    yield client
    client.loop_stop()
    connection: Any = client.socket()
    connection.close()


@contextmanager
def heard(url: str, topic: str) -> Iterator[list[bytes]]:
    """Collect what is published on a topic."""
    found: list[bytes] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"ear-{uuid4().hex}")
    user, _, rest = url.removeprefix("mqtt://").rpartition("@")
    if user:
        client.username_pw_set(*user.split(":"))

    def subscribe(*_: Any) -> None:
        client.subscribe(topic, 1)

    client.on_connect = subscribe
    client.on_message = lambda _client, _userdata, told: found.append(bytes(told.payload))
    host, _, port = rest.partition(":")
    client.connect(host, int(port))
    client.loop_start()
    yield found
    client.disconnect()
    client.loop_stop()


def go_the_whole_way(database: Database, ledger: Ledger, telemetry: Telemetry, url: str) -> None:
    """Send a session of two readings, and cut the line."""
    device, client_id = f"d-{uuid4().hex[:8]}", f"ingest-{uuid4().hex}"
    field.register(ledger)
    field.register(ledger, device)
    before = telemetry.last_position()
    data = sent("DDATA", 2, metric(4.5, alias=1, ts_ms=NOW_MS + 1), device=device)

    def reported() -> list[bool]:
        found = telemetry.read(before, 1000, [GatewayReported.TOPIC])
        return [each.envelope.event.online for each in found]  # type: ignore[attr-defined]

    state, asked = "spBv1.0/STATE/vaxtrail-ingest-0", f"{SITE_ROOT}/NCMD/{GATEWAY}"
    with heard(url, state) as states, heard(url, asked) as commands:
        with running(database.app_dsn, url, client_id):
            wait_for_session(url, client_id, database)
            wait_until(lambda: [json.loads(each)["online"] for each in states][-1:] == [True])
            with edge(url, 5) as client:
                for message in [*session(device, 5), data, sent("NDATA", 4)]:
                    client.publish(message.topic, message.payload, qos=0)
                wait_until(lambda: counted(database, device) == (2, 2))
                wait_until(lambda: len(commands) == 1)
            wait_until(lambda: reported() == [True, False])
        wait_until(lambda: [json.loads(each)["online"] for each in states][-2:] == [True, False])
    assert parse(commands[0]).metrics[0].name == "Node Control/Rebirth"


def test_given_a_gateway_on_the_embedded_broker_when_it_speaks_sparkplug_then_stored(
    database: Database, ledger: Ledger, telemetry: Telemetry, broker: BrokerServer
) -> None:
    go_the_whole_way(database, ledger, telemetry, broker.server_url)


def test_given_a_gateway_on_mosquitto_when_it_speaks_sparkplug_then_stored(
    database: Database, ledger: Ledger, telemetry: Telemetry, mosquitto: str
) -> None:
    go_the_whole_way(database, ledger, telemetry, mosquitto)
