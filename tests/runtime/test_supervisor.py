"""The supervisor on real processes: restart with back-off, order, and the end of its own life."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psycopg
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
    supervisor = Supervisor([("server", _service("false"))], [("client", _service("sleep", "60"))])
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


def test_given_sibling_that_always_ends_when_another_is_killed_then_back_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.supervisor.BACKOFF_FIRST_SECONDS", 0.1)
    monkeypatch.setattr("runtime.supervisor.BACKOFF_MAX_SECONDS", 60.0)
    bad, good = ("bad", _service("false")), ("good", _service("sleep", "60"))
    supervisor = Supervisor([], [bad, good])
    supervisor.start()
    try:
        assert _looking(supervisor, lambda: supervisor.restarts["bad"] == 4)  # next in 1.6 s
        killed = time.monotonic()
        os.kill(supervisor.pids["good"], signal.SIGKILL)
        assert _looking(supervisor, lambda: supervisor.restarts["good"] == 1)
        assert time.monotonic() - killed < 1.0
        assert supervisor.restarts["bad"] == 4
    finally:
        supervisor.stop()


def test_given_full_disk_when_a_part_ends_then_it_starts_again_and_the_change_is_told_later() -> (
    None
):
    told: list[dict[str, int]] = []
    full = False

    def record() -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        told.append(supervisor.pids)

    supervisor = Supervisor([("a", _service("sleep", "60"))], on_change=record)
    supervisor.start()
    try:
        full = True
        os.kill(supervisor.pids["a"], signal.SIGKILL)
        assert _looking(supervisor, lambda: supervisor.restarts["a"] == 1)
        before = len(told)
        full = False
        supervisor.look()
        assert told[before:] == [supervisor.pids]
        supervisor.look()
        assert len(told) == before + 1, "told once"
    finally:
        supervisor.stop()


class _Sick(Service):
    """A part whose start fails half way, as often as it is told."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__(["sleep", "60"], lambda: os.environ)
        self.failures = list(failures)
        self.begun: list[int] = []

    def start(self) -> None:
        super().start()
        self.begun.append(self.pid or 0)
        if self.failures:
            raise self.failures.pop()


def test_given_start_that_fails_by_disk_or_database_when_watched_then_tried_again_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.supervisor.BACKOFF_FIRST_SECONDS", 0.05)
    part = _Sick()
    supervisor = Supervisor([("a", part)])
    supervisor.start()
    try:
        part.failures = [psycopg.OperationalError("starting up"), OSError(errno.ENOSPC, "full")]
        os.kill(supervisor.pids["a"], signal.SIGKILL)
        assert _looking(supervisor, lambda: supervisor.restarts["a"] == 3)
        assert list(filter(alive, part.begun)) == [supervisor.pids["a"]] == part.begun[-1:]
    finally:
        supervisor.stop()
    with pytest.raises(StartFailed, match="full"):
        Supervisor([("a", _Sick(OSError(errno.ENOSPC, "full")))]).start()


def test_given_step_that_fails_when_started_then_start_failed() -> None:
    with pytest.raises(StartFailed):
        Supervisor([("migrate", Once(["false"], lambda: os.environ))]).start()


def test_given_step_that_nobody_waits_for_when_started_then_it_comes_last() -> None:
    told: list[list[str]] = []
    step = Once(["sleep", "60"], lambda: os.environ, waited_for=lambda: False)
    service = ("service", _service("sleep", "60"))
    supervisor = Supervisor([("step", step)], [service], lambda: told.append([*supervisor.pids]))
    supervisor.start()
    supervisor.stop()
    assert told == [["service"], ["step", "service"]]


def test_given_step_that_cannot_be_asked_about_when_started_then_start_failed() -> None:
    def unknown() -> bool:
        raise psycopg.OperationalError("no database")

    with pytest.raises(StartFailed, match="no database"):
        Supervisor([("step", Once(["true"], lambda: os.environ, waited_for=unknown))]).start()


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
