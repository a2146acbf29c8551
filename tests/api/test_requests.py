"""What every route has in common: who may, versions, idempotency, refusals, paging, health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from psycopg_pool import ConnectionPool

from api.app import create_app, discover
from api.auth import KEYS_AGE_MAX_S
from api.deps import Deps
from api.errors import PROBLEM_JSON
from api.paging import encode
from api.routing import ModuleRoute, module_router
from domain.shared.roles import Role
from store.logs import Ledger, Telemetry
from tests.api.world import WORLD, build
from tests.conftest import free_port
from tests.served import Api

ROUTES = [r for router in discover() for r in router.routes if isinstance(r, ModuleRoute)]
# Roles that may do exactly the same are one: the first of each stands for all.
ROLES = {tuple(role in route.allowed.roles for route in ROUTES): role for role in reversed(Role)}
SITES = "/api/v1/sites"


@pytest.fixture(scope="module")
def world(api: Api) -> Iterator[httpx.Client]:
    """Give an administrator's client of the small world."""
    with api.client() as client:
        build(client)
        yield client


def site(number: int, **other: Any) -> dict[str, Any]:
    return {
        "site_id": f"site-{number:03}",
        "org_code": "126402024540000009",
        "site_no": 100 + number,
        "name": f"接种点 {number}",
        "kind": "clinic",
        "region_code": "640202",
        **other,
    }


def test_given_a_route_without_permission_when_declared_then_no_start() -> None:
    router = module_router("nowhere")
    with pytest.raises(TypeError, match="declares no permission"):

        @router.get("/open-to-all")
        def open_to_all() -> None:
            """Forget who may."""


@pytest.mark.parametrize("role", ROLES.values())
def test_given_every_route_when_asked_by_a_role_then_as_declared(api: Api, role: Role) -> None:
    with api.client(role, "640200") as client:
        client.headers.pop("prefer")
        for route in ROUTES:
            method = min(route.methods or ())
            path = route.path_format.replace("{", "").replace("}", "")
            # No body and a parameter nobody knows: nothing is done, only the role is looked at.
            answer = client.request(method, path, params={"nobody_knows": "1"})
            expected = 400 if role in route.allowed.roles else 403
            assert answer.status_code == expected, (method, path, answer.text)
            if expected == 403:
                assert "not_permitted" in answer.text


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Basic x"}, {"Authorization": "Bearer x"}]
)
def test_given_no_key_when_asked_then_401_with_scheme(api: Api, headers: dict[str, str]) -> None:
    answer = httpx.get(api.url + SITES, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == PROBLEM_JSON


def test_given_a_key_when_revoked_then_refused_within_a_second(
    api: Api, world: httpx.Client
) -> None:
    body = {"role": "regulator", "region_code": "640200", "label": "试用"}
    made = world.post("/api/v1/api-keys", json=body, headers={"Idempotency-Key": "never-kept"})
    assert made.status_code == 201, made.text
    time.sleep(0.3)
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    assert httpx.get(api.url + SITES, headers=headers).status_code == 200
    listed = world.get("/api/v1/api-keys", params={"limit": 500}).json()["items"]
    assert made.json()["key"] not in str(listed)
    assert made.json()["key_id"] in {key["key_id"] for key in listed}
    where = f"/api/v1/api-keys/{made.json()['key_id']}/revocation"
    assert world.post(where, json={"reason": "试用结束"}).status_code == 200
    time.sleep(KEYS_AGE_MAX_S)
    assert httpx.get(api.url + SITES, headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("GET", "/api/v1/nowhere", {}, 404, "no_such_path"),
        ("PATCH", SITES, {}, 405, "method_not_allowed"),
        ("GET", SITES, {"params": {"colour": "red"}}, 400, "unknown_parameter"),
        ("GET", SITES, {"params": {"limit": "501"}}, 422, "bad_field"),
        ("GET", SITES, {"params": {"cursor": "!!!"}}, 422, "bad_field"),
        ("GET", SITES, {"params": {"cursor": "AAAA"}}, 422, "bad_cursor"),
        ("GET", SITES, {"params": {"cursor": encode([5])}}, 422, "bad_cursor"),
        ("GET", SITES, {"params": {"cursor": encode(["\0"])}}, 422, "bad_cursor"),
        ("POST", SITES, {"content": "x", "headers": {"Content-Type": "text/csv"}}, 415, None),
        (
            "POST",
            SITES,
            {"content": "{", "headers": {"Content-Type": "application/json"}},
            400,
            None,
        ),
        ("POST", SITES, {"json": {"name": "x" * 1_100_000}}, 413, "body_too_large"),
        ("POST", SITES, {"json": site(1) | {"colour": "red"}}, 422, "unknown_field"),
        ("POST", SITES, {"json": site(1, kind="palace")}, 422, "bad_field"),
        ("POST", SITES, {"json": site(1, site_no="1")}, 422, "bad_field"),
        ("POST", SITES, {"json": site(1, org_code="12640202454000000A")}, 422, "bad_org_code"),
        ("POST", SITES, {"json": site(1, site_id="dwk-cdc")}, 409, "already_registered"),
        ("POST", SITES, {"json": site(1, site_no=1)}, 409, "already_claimed"),
        ("PUT", f"{SITES}/dwk-cdc", {"json": {"name": "x", "kind": "clinic"}}, 428, None),
        ("GET", f"{SITES}/nowhere", {}, 404, "unknown_site"),
        ("GET", "/api/v1/readings", {"params": {"device_id": "nobody"}}, 404, "unknown_device"),
    ],
)
def test_given_a_bad_request_when_sent_then_problem_in_both_languages(
    world: httpx.Client,
    method: str,
    path: str,
    options: dict[str, Any],
    status: int,
    code: str | None,
) -> None:
    answer = world.request(method, path, **options)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM_JSON
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"] == problem["title_zh"] != problem["title_en"]
    assert problem["trace_id"] == answer.headers["x-request-id"]
    if code:
        assert problem["code"] == code
    if status == 405:
        assert answer.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("accept", "english"),
    [
        ("en", True),
        ("en-GB,en;q=0.9,zh;q=0.8", True),
        ("zh-CN,en;q=0.9", False),
        ("fr", False),
        ("en;q=x,zh", False),
    ],
)
def test_given_a_language_when_refused_then_the_title_is_in_it(
    world: httpx.Client, accept: str, english: bool
) -> None:
    answer = world.get(f"{SITES}/nowhere", headers={"Accept-Language": accept})
    problem = answer.json()
    assert problem["title"] == problem["title_en" if english else "title_zh"]


