"""Stability maths against the shared vectors, real loggers' files and published examples."""

from __future__ import annotations

import json
import math
from datetime import UTC, date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domain.cold_chain import logger_files
from domain.stability import budget, mkt, vvm
from domain.stability.arrhenius import Floats
from domain.stability.exposure import QUANTITIES, Quantity, amounts, lasting, told, total
from domain.stability.vvm import VvmType
from tests.runtime.instance import Done, run

FOLDER = "standards/coldchain"
HOLD_MS = 15 * 60_000
FILES = ["fridgetag2L_130500109088_202206081014.txt", "ibutton_ds1923_shipment_2.csv"]


def checked(tmp_path: Path, content: Any) -> Done:
    path = tmp_path / "figures.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return run(tmp_path, "stability", str(path))


def test_given_the_shared_figures_when_checked_then_none_differs(
    shared: Path, tmp_path: Path
) -> None:
    done = checked(tmp_path, (shared / FOLDER / "stability_golden.json").read_text())
    assert (done.returncode, done.stdout.count("✗")) == (0, 0), done.stdout
    assert "72 figures, 0 differ" in done.stdout


def test_given_other_figures_when_checked_then_every_difference_is_told(
    shared: Path, tmp_path: Path
) -> None:
    given = json.loads((shared / FOLDER / "stability_golden.json").read_text())
    given["mkt"][1]["mkt_c"] += 3e-6
    given["vvm"][2]["loss_fraction"]["14"] += 3e-8
    given["ctor"][3]["minutes_below_2"] += 1
    done = checked(tmp_path, given)
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if "✗" in line]
    told_of = [line.split(":")[0] for line in lines]
    assert told_of == ["✗ mkt[1].mkt_c", "✗ vvm[2].loss_fraction.14", "✗ ctor[3].minutes_below_2"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[", "object"),
        ({}, "none"),
        ({"mkt": [{"temps_c": [5], "weights": [0], "mkt_c": 5}]}, "$.mkt[0].weights"),
        (
            {"mkt": [{"temps_c": [5], "weights": [1], "mkt_c": 5, "dH_over_R_K": 9_000}]},
            "dH_over_R_K",
        ),
        ({"vvm": [{"segments_temp_days": [[5, 1]], "loss_fraction": {"11": 0.1}}]}, "2, 7, 14"),
        ({"vvm": [{"segments_temp_days": [[5]], "loss_fraction": {}}]}, "$.vvm[0]"),
    ],
)
def test_given_a_file_that_is_none_when_checked_then_refused_in_both_languages(
    tmp_path: Path, content: Any, named: str
) -> None:
    done = checked(tmp_path, content)
    assert done.returncode == 1
    assert "文件不是稳定性数值" in done.stderr
    assert "No file of stability figures" in done.stderr
    assert named in done.stderr


@pytest.mark.parametrize("name", FILES)
def test_given_a_real_loggers_file_when_summed_then_as_worked_out_elsewhere(
    shared: Path, name: str
) -> None:
    expected = json.loads((shared / FOLDER / "real_files_expected.json").read_text())[name]
    at, values = series(shared / FOLDER / name)
    sums = total(at, values, HOLD_MS)
    assert sums[Quantity.ABOVE] / 60_000 == pytest.approx(expected["minutes_gt_8"], abs=1e-6)
    assert sums[Quantity.BELOW] / 60_000 == pytest.approx(expected["minutes_lt_2"], abs=1e-6)
    assert sums[Quantity.FREEZING] / 60_000 == pytest.approx(expected["minutes_le_m0_5"], abs=1e-6)
    assert mkt.mean_kinetic_c(values) == pytest.approx(expected["mkt_unweighted_10000K"], abs=5e-5)
    budgets = told(sums[:, None], [at[-1] - at[0]]).heat_budget
    for kind, lost in expected["vvm_loss"].items():
        assert budgets[VvmType(kind)][0] == pytest.approx(lost, abs=5e-7)


def test_given_a_real_loggers_file_when_summed_by_day_then_as_the_device_counted(
    shared: Path,
) -> None:
    path = shared / FOLDER / FILES[0]
    own = logger_files.read(path.read_bytes().decode("utf-8-sig")).own_days
    at, values = series(path)
    of_reading = amounts(values, lasting(at, HOLD_MS)) / 60_000
    day = at // 86_400_000
    assert len(own) == 38
    # Where nothing was read for hours the device goes by what it measured and did not keep.
    kept = set(day.tolist()) - set(day[:-1][np.diff(at) > HOLD_MS].tolist())
    assert len(kept) == 37
    for theirs in own:
        if (theirs.day - date(1970, 1, 1)).days not in kept:
            continue
        mine = day == (theirs.day - date(1970, 1, 1)).days
        for row, counted in (
            (Quantity.ABOVE, theirs.above_min),
            (Quantity.BELOW, theirs.below_min),
        ):
            assert of_reading[row, mine].sum() == pytest.approx(counted, abs=7)
        assert values[mine].min() == pytest.approx(theirs.min_c, abs=0.5 + 1e-9)
        assert values[mine].max() == pytest.approx(theirs.max_c, abs=0.5 + 1e-9)


