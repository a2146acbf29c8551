"""Records that the law asks for, over HTTP: signed, of shipments, of a month, of files."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from domain.alerting.events import AlertAcknowledged, AlertFired, AlertResolved
from domain.alerting.model import alert_stream
from domain.shared.ids import stream_id
from domain.shared.roles import Role
from projections import rebuild
from store.envelope import Envelope, Meta
from tests.api.world import LOT, build, scan
from tests.conftest import START, Database
from tests.served import Api
from tests.store.stored import event, store

pytestmark = pytest.mark.database

V1 = "/api/v1"
MINUTE = timedelta(minutes=1)
LEFT, CAME = START + 40 * MINUTE, START + 100 * MINUTE
FOLDER = "standards/coldchain"
TAG_2L = "fridgetag2L_130500109088_202206081014.txt"
TAG_2 = "fridgetag2_130400191544_202304201514.txt"
BUTTON = "ibutton_ds1923_shipment_2.csv"
VEHICLE: list[tuple[str, dict[str, Any]]] = [
    (
        "units",
        {
            "unit_id": "szs-car",
            "site_id": "szs",
            "kind": "refrigerated_vehicle",
            "name": "冷藏车",
            "profile_id": "cold-2-8",
        },
    ),
    ("gateways", {"gateway_id": "szs-gw", "site_id": "szs"}),
    (
        "devices",
        {
            "device_id": "szs-log",
            "gateway_id": "szs-gw",
            "channels": ["t1", "t2"],
            "interval_s": 60,
        },
    ),
    *(
        (
            "probes",
            {
                "device_id": "szs-log",
                "channel": channel,
                "unit_id": "szs-car",
                "placed_at": "2026-03-01T00:00:00Z",
            },
        )
        for channel in ("t1", "t2")
    ),
]


@pytest.fixture(scope="module")
def world(api: Api, database: Database) -> Iterator[httpx.Client]:
    """Give a client of a world with readings in a refrigerator and in a vehicle under way."""
    with api.client() as client:
        build(client)
        for kind, body in VEHICLE:
            assert client.post(f"{V1}/{kind}", json=body).status_code in {200, 201}
        fridge = [5.0] * 20 + [9.0, 9.0, 5.0, 4.5, 4.6]
        # Minute by minute: warm after half an hour, then back; the second probe half a degree more.
        ride = [5.0] * 40 + [8.5, 9.0, 9.5, 8.5] + [6.0] * 77
        with psycopg.connect(database.app_dsn, autocommit=True) as conn:
            store(
                conn,
                event("dwk-log-1", 0, START - 120 * MINUTE, step=5 * MINUTE, t1=fridge),
                event("szs-log", 0, START, t1=ride, t2=[value + 0.5 for value in ride]),
            )
        yield client


def due(client: httpx.Client, **asked: str) -> dict[str, Any]:
    found = client.get(f"{V1}/temperature-records", params={"site_id": "dwk-cdc", **asked})
    assert found.status_code == 200, found.text
    return dict(found.json())


def sign(client: httpx.Client, shown: dict[str, Any], half: str, **more: Any) -> httpx.Response:
    body = {name: shown[name] for name in ("day", "shown_at", "as_of")}
    body |= {"half": half, "signed_by": "P-7", **more}
    return client.post(f"{V1}/units/dwk-room-1/temperature-records", json=body)


def told(found: httpx.Response) -> dict[str, Any]:
    assert found.status_code == 200, found.text
    return dict(found.json())


def table(found: httpx.Response) -> list[list[str]]:
    assert found.status_code == 200, found.text
    return list(csv.reader(io.StringIO(found.content.decode("utf-8-sig"))))


def test_given_readings_when_shown_and_signed_then_on_record_as_shown(
    api: Api, world: httpx.Client
) -> None:
    shown = due(world)
    morning, afternoon = shown["records"]
    assert (morning["state"], afternoon["state"], afternoon["shown"]) == ("due", "upcoming", None)
    put = morning["shown"]
    assert (put["probes"][0]["value_c"], put["min_c"], put["max_c"]) == (4.5, 4.5, 9.0)
    assert put["outside_min"] == 10
    with api.client(Role.NURSE, "640202") as nurse:
        assert sign(nurse, shown, "afternoon").json()["code"] == "record_not_due"
        made = sign(nurse, shown, "morning", remark="门未关好")
        assert made.status_code == 201, made.text
        assert sign(nurse, shown, "morning", remark="门未关好").status_code == 200
        other = sign(nurse, shown, "morning", signed_by="P-8")
        assert other.json()["code"] == "record_signed"
        record = told(nurse.get(made.json()["location"]))
    assert {name: record[name] for name in put} == put
    assert (record["late"], record["remark"], record["signed_by"]) == (False, "门未关好", "P-7")
    assert sign(world, shown | {"day": "0001-01-01"}, "morning").json()["code"] == "unknown_day"
    early = shown | {"shown_at": "0001-01-01T00:00:00Z"}
    assert sign(world, early, "morning").json()["code"] == "shown_long_ago"
    with api.client(Role.NURSE, "640205") as stranger:
        assert sign(stranger, shown, "morning").status_code == 404
    body = {name: shown[name] for name in ("day", "shown_at", "as_of")} | {"half": "morning"}
    found = world.post(f"{V1}/units/szs-car/temperature-records", json=body | {"signed_by": "P"})
    assert found.json()["code"] == "unit_moves"


def test_given_a_shipment_when_asked_then_from_departure_to_arrival(
    api: Api, world: httpx.Client
) -> None:
    steps: list[dict[str, Any]] = [
        {"site": "szs", "step": "commissioning", "lot": LOT, "level": 1, "at": START + MINUTE},
        {"site": "szs", "step": "shipping", "to": "dwk-cdc", "bill": "B1", "vehicle": "szs-car",
         "at": LEFT, "temp": 5.1, "ambient": 21.5, "handed_by": "P-1"},
        {"site": "dwk-cdc", "step": "receiving", "bill": "B1", "unit": "dwk-room-1",
         "at": CAME, "temp": 6.1, "ambient": 18.0, "taken_by": "P-2"},
    ]  # fmt: skip
    api.clock.set(START + 120 * MINUTE)
    for step in steps:
        answer = world.post(f"{V1}/scans", json=scan(step.pop("at"), **step))
        assert answer.status_code == 201, answer.text
    path = f"{V1}/shipments/B1/temperature-record"
    body = told(world.get(path))
    head, tables = body["head"], body["tables"]
    assert (head["departed_at"], head["arrived_at"], head["minutes"]) == (
        "2026-03-02T00:40:00Z",
        "2026-03-02T01:40:00Z",
        60,
    )
    assert (head["min_c"], head["max_c"], head["outside_min"], head["unknown_min"]) == (
        *(6.0, 10.0, 4),
        0,
    )
    assert [(row["lot_number"], row["units"], row["arrived"]) for row in tables["goods"]] == [
        ("A2026573", 1, 1)
    ]
    departure, arrival = tables["ends"]
    assert (departure["told_c"], departure["read_c"], departure["ambient_c"]) == (
        5.1,
        [8.5, 9],
        21.5,
    )
    assert (arrival["told_c"], arrival["read_c"], arrival["ambient_c"]) == (6.1, [6.0, 6.5], 18)
    assert [row["szs-log/t2"] for row in tables["way"]] == [9.0, 6.5]
    assert [row["peak_c"] for row in tables["excursions"]] == [9.5, 10.0]
    assert [row["person"] for row in tables["signatures"]] == ["", ""]  # no clinic's or CDC's key
    assert [line["name"] for line in body["series"]] == ["szs-log/t1", "szs-log/t2"]
    with api.client(Role.CDC, "640202") as receiver:
        mine = told(receiver.get(path))["tables"]["signatures"]
        assert [row["person"] for row in mine] == ["", "P-2"]  # the other end is the sender's
    with api.client(Role.CDC, "640200") as city:
        both = told(city.get(path))["tables"]["signatures"]
        assert [row["person"] for row in both] == ["P-1", "P-2"]
    with api.client(Role.CDC, "640205") as stranger:
        assert stranger.get(path).json()["code"] == "unknown_bill"
    later = {"as_of": body["as_of"], "format": "pdf"}
    assert world.get(path, params=later).content == world.get(path, params=later).content


def test_given_a_mapping_with_tests_when_reported_then_points_and_what_they_stood(
    world: httpx.Client,
) -> None:
    asked = {
        "from": "2026-03-02T00:00:00Z",
        "to": "2026-03-02T02:00:00Z",
        "door": "2026-03-02T00:38:00Z/2026-03-02T00:42:00Z",
        "power": "2026-03-02T01:20:00Z/2026-03-02T01:30:00Z",
    }
    certificate = {
        "device_id": "szs-log",
        "channel": "t1",
        "certificate_no": "RZ-1",
        "laboratory": "示例计量院",
        "calibrated_on": "2026-03-01",
        "valid_until": "2026-03-20",
        "points": [{"reference_c": 5.0, "deviation_c": 0.0, "uncertainty_c": 0.1}],
    }
    assert world.post(f"{V1}/calibrations", json=certificate).status_code == 201
    path = f"{V1}/units/szs-car/validation-report"
    body = told(world.get(path, params=asked))
    head, tables = body["head"], body["tables"]
    assert (head["hottest"], head["coldest"]) == ("szs-log/t2", "szs-log/t1")
    assert (head["spread_mean_c"], head["spread_max_c"], head["hours"]) == (0.5, 0.5, 2)
    one = tables["probes"][0]
    assert (one["min_c"], one["max_c"], one["known_min"], one["outside_min"]) == (5, 9.5, 120, 4)
    assert one["mean_c"] < one["mkt_c"] < 9.5
    door, power = tables["tests"]
    assert (door["start_lo_c"], door["hi_c"]) == (5.0, 10.0)
    assert (door["held_min"], door["recovered_min"]) == (2, 2)
    assert (power["held_min"], power["recovered_min"]) == (None, 0)
    assert tables["gaps"] == []
    assert [row["state"] for row in tables["calibration"]] == ["to_renew", "none"]
    assert tables["calibration"][0]["days_left"] == 18
    wrong = world.get(path, params=asked | {"door": "2026-03-01T00:38:00Z/2026-03-02T00:42:00Z"})
    assert wrong.json()["code"] == "bad_test"


def test_given_a_month_when_reported_then_alerts_and_what_was_done_about_them(
    api: Api, world: httpx.Client
) -> None:
    alert_id = str(stream_id("alerting.episode", "one"))
    warm = START - 20 * MINUTE
    meta = Meta(occurred_at=START, recorded_at=START)
    later = Meta(occurred_at=START, recorded_at=START + 12 * MINUTE)
    fired = AlertFired(
        alert_id=alert_id, device_id="dwk-log-1", channel="t1", unit_id="dwk-room-1",
        site_id="dwk-cdc", region_code="640202", rule_id="high_8_10min", rule_version=1,
        severity="minor", side="high", limit_c=8.0, started_at=warm, fired_at=warm + 10 * MINUTE,
        value_c=9.0, peak_c=9.0,
    )  # fmt: skip
    taken = AlertAcknowledged(
        alert_id=alert_id, actor_id="k", actor_role="clinic", comment="已关好门"
    )
    over = AlertResolved(
        alert_id=alert_id, recovered_at=START - 10 * MINUTE, resolved_at=START, peak_c=9.0
    )
    ledger = api.deps.ledger
    ledger.append([Envelope(stream_id("alerting.episode", "one"), 1, fired, meta)])
    ledger.append([Envelope(alert_stream(alert_id), 1, taken, later)])
    ledger.append([Envelope(stream_id("alerting.episode", "one"), 2, over, later)])
    api.followed(ledger.last_position())
    path, month = f"{V1}/sites/dwk-cdc/temperature-report", {"month": "2026-03"}
    body = told(world.get(path, params=month))
    (unit,) = body["tables"]["units"]
    # Read over two hours at 8 to 10 o'clock; ten minutes of them too warm.
    assert (unit["hours"], unit["above_min"]) == (2.0, 10)
    assert unit["inside_pct"] == pytest.approx(100 * 110 / 120)
    (excursion,) = body["tables"]["excursions"]
    assert (excursion["acknowledged_min"], excursion["peak_c"]) == (12, 9.0)
    assert excursion["done"] == ["clinic 已关好门"]
    (kind,) = body["tables"]["alerts"]
    assert (kind["kind"], kind["count"], kind["median_min"]) == ("temperature", 1, 12)
    assert [row["missed"] for row in body["tables"]["records"]] == [0]
    assert body["tables"]["gaps"][0]["minutes"] > 24 * 60
    assert world.get(path, params={"month": "2027-01"}).json()["code"] == "month_to_come"


@pytest.mark.parametrize(
    ("path", "zh", "en"),
    [
        ("units/dwk-room-1/temperature-sheet?month=2026-03", "冷链设备温度记录表", "Temperature"),
        ("shipments/B1/temperature-record?", "疫苗运输温度记录表", "Temperature record"),
        (
            "units/szs-car/validation-report?to=2026-03-02T02:00:00Z",
            "冷链设备验证报告",
            "Validation",
        ),
        ("sites/dwk-cdc/temperature-report?month=2026-03", "冷链温度月度报告", "Monthly"),
    ],
)
def test_given_a_record_when_asked_as_table_and_paper_then_in_the_language_asked_for(
    world: httpx.Client, path: str, zh: str, en: str
) -> None:
    address = f"{V1}/{path}"
    assert table(world.get(f"{address}&format=csv"))[0] == [zh]
    english = world.get(address, headers={"Accept": "text/csv", "Accept-Language": "en"})
    assert table(english)[0][0].startswith(en)
    for language in ("zh", "en"):
        paper = world.get(f"{address}&format=pdf&lang={language}")
        assert paper.status_code == 200, paper.text
        assert paper.content.startswith(b"%PDF")
        assert paper.headers["content-language"] == language


def test_given_an_afternoon_without_readings_when_signed_then_with_a_thermometer_of_ones_own(
    api: Api, world: httpx.Client
) -> None:
    api.clock.set(START + timedelta(hours=7))  # three o'clock
    shown = due(world)
    assert [item["state"] for item in shown["records"]] == ["signed", "due"]
    assert shown["records"][1]["shown"]["since"] == shown["records"][0]["signed"]["shown_at"]
    assert sign(world, shown, "afternoon").json()["code"] == "own_reading_required"
    assert sign(world, shown, "afternoon", own_c=5.2).status_code == 201
    api.clock.set(START + timedelta(days=1, hours=2))
    missing = due(world, day="2026-03-03")
    assert [item["state"] for item in missing["records"]] == ["due", "upcoming"]
    sheet = f"{V1}/units/dwk-room-1/temperature-sheet"
    body = told(world.get(sheet, params={"month": "2026-03"}))
    row = body["tables"]["days"][1]
    assert (row["day"], row["am_c"], row["am_state"]) == ("2026-03-02", [4.5], "signed")
    assert (row["pm_c"], row["pm_own_c"], row["remarks"]) == ([None], 5.2, ["门未关好"])
    assert (body["head"]["signed"], body["head"]["missed"]) == (2, 0)
    api.clock.set(START + timedelta(days=2))
    later = told(world.get(sheet, params={"month": "2026-03"}))
    assert later["head"]["missed"] == 2
    assert later["tables"]["days"][2]["pm_state"] == "missed"


# ---- files of loggers ----


def upload(client: httpx.Client, path: Path, **more: str) -> httpx.Response:
    content = base64.b64encode(path.read_bytes()).decode()
    body = {"filename": path.name, "content_base64": content, **more}
    return client.post(f"{V1}/logger-files", json=body)


def test_given_real_files_when_filed_then_read_kept_and_beside_the_on_line_series(
    world: httpx.Client, database: Database, shared: Path
) -> None:
    before = database.query("SELECT count(*) FROM reading")
    made = upload(world, shared / FOLDER / TAG_2L, unit_id="dwk-room-1")
    assert made.status_code == 201, made.text
    assert upload(world, shared / FOLDER / TAG_2L, unit_id="dwk-room-1").status_code == 200
    tag = told(world.get(made.json()["location"]))
    assert (tag["readings"], tag["days"], tag["kind"]) == (10_653, 38, "fridge_tag_2l")
    assert (tag["run"]["min_c"], tag["run"]["max_c"]) == (-8.4, 30.2)
    assert tag["run"]["mkt_c"] == pytest.approx(12.7007, abs=1e-4)
    assert (tag["agrees"], {day["agrees"] for day in tag["daily"]}) == (True, {True})
    kept = told(world.get(f"{V1}/evidence/{tag['sha256']}"))
    assert base64.b64decode(kept["content_base64"]) == (shared / FOLDER / TAG_2L).read_bytes()
    span = {"from": "2022-05-10T00:00:00Z", "to": "2022-06-09T00:00:00Z", "points": "50"}
    beside = told(world.get(f"{V1}/units/dwk-room-1/readings", params=span))
    assert beside["online"] == []
    (file,) = beside["files"]
    assert (file["serial"], file["decimated"], max(file["v"])) == ("130500109088", True, 30.2)
    assert database.query("SELECT count(*) FROM reading") == before
    whole = told(world.get(f"{V1}/logger-files/{tag['sha256']}/readings?points=20000"))
    assert whole["rows"] == len(whole["t"]) == 10_653
    # 04:44 in China.
    assert datetime.fromtimestamp(whole["t"][0] / 1000, START.tzinfo).hour == 20


def test_given_other_files_when_filed_then_as_far_as_they_tell(
    api: Api, world: httpx.Client, shared: Path
) -> None:
    summaries = upload(world, shared / FOLDER / TAG_2)
    tag = told(world.get(summaries.json()["location"]))
    assert (tag["readings"], tag["days"], tag["agrees"], tag["run"]) == (0, 4, None, None)
    zone = {"bill_no": "B9", "zone": "America/Chicago"}
    button = told(world.get(upload(world, shared / FOLDER / BUTTON, **zone).json()["location"]))
    assert (button["zone_named"], button["since"]) == ("CDT", "2022-03-24T19:20:01Z")
    (listed,) = world.get(f"{V1}/logger-files?bill_no=B9").json()["items"]
    assert listed["sha256"] == button["sha256"]
    with api.client(Role.CLINIC, "640205") as stranger:
        assert stranger.get(f"{V1}/logger-files").json()["items"] == []
        assert stranger.get(f"{V1}/logger-files/{tag['sha256']}").status_code == 404


def test_given_a_file_with_broken_lines_when_filed_then_each_told_in_both_languages(
    world: httpx.Client, tmp_path: Path, shared: Path
) -> None:
    text = (shared / FOLDER / BUTTON).read_text()
    broken = tmp_path / "b.csv"
    text = text.replace("3/24/22 2:22:01 PM,C,19.094", "24.3.22,C,19.094", 1)
    text = text.replace("3/24/22 2:26:01 PM,C,19.094", "3/24/22 2:26:01 PM,C,warm", 1)
    broken.write_text(text)
    found = upload(world, broken)
    assert (found.status_code, found.json()["code"]) == (422, "bad_logger_lines")
    lines = found.json()["facts"]["lines"]
    assert [(line["row"], line["code"]) for line in lines] == [
        (2, "bad_logger_time"),
        (4, "bad_logger_value"),
    ]
    assert ("第 2 行" in lines[0]["zh"], "Row 4" in lines[1]["en"]) == (True, True)


def test_given_a_file_of_a_shipment_when_its_record_is_asked_then_evidence_apart(
    world: httpx.Client, tmp_path: Path
) -> None:
    rows = "".join(f"\t2026-03-02 09:{n:02}\t{7 + n % 3:.1f}\n" for n in range(0, 40, 10))
    text = "Device: Q-tag CLm doc\nConf:\n Serial: RC77\nData:\n\tyyyy-MM-dd\tT\n" + rows
    (tmp_path / "q.txt").write_text(text)
    assert upload(world, tmp_path / "q.txt", bill_no="B1").status_code == 201
    body = told(world.get(f"{V1}/shipments/B1/temperature-record"))
    (file,) = body["tables"]["files"]
    assert (file["serial"], file["readings"], file["max_c"]) == ("RC77", 4, 9.0)
    assert [line["evidence"] for line in body["series"]] == [False, False, True]
    assert body["head"]["max_c"] == 10.0


def test_given_the_read_model_when_rebuilt_then_the_same_rows(
    api: Api, world: httpx.Client
) -> None:
    with api.deps.pool.connection() as conn:
        checked = rebuild.check(api.deps.ledger, conn, rebuild.named("cold_chain_records"))
    assert checked.same
    assert all(rows for rows, _ in checked.live.values())
