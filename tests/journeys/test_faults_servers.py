"""Faults under load: told while they last, mended without anybody, nothing lost or doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.journeys import flow, tree
from tests.journeys.flow import Flow
from tests.runtime.instance import Up, open_folder, run, running

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

LASTS_S = float(os.environ.get("FAULT_SECONDS", "3"))
BACK_S = 20.0  # on a machine that others use; docs/how-to/faults.md has the figures of an idle one
DISK_MIB = 600


@pytest.fixture(scope="module")
def small_disk() -> Iterator[Path]:
    """Give a disk of its own to a data folder, where this account may make one."""
    with open_folder() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=755", "tmpfs", str(folder)]
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        try:
            yield folder
        finally:
            if mounted:
                subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def up(small_disk: Path) -> Iterator[Up]:
    """Run one instance that gateways may reach."""
    with running(small_disk / "data") as started:
        flow.register(started, flow.REGION)
        yield started


@pytest.fixture(scope="module")
def gateways(up: Up) -> Iterator[Flow]:
    """Let readings flow through all the faults; at the end, all that was promised is there."""
    with flow.flowing(up, rate=100.0) as sending:
        tree.until(lambda: len(sending.acked) > 100, 20.0, "the broker does not acknowledge")
        yield sending
    flow.nothing_lost(up, sending)
    assert len(sending.acked) == sending.sent


def problems(up: Up) -> dict[str, str]:
    """Return what `/readyz` names, empty when ready."""
    try:
        with urllib.request.urlopen(up.instance["api_url"] + "/readyz", timeout=15) as answer:  # noqa: S310 - loopback, http
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        found = json.load(error)
    told: dict[str, str] = found["problems"]
    return told


def told(up: Up, name: str) -> bool:
    """Tell whether `/readyz` names a problem, in both languages."""
    text = problems(up).get(name, "")
    return " / " in text and any("\u4e00" <= char <= "\u9fff" for char in text)


def mended(up: Up, gateways: Flow) -> None:
    """Hold that everything is ready again and what was acknowledged is there once."""
    flow.first_new_row(up, BACK_S)
    tree.until(lambda: problems(up) == {}, BACK_S, "it is not ready again")
    acked = set(gateways.acked)
    tree.until(lambda: flow.stored(up).keys() >= acked, BACK_S, "acknowledged and not stored")


@contextmanager
def standing_still(pids: Sequence[int]) -> Iterator[None]:
    """Stop processes for the block, as a machine does that is out of memory or of disk time."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_given_ingest_when_killed_then_started_again_at_once(up: Up, gateways: Flow) -> None:
    os.kill(up.pid("ingest"), signal.SIGKILL)
    time.sleep(0.3)  # what was committed before is seen by now
    mended(up, gateways)
    assert '"name": "ingest", "restart_in_s": 0.0' in up.log.read_text()


def test_given_a_database_that_stands_still_when_it_goes_on_then_nothing_is_lost(
    up: Up, gateways: Flow
) -> None:
    with standing_still(tree.family(up.pid("postgres"))):
        tree.until(lambda: told(up, "database"), BACK_S, "/readyz does not name the database")
        shown = run(up.data, "status").stdout
        time.sleep(LASTS_S)
    assert "database: 数据库不可用 / database unusable" in " ".join(shown.split())
    mended(up, gateways)


def test_given_a_database_that_is_stopped_when_watched_then_started_again(
    up: Up, gateways: Flow
) -> None:
    os.kill(up.pid("postgres"), signal.SIGINT)  # what pg_ctl stop sends
    mended(up, gateways)


def test_given_a_broker_that_stands_still_when_it_goes_on_then_nothing_is_lost(
    up: Up, gateways: Flow
) -> None:
    with standing_still([up.pid("broker")]):
        tree.until(lambda: told(up, "broker"), BACK_S, "/readyz does not name the broker")
        time.sleep(LASTS_S)
    mended(up, gateways)


def test_given_a_full_disk_when_there_is_room_again_then_it_goes_on_by_itself(
    up: Up, gateways: Flow, small_disk: Path
) -> None:
    if not os.path.ismount(small_disk):
        pytest.skip("no disk of its own could be mounted")
    with full(small_disk):
        tree.until(lambda: told(up, "disk"), BACK_S, "/readyz does not name the disk")
        stopped = len(gateways.acked)
        time.sleep(LASTS_S)
    mended(up, gateways)
    tree.until(lambda: len(gateways.acked) > stopped, BACK_S, "the broker takes nothing")


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill a disk to the last byte for the block."""
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))
        yield
    finally:
        filler.unlink()
