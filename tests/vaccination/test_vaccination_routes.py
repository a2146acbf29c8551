"""A clinic's day over HTTP: the check, the dose, what follows it, supply, charges, transfers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from api.snapshot_file import opened
from api.snapshots import snapshot_of
from domain.alerting import model as alerting
from domain.alerting.events import AlertFired, AlertWithdrawn
from domain.shared.ids import stream_id
from domain.shared.roles import Role
from domain.traceability.events import ExcursionConfirmed
from domain.vaccination.snapshot import judge_offline
from projections import runner
from projections.alerting import PROJECTION as ALERTING
from projections.follower import queries as following
from projections.traceability import PROJECTION
from projections.vaccination import PROJECTION as VACCINATION
from simulators.http import Api as PaymentApi
from simulators.payment import Payments
from store.envelope import Envelope, Meta
from tests.api.world import LOT, WORLD
from tests.conftest import Database
from tests.runtime.instance import run
from tests.served import SIGNING_KEY, Api
from tests.vaccination.clinic import PRODUCT, V1, ok, ready, receiving, refused

CODES = [f"8474354018136001{n:04}" for n in range(12)]


@pytest.fixture(scope="module")
def clinic(api: Api) -> Iterator[httpx.Client]:
    """Give a vaccinator's client of a clinic that has received the vials."""
    with receiving(api, CODES) as client:
        yield client


def due(site: str = "dwk-cdc") -> dict[str, Any]:
    item = {"product_ids": [PRODUCT], "series_dose": 1, "not_before": "2026-03-01"}
    return {"site": site, "items": [item], "source": "省平台"}


def check(client: httpx.Client, code: str, **body: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"code": code, "site": "dwk-cdc", "recipient": "R-0", **body}
    return ok(client.post(f"{V1}/checks", json=fields))


def codes_of(told: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in told["reasons"]]


def give(api: Api, clinic: httpx.Client, code: str, recipient: str) -> str:
    """Check a code, give its dose under the check's id, and return that."""
    told = check(clinic, code, recipient=recipient, visit_id=ready(clinic, recipient))
    assert told["may"], told["reasons"]
    given = {"at": api.clock.now().isoformat(), "vaccinator": "N-1"}
    ok(clinic.post("/api/v1/scans", json=told["dose"] | given))
    return str(told["check_id"])


def release(api: Api) -> None:
    """Release the lot: what its codes met until now is settled."""
    api.clock.advance(minutes=1)
    signed = {"executer": "Q-1", "supervisor": "Q-2", "reason": "评估合格"}
    lot = {"site": "dwk-cdc", "at": api.clock.now().isoformat(), "codes": [], "lot": LOT}
    with api.client(Role.CDC, "640200") as cdc:
        ok(cdc.post("/api/v1/scans", json=lot | signed | {"step": "releasing"}))


def test_given_a_visit_in_order_when_checked_then_may_and_the_dose_is_observed(
    api: Api, clinic: httpx.Client
) -> None:
    ok(clinic.post(f"{V1}/people/R-1/due-list", json=due()))
    fact_id = give(api, clinic, CODES[0], "R-1")
    early = clinic.post(f"{V1}/doses/{fact_id}/observation-end", json={"reaction": False})
    refused(early, 422, "release_reason_required")
    waiting = ok(clinic.get(f"{V1}/doses", params={"observed": "true", "site_id": "dwk-cdc"}))
    (dose,) = [d for d in waiting["items"] if d["fact_id"] == fact_id]
    assert (dose["may"], dose["overdue"], dose["recipient"]) == (True, False, "R-1")
    api.clock.advance(minutes=30)
    ok(clinic.post(f"{V1}/doses/{fact_id}/observation-end", json={"reaction": False}), 201)
    told = check(clinic, CODES[0], recipient="R-1", visit_id=ready(clinic, "R-1"))
    assert codes_of(told) == ["used", "already_given"]
    assert told["reasons"][0]["todo_zh"]
    with api.client(Role.ADMIN) as other:
        assert "recipient" not in ok(other.get(f"{V1}/checks/{fact_id}"))


