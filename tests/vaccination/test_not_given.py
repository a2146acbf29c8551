"""Doses that were not given, and doses kept for the person of a check; over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from fhir.resources.immunization import Immunization
from fhir.resources.R4B.immunization import Immunization as ImmunizationR4B

from alerts import messages
from alerts.observations import LOOK_AGAIN, Observations
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.roles import Role
from domain.vaccination import not_given
from domain.vaccination.events import DoseNotGiven, NotGivenWithdrawn
from projections import runner
from projections.follower import queries as following
from projections.vaccination import PROJECTION as VACCINATION
from tests.api.world import LOT
from tests.conftest import Database
from tests.served import Api
from tests.spec import spec
from tests.vaccination.clinic import PRODUCT, V1, ok, ready, receiving, refused

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
CODES = [f"8474354018136002{n:04}" for n in range(12)]
TOLD = DoseNotGiven(
    not_given_id="N-1",
    site_id="dwk",
    recipient="R-1",
    product_id=PRODUCT,
    series_dose=1,
    cause="refused",
    decided_at=NOW,
)
a_dose = spec(not_given.evolve, None)


def test_given_a_dose_not_given_when_told_twice_then_once_and_taken_back_once() -> None:
    a_dose.when(not_given.tell, told=TOLD).then(TOLD)
    known, later = a_dose.given(TOLD), NOW + timedelta(minutes=1)
    known.when(not_given.tell, told=replace(TOLD, decided_at=later)).then()
    other = known.when(not_given.tell, told=replace(TOLD, cause="ill"))
    other.refused(Conflict, "already_registered")
    gone = NotGivenWithdrawn(not_given_id="N-1", reason="录入错误")
    known.when(not_given.take_back, reason="录入错误").then(gone)
    known.given(gone).when(not_given.take_back, reason="录入错误").then()
    again = known.given(gone).when(not_given.take_back, reason="又错")
    again.refused(Conflict, "already_withdrawn")
    a_dose.when(not_given.take_back, reason="错").refused(NotFound, "unknown_not_given")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cause": "bored"}, "bad_field"),
        ({"note": "电话 138-1234-5678"}, "names_a_person"),
        ({"not_given_id": "N-13812345678"}, "names_a_person"),
    ],
)
def test_given_a_bad_telling_when_told_then_refused(changes: dict[str, Any], code: str) -> None:
    a_dose.when(not_given.tell, told=replace(TOLD, **changes)).refused(Invalid, code)


@pytest.fixture(scope="module")
def clinic(api: Api) -> Iterator[httpx.Client]:
    """Give a vaccinator's client of a clinic that has received the vials."""
    with receiving(api, CODES) as client:
        yield client


def check(clinic: httpx.Client, code: str, recipient: str, **more: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"code": code, "site": "dwk-cdc", "recipient": recipient}
    asked["visit_id"] = more.pop("visit_id", None) or ready(clinic, recipient)
    return ok(clinic.post(f"{V1}/checks", json=asked | more))


def give(api: Api, clinic: httpx.Client, code: str, fact_id: str, recipient: str) -> None:
    at = api.clock.now().isoformat()
    scan = {"site": "dwk-cdc", "fact_id": fact_id, "at": at, "step": "dispensing"}
    ok(clinic.post("/api/v1/scans", json=scan | {"codes": [code], "recipient": recipient}))


def reasons(told: dict[str, Any]) -> list[str]:
    return [each["code"] for each in told["reasons"]]


def cautions(told: dict[str, Any]) -> list[str]:
    return [each["code"] for each in told["cautions"]]


def test_given_a_may_when_another_asks_for_the_same_dose_then_kept_until_it_is_over(
    api: Api, clinic: httpx.Client
) -> None:
    code, visit_id = CODES[0], ready(clinic, "R-1")
    first = check(clinic, code, "R-1", visit_id=visit_id)
    assert first["may"]
    assert reasons(check(clinic, code, "R-2")) == ["reserved"]
    assert check(clinic, code, "R-1", visit_id=visit_id)["may"]
    api.clock.advance(minutes=11)
    assert check(clinic, code, "R-2")["may"]
    # The dose is a fact, whatever was kept for whom.
    give(api, clinic, code, first["check_id"], "R-1")
    assert reasons(check(clinic, code, "R-3")) == ["used"]


