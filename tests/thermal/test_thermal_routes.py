"""What a code, a pack and a lot went through, over HTTP; and what late readings change of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from alerts import exposure_texts
from alerts.revised import Revisions
from alerts.weighing import borne
from api import thermal
from domain.cold_chain.calibration import calibration_stream
from domain.cold_chain.calibration_events import CalibrationPoint, CalibrationRecorded
from domain.cold_chain.events import ExposureRevised, ProbePlaced, ProbeRemoved
from domain.cold_chain.model import device_stream
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.shared.roles import Role
from domain.traceability.events import ProductRegistered
from projections.thermal import follow as exposure
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.api.world import CODE, LOT, build, scan
from tests.conftest import START, Database
from tests.served import Api
from tests.store.stored import event, store

pytestmark = pytest.mark.database

BOX = "84743540181360019999"
MINUTE = timedelta(minutes=1)
ARRIVED = START + 90 * MINUTE
HOLD_MIN = 15


def follow(database: Database) -> None:
    with closing(exposure.connect(database.app_dsn)) as conn:
        while not exposure.step(conn).complete:
            pass


def read(database: Database, seq: int, at: datetime, *values: float, late: timedelta) -> None:
    """Let the clinic's probe have read values five minutes apart, and follow."""
    told = event("dwk-log-1", seq, at, step=5 * MINUTE, t1=list(values))
    last = at + 5 * MINUTE * (len(values) - 1) + late
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        store(conn, replace(told, received_ms=round(last.timestamp() * 1000)))
    follow(database)


@pytest.fixture(scope="module")
def world(api: Api, database: Database) -> Iterator[httpx.Client]:
    """Give a client of a world in which a pack in a box went from the city to a clinic."""
    with api.client() as client:
        build(client)
        steps: list[dict[str, Any]] = [
            {"site": "szs", "step": "commissioning", "lot": LOT, "level": 1},
            {"site": "szs", "step": "packing", "parent": BOX, "unit": "szs-room"},
            {"site": "szs", "step": "shipping", "to": "dwk-cdc", "bill": "B1"},
            {"site": "dwk-cdc", "step": "receiving", "bill": "B1", "unit": "dwk-room-1"},
        ]
        for body in steps:
            wait = 15 if body["step"] in {"shipping", "receiving"} else 30
            told = scan(api.clock.advance(minutes=wait), **body)
            if body["step"] in {"shipping", "receiving"}:
                told["codes"] = [BOX]
            answer = client.post("/api/v1/scans", json=told)
            assert answer.status_code == 201, answer.text
        values = [5.0] * 6 + [9.0] * 6 + [5.0] * 6
        read(database, 0, ARRIVED - 10 * MINUTE, *values, late=timedelta())
        api.clock.set(ARRIVED + 120 * MINUTE)
        yield client


def test_given_readings_when_the_history_of_a_code_is_asked_then_stay_by_stay(
    world: httpx.Client,
) -> None:
    found = world.get(f"/api/v1/codes/{CODE}/thermal")
    assert found.status_code == 200, found.text
    body = thermal.CodeThermal.model_validate_json(found.content)
    assert [(s.unit_id, s.since) for s in body.stays] == [
        ("", START + 30 * MINUTE),
        ("szs-room", START + 60 * MINUTE),
        ("", START + 75 * MINUTE),
        ("dwk-room-1", ARRIVED),
    ]
    clinic = body.stays[3]
    # 18 readings in 85 minutes, the first ten minutes before the pack came, the last one open.
    assert (clinic.known_min, clinic.above_min, clinic.above_c_min) == (75, 30, 30)
    assert (clinic.hi_c, clinic.lo_c) == (9.0, None)
    assert clinic.mkt_c == pytest.approx(6.8, abs=0.3)
    assert body.stays[1].known_min == body.stays[0].known_min == 0
    assert body.stays[1].mkt_c is None
    assert body.whole.above_min == 30
    assert body.whole.unknown_min == pytest.approx(
        (clinic.until - body.stays[0].since) / MINUTE - 75
    )
    assert 0 < body.whole.heat_budget["30"] < body.whole.heat_budget["7"] < 1e-3
    assert found.headers["vaxtrail-position"] == body.as_of