def test_given_nothing_arranged_when_checked_then_every_reason_in_both_languages(
    clinic: httpx.Client,
) -> None:
    told = check(clinic, CODES[1])
    assert codes_of(told) == ["consent_missing", "screening_missing"]
    assert told["reasons"][0]["title_zh"] != told["reasons"][0]["title_en"]
    assert [c["code"] for c in told["cautions"]] == ["due_unknown"]
    told = check(clinic, "84743540181360019999", due=[])
    assert codes_of(told)[:1] == ["unknown_code"]
    again = {"check_id": told["check_id"], "code": CODES[2], "site": "dwk-cdc", "recipient": "R-0"}
    refused(clinic.post(f"{V1}/checks", json=again), 409, "already_registered")
    same = again | {"code": "84743540181360019999"}
    assert ok(clinic.post(f"{V1}/checks", json=same), 200)["may"] is False


@pytest.mark.parametrize("lot", [None, LOT])
def test_given_a_hold_that_the_follower_has_not_seen_when_checked_then_refused_at_once(
    api: Api, database: Database, clinic: httpx.Client, lot: str | None
) -> None:
    code = CODES[3]
    ask = {"code": code, "site": "dwk-cdc", "recipient": "R-3", "visit_id": ready(clinic, "R-3")}
    hold: dict[str, Any] = {
        "site": "dwk-cdc",
        "step": "holding",
        "reason": "冰箱断电",
        "fact_id": f"hold-{lot}",
    }
    about = {"at": api.clock.now().isoformat(), "codes": [] if lot else [code], "lot": lot}
    wrong = {"site": "dwk-cdc", "reason": "误报"}
    now = {"Prefer": "wait=0"}
    with api.client(Role.CDC, "640202") as cdc, psycopg.connect(database.app_dsn) as conn:
        conn.execute(following.lock, (PROJECTION.follower,))  # nothing is followed meanwhile
        ok(cdc.post("/api/v1/scans", json=hold | about, headers=now))
        assert codes_of(ok(clinic.post(f"{V1}/checks", json=ask, headers=now))) == ["held"]
        ok(cdc.post(f"/api/v1/scans/hold-{lot}/withdrawal", json=wrong, headers=now))
        assert ok(clinic.post(f"{V1}/checks", json=ask, headers=now))["may"]


def test_given_a_dose_that_the_follower_has_not_seen_when_checked_then_already_given(
    api: Api, database: Database, clinic: httpx.Client
) -> None:
    now = {"Prefer": "wait=0"}
    scan = {"site": "dwk-cdc", "fact_id": "dose-R-6", "step": "dispensing", "recipient": "R-6"}
    about = {"at": api.clock.now().isoformat(), "codes": [CODES[10]], "series_dose": 1}
    ask = {"code": CODES[11], "site": "dwk-cdc", "recipient": "R-6"}
    ask["visit_id"] = ready(clinic, "R-6")
    with psycopg.connect(database.app_dsn) as conn:
        conn.execute(following.lock, (VACCINATION.follower,))  # nothing is followed meanwhile
        ok(clinic.post("/api/v1/scans", json=scan | about, headers=now))
        told = ok(clinic.post(f"{V1}/checks", json=ask, headers=now))
        assert codes_of(told) == ["already_given"]
        wrong = {"site": "dwk-cdc", "reason": "误报"}
        ok(clinic.post("/api/v1/scans/dose-R-6/withdrawal", json=wrong, headers=now))
        assert ok(clinic.post(f"{V1}/checks", json=ask, headers=now))["may"]


def test_given_an_excursion_that_nothing_has_followed_when_checked_then_refused_at_once(
    api: Api, database: Database, clinic: httpx.Client
) -> None:
    ask = {"code": CODES[4], "site": "dwk-cdc", "recipient": "R-7"}
    ask["visit_id"], at = ready(clinic, "R-7"), api.clock.now()
    meta = Meta(occurred_at=at, recorded_at=at, region_code="640202")
    now, alert_id = {"Prefer": "wait=0"}, str(stream_id("alerting.episode", "unfollowed"))
    where: dict[str, Any] = {"unit_id": "dwk-room-1", "site_id": "dwk-cdc"}
    where |= {"device_id": "dwk-log-7", "limit_c": 8.0, "peak_c": 12.0}
    started_at = at - timedelta(minutes=5)
    fired = AlertFired(
        alert_id=alert_id,
        channel="t1",
        region_code="640202",
        rule_id="heat",
        rule_version=1,
        severity="critical",
        side="high",
        fired_at=at,
        value_c=12.0,
        started_at=started_at,
        **where,
    )
    confirmed = ExcursionConfirmed(started_at=started_at, ended_at=at, **where)
    alert, excursion = alerting.episode_stream(alert_id), stream_id("x", "unfollowed")

    def found() -> list[str]:
        return codes_of(ok(clinic.post(f"{V1}/checks", json=ask, headers=now)))

    with psycopg.connect(database.app_dsn) as conn:
        conn.execute(following.lock, (PROJECTION.follower,))
        conn.execute(following.lock, (ALERTING.follower,))
        api.deps.ledger.append([Envelope(alert, 1, fired, meta)])
        assert found() == ["excursion"]
        withdrawn = AlertWithdrawn(alert_id=alert_id, cause="late_data")
        api.deps.ledger.append([Envelope(alert, 2, withdrawn, meta)])
        assert found() == []
        api.deps.ledger.append([Envelope(excursion, 1, confirmed, meta)])
        assert found() == ["excursion"]
    release(api)


