"""Over HTTP: certificates and what readings count as, drift, foresight, rules tried on the past."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from domain.shared.roles import Role
from tests.api.world import build
from tests.conftest import Database
from tests.served import Api

API = "/api/v1"
CERTIFICATE: dict[str, Any] = {
    "device_id": "dwk-log-1",
    "channel": "t1",
    "certificate_no": "RZ-1",
    "laboratory": "示例计量院",
    "calibrated_on": "2026-03-01",
    "since": "2026-03-01T02:00:00Z",
    "valid_until": "2027-03-01",
    "points": [{"reference_c": 5.0, "deviation_c": 1.0, "uncertainty_c": 0.1}],
}
SPAN = {"device_id": "dwk-log-1", "from": "2026-03-01T00:00:00Z", "to": "2026-03-01T04:00:00Z"}
RULE = {
    "rule_id": "high_8_30min",
    "side": "high",
    "limit_c": 8.0,
    "raise_after_min": 30,
    "severity": "major",
}


@pytest.fixture(scope="module")
def world(api: Api, database: Database) -> Iterator[httpx.Client]:
    """Give a client of a world whose probe read 8.3 °C for four hours, of which one day is kept."""
    with api.client() as client:
        build(client)
        database.query("SELECT ensure_reading_partitions('2026-03-01', '2026-03-01')")
        database.query("INSERT INTO device_no (device_id) VALUES ('dwk-log-1')")
        database.query(
            "INSERT INTO batches (batch, telemetry_id, recorded_at)"
            " VALUES (1001, 0, '2026-03-01T05:00Z')"
        )
        database.query(
            "INSERT INTO reading (device_no, ts, boot, seq, batch, backfill, t1)"
            " SELECT device_no, timestamptz '2026-03-01T00:00Z' + n * interval '5 minutes',"
            " 1, n, 1001, false, CASE WHEN n < 36 THEN 8.3 ELSE 8.6 END"
            " FROM device_no, generate_series(0, 47) AS n"
        )
        yield client


def tried(client: httpx.Client, *rules: dict[str, Any], **more: Any) -> httpx.Response:
    span = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z"}
    asked = {"rules": rules or [RULE], **span, **more}
    return client.post(f"{API}/rule-sets/cold-2-8/backtests", json=asked)


def test_given_a_certificate_when_recorded_then_readings_show_both_and_rules_count_it(
    api: Api, world: httpx.Client
) -> None:
    before = tried(world)
    assert before.status_code == 200, before.text
    (site,) = before.json()["sites"]
    assert (site["alerts"], site["minutes"], site["told"], site["more"]) == (1, 235.0, 0, 1)
    assert world.get(f"{API}/readings", params=SPAN).json()["corrected"] is None

    made = world.post(f"{API}/calibrations", json=CERTIFICATE)
    assert made.status_code == 201, made.text
    assert world.post(f"{API}/calibrations", json=CERTIFICATE).status_code == 200
    read = world.get(f"{API}/readings", params=SPAN).json()
    assert (read["v"][23:25], read["corrected"][23:25]) == ([8.3, 8.3], [8.3, 7.3])
    after = tried(world).json()
    assert [(s["alerts"], s["minutes"]) for s in after["sites"]] == [(1, 120.0)]
    lower = RULE | {"limit_c": 9.0}
    assert tried(world, lower).json()["alerts"] == 0

    (shown,) = world.get(f"{API}/calibrations", params={"due_before": "2027-03-02"}).json()["items"]
    assert (shown["in_force"], shown["points"]) == (True, CERTIFICATE["points"])
    assert shown["days_left"] < 366
    assert world.get(f"{API}/calibrations", params={"due_before": "2027-03-01"}).json() == {
        "items": [],
        "next": None,
    }
    with api.client(Role.CDC, "640205") as other:
        assert other.post(f"{API}/calibrations", json=CERTIFICATE).status_code == 403
        assert other.get(f"{API}/calibrations").json()["items"] == []
        assert tried(other).json()["probes"] == 0
        assert other.get(f"{API}/units/szs-room/drift").status_code == 404
        assert other.get(f"{API}/units/szs-room/foresight").status_code == 404


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"device_id": "nobody"}, "unknown_device"),
        ({"channel": "t4"}, "unknown_channel"),
        ({"valid_until": "2026-02-28"}, "bad_validity"),
        ({"since": "2026-02-28T00:00:00Z"}, "before_calibration"),
        ({"points": []}, "bad_field"),
        ({"points": CERTIFICATE["points"] * 2}, "bad_calibration_point"),
    ],
)
def test_given_a_bad_certificate_when_recorded_then_refused(
    world: httpx.Client, change: dict[str, Any], code: str
) -> None:
    answer = world.post(f"{API}/calibrations", json=CERTIFICATE | change)
    assert answer.json()["code"] == code


def test_given_rules_when_tried_on_too_much_or_nothing_then_refused(
    world: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tried(world, to="2026-02-28T00:00:00Z").json()["code"] == "bad_span"
    assert tried(world, RULE, RULE).json()["code"] == "duplicate_rule_id"
    body = {"rules": [RULE]}
    missing = world.post(f"{API}/rule-sets/none/backtests", json=body)
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_profile")
    monkeypatch.setattr("api.backtests.READINGS_MAX", 10)
    assert tried(world).json()["code"] == "backtest_too_large"


def test_given_a_unit_when_its_drift_and_foresight_are_asked_then_shown(
    world: httpx.Client, database: Database
) -> None:
    unit = world.get(f"{API}/probes", params={"device_id": "dwk-log-1"}).json()["items"][0]
    path = f"{API}/units/{unit['unit_id']}"
    assert world.get(f"{path}/drift").json()["pairs"] == []
    database.query(
        "INSERT INTO forecast (device_id, channel, unit_id, made_at, value_c, limit_c, side,"
        " chance, eta_at, early_at, late_at, method, told, outcome, came_at)"
        " SELECT 'dwk-log-1', 't1', %s, at, 7.5, 8, 'high', 0.9, at, at, at + interval '1 hour',"
        " 'line', true, o, CASE o WHEN 'came' THEN at END"
        " FROM (VALUES (now(), 'came'), (now(), 'not'), (now(), NULL)) v (at, o)",
        unit["unit_id"],
    )
    shown = world.get(f"{path}/foresight", params={"days": 366}).json()
    assert len(shown["forecasts"]) == 3
    assert shown["score"] == {"n": 2, "brier": 0.41, "came": 0.5, "covered": 1.0}
    assert shown["defrosts"] == []


def test_given_a_sheet_of_certificates_when_imported_then_recorded(world: httpx.Client) -> None:
    lines = (
        "记录仪编号,通道,证书编号,校准机构,校准日期,有效期至,校准点\n"
        "dwk-log-1,temperature,RZ-2,示例计量院,2026-03-01,2027-03-01,5:0.3:0.1;20:0.2:0.1\n"
    )
    body = {"kind": "calibrations", "content_base64": base64.b64encode(lines.encode()).decode()}
    answer = world.post(f"{API}/imports", json=body)
    assert answer.json()["created"] == 1, answer.text
    listed = world.get(f"{API}/calibrations", params={"device_id": "dwk-log-1"}).json()["items"]
    assert {one["certificate_no"] for one in listed} >= {"RZ-2"}
