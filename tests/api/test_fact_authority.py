"""Who may say what about codes: withdrawals, ids, lots, times, people; what is warned of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from api import custody
from domain.shared.ids import org_check_character
from domain.shared.roles import Role
from tests.api.world import CODE, LOT, build, scan
from tests.served import Api

WAIT = {"Prefer": "wait=5"}
OTHER = "84743542292456873436"


@pytest.fixture(scope="module")
def admin(api: Api) -> Iterator[httpx.Client]:
    with api.client() as client:
        build(client)
        org = {"org_code": "12640205454000000U", "name": "惠农", "region_code": "640205"}
        org["org_code"] = org["org_code"][:17] + org_check_character(org["org_code"][:17])
        site = {"site_id": "hnq", "org_code": org["org_code"], "site_no": 1, "name": "惠农门诊"}
        site |= {"kind": "clinic", "region_code": "640205"}
        assert client.post("/api/v1/organisations", json=org).status_code == 201
        assert client.post("/api/v1/sites", json=site).status_code == 201
        made = scan(api.clock.now(), site="szs", step="commissioning", lot="A2026573", level=1)
        made["codes"] = [CODE, OTHER]
        answer = client.post("/api/v1/scans", json=made, headers=WAIT)
        assert (answer.status_code, answer.json()["warnings"]) == (201, [])
        yield client


def document(api: Api, *events: dict[str, Any]) -> dict[str, Any]:
    at = api.clock.now().isoformat()
    common = {"type": "ObjectEvent", "action": "OBSERVE", "eventTime": at, "epcList": [CODE]}
    place = {"readPoint": {"id": "https://trace.example.org/org/dwk-cdc"}}
    whole = [{**common, "bizStep": "storing", **place, **event} for event in events]
    return {"type": "EPCISDocument", "epcisBody": {"eventList": whole}}


def capture(client: httpx.Client, api: Api, *events: dict[str, Any]) -> httpx.Response:
    return client.post("/api/v1/captures", json=document(api, *events), headers=WAIT)


def place(name: str) -> dict[str, Any]:
    return {"readPoint": {"id": f"urn:x:{name}"}}


def declared(api: Api, fact_id: str, **more: Any) -> dict[str, Any]:
    when = {"declarationTime": api.clock.now().isoformat(), "reason": "did_not_occur"}
    return {"eventID": fact_id, "errorDeclaration": when, **more}


def fact_ids(client: httpx.Client, code: str = CODE) -> set[str]:
    chain = client.get(f"/api/v1/codes/{code}/custody").json()["chain"]
    return {entry["fact_id"] for entry in chain}


def test_given_a_fact_of_another_county_when_withdrawn_by_document_then_refused(
    api: Api, admin: httpx.Client
) -> None:
    body = scan(api.clock.now(), site="dwk-cdc", step="opening", fact_id="mine")
    assert admin.post("/api/v1/scans", json=body, headers=WAIT).status_code == 201
    with api.client(Role.CLINIC, "640205") as other:
        nowhere = capture(other, api, declared(api, "mine", **place("nowhere")))
        assert (nowhere.status_code, nowhere.json()["code"]) == (422, "unknown_site")
        there = capture(other, api, declared(api, "mine"))
        assert (there.status_code, there.json()["code"]) == (403, "out_of_scope")
        own = capture(other, api, declared(api, "mine", **place("hnq")))
        assert (own.status_code, own.json()["code"]) == (404, "unknown_fact")
        early = capture(other, api, declared(api, "early", **place("hnq")))
        assert early.status_code == 201
    body = scan(api.clock.now(), site="dwk-cdc", step="storing", unit="dwk-room-1")
    assert admin.post("/api/v1/scans", json=body | {"fact_id": "early"}, headers=WAIT).is_success
    assert {"mine", "early"} <= fact_ids(admin)
    with api.client(Role.CLINIC, "640202") as clinic:
        assert capture(clinic, api, declared(api, "mine")).status_code == 201
        assert clinic.get("/api/v1/scans/mine").json()["withdrawn"] is True
        assert capture(clinic, api, declared(api, "to-come")).status_code == 201
        assert capture(clinic, api, {"eventID": "to-come"}).status_code == 201
    assert fact_ids(admin) & {"mine", "to-come"} == set()


def test_given_one_id_for_two_facts_when_told_then_the_second_hears_of_it(
    api: Api, admin: httpx.Client
) -> None:
    with api.client(Role.CLINIC, "640205") as other:
        squat = capture(other, api, {"eventID": "squat", **place("hnq")})
        assert squat.status_code == 201
        assert capture(other, api, {"eventID": "sc-1.3.7", **place("hnq")}).json()["code"] == (
            "reserved_fact_id"
        )
    body = scan(api.clock.now(), site="dwk-cdc", step="opening", fact_id="squat")
    assert admin.post("/api/v1/scans", json=body).json()["code"] == "already_registered"
    taken = capture(admin, api, {"eventID": "new"}, {"eventID": "squat"})
    assert (taken.status_code, taken.json()["code"]) == (409, "fact_differs")
    assert "new" not in fact_ids(admin)
    body["fact_id"] = "sc-1.3.7"
    assert admin.post("/api/v1/scans", json=body).json()["code"] == "reserved_fact_id"
    body["fact_id"] = "twice"
    assert admin.post("/api/v1/scans", json=body).status_code == 201
    assert admin.post("/api/v1/scans", json=body).status_code == 200
    later = body | {"at": (datetime.fromisoformat(body["at"]) - timedelta(hours=1)).isoformat()}
    assert admin.post("/api/v1/scans", json=later).json()["code"] == "already_registered"


def test_given_a_whole_lot_when_held_or_released_then_by_authority_only(
    api: Api, admin: httpx.Client
) -> None:
    recall = scan(api.clock.now(), site="szs", step="holding", lot=LOT, recall=True, reason="召回")
    recall |= {"codes": [], "fact_id": "recall"}
    local = recall | {"site": "dwk-cdc", "fact_id": "local"}
    for role in (Role.NURSE, Role.GATEWAY, Role.SUPPLIER, Role.PLATFORM):
        with api.client(role, "640202") as client:
            refused = client.post("/api/v1/scans", json=local)
            assert (refused.status_code, refused.json()["code"]) == (403, "not_permitted")
    with api.client(Role.CDC, "640200") as city:
        for lot in ("A2026573", "8474354.NOLOT"):
            wrong = city.post("/api/v1/scans", json=recall | {"lot": lot})
            assert wrong.json()["code"] in {"bad_lot_id", "unknown_lot"}, wrong.text
            assert wrong.status_code == 422
        assert city.post("/api/v1/scans", json=recall, headers=WAIT).status_code == 201
    later = (api.clock.now() + timedelta(minutes=2)).isoformat()
    end = recall | {"step": "releasing", "fact_id": "end", "site": "dwk-cdc", "at": later}
    end |= {"executer": "N1", "supervisor": "N2"}
    with api.client(Role.CDC, "640202") as county:
        refused = county.post("/api/v1/scans", json=end)
        assert (refused.status_code, refused.json()["code"]) == (403, "out_of_scope")
    quantity = {"epcList": [], "quantityList": [{"epcClass": "https://x/lot/8474354/A2026573"}]}
    with api.client(Role.CLINIC, "640202") as clinic:
        gone = clinic.post(
            "/api/v1/scans/recall/withdrawal", json={"site": "dwk-cdc", "reason": "x"}
        )
        assert gone.status_code == 404
        bound = capture(clinic, api, {"bizStep": "holding", "eventID": "h", **quantity})
        assert (bound.status_code, bound.json()["code"]) == (403, "not_permitted")
        at = api.clock.advance(minutes=1)
        dose = scan(at, site="dwk-cdc", step="dispensing", fact_id="dose")
        assert clinic.post("/api/v1/scans", json=dose | {"codes": [OTHER]}, headers=WAIT).is_success
    found = admin.get(f"/api/v1/codes/{OTHER}/custody").json()
    assert "RECALLED" in found["state"]["flags"]
    assert "RECALLED" in {e["fact_id"]: e["flags"] for e in found["chain"]}["dose"]
    api.clock.advance(minutes=1)
    with api.client(Role.REGULATOR, "640200") as regulator:
        body = scan(api.clock.now(), site="szs", step="opening")
        assert regulator.post("/api/v1/scans", json=body).json()["code"] == "not_permitted"
        alone = regulator.post("/api/v1/scans", json=end | {"supervisor": "N1"})
        assert (alone.status_code, alone.json()["code"]) == (422, "two_persons")
        assert regulator.post("/api/v1/scans", json=end, headers=WAIT).status_code == 201
    assert not admin.get(f"/api/v1/codes/{CODE}/custody").json()["state"]["recalled"]


def test_given_a_time_that_cannot_be_when_told_then_refused(api: Api, admin: httpx.Client) -> None:
    ahead = (api.clock.now() + timedelta(minutes=6)).isoformat()
    for time, code in ((ahead, "clock_ahead"), ("1000-01-01T00:00:00Z", "too_early")):
        captured = capture(admin, api, {"eventID": "ok"}, {"eventID": "bad", "eventTime": time})
        assert (captured.status_code, captured.json()["code"]) == (422, code)
        assert captured.json()["facts"]["event_index"] == 1
        body = scan(api.clock.now(), site="dwk-cdc", step="opening") | {"at": time}
        assert admin.post("/api/v1/scans", json=body).json()["code"] == code
    old = scan(api.clock.now() - timedelta(hours=73), site="dwk-cdc", step="opening")
    assert admin.post("/api/v1/scans", json=old).json()["code"] == "late_without_reason"
    assert admin.post("/api/v1/scans", json=old | {"reason": "停电补录"}).status_code == 201
    with api.client(Role.GATEWAY, "640202") as gateway:
        assert gateway.post("/api/v1/scans", json=old).status_code == 201


def test_given_a_person_or_a_pack_in_itself_when_told_then_refused(
    api: Api, admin: httpx.Client
) -> None:
    dose = scan(api.clock.now(), site="dwk-cdc", step="dispensing")
    for field in ("recipient", "vaccinator"):
        refused = admin.post("/api/v1/scans", json=dose | {field: "张三 640202198001011234"})
        assert refused.json()["code"] == "not_a_pseudonym"
        assert "张三" not in refused.text
        captured = capture(admin, api, {"bizStep": "dispensing", f"x:{field}": "13812345678"})
        assert (captured.status_code, captured.json()["code"]) == (422, "not_a_pseudonym")
    box = scan(api.clock.now(), site="dwk-cdc", step="packing", parent=CODE)
    assert admin.post("/api/v1/scans", json=box).json()["code"] == "parent_in_codes"


def test_given_a_slip_when_scanned_or_captured_then_warned(api: Api, admin: httpx.Client) -> None:
    def warned(**body: Any) -> set[tuple[str, str]]:
        answer = admin.post("/api/v1/scans", json=scan(api.clock.now(), site="dwk-cdc", **body))
        assert answer.status_code == 201, answer.text
        return {(w["code"], w["field"]) for w in answer.json()["warnings"]}

    assert warned(step="storing", unit="dwk-room-1") == set()
    assert warned(step="storing", unit="nosuch") == {("unknown_unit", "unit")}
    sent = warned(step="shipping", to="nosuch", bill="b", vehicle="v")
    assert sent == {("unknown_site", "to"), ("unknown_unit", "vehicle")}
    assert warned(step="wasting", reason="x", doses=99) == {("more_doses_than_vial", "doses")}
    assert warned(step="commissioning", lot="NEW") == {("unknown_lot", "lot")}
    vials = [f"8474354{n:013d}" for n in range(11)]
    packing = warned(step="packing", parent="84743548930328208656", codes=vials)
    assert packing == {("more_than_pack", "codes")}
    other_way = warned(step="returning", bill_type="102")
    assert other_way == {("bill_of_other_way", "bill_type")}
    short = [{"level": 1, "due": 2, "actual": 1, "reason": "破损"}]
    received = warned(step="receiving", bill="b", quantities=short)
    assert received == {("no_temperature", "temp"), ("quantity_differs", "quantities")}
    strange = capture(admin, api, {"eventID": "far", **place("far-away")}).json()
    assert [(w["code"], w["value"]) for w in strange["warnings"]] == [("unknown_site", "far-away")]


def test_given_the_steps_of_a_store_when_told_then_shown_with_all_they_say(
    api: Api, admin: httpx.Client
) -> None:
    unit = "84743540102813309999"
    people = {"executer": "N1", "supervisor": "N2"}
    bill = {"bill": "CK9", "bill_type": "107", "carrier": "示例冷链", "handed_by": "N3"}
    count = [{"level": 1, "due": 2, "actual": 1}]
    for body in (
        {"step": "commissioning", "lot": LOT, "level": 1},
        {"step": "shipping", "to": "dwk-cdc", "departed": "2026-03-01T08:00:00+08:00", **bill},
        {"step": "receiving", "quantities": count, "temp": 4, **bill},
        {"step": "cycle_counting", "quantities": count, "complete": True, **people},
        {"step": "losing", "reason": "盘点未见"},
        {"step": "finding", "unit": "dwk-room-1"},
        {"step": "condemning", "reason": "冻结", "decision": "ZL1", **people},
        {"step": "acknowledging", "recall_id": "nosuch", "units": 1},
        {"step": "sampling", "bill": "CK10", "bill_type": "206"},
        {"step": "destroying", "reason": "抽检后", **people},
        {"step": "adjusting", "codes": [], "lot": LOT, "units": -1, "reason": "盘亏"},
    ):
        told = scan(api.clock.advance(minutes=1), site="dwk-cdc", **{"codes": [unit], **body})
        answer = admin.post("/api/v1/scans", json=told, headers=WAIT)
        assert answer.status_code == 201, answer.text
    found = custody.CodeCustody.model_validate_json(
        admin.get(f"/api/v1/codes/{unit}/custody").content
    )
    said = {entry.step: entry for entry in found.chain}
    assert said["receiving"].quantities == [custody.Quantity(level=1, due=2, actual=1, reason="")]
    sent = said["shipping"]
    assert (sent.bill_type, sent.carrier) == ("107", "示例冷链")
    assert sent.handed_over_by == ""  # who it was is shown to those who work there alone
    assert (said["condemning"].decision_no, said["acknowledging"].recall_id) == ("ZL1", "nosuch")
    assert (found.state.status, found.state.condemned) == ("destroyed", True)
    assert found.state.flags == []


def test_given_an_event_not_supported_when_captured_then_told_which_and_what_is(
    api: Api, admin: httpx.Client
) -> None:
    answer = capture(admin, api, {"eventID": "a"}, {"eventID": "b", "bizStep": "loading"})
    assert answer.status_code == 422
    told = answer.json()["facts"]
    assert (told["event_index"], told["event_id"]) == (1, "b")
    assert "dispensing" in answer.json()["title_en"]