def test_given_an_excursion_of_the_unit_when_checked_then_refused(
    api: Api, clinic: httpx.Client
) -> None:
    api.clock.advance(minutes=20)
    visit_id, now = ready(clinic, "R-4"), api.clock.now()
    alert_id = str(stream_id("alerting.episode", "dwk-log-1", "t1", "freeze", 1))
    fired = AlertFired(
        alert_id=alert_id,
        device_id="dwk-log-1",
        channel="t1",
        unit_id="dwk-room-1",
        site_id="dwk-cdc",
        region_code="640202",
        rule_id="freeze_60min",
        rule_version=1,
        severity="critical",
        side="low",
        limit_c=-0.5,
        started_at=now - timedelta(minutes=5),
        fired_at=now,
        value_c=-2.0,
        peak_c=-2.0,
    )
    meta = Meta(occurred_at=now, recorded_at=now, region_code="640202")
    stream = alerting.episode_stream(alert_id)
    api.followed(api.deps.ledger.append([Envelope(stream, 1, fired, meta)]))
    assert codes_of(check(clinic, CODES[4], recipient="R-4", visit_id=visit_id)) == ["excursion"]
    withdrawn = AlertWithdrawn(alert_id=alert_id, cause="late_data")
    api.followed(api.deps.ledger.append([Envelope(stream, 2, withdrawn, meta)]))
    assert check(clinic, CODES[4], recipient="R-4", visit_id=visit_id)["may"]
    confirmed = ExcursionConfirmed(
        device_id="dwk-log-9",
        unit_id="dwk-room-1",
        site_id="dwk-cdc",
        started_at=now - timedelta(minutes=5),
        ended_at=now,
        limit_c=8.0,
        peak_c=12.0,
    )
    record = Envelope(stream_id("traceability.excursion", "dwk-log-9"), 1, confirmed, meta)
    api.followed(api.deps.ledger.append([record]))
    assert codes_of(check(clinic, CODES[4], recipient="R-4", visit_id=visit_id)) == ["excursion"]
    release(api)
    assert check(clinic, CODES[4], recipient="R-4", visit_id=visit_id)["may"]


def excursions(api: Api) -> int:
    """Return how many cases of temperatures are open."""
    asked = {"kind": "THERMAL_EXCURSION", "state": "open"}
    with api.client() as admin:
        return len(ok(admin.get("/api/v1/exceptions", params=asked))["items"])


@pytest.mark.parametrize(
    ("severity", "excursion"), [("minor", "minor"), ("info", "none"), ("major", "grave")]
)
def test_given_an_alert_when_checked_then_as_grave_as_it_is_everywhere(
    api: Api, clinic: httpx.Client, severity: str, excursion: str
) -> None:
    api.clock.advance(minutes=20)
    recipient = f"R-{severity}"
    visit_id, before, now = ready(clinic, recipient), excursions(api), api.clock.now()
    alert_id = str(stream_id("alerting.episode", "dwk-log-1", "t1", severity, 1))
    fired = AlertFired(
        alert_id=alert_id,
        device_id="dwk-log-1",
        channel="t1",
        unit_id="dwk-room-1",
        site_id="dwk-cdc",
        region_code="640202",
        rule_id="high",
        rule_version=1,
        severity=severity,
        side="high",
        limit_c=8.0,
        started_at=now - timedelta(minutes=11),
        fired_at=now,
        value_c=9.0,
        peak_c=9.0,
    )
    meta = Meta(occurred_at=now, recorded_at=now, region_code="640202")
    stream = alerting.episode_stream(alert_id)
    api.followed(api.deps.ledger.append([Envelope(stream, 1, fired, meta)]))
    told = check(clinic, CODES[4], recipient=recipient, visit_id=visit_id)
    cautions = {caution["code"] for caution in told["cautions"]}
    assert told["may"] == (excursion != "grave")
    assert ("minor_excursion" in cautions) == (excursion == "minor")
    kept = {vial.code: vial.excursion for vial in snapshot_of(api.deps, "dwk-cdc").vials}
    assert kept[CODES[4]] == excursion
    assert excursions(api) - before == (excursion == "grave")
    withdrawn = AlertWithdrawn(alert_id=alert_id, cause="late_data")
    api.followed(api.deps.ledger.append([Envelope(stream, 2, withdrawn, meta)]))


