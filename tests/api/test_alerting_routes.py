"""Alerts, recipients and rule sets over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import pytest
import structlog

from domain.alerting import model
from domain.alerting.events import AlertResolved
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.shared.roles import Role
from store.envelope import Envelope, Meta
from tests.alerts.notices_of import FIRED_AT, fired, raised
from tests.served import Api

ALERTS, RECIPIENTS, RULE_SETS = "/api/v1/alerts", "/api/v1/recipients", "/api/v1/rule-sets"
COMMENT = {"comment": "已到现场"}
_numbers = count(1)

Fire = Callable[..., str]


@pytest.fixture
def fire(api: Api) -> Fire:
    """Give a function that lets the engine find an episode and returns the alert's id."""

    def firing(*later: Callable[[str], Event], **fields: Any) -> str:
        number = next(_numbers)
        alert_id = str(stream_id("alerting.episode", "TH-api", "t1", "high", number))
        events = [fired(alert_id=alert_id, **fields), *(make(alert_id) for make in later)]
        meta = Meta(occurred_at=FIRED_AT, recorded_at=FIRED_AT)
        stream = model.episode_stream(alert_id)
        envelopes = [Envelope(stream, n, event, meta) for n, event in enumerate(events, start=1)]
        api.followed(api.deps.ledger.append(envelopes))
        return alert_id

    return firing


@pytest.fixture
def keeper(api: Api) -> Iterator[httpx.Client]:
    """Give a client of a store keeper of Dawukou."""
    with api.client(Role.STORE_KEEPER, "640202") as client:
        yield client


def resolved(alert_id: str) -> AlertResolved:
    return AlertResolved(
        alert_id=alert_id,
        recovered_at=FIRED_AT + timedelta(minutes=5),
        resolved_at=FIRED_AT + timedelta(minutes=15),
        peak_c=9.9,
    )


def notices(api: Api, alert_id: str) -> list[tuple[str, str]]:
    with api.deps.pool.connection() as conn:
        asked = "SELECT kind, payload ->> 'comment' FROM outbox WHERE alert_id = %s"
        return conn.execute(asked, (alert_id,)).fetchall()


