"""The capture driver: documents, master data and readings of the synthetic chain."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from simulators import capture
from simulators.logger_files import BadFile

FOLDER = "standards/epcis/synthetic"


def test_given_the_chain_when_read_then_each_document_has_its_record_time(shared: Path) -> None:
    found = list(capture.captures([shared / FOLDER / "captures.jsonl"]))
    assert len(found) == 150
    assert all(one.at is not None for one in found)


def test_given_the_master_when_read_then_sites_products_and_lots_are_registered(
    shared: Path,
) -> None:
    master = json.loads((shared / FOLDER / "master.json").read_text())
    documents = [c.document for c in capture.captures([shared / FOLDER / "captures.jsonl"])]
    commands = capture.master_commands(master, documents)
    assert Counter(path for path, _ in commands) == {
        "/organisations": 8,
        "/sites": 8,
        "/products": 2,
        "/lots": 4,
    }
    sites = {body["site_id"] for path, body in commands if path == "/sites"}
    assert {"MAH1", "PCDC", "MCDC", "XCDC1", "POV3"} <= sites
    lots = {body["lot_number"]: body for path, body in commands if path == "/lots"}
    assert lots["A2026573"]["expires_on"] == "2028-02-28"


def test_given_the_readings_when_read_then_every_row_becomes_one_reading(shared: Path) -> None:
    found = capture.read_series(shared / FOLDER / "readings.csv")
    messages = [m for d, s in found.items() for m in capture.series_messages(d, "640202", s)]
    assert sum(message.readings for message in messages) == 1315
    assert {message.topic.split("/")[5] for message in messages} == {"backfill"}


@pytest.mark.parametrize("content", ["", "[]", "not JSON", '{"document": {}}', '{"type": "x"}'])
def test_given_no_document_when_read_then_the_error_names_the_place(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text(content)
    if not content:
        assert list(capture.captures([path])) == []
        return
    with pytest.raises(BadFile, match=r"file\.jsonl"):
        list(capture.captures([path]))
