"""FHIR, tables, the connector beside a platform with faults, public verification: over HTTP."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from fhir.resources import R4B
from fhir.resources.bundle import Bundle
from fhir.resources.capabilitystatement import CapabilityStatement
from fhir.resources.immunization import Immunization
from fhir.resources.operationoutcome import OperationOutcome
from fhir.resources.R4B.bundle import Bundle as BundleR4B
from fhir.resources.R4B.capabilitystatement import CapabilityStatement as CapabilityStatementR4B

from alerts.platform.connector import Connector
from alerts.platform.national import Access, National
from api.public import Buckets, whole
from domain.shared.errors import Invalid
from domain.shared.roles import Role
from projections import runner
from simulators.platform import Books, Faults, serving
from tests.api.world import LOT, build
from tests.conftest import Database, free_port
from tests.served import Api

CODES = [f"8474354018136001{n:04}" for n in range(6)]
KEY, SECRET = "app", "test-only"
UPLOADS = "/api/v1/platform/uploads"


@pytest.fixture(scope="module")
def world(api: Api) -> Iterator[httpx.Client]:
    """Give an administrator's client; three of six vials were given, one dose was withdrawn."""
    with api.client() as admin:
        build(admin)
        steps: list[dict[str, Any]] = [
            {"site": "szs", "step": "commissioning", "lot": LOT, "level": 1},
            {"site": "szs", "step": "shipping", "to": "dwk-cdc", "bill": "B1"},
            {"site": "dwk-cdc", "step": "receiving", "bill": "B1", "from": "szs", "temp": 5.1},
        ]
        for step in steps:
            scan(api, admin, codes=CODES, **step)
        for n in range(3):
            scan(
                api,
                admin,
                codes=[CODES[n]],
                site="dwk-cdc",
                step="dispensing",
                fact_id=f"dose-{n}",
                recipient=f"R-{n}",
                vaccinator="P-7",
                body_site="左上臂三角肌",
                route="肌内注射",
                series_dose=1,
                series_doses=3,
                dose_ml=0.5,
                funding="programme",
            )
        gone = admin.post(
            "/api/v1/scans/dose-2/withdrawal", json={"site": "dwk-cdc", "reason": "录入错误"}
        )
        assert gone.status_code in {200, 201}, gone.text
        yield admin


def scan(api: Api, admin: httpx.Client, **body: Any) -> None:
    at = api.clock.advance(minutes=10).isoformat()
    answer = admin.post("/api/v1/scans", json={"at": at, **body})
    assert answer.status_code == 201, answer.text


