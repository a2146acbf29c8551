"""A small registered field for the tests of ingest, and messages out of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from threading import Event as StopEvent
from typing import Any
from uuid import uuid4

from domain.alerting.events import RuleSetPublished
from domain.alerting.rules import ThresholdRule
from domain.cold_chain.events import (
    DeviceRegistered,
    GatewayRegistered,
    ProbePlaced,
    UnitRegistered,
)
from domain.cold_chain.model import (
    device_stream,
    gateway_stream,
    unit_stream,
)
from domain.registry.events import SiteRegistered
from domain.shared.clock import Clock
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.traceability.events import ProductRegistered
from ingest.answers import Answer
from ingest.batch import Received
from ingest.worker import Worker
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.conftest import START

REGION, SITE, GATEWAY = "640202", "dwk-store", "gw-1"
BASE = f"cc/v1/{REGION}/{SITE}/{GATEWAY}"
SCAN = f"cc/v1/{REGION}/{SITE}/sc-1/scan"
UNIT, PROFILE, PRODUCT = "dwk-fridge-1", "vaccine_2_8", "8412345"
PLACED = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MS = int(START.timestamp() * 1000)
MINUTE_MS = 60_000

HIGH = ThresholdRule(
    rule_id="high", side="high", limit_c=8.0, raise_after_min=10.0, severity="major"
)
LOW = ThresholdRule(rule_id="low", side="low", limit_c=2.0, raise_after_min=10.0, severity="minor")


def register(ledger: Ledger, *devices: str) -> None:
    """Register the site, gateway, unit, rules and product once, and these devices in the unit."""
    fixed = [
        (stream_id("registry.site", SITE), _site()),
        (
            gateway_stream(GATEWAY),
            GatewayRegistered(site_id=SITE, region_code=REGION, gateway_id=GATEWAY),
        ),
        (stream_id("traceability.product", PRODUCT), product(PRODUCT)),
    ]
    first = ledger.stream(fixed[0][0]) == []
    if first:
        append(ledger, [(stream, 1, event) for stream, event in fixed])
        register_unit(ledger, UNIT, PROFILE)
        publish(ledger, PROFILE, 1, HIGH, LOW)
    for device_id in devices:
        register_device(ledger, device_id)
        append(ledger, [(device_stream(device_id), 2, placed(device_id, UNIT, PLACED))])


def new_device(ledger: Ledger) -> str:
    """Register a device of a test's own in the unit and return its id."""
    device_id = f"d-{uuid4().hex[:8]}"
    register(ledger, device_id)
    return device_id


def register_device(ledger: Ledger, device_id: str) -> None:
    """Register a device whose probe stands nowhere yet."""
    append(ledger, [(device_stream(device_id), 1, _device(device_id))])


def register_unit(ledger: Ledger, unit_id: str, profile_id: str) -> None:
    """Register a refrigerator of the site."""
    event = UnitRegistered(
        site_id=SITE,
        region_code=REGION,
        unit_id=unit_id,
        kind="refrigerator",
        name="冰箱",
        profile_id=profile_id,
    )
    append(ledger, [(unit_stream(unit_id), 1, event)])


def publish(ledger: Ledger, profile_id: str, version: int, *rules: ThresholdRule) -> None:
    """Publish the rules of a profile, in force from the beginning."""
    event = RuleSetPublished(
        profile_id=profile_id, version=version, effective_from=PLACED, rules=rules
    )
    append(ledger, [(stream_id("alerting.rule_set", profile_id), version, event)])


def append(ledger: Ledger, events: Iterable[tuple[Any, int, Event]]) -> None:
    """Append events as they are."""
    meta = Meta(occurred_at=PLACED, recorded_at=PLACED)
    ledger.append([Envelope(stream, version, event, meta) for stream, version, event in events])


def placed(device_id: str, unit_id: str, at: datetime) -> ProbePlaced:
    """Return the placing of a device's first probe."""
    return ProbePlaced(device_id=device_id, channel="t1", unit_id=unit_id, placed_at=at)


def product(product_id: str) -> ProductRegistered:
    """Return a product's registration."""
    return ProductRegistered(
        product_id=product_id,
        name="重组乙型肝炎疫苗",
        holder="示例生物",
        doses_per_vial=1,
        temperature_c_min=2.0,
        temperature_c_max=8.0,
        freeze_sensitive=True,
    )


def _site() -> SiteRegistered:
    return SiteRegistered(
        site_id=SITE,
        region_code=REGION,
        org_code="12640200454000000A",
        site_no=1,
        name="大武口区疾控",
        kind="county_cdc",
    )


def _device(device_id: str) -> DeviceRegistered:
    return DeviceRegistered(
        site_id=SITE,
        region_code=REGION,
        device_id=device_id,
        gateway_id=GATEWAY,
        channels=("t1", "rh"),
        interval_s=300,
    )


def batch_of(
    device_id: str,
    seq: int,
    values: Sequence[float | None],
    *,
    boot: int = 1,
    start_ms: int = NOW_MS - 24 * 60 * MINUTE_MS,
    step_ms: int = 5 * MINUTE_MS,
) -> Received:
    """Return a batch message; the reading of `seq` lies `seq` steps after `start_ms`."""
    body = {
        "v": 1,
        "dev": device_id,
        "boot": boot,
        "base": {"seq": seq, "ts": start_ms + seq * step_ms, "step": step_ms},
        "cols": ["t1"],
        "rows": [[value] for value in values],
    }
    return message(f"{BASE}/tele/{device_id}", body)


def single(device_id: str, seq: int, value: float | None, **fields: Any) -> Received:
    """Return a message of one reading at the present time."""
    body = {"v": 1, "boot": 1, "seq": seq, "ts": NOW_MS + seq, "m": {"t1": value}, **fields}
    return message(f"{BASE}/tele/{device_id}", body)


def scan(seq: int, codes: Sequence[str], **fields: Any) -> Received:
    """Return a scan that puts codes into the unit."""
    body = {"v": 1, "boot": 1, "seq": seq, "ts": NOW_MS, "step": "storing", "unit": UNIT}
    return message(SCAN, {**body, "codes": list(codes), **fields})


def code(serial: int) -> str:
    """Return a 20-digit code of the registered product."""
    return f"{PRODUCT}{serial:09d}0000"


def message(topic: str, body: object) -> Received:
    """Return a message of JSON."""
    return Received(topic, json.dumps(body).encode())


def said(answers: Iterable[Answer]) -> list[dict[str, Any]]:
    """Return what the senders are told."""
    return [json.loads(payload) for _, payload in told(answers)]


def told(answers: Iterable[Answer]) -> list[tuple[str, bytes]]:
    """Return what is published to the senders: (topic, payload)."""
    return [publication for answer in answers for publication in answer.publications]


def started(dsn: str, clock: Clock) -> Worker:
    """Return a worker that has the database."""
    worker = Worker(dsn, clock, StopEvent())
    worker.start()
    return worker


def minutes(n: float) -> timedelta:
    """Return a span of minutes."""
    return timedelta(minutes=n)
