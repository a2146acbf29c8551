"""Over HTTP: devices that spoke unregistered are seen, enrolled, and their messages stored."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from api.enrolment import SHOWN_BYTES_MAX, UNKNOWN_LIMIT_MAX
from domain.shared.roles import Role
from ingest.batch import Received
from ingest.worker import Worker
from projections import cold_chain as read
from tests.api.world import build
from tests.conftest import START, Database
from tests.ingest import field
from tests.served import Api

NOW_MS = int(START.timestamp() * 1000)
UNKNOWN, ENROLMENTS = "/api/v1/unknown-devices", "/api/v1/enrolments"
SITE = {"region_code": "640202", "site_id": "dwk-cdc"}


@pytest.fixture(scope="module")
def world(api: Api) -> Iterator[httpx.Client]:
    """Give an administrator's client of the small world."""
    with api.client() as client:
        build(client)
        yield client


@pytest.fixture
def worker(database: Database, api: Api) -> Iterator[Worker]:
    """Give the part of ingest that stores, on the same database."""
    made = field.started(database.app_dsn, api.clock)
    yield made
    made.close()


def single(place: str, device: str, seq: int, kind: str = "tele") -> Received:
    body = {"v": 1, "boot": 1, "seq": seq, "ts": NOW_MS - 3_600_000 + seq * 120_000}
    return field.message(f"cc/v1/{place}/{kind}/{device}", {**body, "m": {"t1": 4.0, "rh": 50}})


def waiting(client: httpx.Client, device_id: str, gateway_id: str = "gw-x") -> dict[str, object]:
    found = client.get(UNKNOWN, params={"limit": 500}).json()["items"]
    wanted = (gateway_id, device_id)
    return next((i for i in found if (i["gateway_id"], i["device_id"]) == wanted), {})


def test_given_unknown_devices_when_listed_then_with_what_they_seem_to_be(
    world: httpx.Client, worker: Worker
) -> None:
    place = "640202/dwk-cdc/gw-seen"
    report = field.message(f"cc/v1/{place}/event/other", {"ts": NOW_MS, "kind": "door"})
    worker.take([*(single(place, "seen", seq) for seq in range(7)), report])
    found = waiting(world, "seen", "gw-seen")
    assert (found["messages"], found["site_known"], found["gateway_known"]) == (7, True, False)
    assert (found["channels"], found["interval_s"]) == (["t1", "rh"], 120)
    assert found["topic"] == f"cc/v1/{place}/tele/seen"
    assert json.loads(str(found["payload"]))["boot"] == 1
    assert found["region_code"] == "640202"
    other = waiting(world, "other", "gw-seen")
    assert (other["channels"], other["interval_s"], other["messages"]) == ([], None, 1)


def test_given_an_unknown_device_when_enrolled_then_its_messages_are_stored(
    world: httpx.Client, worker: Worker, database: Database
) -> None:
    place = "640202/dwk-cdc/gw-x"
    worker.take([single(place, "new-1", seq) for seq in range(3)])
    probe = {"channel": "t1", "unit_id": "dwk-room-1", "placed_at": "2026-03-01T00:00:00Z"}
    body = SITE | {"gateway_id": "gw-x", "device_id": "new-1", "probes": [probe]}
    made = world.post(ENROLMENTS, json=body)
    assert made.status_code == 201, made.text
    assert made.json()["location"] == "/api/v1/devices/new-1"
    worker.replay()
    stored = "SELECT count(*) FROM reading JOIN device_no USING (device_no) WHERE device_id = %s"
    assert database.query(stored, "new-1") == [(3,)]
    assert waiting(world, "new-1") == {}
    device = world.get("/api/v1/devices/new-1").json()
    assert (device["channels"], device["interval_s"]) == (["t1", "rh"], 120)
    assert world.get("/api/v1/gateways/gw-x").json()["site_id"] == "dwk-cdc"
    placed = world.get("/api/v1/probes", params={"device_id": "new-1"}).json()["items"]
    assert [(p["channel"], p["unit_id"]) for p in placed] == [("t1", "dwk-room-1")]
    again = world.post(ENROLMENTS, json=body)
    assert (again.status_code, again.json()["version"]) == (200, 2)


def test_given_an_unknown_gateway_when_enrolled_then_its_status_is_stored(
    world: httpx.Client, worker: Worker, database: Database
) -> None:
    status = field.message("cc/v1/640202/dwk-cdc/gw-solo/status", {"online": True})
    worker.take([status])
    assert waiting(world, "", "gw-solo")["messages"] == 1
    body = SITE | {"gateway_id": "gw-solo", "device_id": ""}
    assert world.post(ENROLMENTS, json=body).status_code == 201
    worker.replay()
    resolved = "SELECT state FROM quarantine WHERE topic = %s"
    assert database.query(resolved, status.topic) == [("resolved",)]