def asked(client: httpx.Client, path: str, **params: Any) -> dict[str, Any]:
    answer = client.get(f"/fhir/{path}", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/fhir+json")
    body: dict[str, Any] = answer.json()
    return body


def recipients(bundle: dict[str, Any]) -> list[str]:
    return [entry["resource"]["patient"]["identifier"]["value"] for entry in bundle["entry"]]


@pytest.mark.usefixtures("world")
def test_given_doses_when_searched_in_either_release_then_valid_resources(api: Api) -> None:
    with api.client(Role.NURSE, "640202") as nurse:
        five, four = asked(nurse, "R5/Immunization"), asked(nurse, "R4B/Immunization")
        Bundle.model_validate(five)
        BundleR4B.model_validate(four)
        Immunization.model_validate(asked(nurse, f"R5/Immunization/{_ids(five)[0]}"))
        CapabilityStatement.model_validate(asked(nurse, "R5/metadata"))
        CapabilityStatementR4B.model_validate(asked(nurse, "R4B/metadata"))
    assert _ids(five) == _ids(four)
    assert sorted(recipients(five)) == ["R-0", "R-1", "R-2"]
    first, old = five["entry"][0]["resource"], four["entry"][0]["resource"]
    assert (first["lotNumber"], first["expirationDate"]) == ("A2026573", "2028-02-28")
    assert first["protocolApplied"] == [{"doseNumber": "1", "seriesDoses": "3"}]
    assert old["protocolApplied"] == [{"doseNumberPositiveInt": 1, "seriesDosesPositiveInt": 3}]
    assert (first["status"], first["doseQuantity"]["value"]) == ("completed", 0.5)
    assert first["administeredProduct"]["reference"]["identifier"]["value"] == CODES[0]
    assert R4B is not None


def _ids(bundle: dict[str, Any]) -> list[str]:
    return [entry["resource"]["id"] for entry in bundle["entry"]]


@pytest.mark.usefixtures("world")
def test_given_conditions_when_searched_then_only_what_fits(api: Api) -> None:
    with api.client(Role.NURSE, "640202") as nurse:
        path = "R5/Immunization"
        assert recipients(asked(nurse, path, patient="R-1")) == ["R-1"]
        assert recipients(asked(nurse, path, patient="urn:vaxtrail:pseudonym|R-1,R-0")) == [
            "R-0",
            "R-1",
        ]
        assert recipients(asked(nurse, path, status="entered-in-error")) == ["R-2"]
        assert len(asked(nurse, path, **{"lot-number": "A2026573"})["entry"]) == 3
        assert "entry" not in asked(nurse, path, **{"lot-number": "B1"})
        assert len(asked(nurse, path, date=["ge2026-03-02", "lt2026-03-03"])["entry"]) == 3
        assert "entry" not in asked(nurse, path, date="2025-12")
        assert len(asked(nurse, path, date="eq2026", _lastUpdated="le2027")["entry"]) == 3
        seen, url = [], f"{api.url}/fhir/R5/Immunization?_count=2&date=2026-03"
        while url:
            page = nurse.get(url).json()
            seen += _ids(page)
            url = next((k["url"] for k in page["link"] if k["relation"] == "next"), "")
        assert len(seen) == len(set(seen)) == 3
        one = asked(nurse, path, _id=seen[0])
        assert _ids(one) == [seen[0]]


@pytest.mark.usefixtures("world")
def test_given_no_right_or_no_sense_when_asked_then_an_outcome(api: Api) -> None:
    refused = []
    with api.client(Role.NURSE, "640205") as other, api.client(Role.SUPPLIER, "640202") as supplier:
        assert "entry" not in asked(other, "R5/Immunization")
        for client, query in (
            (other, "?date=tomorrow"),
            (other, "?nobody=1"),
            (other, "?status=done"),
            (other, "?_id=x"),
            (other, "?_cursor=x"),
            (other, "?date=2026-02-30"),
            (other, "/00000000-0000-0000-0000-000000000000"),
            (supplier, ""),
        ):
            answer = client.get(f"/fhir/R5/Immunization{query}")
            OperationOutcome.model_validate(answer.json())
            refused.append(answer.status_code)
    assert refused == [400, 400, 400, 400, 400, 400, 404, 403]
    with api.client(Role.HIS, "640202") as his:
        masked = asked(his, "R5/Immunization")["entry"][0]["resource"]["patient"]
        assert "identifier" not in masked
        assert his.get("/fhir/R5/Immunization?patient=R-1").status_code == 403


@pytest.mark.usefixtures("world")
def test_given_elements_when_exported_then_a_table_of_them(api: Api) -> None:
    with api.client(Role.CDC, "640200") as cdc:
        days = {"first": "2026-03-02", "last": "2026-03-02"}
        text = cdc.get("/api/v1/platform/immunizations", params=days)
        head, *rows = csv.reader(io.StringIO(text.content.decode("utf-8-sig")))
        assert (len(rows), head[0]) == (3, "接种流水号")
        told = dict(zip(head, rows[2], strict=True))
        assert (told["疫苗追溯码"], told["记录状态"]) == (CODES[2], "已更正作废")
        book = cdc.get("/api/v1/platform/immunizations", params=days | {"format": "xlsx"})
        assert book.content.startswith(b"PK")
        long = cdc.get("/api/v1/platform/immunizations", params={"first": "2020-01-01"})
        assert (long.status_code, long.json()["code"]) == (422, "too_many_days")


@pytest.fixture
def books() -> Books:
    return Books(KEY, SECRET)


@pytest.fixture
def national(api: Api, books: Books) -> Iterator[National]:
    """Give the connector's side of a platform that serves on loopback."""
    with serving(books, free_port()) as url:
        platform = National(Access(url, KEY, SECRET), api.clock.now)
        yield platform
        platform.close()


@pytest.fixture
def connector(api: Api, database: Database, national: National) -> Iterator[Connector]:
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        yield Connector(api.deps.ledger, conn, national, api.clock.now)


def settled(api: Api, database: Database, connector: Connector) -> None:
    """Tick until nothing waits, while the clock runs through all back-offs."""
    for _ in range(200):
        connector.tick()
        ((left,),) = database.query(
            "SELECT count(*) FROM platform_upload WHERE state IN ('waiting', 'submitted')"
        )
        if not left:
            return
        api.clock.advance(seconds=40)
    raise AssertionError("uploads are left")


def test_given_faults_when_uploaded_then_each_fact_is_there_once_and_nothing_lost(
    api: Api, world: httpx.Client, database: Database, books: Books, connector: Connector
) -> None:
    books.faults = Faults(refuses=0.3, loses_answers=0.3)
    books.recalls.append(
        {"recall_no": "国药召〔2026〕1", "product_id": "8474354", "batch_no": "Z1",
         "recall_time": "2026-03-02 08:00:00", "recall_class": "1", "reason": "质量"}
    )  # fmt: skip
    settled(api, database, connector)
    kinds = sorted(method.rpartition(".")[2] for method, _ in books.bills)
    # Of three doses the withdrawn one is not told.
    assert kinds == ["druploadretail"] * 2 + ["transportupload"] + ["uploadinoutbill"] * 2
    bill = next(b for (method, _), b in books.bills.items() if "inoutbill" in method)
    assert bill["from_user_id"] == "12640200454000000C"
    assert len(bill["trace_codes"]) == 6
    assert books.unsigned == 0
    with api.client(Role.CDC, "640200") as cdc:
        items = cdc.get(UPLOADS, params={"state": "accepted"}).json()["items"]
        assert len(items) == 5
        assert cdc.get(UPLOADS, params={"state": "rejected"}).json()["items"] == []
    # The recall is a fact that binds the lot, once.
    api.followed(api.deps.ledger.last_position())
    rows = database.query("SELECT count(*) FROM rm_traceability.scan WHERE lot_id = '8474354.Z1'")
    assert rows == [(1,)]
    assert world is not None


def test_given_lost_bills_when_compared_then_sent_anew_and_counted(
    api: Api, world: httpx.Client, database: Database, books: Books, connector: Connector
) -> None:
    # This platform has forgotten all that the one before was told.
    api.clock.advance(days=1)
    connector.tick()
    counts = world.get(
        "/api/v1/platform/reconciliation", params={"first": "2026-03-02", "last": "2026-03-02"}
    ).json()["lines"]
    assert sum(line["missing"] for line in counts) == 5
    settled(api, database, connector)
    assert len(books.bills) == 5
    after = world.get(
        "/api/v1/platform/reconciliation", params={"first": "2026-03-02", "last": "2026-03-02"}
    ).json()["lines"]
    assert {line["kind"]: (line["ours"], line["accepted"], line["missing"]) for line in after} == {
        "bill": (2, 2, 0),
        "injection": (2, 2, 0),
        "transport": (1, 1, 0),
    }


def test_given_a_refused_bill_when_mended_or_settled_then_it_is_done(
    api: Api, world: httpx.Client, database: Database, books: Books, connector: Connector
) -> None:
    books.strangers.add("12640200454000000C")
    for bill in ("B7", "B8"):
        scan(api, world, codes=[CODES[5]], site="szs", step="shipping", to="dwk-cdc", bill=bill)
    settled(api, database, connector)
    with api.client(Role.CDC, "640200") as cdc:
        first, second = cdc.get(UPLOADS, params={"state": "rejected"}).json()["items"]
        assert first["last_error"].startswith("partner_missing")
        no_reason = cdc.post(f"{UPLOADS}/{first['upload_id']}/resubmission", json={"reason": ""})
        assert no_reason.status_code == 422
        books.strangers.clear()
        why = {"reason": "平台已登记往来单位"}
        sent = cdc.post(f"{UPLOADS}/{first['upload_id']}/resubmission", json=why)
        assert sent.status_code == 200, sent.text
        done = cdc.post(f"{UPLOADS}/{second['upload_id']}/settlement", json=why)
        assert done.status_code == 200, done.text
        settled(api, database, connector)
        assert cdc.get(UPLOADS, params={"state": "rejected"}).json()["items"] == []
        again = cdc.post(f"{UPLOADS}/{second['upload_id']}/settlement", json=why)
        assert again.status_code == 200
        nothing = cdc.post(f"{UPLOADS}/{'0' * 32}/settlement", json=why)
        assert (nothing.status_code, nothing.json()["code"]) == (404, "unknown_upload")
    assert len(books.bills) == 1


def test_given_a_told_fact_when_withdrawn_then_a_work_item(
    api: Api, world: httpx.Client, database: Database, books: Books, connector: Connector
) -> None:
    settled(api, database, connector)
    before = len(books.calls)
    gone = world.post(
        "/api/v1/scans/dose-1/withdrawal", json={"site": "dwk-cdc", "reason": "录入错误"}
    )
    assert gone.status_code in {200, 201}
    connector.tick()
    (item,) = world.get(UPLOADS, params={"state": "rejected"}).json()["items"]
    assert (item["fact_id"], item["kind"]) == ("dose-1", "injection")
    assert item["last_error"].startswith("fact_withdrawn")
    assert len(books.calls) == before


def test_given_another_secret_when_called_then_refused_and_kept(
    api: Api, world: httpx.Client, database: Database, books: Books, connector: Connector
) -> None:
    books.secret = "another"
    scan(api, world, codes=[CODES[4]], site="szs", step="shipping", to="dwk-cdc", bill="B9")
    api.clock.advance(hours=1)
    connector.tick()
    assert (books.unsigned, books.bills) == (1, {})
    books.secret = SECRET
    settled(api, database, connector)
    assert len(books.bills) == 1


def test_given_a_code_when_asked_in_public_then_what_it_is_and_no_more(
    api: Api, world: httpx.Client
) -> None:
    verify = f"{api.url}/api/v1/public/verify"
    genuine = httpx.get(f"{verify}/{CODES[3]}").json()
    assert (genuine["verdict"], genuine["lot_number"]) == ("genuine", "A2026573")
    assert set(genuine) == {
        *("code", "verdict", "text_zh", "text_en", "product", "product_en", "holder"),
        *("lot_number", "expires_on"),
    }
    assert httpx.get(f"{verify}/{CODES[0]}").json()["verdict"] == "used"
    assert httpx.get(f"{verify}/84743540181360019999").json()["verdict"] == "unknown"
    assert httpx.get(f"{verify}/{CODES[3]}?check=9999").json()["verdict"] == "unknown"
    assert httpx.get(f"{verify}/{CODES[3][:16]}?check=0003").json()["verdict"] == "genuine"
    assert httpx.get(f"{verify}/123").status_code == 422
    page = httpx.get(f"{api.url}/verify", params={"code": CODES[3]})
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "追溯码真实有效" in page.text
    assert "<script" not in page.text
    assert len(page.content) < 60_000
    assert '"&gt;&lt;b' in httpx.get(f"{api.url}/verify", params={"code": '"><b'}).text.replace(
        "&quot;", '"'
    )
    at = api.clock.advance(minutes=10).isoformat()
    hold = {
        "at": at,
        "site": "szs",
        "step": "holding",
        "lot": LOT,
        "codes": [],
        "recall": True,
        "reason": "x",
    }
    recalled = world.post("/api/v1/scans", json=hold)
    assert recalled.status_code == 201, recalled.text
    assert httpx.get(f"{verify}/{CODES[3]}").json()["verdict"] == "recalled"
    api.app.state.public.buckets = Buckets(burst=1)  # type: ignore[attr-defined]
    for _ in range(2):
        last = httpx.get(f"{verify}/{CODES[3]}")
    assert (last.status_code, last.json()["code"]) == (429, "too_many_questions")
    assert last.headers["retry-after"]


def test_given_known_and_unknown_codes_when_asked_then_the_same_time(api: Api) -> None:
    api.app.state.public.buckets = Buckets()  # type: ignore[attr-defined]
    took = []
    for code in (CODES[3], "84743540181360019999"):
        began = time.monotonic()
        httpx.get(f"{api.url}/api/v1/public/verify/{code}")
        took.append(time.monotonic() - began)
    assert min(took) >= 0.05


def test_given_a_bucket_when_emptied_then_it_fills_with_time() -> None:
    buckets = Buckets(burst=2, per_s=1)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [True, True, False]
    assert buckets.take("b", 0.0)
    assert buckets.take("a", 1.0)
    with pytest.raises(Invalid, match="bad_check_part"):
        whole(CODES[0], "12")


def test_given_all_of_this_when_rebuilt_then_the_same_rows(
    database: Database, world: httpx.Client
) -> None:
    assert world is not None
    assert runner.check(database.app_dsn, "platform").same