def test_given_a_vial_opened_by_wasting_a_dose_when_checked_then_it_has_a_deadline(
    api: Api, clinic: httpx.Client
) -> None:
    at, code = api.clock.now(), "84743550181360010001"
    scan = {"site": "dwk-cdc", "codes": [code]}
    with api.client() as admin:
        known = next(body for _, body in WORLD if body.get("product_id") == PRODUCT)
        two = {"product_id": "8474355", "doses_per_vial": 2, "opened_limit_min": 30}
        ok(admin.post("/api/v1/products", json=known | two))
        for step in (
            {"step": "commissioning", "lot": "8474355.A1", "level": 1},
            {"step": "wasting", "doses": 1, "reason": "破损"},
        ):
            ok(admin.post("/api/v1/scans", json=scan | step | {"at": at.isoformat()}))
    vial = check(clinic, code)["vial"]
    assert datetime.fromisoformat(vial["use_by"]) == at + timedelta(minutes=30)


def test_given_three_reports_on_a_lot_when_told_then_the_cdc_is_noticed(
    api: Api, database: Database, clinic: httpx.Client
) -> None:
    for n, code in enumerate(CODES[5:8]):
        fact_id = give(api, clinic, code, f"R-5{n}")
        body = {
            "aefi_id": f"AE-{n}",
            "fact_id": fact_id,
            "onset_at": api.clock.now().isoformat(),
            "serious": False,
            "signs": ["fever"],
        }
        ok(clinic.post(f"{V1}/aefi", json=body), 201)
        ok(clinic.post(f"{V1}/aefi", json=body), 200)
        del body["aefi_id"]
        ok(clinic.post(f"{V1}/aefi", json=body), 201)
        ok(clinic.post(f"{V1}/aefi", json=body), 200)
    (cluster,) = ok(clinic.get(f"{V1}/aefi-clusters"))["items"]
    assert cluster["lot_id"] == LOT
    assert {"AE-0", "AE-1", "AE-2"} <= set(cluster["aefi_ids"])
    told = database.query("SELECT kind, region_code, payload ->> 'cases' FROM outbox")
    assert told == [("aefi_cluster", "640202", "5")]
    follow = {"followed_at": api.clock.now().isoformat(), "serious": True, "outcome": "recovering"}
    ok(clinic.post(f"{V1}/aefi/AE-0/follow-ups", json=follow))
    with api.client(Role.CDC, "640200") as cdc:
        ok(cdc.post(f"{V1}/aefi/AE-0/classification", json={"cause": "coincidence"}))
        whole = ok(cdc.get(f"{V1}/aefi/AE-0"))
        assert (whole["cause"], whole["serious"], len(whole["followed"])) == (
            "coincidence",
            True,
            1,
        )
        listed = ok(cdc.get(f"{V1}/aefi", params={"state": "closed"}))["items"]
        assert [row["aefi_id"] for row in listed] == ["AE-0"]
    with api.client(Role.CDC, "640205") as other:
        refused(other.get(f"{V1}/aefi/AE-0"), 404, "unknown_aefi")
        assert ok(other.get(f"{V1}/aefi"))["items"] == []


