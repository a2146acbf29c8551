"""From an alert to the goods: named, held, told, and released by people alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from alerts.consequence import Consequences
from domain.alerting import model
from domain.alerting.consequence import stock_stream
from domain.alerting.events import AlertFired, AlertResolved, AlertWithdrawn
from domain.shared.ids import stream_id
from domain.shared.roles import Role
from ingest import main as ingest
from projections import runner
from runtime.broker import BrokerServer
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.alerts.test_process import alerting, thread
from tests.api.world import LOT
from tests.conftest import Database
from tests.ingest.field import message
from tests.ingest.test_broker import publish, wait_for_session
from tests.served import Api
from tests.vaccination.clinic import V1, ok, receiving, refused

pytestmark = [pytest.mark.database, pytest.mark.broker]

CODES = [f"8474354018136002{n:04}" for n in range(12)]
PACK, LATE, ELSEWHERE = (f"8474354018136002{n:04}" for n in (100, 101, 102))
UNIT = "dwk-room-1"


@pytest.fixture(scope="module")
def clinic(api: Api) -> Iterator[httpx.Client]:
    """Give a vaccinator's client of a clinic with vials in its refrigerator, two in a pack."""
    with receiving(api, CODES) as client, api.client() as admin:
        scan(api, admin, "packing", [*CODES[:2]], parent=PACK, unit=UNIT)
        extra = {"site": "szs", "lot": LOT, "level": 1}
        scan(api, admin, "commissioning", [LATE, ELSEWHERE], **extra)
        yield client


@pytest.fixture(scope="module")
def admin(api: Api) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


@pytest.fixture
def consequences(database: Database, ledger: Ledger) -> Iterator[Consequences]:
    """Look after goods, in a session of its own."""
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        made = Consequences(ledger, conn)
        assert made.leads()
        yield made


def scan(api: Api, client: httpx.Client, step: str, codes: list[str], **more: Any) -> None:
    at = api.clock.advance(minutes=1).isoformat()
    body = {"site": "dwk-cdc", "at": at, "step": step, "codes": codes, **more}
    ok(client.post("/api/v1/scans", json=body))


class Alert:
    """An alert of the refrigerator, written as ingest would."""

    def __init__(self, api: Api, *, minutes: float = 60, **more: Any) -> None:
        self._api = api
        now = api.clock.now()
        self.alert_id = str(stream_id("alerting.episode", uuid4().hex))
        fields: dict[str, Any] = {
            "device_id": "dwk-log-1",
            "channel": "t1",
            "unit_id": UNIT,
            "site_id": "dwk-cdc",
            "region_code": "640202",
            "rule_id": "freeze_60min",
            "rule_version": 1,
            "severity": "critical",
            "side": "low",
            "limit_c": -0.5,
            "started_at": now - timedelta(minutes=minutes),
            "fired_at": now,
            "value_c": -2.0,
            "peak_c": -2.0,
        } | more
        self.write(AlertFired(alert_id=self.alert_id, **fields))

    def write(self, event: Any) -> None:
        """Append an event of the engine."""
        ledger, now = self._api.deps.ledger, self._api.clock.now()
        stream = model.episode_stream(self.alert_id)
        version = len(ledger.stream(stream)) + 1
        meta = Meta(occurred_at=now, recorded_at=now, region_code="640202")
        self._api.followed(ledger.append([Envelope(stream, version, event, meta)]))

    def resolve(self) -> None:
        """Let it be over by now."""
        now = self._api.clock.now()
        over = AlertResolved(alert_id=self.alert_id, recovered_at=now, resolved_at=now, peak_c=-2.0)
        self.write(over)

    @property
    def url(self) -> str:
        """Return where it is read."""
        return f"/api/v1/alerts/{self.alert_id}"


def look(api: Api, consequences: Consequences) -> int:
    """Look at what is due, and wait for the read models to have what came of it."""
    looked = consequences.tick(api.clock.now())
    api.followed(api.deps.ledger.last_position())
    return looked


def reasons(client: httpx.Client, code: str) -> set[str]:
    body = {"code": code, "site": "dwk-cdc", "recipient": "R-0"}
    told = ok(client.post(f"{V1}/checks", json=body, headers={"Prefer": "wait=0"}))
    return {reason["code"] for reason in told["reasons"]}


def codes_of(client: httpx.Client, alert: Alert, **asked: Any) -> dict[str, dict[str, Any]]:
    listed = ok(client.get(f"{alert.url}/stock/codes", params={"limit": 500, **asked}))
    return {item["code"]: item for item in listed["items"]}


