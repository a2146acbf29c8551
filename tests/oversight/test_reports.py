"""Reports over HTTP: one world, asked as regulator, CDC and inspector, in every form."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, date, timedelta
from pathlib import Path
from typing import Any

import httpx
import openpyxl
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reportlab.pdfbase import pdfmetrics

from api.oversight import answers, asking
from api.oversight.bundle import checked
from api.oversight.parts import KINDS, PART_NAMES, PARTS, STEPS
from api.paper import FONT
from domain.shared.roles import Role
from domain.traceability.kinds import Kind
from projections import rebuild
from runtime.cli import run
from store import retention
from tests.api.world import LOT, build
from tests.conftest import START, Database
from tests.served import SIGNING_KEY, Api

V1 = "/api/v1"
CODES = [f"8474354018136002{n:04}" for n in range(6)]
OTHER = [f"8474354018136003{n:04}" for n in range(3)]
OTHER_LOT = "8474354.B2026001"
REPORT = f"{V1}/lots/{LOT}/report"
CHAIN = {"part": "chain"}
CASE = "宁药监查〔2026〕3 号"
HOT_MIN = 60


@pytest.fixture(scope="module")
def world(api: Api, database: Database) -> Iterator[httpx.Client]:
    """Give an administrator's client of a lot that was sent, warmed, given in part and recalled."""
    with api.client() as client:
        build(client)
        lot = {"product_id": "8474354", "lot_number": "B2026001", "expires_on": "2028-02-28"}
        assert client.post(f"{V1}/lots", json=lot).status_code == 201
        got = {"site": "dwk-cdc", "step": "receiving", "unit": "dwk-room-1"}
        told: list[tuple[list[str], dict[str, Any]]] = [
            (CODES, {"site": "szs", "step": "commissioning", "lot": LOT, "level": 1}),
            (OTHER, {"site": "szs", "step": "commissioning", "lot": OTHER_LOT, "level": 1}),
            (CODES, {"site": "szs", "step": "shipping", "to": "dwk-cdc", "bill": "B1", "temp": 4}),
            (OTHER, {"site": "szs", "step": "shipping", "to": "dwk-cdc", "bill": "B2"}),
            (CODES[:5], got | {"bill": "B1", "tmin": 3.0, "tmax": 5.5, "taken_by": "P-9"}),
            (OTHER, got | {"bill": "B2"}),
        ]
        for codes, body in told:
            scan(api, client, codes, body)
        warm(database)
        api.clock.advance(minutes=HOT_MIN)
        given = {"site": "dwk-cdc", "step": "dispensing", "recipient": "R-1", "vaccinator": "V-1"}
        scan(api, client, CODES[:1], given | {"dose": 1, "series_dose": 2})
        order = {"site": "szs", "step": "holding", "lot": LOT, "recall": True, "reason": "召回"}
        scan(api, client, [], order | {"fact_id": "recall-1", "recall_class": "1"})
        yield client


def scan(api: Api, client: httpx.Client, codes: list[str], body: dict[str, Any]) -> None:
    at = api.clock.advance(minutes=10).isoformat()
    answer = client.post(f"{V1}/scans", json={"at": at, "codes": codes, **body})
    assert answer.status_code == 201, answer.text


def warm(database: Database) -> None:
    """Let the fridge read 12 °C a minute, from the first hour to the third."""
    day = START.date().isoformat()
    database.query("SELECT ensure_reading_partitions(%s, %s)", day, day)
    database.query("INSERT INTO device_no (device_id) VALUES ('dwk-log-1')")
    database.query(
        "INSERT INTO batches (batch, telemetry_id, recorded_at) VALUES (1001, 0, %s)",
        START.astimezone(UTC) + timedelta(hours=4),
    )
    database.query(
        "INSERT INTO reading (device_no, ts, boot, seq, batch, backfill, t1) "
        "SELECT device_no, %s::timestamptz + n * interval '1 minute', 1, n, 1001, false, 12 "
        "FROM device_no, generate_series(0, 180) AS n",
        START,
    )