def test_given_a_requisition_when_approved_then_lots_and_a_bill(
    api: Api, clinic: httpx.Client
) -> None:
    body = {"requisition_id": "Q-1", "site_id": "szs", "supplier_id": "dwk-cdc"}
    lines = {"lines": [{"product_id": PRODUCT, "units": 2}]}
    limit = {"site_id": "szs", "product_id": PRODUCT, "units_min": 5, "units_max": 9}
    with api.client(Role.CDC, "640200") as cdc:
        ok(cdc.post(f"{V1}/stock-limits", json=limit))
        (wanted,) = ok(cdc.get(f"{V1}/sites/szs/stock-limits"))["items"]
        assert (wanted["units_now"], wanted["units_to_ask"]) == (0, 9)
        ok(cdc.post(f"{V1}/requisitions", json=body | lines))
    with api.client(Role.STORE_KEEPER, "640202") as keeper:
        shown = ok(keeper.get(f"{V1}/requisitions/Q-1"))
        allotted = [{"product_id": PRODUCT, "units": 2, "lot_id": LOT}]
        assert shown["proposal"] == allotted
        approved = ok(keeper.post(f"{V1}/requisitions/Q-1/approval", json={}))
        assert (approved["bill_no"], approved["allotted"]) == ("PS20260302-Q-1", allotted)
        ok(keeper.post(f"{V1}/requisitions/Q-1/approval", json={}), 200)
        again = keeper.post(f"{V1}/requisitions/Q-1/refusal", json={"reason": "缺货"})
        refused(again, 409, "requisition_closed")
        (row,) = ok(keeper.get(f"{V1}/requisitions", params={"state": "approved"}))["items"]
        assert (row["site_id"], row["bill_no"]) == ("szs", "PS20260302-Q-1")
        refused(keeper.post(f"{V1}/requisitions/Q-9/approval", json={}), 404, "unknown_requisition")
        ok(keeper.get(f"{V1}/requisitions/Q-1"))


def test_given_a_price_when_charged_paid_and_cancelled_then_refunded(
    api: Api, clinic: httpx.Client
) -> None:
    charge = {"charge_id": "F-1", "site_id": "dwk-cdc", "recipient": "R-6", "product_id": PRODUCT}
    refused(clinic.post(f"{V1}/charges", json=charge), 422, "no_price")
    price = {"product_id": PRODUCT, "region_code": "640000", "price_fen": 19_800}
    about = {"service_fen": 2_000, "valid_from": "2026-01-01", "basis": "中标价"}
    with api.client() as admin:
        ok(admin.post(f"{V1}/prices", json=price | about))
    ok(clinic.post(f"{V1}/charges", json=charge))
    with api.client(Role.PAYMENT, "640200") as payment:
        (waiting,) = ok(payment.get(f"{V1}/charges", params={"state": "due"}))["items"]
        assert waiting["amount_fen"] == 21_800
        assert "recipient" not in waiting
        money = {"amount_fen": 21_800, "reference": "P1"}
        ok(payment.post(f"{V1}/charges/F-1/payment", json=money))
        ok(clinic.post(f"{V1}/charges/F-1/cancellation", json={"reason": "发热"}))
        ok(payment.post(f"{V1}/charges/F-1/refund", json=money | {"reference": "P2"}))
        ok(payment.post(f"{V1}/charges/F-1/refund", json=money | {"reference": "P2"}), 200)
    (row,) = ok(clinic.get(f"{V1}/charges"))["items"]
    assert (row["state"], row["reference"], row["refund_reference"]) == ("refunded", "P1", "P2")


def test_given_a_payment_system_that_forgets_and_repeats_then_each_charge_is_settled_once(
    api: Api, clinic: httpx.Client
) -> None:
    charge = {"site_id": "dwk-cdc", "recipient": "R-6", "product_id": PRODUCT}
    ids = [ok(clinic.post(f"{V1}/charges", json=charge))["charge_id"] for _ in range(4)]
    with closing(PaymentApi(api.url, api.key(Role.PAYMENT, "640200"))) as wire:
        payments = Payments(wire, random.Random(5))
        while payments.settle():
            pass
        for charge_id in ids[:2]:
            ok(clinic.post(f"{V1}/charges/{charge_id}/cancellation", json={"reason": "改日"}))
        while payments.settle():
            pass
    states = {row["charge_id"]: row["state"] for row in ok(clinic.get(f"{V1}/charges"))["items"]}
    assert [states[charge_id] for charge_id in ids] == ["refunded", "refunded", "paid", "paid"]