@pytest.mark.parametrize("path", [f"lots/{LOT}", f"packs/{BOX}", f"packs/{CODE}"])
def test_given_readings_when_a_lot_or_pack_is_asked_then_each_code_as_by_itself(
    world: httpx.Client, path: str
) -> None:
    found = world.get(f"/api/v1/{path}/thermal")
    assert found.status_code == 200, found.text
    body = thermal.CodesThermal.model_validate_json(found.content)
    alone = world.get(f"/api/v1/codes/{CODE}/thermal").json()["whole"]
    assert body.codes == [CODE]
    told = body.model_dump()
    for name, value in alone.items():
        if name != "heat_budget":
            assert told[name] == [value], name
            assert told["worst"][name] == value, name
    assert {kind: [share] for kind, share in alone["heat_budget"].items()} == body.heat_budget


def test_given_other_regions_when_asked_then_only_what_is_theirs(
    api: Api, world: httpx.Client
) -> None:
    paths = [f"/api/v1/{p}/thermal" for p in (f"codes/{CODE}", f"packs/{BOX}", f"lots/{LOT}")]
    with api.client(Role.CLINIC, "640202") as clinic:
        assert [clinic.get(path).status_code for path in paths] == [200, 200, 200]
    with api.client(Role.CLINIC, "640205") as stranger:
        assert [stranger.get(path).status_code for path in paths] == [404, 404, 404]
    with api.client(Role.REGULATOR, "640205") as overseer:
        assert [overseer.get(path).status_code for path in paths] == [404, 404, 404]
    with api.client(Role.REGULATOR, "640200") as overseer:
        assert [overseer.get(path).status_code for path in paths] == [200, 200, 200]
    assert world.get("/api/v1/codes/84743540181360015555/thermal").status_code == 404
    assert world.get("/api/v1/packs/84743540181360015555/thermal").status_code == 404
    assert world.get("/api/v1/lots/8474354.NONE/thermal").status_code == 404


def test_given_late_frost_when_the_goods_have_left_then_their_holder_is_told_once(
    api: Api, world: httpx.Client, database: Database, ledger: Ledger
) -> None:
    sent = scan(api.clock.advance(minutes=1), site="dwk-cdc", step="shipping", to="szs", bill="B2")
    came = scan(api.clock.advance(minutes=9), site="szs", step="receiving", bill="B2")
    for told in (sent, came):
        answer = world.post("/api/v1/scans", json=told)
        assert answer.status_code == 201, answer.text
    read(database, 50, ARRIVED + 62 * MINUTE, -1.0, late=timedelta(hours=9))
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        revisions = Revisions(ledger, conn)
        assert revisions.leads()
        assert revisions.tick(api.clock.now()) == 1
        assert revisions.tick(api.clock.now()) == 0
        ((alert_id, severity, region, payload),) = conn.execute(
            "SELECT alert_id::text, severity, region_code, payload FROM outbox"
            " WHERE kind = 'exposure_revised'"
        ).fetchall()
    (stored,) = ledger.stream(stream_id("cold_chain.revision", alert_id))
    assert isinstance(stored.event, ExposureRevised)
    assert stored.event.codes == (CODE,)
    assert stored.event.passed == ("below", "freezing")
    assert stored.event.no_longer == ()
    assert (stored.event.unit_id, stored.event.site_id) == ("dwk-room-1", "szs")
    assert (severity, region) == ("critical", "640200")
    assert (payload["site_id"], payload["units"]) == ("szs", 1)
    whole = world.get(f"/api/v1/codes/{CODE}/thermal").json()["whole"]
    assert (whole["freezing_min"], whole["lo_c"]) == (3, -1.0)


def test_given_late_readings_that_pass_no_limit_when_followed_then_nobody_is_told(
    api: Api, world: httpx.Client, database: Database, ledger: Ledger
) -> None:
    read(database, 60, ARRIVED + 21 * MINUTE, 9.5, late=timedelta(hours=9))
    read(database, 61, ARRIVED + 1 * MINUTE, 4.5, late=timedelta(hours=9))
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        assert Revisions(ledger, conn).tick(api.clock.now()) == 0
        assert conn.execute("SELECT count(*) FROM exposure_change").fetchone() == (0,)


