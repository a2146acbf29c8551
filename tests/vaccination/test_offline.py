"""A clinic without the server: signed snapshots, a journal on disk, and sending it later."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from api.snapshot_file import opened, sealed
from domain.shared.errors import Invalid
from domain.vaccination.checks import Reason, Vial
from domain.vaccination.snapshot import Snapshot, judge_offline, snapshot
from runtime.journal import LATE_REASON, Journal, scan_id
from runtime.signing import public_pem, signing_key
from tests.runtime.instance import run

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
CODES = [f"8474354018136001{n:04}" for n in range(4)]


OPENING = ["--site", "dwk", "--step", "opening"]


def stock(made_at: datetime = NOW) -> Snapshot:
    vials = [
        Vial(
            code=code,
            known=True,
            product_id="8474354",
            product_known=True,
            expires_on=(made_at + timedelta(days=99)).date(),
            status="in_stock",
            site_id="dwk",
        )
        for code in CODES
    ]
    return snapshot(site_id="dwk", made_at=made_at, position=7, vials=vials)


def scan(code: str = CODES[0], hours: float = 0, **more: Any) -> dict[str, Any]:
    at = (NOW - timedelta(hours=hours)).isoformat()
    found: dict[str, Any] = {"site": "dwk", "step": "dispensing", "codes": [code], "at": at}
    found |= more
    return {**found, "fact_id": scan_id(found)}


class Server:
    """A server that keeps facts by their id, and fails as told: a list of faults, oldest first."""

    def __init__(self, *faults: object) -> None:
        self.facts: dict[str, dict[str, Any]] = {}
        self.faults = list(faults)

    def take(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer as the API does; a fault "lost" comes after the scan is stored."""
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            return fault, {"code": "told"}
        if isinstance(fault, Exception):
            raise fault
        if fault == "away":
            raise httpx.ConnectError("away")
        known = sent["fact_id"] in self.facts
        self.facts.setdefault(sent["fact_id"], sent)
        if fault == "lost":
            raise httpx.ReadTimeout("lost")
        return (200 if known else 201), {}


def test_given_a_snapshot_when_sealed_then_only_its_key_and_its_bytes_open_it() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    file = sealed(stock(), key)
    assert opened(file, key.public_key()) == stock()
    faults = {
        "signature": file.replace(b'"held":false', b'"held":true ', 1),
        "malformed": file[:100],
    }
    for reason, wrong in faults.items():
        with pytest.raises(Invalid, match=reason):
            opened(wrong, key.public_key())
    with pytest.raises(Invalid, match="other_key"):
        opened(file, other.public_key())


def test_given_a_data_folder_when_a_key_is_needed_then_made_once_and_private(
    tmp_path: Path,
) -> None:
    made = public_pem(signing_key(tmp_path))
    assert public_pem(signing_key(tmp_path)) == made
    assert (tmp_path / "secrets" / "signing.pem").stat().st_mode & 0o077 == 0


def test_given_a_scan_when_put_down_twice_and_cut_off_then_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert [journal.append(scan()), journal.append(scan())] == [True, False]
    with (tmp_path / "journal").open("ab") as file:
        file.write(b'{"fact_id": "torn", "co')  # as a power cut leaves it: never acknowledged
    assert journal.append(scan(CODES[1]))
    assert [s["codes"] for s in journal.scans()] == [[CODES[0]], [CODES[1]]]
    with pytest.raises(Invalid, match="not_a_pseudonym"):
        journal.append(scan(recipient="张三"))
    with pytest.raises(Invalid, match="names_a_person"):
        journal.append(scan() | {"fact_id": "dose-13812345678"})
    assert [s.code for s in journal.since()] == CODES[:2]
    assert Journal(tmp_path / "none").scans() == []


def test_given_scans_of_days_ago_when_sent_then_their_own_time_and_flagged_late(
    tmp_path: Path,
) -> None:
    journal, server = Journal(tmp_path / "journal"), Server()
    wasted = scan(CODES[2], 100, step="wasting", reason="破损")
    for each in (scan(), scan(CODES[1], 25), scan(CODES[3], 73), wasted):
        journal.append(each)
    found = journal.sync(server.take, NOW)
    assert (found.sent, found.known, found.late, found.waiting) == (4, 0, 3, 0)
    told = list(server.facts.values())
    assert [each.get("reason") for each in told] == [None, None, LATE_REASON, "破损"]
    assert told[1]["at"] == (NOW - timedelta(hours=25)).isoformat()
    assert journal.sync(server.take, NOW).sent == 0


@given(st.lists(st.sampled_from([None, "away", "lost", 503, 429, 422]), max_size=12))
@settings(deadline=None, max_examples=15)
def test_given_any_faults_when_sent_again_and_again_then_nothing_lost_and_nothing_double(
    tmp_path_factory: pytest.TempPathFactory, faults: list[Any]
) -> None:
    journal = Journal(tmp_path_factory.mktemp("clinic") / "journal")
    server = Server(*faults)
    scans = [scan(code) for code in CODES]
    for each in scans:
        journal.append(each)
    for _ in range(len(faults) + 1):
        found = journal.sync(server.take, NOW)
    assert (found.refused, found.waiting) == ([], 0)
    assert sorted(server.facts) == sorted(each["fact_id"] for each in scans)


