"""Start, find and stop operating-system processes; the lowest step of the supervisor.

Every child is a direct child in its own session (a terminal's Ctrl-C reaches the supervisor only)
and gets a signal from the kernel when the supervisor dies, even by SIGKILL.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from runtime.account import Account

LOG_SIZE_MAX = 16 * 1024 * 1024  # bytes; a larger log is set aside as NAME.1 at the next start
_PR_SET_PDEATHSIG = 1  # prctl(2)
# How often a server is started before it is given up: `free_port` holds no port, so another process
# may take the port before the server does.
STARTS_MAX = 3
# For our own addresses, which no proxy of the environment (http_proxy) can reach.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# The signals that came since stop_on_signals; filled by no Python code, so that the interpreter is
# never left with a lock held in the middle of something.
_stopped_by: dict[int, object] = {}
_prctl = ctypes.CDLL(None, use_errno=True).prctl


class Stopped(BaseException):
    """SIGTERM or SIGINT came; raised where the main thread waits."""


class StartFailed(RuntimeError):
    """A server did not come up; the text carries the last lines of its log."""


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path | None,
    death_signal: signal.Signals,
    account: Account | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `argv` as a direct child that gets `death_signal` when the calling thread ends.

    Call it from a thread that lives as long as the child shall (the kernel watches the thread).
    Output is appended to `log`, or inherited when it is None.
    """
    parent = os.getpid()

    def follow_parent() -> None:
        # After setuid (a change of identity clears the wish), before exec.
        _prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    output = open_log(log) if log else None
    try:
        return subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(env) if env is not None else None,
            cwd=cwd or "/",
            start_new_session=True,
            preexec_fn=follow_parent,  # noqa: PLW1509 - one C call: no lock, nothing allocated
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    finally:
        if output is not None:
            os.close(output)


def open_log(log: Path) -> int:
    """Return a descriptor appending to `log`; set an overgrown one aside first."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_SIZE_MAX:
        log.replace(log.with_suffix(log.suffix + ".1"))
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def log_tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, or an empty text when there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def free_port(wanted: int | None = None, host: str = "127.0.0.1") -> int:
    """Return `wanted` when nobody listens there, else a free port of the system's choice."""
    for port in [wanted, 0] if wanted else [0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StartFailed("no free port")


def port_taken(log: Path) -> bool:
    """Tell whether a server that ended says that somebody else has its port."""
    return "address already in use" in log_tail(log).lower()


def ask(url: str, seconds: float) -> bytes:
    """Return what an http address of this instance answers with 200. OSError for anything else."""
    with _direct.open(url, timeout=seconds) as answer:
        return bytes(answer.read())


def alive(pid: int) -> bool:
    """Tell whether `pid` runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def command_line(pid: int) -> list[str]:
    """Return the arguments of a running process; empty when it has gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return raw.rstrip(b"\0").decode(errors="replace").split("\0")


def pids_with_argument(argument: str) -> Iterator[int]:
    """Yield the running processes, other than this one, that carry exactly this argument."""
    for pid in _pids():
        if argument in command_line(pid) and alive(pid):
            yield pid


def pids_working_in(folder: Path, name: str) -> Iterator[int]:
    """Yield running processes of program `name` whose working directory is `folder`."""
    for pid in _pids():
        try:
            here = Path(f"/proc/{pid}/cwd").readlink()
            program = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        if here == folder and program.startswith(name) and alive(pid):
            yield pid


def _pids() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield int(entry.name)


def stop_pid(pid: int, steps: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Send each signal and wait its seconds for the process to go; tell whether it went."""
    for number, seconds in steps:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return True
        if wait_until(lambda: not alive(pid), seconds):
            return True
    return not alive(pid)


def stop_child(
    child: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]
) -> int | None:
    """Stop and reap a child of this process; return its exit status, None when it stays."""
    for number, seconds in steps:
        if child.poll() is not None:
            break
        child.send_signal(number)
        wait_until(lambda: child.poll() is not None, seconds)
    return child.poll()


def wait_until(done: Callable[[], bool], seconds: float, every: float = 0.02) -> bool:
    """Poll `done` for up to `seconds`; tell whether it became true."""
    deadline = time.monotonic() + seconds
    while True:
        if done():
            return True
        if time.monotonic() >= deadline:
            return False
        pause(every)


def pause(seconds: float) -> None:
    """Sleep. Stopped when the process was asked to end since `stop_on_signals`."""
    for number in _stopped_by:
        raise Stopped(signal.Signals(number).name)
    time.sleep(seconds)


def stop_on_signals() -> None:
    """Let SIGTERM and SIGINT raise Stopped at the next `pause` or `wait_until`."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped_by.__setitem__)


def ignore_signals() -> None:
    """Let a stop that has begun come to its end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _stopped_by.clear()
