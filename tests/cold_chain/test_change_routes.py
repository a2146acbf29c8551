"""Over HTTP: gateways replaced, devices moved, and work on units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from domain.shared.roles import Role
from tests.api.world import build
from tests.served import Api

API, AT = "/api/v1", "2026-03-01T12:00:00Z"
ORDERS = f"{API}/maintenance-orders"


@pytest.fixture(scope="module")
def world(api: Api) -> Iterator[httpx.Client]:
    """Give an administrator's client of the small world."""
    with api.client() as client:
        build(client)
        yield client


def version(etag: str | int) -> dict[str, str]:
    return {"If-Match": f'"{etag}"' if isinstance(etag, int) else etag}


def equipped(client: httpx.Client, gateway_id: str, *device_ids: str) -> None:
    gateway = {"gateway_id": gateway_id, "site_id": "dwk-cdc"}
    assert client.post(f"{API}/gateways", json=gateway).status_code == 201
    for device_id in device_ids:
        device = {"device_id": device_id, "gateway_id": gateway_id, "channels": ["t1"]}
        made = client.post(f"{API}/devices", json=device | {"interval_s": 300})
        assert made.status_code == 201


def test_given_a_dead_gateway_when_replaced_then_its_devices_are_behind_the_new_one(
    world: httpx.Client,
) -> None:
    equipped(world, "dead", "d-a", "d-b")
    path = f"{API}/gateways/dead/replacement"
    body = {"replacement_id": "fresh", "replaced_at": AT}
    assert world.post(path, json=body).status_code == 428
    assert world.post(path, json=body, headers=version(7)).status_code == 412
    headers = version(1) | {"Idempotency-Key": "swap"}
    made = world.post(path, json=body, headers=headers)
    assert (made.status_code, made.json()["location"]) == (200, f"{API}/gateways/fresh")
    assert world.post(path, json=body, headers=headers).content == made.content
    assert world.post(path, json=body, headers=version(2)).status_code == 200
    dead = world.get(f"{API}/gateways/dead").json()
    assert (dead["replacement_id"], dead["replaced_at"]) == ("fresh", AT)
    assert world.get(f"{API}/gateways/fresh").json()["replacement_id"] is None
    device = world.get(f"{API}/devices/d-a").json()
    assert device["gateway_id"] == "fresh"
    assert [(g["gateway_id"], g["since"]) for g in device["gateways"]] == [
        ("dead", None),
        ("fresh", AT),
    ]
    listed = world.get(f"{API}/devices", params={"limit": 500}).json()["items"]
    behind = {d["device_id"] for d in listed if d["gateway_id"] == "fresh"}
    assert behind == {"d-a", "d-b"}
    other = world.post(path, json=body | {"replacement_id": "third"}, headers=version(2))
    assert (other.status_code, other.json()["code"]) == (409, "gateway_replaced")


def test_given_a_registered_spare_when_it_comes_in_place_then_only_at_its_own_site(
    world: httpx.Client,
) -> None:
    equipped(world, "dead-2", "d-c")
    equipped(world, "spare")
    away = {"gateway_id": "szs-gw", "site_id": "szs"}
    assert world.post(f"{API}/gateways", json=away).status_code == 201
    path = f"{API}/gateways/dead-2/replacement"
    body = {"replacement_id": "szs-gw", "replaced_at": AT}
    wrong = world.post(path, json=body, headers=version(1))
    assert (wrong.status_code, wrong.json()["code"]) == (409, "other_site")
    body["replacement_id"] = "spare"
    assert world.post(path, json=body, headers=version(1)).status_code == 200
    assert world.get(f"{API}/devices/d-c").json()["gateway_id"] == "spare"


def test_given_a_device_when_moved_to_another_site_then_it_is_listed_there(
    api: Api, world: httpx.Client
) -> None:
    equipped(world, "from", "d-m")
    path = f"{API}/devices/d-m/moves"
    gone = {"gateway_id": "szs-gw-2", "site_id": "szs"}
    assert world.post(f"{API}/gateways", json=gone).status_code == 201
    body = {"gateway_id": "szs-gw-2", "moved_at": AT}
    made = world.post(path, json=body, headers=version(1))
    assert (made.status_code, made.json()["version"]) == (200, 2)
    device = world.get(f"{API}/devices/d-m")
    assert (device.json()["site_id"], device.headers["etag"]) == ("szs", '"2"')
    with api.client(Role.CDC, "640202") as county:
        assert county.get(f"{API}/devices/d-m").status_code == 404
        assert county.post(path, json=body, headers=version(2)).status_code == 404
        listed = county.get(f"{API}/devices", params={"limit": 500}).json()["items"]
        assert "d-m" not in {d["device_id"] for d in listed}
        # Nor is one of the county's own sent where its key does not reach.
        out = county.post(f"{API}/devices/dwk-log-1/moves", json=body, headers=version(2))
        assert (out.status_code, out.json()["code"]) == (403, "out_of_scope")
    nobody = world.post(path, json=body | {"gateway_id": "none"}, headers=version(2))
    assert (nobody.status_code, nobody.json()["code"]) == (422, "unknown_gateway")
    missing = world.post(
        f"{API}/gateways/none/replacement",
        json={
            "replacement_id": "x",
            "replaced_at": AT,
        },
        headers=version(1),
    )
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_gateway")


