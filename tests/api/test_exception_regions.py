"""Exceptions of two counties: each sees its own, all of it, and nothing of the other's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import httpx
import pytest

from domain.shared.roles import Role
from domain.traceability.cases import confirm, excursion_stream
from domain.traceability.thermal import Excursion
from store.commands import Command, execute
from store.envelope import Meta
from tests.api.test_custody_scope import ELSEWHERE
from tests.api.world import LOT, build, scan
from tests.served import Api

LIST = "/api/v1/exceptions"
V = [f"8474354{n:013d}" for n in range(11)]
A, B = "dwk-cdc", "hn-clinic"
ORGS = ("126402024540000009", "12640200454000000C")


class County(NamedTuple):
    """A county's key, and what its exceptions are: kind and codes; what it may not meet."""

    region: str
    site: str
    cases: set[tuple[str, tuple[str, ...]]]
    foreign: tuple[str, ...]


COUNTIES = [
    County(
        "640202",
        A,
        {
            ("DATA_WITHOUT_PRODUCT", (V[1],)),
            ("THERMAL_EXCURSION", (V[6],)),
            ("RECALLED_USE", (V[0],)),
            ("UNEXPLAINED_UNIT", (V[8],)),
        },
        (B, V[2], V[3], V[5], V[7], "szs"),
    ),
    County(
        "640205",
        B,
        {
            ("DATA_WITHOUT_PRODUCT", (V[3],)),
            ("DATA_WITHOUT_PRODUCT", (V[5],)),
            ("THERMAL_EXCURSION", (V[7],)),
            ("RECALLED_USE", (V[2],)),
            ("MASS_IMBALANCE", (V[8],)),
        },
        (A, V[0], V[1], V[6], "szs"),
    ),
]
COUNTY = pytest.mark.parametrize("county", COUNTIES, ids=["a", "b"])


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[httpx.Client]:
    """Give a client of two counties that got goods on one bill and by one truck."""
    with api.client() as client:
        build(client)
        assert client.post("/api/v1/sites", json=ELSEWHERE).status_code == 201
        send(api, client, "szs", "commissioning", V, lot=LOT)
        for site, sent, got in ((A, V[:2], V[:1]), (B, V[2:4], V[2:3])):
            send(api, client, "szs", "shipping", sent, to=site, bill="B1")
            send(api, client, site, "receiving", got, bill="B1")
        for bill, codes in (("B3", V[4:6]), ("B6", V[8:9])):
            send(api, client, "szs", "shipping", codes, to=A, bill=bill)
            send(api, client, A, "receiving", codes, bill=bill)
        send(api, client, A, "shipping", V[4:6], to=B, bill="B2")
        send(api, client, B, "receiving", V[4:5], bill="B2")
        drive(api, client)
        send(api, client, B, "storing", V[8:9], unit="hn-room")
        send(api, client, "szs", "holding", [], lot=LOT, recall=True, reason="召回")
        for site, code in ((A, V[0]), (B, V[2])):
            send(api, client, site, "dispensing", [code], dose=1, recipient="r-1")
        api.clock.advance(hours=72)
        yield client


def send(
    api: Api, client: httpx.Client, site: str, step: str, codes: list[str], **more: Any
) -> None:
    body = scan(api.clock.advance(minutes=5), site=site, step=step, **more) | {"codes": codes}
    answer = client.post("/api/v1/scans", json=body)
    assert answer.status_code == 201, answer.text


def drive(api: Api, client: httpx.Client) -> None:
    """Bring a vial to each county with one truck, in which it grows warm."""
    way = {"vehicle": "truck-1"}
    send(api, client, "szs", "shipping", V[6:7], to=A, bill="B4", **way)
    send(api, client, "szs", "shipping", V[7:8], to=B, bill="B5", **way)
    begun = api.clock.now() + timedelta(minutes=1)
    send(api, client, A, "receiving", V[6:7], bill="B4")
    send(api, client, B, "receiving", V[7:8], bill="B5")
    start_ms = round(begun.timestamp() * 1000)
    warm = Excursion("truck-log", start_ms, start_ms + 60_000, 8.0, 9.5, "truck-1")
    now = api.clock.now()
    stream = excursion_stream(warm.device_id, start_ms)
    meta = Meta(occurred_at=now, recorded_at=now)
    told = execute(
        api.deps.ledger, Command(stream, lambda _events: confirm(None, excursion=warm), meta)
    )
    api.followed(told.position)


