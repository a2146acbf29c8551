"""The supervisor on real processes: restart with back-off, order, and the end of its own life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from runtime.process import StartFailed, alive, wait_until
from runtime.supervisor import Once, Service, Supervisor
from tests.runtime.instance import ROOT, environment


def _service(*argv: str) -> Service:
    return Service(argv, lambda: os.environ)


def _looking(supervisor: Supervisor, done: Callable[[], bool]) -> bool:
    def look() -> bool:
        supervisor.look()
        return done()

    return wait_until(look, 10.0)


def test_given_running_parts_when_one_is_killed_then_it_alone_starts_again() -> None:
    supervisor = Supervisor([("a", _service("sleep", "60")), ("b", _service("sleep", "60"))])
    supervisor.start()
    try:
        first = supervisor.pids
        os.kill(first["b"], signal.SIGKILL)
        assert _looking(supervisor, lambda: supervisor.restarts["b"] == 1)
        assert supervisor.pids["a"] == first["a"]
        assert supervisor.pids["b"] != first["b"]
    finally:
        supervisor.stop()
    assert not supervisor.pids
    assert not any(map(alive, first.values()))


def test_given_part_that_always_ends_when_watched_then_each_wait_is_longer() -> None:
    supervisor = Supervisor([("a", _service("false"))])
    supervisor.start()
    moments: list[float] = []

    def counted() -> bool:
        if supervisor.restarts["a"] > len(moments):
            moments.append(time.monotonic())
        return len(moments) == 3

    assert _looking(supervisor, counted)
    supervisor.stop()
    assert moments[2] - moments[1] > 1.5 * (moments[1] - moments[0])


def test_given_part_before_is_down_when_a_later_one_ends_then_it_waits() -> None:
    supervisor = Supervisor([("server", _service("false")), ("client", _service("sleep", "60"))])
    supervisor.start()
    try:
        time.sleep(0.1)
        os.kill(supervisor.pids["client"], signal.SIGKILL)
        time.sleep(0.1)
        supervisor.look()
        supervisor.look()
        assert "client" not in supervisor.pids
        assert supervisor.restarts["client"] == 0
    finally:
        supervisor.stop()


def test_given_step_that_fails_when_started_then_start_failed() -> None:
    with pytest.raises(StartFailed):
        Supervisor([("migrate", Once(["false"], lambda: os.environ))]).start()


def test_given_step_that_succeeds_when_watched_then_never_run_again() -> None:
    supervisor = Supervisor([("migrate", Once(["true"], lambda: os.environ))])
    supervisor.start()
    for _ in range(3):
        supervisor.look()
    assert supervisor.restarts == {"migrate": 0}
    assert supervisor.pids == {}


def test_given_supervisor_killed_when_it_cannot_tell_then_its_parts_end_by_themselves() -> None:
    program = (
        "import os, time; from runtime.supervisor import Service, Supervisor\n"
        "s = Supervisor([('a', Service(['sleep', '60'], lambda: os.environ))])\n"
        "s.start(); print(s.pids['a'], flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        part = next(int(line) for line in process.stdout if line.strip().isdigit())
        assert alive(part)
        process.kill()
        assert wait_until(lambda: not alive(part), 5.0)