def told(database: Database, alert: Alert) -> list[tuple[str, Any]]:
    asked = "SELECT kind, payload FROM outbox WHERE alert_id = %s OR payload ->> 'of_alert' = %s"
    return database.query(asked + " ORDER BY id", alert.alert_id, alert.alert_id)


def test_given_a_freezing_unit_when_goods_come_and_go_then_named_held_and_released_by_two(
    api: Api,
    database: Database,
    clinic: httpx.Client,
    admin: httpx.Client,
    consequences: Consequences,
) -> None:
    api.clock.advance(hours=2)
    scan(api, admin, "wasting", [CODES[11]], reason="破损", cause="broken")
    api.clock.advance(hours=2)
    alert = Alert(api)
    scan(api, admin, "shipping", [CODES[2]], to="szs", bill="B2")
    scan(api, admin, "dispensing", [CODES[3]])
    assert look(api, consequences) >= 1
    found = codes_of(admin, alert)
    assert set(found) == set(CODES[:11])
    assert found[CODES[0]] | {"found_at": ""} == {
        "code": CODES[0],
        "lot_id": LOT,
        "product_id": "8474354",
        "doses": 1,
        "found_at": "",
        "found_at_site": "dwk-cdc",
        "reason": "freeze",
        "hold_id": found[CODES[0]]["hold_id"],
        "cleared": False,
        "decision": "",
        "status": "held",
        "site_id": "dwk-cdc",
        "unit_id": UNIT,
        "doses_left": 1,
        "held": True,
    }
    moved, used = found[CODES[2]], found[CODES[3]]
    assert (moved["site_id"], moved["status"], moved["held"]) == ("szs", "in_transit", True)
    assert (used["status"], used["doses"], used["held"]) == ("used", 0, False)
    assert "held" in reasons(clinic, CODES[0])
    hold = ok(admin.get(f"/api/v1/scans/{found[CODES[0]]['hold_id']}"))
    assert PACK in hold["codes"]
    assert not {CODES[0], CODES[1]} & set(hold["codes"])
    assert not ok(admin.get(f"/api/v1/codes/{ELSEWHERE}/custody"))["state"]["held"]
    wrong = {"site": "dwk-cdc", "reason": "误报"}
    taken_back = admin.post(f"/api/v1/scans/{hold['fact_id']}/withdrawal", json=wrong)
    refused(taken_back, 409, "held_by_alert")

    scan(api, admin, "receiving", [LATE], bill="B3", unit=UNIT)
    assert look(api, consequences) >= 1
    assert "held" in reasons(clinic, LATE)
    stock = ok(admin.get(f"{alert.url}/stock"))
    assert stock["total"] == {
        "lots": 1, "units": 12, "doses": 11, "waiting": 11, "released": 0, "condemned": 0,
        "cleared": 0,
    }  # fmt: skip
    assert [lot["lot_id"] for lot in stock["items"]] == [LOT]
    kinds = [(kind, payload["stock"]["doses"]) for kind, payload in told(database, alert)]
    assert kinds == [("stock", 10), ("stock_here", 1), ("stock", 11)]
    elsewhere = told(database, alert)[1][1]
    assert (elsewhere["site_id"], elsewhere["of_alert"]) == ("szs", alert.alert_id)

    refused_and_then_released(api, clinic, admin, alert)
    look(api, consequences)
    again(api, database, consequences, alert)


def refused_and_then_released(
    api: Api, clinic: httpx.Client, admin: httpx.Client, alert: Alert
) -> None:
    """Assess what the alert holds: wrongly in every way, then a pack, a vial, and the rest."""
    assess(api, admin, alert, 409, "alert_lasts")
    alert.resolve()
    assess(api, admin, alert, 422, "part_of_pack", codes=[CODES[0]])
    assess(api, admin, alert, 422, "two_persons", supervisor="Q-1")
    assess(api, admin, alert, 422, "not_affected", codes=[ELSEWHERE])
    assess(api, admin, alert, 428, "version_required", version=None)
    assess(api, admin, alert, 412, "stale_version", version=1)
    assess(api, admin, alert, 200, codes=CODES[:2])
    assert reasons(clinic, CODES[0]).isdisjoint({"held", "excursion"})
    assess(api, admin, alert, 200, codes=[CODES[4]], decision="condemn")
    assert "condemned" in reasons(clinic, CODES[4])
    assert "held" in reasons(clinic, CODES[5])
    assess(api, admin, alert, 200)
    assert reasons(clinic, CODES[5]).isdisjoint({"held", "excursion"})
    assess(api, admin, alert, 409, "nothing_to_assess")
    stock = ok(admin.get(f"{alert.url}/stock"))
    assert [stock["total"][name] for name in ("waiting", "released", "condemned")] == [0, 10, 1]
    first = stock["assessments"][0]
    assert (first["decision"], first["grounds"], first["units"]) == ("release", "摇晃试验阴性", 2)


