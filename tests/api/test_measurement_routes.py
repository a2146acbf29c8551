"""Newest values, readings, evidence and the quarantine over HTTP."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest

from domain.shared.roles import Role
from tests.api.world import build
from tests.conftest import Database
from tests.served import Api

READINGS = "/api/v1/readings"
SPAN = {"device_id": "dwk-log-1", "from": "2026-03-02T00:00:00Z", "to": "2026-03-02T04:00:00Z"}
MESSAGE = UUID(int=7)


@pytest.fixture(scope="module")
def measured(api: Api, database: Database) -> Iterator[httpx.Client]:
    """Give a client of a world whose device has spoken for three hours and was refused once."""
    with api.client() as client:
        build(client)
        database.query("SELECT ensure_reading_partitions('2026-03-02', '2026-03-02')")
        database.query("INSERT INTO device_no (device_id) VALUES ('dwk-log-1')")
        database.query(
            "INSERT INTO batches (batch, telemetry_id, recorded_at) VALUES "
            "(1001, 0, '2026-03-02T03:00Z'), (1002, 1000000, '2026-03-02T03:10Z')"
        )
        database.query(
            "INSERT INTO reading (device_no, ts, boot, seq, batch, backfill, t1) "
            "SELECT device_no, timestamptz '2026-03-02T00:00Z' + n * interval '1 minute', "
            "1, n, CASE WHEN n < 180 THEN 1001 ELSE 1002 END, false, "
            "CASE n WHEN 60 THEN 12.5 ELSE 5 END "
            "FROM device_no, generate_series(0, 180) AS n"
        )
        database.query(
            "INSERT INTO quarantine (id, topic, payload, code, detail, received_at) VALUES "
            "(%s, 'cc/v1/640202/dwk-cdc/dwk-gw-1/tele/nobody', 'x', 'unknown_device', '…', now())",
            MESSAGE,
        )
        yield client


def test_given_readings_when_asked_thinned_then_the_peak_is_there(measured: httpx.Client) -> None:
    answer = measured.get(READINGS, params={**SPAN, "points": "10"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["decimated"] is True
    assert max(body["v"]) == 12.5
    assert len(body["t"]) == len(body["v"]) <= 10


def test_given_readings_known_later_when_asked_as_of_before_then_not_there(
    measured: httpx.Client,
) -> None:
    body = measured.get(READINGS, params={**SPAN, "as_of": "L0.T0"}).json()
    assert (body["rows"], body["as_of"]) == (180, "L0.T0")
    by_alias = measured.get(READINGS, params={**SPAN, "as_of": "L0.T0", "channel": "temperature"})
    assert by_alias.json()["v"] == body["v"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"from": "2026-03-02T04:00:00Z"}, "bad_span"),
        ({"from": "2016-03-02T04:00:00Z"}, "bad_span"),
        ({"to": "2026-02-30T04:00:00Z"}, "bad_time"),
        ({"to": "2026-03-02"}, "bad_field"),
    ],
)
def test_given_a_bad_span_when_asked_then_refused(
    measured: httpx.Client, params: dict[str, str], code: str
) -> None:
    answer = measured.get(READINGS, params={**SPAN, **params})
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_given_a_device_when_latest_asked_then_listed_for_its_region_only(
    api: Api, measured: httpx.Client
) -> None:
    found = measured.get("/api/v1/latest", params={"region": "640202"}).json()["items"]
    assert [item["device_id"] for item in found] == ["dwk-log-1"]
    with api.client(Role.CDC, "640205") as other:
        assert other.get("/api/v1/latest").json()["items"] == []
        assert other.get(READINGS, params=SPAN).status_code == 404


def test_given_a_file_when_kept_then_given_back_byte_for_byte(measured: httpx.Client) -> None:
    content = base64.b64encode(b"\x00\xffdaily summaries only").decode()
    body = {"filename": "tag.txt", "kind": "fridge_tag_2", "content_base64": content}
    kept = measured.post("/api/v1/evidence", json=body)
    assert kept.status_code == 201, kept.text
    assert measured.post("/api/v1/evidence", json=body).status_code == 200
    assert measured.get(kept.headers["location"]).json()["content_base64"] == content
    listed = measured.get("/api/v1/evidence").json()["items"]
    assert [item["size_bytes"] for item in listed] == [22]
    refused = measured.post("/api/v1/evidence", json=body | {"content_base64": "====="})
    assert refused.json()["code"] == "bad_base64"


def test_given_a_refused_message_when_replayed_then_ingest_is_asked_and_others_see_nothing(
    api: Api, measured: httpx.Client
) -> None:
    path = f"/api/v1/quarantine/{MESSAGE}"
    with api.client(Role.CDC, "640205") as other:
        assert other.get("/api/v1/quarantine").json()["items"] == []
        assert other.post(f"{path}/replay").status_code == 404
    listed = measured.get("/api/v1/quarantine", params={"state": "open"}).json()["items"]
    assert [item["code"] for item in listed] == ["unknown_device"]
    asked = measured.post(f"{path}/replay", headers={"Prefer": "return=minimal"})
    assert (asked.status_code, asked.json()["state"]) == (200, "replay")


def test_given_a_refused_message_when_set_aside_then_it_stays_in_list_and_log(
    api: Api, measured: httpx.Client
) -> None:
    path = f"/api/v1/quarantine/{MESSAGE}"
    for _ in range(2):
        done = measured.post(f"{path}/set-aside")
        assert (done.status_code, done.json()["state"]) == (200, "set_aside")
    assert len(api.deps.telemetry.stream(MESSAGE)) == 1
