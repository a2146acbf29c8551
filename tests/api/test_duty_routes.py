"""Persons, duties, leave, trial calls, closing and handing over, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from domain.alerting import model
from domain.shared.ids import stream_id
from domain.shared.roles import Role
from store.envelope import Envelope, Meta
from tests.alerts.notices_of import FIRED_AT, fired, resolved
from tests.api.world import build
from tests.served import Api

V1 = "/api/v1"
PLACE = {"region_code": "640202", "site_id": "dwk-cdc"}
MOMENT = "2026-03-02T00:00:00Z"


@pytest.fixture(scope="module")
def cdc(api: Api) -> Iterator[httpx.Client]:
    """Give a client of the CDC of the city, with three people on duty at the clinic."""
    with api.client() as admin:
        build(admin)
    with api.client(Role.CDC, "640200") as client:
        for number in (1, 2, 3):
            put_down(client, number)
        yield client


def put_down(client: httpx.Client, number: int, **duty: Any) -> None:
    """Put down a person with a phone, and on duty."""
    person, contact = f"p{number}", {"region_code": "640202", "person_id": f"p{number}"}
    body = {"name": f"马{number}", "region_code": "640202"}
    assert client.put(f"{V1}/persons/{person}", json=body).status_code == 200
    phone = {"channel": "sms", "address": f"1380000000{number}", "name": "手机", **contact}
    made = client.post(f"{V1}/recipients", json={"recipient_id": f"c{number}", **phone})
    assert made.status_code == 201, made.text
    given = {"duty_id": f"d{number}", "person_id": person, "begins_at": MOMENT, **PLACE, **duty}
    answer = client.post(f"{V1}/duties", json=given)
    assert answer.status_code == 201, answer.text


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, str(answer.json()["code"])


def test_given_three_people_when_a_change_would_leave_two_then_refused_in_both_languages(
    cdc: httpx.Client,
) -> None:
    assert cdc.get(f"{V1}/alert-floor").json()["items"] == [
        {
            "site_id": "szs",
            "name": "石嘴山市疾控中心",
            "region_code": "640200",
            "people": 0,
            "since": MOMENT,
        }
    ]
    leave = {"leave_id": "l1", "person_id": "p1"}
    leave |= {"begins_at": "2026-03-05T00:00:00Z", "ends_at": "2026-03-06T00:00:00Z"}
    for answer in (
        cdc.delete(f"{V1}/recipients/c1"),
        cdc.post(f"{V1}/duties/d1/ending"),
        cdc.post(f"{V1}/leaves", json=leave),
    ):
        assert refused(answer) == (409, "floor_undercut")
        assert "少于三人" in answer.text
        assert "fewer" in answer.text
    assert cdc.get(f"{V1}/leaves").json()["items"] == []
    assert cdc.get(f"{V1}/duties", params={"at": MOMENT}).json()["items"][0]["ends_at"] is None
    put_down(cdc, 4)
    assert cdc.post(f"{V1}/leaves", json=leave).status_code == 201
    assert refused(cdc.post(f"{V1}/duties/d2/ending")) == (409, "floor_undercut")
    assert cdc.post(f"{V1}/leaves/l1/ending").status_code == 200
    assert refused(cdc.delete(f"{V1}/persons/p4")) == (409, "person_on_duty")
    assert cdc.post(f"{V1}/duties/d4/ending").status_code == 200
    assert cdc.delete(f"{V1}/persons/p4").status_code == 204
    assert refused(cdc.get(f"{V1}/recipients/c4")) == (404, "unknown_recipient")


def test_given_people_when_put_down_wrongly_then_said(cdc: httpx.Client, api: Api) -> None:
    with api.client(Role.CDC, "640221") as elsewhere:
        assert refused(elsewhere.get(f"{V1}/persons/p1")) == (404, "unknown_person")
        mine = {"name": "别处", "region_code": "640221"}
        assert elsewhere.put(f"{V1}/persons/p1", json=mine).status_code == 403
    contact = {"recipient_id": "x", "name": "x", "region_code": "640202", "person_id": "p2"}
    same = contact | {"channel": "sms", "address": "+8613800000001"}
    siren = contact | {"channel": "siren", "address": "dwk-log-1"}
    nobody = same | {"person_id": "p99"}
    asked = [(same, "contact_taken"), (siren, "no_contact"), (nobody, "unknown_person")]
    for body, code in asked:
        assert refused(cdc.post(f"{V1}/recipients", json=body))[1] == code
    duty = {"duty_id": "x", "person_id": "p1", "begins_at": MOMENT, **PLACE}
    wrong = [
        ({"site_id": "szs"}, "unknown_site"),
        ({"deputy_id": "p99"}, "unknown_person"),
        ({"deputy_id": "p1"}, "own_deputy"),
        ({"ends_at": "2026-03-01T00:00:00Z"}, "bad_period"),
        ({"duty_id": "d1"}, "duty_exists"),
    ]
    for fields, code in wrong:
        assert refused(cdc.post(f"{V1}/duties", json=duty | fields))[1] == code
    taken = {"name": "马", "region_code": "640202", "key_id": "k"}
    assert cdc.put(f"{V1}/persons/p1", json=taken).status_code == 200
    assert refused(cdc.put(f"{V1}/persons/p2", json=taken)) == (409, "key_taken")
    assert cdc.put(f"{V1}/persons/p1", json=taken | {"key_id": ""}).status_code == 200
    (phone,) = cdc.get(f"{V1}/persons/p1").json()["contacts"]
    assert (phone["address"], phone["rank"]) == ("138****0001", 1)


def test_given_a_chain_when_read_then_who_is_told_after_how_long(cdc: httpx.Client) -> None:
    put_down(cdc, 5, region_code="640200", site_id="", level=2, severity_min="major")
    found = cdc.get(f"{V1}/alert-chain", params={"site_id": "dwk-cdc"}).json()
    assert [(link["person_id"], link["level"]) for link in found["links"]] == [
        *(("p1", 0), ("p2", 0), ("p3", 0)),
        ("p5", 2),
    ]
    last = found["links"][-1]
    assert last["after_min"] == {"info": None, "minor": None, "major": 20, "critical": 20}
    assert found["repeat_min"] == {"info": None, "minor": 240, "major": 60, "critical": 15}


def test_given_a_trial_call_when_made_then_its_people_are_named_and_what_became_of_it(
    cdc: httpx.Client, api: Api
) -> None:
    body = {"call_id": "trial-1", **PLACE}
    made = cdc.post(f"{V1}/trial-calls", json=body)
    assert made.status_code == 201, made.text
    found = cdc.get(f"{V1}/trial-calls/trial-1").json()
    assert {"p1", "p2", "p3"} <= set(found["person_ids"])
    assert (found["reached"], found["missed"]) == ([], found["person_ids"])
    (listed,) = cdc.get(f"{V1}/trial-calls").json()["items"]
    assert listed["call_id"] == "trial-1"
    assert refused(cdc.post(f"{V1}/trial-calls", json=body)) == (409, "call_exists")
    nobody = {"call_id": "trial-2", "region_code": "530000"}
    with api.client() as admin:
        assert refused(admin.post(f"{V1}/trial-calls", json=nobody)) == (422, "nobody_on_duty")


def test_given_a_critical_alert_when_handed_over_and_closed_then_by_two_and_on_record(
    cdc: httpx.Client, api: Api
) -> None:
    alert_id = str(stream_id("alerting.episode", "TH-duty", "t1", "high", 1))
    meta = Meta(occurred_at=FIRED_AT, recorded_at=FIRED_AT)
    stream = model.episode_stream(alert_id)
    event = fired(alert_id=alert_id, severity="critical")
    event = replace(event, site_id="dwk-cdc", unit_id="dwk-room-1")
    api.followed(api.deps.ledger.append([Envelope(stream, 1, event, meta)]))
    keys = {"p1": "store_keeper-640202", "p2": "clinic-640202"}
    keeper = api.client(Role.STORE_KEEPER, "640202")
    nurse = api.client(Role.CLINIC, "640202")
    for person_id, key in keys.items():
        body = {"name": f"马{person_id}", "region_code": "640202", "key_id": key}
        assert cdc.put(f"{V1}/persons/{person_id}", json=body).status_code == 200
    with keeper, nurse:
        asked = {"site_id": "dwk-cdc"}
        quiet = {"silence_id": "q1", "reason": "夜间", **PLACE, "begins_at": MOMENT}
        quiet |= {"ends_at": "2026-03-02T08:00:00Z", "unit_id": "dwk-room-1"}
        assert keeper.post(f"{V1}/silences", json=quiet).status_code == 201
        note = keeper.get(f"{V1}/hand-over", params=asked).json()
        assert "未结告警：1 条" in note["note_zh"]
        assert "尚无人处理，2026-03-02 08:10 升级" in note["note_zh"]
        until = "dwk-room-1 2026-03-02 08:00 至 2026-03-02 16:00：夜间（马p1）"
        assert until in note["note_zh"]
        place = f"{V1}/alerts/{alert_id}"
        said = {"comment": "门未关严，已关好"}
        taken = keeper.post(f"{place}/acknowledgements", json=said, headers={"If-Match": '"0"'})
        assert taken.status_code == 201
        note = nurse.get(f"{V1}/hand-over", params=asked).json()
        assert "马p1 处理中，自 2026-03-02 08:00 至 2026-03-02 08:30：门未关严" in note["note_zh"]
        assert "马p1 is on it since" in note["note_en"]
        assert note["alerts"][0]["said"][1].startswith("[critical] Temperature alert")
        closing = {"disposition": "no_effect", "comment": "疫苗已核对"}
        at = {"If-Match": '"1"'}
        early = keeper.post(f"{place}/closings", json=closing, headers=at)
        assert refused(early) == (409, "alert_fires")
        over = resolved(alert_id)
        api.followed(api.deps.ledger.append([Envelope(stream, 2, over, meta)]))
        assert keeper.post(f"{place}/closings", json=closing, headers=at).status_code == 200
        note = nurse.get(f"{V1}/hand-over", params=asked).json()
        assert "马p1 已提议关闭，待第二人确认" in note["note_zh"]
        at = {"If-Match": '"2"'}
        alone = keeper.post(f"{place}/closings", json=closing, headers=at)
        assert refused(alone) == (409, "second_person")
        assert nurse.post(f"{place}/closings", json=closing, headers=at).status_code == 200
        closed = nurse.get(place).json()
        assert (closed["state"], closed["disposition"]) == ("closed", "no_effect")
        assert (closed["closing_by"], closed["closed_by"]) == (keys["p1"], keys["p2"])
        (listed,) = nurse.get(f"{V1}/alerts", params={"state": "closed"}).json()["items"]
        assert listed == closed
    assert cdc.get(f"{place}/people").json() == {"items": []}
