"""Several workers: regions dealt and dealt anew, a worker killed, nothing lost or doubled."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.journeys import flow, tree
from tests.journeys.flow import Flow
from tests.runtime.instance import Up, open_folder, run

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

REGIONS = ("640202", "640205", "640221")
DEALT = "SELECT worker, regions FROM ingest_worker WHERE regions IS NOT NULL ORDER BY worker"
READY_S = 90.0


def start(data: Path, workers: int) -> Up:
    """Start a tree whose workers divide the regions."""
    number = str(workers)
    up = Up(data, VAXTRAIL_REGIONS=",".join(REGIONS), VAXTRAIL_INGEST_WORKERS=number)
    up.wait_ready(READY_S)
    return up


def kill(up: Up) -> None:
    """Kill everything while the broker holds messages that no worker has taken."""
    for name, pid in up.instance["pids"].items():
        if name.startswith("ingest"):
            os.kill(pid, signal.SIGSTOP)
    time.sleep(0.5)
    tree.kill_together(tree.family(up.process.pid))
    up.process.wait()


def test_given_workers_under_load_when_one_dies_and_regions_are_dealt_anew_then_nothing_lost() -> (
    None
):
    with open_folder() as folder:
        up = start(folder / "data", 2)
        try:
            flow.register(up, *REGIONS)
            sending = Flow(up.instance["mqtt_gateway_url"], *REGIONS, rate=100)
            divided(up, sending)
            kill(up)
            up = start(folder / "data", 1)
            dealt(up, [(0, [*REGIONS])])
            assert "ingest-1" not in up.instance["pids"]
            sending.close()
            time.sleep(flow.REDELIVERED_S)
            flow.nothing_lost(up, sending)
            assert len(sending.acked) == sending.sent
        finally:
            up.stop()


def divided(up: Up, sending: Flow) -> None:
    """Hold that two workers divide the regions, and go on when one is killed."""
    dealt(up, [(0, ["640202", "640221"]), (1, ["640205"])])
    alone = flow.place("640205")[2]
    tree.until(lambda: len(sending.acked) > 100, 20.0, "nothing is acknowledged")
    os.kill(up.pid("ingest-1"), signal.SIGKILL)
    time.sleep(0.3)

    def newest(device: str) -> int:
        return max((seq for name, seq in flow.stored(up) if name == device), default=0)

    before = newest(alone)
    tree.until(lambda: newest(alone) > before + 10, 20.0, "the killed worker is not back")
    assert up.instance["restarts"]["ingest-1"] == 1
    assert up.instance["restarts"]["ingest"] == 0


def dealt(up: Up, expected: list[tuple[int, list[str]]]) -> None:
    """Wait until the regions are recorded as dealt like this."""
    tree.until(lambda: tree.rows(up, DEALT) == expected, 60.0, "the regions are not dealt so")


def test_given_more_workers_than_regions_when_started_then_refused_in_both_languages(
    tmp_path: Path,
) -> None:
    refused = run(tmp_path, "up", VAXTRAIL_INGEST_WORKERS="2")
    assert refused.returncode == 1
    assert "regions 须至少列出同样多的地区" in refused.stderr
    assert "regions must name at least as many" in refused.stderr
    absent = run(tmp_path, "ingest", "--worker", "1", VAXTRAIL_REGIONS="640202,640205")
    assert absent.returncode == 1
    assert "没有编号 1 的接入进程" in absent.stderr
    assert "There is no worker 1" in absent.stderr
