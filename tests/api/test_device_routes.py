"""Gaps, wrong clocks and commands over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from domain.cold_chain.commands import EXPIRES_MS
from domain.shared.roles import Role
from tests.api.world import build
from tests.conftest import Database
from tests.served import Api

COMMANDS = "/api/v1/devices/dwk-log-1/commands"
BACKFILL = {"cmd": "backfill", "arguments": {"boot": 3, "from": 10, "to": 19}}


@pytest.fixture(scope="module")
def found_out(api: Api, database: Database) -> Iterator[httpx.Client]:
    """Give a client of a world whose device has three gaps and a slow clock."""
    with api.client() as client:
        build(client)
        database.query("INSERT INTO device_no (device_id) VALUES ('dwk-log-1')")
        database.query(
            "INSERT INTO gap (device_no, first, past, missing, gateway_id, region_code, state,"
            " opened_at, due_at) SELECT device_no, (3::bigint << 40) + n,"
            " (3::bigint << 40) + n + 5, 4, 'dwk-gw-1', '640202',"
            " CASE n WHEN 20 THEN 'filled' ELSE 'open' END,"
            " '2026-03-02T00:00Z', '2026-03-02T00:00Z'"
            " FROM device_no, generate_series(10, 30, 10) AS n"
        )
        database.query(
            "INSERT INTO device_clock (device_id, severity, offset_ms, since)"
            " VALUES ('dwk-log-1', 'minor', 90000, '2026-03-02T00:00Z')"
        )
        yield client


def test_given_gaps_when_listed_then_in_the_numbers_of_the_device_page_by_page(
    api: Api, found_out: httpx.Client
) -> None:
    listed = found_out.get("/api/v1/gaps", params={"device_id": "dwk-log-1"}).json()["items"]
    assert [(gap["boot"], gap["first_seq"], gap["past_seq"]) for gap in listed] == [
        (3, 10, 15),
        (3, 20, 25),
        (3, 30, 35),
    ]
    asked: dict[str, Any] = {"state": "open", "limit": 1}
    first = found_out.get("/api/v1/gaps", params=asked).json()
    second = found_out.get("/api/v1/gaps", params={**asked, "cursor": first["next"]}).json()
    assert [*first["items"], *second["items"]] == [listed[0], listed[2]]
    assert second["next"] is None
    with api.client(Role.CDC, "640205") as other:
        assert other.get("/api/v1/gaps").json()["items"] == []
        assert other.get("/api/v1/clocks").json()["items"] == []


def test_given_a_wrong_clock_when_listed_then_with_its_offset(found_out: httpx.Client) -> None:
    (clock,) = found_out.get("/api/v1/clocks", params={"region": "640202"}).json()["items"]
    assert (clock["device_id"], clock["severity"], clock["offset_ms"]) == (
        "dwk-log-1",
        "minor",
        90_000,
    )


def test_given_a_device_when_something_is_asked_then_handed_to_ingest_once(
    api: Api, found_out: httpx.Client, database: Database
) -> None:
    headers = {"Idempotency-Key": "ask-1"}
    asked = found_out.post(COMMANDS, json=BACKFILL, headers=headers)
    assert asked.status_code == 201, asked.text
    assert found_out.post(COMMANDS, json=BACKFILL, headers=headers).json() == asked.json()
    (one,) = found_out.get("/api/v1/device-commands").json()["items"]
    assert one == found_out.get(asked.headers["location"]).json()
    assert (one["cmd"], one["arguments"]) == (BACKFILL["cmd"], BACKFILL["arguments"])
    assert (one["state"], one["answer"], one["actor_id"]) == ("waiting", "", "admin-000000")
    api.clock.advance(milliseconds=EXPIRES_MS, seconds=1)
    assert found_out.get(asked.headers["location"]).json()["state"] == "expired"
    database.query("UPDATE device_command SET state = 'applied'")
    assert found_out.get(asked.headers["location"]).json()["state"] == "applied"
    with api.client(Role.CDC, "640205") as other:
        assert other.get("/api/v1/device-commands").json()["items"] == []
        assert other.get(asked.headers["location"]).status_code == 404
        assert other.post(COMMANDS, json=BACKFILL).json()["code"] == "unknown_device"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"cmd": "backfill"}, "bad_arguments"),
        ({"cmd": "identify", "arguments": {"from": 1}}, "bad_arguments"),
        ({"cmd": "reboot"}, "bad_field"),
    ],
)
def test_given_a_command_that_no_device_knows_when_asked_then_refused(
    found_out: httpx.Client, body: dict[str, Any], code: str
) -> None:
    answer = found_out.post(COMMANDS, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_given_more_commands_than_a_page_when_listed_then_all_in_order(
    api: Api, found_out: httpx.Client
) -> None:
    for _ in range(3):
        api.clock.set(api.clock.now() + timedelta(seconds=1))
        assert found_out.post(COMMANDS, json={"cmd": "identify"}).status_code == 201
    path, asked = "/api/v1/device-commands", {"device_id": "dwk-log-1", "limit": "2"}
    page = found_out.get(path, params=asked).json()
    found = page["items"]
    while page["next"]:
        page = found_out.get(path, params={**asked, "cursor": page["next"]}).json()
        found += page["items"]
    times = [command["issued_at"] for command in found]
    assert times == sorted(times)
    assert len({command["command_id"] for command in found}) == len(found) >= 3
    bad = found_out.get(path, params={"cursor": "WyJ4IiwgIngiXQ"})
    assert bad.json()["code"] == "bad_cursor"
