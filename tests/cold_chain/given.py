"""Small worlds for the read models of the cold chain: equipment in the ledger, readings in rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg

from domain.cold_chain import model, rules
from domain.cold_chain.events import (
    DeviceMoved,
    DeviceRegistered,
    GatewayRegistered,
    GatewayReplaced,
    MaintenanceAssigned,
    MaintenanceCancelled,
    MaintenanceDone,
    MaintenanceOpened,
    ProbePlaced,
    ProbeRemoved,
    UnitRegistered,
)
from domain.cold_chain.maintenance import order_stream
from domain.shared.events import Event
from projections.runner import Runner
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.conftest import Database

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
META = Meta(occurred_at=NOON, recorded_at=NOON, region_code="640202")


def minutes(n: float) -> datetime:
    """Return noon and n minutes."""
    return NOON + timedelta(minutes=n)


def unit(unit_id: str, region: str = "640202", profile_id: str = "vaccine_2_8") -> UnitRegistered:
    return UnitRegistered(
        unit_id=unit_id,
        site_id=f"S{region}",
        region_code=region,
        kind="refrigerator",
        name=f"{unit_id} 号冰箱",
        profile_id=profile_id,
    )


def gateway(gateway_id: str, region: str = "640202") -> GatewayRegistered:
    return GatewayRegistered(gateway_id=gateway_id, site_id=f"S{region}", region_code=region)


def device(device_id: str, region: str = "640202", interval_s: int = 300) -> DeviceRegistered:
    return DeviceRegistered(
        device_id=device_id,
        gateway_id=f"G{region}",
        site_id=f"S{region}",
        region_code=region,
        channels=("t1", "t2", "rh", "door", "co2"),
        interval_s=interval_s,
    )


def placed(device_id: str, unit_id: str, at: datetime, channel: str = "t1") -> ProbePlaced:
    return ProbePlaced(device_id=device_id, channel=channel, unit_id=unit_id, placed_at=at)


def removed(device_id: str, at: datetime, channel: str = "t1") -> ProbeRemoved:
    return ProbeRemoved(device_id=device_id, channel=channel, removed_at=at)


def replaced(gateway_id: str, replacement_id: str, at: datetime) -> GatewayReplaced:
    return GatewayReplaced(gateway_id=gateway_id, replacement_id=replacement_id, replaced_at=at)


def moved(device_id: str, gateway_id: str, at: datetime) -> DeviceMoved:
    region = gateway_id[1:] if gateway_id[1:].isdigit() else "640202"
    return DeviceMoved(
        device_id=device_id,
        gateway_id=gateway_id,
        site_id=f"S{region}",
        region_code=region,
        moved_at=at,
    )


def order(order_id: str, unit_id: str, region: str = "640202") -> MaintenanceOpened:
    return MaintenanceOpened(
        order_id=order_id,
        unit_id=unit_id,
        site_id=f"S{region}",
        region_code=region,
        org_code=f"12{region}000000000X",
        kind="repair",
        task="检修",
    )


def stream_of(event: Event) -> UUID:
    """Return the stream to which an event of this world belongs."""
    match event:
        case UnitRegistered():
            return model.unit_stream(event.unit_id)
        case GatewayRegistered() | GatewayReplaced():
            return model.gateway_stream(event.gateway_id)
        case DeviceRegistered() | DeviceMoved() | ProbePlaced() | ProbeRemoved():
            return model.device_stream(event.device_id)
        case (
            MaintenanceOpened() | MaintenanceAssigned() | MaintenanceDone() | MaintenanceCancelled()
        ):
            return order_stream(event.order_id)
        case _:
            return model.profile_stream(getattr(event, "profile_id", ""))


def tell(ledger: Ledger, *events: Event, meta: Meta = META) -> int:
    """Append events at the next version of their streams and return the last position."""
    position = 0
    for event in events:
        stream = stream_of(event)
        version = len(ledger.stream(stream)) + 1
        position = ledger.append([Envelope(stream, version, event, meta)])
    return position


def tell_profiles(ledger: Ledger) -> None:
    """Define the shipped profiles."""
    tell(ledger, *rules.PROFILES)


def follow(database: Database) -> None:
    """Bring every read model up to date."""
    with closing(Runner(database.app_dsn)) as runner:
        runner.follow_once()


Row = tuple[datetime, float | None]


def read(
    conn: psycopg.Connection[tuple[object, ...]],
    device_id: str,
    rows: Sequence[Row],
    *,
    telemetry: int = 1,
    channel: str = "t1",
) -> None:
    """Store readings of one channel as ingest does, in a batch ending at a telemetry position."""
    conn.execute(
        "INSERT INTO device_no (device_id) VALUES (%s) ON CONFLICT DO NOTHING", (device_id,)
    )
    days = [ts.date() for ts, _ in rows]
    conn.execute("SELECT ensure_reading_partitions(%s, %s)", (min(days), max(days)))
    found = conn.execute(
        "INSERT INTO batches VALUES (nextval('batch_seq'), %s, NULL, now()) RETURNING batch",
        (telemetry,),
    ).fetchone()
    assert found is not None
    with conn.cursor() as cur:
        cur.executemany(
            """INSERT INTO reading (device_no, ts, boot, seq, batch, backfill, t1, t2, door, extra)
               SELECT device_no, %(ts)s, 0, %(seq)s, %(batch)s, false, %(t1)s, %(t2)s, %(door)s,
                      %(extra)s FROM device_no WHERE device_id = %(device_id)s""",
            [
                {"ts": ts, "seq": seq, "batch": found[0], "device_id": device_id}
                | columns(channel, value)
                for seq, (ts, value) in enumerate(rows)
            ],
        )


def columns(channel: str, value: float | None) -> dict[str, object]:
    """Return the columns of a row that has a value in one channel."""
    return {
        "t1": value if channel == "t1" else None,
        "t2": value if channel == "t2" else None,
        "door": bool(value) if channel == "door" else None,
        "extra": f'{{"co2": {value}}}' if channel == "co2" else None,
    }