def test_given_an_answer_when_more_is_known_then_it_can_be_asked_for_as_of_its_position(
    world: httpx.Client, database: Database
) -> None:
    path = f"/api/v1/codes/{CODE}/thermal"
    now = world.get(path).json()
    assert now["complete"] is True
    read(database, 70, ARRIVED + 3 * MINUTE, -2.0, late=timedelta(hours=9))
    later = world.get(path).json()
    assert later["whole"]["freezing_min"] == now["whole"]["freezing_min"] + 2
    found = world.get(path, params={"as_of": now["as_of"]})
    assert found.status_code == 200, found.text
    then = thermal.CodeThermal.model_validate_json(found.content)
    assert then.as_of == now["as_of"]
    assert [stay.unit_id for stay in then.stays] == [stay["unit_id"] for stay in now["stays"]]
    for name, value in now["whole"].items():
        assert then.whole.model_dump()[name] == pytest.approx(value), name
    assert world.get(path, params={"as_of": "L1.T0"}).status_code == 404
    assert world.get(path, params={"as_of": "L1.T999999"}).status_code == 422


def test_given_sums_or_custody_that_are_behind_when_asked_then_said_and_nothing_is_forgotten(
    api: Api, world: httpx.Client, database: Database, ledger: Ledger
) -> None:
    told(api, database, ledger, 0)
    late = (
        "INSERT INTO exposure_change (probe, block, before, cause, ledger_id)"
        " VALUES (0, 0, '', 'readings', %s) RETURNING id"
    )
    left = "SELECT count(*) FROM exposure_change"
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        revisions = Revisions(ledger, conn)
        conn.execute(late, (ledger.last_position() + 1,))
        revisions.tick(api.clock.now())
        assert conn.execute(left).fetchone() == (1,)
        conn.execute("DELETE FROM exposure_change")
        conn.execute(late, (ledger.last_position(),))
        with exposure.alone(conn):
            conn.execute("UPDATE exposed SET complete = false")
            revisions.tick(api.clock.now())
            for path in (f"codes/{CODE}", f"lots/{LOT}"):
                assert world.get(f"/api/v1/{path}/thermal").json()["complete"] is False
            conn.execute("UPDATE exposed SET complete = true")
        assert conn.execute(left).fetchone() == (1,)
        revisions.tick(api.clock.now())
        assert conn.execute(left).fetchone() == (0,)


def told(
    api: Api, database: Database, ledger: Ledger, found: int = 1
) -> list[tuple[ExposureRevised, dict[str, Any]]]:
    """Let corrections be told; return the last events with what is sent of them."""
    api.followed(ledger.last_position())
    follow(database)
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        assert Revisions(ledger, conn).tick(api.clock.now()) == found
        rows = conn.execute(
            "SELECT alert_id::text, payload FROM outbox WHERE kind = 'exposure_revised'"
            " ORDER BY id DESC LIMIT %s",
            (found,),
        ).fetchall()
    return [
        (envelope.event, payload)
        for alert_id, payload in rows
        for envelope in ledger.stream(stream_id("cold_chain.revision", alert_id))
        if isinstance(envelope.event, ExposureRevised)
    ]


def record(ledger: Ledger, stream: UUID, event: Event, at: datetime) -> None:
    version = len(ledger.stream(stream)) + 1
    ledger.append([Envelope(stream, version, event, Meta(occurred_at=at, recorded_at=at))])


def test_given_goods_that_passed_a_limit_once_when_for_long_then_their_holder_is_told_again(
    api: Api, world: httpx.Client, database: Database, ledger: Ledger
) -> None:
    told(api, database, ledger, 0)
    read(database, 80, ARRIVED + 41 * MINUTE, *[-2.0] * 4, late=timedelta(hours=9))
    ((event, payload),) = told(api, database, ledger)
    assert (event.cause, event.passed, event.longer) == ("readings", (), ("freezing",))
    assert exposure_texts.brief(payload) == "1支不高于 −0.5 ℃更久"


