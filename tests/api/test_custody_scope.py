"""Who sees how much of a chain of custody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from domain.shared.roles import Role
from tests.api.world import CODE, LOT, build, scan
from tests.conftest import Database
from tests.served import Api

PATH = f"/api/v1/codes/{CODE}/custody"
LOT_PATH = f"/api/v1/lots/{LOT}/custody"
ELSEWHERE = {
    "site_id": "hn-clinic",
    "org_code": "126402024540000009",
    "site_no": 9,
    "name": "惠农接种门诊",
    "kind": "clinic",
    "region_code": "640205",
}
PEOPLE = {"recipient": "r-1", "vaccinator": "v-1"}


@pytest.fixture(scope="module")
def used(api: Api, database: Database) -> Iterator[httpx.Client]:
    """Give a client of a world whose one vial went from the city to a clinic and was used."""
    with api.client() as client:
        build(client)
        assert client.post("/api/v1/sites", json=ELSEWHERE).status_code == 201
        for body in (
            {"site": "szs", "step": "commissioning", "lot": LOT, "level": 1},
            {"site": "szs", "step": "shipping", "to": "dwk-cdc", "bill": "B1"},
            {"site": "dwk-cdc", "step": "receiving", "bill": "B1", "unit": "dwk-room-1"},
            {"site": "dwk-cdc", "step": "dispensing", "unit": "dwk-room-1", "dose": 1, **PEOPLE},
        ):
            send(api, client, **body)
        warm_afterwards(api, database)
        yield client


def warm_afterwards(api: Api, database: Database) -> None:
    """Let the clinic's refrigerator grow warm after the injection."""
    at = api.clock.now()
    database.query("SELECT ensure_reading_partitions('2026-03-01', '2026-03-03')")
    database.query("INSERT INTO device_no (device_id) VALUES ('dwk-log-1')")
    database.query(
        "INSERT INTO batches (batch, telemetry_id, recorded_at) VALUES (1001, 0, %s)",
        api.clock.advance(minutes=60),
    )
    database.query(
        "INSERT INTO reading (device_no, ts, boot, seq, batch, backfill, t1) "
        "SELECT device_no, %s + n * interval '1 minute', 1, 100 + n, 1001, false, "
        "CASE WHEN n > 0 THEN 21.0 ELSE 5.0 END FROM device_no, generate_series(-20, 40) AS n",
        at,
    )


def send(api: Api, client: httpx.Client, **body: Any) -> None:
    answer = client.post("/api/v1/scans", json=scan(api.clock.advance(minutes=30), **body))
    assert answer.status_code == 201, answer.text


def test_given_a_used_vial_when_temperatures_asked_then_none_after_the_injection(
    used: httpx.Client,
) -> None:
    answer = used.get(PATH, params={"temperatures": "true"})
    assert answer.status_code == 200, answer.text
    received, dispensed = answer.json()["chain"][-2:]
    assert received["temperatures"]["temperature_c_max"] == 5.0
    assert "temperatures" not in dispensed


def test_given_a_clinic_that_never_had_it_when_it_scans_the_code_then_the_chain_stays_shut(
    api: Api, used: httpx.Client
) -> None:
    assert used is not None
    with api.client(Role.CLINIC, "640205") as claimer:
        for body in (
            {"step": "storing", "unit": "nowhere"},
            {"step": "receiving", "bill": "B9"},
            {"step": "shipping", "to": "hn-clinic", "bill": "B9"},
        ):
            answer = claimer.post(
                "/api/v1/scans", json=scan(api.clock.now(), site="hn-clinic", **body)
            )
            assert answer.status_code == 201, answer.text
            assert claimer.get(PATH).json()["code"] == "unknown_code"


@pytest.mark.parametrize("role", [Role.CLINIC, Role.STORE_KEEPER, Role.VACCINATOR])
def test_given_goods_sent_to_its_region_when_a_handler_asks_then_the_whole_chain(
    api: Api, used: httpx.Client, role: Role
) -> None:
    assert used is not None
    with api.client(role, "640202") as handler:
        sites = [entry["site_id"] for entry in handler.get(PATH).json()["chain"]]
    assert {"szs", "dwk-cdc"} <= set(sites)