def assess(
    api: Api,
    client: httpx.Client,
    alert: Alert,
    status: int,
    code: str = "",
    *,
    version: int | None = -1,
    **more: Any,
) -> dict[str, Any]:
    """Assess goods a minute later, and hold how that is answered; `version`: -1 = the present."""
    api.clock.advance(minutes=1)
    body = {"decision": "release", "method": "shake_test", "grounds": "摇晃试验阴性"}
    body |= {"executer": "Q-1", "supervisor": "Q-2", **more}
    etag = client.get(f"{alert.url}/stock").headers["ETag"] if version == -1 else f'"{version}"'
    headers = {} if version is None else {"If-Match": etag}
    answer = client.post(f"{alert.url}/assessments", json=body, headers=headers)
    if code:
        refused(answer, status, code)
        return {}
    return ok(answer, status)


def again(api: Api, database: Database, consequences: Consequences, alert: Alert) -> None:
    """Hold that looking at everything once more changes nothing, and that the tables are right."""
    before = api.deps.ledger.last_position()
    database.query("UPDATE alert_stock_progress SET position = 0")
    assert look(api, consequences) >= 1
    assert api.deps.ledger.last_position() == before
    assert runner.check(database.app_dsn, "alerting_stock").same


def test_given_two_alerts_and_a_withdrawal_when_released_then_both_are_named(
    api: Api,
    database: Database,
    clinic: httpx.Client,
    admin: httpx.Client,
    consequences: Consequences,
) -> None:
    api.clock.advance(hours=12)
    first = Alert(api, minutes=70)
    warm = Alert(api, rule_id="high_8_10min", severity="minor", side="high", limit_c=8.0)
    second = Alert(api, rule_id="freeze_0", limit_c=0.0)
    look(api, consequences)
    assert {item["reason"] for item in codes_of(admin, warm).values()} == {""}
    first.write(AlertWithdrawn(alert_id=first.alert_id, cause="late_data"))
    warm.resolve()
    look(api, consequences)
    stock = ok(admin.get(f"{first.url}/stock"))
    assert stock["withdrawn"]
    total = stock["total"]
    assert (total["units"], total["cleared"], total["waiting"]) == (0, 10, 9)  # one is condemned
    assert "held" in reasons(clinic, CODES[6])
    assess(api, admin, first, 409, "alert_lasts", codes=[CODES[6]])
    second.resolve()
    look(api, consequences)
    assess(api, admin, first, 409, "also_held", codes=[CODES[6]])
    assess(api, admin, first, 200, codes=[CODES[6]], also=[second.alert_id])
    assert reasons(clinic, CODES[6]).isdisjoint({"held", "excursion"})
    assert codes_of(admin, second)[CODES[6]]["decision"] == "release"
    assess(api, admin, second, 200, also=[first.alert_id])
    for alert in (first, second, warm):
        again(api, database, consequences, alert)
    with api.client(Role.CDC, "640100") as stranger:
        refused(stranger.get(f"{first.url}/stock"), 404, "unknown_alert")
        refused(stranger.get(f"{first.url}/stock/codes"), 404, "unknown_alert")
    unknown = f"/api/v1/alerts/{stock_stream(first.alert_id)}/stock"
    refused(admin.get(unknown), 404, "unknown_alert")


