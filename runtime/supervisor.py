"""Keep parts running: start in order, restart with back-off, stop in reverse order.

Servers, and steps such as migrations, are there before whatever follows them, at a restart as well;
services come and go without each other.

It runs in the main thread: the kernel tells the parts when that thread ends, however it ends.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

import psycopg
import structlog

from runtime.process import StartFailed, pause, spawn, stop_child

log = structlog.get_logger(__name__)

TICK_SECONDS = 0.05
# The last is short, since what a part waits for (room on the disk, say) may be there at any moment.
BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS = 0.5, 10.0
STEADY_SECONDS = 5.0  # having run this long, a part starts again at once
# Between the starts of two services: loading takes a core, and the first shall have one.
HEAD_START_SECONDS = 1.0
SERVICE_STOP_STEPS = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))


class Part(Protocol):
    """Something that runs beside the supervisor."""

    @property
    def running(self) -> bool:
        """Tell whether it is alive."""

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""

    def start(self) -> None:
        """Start it and wait until it can be used. StartFailed."""

    def stop(self) -> None:
        """Stop it and wait for its end."""


class Service:
    """One of our own commands as a child process."""

    def __init__(self, argv: Sequence[str], env: Callable[[], Mapping[str, str]]) -> None:
        self._argv = argv
        self._env = env  # asked at every start: it names where the parts before it are
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Tell whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self.running else None

    def start(self) -> None:
        """Start the process; it reports its own readiness."""
        self._process = spawn(
            self._argv,
            log=None,
            death_signal=signal.SIGTERM,
            env=self._env(),
            cwd=Path.cwd(),
        )

    def stop(self) -> None:
        """Ask it to end; kill it when it does not."""
        if self._process is not None:
            stop_child(self._process, SERVICE_STOP_STEPS)


class Once(Service):
    """One of our own commands that runs to its end: first where it is waited for, else last."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Callable[[], Mapping[str, str]],
        waited_for: Callable[[], bool] = lambda: True,
    ) -> None:
        """`waited_for` is asked at the start: whether those that follow need what it does."""
        super().__init__(argv, env)
        self.waited_for = waited_for

    @property
    def running(self) -> bool:
        """Tell whether it has done its work, or still does what nobody waits for."""
        return self._process is not None and self._process.poll() in {None, 0}

    @property
    def pid(self) -> int | None:
        """The process id while it works."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Run it. StartFailed when it is waited for and does not succeed."""
        waited_for = self.waited_for()
        super().start()
        while waited_for and self.pid is not None:
            pause(TICK_SECONDS)
        if waited_for and not self.running:
            raise StartFailed(f"{self._argv[-1]} failed / 失败")


@dataclass
class _Watched:
    name: str
    part: Part
    needed: bool  # by all that follow
    started: float = 0.0
    due: float = 0.0
    failures: int = 0
    restarts: int = 0
    up: bool = False


class Supervisor:
    """Runs named parts until SIGTERM or SIGINT; `on_change` is told after every start or end.

    Each of `servers` waits for those before it, and `services` for all servers only. An `on_change`
    that fails with OSError (a full disk) is told again at every look until it succeeds.
    """

    def __init__(
        self,
        servers: Sequence[tuple[str, Part]],
        services: Sequence[tuple[str, Part]] = (),
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._watched = [_Watched(name, part, needed=True) for name, part in servers]
        self._watched += [_Watched(name, part, needed=False) for name, part in services]
        self._on_change = on_change
        self._untold = False

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the parts that run now."""
        return {w.name: w.part.pid for w in self._watched if w.part.pid is not None}

    @property
    def restarts(self) -> dict[str, int]:
        """How often each part had to be started again."""
        return {w.name: w.restarts for w in self._watched}

    def start(self) -> None:
        """Start every part in order. StartFailed when one does not come up."""
        running = 0
        last: list[_Watched] = []
        for watched in self._watched:
            if self._comes_last(watched):
                last.append(watched)
                continue
            if running and not watched.needed:
                pause(HEAD_START_SECONDS)
            self._start(watched)
            running += not watched.needed
        for watched in last:
            self._start(watched)

    def watch(self, each: Callable[[], None] = lambda: None) -> NoReturn:
        """Restart what ends, for ever; `each` runs at every look."""
        while True:
            self.look()
            each()
            pause(TICK_SECONDS)

    def look(self) -> None:
        """Look once: note ends, start again what is due and has the servers it needs."""
        if self._untold:
            self._tell()
        for watched in self._watched:
            if watched.up and not watched.part.running:
                self._ended(watched)
            if not watched.up and not self._restarted(watched) and watched.needed:
                return

    def stop(self) -> None:
        """Stop all parts, the last started first."""
        for watched in reversed(self._watched):
            if watched.part.pid is not None:
                watched.part.stop()
                log.info("part_stopped", name=watched.name)
            watched.up = False

    def _comes_last(self, watched: _Watched) -> bool:
        """Tell whether a part is a step that nobody waits for, and so takes no core from others."""
        try:
            return isinstance(watched.part, Once) and not watched.part.waited_for()
        except (OSError, psycopg.Error) as error:
            raise StartFailed(f"{watched.name}: {error}") from error

    def _start(self, watched: _Watched) -> None:
        try:
            watched.part.start()
        except (OSError, psycopg.Error) as error:
            watched.part.stop()  # or the next start would find it half begun and believe it whole
            raise StartFailed(f"{watched.name}: {error}") from error
        watched.up = True
        watched.started = time.monotonic()
        log.info("part_started", name=watched.name, pid=watched.part.pid)
        self._tell()

    def _tell(self) -> None:
        try:
            self._on_change()
        except OSError as error:
            if not self._untold:
                log.warning("change_not_recorded", error=str(error))
            self._untold = True
        else:
            self._untold = False

    def _restarted(self, watched: _Watched) -> bool:
        if time.monotonic() < watched.due:
            return False
        watched.restarts += 1
        reason = ""
        try:
            self._start(watched)
        except StartFailed as error:
            reason = str(error)
        if reason:
            seconds = self._postpone(watched)
            log.error("part_not_started", name=watched.name, error=reason, restart_in_s=seconds)
        return not reason

    def _ended(self, watched: _Watched) -> None:
        watched.up = False
        seconds = 0.0
        if time.monotonic() - watched.started > STEADY_SECONDS:
            watched.failures, watched.due = 0, 0.0
        else:
            seconds = self._postpone(watched)
        log.error("part_ended", name=watched.name, restart_in_s=seconds)
        self._tell()

    def _postpone(self, watched: _Watched) -> float:
        seconds = min(BACKOFF_FIRST_SECONDS * 2.0**watched.failures, BACKOFF_MAX_SECONDS)
        watched.failures = min(watched.failures + 1, 10)
        watched.due = time.monotonic() + seconds
        return seconds