def opened(client: httpx.Client, order_id: str, **change: Any) -> httpx.Response:
    body = {"order_id": order_id, "unit_id": "dwk-room-1", "kind": "repair", "task": "异响"}
    return client.post(ORDERS, json=body | change)


def test_given_an_order_when_worked_on_then_assigned_and_done(world: httpx.Client) -> None:
    assert opened(world, "O-1", due_on="2026-03-09").status_code == 201
    assert opened(world, "O-1", due_on="2026-03-09").status_code == 200
    path = f"{ORDERS}/O-1"
    first = world.get(path)
    shown = first.json()
    assert (shown["state"], shown["org_code"]) == ("open", "126402024540000009")
    assert (shown["due_on"], shown["opened_at"]) == ("2026-03-09", "2026-03-02T00:00:00Z")
    etag = version(first.headers["etag"])
    given = world.post(f"{path}/assignments", json={"assignee_id": "coolfix"}, headers=etag)
    assert (given.status_code, given.json()["version"]) == (200, 2)
    done = {"result": "更换电容", "parts": ["电容"], "done_at": AT}
    stale = world.post(f"{path}/completion", json=done, headers=etag)
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    assert world.post(f"{path}/completion", json=done, headers=version(2)).status_code == 200
    shown = world.get(path).json()
    assert (shown["state"], shown["closed_at"], shown["parts"]) == ("done", AT, ["电容"])
    assert (shown["assignee_id"], shown["result"]) == ("coolfix", "更换电容")
    late = world.post(f"{path}/cancellation", json={"reason": "x"}, headers=version(3))
    assert (late.status_code, late.json()["code"]) == (409, "order_closed")
    (listed,) = [o for o in orders(world, unit_id="dwk-room-1") if o["order_id"] == "O-1"]
    assert listed == shown


def orders(client: httpx.Client, **params: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(ORDERS, params=params).json()["items"]
    return found


def test_given_orders_when_listed_by_organisation_then_those_open_there(
    api: Api, world: httpx.Client
) -> None:
    opened(world, "O-2", kind="calibration")
    opened(world, "O-3", unit_id="szs-room", kind="planned_maintenance")
    opened(world, "O-4")
    path = f"{ORDERS}/O-4"
    answer = world.post(f"{path}/cancellation", json={"reason": "重复"}, headers=version(1))
    assert answer.status_code == 200
    cancelled = world.get(path).json()
    assert (cancelled["state"], cancelled["result"]) == ("cancelled", "重复")
    assert cancelled in orders(world, state="cancelled")
    org = {"org_code": "126402024540000009", "state": "open"}
    assert [o["order_id"] for o in orders(world, **org)] == ["O-2"]
    with api.client(Role.STORE_KEEPER, "640202") as keeper:
        assert {o["order_id"] for o in orders(keeper)}.isdisjoint({"O-3"})
        assert keeper.get(f"{ORDERS}/O-3").status_code == 404
        assert opened(keeper, "O-5", unit_id="szs-room").status_code == 403
        closing = keeper.post(
            f"{ORDERS}/O-3/cancellation", json={"reason": "x"}, headers=version(1)
        )
        assert closing.status_code == 404


def test_given_no_such_unit_when_an_order_is_opened_then_refused(world: httpx.Client) -> None:
    answer = opened(world, "O-6", unit_id="nowhere")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_unit")


def test_given_a_probe_placed_in_the_future_when_sent_then_refused(world: httpx.Client) -> None:
    body = {"device_id": "dwk-log-1", "channel": "rh", "unit_id": "dwk-room-1"}
    refused = world.post(f"{API}/probes", json=body | {"placed_at": "2026-03-03T00:00:00Z"})
    assert (refused.status_code, refused.json()["code"]) == (422, "in_future")
