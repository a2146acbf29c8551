"""A small world for the tests of routes: a city, a clinic, their equipment, one lot."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import httpx

CODE = "84743540181360010008"
LOT = "8474354.A2026573"
WORLD: list[tuple[str, dict[str, Any]]] = [
    (
        "organisations",
        {"org_code": "12640200454000000C", "name": "石嘴山市疾控中心", "region_code": "640200"},
    ),
    (
        "organisations",
        {"org_code": "126402024540000009", "name": "大武口接种门诊", "region_code": "640202"},
    ),
    (
        "sites",
        {
            "site_id": "szs",
            "org_code": "12640200454000000C",
            "site_no": 1,
            "name": "石嘴山市疾控中心",
            "kind": "city_cdc",
            "region_code": "640200",
        },
    ),
    (
        "sites",
        {
            "site_id": "dwk-cdc",
            "org_code": "126402024540000009",
            "site_no": 1,
            "name": "大武口接种门诊",
            "kind": "clinic",
            "region_code": "640202",
        },
    ),
    (
        "profiles",
        {
            "profile_id": "cold-2-8",
            "name": "冷藏",
            "temperature_c_min": 2.0,
            "temperature_c_max": 8.0,
            "source": "疫苗储存和运输管理规范（2017 年版）",
        },
    ),
    (
        "units",
        {
            "unit_id": "szs-room",
            "site_id": "szs",
            "kind": "cold_room",
            "name": "冷库",
            "profile_id": "cold-2-8",
        },
    ),
    (
        "units",
        {
            "unit_id": "dwk-room-1",
            "site_id": "dwk-cdc",
            "kind": "refrigerator",
            "name": "冰箱",
            "profile_id": "cold-2-8",
        },
    ),
    ("gateways", {"gateway_id": "dwk-gw-1", "site_id": "dwk-cdc"}),
    (
        "devices",
        {
            "device_id": "dwk-log-1",
            "gateway_id": "dwk-gw-1",
            "channels": ["t1", "rh"],
            "interval_s": 300,
        },
    ),
    (
        "probes",
        {
            "device_id": "dwk-log-1",
            "channel": "t1",
            "unit_id": "dwk-room-1",
            "placed_at": "2026-03-01T00:00:00Z",
        },
    ),
    (
        "products",
        {
            "product_id": "8474354",
            "name": "示例灭活疫苗",
            "holder": "示例生物制品有限公司",
            "doses_per_vial": 1,
            "temperature_c_min": 2.0,
            "temperature_c_max": 8.0,
            "freeze_sensitive": True,
        },
    ),
    (
        "lots",
        {"product_id": "8474354", "lot_number": "A2026573", "expires_on": "2028-02-28"},
    ),
]


def build(client: httpx.Client) -> None:
    """Register the world; twice is the same as once."""
    for kind, body in WORLD:
        answer = client.post(f"/api/v1/{kind}", json=body)
        assert answer.status_code in {200, 201}, answer.text


def scan(at: datetime, **body: Any) -> dict[str, Any]:
    """Return a scan of the world's one pack."""
    return {"at": at.isoformat(), "codes": [CODE], **body}