def test_given_a_site_when_changed_at_an_old_version_then_stale(world: httpx.Client) -> None:
    path, body = f"{SITES}/szs", {"name": "市疾控中心冷库", "kind": "city_cdc"}
    etag = world.get(path).headers["etag"]
    changed = world.put(path, json=body, headers={"If-Match": etag})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert world.get(path).json()["name"] == "市疾控中心冷库"
    stale = world.put(path, json=body | {"name": "又改"}, headers={"If-Match": etag})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")


def test_given_an_idempotency_key_when_repeated_then_the_first_answer(
    world: httpx.Client,
) -> None:
    headers = {"Idempotency-Key": "once"}
    first = world.post(SITES, json=site(50), headers=headers)
    again = world.post(SITES, json=site(50), headers=headers)
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    other = world.post(SITES, json=site(51), headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


def test_given_many_sites_when_paged_then_each_once_in_order(world: httpx.Client) -> None:
    for number in range(60, 67):
        world.post(SITES, json=site(number))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = world.get(SITES, params={"limit": "3", **cursor}).json()
        seen += [item["site_id"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    everything = world.get(SITES, params={"limit": "500"}).json()["items"]
    assert seen == sorted(seen) == [item["site_id"] for item in everything]


def test_given_a_county_key_when_other_regions_named_then_out_of_scope(
    api: Api, world: httpx.Client
) -> None:
    assert world is not None
    with api.client(Role.CDC, "640205") as county:
        for kind, body in WORLD:
            if kind in {"profiles", "products", "lots"}:
                continue
            answer = county.post(f"/api/v1/{kind}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, "out_of_scope"), kind
        asked = county.get(SITES, params={"region": "640202"})
        assert (asked.status_code, asked.json()["code"]) == (403, "out_of_scope")
        assert county.get(f"{SITES}/dwk-cdc").status_code == 404


@pytest.mark.parametrize("region", ["640000", "640200", "640202", "640205", "110000"])
def test_given_a_region_when_every_list_is_asked_then_nothing_from_outside(
    api: Api, world: httpx.Client, region: str
) -> None:
    assert world is not None
    prefix = region.rstrip("0") if region.endswith("00") else region
    lists = [route.path for route in ROUTES if is_list(route)]
    assert len(lists) > 8
    with api.client(Role.ADMIN, region) as client:
        for path in lists:
            answer = client.get(path, params={"limit": "500"})
            assert answer.status_code == 200, (path, answer.text)
            for item in answer.json()["items"]:
                assert item.get("region_code", region).startswith(prefix), path


def is_list(route: ModuleRoute) -> bool:
    fields = getattr(route.response_model, "model_fields", {})
    return route.methods == {"GET"} and "items" in fields and "{" not in route.path


def test_given_a_running_instance_when_looked_at_then_alive_ready_and_measured(
    api: Api, world: httpx.Client
) -> None:
    assert world is not None
    assert httpx.get(f"{api.url}/livez").json() == {"live": True}
    ready = httpx.get(f"{api.url}/readyz").json()
    assert (ready["ready"], ready["problems"]) == (True, {})
    assert "2 sites reach fewer than three people" in ready["warnings"]["alert_floor"]
    assert "vaxtrail_http_request_seconds_bucket" in httpx.get(f"{api.url}/metrics").text


def test_given_a_stepped_clock_when_moved_then_forward_only(api: Api, world: httpx.Client) -> None:
    later = api.clock.now().replace(hour=23)
    moved = world.post("/api/v1/clock", json={"now": later.isoformat()})
    assert moved.status_code == 200, moved.text
    assert moved.json()["stepped"] is True
    back = world.post("/api/v1/clock", json={"now": "2026-03-01T00:00:00Z"})
    assert (back.status_code, back.json()["code"]) == (409, "clock_backwards")


def test_given_the_read_models_followed_when_position_asked_then_both_are_told(
    world: httpx.Client,
) -> None:
    body = world.get("/api/v1/position").json()
    assert body["position"] == body["followed"]


def test_given_all_routes_when_a_scan_is_told_then_its_own_is_matched_first(api: Api) -> None:
    app = create_app(api.deps)
    assert getattr(app.router.routes[0], "path", "") == "/api/v1/scans"


def test_given_no_database_when_asked_then_503_and_when_to_try_again(
    api: Api, ledger: Ledger, telemetry: Telemetry
) -> None:
    nowhere = f"host=127.0.0.1 port={free_port()} dbname=none user=none"
    pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
        nowhere, min_size=0, max_size=1, timeout=0.2, open=True
    )
    app = create_app(Deps(ledger, telemetry, pool, api.clock, dict))

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(SITES, headers={"Authorization": "Bearer any"})

    answer = asyncio.run(ask())
    pool.close()
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "2"
