"""The shared vectors: fifteen streams in arrival order, and two real logger files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from runtime.cli_alerts import Rule, read_scenarios, rule_of
from tests.alerting.memory import MINUTE_MS, Memory, watch
from tests.alerting.oracle import Expected

Rows: TypeAlias = list[tuple[int, int, float | None]]

NAMES = (
    "door_spike",
    "sustained",
    "exact_limit",
    "flapping",
    "two_episodes",
    "gap_breaks_dwell",
    "gap_while_firing",
    "still_firing",
    "freeze_60min",
    "freeze_55min",
    "low_2C",
    "late_two",
    "shuffled",
    "duplicated",
    "nulls",
)
FRIDGE_TAG = "fridgetag2L_130500109088_202206081014.txt"
IBUTTON = "ibutton_ds1923_shipment_2.csv"
# Rules of the real files, by their names there.
REAL_RULES = ("who_high_8_600min", "who_freeze_-0.5_60min", "gsp_high_8_10min")
PERMUTATIONS = 100


def load(shared: Path, name: str) -> Any:
    """Return one JSON file of the vectors."""
    return json.loads((shared / "standards" / "coldchain" / name).read_text(encoding="utf-8"))


def ms(minutes: float | None) -> int | None:
    """Return minutes of a vector as milliseconds."""
    return None if minutes is None else round(minutes * MINUTE_MS)


@pytest.fixture(params=NAMES)
def scenario(request: pytest.FixtureRequest, shared: Path) -> tuple[Memory, Rows, list[Expected]]:
    """Give one scenario: an empty memory under its rule, its rows, what must be found."""
    file = shared / "standards" / "coldchain" / "alert_scenarios.json"
    scenarios = {each.name: each for each in read_scenarios(file.read_bytes())}
    assert tuple(scenarios) == NAMES
    given = scenarios[request.param]
    expected = [Expected(*outcome) for outcome in given.expected()]
    return Memory(watch(rule_of(given.rule))), given.rows(), expected


Scenario: TypeAlias = tuple[Memory, Rows, list[Expected]]


def test_given_a_scenario_when_it_arrives_one_by_one_then_its_episodes(scenario: Scenario) -> None:
    memory, rows, expected = scenario
    for row in rows:
        memory.take([row])
    assert memory.found("rule") == expected


def test_given_a_scenario_when_it_arrives_at_once_then_its_episodes(scenario: Scenario) -> None:
    memory, rows, expected = scenario
    memory.take(rows)
    assert memory.found("rule") == expected


def test_given_a_scenario_when_all_comes_twice_and_restarts_between_then_the_same_events(
    scenario: Scenario,
) -> None:
    memory, rows, expected = scenario
    once = Memory(*memory.watches)
    for row in rows:
        once.take([row])
        memory.take([row])
        memory.restart()
        memory.take([row])
        memory.restart()
    assert memory.found("rule") == expected
    assert memory.streams == once.streams


def test_given_a_scenario_when_it_arrives_in_any_order_then_its_episodes(
    scenario: Scenario,
) -> None:
    memory, rows, expected = scenario
    shuffle = random.Random(7).shuffle
    for _ in range(PERMUTATIONS):
        shuffled = Memory(*memory.watches)
        shuffle(rows)
        for row in rows:
            shuffled.take([row])
        assert shuffled.found("rule") == expected


def fridge_tag(text: str) -> Iterator[tuple[datetime, float]]:
    """Yield the readings of a Fridge-tag 2 L file: tab, local minute, tab, value."""
    for line in text.splitlines():
        if line.startswith("\t2"):
            at, value = line.split("\t")[1:3]
            yield datetime.fromisoformat(f"{at}Z"), float(value)


def ibutton(text: str) -> Iterator[tuple[datetime, float]]:
    """Yield the readings of a DS1923 file: twelve-hour local clock, unit, value."""
    for line in text.partition("Date/Time,Unit,Value")[2].split("\n")[1:]:
        if line.strip():
            at, _, value = line.strip().split(",")
            yield datetime.strptime(f"{at} Z", "%m/%d/%y %I:%M:%S %p %z"), float(value)


@pytest.fixture(scope="module", params=[FRIDGE_TAG, IBUTTON])
def real(request: pytest.FixtureRequest, shared: Path) -> tuple[dict[str, Any], Rows]:
    """Give what is expected of a real file, and its readings from minute 0 on."""
    text = (shared / "standards" / "coldchain" / request.param).read_text(encoding="utf-8")
    points = list((fridge_tag if request.param == FRIDGE_TAG else ibutton)(text))
    first = points[0][0]
    rows: Rows = [
        (round((at - first).total_seconds() * 1000), seq, value)
        for seq, (at, value) in enumerate(points)
    ]
    return load(shared, "real_files_expected.json")[request.param], rows


@pytest.mark.parametrize("arrival", ["in_order", "newest_day_first"])
def test_given_a_real_file_when_replayed_then_the_expected_episodes_of_every_rule(
    real: tuple[dict[str, Any], Rows], arrival: str
) -> None:
    expected, rows = real
    assert len(rows) == expected["readings"]
    memory = Memory(watch(*(rule_of(Rule(**expected[name]["rule"]), name) for name in REAL_RULES)))
    chunks = [rows[at : at + 288] for at in range(0, len(rows), 288)]
    for chunk in chunks if arrival == "in_order" else reversed(chunks):
        memory.take(chunk)
    for name in REAL_RULES:
        found = [
            [each.start_ms, each.fired_ms, each.peak_c, each.resolved_ms]
            for each in memory.found(name)
        ]
        assert found == [
            [ms(start), ms(fired), peak, ms(resolved)]
            for start, fired, peak, resolved in expected[name]["list"]
        ]
        assert len(found) == expected[name]["episodes"]
