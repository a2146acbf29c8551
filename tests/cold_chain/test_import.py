"""Equipment and probes out of spreadsheets: rehearsed, imported, the same from CSV and .xlsx."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import openpyxl
import pytest

from api import sheets
from api.import_kinds import KINDS
from api.importing import Report, import_table, template
from domain.shared.errors import Busy, Conflict, Invalid
from domain.shared.roles import Role
from store.envelope import Meta
from store.logs import Ledger
from tests.api.world import build
from tests.conftest import START
from tests.runtime.instance import run
from tests.served import Api

IMPORTS = "/api/v1/imports"
META = Meta(occurred_at=START, recorded_at=START, source="import")
HEAD = ["设备编号", "站点编号", "设备类型", "设备名称", "储存条件", "记录仪编号", "网关编号",
        "通道", "记录间隔秒", "探头通道", "安放时间"]  # fmt: skip
AT = "2026-03-01T08:00:00+08:00"


@pytest.fixture(scope="module")
def world(api: Api) -> Iterator[httpx.Client]:
    """Give an administrator's client of the small world."""
    with api.client() as client:
        build(client)
        yield client


def line(name: str, *, site: str = "dwk-cdc", probes: str = "") -> list[object]:
    """Return a refrigerator, its gateway and its logger."""
    unit = [f"{name}-u", site, "冰箱", "二号冰箱", "cold-2-8"]
    return [*unit, f"{name}-log", f"{name}-gw", "t1;t2;rh", 300, probes, AT]


def csv_of(*rows: Sequence[object], encoding: str = "utf-8-sig") -> bytes:
    return "".join(",".join(map(str, row)) + "\n" for row in rows).encode(encoding)


def xlsx_of(*rows: Sequence[Any]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(list(row))
    kept = io.BytesIO()
    book.save(kept)
    return kept.getvalue()


def asked(client: httpx.Client, content: bytes, **more: Any) -> httpx.Response:
    body = {"kind": "equipment", "content_base64": base64.b64encode(content).decode()}
    headers = more.pop("headers", {})
    return client.post(IMPORTS, json=body | more, headers=headers)


def results(report: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(told["line"], told["result"], told["code"]) for told in report["lines"]]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "xlsx"])
def test_given_equipment_in_any_form_when_imported_twice_then_the_second_changes_nothing(
    world: httpx.Client, ledger: Ledger, encoding: str
) -> None:
    rows: list[Sequence[object]] = [
        HEAD,
        line(f"a-{encoding}"),
        [],
        line(f"b-{encoding}", probes="t1 t2"),
    ]
    content = xlsx_of(*rows) if encoding == "xlsx" else csv_of(*rows, encoding=encoding)
    before = ledger.last_position()
    tried = asked(world, content, dry_run=True).json()
    assert ledger.last_position() == before
    assert (tried["dry_run"], tried["created"], tried["wrong"]) == (True, 2, 0)
    assert [told["line"] for told in tried["lines"]] == [2, 4]
    assert tried["lines"][1]["zh"] == (
        f"登记设备 b-{encoding}-u；登记网关 b-{encoding}-gw；登记记录仪 b-{encoding}-log；"
        f"把 b-{encoding}-log 的探头 t1 放入 b-{encoding}-u；"
        f"把 b-{encoding}-log 的探头 t2 放入 b-{encoding}-u"
    )
    assert "register unit" in tried["lines"][1]["en"]
    done = asked(world, content).json()
    assert (done["dry_run"], done["lines"]) == (False, tried["lines"])
    stored = ledger.last_position()
    assert stored == before + 6 + 5
    again = asked(world, content).json()
    assert (again["created"], again["unchanged"], ledger.last_position()) == (0, 2, stored)
    assert world.get(f"/api/v1/units/a-{encoding}-u").json()["kind"] == "refrigerator"
    placed = world.get("/api/v1/probes", params={"device_id": f"b-{encoding}-log"}).json()
    assert [p["channel"] for p in placed["items"]] == ["t1", "t2"]


