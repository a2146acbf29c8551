"""`vaxtrail profile`: a sample tried, a profile put in force, listed and put out of force."""

from __future__ import annotations

from pathlib import Path

from domain.cold_chain.events import PayloadProfilePublished, PayloadProfileWithdrawn
from domain.cold_chain.payload_profiles import profile_stream
from store.logs import Ledger
from tests.conftest import Database
from tests.runtime.instance import Done, run

EXAMPLES = Path(__file__).parents[2] / "docs" / "how-to" / "profiles"
ACME, ACME_SAMPLE = EXAMPLES / "fahrenheit.toml", EXAMPLES / "fahrenheit.json"


def told_twice(done: Done) -> str:
    zh, en = done.stderr.splitlines()
    assert any("\u4e00" <= character <= "\u9fff" for character in zh)
    assert "Traceback" not in en
    return en


def test_given_a_sample_when_tried_then_the_rows_are_shown_and_nothing_is_made(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    done = run(data, "profile", "try", str(ACME), str(ACME_SAMPLE), "--topic", "acme/g/TH:7/up")
    assert (done.returncode, done.stderr) == (0, "")
    assert "TH-7" in done.stdout
    assert "2026-03-02T00:00:00.000Z" in done.stdout
    assert "1 readings" in done.stdout
    assert not data.exists()


def test_given_a_sample_that_does_not_fit_when_tried_then_the_fault_and_its_place(
    tmp_path: Path,
) -> None:
    sample = tmp_path / "sample.json"
    sample.write_text('{"T": "warm", "RH": 61, "st": "OK", "time": 1772409600}')
    done = run(tmp_path, "profile", "try", str(ACME), str(sample))
    assert done.returncode == 1
    en = told_twice(done)
    assert "channels.t1.value" in en
    assert "message.T" in en
    assert "0 readings" in done.stdout
    sample.write_text("{")
    done = run(tmp_path, "profile", "try", str(ACME), str(sample))
    assert done.returncode == 1
    assert "JSON" in told_twice(done)


def test_given_another_topic_or_file_when_tried_then_told(tmp_path: Path) -> None:
    done = run(tmp_path, "profile", "try", str(ACME), str(ACME_SAMPLE), "--topic", "acme/g/up")
    assert done.returncode == 1
    assert "acme/{gateway}/{device}/up" in told_twice(done)
    file = tmp_path / "wrong.toml"
    file.write_text(ACME.read_text("utf-8").replace("message.T", "message.T[", 1), "utf-8")
    done = run(tmp_path, "profile", "try", str(file), str(ACME_SAMPLE))
    assert done.returncode == 1
    assert "channels.t1.value" in told_twice(done)
    done = run(tmp_path, "profile", "try", str(tmp_path / "none.toml"), str(ACME_SAMPLE))
    assert done.returncode == 1
    told_twice(done)


def test_given_a_profile_when_published_changed_and_withdrawn_then_on_record(
    tmp_path: Path, database: Database, ledger: Ledger
) -> None:
    def call(*command: str) -> Done:
        return run(tmp_path, "profile", *command, VAXTRAIL_DATABASE_URL=database.app_dsn)

    assert "v1 is in force: acme/+/+/up" in call("publish", str(ACME)).stdout
    assert "in force already" in call("publish", str(ACME)).stdout
    changed = tmp_path / "changed.toml"
    changed.write_text(ACME.read_text("utf-8").replace("Acme TL-8", "Acme TL-9"), "utf-8")
    assert "v2 is in force" in call("publish", str(changed)).stdout
    assert "acme-tl8 v2 acme/{gateway}/{device}/up  Acme TL-9" in call("list").stdout
    other = tmp_path / "other.toml"
    other.write_text(ACME.read_text("utf-8").replace('"acme-tl8"', '"other"'), "utf-8")
    refused = call("publish", str(other))
    assert refused.returncode == 1
    assert "acme-tl8" in told_twice(refused)
    assert call("withdraw", "acme-tl8").returncode == 0
    assert call("withdraw", "acme-tl8").returncode == 0
    assert "0 profiles" in call("list").stdout
    assert call("publish", str(other)).returncode == 0
    unknown = call("withdraw", "nobody")
    assert unknown.returncode == 1
    told_twice(unknown)
    events = [each.event for each in ledger.stream(profile_stream("acme-tl8"))]
    assert [type(event) for event in events] == [
        PayloadProfilePublished,
        PayloadProfilePublished,
        PayloadProfileWithdrawn,
    ]