def test_given_alert_when_read_then_as_the_engine_found_it(fire: Fire, admin: httpx.Client) -> None:
    alert_id = fire(severity="critical")
    answer = admin.get(f"{ALERTS}/{alert_id}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == '"0"'
    found = answer.json()
    assert found["state"] == "firing"
    assert (found["peak_c"], found["limit_c"]) == (9.3, 8.0)
    assert found["fired_at"] == "2026-03-02T00:00:00Z"
    assert found["escalate_at"] == "2026-03-02T00:10:00Z"
    listed = admin.get(ALERTS, params={"severity": "critical"}).json()["items"]
    assert found in listed


def test_given_alerts_when_listed_then_filtered_and_paged(
    fire: Fire, admin: httpx.Client, api: Api
) -> None:
    mine = {fire(region_code="532503") for _ in range(3)}
    over = fire(resolved, region_code="532501")
    region: dict[str, str | int] = {"region": "532500", "limit": 3}
    first = admin.get(ALERTS, params=region).json()
    second = admin.get(ALERTS, params={**region, "cursor": first["next"]}).json()
    assert second["next"] is None
    listed = [item["alert_id"] for item in first["items"] + second["items"]]
    assert len(listed) == 4
    assert set(listed) == {*mine, over}
    firing = admin.get(ALERTS, params={"region": "532500", "state": "firing"}).json()["items"]
    assert {item["alert_id"] for item in firing} == mine
    assert admin.get(ALERTS, params={"site_id": "nowhere"}).json()["items"] == []
    with api.client(Role.CDC, "532501") as county:
        seen = county.get(ALERTS).json()["items"]
        assert [item["alert_id"] for item in seen] == [over]
        assert county.get(ALERTS, params={"region": "532503"}).status_code == 403
        assert county.get(f"{ALERTS}/{min(mine)}").status_code == 404


def test_given_a_condition_when_read_then_with_its_figures_and_taken_on_as_any_alert(
    api: Api, fire: Fire, admin: httpx.Client
) -> None:
    fire()
    alert_id = str(model.condition_stream("gateway_offline", "gw-1", 1))
    meta = Meta(occurred_at=FIRED_AT, recorded_at=FIRED_AT)
    stream = model.episode_stream(alert_id)
    event = raised(alert_id=alert_id)
    api.followed(api.deps.ledger.append([Envelope(stream, 1, event, meta)]))
    (listed,) = admin.get(ALERTS, params={"kind": "gateway_offline"}).json()["items"]
    told = admin.get(f"{ALERTS}/{alert_id}")
    assert told.json() == listed
    assert listed["detail"] == {"devices": 8, "silent": 8}
    assert (listed["limit_c"], listed["side"], listed["subject_id"]) == (None, "", "gw-1")
    headers = {"If-Match": told.headers["ETag"]}
    path = f"{ALERTS}/{alert_id}/acknowledgements"
    assert admin.post(path, json=COMMENT, headers=headers).status_code == 201


def test_given_bad_cursor_when_listed_then_said(admin: httpx.Client) -> None:
    for cursor in ("AAAA", "WyJhIiwiYiJd", "WzFd"):
        answer = admin.get(ALERTS, params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_cursor")


def test_given_firing_when_taken_on_then_stored_shown_and_told(
    fire: Fire, keeper: httpx.Client, api: Api
) -> None:
    alert_id = fire()
    place = f"{ALERTS}/{alert_id}/acknowledgements"
    headers = {"If-Match": '"0"', "Idempotency-Key": f"take-{alert_id}"}
    made = keeper.post(place, json=COMMENT, headers=headers)
    assert made.status_code == 201, made.text
    assert (made.headers["etag"], made.json()["version"]) == ('"1"', 1)
    found = keeper.get(f"{ALERTS}/{alert_id}").json()
    assert (found["state"], found["comment"], found["version"]) == ("acknowledged", "已到现场", 1)
    assert found["acknowledged_role"] == "store_keeper"
    again = keeper.post(place, json=COMMENT, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == made.json()
    assert notices(api, alert_id) == [("acknowledged", "已到现场")]


def test_given_no_or_old_version_when_taken_on_then_428_412_or_409(
    fire: Fire, keeper: httpx.Client
) -> None:
    alert_id = fire()
    place = f"{ALERTS}/{alert_id}/acknowledgements"
    missing = keeper.post(place, json=COMMENT)
    assert (missing.status_code, missing.json()["code"]) == (428, "version_required")
    assert keeper.post(place, json=COMMENT, headers={"If-Match": '"0"'}).status_code == 201
    stale = keeper.post(place, json=COMMENT, headers={"If-Match": '"0"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    twice = keeper.post(place, json=COMMENT, headers={"If-Match": '"1"'})
    assert (twice.status_code, twice.json()["code"]) == (409, "already_acknowledged")


def test_given_alert_of_another_region_or_none_when_taken_on_then_404(
    fire: Fire, keeper: httpx.Client, admin: httpx.Client
) -> None:
    elsewhere = fire(region_code="640221")
    site_stream = str(stream_id("registry.site", "s1"))
    for alert_id in (elsewhere, site_stream):
        place = f"{ALERTS}/{alert_id}/acknowledgements"
        answer = keeper.post(place, json=COMMENT, headers={"If-Match": '"0"'})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_alert")


def test_given_role_without_permission_when_asked_then_403(api: Api, fire: Fire) -> None:
    alert_id = fire()
    with api.client(Role.REGULATOR, "640200") as regulator:
        assert regulator.get(f"{ALERTS}/{alert_id}").status_code == 200
        place = f"{ALERTS}/{alert_id}/acknowledgements"
        refused = regulator.post(place, json=COMMENT, headers={"If-Match": '"0"'})
        assert refused.status_code == 403
        assert regulator.get(f"{ALERTS}/{alert_id}/deliveries").status_code == 403
        assert regulator.get(RECIPIENTS).status_code == 403


def test_given_webhook_when_put_down_then_secret_is_shown_once(admin: httpx.Client) -> None:
    wanted = {
        "recipient_id": "city-system",
        "name": "市级平台",
        "region_code": "640200",
        "channel": "webhook",
        "address": "https://city.example/alerts",
    }
    made = admin.post(RECIPIENTS, json=wanted)
    assert made.status_code == 201, made.text
    assert len(made.json()["secret"]) >= 40
    kept = {**wanted, "site_id": "", "level": 0, "severity_min": "minor"}
    kept |= {"person_id": "", "rank": 1}
    assert admin.get(made.headers["location"]).json() == kept
    again = admin.post(RECIPIENTS, json=wanted)
    assert (again.status_code, again.json()["code"]) == (409, "recipient_exists")
    assert admin.delete(made.headers["location"]).status_code == 204
    gone = admin.get(made.headers["location"])
    assert (gone.status_code, gone.json()["code"]) == (404, "unknown_recipient")


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("webhook", "ftp://city.example/x"),
        ("webhook", "file:///etc/passwd"),
        ("webhook", "https://user:secret@city.example/"),
        ("webhook", "http://city.example:99999/"),
        ("webhook", "http://169.254.169.254/latest/meta-data"),
        ("webhook", "http://2852039166/latest/meta-data"),
        ("webhook", "http://[fe80::1]/"),
        ("email", "not-an-address"),
        ("email", "a@x.example\r\nBcc: b@x.example"),
        ("pigeon", "roof"),
    ],
)
def test_given_address_that_cannot_be_when_put_down_then_refused(
    admin: httpx.Client, channel: str, address: str
) -> None:
    wanted = {
        "recipient_id": "r-bad",
        "name": "x",
        "region_code": "640200",
        "channel": channel,
        "address": address,
    }
    assert admin.post(RECIPIENTS, json=wanted).status_code == 422


def test_given_a_recipient_when_added_or_removed_then_the_log_says_by_whom(
    admin: httpx.Client,
) -> None:
    wanted = {
        "recipient_id": "on-premise",
        "name": "县级平台",
        "region_code": "640202",
        "channel": "webhook",
        "address": "http://127.0.0.1:9/alerts",
    }
    with structlog.testing.capture_logs() as logs:
        assert admin.post(RECIPIENTS, json=wanted).status_code == 201
        assert admin.delete(f"{RECIPIENTS}/on-premise").status_code == 204
    told = [entry for entry in logs if entry["event"] == "recipient_changed"]
    assert [entry["change"] for entry in told] == ["added", "removed"]
    assert {(entry["recipient_id"], entry["key_id"]) for entry in told} == {
        ("on-premise", "admin-000000")
    }


def test_given_county_cdc_when_recipients_are_managed_then_only_its_own(api: Api) -> None:
    wanted = {
        "recipient_id": "county-duty",
        "name": "值班",
        "region_code": "640205",
        "channel": "email",
        "address": "duty@county.example",
        "level": 1,
    }
    with api.client(Role.CDC, "640205") as county, api.client(Role.CDC, "640221") as other:
        wider = county.post(RECIPIENTS, json={**wanted, "region_code": "640200"})
        assert (wider.status_code, wider.json()["code"]) == (403, "out_of_scope")
        made = county.post(RECIPIENTS, json=wanted)
        assert made.json()["secret"] is None
        mine = county.get(RECIPIENTS).json()["items"]
        assert [item["recipient_id"] for item in mine] == ["county-duty"]
        assert other.get(RECIPIENTS).json()["items"] == []
        assert other.get(made.headers["location"]).status_code == 404
        assert other.delete(made.headers["location"]).status_code == 404
        assert county.delete(made.headers["location"]).status_code == 204


def test_given_deliveries_when_listed_then_masked_and_paged(
    fire: Fire, api: Api, admin: httpx.Client
) -> None:
    alert_id = fire()
    at = datetime(2026, 3, 2, 0, 1, tzinfo=UTC)
    for recipient, channel, address in (
        ("duty-1", "email", "duty@county.example"),
        ("system-1", "webhook", "https://city.example/secret-path"),
    ):
        body = {
            "recipient_id": recipient,
            "name": "值班",
            "region_code": "640202",
            "channel": channel,
            "address": address,
        }
        assert admin.post(RECIPIENTS, json=body).status_code == 201
    with api.deps.pool.connection() as conn:
        conn.execute(
            "INSERT INTO outbox (key, alert_id, kind, severity, region_code, payload, created_at)"
            " VALUES (%s, %s, 'fired', 'major', '640202', '{}', %s)",
            (f"{alert_id}:fired:1", alert_id, at),
        )
        conn.execute(
            "INSERT INTO delivery (outbox_id, alert_id, recipient_id, channel, level, key, state,"
            " attempts, next_at, created_at, last_error)"
            " SELECT o.id, o.alert_id, r.recipient_id, r.channel, 0, r.recipient_id, 'queued', 2,"
            " %(at)s, %(at)s, 'HTTP 503' FROM outbox o, recipient r WHERE o.alert_id = %(id)s"
            " ORDER BY r.recipient_id",
            {"at": at, "id": alert_id},
        )
    place = f"{ALERTS}/{alert_id}/deliveries"
    first = admin.get(place, params={"limit": 1}).json()
    second = admin.get(place, params={"limit": 1, "cursor": first["next"]}).json()
    assert first["items"][0]["address"] == "d***@county.example"
    assert second["items"][0]["address"] == "https://city.example/***"
    assert (second["items"][0]["state"], second["items"][0]["attempts"]) == ("queued", 2)
    assert second["items"][0]["last_error"] == "HTTP 503"
    assert second["next"] is None


def test_given_profile_when_rules_are_published_then_versions_are_listed(
    admin: httpx.Client, api: Api
) -> None:
    profile = {
        "profile_id": "cold-2-8",
        "name": "冷藏",
        "temperature_c_min": 2.0,
        "temperature_c_max": 8.0,
        "source": "label",
    }
    rule = {
        "rule_id": "high_8",
        "side": "high",
        "limit_c": 8,
        "raise_after_min": 30,
        "severity": "major",
    }
    wanted = {
        "profile_id": "cold-2-8",
        "effective_from": "2026-03-02T08:00:00+08:00",
        "rules": [rule],
    }
    unknown = admin.post(RULE_SETS, json=wanted)
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_profile")
    assert admin.post("/api/v1/profiles", json=profile).status_code == 201
    made = admin.post(RULE_SETS, json=wanted)
    assert made.status_code == 201, made.text
    assert admin.post(RULE_SETS, json=wanted).status_code == 200  # the same again
    later = {
        **wanted,
        "effective_from": "2026-04-01T00:00:00Z",
        "rules": [{**rule, "raise_after_min": 20}],
    }
    assert admin.post(RULE_SETS, json=later).json()["version"] == 2
    backwards = admin.post(RULE_SETS, json=wanted)
    assert (backwards.status_code, backwards.json()["code"]) == (409, "rules_not_later")
    newest = admin.get(made.headers["location"]).json()
    assert (newest["version"], newest["rules"][0]["raise_after_min"]) == (2, 20)
    first = admin.get(RULE_SETS, params={"limit": 1}).json()
    second = admin.get(RULE_SETS, params={"limit": 1, "cursor": first["next"]}).json()
    assert [item["version"] for item in first["items"] + second["items"]] == [1, 2]
    assert first["items"][0]["effective_from"] == "2026-03-02T00:00:00Z"
    with api.client(Role.ADMIN, "640200") as regional:
        assert regional.post(RULE_SETS, json=later).status_code == 403