def listed(client: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    answer = client.get(LIST, params={"codes": True, **params})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def named(cases: list[dict[str, Any]]) -> set[tuple[str, tuple[str, ...]]]:
    return {(case["kind"], tuple(case["codes"])) for case in cases}


@COUNTY
def test_given_two_counties_when_listed_then_all_of_its_own_and_nothing_of_the_other(
    api: Api, client: httpx.Client, county: County
) -> None:
    with api.client(Role.CDC, county.region) as own:
        found = listed(own)
        assert named(found) == county.cases
        places = {(case["site_id"], case["region"]) for case in found}
        assert places == {(county.site, county.region)}
        answers = [own.get(LIST, params={"codes": True}).text]
        for case in found:
            read = own.get(f"{LIST}/{case['case_id']}")
            one = read.json()
            assert (one["codes"], one["units"]) == (case["codes"], case["units"])
            assert case["units"] == len(case["codes"])
            assert {fact["site_id"] for fact in one["facts"]} <= {county.site, ""}
            assert [fact["fact_id"] for fact in one["facts"]] == case["fact_ids"]
            answers.append(read.text)
        for text in answers:
            assert not [word for word in county.foreign if word in text]
        # The codes of each are asked for by site, by a wider key, as well.
        assert named(listed(client, region=county.region)) == county.cases


def test_given_the_whole_country_when_listed_then_what_turned_up_elsewhere_is_told_once(
    client: httpx.Client,
) -> None:
    both = COUNTIES[0].cases | COUNTIES[1].cases
    assert named(listed(client)) == both - {("UNEXPLAINED_UNIT", (V[8],))}


def test_given_a_bill_between_counties_when_read_by_the_receiver_then_what_was_sent_without_place(
    api: Api, client: httpx.Client
) -> None:
    with api.client(Role.CDC, "640205") as own:
        [case] = [c for c in listed(own) if c["codes"] == [V[5]]]
        facts = own.get(f"{LIST}/{case['case_id']}").json()["facts"]
    assert [(fact["step"], fact["site_id"]) for fact in facts] == [
        ("shipping", ""),
        ("receiving", B),
    ]


@COUNTY
def test_given_a_report_in_csv_when_asked_by_a_county_then_cases_of_its_places_alone(
    api: Api, client: httpx.Client, county: County
) -> None:
    with api.client(Role.CDC, county.region) as own:
        answer = own.get(
            f"/api/v1/lots/{LOT}/report", params={"format": "csv", "part": "exceptions"}
        )
    assert answer.status_code == 200, answer.text
    assert county.site in answer.text
    assert not [word for word in county.foreign if word in answer.text]


def test_given_a_case_of_one_county_when_settled_by_the_other_then_unknown_and_untouched(
    api: Api, client: httpx.Client
) -> None:
    with api.client(Role.CDC, "640202") as own, api.client(Role.CDC, "640205") as other:
        warm = {c["site_id"]: c for c in listed(client, kind="THERMAL_EXCURSION")}
        path = f"{LIST}/{warm[A]['case_id']}"
        settled = {"resolution": "released", "reason": "质量评估合格"}
        given = {"org_code": ORGS[1], "reason": "由市疾控处理"}
        for act, body in (("closing", settled), ("assignment", given)):
            answer = other.post(f"{path}/{act}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_exception")
            assert own.post(f"{path}/{act}", json=body).is_success
        assert own.get(path).json()["state"] == "closed"
        untouched = other.get(f"{LIST}/{warm[B]['case_id']}").json()
        assert (untouched["state"], untouched["acts"]) == ("open", [])


def test_given_pages_when_more_becomes_known_meanwhile_then_they_are_those_of_the_first(
    api: Api, client: httpx.Client
) -> None:
    moment = api.clock.advance(minutes=5)
    page = client.get(LIST, params={"limit": 3}).json()
    whole = [*page["items"]]
    # What was sent turns up: its case is resolved, but not in the answer begun before.
    send(api, client, B, "receiving", V[3:4], bill="B1")
    api.clock.advance(hours=30 * 24)
    while page["next"]:
        page = client.get(LIST, params={"limit": 3, "cursor": page["next"]}).json()
        whole += page["items"]
    assert {case["state"] for case in whole} == {"open", "closed"}
    assert {case["overdue"] for case in whole} == {True, False}
    then = client.get(LIST, params={"as_of": moment.isoformat()}).json()
    assert (whole, page["as_of"]) == (then["items"], then["as_of"])
