"""Real logger files through a running tree: what is stored is what the files say."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from simulators.http import Api
from tests.alerting.test_scenarios import FRIDGE_TAG, IBUTTON, fridge_tag, ibutton, load
from tests.journeys import tree
from tests.runtime.instance import Done, Up, run_apart

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

Points: TypeAlias = list[tuple[datetime, float]]

FOLDER = Path("standards") / "coldchain"
SUMMARIES = "fridgetag2_130400191544_202304201514.txt"
SHANGHAI = timedelta(hours=8)
DEVICES = {FRIDGE_TAG: "LG-130500109088", IBUTTON: "LG-650000005F2A7041"}
PARSERS: dict[str, Callable[[str], Iterator[tuple[datetime, float]]]] = {
    FRIDGE_TAG: fridge_tag,
    IBUTTON: ibutton,
}
# Rules of the profile of 30-day loggers, by their names in the expected answers.
WHO_RULES = {"who_high_8_600min": "who_high_8_600min", "who_freeze_-0.5_60min": "who_freeze_60min"}
READINGS = (
    "SELECT ts, t1, seq FROM reading JOIN device_no USING (device_no)"
    " WHERE device_id = %s ORDER BY ts"
)
# All but keys, of which every command line makes one.
CHANGES = "SELECT count(*) FROM ledger_events WHERE topic NOT LIKE 'accounts.%%'"


@dataclass
class Replayed:
    """A file that was replayed: its points in UTC as this test reads them, and its answers."""

    name: str
    path: Path
    points: Points
    expected: dict[str, Any]
    done: Done

    @property
    def device_id(self) -> str:
        """The logger's device."""
        return DEVICES[self.name]


@pytest.fixture(scope="module", params=[FRIDGE_TAG, IBUTTON])
def replayed(request: pytest.FixtureRequest, shared: Path, up: Up) -> Replayed:
    """Replay one real file at the command line."""
    path = shared / FOLDER / request.param
    points = [(at - SHANGHAI, value) for at, value in PARSERS[request.param](path.read_text())]
    expected = load(shared, "real_files_expected.json")[request.param]
    done = run_apart(up.data, "replay", str(path), "--play")
    assert done.returncode == 0, done.stdout + done.stderr
    return Replayed(request.param, path, points, expected, done)


def test_given_a_real_file_when_replayed_then_stored_readings_equal_the_file(
    replayed: Replayed, up: Up
) -> None:
    stored = tree.rows(up, READINGS, replayed.device_id)
    assert len(stored) == len(replayed.points) == replayed.expected["readings"]
    assert [(at, value) for at, value, _ in stored] == replayed.points
    assert [seq for _, _, seq in stored] == list(range(len(stored)))


def test_given_a_real_file_when_replayed_then_alerts_are_the_expected_ones(
    replayed: Replayed, api: Api
) -> None:
    api.follow()
    for name, rule_id in WHO_RULES.items():
        found = alerts(api, replayed, rule_id)
        assert found == replayed.expected[name]["list"]
        assert len(found) == replayed.expected[name]["episodes"]


def test_given_a_real_file_when_replayed_again_then_nothing_changes(
    replayed: Replayed, up: Up, api: Api
) -> None:
    def state() -> object:
        api.follow()
        shown = [alerts(api, replayed, rule_id) for rule_id in WHO_RULES.values()]
        return tree.rows(up, READINGS, replayed.device_id), shown, tree.rows(up, CHANGES)

    before = state()
    again = run_apart(up.data, "replay", str(replayed.path), "--play")
    assert again.returncode == 0, again.stderr
    assert "没有任何变化 / replayed before: nothing has changed" in again.stdout
    assert state() == before


def test_given_a_file_of_daily_summaries_when_replayed_then_told_and_kept_as_evidence(
    shared: Path, up: Up, api: Api
) -> None:
    path = shared / FOLDER / SUMMARIES
    done = run_apart(up.data, "replay", str(path), "--play")
    assert done.returncode == 0, done.stderr
    assert "只有 4 天的日汇总，没有读数" in done.stdout
    assert "4 daily summaries and no readings" in done.stdout
    api.follow()
    (kept,) = [item for item in api.pages("/evidence") if item["filename"] == path.name]
    content = api.get(f"/evidence/{kept['sha256']}")["content_base64"]
    assert base64.b64decode(content) == path.read_bytes()
    assert tree.rows(up, READINGS, "LG-130400191544") == []


def alerts(api: Api, replayed: Replayed, rule_id: str) -> list[list[float | None]]:
    """Return [start, fired, peak, resolved] of a rule's alerts, minutes from the first reading."""
    first = replayed.points[0][0]

    def minutes(at: str | None) -> float | None:
        return None if at is None else (datetime.fromisoformat(at) - first) / timedelta(minutes=1)

    found = [a for a in api.pages("/alerts") if a["device_id"] == replayed.device_id]
    return [
        [minutes(a["started_at"]), minutes(a["fired_at"]), a["peak_c"], minutes(a["resolved_at"])]
        for a in sorted(found, key=lambda alert: str(alert["started_at"]))
        if a["rule_id"] == rule_id
    ]