def test_given_oversight_of_any_region_it_was_in_when_asked_then_the_whole_chain(
    api: Api, used: httpx.Client
) -> None:
    whole = len(used.get(PATH).json()["chain"])
    for role in (Role.CDC, Role.REGULATOR, Role.AUDITOR, Role.PLATFORM, Role.STEWARD):
        with api.client(role, "640202") as client:
            assert len(client.get(PATH).json()["chain"]) == whole


@pytest.mark.parametrize(
    ("role", "region", "shown"),
    [
        (Role.CLINIC, "640202", True),
        (Role.CDC, "640200", True),
        (Role.STORE_KEEPER, "640202", False),
        (Role.REGULATOR, "640202", False),
        (Role.CDC, "640205", False),
        (Role.ADMIN, "000000", False),
    ],
)
def test_given_people_in_a_chain_when_asked_then_only_those_whose_care_it_is_see_them(
    api: Api, used: httpx.Client, role: Role, region: str, shown: bool
) -> None:
    assert used is not None
    with api.client(Role.CLINIC, "640205") as claimer:
        body = scan(api.clock.now(), site="hn-clinic", step="storing", unit="hn-fridge")
        assert claimer.post("/api/v1/scans", json=body).status_code in {200, 201}
    with api.client(role, region) as client:
        answer = client.get(PATH)
    assert answer.status_code == 200
    assert [value in answer.text for value in PEOPLE.values()] == [shown, shown]


def test_given_a_lot_when_a_handler_asks_then_its_own_hops_and_stock(
    api: Api, used: httpx.Client
) -> None:
    everywhere = used.get(LOT_PATH).json()
    with api.client(Role.CLINIC, "640202") as clinic, api.client(Role.CDC, "640202") as cdc:
        mine, watched = clinic.get(LOT_PATH).json(), cdc.get(LOT_PATH).json()
    assert [hop["step"] for hop in mine["hops"]] == ["shipping", "receiving", "dispensing"]
    assert watched["hops"] == everywhere["hops"]
    for body in (mine, watched):
        assert {line["site_id"] for line in body["stock"]} <= {"dwk-cdc"}


@pytest.mark.parametrize("role", [Role.RESIDENT, Role.KIOSK, Role.PAYMENT, Role.RESEARCHER])
def test_given_a_role_of_no_staff_when_equipment_or_goods_asked_then_forbidden(
    api: Api, used: httpx.Client, role: Role
) -> None:
    assert used is not None
    paths = ["/sites", "/units", "/devices", "/probes", "/latest", "/readings?device_id=x"]
    with api.client(role, "640200") as client:
        for path in (*paths, "/evidence", "/stock", "/lots", "/organisations"):
            assert client.get(f"/api/v1{path}").json()["code"] == "not_permitted", path
        assert client.get(PATH).status_code == client.get(LOT_PATH).status_code == 403


@pytest.mark.parametrize(
    ("role", "path", "body"),
    [
        (
            Role.STEWARD,
            "products",
            {
                "product_id": "8474355",
                "name": "另一疫苗",
                "holder": "示例公司",
                "doses_per_vial": 1,
                "temperature_c_min": 2.0,
                "temperature_c_max": 8.0,
                "freeze_sensitive": True,
            },
        ),
        (
            Role.SUPPLIER,
            "lots",
            {"product_id": "8474354", "lot_number": "A1", "expires_on": "2028-02-28"},
        ),
        (
            Role.STEWARD,
            "profiles",
            {
                "profile_id": "mine",
                "name": "冷冻",
                "temperature_c_min": -50.0,
                "temperature_c_max": 60.0,
                "source": "自定",
            },
        ),
    ],
)
def test_given_a_key_of_a_region_when_shared_data_are_written_then_only_for_the_country(
    api: Api, used: httpx.Client, role: Role, path: str, body: dict[str, Any]
) -> None:
    assert used is not None
    with api.client(role, "640202") as county, api.client(role, "000000") as country:
        refused = county.post(f"/api/v1/{path}", json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "out_of_scope")
        assert country.post(f"/api/v1/{path}", json=body).status_code == 201


def test_given_an_answer_when_described_then_a_missing_number_is_null_and_never_zero(
    used: httpx.Client,
) -> None:
    schemas = used.get("/api/v1/openapi.json").json()["components"]["schemas"]
    for name in ("Entry", "Withdrawn"):
        for field, described in schemas[name]["properties"].items():
            assert described.get("default") in (None, "", True), (name, field)
