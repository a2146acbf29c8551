"""A refusal says what is right, in both languages and in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api import reasons
from domain.shared.roles import Role
from tests.api.world import CODE, build
from tests.served import Api

SITES, KEYS, RECIPIENTS = "/api/v1/sites", "/api/v1/api-keys", "/api/v1/recipients"
SITE = {
    "site_id": "s-1",
    "org_code": "126402024540000009",
    "site_no": 100,
    "name": "接种点",
    "kind": "clinic",
    "region_code": "640202",
}
RECIPIENT = {"recipient_id": "r", "name": "n", "region_code": "640202", "address": "a@b.cn"}
UNIT = {"unit_id": "u", "site_id": "szs", "kind": "cold_room", "name": "x", "profile_id": "p"}
PLACED = {"device_id": "dwk-log-1", "channel": "t1", "unit_id": "dwk-room-1"}


@pytest.fixture(scope="module")
def world(api: Api) -> Iterator[httpx.Client]:
    """Give an administrator's client of the small world."""
    with api.client() as client:
        build(client)
        yield client


@pytest.mark.parametrize(
    ("path", "body", "field", "zh", "en"),
    [
        (SITES, SITE | {"name": "长" * 201}, "name", "最多 200 个字符", "at most 200 characters"),
        (SITES, SITE | {"name": "a\nb"}, "name", "须为一行文字", "one line of text"),
        (SITES, SITE | {"name": ""}, "name", "至少 1 个字符", "at least 1 characters"),
        (SITES, SITE | {"site_id": "a b"}, "site_id", "1 至 64 位字母", "1 to 64 letters"),
        (SITES, SITE | {"site_no": 0}, "site_no", "不得小于 1", "1 or more"),
        (SITES, SITE | {"site_no": "1"}, "site_no", "须为整数", "a whole number"),
        (SITES, SITE | {"site_no": None}, "site_no", "须为整数", "a whole number"),
        (SITES, SITE | {"latitude": 91.0}, "latitude", "不得大于 54", "54.0 or less"),
        (SITES, SITE | {"region_code": "999999"}, "region_code", "行政区划代码", "region code"),
        (SITES, SITE | {"kind": "palace"}, "kind", "province_cdc, city_cdc", "hospital, other"),
        (SITES, {}, "name", "必须给出", "must be given"),
        (SITES, [], "body", "须为对象", "an object"),
        (KEYS, {"role": "cdc", "region_code": "0"}, "region_code", "000000 表示全国", "000000"),
        (RECIPIENTS, RECIPIENT | {"channel": "x"}, "channel", "email, webhook", "email, webhook"),
        (RECIPIENTS, RECIPIENT, "channel", "必须给出", "must be given"),
        ("/api/v1/units", UNIT | {"plate": "x" * 17}, "plate", "最多 16 个字符", "at most 16"),
        (
            "/api/v1/probes",
            PLACED | {"placed_at": "2026-03-01T00:00:00"},
            "placed_at",
            "时区",
            "offset",
        ),
    ],
)
def test_given_a_bad_field_when_refused_then_told_what_is_right(
    world: httpx.Client, path: str, body: Any, field: str, zh: str, en: str
) -> None:
    problem = world.post(path, json=body).json()
    assert (problem["code"], problem["field"]) == ("bad_field", field)
    assert zh in problem["title_zh"]
    assert en in problem["title_en"]
    assert zh in problem["detail"]
    in_words(problem)


@pytest.mark.parametrize(
    ("path", "params", "zh", "en"),
    [
        (f"/api/v1/codes/{CODE}/custody", {"as_of": "yesterday"}, "须为位置", "a position"),
        (SITES, {"limit": "501"}, "不得大于 500", "500 or less"),
        (SITES, {"limit": "x"}, "须为整数", "a whole number"),
        (SITES, {"cursor": "!!!"}, "上一页", "page before"),
        ("/api/v1/alerts", {"state": "x"}, "firing, acknowledged", "firing, acknowledged"),
        ("/api/v1/readings", {"device_id": "a b"}, "字母", "letters"),
    ],
)
def test_given_a_bad_parameter_when_refused_then_told_what_is_right(
    world: httpx.Client, path: str, params: dict[str, str], zh: str, en: str
) -> None:
    problem = world.get(path, params=params).json()
    assert problem["code"] == "bad_field"
    assert zh in problem["title_zh"]
    assert en in problem["title_en"]
    in_words(problem)


