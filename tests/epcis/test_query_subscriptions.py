"""Subscribers are told each event once, in order, signed, whatever happens on the way."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from psycopg_pool import ConnectionPool
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from alerts.channels.webhook import Webhook
from alerts.reports import Reporter
from domain.accounts import model as accounts
from domain.accounts.events import ApiKeyRevoked
from domain.shared.roles import Role
from store.commands import Command, execute
from store.envelope import Meta
from tests.alerts.conftest import LOOPBACK, Hit, Hook, serving
from tests.conftest import Database
from tests.epcis.kept import document, object_event, stored
from tests.served import Api

SECRET = "s3cret"


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[httpx.Client]:
    """Give a client of an administrator, who named a query for what was packed."""
    with api.client() as made:
        asked = {"name": "packed", "query": {"EQ_bizStep": ["packing"]}}
        assert made.post("/epcis/queries", json=asked).status_code == 201
        yield made


@pytest.fixture(scope="module")
def reporter(api: Api, database: Database) -> Iterator[Reporter]:
    """Give a reporter that works when it is told to."""
    webhook = Webhook(LOOPBACK)
    with ConnectionPool[psycopg.Connection[Any]](
        database.app_dsn, kwargs={"autocommit": True}, min_size=1, max_size=2, open=True
    ) as pool:
        yield Reporter(pool, webhook, now=api.clock.now)
    webhook.close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Start a subscriber's server."""
    with serving() as made:
        yield made


def keep(api: Api, *names: str, step: str = "packing") -> int:
    """Keep events of these ids, as one document; return its position."""
    events = [object_event(eventID=f"urn:{n}", bizStep=step, epcList=[f"urn:x:{n}"]) for n in names]
    now = api.clock.now()
    position = stored(api.deps.ledger, document(events), region="640200", at=now)
    api.followed(position)
    return position


def subscribed(client: httpx.Client, hook: Hook, **more: Any) -> str:
    """Subscribe a server to what was packed; return where the subscription is."""
    told = {"dest": hook.url, "signatureToken": SECRET, "stream": True} | more
    made = client.post("/epcis/queries/packed/subscriptions", json=told)
    assert made.status_code == 201, made.text
    return str(made.headers["Location"])


def ids(hit: Hit) -> list[str]:
    """Return the ids of the events in a report."""
    return ids_in(hit.json)