def test_given_sparkplug_from_an_unknown_device_when_enrolled_then_asked_for_its_site(
    world: httpx.Client, worker: Worker, database: Database
) -> None:
    topics = [f"spBv1.0/640202/{place}" for place in ("NBIRTH/gw-sp", "DDATA/gw-sp/sp-1")]
    worker.take([Received(topic, b"\x08\x01") for topic in topics])
    found = waiting(world, "sp-1", "gw-sp")
    assert (found["site_id"], found["site_known"], found["gateway_known"]) == ("", False, False)
    assert (found["topic"], found["channels"]) == (topics[1], [])
    body = SITE | {"gateway_id": "gw-sp", "device_id": "sp-1"}
    unsaid = world.post(ENROLMENTS, json=body)
    assert (unsaid.status_code, unsaid.json()["field"]) == (422, "channels")
    named = {"channels": ["t1"], "interval_s": 60}
    assert world.post(ENROLMENTS, json=body | named).status_code == 201
    asked = "SELECT state FROM quarantine WHERE topic = ANY(%s)"
    assert database.query(asked, topics) == [("replay",), ("replay",)]
    worker.replay()
    left = "SELECT code FROM quarantine WHERE topic = ANY(%s) AND state = 'open'"
    assert database.query(left, topics) == [("clock",)]  # this one's time is the fault now


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"site_id": "nowhere"}, 422, "unknown_site"),
        ({"site_id": "szs"}, 422, "unknown_site"),  # registered, but in another region
        ({"gateway_id": "gw-silent"}, 404, "nothing_waits"),
        ({"device_id": ""}, 404, "nothing_waits"),
        ({"device_id": "mute"}, 422, "no_suggestion"),
        ({"gateway_id": "dwk-gw-1", "device_id": "dwk-log-1", "interval_s": 60}, 409, ""),
        (
            {"probes": [{"channel": "t1", "unit_id": "no", "placed_at": "2026-03-01T00:00:00Z"}]},
            422,
            "unknown_unit",
        ),
        (
            {"probes": [{"channel": "t1", "unit_id": "no", "placed_at": "2026-03-03T00:00:00Z"}]},
            422,
            "in_future",
        ),
    ],
)
def test_given_what_cannot_be_enrolled_when_tried_then_refused(
    world: httpx.Client, worker: Worker, change: dict[str, object], status: int, code: str
) -> None:
    place = "640202/dwk-cdc/gw-y"
    report = field.message(f"cc/v1/{place}/event/mute", {"ts": NOW_MS, "kind": "door"})
    worker.take([single(place, "new-2", 1), single(place, "new-2", 2), report])
    body = SITE | {"gateway_id": "gw-y", "device_id": "new-2"} | change
    answer = world.post(ENROLMENTS, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code or "already_registered")
    assert waiting(world, "new-2", "gw-y")["messages"] == 2


def test_given_a_county_key_when_others_devices_wait_then_neither_seen_nor_enrolled(
    api: Api, world: httpx.Client, worker: Worker
) -> None:
    assert world is not None
    worker.take([single("640202/dwk-cdc/gw-z", "far", seq) for seq in range(2)])
    with api.client(Role.CDC, "640205") as county:
        assert waiting(county, "far", "gw-z") == {}
        body = SITE | {"gateway_id": "gw-z", "device_id": "far"}
        refused = county.post(ENROLMENTS, json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "out_of_scope")


def test_given_a_device_moved_away_when_its_former_county_enrols_it_then_refused(
    api: Api, world: httpx.Client
) -> None:
    known = {"gateway_id": "gw-left", "device_id": "left"}
    away = {"gateway_id": "gw-away", "site_id": "szs"}
    for kind, body in (
        ("gateways", {"gateway_id": "gw-left", "site_id": "dwk-cdc"}),
        ("gateways", away),
        ("devices", {**known, "channels": ["t1"], "interval_s": 300}),
    ):
        assert world.post(f"/api/v1/{kind}", json=body).status_code == 201
    etag = world.get("/api/v1/devices/left").headers["etag"]
    moved = {"gateway_id": "gw-away", "moved_at": "2026-03-01T12:00:00Z"}
    path = "/api/v1/devices/left/moves"
    assert world.post(path, json=moved, headers={"If-Match": etag}).is_success
    probe = {"channel": "t1", "unit_id": "dwk-room-1", "placed_at": "2026-03-01T13:00:00Z"}
    with api.client(Role.CDC, "640202") as county:
        refused = county.post(ENROLMENTS, json=SITE | known | {"probes": [probe]})
    assert (refused.status_code, refused.json()["code"]) == (403, "out_of_scope")
    assert world.get("/api/v1/probes", params={"device_id": "left"}).json()["items"] == []


def test_given_many_unknown_devices_when_listed_then_fifty_at_most_and_no_more_of_others_than_shown(
    world: httpx.Client, worker: Worker, database: Database
) -> None:
    places = [f"cc/v1/640202/dwk-cdc/gw-many/event/many-{n}" for n in range(51)]
    body = {"ts": NOW_MS, "kind": "door", "note": "门" * 9_000}
    worker.take([field.message(topic, body) for topic in places])
    listed = world.get(UNKNOWN, params={"limit": 500}).json()
    assert len(listed["items"]) == UNKNOWN_LIMIT_MAX
    assert listed["next"] is not None
    with psycopg.connect(database.app_dsn) as conn:
        ((_, payload),) = read.unknown_samples(conn, places[:1], 5, SHOWN_BYTES_MAX)
    assert len(payload) == SHOWN_BYTES_MAX