def test_given_another_vial_of_one_person_when_checked_then_a_caution_and_the_first_is_free(
    clinic: httpx.Client,
) -> None:
    visit_id = ready(clinic, "R-4")
    assert cautions(check(clinic, CODES[1], "R-4", visit_id=visit_id)) == ["due_unknown"]
    told = check(clinic, CODES[2], "R-4", visit_id=visit_id)
    assert (told["may"], cautions(told)) == (True, ["due_unknown", "checked_another"])
    assert check(clinic, CODES[1], "R-5")["may"]
    assert reasons(check(clinic, CODES[2], "R-6")) == ["reserved"]


def test_given_checks_at_once_when_nothing_is_followed_then_one_of_them_may(
    database: Database, clinic: httpx.Client
) -> None:
    visits = {f"R-1{n}": ready(clinic, f"R-1{n}") for n in range(4)}
    with psycopg.connect(database.app_dsn) as conn, ThreadPoolExecutor(4) as threads:
        conn.execute(following.lock, (VACCINATION.follower,))
        asked = [
            {"code": CODES[3], "site": "dwk-cdc", "recipient": r, "visit_id": v}
            for r, v in visits.items()
        ]
        now = {"Prefer": "wait=0"}
        told = threads.map(lambda a: clinic.post(f"{V1}/checks", json=a, headers=now), asked)
        assert sorted(ok(each)["may"] for each in told) == [False, False, False, True]


def test_given_a_due_list_when_the_caller_tells_another_then_a_caution_says_so(
    clinic: httpx.Client,
) -> None:
    item = {"product_ids": [PRODUCT], "series_dose": 1, "not_before": "2026-03-01"}
    due = {"site": "dwk-cdc", "items": [item], "source": "省平台"}
    ok(clinic.post(f"{V1}/people/R-20/due-list", json=due))
    visit_id = ready(clinic, "R-20")
    assert cautions(check(clinic, CODES[4], "R-20", visit_id=visit_id, due=[item])) == []
    other = item | {"not_before": "2026-02-01"}
    told = check(clinic, CODES[4], "R-20", visit_id=visit_id, due=[other])
    assert (told["may"], cautions(told)) == (True, ["due_differs"])


def test_given_a_dose_not_given_when_told_then_listed_freed_and_shown_as_not_done(
    api: Api, clinic: httpx.Client
) -> None:
    told = check(clinic, CODES[5], "R-30")
    body = {"site": "dwk-cdc", "check_id": told["check_id"], "cause": "refused", "note": "改日"}
    not_given_id = ok(clinic.post(f"{V1}/not-given", json=body))["not_given_id"]
    (row,) = ok(clinic.get(f"{V1}/not-given", params={"site_id": "dwk-cdc"}))["items"]
    assert (row["recipient"], row["code"], row["state"]) == ("R-30", CODES[5], "not_given")
    assert check(clinic, CODES[5], "R-31")["may"]
    with api.client(Role.NURSE, "640202") as nurse:
        path = "/fhir/{}/Immunization"
        five = nurse.get(path.format("R5"), params={"status": "not-done"}).json()["entry"]
        four = nurse.get(path.format("R4B"), params={"patient": "R-30"}).json()["entry"]
        shown: Any = Immunization.model_validate(five[0]["resource"])
        assert ImmunizationR4B.model_validate(four[0]["resource"]).status == "not-done"
        assert (shown.status, shown.statusReason.coding[0].code) == ("not-done", "PATOBJ")
        wrong = {"reason": "录入错误"}
        ok(clinic.post(f"{V1}/not-given/{not_given_id}/withdrawal", json=wrong))
        five = nurse.get(path.format("R5"), params={"status": "entered-in-error"}).json()["entry"]
        assert [each["resource"]["id"] for each in five] == [shown.id]
        assert nurse.get(path.format("R5") + f"/{shown.id}").status_code == 200
    give(api, clinic, CODES[5], told["check_id"], "R-30")
    refused(clinic.post(f"{V1}/not-given", json=body), 409, "dose_on_record")
    refused(clinic.post(f"{V1}/not-given", json=body | {"check_id": "none"}), 422, "unknown_check")
    alone = {"site": "dwk-cdc", "cause": "no_stock"}
    refused(clinic.post(f"{V1}/not-given", json=alone), 422, "missing_field")
    ok(clinic.post(f"{V1}/not-given", json=alone | {"visit_id": ready(clinic, "R-32")}))
    with api.client(Role.VACCINATOR, "640205") as elsewhere:
        refused(
            elsewhere.post(f"{V1}/not-given/{not_given_id}/withdrawal", json=wrong),
            404,
            "unknown_not_given",
        )