def test_given_a_calibration_when_its_readings_count_otherwise_then_the_holder_is_told(
    api: Api, world: httpx.Client, database: Database, ledger: Ledger
) -> None:
    before = world.get(f"/api/v1/codes/{CODE}/thermal").json()["whole"]
    certificate = CalibrationRecorded(
        device_id="dwk-log-1",
        channel="t1",
        certificate_no="C1",
        laboratory="计量院",
        calibrated_on=START.date(),
        since=ARRIVED - 30 * MINUTE,
        valid_until=START.date(),
        points=(CalibrationPoint(reference_c=5.0, deviation_c=-4.5, uncertainty_c=0.1),),
    )
    stream = calibration_stream("dwk-log-1", "t1")
    record(ledger, stream, certificate, api.clock.now())
    ((event, _),) = told(api, database, ledger)
    assert (event.cause, event.no_longer) == ("calibration", ("below", "freezing"))
    after = world.get(f"/api/v1/codes/{CODE}/thermal").json()["whole"]
    assert after["known_min"] == before["known_min"]
    assert after["above_min"] > before["above_min"]


def test_given_a_probe_that_stood_elsewhere_when_told_late_then_the_holder_is_told(
    api: Api, world: httpx.Client, database: Database, ledger: Ledger
) -> None:
    removed = ProbeRemoved(device_id="dwk-log-1", channel="t1", removed_at=ARRIVED - MINUTE)
    now = ARRIVED + timedelta(hours=9)
    record(ledger, device_stream("dwk-log-1"), removed, now)
    ((event, payload),) = told(api, database, ledger)
    assert (event.cause, event.no_longer) == ("placement", ("above",))
    assert (event.unit_id, event.site_id, event.since) == ("dwk-room-1", "szs", removed.removed_at)
    assert exposure_texts.brief(payload) == "1支并未高于 8 ℃"
    whole = world.get(f"/api/v1/codes/{CODE}/thermal").json()["whole"]
    assert (whole["above_min"], whole["known_min"]) == (0, 0)


def test_given_goods_that_were_elsewhere_when_told_late_then_their_holder_is_told(
    api: Api, world: httpx.Client, database: Database, ledger: Ledger
) -> None:
    placed = ProbePlaced(
        device_id="dwk-log-1", channel="t1", unit_id="dwk-room-2", placed_at=ARRIVED - MINUTE / 2
    )
    unit = {"unit_id": "dwk-room-2", "site_id": "dwk-cdc", "kind": "refrigerator", "name": "冰箱 2"}
    answer = world.post("/api/v1/units", json={**unit, "profile_id": "cold-2-8"})
    assert answer.status_code == 201, answer.text
    record(ledger, device_stream("dwk-log-1"), placed, ARRIVED + timedelta(hours=9))
    told(api, database, ledger, 0)
    put = scan(ARRIVED + 10 * MINUTE, site="dwk-cdc", step="storing", unit="dwk-room-2")
    api.clock.set(ARRIVED + timedelta(hours=9))
    answer = world.post("/api/v1/scans", json=put)
    assert answer.status_code == 201, answer.text
    ((event, payload),) = told(api, database, ledger)
    assert (event.cause, event.passed, event.unit_id) == ("custody", ("above",), "")
    assert exposure_texts.lines(payload, ("站点", ""), "", 0)[1:] == ["补登流转表明曾高于 8 ℃"]


@pytest.mark.parametrize(
    ("range_c", "freeze_sensitive", "borne_by_it"),
    [
        ((2.0, 8.0), True, set()),
        ((2.0, 8.0), False, {"freezing"}),
        ((-40.0, -15.0), False, {"below", "freezing"}),
        ((2.0, 25.0), True, {"above"}),
    ],
)
def test_given_product_when_limits_are_asked_then_those_it_is_kept_beyond_say_nothing(
    range_c: tuple[float, float], freeze_sensitive: bool, borne_by_it: set[str]
) -> None:
    product = ProductRegistered(
        product_id="8474354",
        name="疫苗",
        holder="H",
        doses_per_vial=1,
        temperature_c_min=range_c[0],
        temperature_c_max=range_c[1],
        freeze_sensitive=freeze_sensitive,
    )
    assert borne(product) == borne_by_it


def test_given_excursion_taken_back_when_told_in_one_line_then_it_says_that_it_was_not() -> None:
    told = {"units": 12, "passed": [], "no_longer": ["above"]}
    assert exposure_texts.brief(told) == "12支并未高于 8 ℃"
    assert exposure_texts.brief(told | {"passed": ["freezing"]}) == (
        "12支曾不高于 −0.5 ℃，并未高于 8 ℃"
    )
