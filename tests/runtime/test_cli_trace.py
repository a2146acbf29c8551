"""`vaxtrail capture` and `vaxtrail trace` on the synthetic chain, in the store of an instance."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from projections.runner import Runner
from runtime import cli
from tests.conftest import Database
from tests.traceability.chain import FOLDER, expected
from tests.traceability.ground import NAMES

Run = Callable[..., Any]
CAPTURE = (
    "capture",
    str(FOLDER / "captures.jsonl"),
    "--master",
    str(FOLDER / "master.json"),
    "--readings",
    str(FOLDER / "readings.csv"),
)


@pytest.fixture(scope="module")
def runner(database: Database) -> Iterator[Runner]:
    made = Runner(database.app_dsn)
    yield made
    made.close()


@pytest.fixture
def run(
    database: Database,
    runner: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Give the command line with the module's database; the answer is (status, output, errors)."""
    monkeypatch.setenv("VAXTRAIL_DATABASE_URL", database.app_dsn)
    monkeypatch.setenv("VAXTRAIL_MQTT_URL", "mqtt://127.0.0.1:1")

    def running(*command: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.run(["--data", str(tmp_path), *command])
        runner.follow_once()
        told = capsys.readouterr()
        return status, told.out, told.err

    return running


def answer(run: Run, *command: str) -> Any:
    status, out, err = run("trace", *command, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_given_the_chain_when_captured_twice_then_its_faults_ledger_and_recall(
    run: Run, database: Database
) -> None:
    count = expected()["counts"]["readings"]
    status, out, err = run(*CAPTURE)
    assert (status, out.splitlines()[3]) == (
        0,
        f"readings: {count} stored, 0 known; 0 messages refused",
    ), err
    status, out, _ = run(*CAPTURE)
    assert (status, out.splitlines()[1].partition(",")[0]) == (0, "0 stored")
    assert out.splitlines()[3] == f"readings: 0 stored, {count} known; 0 messages refused"
    check_readings(database)
    found = answer(run, "exceptions")
    told = sorted((c["kind"], c["codes"], sorted(c["fact_ids"])) for c in found["items"])
    assert told == sorted(
        (NAMES.get(f["rule"], f["rule"]), sorted(f["codes"]), sorted(f["events"]))
        for f in expected()["faults"]
    )
    assert "异常" in run("trace", "exceptions")[1]
    check_ledger(run)
    check_recall(run)


def check_readings(database: Database) -> None:
    """Hold the rows of a store and of a lorry against the file, and where their probes stand."""
    for device_id in ("STORE-MCDC", "TRUCK-MAH1-PCDC"):
        with (FOLDER / "readings.csv").open(encoding="utf-8") as file:
            told = [row for row in csv.DictReader(file) if row["device"] == device_id]
        asked = "SELECT t1, rh FROM reading JOIN device_no USING (device_no) WHERE device_id = %s"
        stored = database.query(f"{asked} ORDER BY ts", device_id)
        assert stored == [(float(r["temperature_c"]), float(r["humidity_pct"])) for r in told]
        placed = "SELECT s.unit_id, u.kind FROM rm_shared_placements.stand s "
        placed += "JOIN rm_shared_placements.unit u USING (unit_id) WHERE device_id = %s"
        kind = "cold_room" if device_id.startswith("STORE") else "refrigerated_vehicle"
        assert database.query(placed, device_id) == [(device_id, kind)]


def check_ledger(run: Run) -> None:
    for ledger in expected()["ledger"]:
        balance = answer(run, "balance", ledger["lot"])
        total = balance["total"]
        stock = {line["site_id"]: line["stock"] for line in balance["lines"] if line["stock"]}
        assert (stock, total["used"]) == (ledger["inStock"], ledger["used"])
        assert (total["missing"], total["difference"]) == (ledger["missing"], 0)


def check_recall(run: Run) -> None:
    """Ask as of the recall: its hold is the last thing but one that was captured then."""
    key = expected()["recall"]
    now = answer(run, "recall", key["lot"])
    [order] = now["orders"]
    then = answer(run, "recall", key["lot"], "--as-of", str(order["position"]))
    on_hand = {
        h["site_id"]: sorted(
            code
            for status, codes in h["codes"].items()
            if status in {"in_stock", "held", "in_transit"}
            for code in codes
            if code not in h["lost"]
        )
        for h in then["holders"]
    }
    assert {site: codes for site, codes in on_hand.items() if codes} == key["onHandCodes"]
    assert [code for h in then["holders"] for code in h["lost"]] == key["missing"]
    given = [(d["code"], d["site_id"], d["recipient"]) for d in then["given"]]
    assert given == [(g["code"], *g["given"][0][::2]) for g in key["alreadyGiven"]]
    assert answer(run, "recall", key["lot"], "--as-of", now["as_of"]) == now
    assert [d["after_recall"] for d in now["given"]] == [False, True]


def test_given_a_code_a_lot_and_a_place_when_traced_then_answered(run: Run) -> None:
    code = expected()["recall"]["missing"][0]
    assert answer(run, "code", code)["state"]["status"] == "in_transit"
    assert answer(run, "lot", "8474354.C2026946")["hops"]
    assert {line["site_id"] for line in answer(run, "place", "POV1")["items"]} == {"POV1"}
    before = answer(run, "exceptions", "--as-of", "100")
    assert {c["kind"] for c in before["items"]} < {
        NAMES.get(f["rule"], f["rule"]) for f in expected()["faults"]
    } | {"PRODUCT_WITHOUT_DATA"}


def test_given_lines_that_are_wrong_when_captured_then_told_by_line_and_the_others_taken(
    run: Run, tmp_path: Path
) -> None:
    good = (FOLDER / "captures.jsonl").read_text(encoding="utf-8").splitlines()[0]
    file = tmp_path / "some.jsonl"
    file.write_text(f'{good}\n{{"document": {{}}}}\nnothing\n', encoding="utf-8")
    status, out, err = run("capture", str(file))
    assert status == 1
    assert "1 known, 2 wrong" in out
    assert "some.jsonl 第 2 行" in err
    assert "some.jsonl, line 3" in err
    assert run("trace", "exceptions", "--kind", "nothing")[0] == 2


def test_given_a_capture_of_time_to_come_when_captured_then_told_by_line_and_the_rest_goes_on(
    run: Run, tmp_path: Path
) -> None:
    first, second = (FOLDER / "captures.jsonl").read_text(encoding="utf-8").splitlines()[:2]
    ahead = json.loads(first) | {"captureTime": "2999-01-01T00:00:00Z"}
    file = tmp_path / "ahead.jsonl"
    file.write_text(f"{json.dumps(ahead)}\n{second}\n", encoding="utf-8")
    # An excursion that nobody has put on record yet, over before what is captured.
    warm = ["time,device,temperature_c"]
    warm += [f"2026-01-01T0{n}:00:00+08:00,FRIDGE-POV2,{c}" for n, c in enumerate((5, 20, 5))]
    readings = tmp_path / "warm.csv"
    readings.write_text("\n".join(warm), encoding="utf-8")
    status, out, err = run("capture", str(file), *CAPTURE[2:4], "--readings", str(readings))
    assert status == 1
    assert err.startswith("ahead.jsonl 第 1 行：")
    assert "错误 1，" in out