def test_given_wrong_lines_when_imported_then_nothing_of_them_and_all_of_the_others(
    world: httpx.Client,
) -> None:
    unfinished, unknown, twice = line("w2"), line("w3", site="nowhere"), line("w4")
    unfinished[6] = ""
    twice[8] = "soon"
    content = csv_of(HEAD, line("w1"), unfinished, unknown, twice, line("w5", probes="t9"))
    report = asked(world, content).json()
    assert results(report) == [
        (2, "created", ""),
        (3, "wrong", "empty_cell"),
        (4, "wrong", "unknown_site"),
        (5, "wrong", "bad_cell"),
        (6, "wrong", "unknown_channel"),
    ]
    assert report["lines"][1]["zh"] == "列 网关编号 不能为空"
    assert report["lines"][3]["en"] == (
        "Column 记录间隔秒: soon is not acceptable, it must be a whole number"
    )
    known = [world.get(f"/api/v1/units/w{n}-u").status_code for n in range(1, 6)]
    assert known == [200, 404, 404, 404, 404]
    assert world.get("/api/v1/gateways/w5-gw").status_code == 404


def test_given_a_line_on_what_an_earlier_one_brings_when_rehearsed_then_it_is_good(
    world: httpx.Client,
) -> None:
    first, second = line("x1", probes="t1"), line("x1", probes="t2")
    second[0], second[3] = "x2-u", "三号冰箱"
    other = line("x1", probes="t1")
    other[3] = "别的名字"
    tried = asked(world, csv_of(HEAD, first, second, other), dry_run=True).json()
    assert results(tried)[:2] == [(2, "created", ""), (3, "created", "")]
    assert results(tried)[2] == (4, "wrong", "already_registered")
    assert tried["lines"][1]["en"] == "register unit x2-u; place probe t2 of x1-log in x2-u"


def test_given_a_unit_without_a_logger_when_imported_then_it_alone(world: httpx.Client) -> None:
    report = asked(world, csv_of(HEAD, [*line("solo")[:5], *[""] * 6])).json()
    assert report["lines"][0]["zh"] == "登记设备 solo-u"


