"""Every example of the how-to pages does what the page says."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from alerts.channels.webhook import signature
from api.importing import import_file
from domain.cold_chain.commands import ARGUMENTS, Cmd, Reply
from domain.cold_chain.gaps import GapNotes
from domain.traceability.epcis import read_event
from ingest import scans, senml, wire
from ingest.batch import Report
from ingest.commands import note_report
from runtime.seed import seed
from store.envelope import Meta
from store.logs import Ledger
from tests.conftest import START, Database
from tests.runtime.instance import run

FOLDER = Path(__file__).parents[1] / "docs" / "how-to"
NOW = datetime(2026, 3, 3, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def blocks(page: str, label: str) -> list[str]:
    text = (FOLDER / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{label}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", blocks("gateways.md", "json tele"))
def test_given_an_example_of_readings_when_decoded_then_taken(example: str) -> None:
    assert wire.decode("TH-0007", example.encode(), NOW_MS).ts_ms


@pytest.mark.parametrize("example", blocks("gateways.md", "json senml"))
def test_given_an_example_of_senml_when_decoded_then_taken(example: str) -> None:
    assert senml.is_pack(example.encode())
    messages = senml.decode("TH-0007", example.encode(), NOW_MS, NOW_MS)
    assert sum(len(message.ts_ms) for message in messages) == 2


@pytest.mark.parametrize("example", blocks("gateways.md", "json scan"))
def test_given_an_example_of_a_scan_when_decoded_then_taken(example: str) -> None:
    assert scans.decode("SC-1", "dwk-c1", example.encode(), NOW_MS).seq


@pytest.mark.parametrize("example", blocks("gateways.md", "json report"))
def test_given_an_example_of_a_report_when_noted_then_understood(example: str) -> None:
    notes, replies = GapNotes(), list[Reply]()
    note_report(
        notes, replies, "TH-0007", Report(json.loads(example)["kind"], NOW_MS, False, example)
    )
    assert len(notes.lost) + len(replies) == 1


@pytest.mark.parametrize("example", blocks("gateways.md", "json cmd"))
def test_given_an_example_of_a_command_when_read_then_with_what_it_takes(example: str) -> None:
    told = json.loads(example)
    assert told.keys() == {"v", "cmd_id", "exp", "cmd", *ARGUMENTS[Cmd(told["cmd"])]}


def test_given_the_commands_named_when_compared_then_all_there_are() -> None:
    text = (FOLDER / "gateways.md").read_text(encoding="utf-8")
    assert [cmd for cmd in Cmd if f"`{cmd}`" not in text] == []


def test_given_the_steps_named_when_compared_then_all_there_are() -> None:
    from domain.traceability.scan import STEPS

    text = (FOLDER / "gateways.md").read_text(encoding="utf-8").rpartition("`step`:")[2]
    assert [step for step in map(str, STEPS) if step not in text] == []


def test_given_an_example_document_when_read_then_its_fact() -> None:
    (example,) = blocks("epcis.md", "json epcis")
    (captured,) = read_event(json.loads(example)["epcisBody"]["eventList"][0])
    assert captured.event.TOPIC == "traceability.GoodsReceived"


def test_given_the_receivers_check_when_a_signature_comes_then_told_from_a_forged_one() -> None:
    (source,) = blocks("webhooks.md", "python")
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 -- the page's own code is what is tested
    genuine, body = names["genuine"], b'{"kind":"fired"}'
    header = signature("secret", NOW, body)
    assert genuine("secret", header, body, NOW.timestamp())
    assert not genuine("secret", header, body + b" ", NOW.timestamp())
    assert not genuine("other", header, body, NOW.timestamp())
    assert not genuine("secret", header, body, NOW.timestamp() + 301)


def test_given_the_example_files_when_imported_in_order_then_every_line_goes_in(
    database: Database, ledger: Ledger, tmp_path: Path
) -> None:
    seed(database.app_dsn, START)
    meta = Meta(occurred_at=START, recorded_at=START, source="import")
    for kind in ("sites", "equipment", "units", "devices", "products", "calibrations"):
        (text,) = blocks("import.md", f"csv {kind}")
        file = tmp_path / f"{kind}.csv"
        file.write_text(text, encoding="utf-8")
        report = import_file(kind, file, ledger, meta)
        assert report.errors == []
        assert report.created == text.strip().count("\n")


@pytest.mark.parametrize("name", ["several-probes", "fahrenheit", "numbered"])
def test_given_an_example_profile_when_tried_on_its_sample_then_as_the_page_shows(
    name: str, tmp_path: Path
) -> None:
    files = [str(FOLDER / "profiles" / f"{name}.{kind}") for kind in ("toml", "json")]
    done = run(tmp_path, "profile", "try", *files)
    (shown,) = blocks("vendor-profiles.md", f"text {name}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == shown.split()
