"""A vial kept where others belong: what was read there counts, whether an alert fired or not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from api.vials import vials
from tests.api.world import LOT, build
from tests.cold_chain.given import read
from tests.conftest import START
from tests.served import Api

V1 = "/api/v1"
IN_WARM, IN_FRIDGE, LATER = (f"8474354018136007{n:04}" for n in range(3))
WARM: list[tuple[str, dict[str, Any]]] = [
    (
        "profiles",
        {
            "profile_id": "cool",
            "name": "阴凉",
            "temperature_c_min": 2.0,
            "temperature_c_max": 15.0,
            "source": "药品说明书",
        },
    ),
    (
        "units",
        {
            "unit_id": "dwk-cool",
            "site_id": "dwk-cdc",
            "kind": "refrigerator",
            "name": "阴凉柜",
            "profile_id": "cool",
        },
    ),
    (
        "devices",
        {
            "device_id": "dwk-log-2",
            "gateway_id": "dwk-gw-1",
            "channels": ["t1"],
            "interval_s": 600,
        },
    ),
    (
        "probes",
        {
            "device_id": "dwk-log-2",
            "channel": "t1",
            "unit_id": "dwk-cool",
            "placed_at": "2026-03-01T00:00:00Z",
        },
    ),
]


def test_given_a_vial_in_a_unit_for_others_when_it_left_its_own_limits_then_grave(api: Api) -> None:
    with api.client() as client:
        build(client)
        for kind, body in WARM:
            assert client.post(f"{V1}/{kind}", json=body).status_code in {200, 201}
        kept = (
            ([IN_WARM], "dwk-cool", 0),
            ([IN_FRIDGE], "dwk-room-1", 0),
            ([LATER], "dwk-cool", 90),
        )
        for codes, unit, minute in kept:
            api.clock.set(max(api.clock.now(), START + timedelta(minutes=minute)))
            for said in ({"step": "commissioning", "lot": LOT}, {"step": "storing", "unit": unit}):
                at = api.clock.advance(seconds=1).isoformat()
                scan = {"site": "dwk-cdc", "at": at, "codes": codes, **said}
                assert client.post(f"{V1}/scans", json=scan).status_code == 201
    now = api.clock.advance(minutes=30)
    with api.deps.pool.connection() as conn:
        for device in ("dwk-log-1", "dwk-log-2"):
            rows = [
                (START + timedelta(minutes=m), 9.0 if m < 60 else 5.0) for m in range(0, 120, 10)
            ]
            read(conn, device, rows)
        found = vials(api.deps, conn, [IN_WARM, IN_FRIDGE, LATER], now)
    assert [vial.excursion for vial in found] == ["grave", "none", "none"]
