"""Gateways under load, as a journey sees them: they send without end, and know what was promised.

They behave as real ones do: QoS 1, and whatever is not acknowledged is sent again after each loss
of the connection. So what the broker acknowledged must be stored, exactly once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion

from domain.cold_chain.events import DeviceRegistered, GatewayRegistered
from domain.cold_chain.model import device_stream, gateway_stream
from domain.registry.events import SiteRegistered
from domain.registry.model import site_stream
from domain.shared.events import Event
from simulators import wire
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.journeys import tree
from tests.runtime.instance import Up

REGION = "640202"
IN_FLIGHT = 1000  # messages sent and not acknowledged: then the gateways wait
REDELIVERED_S = 5 + 2  # the broker's ack_wait, and time to take it
STORED = (
    "SELECT device_id, seq FROM reading JOIN device_no USING (device_no)"
    " WHERE device_id LIKE 'TH-flow-%%'"
)
COUNT = "SELECT count(*) FROM reading"


def place(region: str) -> tuple[str, str, str]:
    """Return site, gateway and device of the flow in a region."""
    return f"flow-{region}", f"GW-flow-{region}", f"TH-flow-{region}"


def register(up: Up, *regions: str) -> None:
    """Register a site with one gateway and one device in each region."""
    now = datetime.now(UTC)
    meta = Meta(occurred_at=now, recorded_at=now, source="test")
    events: list[tuple[UUID, Event]] = []
    for n, region in enumerate(regions):
        site, gateway, device = place(region)
        where: dict[str, Any] = {"site_id": site, "region_code": region}
        called: dict[str, Any] = {"org_code": "", "site_no": n + 1, "name": site, "kind": "other"}
        behind: dict[str, Any] = {"gateway_id": gateway, "channels": ("t1",), "interval_s": 60}
        events += [
            (site_stream(site), SiteRegistered(**called, **where)),
            (gateway_stream(gateway), GatewayRegistered(gateway_id=gateway, **where)),
            (device_stream(device), DeviceRegistered(device_id=device, **behind, **where)),
        ]
    with Ledger(up.instance["app_dsn"]) as ledger:
        ledger.append([Envelope(stream, 1, event, meta) for stream, event in events])


class Flow:
    """One connection that sends readings of each region's device in turn."""

    def __init__(self, url: str, *regions: str, rate: float = 200.0) -> None:
        """`url` is the broker's for gateways; `rate` is in messages a second."""
        self.sent = 0
        self.acked: set[tuple[str, int]] = set()
        self._regions = regions
        self._every_s = 1 / rate
        self._waiting: dict[int, tuple[str, int]] = {}  # by packet id
        self._told: deque[int] = deque()
        self._stop = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, f"flow-{uuid4().hex}", False)
        parts = urlsplit(url)
        self._client.username_pw_set(parts.username, parts.password)
        self._client.max_inflight_messages_set(IN_FLIGHT)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_publish = lambda _c, _d, mid, *_: self._told.append(mid)
        self._client.connect(parts.hostname or "", parts.port or 1883)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def close(self, seconds: float = 30.0) -> None:
        """Send no more, and wait until everything sent is acknowledged."""
        self._stop.set()
        self._thread.join()
        deadline = time.monotonic() + seconds
        while self._waiting:
            assert time.monotonic() < deadline, f"{len(self._waiting)} are not acknowledged"
            time.sleep(0.05)
            self._settle()
        self._client.disconnect()
        self._client.loop_stop()

    def _send(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._every_s, time.monotonic() - 0.1)
            self._settle()
            if len(self._waiting) >= IN_FLIGHT:
                continue
            seq, which = divmod(self.sent, len(self._regions))
            site, gateway, device = place(self._regions[which])
            base = wire.prefix(self._regions[which], site, gateway)
            now_ms = time.time_ns() // 1_000_000
            message = wire.single(base, device, boot=1, seq=seq, ts_ms=now_ms, values={"t1": 5.0})
            info = self._client.publish(message.topic, message.payload, qos=1)
            self._waiting[info.mid] = (device, seq)
            self.sent += 1

    def _settle(self) -> None:
        while self._told:
            self.acked.add(self._waiting.pop(self._told.popleft()))


@contextmanager
def flowing(up: Up, *regions: str, rate: float = 200.0) -> Iterator[Flow]:
    """Let readings flow during the block; at its end all that was sent is acknowledged."""
    flow = Flow(up.instance["mqtt_gateway_url"], *(regions or (REGION,)), rate=rate)
    try:
        yield flow
    finally:
        flow.close()


def stored(up: Up) -> Counter[tuple[str, int]]:
    """Return how often each reading of the flow is stored."""
    return Counter((device, seq) for device, seq in tree.rows(up, STORED))


def nothing_lost(up: Up, flow: Flow, seconds: float = 30.0) -> None:
    """Wait for what was acknowledged, then hold that it is there once. AssertionError."""
    tree.until(lambda: stored(up).keys() >= flow.acked, seconds, "acknowledged and not stored")
    doubled = [identity for identity, n in stored(up).items() if n > 1]
    assert doubled == []


def first_new_row(up: Up, seconds: float) -> float:
    """Return the seconds until a row more is stored; the database may be away meanwhile."""
    began = time.monotonic()
    before: int | None = None
    while time.monotonic() < began + seconds:
        try:
            ((count,),) = tree.rows(up, COUNT)
        except psycopg.OperationalError:
            continue
        if before is not None and count > before:
            return time.monotonic() - began
        before = count if before is None else before
        time.sleep(0.01)
    raise AssertionError("no new row")