def ids_in(told: Any) -> list[str]:
    events = told["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
    return [event["eventID"] for event in events]


def test_given_a_stream_when_events_come_then_each_told_once_in_order_and_signed(
    api: Api, client: httpx.Client, hook: Hook, reporter: Reporter
) -> None:
    keep(api, "before")
    location = subscribed(client, hook)
    keep(api, "a1", "a2")
    keep(api, "other", step="shipping")
    keep(api, "a3")
    for _ in range(3):
        reporter.round()
    assert [ids(hit) for hit in hook.hits] == [["urn:a1", "urn:a2", "urn:a3"]]
    (hit,) = hook.hits
    results = hit.json["epcisBody"]["queryResults"]
    assert results["queryName"] == "packed"
    assert location.endswith(results["subscriptionID"])
    fields = dict(part.split("=", 1) for part in hit.headers["gs1-signature"].split(","))
    signed = hmac.new(SECRET.encode(), fields["t"].encode() + b"." + hit.body, hashlib.sha256)
    assert fields["v1"] == signed.hexdigest()
    assert client.get(location).json()["lastNotifiedAt"]
    client.delete(location)
    keep(api, "a4")
    reporter.round()
    assert len(hook.hits) == 1


def test_given_a_receiver_that_fails_when_it_is_back_then_the_same_report_and_then_the_rest(
    api: Api, client: httpx.Client, hook: Hook, reporter: Reporter
) -> None:
    location = subscribed(client, hook)
    hook.answers = [500, 404]
    keep(api, "b1")
    reporter.round()
    reporter.round()  # too early
    keep(api, "b2")
    api.clock.set(api.clock.now() + timedelta(seconds=1))
    reporter.round()
    assert client.get(location).json()["lastError"] == "HTTP 404"
    api.clock.set(api.clock.now() + timedelta(seconds=5))
    reporter.round()
    assert [ids(hit) for hit in hook.hits] == [["urn:b1"]] * 3 + [["urn:b2"]]
    keys = [hit.headers["idempotency-key"] for hit in hook.hits]
    assert len(set(keys)) == 2
    assert "lastError" not in client.get(location).json()
    client.delete(location)


def test_given_a_query_that_cannot_be_answered_when_events_come_then_said_and_tried_later(
    api: Api, client: httpx.Client, hook: Hook, reporter: Reporter, database: Database
) -> None:
    location = subscribed(client, hook)
    which = location.rpartition("/")[2]
    set_query = "UPDATE epcis_subscription SET query = %s WHERE subscription_id = %s"
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        ((good,),) = conn.execute(
            "SELECT query FROM epcis_subscription WHERE subscription_id = %s", (which,)
        ).fetchall()
        conn.execute(set_query, ('{"EQ_unheard_of": 5}', which))
        keep(api, "w1")
        assert reporter.round() == 1
        assert client.get(location).json()["lastError"] == "Invalid"
        assert reporter.round() == 0  # too early
        conn.execute(set_query, (good, which))
    api.clock.set(api.clock.now() + timedelta(seconds=1))
    reporter.round()
    assert [ids(hit) for hit in hook.hits] == [["urn:w1"]]
    client.delete(location)


def test_given_a_report_too_large_when_told_so_then_smaller_ones(
    api: Api, client: httpx.Client, hook: Hook, reporter: Reporter
) -> None:
    location = subscribed(client, hook)
    hook.answers = [413]
    keep(api, "c1", "c2", "c3")
    reporter.round()
    api.clock.set(api.clock.now() + timedelta(seconds=1))
    reporter.round()
    assert [ids(hit) for hit in hook.hits[1:]] == [["urn:c1"], ["urn:c2"], ["urn:c3"]]
    client.delete(location)


def test_given_a_position_or_time_to_begin_at_when_subscribed_then_told_again_from_there(
    api: Api, client: httpx.Client, hook: Hook, reporter: Reporter
) -> None:
    api.clock.set(api.clock.now() + timedelta(seconds=60))
    since = api.clock.now().isoformat()
    position = keep(api, "d1")
    keep(api, "d2")
    one = subscribed(client, hook, initialPosition=f"L{position}.T0")
    reporter.round()
    other = subscribed(client, hook, initialRecordTime=since)
    reporter.round()
    assert [ids(hit) for hit in hook.hits] == [["urn:d2"], ["urn:d1", "urn:d2"]]
    client.delete(one)
    client.delete(other)


def test_given_a_schedule_when_its_time_comes_then_what_there_is_or_that_there_is_nothing(
    api: Api, client: httpx.Client, hook: Hook, reporter: Reporter
) -> None:
    begin = api.clock.now()
    hourly = {"stream": None, "schedule": {"minute": "30"}, "reportIfEmpty": True}
    location = subscribed(client, hook, **hourly)
    keep(api, "e1")
    reporter.round()
    assert not hook.hits
    for hours in (1, 2):
        api.clock.set(begin + timedelta(hours=hours))
        reporter.round()
        reporter.round()
    assert [ids(hit) for hit in hook.hits] == [["urn:e1"], []]
    client.delete(location)


def test_given_a_key_revoked_when_events_come_then_its_subscriber_is_told_no_more(
    api: Api, client: httpx.Client, hook: Hook, reporter: Reporter
) -> None:
    with api.client(Role.CDC, "640200") as cdc:
        location = subscribed(cdc, hook)
    revoked = ApiKeyRevoked(key_id="cdc-640200", reason="")
    now = api.clock.now()
    stream = accounts.api_key_stream("cdc-640200")
    meta = Meta(occurred_at=now, recorded_at=now)
    made = execute(api.deps.ledger, Command(stream, lambda _: [revoked], meta))
    api.followed(made.position)
    keep(api, "f1")
    reporter.round()
    assert not hook.hits
    assert client.delete(location).status_code == 204


def socket(api: Api, controls: str, name: str = "packed") -> ClientConnection:
    headers = {"Authorization": f"Bearer {api.key()}"}
    url = api.url.replace("http", "ws") + f"/epcis/queries/{name}/events?{controls}"
    return connect(url, additional_headers=headers)


def test_given_a_socket_when_events_come_then_told_until_the_query_goes(
    api: Api, client: httpx.Client
) -> None:
    client.post("/epcis/queries", json={"name": "gone", "query": {"EQ_bizStep": "packing"}})
    with socket(api, "stream=true", "gone") as opened:
        assert opened.response is not None
        assert opened.response.headers["GS1-EPCIS-Version"] == "2.0.0"
        assert opened.response.headers["GS1-Query-Min-Record-Time"]
        keep(api, "g1", "g2")
        assert ids_in(json.loads(opened.recv(timeout=5))) == ["urn:g1", "urn:g2"]
        client.delete("/epcis/queries/gone")
        with pytest.raises(ConnectionClosed) as closed:
            opened.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


@pytest.mark.parametrize(
    ("controls", "name", "status", "kind"),
    [
        ("", "packed", 400, "SubscriptionControlsException"),
        ("stream=true&second=0", "packed", 400, "SubscriptionControlsException"),
        ("second=61", "packed", 400, "SubscriptionControlsException"),
        ("stream=true&color=red", "packed", 400, "SubscriptionControlsException"),
        ("stream=true", "nameless", 404, "NoSuchNameException"),
    ],
)
def test_given_bad_controls_when_a_socket_is_asked_for_then_refused(
    api: Api, client: httpx.Client, controls: str, name: str, status: int, kind: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        socket(api, controls, name)
    response = refused.value.response
    assert response.status_code == status
    assert json.loads(response.body)["type"] == f"epcisException:{kind}"


def test_given_no_upgrade_when_a_stream_is_asked_for_then_refused(client: httpx.Client) -> None:
    answer = client.get("/epcis/queries/packed/events?stream=true")
    assert (answer.status_code, answer.json()["field"]) == (400, "Upgrade")
