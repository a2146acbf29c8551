"""`vaxtrail alert scenario`, `vaxtrail replay`: files through the engine, without an instance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.instance import Done, run

FOLDER = "standards/coldchain"
FRIDGE_TAG = "fridgetag2L_130500109088_202206081014.txt"
SUMMARIES = "fridgetag2_130400191544_202304201514.txt"


def scenarios(tmp_path: Path, content: Any) -> Done:
    path = tmp_path / "scenarios.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return run(tmp_path, "alert", "scenario", str(path))


def test_given_the_shared_scenarios_when_run_then_none_differs(
    shared: Path, tmp_path: Path
) -> None:
    done = scenarios(tmp_path, (shared / FOLDER / "alert_scenarios.json").read_text())
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("✓") == 15
    assert "15 scenarios, 0 differ" in done.stdout


def test_given_other_expectations_when_run_then_every_difference_is_told(
    shared: Path, tmp_path: Path
) -> None:
    given = json.loads((shared / FOLDER / "alert_scenarios.json").read_text())
    (one,) = [each for each in given["scenarios"] if each["name"] == "sustained"]
    one["expected_episodes"][0]["peak"] = 11.9
    done = scenarios(tmp_path, given)
    assert done.returncode == 1
    assert "✗ sustained" in done.stdout
    told = [line.strip() for line in done.stdout.splitlines() if "到达顺序" in line]
    assert [line[-9:] for line in told] == ["peak 11.9", "peak 11.8"]
    assert "15 scenarios, 1 differ" in done.stdout


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "truncated"),
        ({"scenarios": [{"name": "x"}]}, "$.scenarios[0]"),
        (
            {
                "scenarios": [
                    {
                        "name": "x",
                        "rule": dict.fromkeys(
                            ("limit", "hysteresis", "raise_after", "clear_after", "max_gap"), 1
                        )
                        | {"side": "up"},
                        "readings": [],
                        "expected_episodes": [],
                    }
                ]
            },
            "high or low",
        ),
    ],
)
def test_given_no_scenarios_when_run_then_told_in_both_languages(
    tmp_path: Path, content: Any, named: str
) -> None:
    done = scenarios(tmp_path, content)
    zh, en = done.stderr.splitlines()
    assert done.returncode == 1
    assert named in en
    assert any("\u4e00" <= character <= "\u9fff" for character in zh)


def test_given_a_real_file_when_replayed_then_counters_agree_and_episodes_are_told(
    shared: Path, tmp_path: Path
) -> None:
    done = run(tmp_path, "replay", str(shared / FOLDER / FRIDGE_TAG))
    assert done.returncode == 0, done.stdout
    assert "10653 readings, 0 of them unplugged" in done.stdout
    assert "38 days, 0 differ" in done.stdout
    assert "who_high_8_600min [major]: 2" in done.stdout
    assert "who_freeze_60min [critical]: 6" in done.stdout
    assert "peak -8.4 ℃" in done.stdout


def test_given_a_file_that_contradicts_itself_when_replayed_then_the_day_is_marked(
    shared: Path, tmp_path: Path
) -> None:
    path = tmp_path / "changed.txt"
    text = (shared / FOLDER / FRIDGE_TAG).read_text()
    path.write_text(text.replace("t Acc: 312,", "t Acc: 302,"))
    done = run(tmp_path, "replay", str(path), "--readings")
    assert done.returncode == 1
    assert [line[4:14] for line in done.stdout.splitlines() if "✗" in line] == ["2022-06-07"]
    assert "  2022-05-02 04:44:00  26.3" in done.stdout


def test_given_daily_summaries_only_when_replayed_then_told(shared: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "replay", str(shared / FOLDER / SUMMARIES))
    assert done.returncode == 0
    assert "0 readings" in done.stdout
    assert "4 days, 0 differ" in done.stdout


@pytest.mark.parametrize(
    ("options", "named"),
    [(["--tz", "Mars/Olympus"], "Mars/Olympus"), (["--profile", "warm"], "warm"), ([], "format")],
)
def test_given_what_cannot_be_replayed_when_asked_then_told_in_both_languages(
    tmp_path: Path, options: list[str], named: str
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("hello")
    done = run(tmp_path, "replay", str(path), *options)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2
    assert named in done.stderr
