"""Silences, and rules that are assigned to places, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from domain.shared.roles import Role
from tests.api.world import build
from tests.served import Api

SILENCES = "/api/v1/silences"
BODY = {
    "silence_id": "q1",
    "region_code": "640202",
    "site_id": "dwk-cdc",
    "begins_at": "2026-03-02T00:00:00Z",
    "ends_at": "2026-03-02T06:00:00Z",
    "reason": "检修冷库",
}


@pytest.fixture(scope="module")
def cdc(api: Api) -> Iterator[httpx.Client]:
    """Give a client of the CDC of the city, where there are sites."""
    with api.client() as admin:
        build(admin)
    with api.client(Role.CDC, "640200") as client:
        yield client


def test_given_a_silence_when_put_down_and_ended_then_listed_until_then(cdc: httpx.Client) -> None:
    answer = cdc.post(SILENCES, json=BODY)
    assert answer.status_code == 201, answer.text
    (found,) = cdc.get(SILENCES).json()["items"]
    assert found == cdc.get(f"{SILENCES}/q1").json()
    assert (found["site_id"], found["reason"], found["daily_from"]) == ("dwk-cdc", "检修冷库", None)
    longer = {**BODY, "silence_id": "q2", "ends_at": "2026-03-02T08:00:00Z"}
    longer["begins_at"] = "2026-03-02T05:00:00Z"
    assert cdc.post(SILENCES, json=longer).status_code == 201
    more = {**BODY, "silence_id": "q3", "begins_at": "2026-03-02T08:05:00Z"}
    refused = cdc.post(SILENCES, json={**more, "ends_at": "2026-03-02T09:00:00Z"})
    assert (refused.status_code, refused.json()["code"]) == (409, "silence_too_long")
    assert cdc.get(f"{SILENCES}/q3").status_code == 404
    for name in ("q1", "q2"):
        assert cdc.post(f"{SILENCES}/{name}/ending").status_code == 200
    assert cdc.get(SILENCES).json()["items"] == []
    assert len(cdc.get(SILENCES, params={"over": True}).json()["items"]) == 2


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"site_id": ""}, 422, "silence_of_region"),
        ({"site_id": "nowhere"}, 422, "unknown_site"),
        ({"unit_id": "nothing"}, 422, "unknown_unit"),
        ({"daily_from": "22:00"}, 422, "bad_quiet_hours"),
        ({"region_code": "110101"}, 403, "out_of_scope"),
    ],
)
def test_given_what_cannot_be_silenced_when_asked_then_said_in_both_languages(
    cdc: httpx.Client, fields: dict[str, Any], status: int, code: str
) -> None:
    answer = cdc.post(SILENCES, json={**BODY, "silence_id": "q9", **fields})
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_given_quiet_hours_when_put_down_then_shown_and_a_vaccinator_may_not(
    api: Api, cdc: httpx.Client
) -> None:
    quiet = {"silence_id": "night", "ends_at": "2026-06-02T00:00:00Z", "site_id": ""}
    quiet |= {"daily_from": "22:00", "daily_to": "07:30"}
    assert cdc.post(SILENCES, json={**BODY, **quiet}).status_code == 201
    found = cdc.get(f"{SILENCES}/night").json()
    assert (found["daily_from"], found["daily_to"]) == ("22:00", "07:30")
    with api.client(Role.VACCINATOR, "640202") as other:
        assert other.post(SILENCES, json={**BODY, "silence_id": "v"}).status_code == 403
        assert other.get(f"{SILENCES}/night").status_code == 200


def test_given_rules_when_assigned_to_a_site_then_shown_and_what_has_none_is_refused(
    admin: httpx.Client, cdc: httpx.Client
) -> None:
    body = {"scope": "site", "subject_id": "dwk-cdc", "profile_id": "nothing"}
    body["effective_from"] = "2026-03-03T00:00:00Z"
    refused = admin.post("/api/v1/rule-assignments", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_rules")
    rule = {"rule_id": "h", "side": "high", "limit_c": 9, "raise_after_min": 5, "severity": "major"}
    rules = {"profile_id": "cold-2-8", "effective_from": body["effective_from"], "rules": [rule]}
    published = admin.post("/api/v1/rule-sets", json=rules)
    assert published.status_code == 201, published.text
    made = admin.post("/api/v1/rule-assignments", json={**body, "profile_id": "cold-2-8"})
    assert made.status_code == 201, made.text
    (found,) = cdc.get("/api/v1/rule-assignments/site/dwk-cdc").json()["items"]
    assert (found["profile_id"], found["region_code"]) == ("cold-2-8", "640202")
    assert cdc.get("/api/v1/rule-assignments/unit/nothing").status_code == 404