@pytest.mark.parametrize("out_of", [CODES[9], None])
def test_given_a_kept_dose_when_its_person_gets_or_declines_the_product_otherwise_then_it_is_free(
    api: Api, clinic: httpx.Client, out_of: str | None
) -> None:
    code, person, other = (CODES[8], "R-60", "R-61") if out_of else (CODES[10], "R-62", "R-63")
    assert check(clinic, code, person)["may"]
    visit_id = ready(clinic, other)
    assert reasons(check(clinic, code, other, visit_id=visit_id)) == ["reserved"]
    if out_of:
        give(api, clinic, out_of, f"unchecked-{out_of}", person)
    else:
        told = {"site": "dwk-cdc", "visit_id": ready(clinic, person), "cause": "refused"}
        ok(clinic.post(f"{V1}/not-given", json=told))
    assert check(clinic, code, other, visit_id=visit_id)["may"]


def test_given_a_check_or_a_visit_when_a_dose_of_another_is_told_not_given_then_refused(
    clinic: httpx.Client,
) -> None:
    visit_id, others = ready(clinic, "R-70"), ready(clinic, "R-71")
    check_id = check(clinic, CODES[3], "R-70", visit_id=visit_id)["check_id"]
    told = {"site": "dwk-cdc", "cause": "ill"}
    for planned in ({"check_id": check_id}, {"visit_id": visit_id}):
        for other in ({"recipient": "R-71"}, {"product_id": "8907796"}):
            answer = clinic.post(f"{V1}/not-given", json=told | planned | other)
            refused(answer, 422, "other_than_planned")
            assert next(iter(other)) in answer.text
    both = told | {"check_id": check_id, "visit_id": others}
    refused(clinic.post(f"{V1}/not-given", json=both), 422, "other_than_planned")
    same = told | {"check_id": check_id, "recipient": "R-70", "product_id": PRODUCT}
    ok(clinic.post(f"{V1}/not-given", json=same))


def test_given_a_dose_kept_when_another_place_tells_one_not_given_then_still_kept_where_it_was(
    api: Api, database: Database, clinic: httpx.Client
) -> None:
    visits = {each: ready(clinic, each) for each in ("R-50", "R-51")}
    assert check(clinic, CODES[11], "R-50", visit_id=visits["R-50"])["may"]
    asked = {"code": CODES[11], "site": "dwk-cdc", "recipient": "R-51", "visit_id": visits["R-51"]}
    told = {"recipient": "R-50", "product_id": PRODUCT, "cause": "refused"}
    place = {"site_id": "hn", "site_no": 2, "name": "惠农门诊", "kind": "clinic"}
    place |= {"org_code": "126402024540000009", "region_code": "640205"}
    with api.client() as admin, api.client(Role.VACCINATOR, "640205") as elsewhere:
        ok(admin.post("/api/v1/sites", json=place))
        with psycopg.connect(database.app_dsn) as conn:
            conn.execute(following.lock, (VACCINATION.follower,))
            now = {"Prefer": "wait=0"}
            ok(elsewhere.post(f"{V1}/not-given", json=told | {"site": "hn"}, headers=now))
            unfollowed = ok(clinic.post(f"{V1}/checks", json=asked, headers=now))
    assert reasons(unfollowed) == reasons(check(clinic, **asked)) == ["reserved"]
    ok(clinic.post(f"{V1}/not-given", json=told | {"site": "dwk-cdc"}))
    assert check(clinic, **asked)["may"]


