"""A running tree seen from outside: its processes, a key to it, what it keeps."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from runtime.process import alive, wait_until
from simulators.http import Api
from tests.runtime.instance import Up, run

DATA = Path(__file__).parents[1] / "data"


def key(data: Path, role: str = "admin", region: str = "000000") -> str:
    """Issue a key at the command line and return it."""
    made = run(data, "key", "create", "--role", role, "--region", region)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@contextmanager
def api(data: Path, url: str) -> Iterator[Api]:
    """Give a client with an administrator's key, once the key opens."""
    client = Api(url, key(data))
    try:
        assert wait_until(lambda: accepted(client), 20.0)
        yield client
    finally:
        client.close()


def accepted(client: Api) -> bool:
    """Tell whether the key is known already (its read model follows)."""
    with suppress(RuntimeError):
        return bool(client.get("/position"))
    return False


def status(data: Path) -> dict[str, Any]:
    """Return what `vaxtrail status --json` tells."""
    found: dict[str, Any] = json.loads(run(data, "status", "--json").stdout)
    return found


def told(data: Path) -> dict[str, Any]:
    """Return instance.json as it stands; empty before there is one."""
    path = data / "instance.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def rows(up: Up, query: str, *params: object) -> list[tuple[Any, ...]]:
    """Run one query as the application role."""
    with psycopg.connect(up.instance["app_dsn"], autocommit=True) as conn:
        return conn.execute(query.encode(), params).fetchall()


def family(pid: int) -> list[int]:
    """Return a process and everything it started, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def kill_together(pids: Sequence[int]) -> None:
    """End processes as a power cut does: all stand still before the first is killed."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    assert wait_until(lambda: not any(map(alive, pids)), 20.0)


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition; fail with what did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