@pytest.mark.parametrize("etag", ["1", "*", 'W/"1"'])
def test_given_if_match_of_another_form_when_refused_then_shown_how(
    world: httpx.Client, etag: str
) -> None:
    body = {"name": "x", "kind": "clinic"}
    problem = world.put(f"{SITES}/dwk-cdc", json=body, headers={"If-Match": etag}).json()
    assert problem["field"] == "if-match"
    assert '带引号，例如 "1"' in problem["title_zh"]


def test_given_broken_json_when_refused_then_the_place_is_told(world: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    problem = world.post(SITES, content=b'{"name": x}', headers=headers).json()
    assert problem["code"] == "malformed_json"
    assert problem["title_zh"].endswith("第 9 个字符处有误")


def test_given_other_particulars_when_refused_then_the_fields_are_a_list_of_words(
    world: httpx.Client,
) -> None:
    problem = world.post(SITES, json=SITE | {"site_id": "szs"}).json()
    assert problem["code"] == "already_registered"
    assert "org_code、site_no" in problem["title_zh"]
    assert "org_code, site_no" in problem["title_en"]
    assert "org_code" in problem["facts"]["differs"]
    in_words(problem)


def test_given_a_region_out_of_scope_when_refused_then_in_words(
    api: Api, world: httpx.Client
) -> None:
    assert world is not None
    with api.client(Role.CDC, "640205") as county:
        problem = county.post(SITES, json=SITE).json()
    assert problem["detail"] == "地区 640202 不在授权范围内"
    assert problem["facts"] == {"region": "640202"}


def test_given_a_code_that_is_none_when_refused_then_the_reason_is_in_the_language(
    world: httpx.Client,
) -> None:
    problem = world.get("/api/v1/codes/1234/custody").json()
    assert problem["title_zh"].endswith("（不是 20 位）")
    assert problem["title_en"].endswith("(not 20 digits)")


def test_given_every_pattern_of_a_request_when_refused_then_there_is_a_sentence(
    world: httpx.Client,
) -> None:
    document = world.get("/api/v1/openapi.json").json()
    found = {pair for part in requests(document) for pair in patterns(part, "")}
    assert len(found) > 20
    nameless = {
        name
        for name, pattern in found
        if pattern not in reasons.PATTERNS and name.lower() not in reasons.FIELDS
    }
    assert nameless == set()


def requests(document: dict[str, Any]) -> Iterator[Any]:
    """Give what requests may hold: parameters, and the bodies that come in."""
    for methods in document["paths"].values():
        for operation in methods.values():
            yield operation.get("parameters", [])
    for name, schema in document["components"]["schemas"].items():
        if name.endswith(("In", "Recipient", "Particulars", "Acknowledgement", "Revocation")):
            yield schema


def patterns(part: Any, name: str) -> Iterator[tuple[str, str]]:
    """Give (field, pattern) of every pattern within a part of the document."""
    if isinstance(part, list):
        for item in part:
            yield from patterns(item, name)
    elif isinstance(part, dict):
        if isinstance(part.get("pattern"), str):
            yield name, part["pattern"]
        for key, value in part.items():
            inner = part.get("name", name) if key == "schema" else name
            if key == "properties":
                for field, described in value.items():
                    yield from patterns(described, field)
            else:
                yield from patterns(value, inner)


def in_words(problem: dict[str, Any]) -> None:
    """Hold that a refusal shows no expression, no list and no type of the implementation."""
    for name in ("title_zh", "title_en", "detail"):
        assert not re.search(r"\[\^|\\x|\['|\w=\'|<class|pydantic", problem[name]), problem[name]