def rows(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def test_given_a_lot_when_reported_then_every_part_tells_and_names_its_events(
    world: httpx.Client, database: Database
) -> None:
    found = world.get(REPORT)
    assert found.status_code == 200, found.text
    body = found.json()
    (lot,) = body["head"]["lots"]
    assert (lot["product"], lot["recalled"], lot["recall_class"]) == ("示例灭活疫苗", True, "1")
    parts = body["parts"]
    sent = next(row for row in parts["chain"] if row["step"] == "shipping")
    assert (sent["units_due"], sent["units"], sent["departed_c"]) == (6, 5, 4.0)
    assert (sent["transport_c_min"], sent["transport_c_max"]) == (3.0, 5.5)
    assert [row["seq"] for row in parts["chain"]] == list(range(1, len(parts["chain"]) + 1))
    assert {r["site_id"]: r["used"] for r in parts["stock"]} == {"dwk-cdc": 1}
    fridge = next(row for row in parts["thermal"] if row["unit_id"] == "dwk-room-1")
    assert fridge["max_c"] == 12.0
    assert fridge["above_min"] > HOT_MIN
    assert fridge["devices"] == ["dwk-log-1"]
    (dose,) = parts["injections"]
    assert (dose["code"], dose["series_dose"], dose["county"]) == (CODES[0], 2, "640202")
    assert dose["city"] == "640200"
    assert "DATA_WITHOUT_PRODUCT" in {case["kind"] for case in parts["exceptions"]}
    assert {row["site_id"] for row in parts["quality"]} >= {"szs", "dwk-cdc"}
    assert body["proof"]["inclusion"] is None
    for row in (row for part in parts.values() for row in part):
        for event in row["events"]:
            ((state,),) = database.query(
                "SELECT state FROM ledger_events WHERE notification_id = %s", event["position"]
            )
            assert hashlib.sha256(state).hexdigest() == event["sha256"]


@pytest.mark.parametrize("form", ["json", "csv", "xlsx", "pdf", "evidence"])
def test_given_an_answer_when_asked_again_as_of_its_position_then_the_same_bytes(
    api: Api, world: httpx.Client, form: str
) -> None:
    first = world.get(REPORT, params={"format": form})
    at = first.headers["vaxtrail-position"]
    scan(api, world, CODES[4:5], {"site": "dwk-cdc", "step": "holding", "reason": form})
    again = world.get(REPORT, params={"format": form, "as_of": at})
    assert again.status_code == 200, again.text
    same = world.get(REPORT, params={"format": form, "as_of": at})
    assert again.content == same.content
    if form not in {"pdf", "evidence"}:
        assert again.content == first.content


def test_given_every_part_when_asked_as_tables_then_headings_and_rows(world: httpx.Client) -> None:
    parts = world.get(REPORT).json()["parts"]
    with zipfile.ZipFile(io.BytesIO(world.get(REPORT, params={"format": "csv"}).content)) as found:
        assert found.namelist() == [f"{name}.csv" for name in PART_NAMES]
    one = world.get(REPORT, params={"part": "injections"}, headers={"Accept": "text/csv"})
    table = list(csv.reader(io.StringIO(one.content.decode("utf-8-sig"))))
    assert table[0][:4] == ["接种时间", "受种者代号", "剂次", "追溯码"]
    assert len(table) == 1 + len(parts["injections"])
    asked = world.get(REPORT, params={"format": "xlsx"})
    book = openpyxl.load_workbook(io.BytesIO(asked.content))
    assert book.sheetnames == ["概要", *(part.zh for part in PARTS)]
    assert book["流通链"].max_row == 1 + len(parts["chain"])


def test_given_the_certificate_when_made_then_its_fonts_are_in_it_and_have_its_characters(
    world: httpx.Client,
) -> None:
    paper = world.get(REPORT, params={"format": "pdf"}).content
    assert paper.startswith(b"%PDF")
    assert paper.count(b"/FontFile2") >= 2  # one a language at least; readers bring none
    shown = {c for kind in (KINDS, STEPS) for word in kind.values() for c in word}
    shown |= {c for part in PARTS for column in part.columns for c in column.zh + part.zh}
    font = pdfmetrics.getFont(FONT)
    assert {c for c in shown if c > "\u00ff"} <= set(map(chr, font.face.charToGlyph))
    assert set(KINDS) == set(Kind)


def test_given_rows_in_small_pieces_when_written_then_the_same_bytes(
    world: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms = ({"format": "json"}, {"format": "csv"}, {"format": "xlsx"}, {"format": "csv"} | CHAIN)
    at = world.get(REPORT).headers["vaxtrail-position"]
    before = [world.get(REPORT, params={"as_of": at, **form}) for form in forms]
    monkeypatch.setattr(answers, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(asking, "PIECE_BYTES", 100)
    after = [world.get(REPORT, params={"as_of": at, **form}) for form in forms]
    assert len(before[0].json()["parts"]["chain"]) > 2
    assert [found.content for found in after] == [found.content for found in before]


def test_given_places_and_codes_when_reported_then_what_happened_there_then(
    world: httpx.Client,
) -> None:
    whole = world.get(f"{V1}/places/dwk-cdc/report").json()["parts"]
    assert {row["lot_id"] for row in whole["stock"]} == {LOT, OTHER_LOT}
    early = {"until": (START + timedelta(minutes=45)).isoformat().replace("+00:00", "Z")}
    then = world.get(f"{V1}/regions/640200/report", params=early).json()["parts"]
    assert {row["step"] for row in then["chain"]} == {"commissioning", "shipping"}
    assert then["injections"] == []
    code = world.get(f"{V1}/codes/{CODES[0]}/report").json()["parts"]
    assert len(code["injections"]) == 1
    assert world.get(f"{V1}/places/nowhere/report").json()["code"] == "unknown_site"


def test_given_roles_when_they_ask_then_people_are_shown_by_right(
    api: Api, world: httpx.Client
) -> None:
    shown = {}
    for role, region in ((Role.CDC, "640202"), (Role.REGULATOR, "640000"), (Role.CDC, "640205")):
        with api.client(role, region) as client:
            answer = client.get(REPORT).json()
            doses = answer.get("parts", {}).get("injections", [{}])
            shown[role, region] = doses[0].get("recipient", answer.get("code"))
    assert list(shown.values()) == ["R-1", None, "unknown_lot"]
    with api.client(Role.VACCINATOR, "640202") as client:
        assert client.get(REPORT).status_code == 403
    assert world.get(REPORT).json()["parts"]["injections"][0]["recipient"] is None


def test_given_further_questions_when_asked_then_answered_as_of_a_time(
    api: Api, world: httpx.Client
) -> None:
    exposed = f"{V1}/lots/{LOT}/exposed-doses"
    (dose,) = rows(world.get(exposed, params={"minutes": 30, "above_c": 8}))
    assert dose["code"] == CODES[0]
    assert dose["above_min"] > HOT_MIN
    assert rows(world.get(exposed, params={"minutes": 30, "above_c": 13})) == []
    (shared,) = rows(world.get(f"{V1}/lots/{LOT}/companions"))
    assert (shared["lot_id"], shared["unit_id"]) == (OTHER_LOT, "dwk-room-1")
    assert shared["units"] == len(OTHER)
    silent = rows(world.get(f"{V1}/lots/{LOT}/unacknowledged"))
    assert [row["site_id"] for row in silent] == ["dwk-cdc"]
    told = {"site": "dwk-cdc", "step": "acknowledging", "lot": LOT, "recall_id": "recall-1"}
    scan(api, world, [], told)
    assert rows(world.get(f"{V1}/lots/{LOT}/unacknowledged")) == []
    known = f"{V1}/regions/640200/known"
    before = {"as_of": (START + timedelta(minutes=25)).isoformat().replace("+00:00", "Z")}
    assert world.get(known, params=before).json()["parts"]["exceptions"] == []
    assert world.get(known).json()["parts"]["exceptions"]
    assert rows(world.get(f"{V1}/regions/640200/impossible-journeys")) == []


def test_given_a_code_at_two_places_when_too_soon_then_distance_and_speed_are_told(
    api: Api, world: httpx.Client
) -> None:
    for number, latitude in ((71, 38.5), (72, 39.5)):
        site = {
            "site_id": f"far-{number}",
            "org_code": "126402024540000009",
            "site_no": number,
            "name": f"接种点 {number}",
            "kind": "clinic",
            "region_code": "640202",
            "latitude": latitude,
            "longitude": 106.4,
        }
        assert world.post(f"{V1}/sites", json=site).status_code == 201
        got = {"site": site["site_id"], "step": "receiving", "bill": f"F{number}"}
        scan(api, world, OTHER[2:], got)
    (found,) = rows(world.get(f"{V1}/regions/640200/impossible-journeys"))
    assert (found["code"], found["from_site_id"], found["to_site_id"]) == (
        OTHER[2],
        "far-71",
        "far-72",
    )
    assert found["km"] == pytest.approx(111.2, abs=0.1)
    assert found["km_per_h"] == pytest.approx(667, abs=1)
    assert len(found["events"]) == 2


def test_given_a_bundle_when_changed_anywhere_then_the_check_says_so(
    world: httpx.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = world.get(REPORT, params={"format": "evidence"}).content
    found = checked(bundle, SIGNING_KEY.public_key())
    assert found.whole, found.faults
    assert found.withheld == 2  # a dose and a receipt name people
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        files: dict[str, Any] = {name: archive.read(name) for name in archive.namelist()}
    event = next(name for name in files if name.startswith("events/"))
    assert b'"R-1' not in b"".join(files.values())
    for change, code in (
        ({event: files[event] + b" "}, "changed"),
        ({event: None}, "missing"),
        ({"more.txt": b"x"}, "unlisted"),
        ({"manifest.json": files["manifest.json"] + b" "}, "bad_signature"),
        ({"answer.json": files["answer.json"].replace(b"dwk-cdc", b"dwk-cdd")}, "changed"),
    ):
        faults = [fault for fault, _ in checked(_zip(files | change)).faults]
        assert code in faults, change
    stranger = Ed25519PrivateKey.generate().public_key()
    assert {"other_key", "bad_signature"} == {c for c, _ in checked(bundle, stranger).faults}
    assert checked(b"PK").faults[0][0] == "not_a_bundle"
    file = tmp_path / "evidence.zip"
    file.write_bytes(bundle)
    capsys.readouterr()  # the server's log
    assert run(["evidence", "check", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["whole"] is True
    file.write_bytes(_zip(files | {event: b"{}"}))
    assert run(["evidence", "check", str(file)]) == 3
    assert "内容已改动" in capsys.readouterr().out


def _zip(files: Mapping[str, bytes | None]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(name, content)
    return out.getvalue()


def test_given_an_inspection_when_read_under_then_bounded_recorded_and_over_in_time(
    api: Api, world: httpx.Client
) -> None:
    with api.client(Role.INSPECTOR, "640200") as inspector:
        assert inspector.get(REPORT).json()["code"] == "no_inspection"
        grant = {
            "key_id": "inspector-640200",
            "case_no": CASE,
            "region_code": "640200",
            "lot_ids": [LOT],
            "valid_until": (api.clock.now() + timedelta(hours=5)).isoformat(),
            "grounds": "举报",
        }
        made = world.post(f"{V1}/inspections", json=grant)
        assert made.status_code == 201, made.text
        assert world.post(f"{V1}/inspections", json=grant).json()["code"] == "inspection_in_force"
        bad = world.post(f"{V1}/inspections", json=grant | {"key_id": "admin-000000"})
        assert bad.json()["code"] == "not_an_inspector"
        answer = inspector.get(REPORT)
        assert answer.status_code == 200, answer.text
        other = inspector.get(f"{V1}/lots/{OTHER_LOT}/report")
        assert (other.status_code, other.json()["code"]) == (404, "unknown_lot")
        assert inspector.get(f"{V1}/codes/{OTHER[0]}/report").json()["code"] == "unknown_code"
        refused = inspector.get(f"{V1}/regions/640200/known")
        assert refused.json()["code"] == "inspection_of_lots"
        place = inspector.get(f"{V1}/places/dwk-cdc/report").json()["parts"]
        assert {row["lot_id"] for row in place["stock"]} == {LOT}
        assert inspector.get(f"{V1}/stock").status_code == 403
        where = made.json()["location"]
        api.followed(api.deps.ledger.last_position())
        reads = rows(world.get(f"{where}/reads"))
        assert [read["path"].rpartition("/")[2] for read in reads] == ["report", "report"]
        assert reads[0]["sha256"] == hashlib.sha256(answer.content).hexdigest()
        assert world.get(where).json()["in_force"] is True
        api.clock.advance(hours=6)
        assert inspector.get(REPORT).json()["code"] == "no_inspection"
        assert world.get(where).json()["in_force"] is False
        assert world.post(f"{where}/ending", json={"reason": "结案"}).status_code == 200


def test_given_a_legal_hold_when_days_are_dropped_then_those_of_the_lot_stay(
    world: httpx.Client, database: Database
) -> None:
    asked = {"lot_id": LOT, "case_no": CASE, "grounds": "调查"}
    assert world.post(f"{V1}/legal-holds", json=asked).status_code == 201
    assert world.post(f"{V1}/legal-holds", json=asked).status_code == 200
    (held,) = rows(world.get(f"{V1}/legal-holds"))
    assert (held["case_no"], held["lifted_at"]) == (CASE, None)
    day = START.date()
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        (hold,) = retention.holds(owner)
        assert (hold.first_day, hold.last_day) == (day, date(9999, 12, 31))
        assert not retention.lift(owner, hold.hold_id)  # only an event lifts it
        (old,) = retention.old_days(owner, day + timedelta(days=1))
        assert old.held
        lifted = world.post(f"{V1}/legal-holds/{LOT}/lifting", json=asked)
        assert lifted.status_code == 200, lifted.text
        (old,) = retention.old_days(owner, day + timedelta(days=1))
        assert not old.held
    (held,) = rows(world.get(f"{V1}/legal-holds"))
    assert held["lifting_grounds"] == "调查"
    assert world.post(f"{V1}/legal-holds/{LOT}/lifting", json=asked).status_code == 404


def test_given_codes_held_and_recalled_when_reported_then_the_orders_in_force_and_their_units(
    api: Api, world: httpx.Client
) -> None:
    path = f"{V1}/lots/{OTHER_LOT}/report"
    hold = {"site": "dwk-cdc", "step": "holding", "reason": "外观异常", "fact_id": "hold-1"}
    scan(api, world, OTHER[:1], hold)
    recall = {"recall": True, "recall_class": "2", "notice": "N-2", "fact_id": "recall-2"}
    scan(api, world, OTHER[:2], hold | recall | {"site": "szs"})

    def told() -> list[tuple[Any, ...]]:
        found = world.get(path).json()["parts"]["orders"]
        return [(o["binds"], o["scope"], o["fact_id"], o["units"]) for o in found]

    assert told() == [("hold", "codes", "hold-1", 1), ("recall", "codes", "recall-2", 2)]
    (lot,) = world.get(path).json()["head"]["lots"]
    assert (lot["recalled"], lot["held_units"], lot["recalled_units"]) == (False, 2, 2)
    signed = {"executer": "P-1", "supervisor": "P-2", "reason": "复检合格"}
    lifted = {"site": "szs", "step": "releasing", "recall": True} | signed
    scan(api, world, OTHER[1:2], lifted)
    assert told() == [("hold", "codes", "hold-1", 1), ("recall", "codes", "recall-2", 1)]
    whole = world.get(REPORT).json()["parts"]["orders"]
    assert ("recall", "lot", "recall-1") in [(o["binds"], o["scope"], o["fact_id"]) for o in whole]


def test_given_the_read_model_when_rebuilt_then_the_same_rows(
    api: Api, world: httpx.Client, database: Database
) -> None:
    assert world is not None
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        assert rebuild.check(api.deps.ledger, conn, rebuild.named("oversight")).same