def test_given_a_hold_of_people_and_a_condemned_vial_when_all_is_released_then_the_rest_is_free(
    api: Api, clinic: httpx.Client, admin: httpx.Client, consequences: Consequences
) -> None:
    api.clock.advance(hours=12)
    other = {"site_id": "yc", "org_code": "126402024540000009", "site_no": 9, "name": "银川门诊"}
    ok(admin.post("/api/v1/sites", json=other | {"kind": "clinic", "region_code": "640100"}))
    scan(api, admin, "shipping", [CODES[9]], to="yc", bill="B9")
    alert = Alert(api)
    look(api, consequences)
    people = {"executer": "Q-1", "supervisor": "Q-2"}
    scan(api, admin, "holding", [CODES[6]], reason="标签破损，抽检")
    scan(api, admin, "condemning", [CODES[1]], reason="冻结", decision="ZL1", **people)
    alert.resolve()
    look(api, consequences)
    kept = assess(api, admin, alert, 200)["still_held"]
    assert kept == [CODES[1], CODES[6]]
    assert reasons(clinic, CODES[0]).isdisjoint({"held", "excursion"})
    assert "condemned" in reasons(clinic, CODES[1])
    assert "held" in reasons(clinic, CODES[6])
    codes = codes_of(admin, alert)
    assert (codes[CODES[6]]["decision"], codes[CODES[6]]["held"]) == ("release", True)
    cases = ok(admin.get("/api/v1/exceptions", params={"kind": "ILLEGAL_STATE", "codes": True}))
    assert CODES[1] not in str(cases)
    (told_here,) = ok(admin.get(f"{alert.url}/stock"))["assessments"]
    assert (told_here["still_held"], told_here["units"]) == (kept, len(codes) - 2)
    with api.client(Role.CDC, "640100") as stranger:
        (told_there,) = ok(stranger.get(f"{alert.url}/stock"))["assessments"]
    hidden: dict[str, Any] = dict.fromkeys(("grounds", "decision_no"), "")
    hidden |= dict.fromkeys(("executed_by", "supervised_by"), "")
    hidden |= {"still_held": [], "fact_ids": [], "also": []}
    assert told_there == told_here | hidden | {"units": 1}
    scan(api, admin, "releasing", [CODES[6]], reason="抽检合格", decision="ZL2", **people)
    assert reasons(clinic, CODES[6]).isdisjoint({"held", "excursion"})


def test_given_freezing_readings_when_published_then_every_code_inside_is_refused_in_two_seconds(
    api: Api, database: Database, clinic: httpx.Client, admin: httpx.Client, broker: BrokerServer
) -> None:
    now = api.clock.advance(hours=12)
    rule = {"rule_id": "freeze_60min", "side": "low", "limit_c": -0.5, "severity": "critical"}
    rules = {"profile_id": "cold-2-8", "rules": [rule | {"raise_after_min": 60}]}
    effective = {"effective_from": (now - timedelta(days=30)).isoformat()}
    ok(admin.post("/api/v1/rule-sets", json=rules | effective))
    start_ms = round((now - timedelta(minutes=61)).timestamp() * 1000)
    body = {
        "v": 1,
        "dev": "dwk-log-1",
        "boot": 1,
        "base": {"seq": 1, "ts": start_ms, "step": 60_000},
        "cols": ["t1"],
        "rows": [[-1.0]] * 62,
    }
    freezing = message("cc/v1/640202/dwk-cdc/dwk-gw-1/tele/dwk-log-1", body)
    client_id = f"ingest-{uuid4().hex}"
    taking: dict[str, Any] = {"mqtt_url": broker.server_url, "regions": ("640202",)}
    taking |= {"clock": api.clock, "client_id": client_id}
    with (
        thread(ingest.run, app_dsn=database.app_dsn, **taking),
        alerting(database, api.clock),
    ):
        wait_for_session(broker.gateway_url, client_id, database)
        inside = [CODES[0], CODES[7], CODES[8]]
        for code in inside:
            assert "held" not in reasons(clinic, code)
        began = time.perf_counter()
        publish(broker.gateway_url, [freezing])
        waiting = set(inside)
        while waiting:
            assert time.perf_counter() - began <= 2.0, waiting
            waiting -= {code for code in waiting if "held" in reasons(clinic, code)}
        assert reasons(clinic, CODES[0]) >= {"held", "excursion"}


def test_given_an_alert_that_cannot_be_looked_at_when_others_follow_then_their_goods_are_held(
    api: Api,
    clinic: httpx.Client,
    admin: httpx.Client,
    consequences: Consequences,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api.clock.advance(hours=12)
    odd, other = Alert(api), Alert(api)
    follow = Consequences._follow

    def failing(self: Consequences, alert_id: str, now: datetime, tried: int) -> None:
        if alert_id == odd.alert_id:
            raise KeyError("goods that nobody thought of")
        follow(self, alert_id, now, tried)

    monkeypatch.setattr(Consequences, "_follow", failing)
    look(api, consequences)
    found = codes_of(admin, other)
    assert found
    assert codes_of(admin, odd) == {}
    monkeypatch.setattr(Consequences, "_follow", follow)
    api.clock.advance(minutes=1)
    look(api, consequences)
    assert codes_of(admin, odd).keys() == found.keys()