def test_given_a_dose_kept_when_another_place_checks_its_person_then_still_kept_where_it_was(
    api: Api, database: Database, clinic: httpx.Client
) -> None:
    api.clock.advance(minutes=11)
    vial = f"{CODES[0][:-4]}0999"
    at = [api.clock.advance(minutes=1).isoformat() for _ in range(3)]
    told: list[dict[str, Any]] = [
        {"site": "szs", "at": at[0], "step": "commissioning", "lot": LOT, "level": 1},
        {"site": "szs", "at": at[1], "step": "shipping", "to": "hn", "bill": "HN1"},
        {"site": "hn", "at": at[2], "step": "receiving", "bill": "HN1"},
    ]
    visits = {each: ready(clinic, each) for each in ("R-80", "R-81")}
    with api.client() as admin, api.client(Role.VACCINATOR, "640205") as elsewhere:
        for scan in told:
            ok(admin.post("/api/v1/scans", json=scan | {"codes": [vial]}))
        assert check(clinic, CODES[4], "R-80", visit_id=visits["R-80"])["may"]
        with psycopg.connect(database.app_dsn) as conn:
            conn.execute(following.lock, (VACCINATION.follower,))
            now, visit_id = {"Prefer": "wait=0"}, ready(elsewhere, "R-80", "hn")
            asked = {"code": vial, "site": "hn", "recipient": "R-80", "visit_id": visit_id}
            assert ok(elsewhere.post(f"{V1}/checks", json=asked, headers=now))["may"]
            asked = {"code": CODES[4], "site": "dwk-cdc", "recipient": "R-81"}
            asked["visit_id"] = visits["R-81"]
            unfollowed = ok(clinic.post(f"{V1}/checks", json=asked, headers=now))
    assert reasons(unfollowed) == reasons(check(clinic, **asked)) == ["reserved"]


def test_given_people_nobody_lets_go_when_their_time_is_over_then_somebody_is_called_once(
    api: Api, database: Database, clinic: httpx.Client
) -> None:
    api.clock.advance(hours=25)  # whoever was given a dose before calls nobody any more
    ids = {}
    for code, recipient in ((CODES[6], "R-40"), (CODES[7], "R-41")):
        ids[recipient] = str(check(clinic, code, recipient)["check_id"])
        give(api, clinic, code, ids[recipient], recipient)
    observations = Observations()
    with api.deps.pool.connection() as conn:
        api.clock.advance(minutes=34)
        assert observations.tick(conn, api.clock.now()) == 0
        early = {"reaction": False}
        ok(clinic.post(f"{V1}/doses/{ids['R-40']}/observation-end", json=early))
        api.clock.advance(minutes=2)
        assert observations.tick(conn, api.clock.now()) == 1
        assert observations.tick(conn, api.clock.now() + LOOK_AGAIN) == 0
    rows = database.query(
        "SELECT severity, region_code, payload ->> 'people', payload ->> 'site_id' FROM outbox"
        " WHERE kind = 'observation_overdue'"
    )
    assert rows == [("major", "640202", "1", "dwk-cdc")]


def test_given_an_overdue_observation_when_told_then_where_how_many_and_what_to_do() -> None:
    facts = messages.Facts(
        alert_id="5b1f0c9e-0000-5000-8000-000000000000",
        kind="observation_overdue",
        level=0,
        severity="major",
        at=NOW,
        alert={"site_id": "p", "people": 2, "started_at": NOW.isoformat()},
        names={"site_id": ("甲区第一接种门诊", "First clinic")},
        link="",
    )
    assert messages.short(facts) == "【重要】留观超时未结束 甲区第一接种门诊 2人 5B1F0C9E"
    text = messages.long(facts)
    for part in ("2 名受种者", "2026-03-02 10:00", "First clinic", "not let go: 2"):
        assert part in text


@pytest.mark.parametrize("name", ["vaccination", "platform"])
def test_given_a_day_when_rebuilt_then_the_same_rows(
    database: Database, clinic: httpx.Client, name: str
) -> None:
    assert clinic is not None
    assert runner.check(database.app_dsn, name).same
