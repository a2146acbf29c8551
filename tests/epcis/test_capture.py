"""EPCIS documents over HTTP: taken whole or in part, once, with a receipt of every event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.epcis.validation import verdict
from domain.shared.roles import Role
from tests.api.world import CODE, build
from tests.served import Api

CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", {"vax": "urn:x:vax:"}]
PLACE = "https://trace.example.org/org/"
JOBS = "/epcis/capture"


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[httpx.Client]:
    with api.client() as client:
        build(client)
        yield client


def event(api: Api, name: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "ObjectEvent",
        "action": "OBSERVE",
        "eventID": f"urn:uuid:{name}",
        "eventTime": api.clock.now().isoformat(),
        "eventTimeZoneOffset": "+08:00",
        "bizStep": "storing",
        "epcList": [f"https://trace.example.org/code/{CODE}"],
        "readPoint": {"id": f"{PLACE}dwk-cdc"},
        **more,
    }


def document(*events: dict[str, Any]) -> dict[str, Any]:
    return {
        "@context": CONTEXT,
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-03-02T08:00:00+08:00",
        "epcisBody": {"eventList": list(events)},
    }


def proceeding(client: httpx.Client, found: dict[str, Any]) -> dict[str, Any]:
    headers = {"GS1-Capture-Error-Behaviour": "proceed"}
    return job_of(client, client.post(JOBS, json=found, headers=headers))


def job_of(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    assert (answer.status_code, answer.content) == (202, b""), answer.text
    job: dict[str, Any] = client.get(answer.headers["location"]).json()
    return job


def statuses(job: dict[str, Any]) -> list[str]:
    return [receipt["status"] for receipt in job["receipts"]]


def test_given_a_document_when_captured_then_a_job_with_receipts_and_the_facts(
    api: Api, client: httpx.Client
) -> None:
    found = document(event(api, "1"), event(api, "2", bizStep="collecting", epcList=[]))
    first = client.post(JOBS, json=found)
    job = job_of(client, first)
    assert (job["success"], job["running"], job["errors"]) == (True, False, [])
    assert job["captureErrorBehaviour"] == "rollback"
    assert statuses(job) == ["captured", "captured"]
    hashes = verdict(json.dumps(found).encode()).hashes
    assert [r["eventHash"].split(";")[1][:64] for r in job["receipts"]] == list(hashes)
    chain = client.get(f"/api/v1/codes/{CODE}/custody").json()["chain"]
    assert [entry["fact_id"] for entry in chain] == ["urn:uuid:1"]
    again = client.post(JOBS, json=found)
    assert again.headers["location"] == first.headers["location"]
    assert job_of(client, again) == job
    assert proceeding(client, found | {"sender": "urn:x:me"})["success"]
    page = client.get(JOBS, params={"perPage": "1"})
    (newest,) = page.json()
    (older,) = client.get(page.links["next"]["url"]).json()
    assert [newest["captureErrorBehaviour"], older["captureID"]] == ["proceed", job["captureID"]]


def test_given_one_bad_event_when_rolled_back_then_nothing_when_proceeded_then_the_others(
    api: Api, client: httpx.Client
) -> None:
    with api.client(Role.CDC, "640202") as county:
        assert proceeding(county, document(event(api, "taken")))["success"]
        good = event(api, "good")
        other = event(api, "taken", bizStep="other")
        far = event(api, "far", readPoint={"id": f"{PLACE}szs"})
        form = event(api, "form", action="CREATE")
        job = job_of(county, county.post(JOBS, json=document(good, other, far)))
        assert (job["success"], statuses(job)) == (
            False,
            ["rolled_back", "refused", "refused"],
        )
        assert [(e["code"], e["eventIndex"]) for e in job["errors"]] == [
            ("fact_differs", 1),
            ("out_of_scope", 2),
        ]
        assert job["errors"][0]["type"] == "epcisException:ResourceAlreadyExistsException"
        job = proceeding(county, document(good, other, far, form))
        assert statuses(job) == ["captured", "refused", "refused", "refused"]
        assert job["errors"][2]["path"] == "/action"
        assert job["errors"][2]["title_zh"] != job["errors"][2]["title_en"]
        nothing: Any = 5
        assert statuses(proceeding(county, document(nothing, good))) == ["refused", "known"]
        job = proceeding(county, document(good, event(api, "more")))
        assert statuses(job) == ["known", "captured"]
    with api.client(Role.CDC, "640205") as other_county:
        hidden = other_county.get(f"{JOBS}/{job['captureID']}")
    assert hidden.status_code == 404
    assert hidden.json()["type"] == "epcisException:NoSuchResourceException"


def test_given_documents_with_one_event_when_captured_at_once_then_it_is_kept_once(
    api: Api, client: httpx.Client
) -> None:
    shared = event(api, "raced", bizStep="unpacking")
    documents = [document(shared, event(api, f"raced-{n}")) for n in range(3)] * 2
    with ThreadPoolExecutor(len(documents)) as pool:
        jobs = list(
            pool.map(lambda found: job_of(client, client.post(JOBS, json=found)), documents)
        )
    assert all(job["success"] for job in jobs)
    api.followed(api.deps.ledger.last_position())
    answer = client.get("/epcis/events", params={"EQ_eventID": shared["eventID"]}).json()
    assert len(answer["epcisBody"]["queryResults"]["resultsBody"]["eventList"]) == 1


def test_given_a_slip_in_what_says_custody_when_captured_then_kept_with_a_remark(
    api: Api, client: httpx.Client
) -> None:
    bad = event(api, "slip", epcList=["https://trace.example.org/code/123"])
    sensed = {
        "sensorMetadata": {"time": "2026-03-03T08:00:00Z"},
        "sensorReport": [{"type": "Mass"}],
    }
    late = event(api, "late", bizStep="other", sensorElementList=[sensed])
    person = event(api, "person", bizStep="other", **{"vax:recipient": "张三"})
    job = proceeding(client, document(bad, late, person))
    assert statuses(job) == ["captured", "captured", "refused"]
    codes = [[remark["code"] for remark in receipt["remarks"]] for receipt in job["receipts"]]
    assert codes == [["bad_code"], ["epcis_sensed_later"], ["not_a_pseudonym"]]
    assert job["errors"][0]["code"] == "not_a_pseudonym"


def test_given_an_event_when_captured_singly_then_once_and_another_under_its_id_409(
    api: Api, client: httpx.Client
) -> None:
    body = {"@context": CONTEXT, **event(api, "single", bizStep="other")}
    first, again = (client.post("/epcis/events", json=body) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert (
        first.headers["location"]
        == again.headers["location"]
        == "/epcis/events/urn%3Auuid%3Asingle"
    )
    differing = client.post("/epcis/events", json=body | {"bizStep": "storing"})
    assert (differing.status_code, differing.json()["code"]) == (409, "fact_differs")
    declared = {"declarationTime": api.clock.now().isoformat(), "reason": "incorrect_data"}
    withdrawn = client.post("/epcis/events", json=body | {"errorDeclaration": declared})
    assert withdrawn.status_code == 201
    del body["eventID"]
    made = client.post("/epcis/events", json=body)
    assert made.headers["location"].startswith("/epcis/events/ni%3A%2F%2F%2Fsha-256%3B")


@pytest.mark.parametrize(
    ("content", "headers", "status", "kind"),
    [
        ("<x/>", {"Content-Type": "application/xml"}, 415, "UnsupportedMediaType"),
        ("{", {}, 400, "Validation"),
        ("[]", {}, 400, "Validation"),
        ('{"type": "EPCISDocument"}', {}, 400, "Validation"),
        ('{"type": "EPCISQueryDocument"}', {}, 400, "Validation"),
        ("{}", {"GS1-Capture-Error-Behaviour": "ignore"}, 400, "Validation"),
        ("{}", {"Accept": "application/xml"}, 406, "NotAcceptable"),
        ("{}", {"GS1-EPCIS-Version": "1.2"}, 406, "NotAcceptable"),
        ("{}", {"GS1-EPCIS-Min": "2.0.1"}, 406, "NotAcceptable"),
        ("{}", {"GS1-CBV-Max": "1"}, 406, "NotAcceptable"),
        ("{}", {"GS1-CBV-Max": "two"}, 406, "NotAcceptable"),
        ("{}", {"GS1-EPC-Format": "Sometimes"}, 406, "NotAcceptable"),
        ("{}", {"GS1-CBV-XML-Format": "Sometimes"}, 406, "NotAcceptable"),
        ("x" * 17_000_000, {}, 413, "CaptureLimitExceeded"),
    ],
)
def test_given_what_is_no_document_when_captured_then_a_problem_of_its_kind(
    client: httpx.Client, content: str, headers: dict[str, str], status: int, kind: str
) -> None:
    told = {"Content-Type": "application/ld+json", **headers}
    answer = client.post(JOBS, content=content, headers=told)
    assert (answer.status_code, answer.json()["status"]) == (status, status), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"epcisException:{kind}Exception"
    assert answer.headers["GS1-EPCIS-Version"] == "2.0.0"


def test_given_a_document_of_bad_form_when_captured_then_refused_by_index_path_and_reason(
    api: Api, client: httpx.Client
) -> None:
    answer = client.post(JOBS, json=document(event(api, "a"), event(api, "b", action="CREATE")))
    assert answer.status_code == 400
    facts = answer.json()["facts"]
    assert (facts["event_index"], facts["path"], facts["event_id"]) == (1, "/action", "urn:uuid:b")
    assert len(facts["problems"]) == 1


def test_given_every_path_when_asked_for_options_then_versions_methods_and_limits(
    client: httpx.Client,
) -> None:
    for path, allow in (("/epcis", "GET, OPTIONS"), (JOBS, "GET, OPTIONS, POST")):
        answer = client.options(path)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["allow"] == allow
        assert answer.headers["GS1-EPCIS-Max"] == answer.headers["GS1-CBV-Min"] == "2.0.0"
    assert answer.headers["GS1-EPCIS-Capture-File-Size-Limit"] == str(16 * 2**20)
    assert answer.headers["GS1-EPCIS-Capture-Limit"] == "20000"
    assert set(answer.headers["GS1-Capture-Error-Behaviour"].split(", ")) == {"rollback", "proceed"}
    assert client.get("/epcis").json()["member"][0] == "capture"
    gone = client.get("/epcis/nothing")
    assert (gone.status_code, gone.json()["type"][15:]) == (404, "NoSuchResourceException")
    wrong = client.put(JOBS)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, OPTIONS, POST")


def test_given_every_shared_document_when_captured_then_answered_unchanged(
    api: Api, client: httpx.Client, shared: Path
) -> None:
    folder = shared / "standards" / "epcis"
    sent: dict[str, dict[str, Any]] = {}
    for name, about in json.loads((folder / "manifest.json").read_text()).items():
        if about["docType"] != "EPCISDocument" or about["expect"] != "accept":
            continue
        found = json.loads((folder / name).read_text(encoding="utf-8"))
        for n, one in enumerate(found["epcisBody"]["eventList"]):
            # Several of these files use one id for events that differ.
            one["eventID"] = f"urn:x:{len(sent)}:{n}"
            sent[one["eventID"]] = one
        job = job_of(client, client.post(JOBS, json=found, headers={"Prefer": "wait=0"}))
        assert job["success"], (name, job)
    api.followed(api.deps.ledger.last_position())
    address = f"/epcis/events?EQ_eventID={'%7C'.join(sent)}&perPage=1000"
    kept: list[dict[str, Any]] = []
    while address:
        answer = client.get(address, headers={"GS1-EPC-Format": "Never_Translates"})
        kept += answer.json()["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
        address = answer.links.get("next", {}).get("url", "")
    assert len(kept) == len(sent) > 70
    for one in kept:
        assert one == sent[one["eventID"]]


@pytest.mark.parametrize("path", ["/epcis/capture", "/epcis/events", "/api/v1/captures"])
def test_given_a_name_twice_in_one_object_when_captured_then_refused(
    api: Api, client: httpx.Client, path: str
) -> None:
    one = {"@context": CONTEXT, **event(api, "twice", bizStep="other")}
    whole = one if path.endswith("/events") else document(one)
    text = json.dumps(whole)
    headers = {"Content-Type": "application/json"}
    for name in ('"action": "OBSERVE"', '"act\\u0069on" : "OBSERVE"'):
        body = text.replace('"action": "OBSERVE"', f'"action": "ADD", {name}', 1)
        answer = client.post(path, content=body, headers=headers)
        assert answer.status_code in {400, 422}, answer.text
        assert (answer.json()["code"], answer.json().get("field")) == ("repeated_name", "action")


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {"vax:end": 1}
    for _ in range(levels):
        found = {"vax:in": found}
    return found


@pytest.mark.parametrize(("levels", "taken"), [(40, True), (245, False), (600, False)])
def test_given_an_event_nested_deeply_when_captured_then_its_receipt_can_be_read(
    api: Api, client: httpx.Client, levels: int, taken: bool
) -> None:
    deep = event(api, f"deep-{levels}", bizStep="other", **{"vax:deep": nested(levels)})
    good = event(api, f"beside-{levels}", bizStep="other")
    job = proceeding(client, document(deep, good))
    assert statuses(job) == ["captured" if taken else "refused", "captured"]
    assert [error["code"] for error in job["errors"]] == ([] if taken else ["epcis_too_deep"])
    wrong = event(api, f"wrong-{levels}", action={"x:y": nested(levels)})
    assert statuses(proceeding(client, document(wrong))) == ["refused"]


def test_given_a_number_of_a_person_in_an_extension_when_captured_then_never_kept(
    api: Api, client: httpx.Client
) -> None:
    told = event(api, "phone", bizStep="other", **{"vax:note": "家长 138-1234-5678"})
    named = event(api, "13812345678", bizStep="other")
    job = proceeding(client, document(told, named))
    assert statuses(job) == ["refused", "refused"]
    assert [error["code"] for error in job["errors"]] == ["names_a_person"] * 2
    assert "13812345678" not in json.dumps(job["errors"][0])
