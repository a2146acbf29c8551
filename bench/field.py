"""The registered field: devices behind gateways, each with a probe in a cold room under rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg

from bench.shape import GATEWAYS, device_name, gateway_name
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

REGION, SITE = "640202", "bench"
PROFILE = "vaccine_2_8"  # shipped, with five rules
PLACED_BEFORE = timedelta(days=400)
KNOWN = """SELECT originator_id FROM ledger_events
           WHERE originator_version = 1 AND originator_id = ANY(%s)"""

Fact = tuple[UUID, int, Event]


def register(dsn: str, devices: Iterable[int], placed_at: datetime | None = None) -> None:
    """Register the site, its gateways with a cold room each, and these devices, where missing."""
    at = placed_at or datetime.now(UTC) - PLACED_BEFORE
    behind = (fact for n in devices for fact in device_facts(n, unit_name(n), at))
    append(dsn, [*_places(), *behind], at)


def append(dsn: str, facts: Iterable[Fact], at: datetime) -> None:
    """Put facts into the ledger; those of streams it has already are left out."""
    meta = Meta(occurred_at=at, recorded_at=at, source="bench")
    asked = list(facts)
    with psycopg.connect(dsn, autocommit=True) as conn:
        found = conn.execute(KNOWN, ([stream for stream, _, _ in asked],)).fetchall()
    known = {stream for (stream,) in found}
    with Ledger(dsn) as ledger:
        ledger.append([Envelope(*fact, meta) for fact in asked if fact[0] not in known])


def unit_name(device: int) -> str:
    """Return the cold room that device number `device` stands in."""
    return f"room-{gateway_name(device)}"


def unit_fact(unit_id: str, profile_id: str) -> Fact:
    """Return the registration of a cold room."""
    unit = UnitRegistered(
        unit_id=unit_id,
        site_id=SITE,
        region_code=REGION,
        kind="cold_room",
        name="bench",
        profile_id=profile_id,
    )
    return unit_stream(unit_id), 1, unit


def device_facts(device: int, unit_id: str, at: datetime) -> Iterator[Fact]:
    """Yield the registration of a device and the placing of its probe."""
    name = device_name(device)
    registered = DeviceRegistered(
        device_id=name,
        gateway_id=gateway_name(device),
        site_id=SITE,
        region_code=REGION,
        channels=("t1", "rh"),
        interval_s=60,
    )
    placed = ProbePlaced(device_id=name, channel="t1", unit_id=unit_id, placed_at=at)
    yield device_stream(name), 1, registered
    yield device_stream(name), 2, placed


def _places() -> Iterator[Fact]:
    site = SiteRegistered(
        site_id=SITE, org_code="", site_no=1, name="bench", kind="other", region_code=REGION
    )
    yield site_stream(SITE), 1, site
    for n in range(GATEWAYS):
        name = gateway_name(n)
        behind = GatewayRegistered(gateway_id=name, site_id=SITE, region_code=REGION)
        yield gateway_stream(name), 1, behind
        yield unit_fact(unit_name(n), PROFILE)
