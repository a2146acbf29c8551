"""Scans and captures in, custody of codes and lots out."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from api import custody, lot_chain
from api.routing import json_answer
from domain.shared.roles import Role
from projections.traceability import step_name, time_of
from tests.api.world import CODE, LOT, build, scan
from tests.served import Api

PATH = f"/api/v1/codes/{CODE}/custody"


@pytest.fixture(scope="module")
def chain(api: Api) -> Iterator[httpx.Client]:
    """Give a client of a world in which one pack has gone from the city to a clinic."""
    with api.client() as client:
        build(client)
        for body in (
            {"site": "szs", "step": "commissioning", "lot": LOT, "level": 1},
            {"site": "szs", "step": "storing", "unit": "szs-room"},
            {"site": "szs", "step": "shipping", "to": "dwk-cdc", "bill": "B1"},
            {
                "site": "dwk-cdc",
                "step": "receiving",
                "from": "szs",
                "bill": "B1",
                "unit": "dwk-room-1",
            },
        ):
            answer = client.post("/api/v1/scans", json=scan(api.clock.advance(minutes=30), **body))
            assert answer.status_code == 201, answer.text
        yield client


def test_given_scans_when_custody_of_the_code_asked_then_chain_with_names(
    chain: httpx.Client,
) -> None:
    found = chain.get(PATH)
    assert found.status_code == 200, found.text
    body = found.json()
    steps = [entry["step"] for entry in body["chain"]]
    assert steps == ["commissioning", "storing", "shipping", "receiving"]
    assert body["state"]["status"] == "in_stock"
    assert body["state"]["site_id"] == "dwk-cdc"
    assert body["sites"]["dwk-cdc"]["zh"] == "大武口接种门诊"
    assert body["units"].keys() == {"szs-room", "dwk-room-1"}
    assert found.headers["vaxtrail-position"] == body["as_of"]


def test_given_a_question_asked_again_and_again_when_answered_then_the_same_bytes(
    chain: httpx.Client,
) -> None:
    steps = f"/api/v1/lots/{LOT}/chain"
    for path, model in ((PATH, custody.CodeCustody), (steps, lot_chain.LotChain)):
        found = [chain.get(path) for _ in range(3)]  # folded, then known by its shape
        at = found[0].json()["as_of"]
        found.append(chain.get(path, params={"as_of": at}))
        assert len({answer.content for answer in found}) == 1
        assert {answer.headers["vaxtrail-position"] for answer in found} == {at}
        model.model_validate_json(found[0].content)


def test_given_steps_of_any_places_and_times_when_shown_then_as_any_answer_is() -> None:
    steps = [(10, 'a"b,c\\', 3, 0, 1_234), (80, "苗", 1, -1, 2**41), (40, "", 0, 5, 60_000)]
    names = ("step", "site_id", "packs", "first", "last")
    told = [(step_name(s), site, n, time_of(t0), time_of(t1)) for s, site, n, t0, t1 in steps]
    plain = [dict(zip(names, line, strict=True)) for line in told]
    assert lot_chain.lines(steps) == json_answer(plain).body
    assert lot_chain.lines([]) == b"[]"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nobody's"}])
def test_given_no_valid_key_when_asked_as_it_is_now_then_refused(
    api: Api, chain: httpx.Client, headers: dict[str, str]
) -> None:
    for path in (PATH, f"/api/v1/lots/{LOT}/chain"):
        answer = httpx.get(f"{api.url}{path}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    with api.client(Role.RESIDENT) as resident:
        assert resident.get(PATH).status_code == 403


def test_given_an_answer_when_asked_again_as_of_its_position_then_the_same_bytes(
    api: Api, chain: httpx.Client
) -> None:
    first = chain.get(PATH)
    lot = chain.get(f"/api/v1/lots/{LOT}/custody")
    late = scan(api.clock.advance(minutes=5), site="dwk-cdc", step="opening")
    assert chain.post("/api/v1/scans", json=late).status_code == 201
    again = chain.get(PATH, params={"as_of": first.json()["as_of"]})
    assert again.content == first.content
    assert chain.get(PATH).content != first.content
    lot_again = chain.get(f"/api/v1/lots/{LOT}/custody", params={"as_of": lot.json()["as_of"]})
    assert lot_again.content == lot.content


def test_given_a_time_when_asked_as_of_it_then_what_was_known_before(
    chain: httpx.Client,
) -> None:
    then = chain.get(PATH, params={"as_of": "2026-03-02T01:10:00Z"})
    assert [entry["step"] for entry in then.json()["chain"]] == ["commissioning", "storing"]


@pytest.mark.parametrize(
    ("as_of", "status", "code"),
    [
        ("L999999.T0", 422, "as_of_ahead"),
        ("2026-13-40T00:00:00Z", 422, "bad_as_of"),
        ("yesterday", 422, "bad_field"),
    ],
)
def test_given_no_such_position_when_asked_as_of_it_then_refused(
    chain: httpx.Client, as_of: str, status: int, code: str
) -> None:
    answer = chain.get(PATH, params={"as_of": as_of})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_given_the_lot_when_asked_then_hops_and_stock(chain: httpx.Client) -> None:
    found = chain.get(f"/api/v1/lots/{LOT}/custody")
    assert found.status_code == 200, found.text
    body = found.json()
    assert [hop["site_id"] for hop in body["hops"]][:2] == ["szs", "szs"]
    assert body["lot"]["expires_on"] == "2028-02-28"
    assert {line["site_id"] for line in body["stock"]} == {"dwk-cdc"}
    stock = chain.get("/api/v1/stock", params={"site_id": "dwk-cdc"}).json()
    assert stock["items"] == body["stock"]
    then = {"site_id": "szs", "as_of": "2026-03-02T01:10:00Z"}
    earlier = chain.get("/api/v1/stock", params=then).json()
    assert [line["site_id"] for line in earlier["items"]] == ["szs"]


def test_given_a_key_of_another_county_when_code_or_lot_asked_then_not_found(
    api: Api, chain: httpx.Client
) -> None:
    assert chain is not None
    with api.client(Role.REGULATOR, "640205") as other:
        assert other.get(PATH).json()["code"] == "unknown_code"
        assert other.get(f"/api/v1/lots/{LOT}/custody").json()["code"] == "unknown_lot"
        assert other.get("/api/v1/stock").json()["items"] == []
    with api.client(Role.REGULATOR, "640202") as own:
        assert own.get(PATH).status_code == 200


def test_given_the_same_fact_twice_when_scanned_then_one_fact(
    api: Api, chain: httpx.Client
) -> None:
    body = scan(api.clock.now(), site="dwk-cdc", step="holding", reason="抽检", fact_id="once")
    first = chain.post("/api/v1/scans", json=body)
    second = chain.post("/api/v1/scans", json=body)
    assert (first.status_code, second.status_code) == (201, 200)
    other = chain.post("/api/v1/scans", json=body | {"reason": "另一原因"})
    assert (other.status_code, other.json()["code"]) == (409, "already_registered")


def test_given_a_bad_code_when_scanned_then_refused_in_both_languages(
    api: Api, chain: httpx.Client
) -> None:
    body = scan(api.clock.now(), site="dwk-cdc", step="opening") | {"codes": ["1234"]}
    answer = chain.post("/api/v1/scans", json=body, headers={"Accept-Language": "en"})
    assert answer.status_code == 422
    assert answer.json()["title"].endswith("(not 20 digits)")
    assert answer.json()["title_zh"].endswith("（不是 20 位）")


def test_given_a_code_of_no_product_when_scanned_then_refused(
    api: Api, chain: httpx.Client
) -> None:
    body = scan(api.clock.now(), site="dwk-cdc", step="opening") | {"codes": ["8" * 20]}
    assert chain.post("/api/v1/scans", json=body).json()["code"] == "unregistered_code"


def test_given_a_scan_from_the_future_when_sent_then_refused(api: Api, chain: httpx.Client) -> None:
    body = scan(api.clock.now().replace(year=2027), site="dwk-cdc", step="opening")
    assert chain.post("/api/v1/scans", json=body).json()["code"] == "clock_ahead"


def test_given_a_document_when_captured_twice_then_the_same_answer(
    api: Api, chain: httpx.Client
) -> None:
    document = {
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-03-02T09:00:00+08:00",
        "epcisBody": {
            "eventList": [
                {
                    "type": "ObjectEvent",
                    "action": "OBSERVE",
                    "bizStep": "storing",
                    "eventID": "urn:uuid:1",
                    "eventTime": "2026-03-02T09:00:00+08:00",
                    "epcList": [f"https://trace.example.org/code/{CODE}"],
                    "readPoint": {"id": "https://trace.example.org/org/dwk-cdc"},
                }
            ]
        },
    }
    first = chain.post("/api/v1/captures", json=document)
    second = chain.post("/api/v1/captures", json=document)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.content == second.content
    assert first.json()["fact_ids"] == ["urn:uuid:1"]
    assert chain.get(first.headers["location"]).json() == document
    with api.client(Role.PLATFORM, "640205") as other:
        refused = other.post("/api/v1/captures", json=document | {"creationDate": "x"})
        assert (refused.status_code, refused.json()["code"]) == (403, "out_of_scope")


def test_given_a_fact_when_withdrawn_then_gone_from_the_chain_but_told(
    api: Api, chain: httpx.Client
) -> None:
    body = scan(api.clock.now(), site="dwk-cdc", step="holding", reason="误扫", fact_id="wrong")
    assert chain.post("/api/v1/scans", json=body).status_code == 201
    why = {"site": "dwk-cdc", "reason": "误扫"}
    with api.client(Role.CDC, "640205") as other:
        assert other.get("/api/v1/scans/wrong").status_code == 404
    with api.client(Role.CDC, "640202") as own:
        assert own.get("/api/v1/scans/wrong").json()["withdrawn"] is False
        assert own.post("/api/v1/scans/wrong/withdrawal", json=why).status_code == 200
        assert own.get("/api/v1/scans/wrong").json()["withdrawn"] is True
        assert own.post("/api/v1/scans/nothing/withdrawal", json=why).status_code == 404
    found = chain.get(PATH).json()
    assert "wrong" not in {entry["fact_id"] for entry in found["chain"]}
    assert [fact["fact_id"] for fact in found["withdrawn"]] == ["wrong"]
    assert found["withdrawn"][0]["withdrawal_reason"] == "误扫"


def test_given_people_in_a_chain_when_an_administrator_asks_then_not_shown(
    api: Api, chain: httpx.Client
) -> None:
    body = scan(api.clock.now(), site="dwk-cdc", step="dispensing", recipient="p-1", dose=1)
    assert chain.post("/api/v1/scans", json=body).status_code == 201
    assert "p-1" not in chain.get(PATH).text
    with api.client(Role.CLINIC, "640202") as clinic:
        seen = [entry.get("recipient") for entry in clinic.get(PATH).json()["chain"]]
        assert "p-1" in seen
