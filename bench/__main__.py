"""How many readings a second this machine takes in, from publish to durable: `make bench`.

A whole tree is started on a fresh folder; 1,000 registered devices behind 10 gateway connections
publish one-reading messages at QoS 1 as fast as the broker acknowledges them. The rate is messages
over the time from the first publish to the last committed row. Beside it, in the same run, the
limit: COPY of the same rows into the same table by one connection, 500 a commit.

`make bench ARGS="--messages 20000 --json FILE"`. Nothing else may run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion

from domain.cold_chain.events import (
    DeviceRegistered,
    GatewayRegistered,
    ProbePlaced,
    UnitRegistered,
)
from domain.cold_chain.model import device_stream, gateway_stream, unit_stream
from domain.registry.events import SiteRegistered
from domain.registry.model import site_stream
from domain.shared.events import Event
from store.envelope import Envelope, Meta
from store.logs import Ledger

GATEWAYS, DEVICES_EACH = 10, 100
REGION, SITE, UNIT = "640202", "bench", "bench-room"
IN_FLIGHT = 500  # messages a connection has sent and the broker not yet acknowledged
COMMIT_ROWS = 500
READY_SECONDS, DONE_SECONDS = 120.0, 120.0


@dataclass(frozen=True, slots=True)
class Result:
    """One run: rates are messages or rows a second; one message is one reading."""

    work: str
    messages: int
    product: float
    limit_copy: float
    ratio_limit: float
    sync: str
    machine: str
    measured_at: str


@contextmanager
def instance(sync: str) -> Iterator[dict[str, str]]:
    """Run a tree on a folder of its own; give its addresses."""
    with tempfile.TemporaryDirectory(prefix="vaxtrail-bench-") as folder:
        data = Path(folder)
        data.chmod(0o755)
        env = {**os.environ, "VAXTRAIL_MQTT_SYNC": sync, "VAXTRAIL_LOG": "json"}
        command = [sys.executable, "-m", "runtime.cli", "--data", folder, "up"]
        with (data / "up.log").open("w") as log:
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            yield _addresses(data, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _addresses(data: Path, process: subprocess.Popen[bytes]) -> dict[str, str]:
    until = time.monotonic() + READY_SECONDS
    file = data / "instance.json"
    while time.monotonic() < until and process.poll() is None:
        if file.exists():
            found: dict[str, str] = json.loads(file.read_text())
            if found["api_url"] and _ready(found["api_url"]):
                return found
        time.sleep(0.2)
    raise SystemExit((data / "up.log").read_text())


def _ready(api_url: str) -> bool:
    try:
        return httpx.get(f"{api_url}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:  # not listening yet
        return False


def register(dsn: str) -> None:
    """Register the devices, each with a probe in one cold room."""
    at = datetime.now(UTC) - timedelta(days=2)
    meta = Meta(occurred_at=at, recorded_at=at, source="bench")
    site = SiteRegistered(
        site_id=SITE, org_code="", site_no=1, name="bench", kind="other", region_code=REGION
    )
    unit = UnitRegistered(
        unit_id=UNIT,
        site_id=SITE,
        region_code=REGION,
        kind="cold_room",
        name="bench",
        profile_id="vaccine_2_8",
    )
    events: list[tuple[UUID, int, Event]] = [
        (site_stream(SITE), 1, site),
        (unit_stream(UNIT), 1, unit),
    ]
    for n in range(GATEWAYS):
        gateway = f"gw{n:02d}"
        behind = GatewayRegistered(gateway_id=gateway, site_id=SITE, region_code=REGION)
        events.append((gateway_stream(gateway), 1, behind))
        for device in _devices(n):
            registered = DeviceRegistered(
                device_id=device,
                gateway_id=gateway,
                site_id=SITE,
                region_code=REGION,
                channels=("t1", "rh"),
                interval_s=60,
            )
            placed = ProbePlaced(device_id=device, channel="t1", unit_id=UNIT, placed_at=at)
            events += [(device_stream(device), 1, registered), (device_stream(device), 2, placed)]
    with Ledger(dsn) as ledger:
        ledger.append([Envelope(stream, version, event, meta) for stream, version, event in events])


def _devices(gateway: int) -> list[str]:
    return [f"dev{gateway:02d}{n:03d}" for n in range(DEVICES_EACH)]


def publish(url: str, gateway: int, each: int, start_ms: int) -> None:
    """Publish `each` readings of every device of a gateway, oldest first; wait for the broker."""
    address = urlsplit(url)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, f"bench-{gateway}")
    client.username_pw_set(address.username, address.password)
    client.max_inflight_messages_set(IN_FLIGHT)
    client.max_queued_messages_set(0)
    client.connect(address.hostname or "127.0.0.1", address.port or 1883)
    client.loop_start()
    topic = f"cc/v1/{REGION}/{SITE}/gw{gateway:02d}/tele/"
    sent = []
    for seq in range(each):
        for device in _devices(gateway):
            values = {"t1": 4 + (seq % 20) / 10, "rh": 61}
            body = {"v": 1, "boot": 1, "seq": seq, "ts": start_ms + seq * 1000, "m": values}
            sent.append(client.publish(topic + device, json.dumps(body), qos=1))
    for message in sent:
        message.wait_for_publish(DONE_SECONDS)
    client.disconnect()
    client.loop_stop()


def take_in(addresses: dict[str, str], messages: int) -> float:
    """Return the messages a second from first publish to last row."""
    each = max(1, messages // (GATEWAYS * DEVICES_EACH))
    start_ms = int((datetime.now(UTC) - timedelta(days=1)).timestamp() * 1000)
    url = addresses["mqtt_gateway_url"]
    threads = [Thread(target=publish, args=(url, n, each, start_ms)) for n in range(GATEWAYS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    wanted = each * GATEWAYS * DEVICES_EACH
    with psycopg.connect(addresses["app_dsn"], autocommit=True) as conn:
        while True:
            row = conn.execute("SELECT count(*) FROM reading").fetchone()
            if row and row[0] >= wanted:
                break
            if time.perf_counter() - began > DONE_SECONDS:
                raise SystemExit(f"{row} of {wanted} readings arrived")
            time.sleep(0.02)
    rate = wanted / (time.perf_counter() - began)
    for thread in threads:
        thread.join()
    return rate


def copy_limit(dsn: str, rows: int) -> float:
    """Return the rows a second of COPY alone into the same table."""
    ts = datetime.now(UTC) - timedelta(hours=20)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SELECT ensure_reading_partitions(%s, %s)", (ts.date(), ts.date()))
        began = time.perf_counter()
        for first in range(0, rows, COMMIT_ROWS):
            query = "COPY reading (device_no, ts, boot, seq, batch, backfill, t1, rh) FROM STDIN"
            with conn.transaction(), conn.cursor() as cur, cur.copy(query) as copy:
                for n in range(first, min(first + COMMIT_ROWS, rows)):
                    copy.write_row((1 + n % 1000, ts, 0, n, 0, False, 4.0, 61.0))
        return rows / (time.perf_counter() - began)


def main() -> None:
    """Measure, print a table, write JSON where asked."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=", description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--sync", choices=("always", "interval"), default="interval")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with instance(asked.sync) as addresses:
        register(addresses["app_dsn"])
        product = take_in(addresses, asked.messages)
        limit = copy_limit(addresses["app_dsn"], asked.messages)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    result = Result(
        "one reading a message, publish to durable row",
        asked.messages,
        round(product),
        round(limit),
        round(product / limit, 3),
        asked.sync,
        machine,
        f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    )
    for name, value in asdict(result).items():
        print(f"{name:12} {value}")
    if asked.json:
        asked.json.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
