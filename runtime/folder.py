"""The data folder: its lock, what kind of clock it was begun with, and who runs on it.

`lock` is held by the one process that owns the folder. `folder.json` is written once.
`instance.json` (mode 0600) tells the command line and the simulators where a running instance is.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runtime.process import alive
from runtime.refusal import Refusal

LOCK_SECONDS = 2.0  # a look at the lock by `vaxtrail status` lasts microseconds


@dataclass
class Instance:
    """A running (or last run) instance: where its parts are. Holds passwords."""

    pid: int
    app_dsn: str = ""
    owner_dsn: str = ""
    mqtt_server_url: str = ""
    mqtt_gateway_url: str = ""
    api_url: str = ""
    clock: str = "real"
    ports: dict[str, int] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    pgdata: str = ""


def begin(data: Path, clock: str) -> None:
    """Make the folder, or hold it to the kind of clock it was begun with. Refusal."""
    data.mkdir(parents=True, exist_ok=True, mode=0o755)
    path = data / "folder.json"
    if not path.exists():
        write_private(path, json.dumps({"clock": clock}))
        return
    begun = json.loads(path.read_text())["clock"]
    if begun != clock:
        raise Refusal(
            f"数据目录 {data} 建立时使用 {begun} 时钟，不能改用 {clock}；请换一个数据目录",
            f"{data} was begun with the {begun} clock and cannot go on with the {clock} one; "
            "choose another data folder (VAXTRAIL_DATA).",
        )


def clock_kind(data: Path, wanted: str) -> str:
    """Return the kind of clock a folder was begun with, `wanted` for a folder not begun yet."""
    path = data / "folder.json"
    return str(json.loads(path.read_text())["clock"]) if path.exists() else wanted


@contextmanager
def owned(data: Path, what: str = "lock", seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock `what` of the folder; Refusal names the holder after `seconds`."""
    data.mkdir(parents=True, exist_ok=True, mode=0o755)
    with (data / what).open("a+") as file:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _held(data, what) from None
                time.sleep(0.05)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _held(data: Path, what: str) -> Refusal:
    holder = (data / what).read_text() or "?"
    return Refusal(
        f"数据目录 {data} 正由进程 {holder} 使用；同一目录只能有一个实例",
        f"{data} is in use by process {holder}; one folder has one owner.",
    )


def holder(data: Path) -> int | None:
    """Return the process id that holds the folder's lock, None when nobody does."""
    path = data / "lock"
    if not path.exists():
        return None
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(path.read_text() or 0)
    return None


def write_instance(data: Path, instance: Instance) -> None:
    """Record where the running parts are; replaced whole."""
    write_private(data / "instance.json", json.dumps(asdict(instance), indent=2))


def last_instance(data: Path) -> Instance | None:
    """Return what the latest owner recorded, running or not."""
    path = data / "instance.json"
    return Instance(**json.loads(path.read_text())) if path.exists() else None


def running_instance(data: Path) -> Instance:
    """Return the instance that runs on this folder. Refusal when none does."""
    instance = last_instance(data)
    if instance is None or not alive(instance.pid) or holder(data) is None:
        raise Refusal(
            f"数据目录 {data} 上没有正在运行的实例；请先运行 vaxtrail up",
            f"No instance runs on {data}; start one with `vaxtrail up`.",
        )
    return instance


def write_private(path: Path, text: str, owner: tuple[int, int] | None = None) -> None:
    """Write a file only its owner (uid, gid; else we) can read, whole or not at all.

    It is given away before it has its name: the new owner of the folder could put a link there.
    """
    making = path.with_name(f".{path.name}.{os.getpid()}")
    making.unlink(missing_ok=True)
    with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        if owner:
            os.fchown(file.fileno(), *owner)
    making.rename(path)