def test_given_an_idempotency_key_when_repeated_then_the_first_report(world: httpx.Client) -> None:
    headers = {"Idempotency-Key": "sheet-1"}
    first = asked(world, csv_of(HEAD, line("i1")), headers=headers)
    again = asked(world, csv_of(HEAD, line("i1")), headers=headers)
    assert first.json()["created"] == 1
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    other = asked(world, csv_of(HEAD, line("i2")), headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


def test_given_a_county_key_when_lines_of_others_are_imported_then_only_its_own(
    api: Api, world: httpx.Client
) -> None:
    assert world is not None
    with api.client(Role.CDC, "640202") as county:
        report = asked(county, csv_of(HEAD, line("c1"), line("c2", site="szs"))).json()
    assert results(report) == [(2, "created", ""), (3, "wrong", "out_of_scope")]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"unit_id,colour\n", "bad_columns"),
        (b"\xff\xff\xff", "bad_encoding"),
        (sheets.XLS + b"old", "bad_workbook"),
        (sheets.XLSX + b"broken", "bad_workbook"),
        (b'"unit_id\n', "bad_quote"),
        (b"unit_id\n" + b"x\n" * (sheets.LINES_MAX + 1), "bad_columns"),
    ],
)
def test_given_a_file_that_is_no_table_when_imported_then_refused(
    world: httpx.Client, content: bytes, code: str
) -> None:
    answer = asked(world, content)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_given_something_else_than_base64_when_imported_then_refused(world: httpx.Client) -> None:
    body = {"kind": "units", "content_base64": "###"}
    answer = world.post(IMPORTS, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_base64")


def zipped(name: str, content: bytes) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr(name, content)
    return kept.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (zipped("xl/other.xml", b"<a/>"), "bad_workbook"),
        (zipped("xl/workbook.xml", bytes(sheets.UNPACKED_BYTES_MAX + 1)), "bad_workbook"),
        (csv_of(["a"], *[["x"]] * (sheets.LINES_MAX + 1)), "too_many_lines"),
    ],
)
def test_given_too_much_or_too_little_when_read_then_refused(content: bytes, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        list(sheets.lines(content))
    assert refused.value.code == code


def test_given_cells_of_a_workbook_when_read_then_as_in_a_csv_file() -> None:
    day = datetime(2026, 3, 1, 8, 0)  # noqa: DTZ001  # a cell names no offset
    content = xlsx_of(["a", None, " "], [640202, 4.5, True, day, None, "x "], [None], [day.date()])
    assert list(sheets.lines(content)) == [
        (1, ["a"]),
        (2, ["640202", "4.5", "true", AT, "", "x"]),
        (4, ["2026-03-01T00:00:00+08:00"]),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_given_a_template_when_filled_with_its_examples_then_each_cell_can_be_read(
    kind: str,
) -> None:
    columns = KINDS[kind].columns
    for suffix in ("csv", "xlsx"):
        ((_, titles),) = sheets.lines(template(kind, suffix))
        assert titles is not None
        assert [title.rstrip(" *") for title in titles] == [f"{c.zh} {c.name}" for c in columns]
    for column in columns:
        column.read(column.example)
    with pytest.raises(Invalid):
        template("people", "csv")


@pytest.mark.parametrize("form", ["xlsx", "csv"])
def test_given_a_template_over_http_when_filled_then_it_can_be_imported(
    world: httpx.Client, form: str
) -> None:
    given = world.get(f"{IMPORTS}/equipment/template", params={"form": form})
    assert given.headers["content-disposition"] == f'attachment; filename="equipment.{form}"'
    ((_, titles),) = sheets.lines(given.content)
    names = [column.name for column in KINDS["equipment"].columns]
    unit = {"unit_id": f"t-{form}", "site_id": "dwk-cdc", "kind": "冰箱", "name": "冰箱"}
    filled = unit | {"profile_id": "cold-2-8"}
    report = asked(world, csv_of(titles or [], [filled.get(name, "") for name in names])).json()
    assert results(report) == [(2, "created", "")]


class Racing(Ledger):
    """A ledger in which others are quicker so many times."""

    name = "ledger"
    races = 0

    def append(self, *args: Any, **kwargs: Any) -> int:
        """Fail while there are races left."""
        if self.races:
            self.races -= 1
            raise Conflict("version_conflict")
        return super().append(*args, **kwargs)


def imported(ledger: Ledger, name: str) -> Report:
    content = csv_of(HEAD, line(name))
    return import_table("equipment", content, ledger, META, allow=lambda region: region)


def test_given_others_at_work_when_imported_then_tried_again(
    world: httpx.Client, database: Any
) -> None:
    assert world is not None
    with Racing(database.app_dsn) as ledger:
        ledger.races = 2
        assert imported(ledger, "r1").created == 1
        ledger.races = 100
        with pytest.raises(Busy):
            imported(ledger, "r2")


def test_given_the_command_when_run_then_tried_imported_and_a_template_written(
    world: httpx.Client, database: Any, tmp_path: Path
) -> None:
    assert world is not None
    file, empty = tmp_path / "表.xlsx", tmp_path / "空.xlsx"
    file.write_bytes(xlsx_of(HEAD, line("cli-1"), line("cli-2", site="nowhere")))
    url = {"VAXTRAIL_DATABASE_URL": database.app_dsn, "VAXTRAIL_MQTT_URL": "mqtt://127.0.0.1:1"}
    tried = run(tmp_path, "import", "equipment", str(file), "--dry-run", **url)
    assert tried.returncode == 1
    assert "第 2 行 | line 2: 登记设备 cli-1-u" in tried.stdout
    assert "unknown_site" in tried.stderr
    assert "1 new, 0 unchanged, 1 wrong" in tried.stdout
    assert world.get("/api/v1/units/cli-1-u").status_code == 404
    assert run(tmp_path, "import", "equipment", str(file), **url).returncode == 1
    assert world.get("/api/v1/units/cli-1-u").status_code == 200
    assert run(tmp_path, "import", "equipment", str(empty), "--template").returncode == 0
    assert next(sheets.lines(empty.read_bytes()))[0] == 1
    for name in ("空.xlsx", "空.doc", "no/空.csv"):
        refused = run(tmp_path, "import", "equipment", str(tmp_path / name), "--template")
        assert refused.returncode == 1
        assert len(refused.stderr.splitlines()) == 2


def far_row(number: int) -> bytes:
    """Return a workbook of a header and one more row, of this number."""
    with zipfile.ZipFile(io.BytesIO(xlsx_of(["a"]))) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"]
    far = b'<row r="%d"><c t="inlineStr"><is><t>x</t></is></c></row></sheetData>' % number
    parts["xl/worksheets/sheet1.xml"] = sheet.replace(b"</sheetData>", far)
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as book:
        for name, content in parts.items():
            book.writestr(name, content)
    return kept.getvalue()


def test_given_a_row_far_below_when_read_then_as_far_as_a_workbook_goes() -> None:
    assert list(sheets.lines(far_row(1_048_576))) == [(1, ["a"]), (1_048_576, ["x"])]
    with pytest.raises(Invalid) as refused:
        list(sheets.lines(far_row(1_000_000_000)))
    assert refused.value.code == "bad_workbook"


def test_given_an_id_typed_as_a_long_number_when_imported_then_that_line_is_refused(
    world: httpx.Client,
) -> None:
    wrong, good, exact = line("n1"), line("n2"), line("n3")
    wrong[0], good[0], exact[0] = 1234567890123456.0, 123456789012345, "1234567890123456"
    report = asked(world, xlsx_of(HEAD, wrong, good, exact)).json()
    assert results(report) == [
        (2, "wrong", "rounded_number"),
        (3, "created", ""),
        (4, "created", ""),
    ]
    assert "设备编号" in report["lines"][0]["zh"]
    assert "format the column as text" in report["lines"][0]["en"]


def test_given_a_device_moved_away_when_its_former_county_imports_then_its_probes_stay(
    api: Api, world: httpx.Client
) -> None:
    assert asked(world, csv_of(HEAD, line("gone", probes="t1"))).json()["created"] == 1
    assert world.post(
        "/api/v1/gateways", json={"gateway_id": "gone-to", "site_id": "szs"}
    ).is_success
    etag = world.get("/api/v1/devices/gone-log").headers["etag"]
    moved = {"gateway_id": "gone-to", "moved_at": "2026-03-01T12:00:00Z"}
    path = "/api/v1/devices/gone-log/moves"
    assert world.post(path, json=moved, headers={"If-Match": etag}).is_success
    later = line("gone", probes="t2")
    with api.client(Role.CDC, "640202") as county:
        report = asked(county, csv_of(HEAD, later)).json()
    assert results(report) == [(2, "wrong", "out_of_scope")]
    placed = world.get("/api/v1/probes", params={"device_id": "gone-log"}).json()["items"]
    assert [p["channel"] for p in placed] == ["t1"]


def test_given_a_probe_placed_in_the_future_when_imported_then_that_line_is_refused(
    world: httpx.Client,
) -> None:
    ahead = line("later")
    ahead[10] = "2026-03-03T08:00:00+08:00"
    report = asked(world, csv_of(HEAD, ahead)).json()
    assert results(report) == [(2, "wrong", "in_future")]
