"""The broker stands still while its files are copied, and nobody takes a torn copy for a backup."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.backup import _standing_still
from runtime.process import wait_until
from runtime.refusal import Refusal


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Run a process to be stopped."""
    with subprocess.Popen(["sleep", "60"]) as running:
        yield running
        running.kill()


def _still(process: subprocess.Popen[bytes]) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "T"


def test_given_process_when_copied_then_still_meanwhile_and_awake_after(
    process: subprocess.Popen[bytes],
) -> None:
    with _standing_still(process.pid):
        assert wait_until(lambda: _still(process), 5.0)
    assert wait_until(lambda: not _still(process), 5.0)


def test_given_copy_that_takes_too_long_when_process_went_on_then_refused(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.backup.BROKER_STILL_SECONDS_MAX", 0.2)

    def copy_slowly() -> None:
        with _standing_still(process.pid):
            assert wait_until(lambda: _still(process), 5.0)
            assert wait_until(lambda: not _still(process), 5.0)
            time.sleep(0.1)

    with pytest.raises(Refusal, match="of no use"):
        copy_slowly()


def test_given_copy_that_fails_when_stopped_then_awake_and_its_own_error_told(
    process: subprocess.Popen[bytes],
) -> None:
    with pytest.raises(OSError, match="full"), _standing_still(process.pid):
        raise OSError("full")
    assert wait_until(lambda: not _still(process), 5.0)