def test_given_a_child_when_transferred_then_the_other_clinic_sets_the_due_list(
    api: Api, clinic: httpx.Client
) -> None:
    ok(clinic.post(f"{V1}/people/R-7/due-list", json=due()))
    asked = {"transfer_id": "T-1", "recipient": "R-7", "from_site": "dwk-cdc", "to_site": "szs"}
    with api.client(Role.CDC, "640200") as city:
        refused(city.post(f"{V1}/people/R-7/due-list", json=due("szs")), 409, "not_their_clinic")
        ok(city.post(f"{V1}/transfers", json=asked))
        ok(clinic.post(f"{V1}/transfers/T-1/answer", json={"recipient": "R-7", "accepted": True}))
        ok(city.post(f"{V1}/people/R-7/due-list", json=due("szs") | {"items": []}))
    refused(clinic.get(f"{V1}/people/R-7/due-list"), 404, "unknown_person")
    (row,) = ok(clinic.get(f"{V1}/transfers", params={"state": "accepted"}))["items"]
    assert (row["from_site_id"], row["to_site_id"]) == ("dwk-cdc", "szs")


def test_given_a_question_list_when_published_then_answers_name_its_version(
    api: Api, clinic: httpx.Client
) -> None:
    question = {"question_id": "fever", "zh": "发热？", "en": "Fever?", "yes": "stop"}
    body = {"list_id": "short", "questions": [question], "source": "规范"}
    with api.client() as admin:
        ok(admin.post(f"{V1}/question-lists", json=body), 201)
    assert ok(clinic.get(f"{V1}/question-lists/short"))["version"] == 1
    visit_id = ready(clinic, "R-8")
    answers = {"list_id": "short", "version": 1, "answers": {"fever": True}}
    ok(clinic.post(f"{V1}/visits/{visit_id}/answers", json=answers))
    shown = ok(clinic.get(f"{V1}/visits/{visit_id}"))
    assert (shown["consent"]["given"], shown["screening"]["stops"]) == (True, ["fever"])
    told = check(clinic, CODES[8], recipient="R-8", visit_id=visit_id)
    assert codes_of(told) == ["contraindicated"]


def test_given_a_snapshot_when_opened_with_the_public_key_then_judged_as_the_server_does(
    api: Api, clinic: httpx.Client
) -> None:
    file = clinic.get(f"{V1}/snapshots/dwk-cdc")
    assert file.status_code == 200, file.text
    snapshot = opened(file.content, SIGNING_KEY.public_key())
    now = api.clock.now()
    assert judge_offline(snapshot, CODES[9], at=now).may
    assert {vial.code for vial in snapshot.vials} >= set(CODES[8:])
    assert ok(clinic.get(f"{V1}/snapshot-key"))["pem"].startswith("-----BEGIN PUBLIC KEY")


def test_given_a_journal_when_sent_to_the_server_then_its_dose_once_and_late(
    api: Api, clinic: httpx.Client, tmp_path: Path
) -> None:
    key, journal, file = tmp_path / "key", tmp_path / "journal", tmp_path / "stock.jsonl"
    key.write_text(api.key(Role.VACCINATOR, "640202"))
    there = ["--server", api.url, "--key-file", str(key)]
    for words in (["key", "-o", str(tmp_path / "k.pem")], ["snapshot", "dwk-cdc", "-o", str(file)]):
        assert run(tmp_path, "clinic", *words, *there).returncode == 0
    assert opened(file.read_bytes(), SIGNING_KEY.public_key()).site_id == "dwk-cdc"
    about = ["--site", "dwk-cdc", "--step", "dispensing", "--recipient", "R-11", "--id", "off-1"]
    at = ["--at", api.clock.now().isoformat()]
    assert run(tmp_path, "clinic", "record", str(journal), CODES[11], *about, *at).returncode == 0
    sync = ["clinic", "sync", str(journal), *there, "--json"]

    def synced() -> dict[str, Any]:
        text = run(tmp_path, *sync).stdout  # behind the lines of the server's log
        counts: dict[str, Any] = json.loads(text[text.index("{\n") :])
        return counts

    told = [synced(), synced()]
    assert [(each["sent"], each["known"], each["late"]) for each in told] == [(1, 0, 1), (0, 0, 0)]
    (tmp_path / "journal.sent").unlink()
    assert synced()["known"] == 1
    api.followed(api.deps.ledger.last_position())
    rows = ok(clinic.get(f"{V1}/doses", params={"limit": 500}))["items"]
    assert [row["may"] for row in rows if row["fact_id"] == "off-1"] == [None]
    key.write_text("vt_wrong")
    assert "401" in run(tmp_path, "clinic", "snapshot", "dwk-cdc", "-o", str(file), *there).stderr


def test_given_a_day_when_rebuilt_then_the_same_rows(
    database: Database, clinic: httpx.Client
) -> None:
    assert clinic is not None
    assert runner.check(database.app_dsn, "vaccination").same