def test_given_a_refused_scan_when_sent_then_kept_and_the_others_go_on(tmp_path: Path) -> None:
    journal, server = Journal(tmp_path / "journal"), Server(409)
    for code in CODES[:2]:
        journal.append(scan(code))
    found = journal.sync(server.take, NOW)
    assert (found.sent, [each["problem"]["code"] for each in found.refused]) == (1, ["told"])
    assert len(journal.scans()) == 2


def test_given_a_dose_of_before_the_snapshot_when_never_sent_then_it_still_counts(
    tmp_path: Path,
) -> None:
    journal, at = Journal(tmp_path / "journal"), NOW + timedelta(minutes=5)
    journal.append(scan(hours=1))
    hold = scan(step="holding", lot="8474354.A1", codes=[], reason="断电")
    journal.append(hold)
    refused = judge_offline(stock(), CODES[0], at=at, since=journal.since())
    assert refused.reasons == [Reason.USED]
    assert [each.lot_id for each in journal.since()] == ["", "8474354.A1"]
    assert journal.sync(Server().take, NOW - timedelta(minutes=9)).sent == 2
    assert judge_offline(stock(), CODES[0], at=at, since=journal.since()).may


def test_given_marks_cut_off_by_a_crash_when_sent_again_then_none_is_taken_for_another(
    tmp_path: Path,
) -> None:
    journal, server = Journal(tmp_path / "journal"), Server()
    for fact_id in ("abc", "abcdef"):
        journal.append(scan() | {"fact_id": fact_id})
    marks = tmp_path / "journal.sent"
    marks.write_bytes(b"abc")
    assert journal.sync(server.take, NOW).sent == 2
    marks.write_bytes(marks.read_bytes()[:-1])
    assert journal.sync(server.take, NOW).known == 0
    assert len(marks.read_bytes().splitlines()) == 2


@pytest.mark.parametrize("fault", [httpx.InvalidURL("x"), httpx.TooManyRedirects("x"), 423, 425])
def test_given_a_server_that_cannot_take_it_now_when_sent_then_it_waits(
    tmp_path: Path, fault: Exception | int
) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(scan())
    found = journal.sync(Server(fault).take, NOW)
    assert (found.waiting, found.refused) == (1, [])


def test_given_damaged_lines_when_sent_then_listed_and_the_others_go_on(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    journal = Journal(file)
    for at in ("2026-03-02T09:00:00", "garbage", None):
        with pytest.raises(Invalid, match="bad_field"):
            journal.append(scan() | {"at": at})
    damaged = [b"{}", b"\xff", json.dumps(scan() | {"at": "2026-03-02"}).encode()]
    file.write_bytes(b"".join(line + b"\n" for line in damaged))
    journal.append(scan())
    found = journal.sync(Server().take, NOW)
    assert (found.sent, [each["fact_id"] for each in found.refused]) == (1, ["#1", "#2", "#3"])
    assert len(journal.since()) == 1


def test_given_one_moment_with_another_offset_when_named_then_the_same_id() -> None:
    said = {**scan(), "at": "2026-03-02T09:00:00+08:00"}
    assert scan_id(said) == scan_id(said | {"at": "2026-03-02T01:00:00+00:00"})


def test_given_files_when_checked_at_the_command_line_then_told_and_by_status(
    tmp_path: Path,
) -> None:
    now = datetime.now(UTC)
    file, journal = tmp_path / "stock.jsonl", tmp_path / "journal"
    file.write_bytes(sealed(stock(now), signing_key(tmp_path)))
    assert run(tmp_path, "clinic", "key", "-o", str(tmp_path / "snapshot-key.pem")).returncode == 0
    both = run(tmp_path, "clinic", "check", str(file), *CODES[:2])
    assert (both.returncode, both.stdout.count("may be used")) == (0, 2)
    record = ["clinic", "record", str(journal), CODES[0], "--site", "dwk", "--step", "dispensing"]
    assert run(tmp_path, *record, "--recipient", "R-1").returncode == 0
    asked = ["clinic", "check", str(file), *CODES[:2], "--journal", str(journal)]
    done = run(tmp_path, *asked, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, [each["may"] for each in told["codes"]]) == (3, [False, True])
    assert told["codes"][0]["reasons"][0]["code"] == "used"
    assert "已用完或已接种" in run(tmp_path, *asked).stdout


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["record", "J", CODES[0], *OPENING, "--at", "today"], "时区"),
        (["sync", "none", "--server", "http://127.0.0.1:1", "--key-file", "x"], "没有离线记录"),
        (["snapshot", "dwk", "-o", "x", "--server", "http://127.0.0.1:1"], "--key-file"),
        (["check", "{file}", CODES[0], "--key", "{file}"], "不是公钥"),
        (["check", "{file}", CODES[0], "--key", "{other}"], "不可信"),
        (["check", "{file}", CODES[0], "--key", "{own}", "--site", "szs"], "不是 szs"),
        (["record", "J", CODES[0], *OPENING, "--at", "2999-01-01T00:00:00Z"], "还没有到"),
    ],
)
def test_given_what_cannot_be_done_when_asked_then_refused_in_both_languages(
    tmp_path: Path, command: list[str], said: str
) -> None:
    files = {name: tmp_path / name for name in ("file", "own", "other")}
    files["file"].write_bytes(sealed(stock(), signing_key(tmp_path)))
    files["own"].write_text(public_pem(signing_key(tmp_path)))
    files["other"].write_text(public_pem(Ed25519PrivateKey.generate()))
    done = run(tmp_path, "clinic", *(word.format(**files) for word in command))
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 2
