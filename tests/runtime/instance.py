"""Run `vaxtrail` as people do: as processes, on a folder of the test's own."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from runtime import cli

ROOT = Path(__file__).parents[2]


def environment(**extra: str) -> dict[str, str]:
    """Return this process's environment without settings, plus `extra` ones."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("VAXTRAIL_")}
    ours = {"VAXTRAIL_MQTT_SYNC": "interval", "VAXTRAIL_MQTT_SHARED_ACCOUNT": "true"}
    return {**env, "PYTHONPATH": str(ROOT), **ours, **extra}


def untraced(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which a process of ours does not count for coverage.

    That makes one slow to start, and one that is killed never tells what it ran.
    """
    return {name: value for name, value in env.items() if not name.startswith("COV")}


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def run(data: Path, *command: str, **extra: str) -> Done:
    """Run one command to its end in this process (a new one takes seconds to load)."""
    out, err = io.StringIO(), io.StringIO()
    with ExitStack() as changed:
        changed.enter_context(patch.dict(os.environ, environment(**extra), clear=True))
        # Logging stays pytest's own.
        changed.enter_context(patch("runtime.log.configure"))
        changed.enter_context(redirect_stdout(out))
        changed.enter_context(redirect_stderr(err))
        try:
            status = cli.run(["--data", str(data), *command])
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Done(status, out.getvalue(), err.getvalue())


def run_apart(data: Path, *command: str) -> Done:
    """Run one command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "runtime.cli", "--data", str(data), *command],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        cwd=data.parent,
        timeout=100,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def open_folder() -> Iterator[Path]:
    """Give a temporary folder that every account may enter (pytest's own is closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="vaxtrail-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class Up:
    """A `vaxtrail up` in a process of its own.

    `traced`: its lines count for coverage; one tree shows most.
    """

    def __init__(self, data: Path, *, traced: bool = False, **extra: str) -> None:
        self.data = data
        self.log = data.with_suffix(".log")
        env = environment(VAXTRAIL_LOG="json", **extra)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runtime.cli", "--data", str(data), "up"],
                env=env if traced else untraced(env),
                stdout=output,
                stderr=output,
                cwd=data.parent,
                start_new_session=True,
            )

    @property
    def instance(self) -> dict[str, Any]:
        """What the instance tells of itself; empty before it does."""
        path = self.data / "instance.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found if found.get("pid") == self.process.pid else {}

    def pid(self, part: str) -> int:
        """Return the process id of a part."""
        return int(self.instance["pids"][part])

    def wait_ready(self, seconds: float = 90.0) -> None:
        """Wait for `/readyz`."""
        deadline = time.monotonic() + seconds
        while not (self.instance and answers(self.instance["api_url"] + "/readyz")):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self.log.read_text()[-4000:])
            time.sleep(0.1)

    def stop(self) -> int:
        """Stop it as an operator does and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=100)


@contextmanager
def running(data: Path, *, traced: bool = False, **extra: str) -> Iterator[Up]:
    """Run an instance until the end of the block."""
    up = Up(data, traced=traced, **extra)
    try:
        up.wait_ready()
        yield up
    finally:
        if up.process.poll() is None:
            up.stop()


def answers(url: str) -> bool:
    """Tell whether an address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback, http
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def fetch(url: str, key: str = "") -> str:
    """Return what an address answers, asked with an API key where one is given."""
    request = urllib.request.Request(url)  # noqa: S310 - loopback, http
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback, http
        return str(answer.read().decode())
