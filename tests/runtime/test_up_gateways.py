"""Gateways with certificates at a whole instance: let in, stored, complained of, cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest

from domain.cold_chain.events import GatewayRegistered
from domain.cold_chain.model import gateway_stream
from runtime.account import secret
from runtime.broker_revoked import Revoked, note, waiting
from runtime.process import wait_until
from store.logs import Ledger
from tests.ingest import field
from tests.runtime.brokers import Client
from tests.runtime.instance import Up, fetch, open_folder, run, running

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

SETTINGS = {"VAXTRAIL_MQTT_SHARED_ACCOUNT": ""}


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """Run an instance that lets gateways in by certificate alone."""
    with open_folder() as folder:
        data = folder / "data"
        SETTINGS["VAXTRAIL_MQTT_TLS"] = str(data / "secrets" / "tls")
        assert run(data, "tls", "init", **SETTINGS).returncode == 0
        secret(data, "mqtt_gateway")  # as a folder of before has, where all gateways shared it
        note(data, Revoked("gone-1", field.REGION, "2026-01-01T00:00:00+00:00"))
        with running(data, traced=True, **SETTINGS) as started:
            with Ledger(started.instance["app_dsn"]) as ledger:
                gateway = GatewayRegistered(
                    site_id=field.SITE, region_code=field.REGION, gateway_id=field.GATEWAY
                )
                field.append(ledger, [(gateway_stream(field.GATEWAY), 1, gateway)])
                field.register_device(ledger, "d-1")
            yield started


def _logger_file(folder: Path) -> Path:
    """Write a file of two readings."""
    file = folder / "logger.csv"
    head = "1-Wire/iButton Part Number: DS1923\n1-Wire/iButton Registration Number: 65000000\n"
    rows = "3/24/22 2:20:01 PM,C,5\n3/24/22 2:22:01 PM,C,5\n"
    file.write_text(f"{head}Date/Time,Unit,Value\n{rows}")
    return file


def _url(up: Up, files: Path) -> str:
    names = {"ca": "ca.crt", "cert": f"{field.GATEWAY}.crt", "key": f"{field.GATEWAY}.key"}
    query = urlencode({name: files / file for name, file in names.items()})
    return f"mqtts://127.0.0.1:{up.instance['ports']['mqtt']}?{query}"


def _connected(url: str, *filters: str) -> Client:
    """Return a client as soon as the broker has the account."""
    clients: list[Client] = []

    def let_in() -> bool:
        clients.append(Client(url, *filters, client_id="box-1"))
        return not clients[-1].refused

    assert wait_until(let_in, 10.0, 0.2)
    return clients[-1]


def test_given_an_encrypted_instance_when_a_gateway_gets_and_loses_its_account_then_at_once(
    up: Up,
) -> None:
    files = up.data.parent / "for-the-gateway"
    issued = run(up.data, "gateway", "certificate", field.GATEWAY, str(files), **SETTINGS)
    assert issued.returncode == 0, issued.stderr
    assert up.instance["mqtt_gateway_url"] == ""
    assert up.log.read_text().count("shared_account_closed") == 1
    assert waiting(up.data) == [], "put on record by the API"
    asked = ("replay", str(_logger_file(up.data)), "--play")
    assert "SHARED_ACCOUNT" in run(up.data, *asked, **SETTINGS).stderr
    client = _connected(_url(up, files), f"{field.BASE}/ack/+")
    reading = field.single("d-1", 0, 4.0)
    client.say(reading.topic, reading.payload)
    topic, _ = client.heard.get(timeout=20.0)
    assert topic == f"{field.BASE}/ack/d-1"
    with psycopg.connect(up.instance["app_dsn"]) as conn:
        assert conn.execute("SELECT count(*) FROM reading").fetchone() == (1,)
    client.say(f"{field.BASE}/tele/d 1")
    assert wait_until(lambda: client.cut > 0, 5.0)
    assert wait_until(lambda: bool(_faults(up)), 10.0, 0.3)
    (fault,) = _faults(up)
    assert (fault["cause"], fault["count"]) == ("topic", 1)
    assert field.GATEWAY in str(fault["gateway"])
    assert "vaxtrail_gateway_faults{" in fetch(up.instance["api_url"] + "/metrics")
    assert "主题" in run(up.data, "status", **SETTINGS).stdout
    doctor = run(up.data, "doctor", **SETTINGS)
    assert doctor.returncode == 1
    assert field.GATEWAY in doctor.stdout
    again = _connected(_url(up, files))
    assert run(up.data, "gateway", "revoke", field.GATEWAY, **SETTINGS).returncode == 0
    assert wait_until(lambda: again.cut > 0, 5.0)
    assert Client(_url(up, files)).refused


def _faults(up: Up) -> list[dict[str, object]]:
    found = json.loads(run(up.data, "status", "--json", **SETTINGS).stdout)
    faults: list[dict[str, object]] = found["gateway_faults"]
    return faults
