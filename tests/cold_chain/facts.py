"""What the specs of the cold chain begin with: a refrigerator, a gateway and its device."""

from __future__ import annotations

from datetime import UTC, datetime

from domain.cold_chain.events import DeviceRegistered, GatewayRegistered, UnitRegistered

NOON = datetime(2026, 11, 22, 4, tzinfo=UTC)
UNIT = UnitRegistered(
    unit_id="U1",
    site_id="S1",
    region_code="640202",
    kind="refrigerator",
    name="一号冰箱",
    profile_id="vaccine_2_8",
)
GATEWAY = GatewayRegistered(gateway_id="G1", site_id="S1", region_code="640202")
DEVICE = DeviceRegistered(
    device_id="D1",
    gateway_id="G1",
    site_id="S1",
    region_code="640202",
    channels=("t1", "rh"),
    interval_s=300,
)