def series(path: Path) -> tuple[Any, Any]:
    """Return a file's readings: ms, local time taken for UTC, and °C."""
    read = logger_files.read(path.read_bytes().decode("utf-8-sig"))
    rows = [
        (round(t.replace(tzinfo=UTC).timestamp() * 1000), v)
        for t, v in zip(read.times, read.values, strict=True)
        if v is not None
    ]
    return np.array([t for t, _ in rows]), np.array([v for _, v in rows])


@pytest.mark.parametrize(
    ("kind", "at_5_c", "at_37_c"),
    [("2", 176.69, 1.76), ("7", 960.97, 6.07), ("14", 1921.94, 12.15), ("30", 4120.19, 25.99)],
)
def test_given_a_fresh_budget_when_asked_then_the_published_days_are_left(
    kind: str, at_5_c: float, at_37_c: float
) -> None:
    assert vvm.days_left(VvmType(kind), 0.0, 5.0) == pytest.approx(at_5_c, abs=5e-3)
    assert vvm.days_left(VvmType(kind), 0.0, 37.0) == pytest.approx(at_37_c, abs=5e-3)
    assert vvm.days_left(VvmType(kind), 1.2, 5.0) == 0


def test_given_two_days_at_37_when_summed_then_as_a_peer_prints_it() -> None:
    assert vvm.loss(VvmType.VVM_2, [37.0] * 288, [10 / 1440] * 288) == pytest.approx(
        1.137811, abs=5e-7
    )


def test_given_limits_when_read_at_them_then_within_and_half_a_degree_of_frost_is_freezing() -> (
    None
):
    sums = amounts([2.0, 8.0, 1.9, 8.1, -0.5], [10, 20, 30, 40, 50])
    assert sums[Quantity.ABOVE].sum() == 40
    assert sums[Quantity.BELOW].sum() == 80
    assert sums[Quantity.FREEZING].sum() == 50


def test_given_nothing_known_when_told_then_no_mean_and_all_of_it_unknown() -> None:
    found = told(np.zeros((QUANTITIES, 1)), [120_000])
    assert math.isnan(found.mean_c[0])
    assert math.isnan(found.mkt_c[0])
    assert found.unknown_min[0] == 2


def test_given_weights_that_come_to_nothing_when_averaged_then_refused() -> None:
    with pytest.raises(ValueError, match="weight"):
        mkt.mean_kinetic_c([5.0], [0.0])


def test_given_histories_when_compared_then_what_passed_a_limit_or_a_step_of_it() -> None:
    def history(above_min: float, freezing_min: float) -> Floats:
        warm, cold = amounts([9.0], [above_min * 60_000]), amounts([-1.0], [freezing_min * 60_000])
        return np.asarray((warm + cold)[:, 0])

    then = [(0, 0), (5, 0), (5, 0), (59, 1), (61, 14), (61, 46)]
    now = [(1, 0), (0, 0), (59, 0), (60, 15), (59, 14), (119, 29)]
    sums = [np.array([history(*each) for each in some]).T for some in (then, now)]
    found = budget.compared(sums[0], sums[1] + 1e-4)
    above, below, freezing = found["above"], found["below"], found["freezing"]
    assert [n for n in range(6) if above.passed[n]] == [0]
    assert [n for n in range(6) if above.no_longer[n]] == [1]
    assert [n for n in range(6) if above.longer[n]] == [3]
    assert [n for n in range(6) if above.shorter[n]] == [4]
    assert [n for n in range(6) if freezing.longer[n]] == [3]
    assert [n for n in range(6) if freezing.shorter[n]] == [5]
    assert not np.any(below)


def test_given_probes_side_by_side_when_told_then_means_are_of_what_they_are_weighed_by() -> None:
    sums = np.vstack([amounts([25.0], [60_000.0]), [[60_000.0]]])
    sums[Quantity.KNOWN] = 600_000.0
    found = told(sums, 900_000.0)
    assert (found.known_min[0], found.unknown_min[0]) == (10, 5)
    assert (found.mean_c[0], found.mkt_c[0]) == (pytest.approx(25.0), pytest.approx(25.0))


def test_given_a_unit_without_power_when_asked_then_the_minutes_to_its_limit() -> None:
    left = budget.minutes_to_limit(5.0, ambient_c=28.0, limit_c=8.0, tau_min=180.0)
    assert left == pytest.approx(25.157, abs=5e-4)
    assert budget.minutes_to_limit(5.0, ambient_c=7.0, limit_c=8.0, tau_min=180.0) is None
    assert budget.minutes_to_limit(9.0, ambient_c=28.0, limit_c=8.0, tau_min=180.0) is None
    assert budget.minutes_to_limit(5.0, ambient_c=8.0, limit_c=8.0, tau_min=180.0) is None
    assert budget.minutes_at_rate(6.2, limit_c=8.0, c_per_min=0.06) == pytest.approx(30.0)
    assert budget.minutes_at_rate(6.2, limit_c=8.0, c_per_min=-0.06) is None
    assert budget.minutes_at_rate(6.2, limit_c=8.0, c_per_min=0.0) is None
