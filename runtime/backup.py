"""A backup of a running instance, and its return into an empty data folder.

The database is copied physically (pg_basebackup, with the write-ahead log of the copying time), so
logs, positions, sequences and roles come back as they were: equal digests, no re-load. The broker's
files are copied first, while it stands still for a moment: what a gateway was told is received is
then either still in the broker's copy or already in the database's, and a message in both is
stored once. The clock file and the secrets go with them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from runtime import folder
from runtime.account import Account, secret, server_home, service_account
from runtime.health import queries
from runtime.postgres import HOST, SUPERUSER, PostgresServer
from runtime.process import StartFailed
from runtime.refusal import Refusal

MANIFEST = "vaxtrail-backup.json"
FORMAT = 1
# A broker stopped for a copy goes on after this many seconds even if the copier was killed.
BROKER_STILL_SECONDS_MAX = 120


@dataclass(frozen=True)
class Manifest:
    """What a backup is; positions are those at its beginning, all of which it holds."""

    format: int
    made_at: str
    clock: str
    position: str
    postgres: str
    broker: bool


def backup(data: Path, target: Path) -> Manifest:
    """Write a backup of the instance that runs on `data` into the empty folder `target`."""
    instance = folder.running_instance(data)
    if not instance.pgdata:
        raise not_embedded()
    if target.exists() and any(target.iterdir()):
        raise Refusal(f"{target} 不是空目录", f"{target} is not empty.")
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.chmod(0o700)
    server = PostgresServer(data)
    with psycopg.connect(instance.app_dsn, autocommit=True) as conn:
        ledger, telemetry = conn.execute(queries.positions).fetchone() or (0, 0)
    broker = instance.pids.get("broker")
    if broker:
        with _standing_still(broker):
            shutil.copytree(server_home(data, "broker", service_account()), target / "broker")
    _base_backup(server, instance.ports["postgres"], target / "postgres")
    shutil.copytree(data / "secrets", target / "secrets")
    for name in ("folder.json", "clock"):
        if (data / name).exists():
            shutil.copy2(data / name, target / name)
    manifest = Manifest(
        FORMAT,
        datetime.now(UTC).isoformat(),
        instance.clock,
        f"L{ledger}.T{telemetry}",
        (target / "postgres" / "PG_VERSION").read_text().strip(),
        bool(broker),
    )
    # Last: a backup without it was cut short.
    folder.write_private(target / MANIFEST, json.dumps(asdict(manifest), indent=2))
    return manifest


def not_embedded() -> Refusal:
    """Return the refusal to back up a database that belongs to somebody else."""
    return Refusal(
        "数据库不是内置的：请用 pg_basebackup（整库，可恢复到任意时刻）或 pg_dump -Fc 备份",
        "The database is not the embedded one: back it up with pg_basebackup (whole, and with its "
        "write-ahead log to any moment) or pg_dump -Fc.",
    )


def restore(source: Path, data: Path) -> Manifest:
    """Put a backup into the empty data folder `data`; start it with `vaxtrail up`. Refusal."""
    manifest = _manifest(source)
    if data.exists() and any(data.iterdir()):
        raise Refusal(
            f"{data} 不是空目录；恢复只写入空目录",
            f"{data} is not empty; restore into an empty one.",
        )
    data.mkdir(parents=True, exist_ok=True, mode=0o755)
    server = PostgresServer(data)
    _run(server.bin / "pg_verifybackup", "--quiet", source / "postgres")
    for name in ("secrets", "folder.json", "clock"):
        if (source / name).is_dir():
            shutil.copytree(source / name, data / name)
        elif (source / name).exists():
            shutil.copy2(source / name, data / name)
    account = service_account()
    _put(source / "postgres", server.pgdata, account)
    if manifest.broker:
        _put(source / "broker", server_home(data, "broker", account), account)
    return manifest


def _put(copied: Path, place: Path, account: Account | None) -> None:
    shutil.copytree(copied, place, dirs_exist_ok=True)
    place.chmod(0o700)
    if account:
        for path in [place, *place.rglob("*")]:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _manifest(source: Path) -> Manifest:
    try:
        manifest = Manifest(**json.loads((source / MANIFEST).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise Refusal(
            f"{source} 不是完整的备份（缺少 {MANIFEST}）",
            f"{source} is not a complete backup ({MANIFEST} is missing).",
        ) from error
    if manifest.format != FORMAT:
        raise Refusal("备份格式不受支持", f"Backup format {manifest.format} is not supported.")
    return manifest


def _base_backup(server: PostgresServer, port: int, target: Path) -> None:
    arguments = ["-h", HOST, "-p", str(port), "-U", SUPERUSER, "--no-password"]
    _run(
        server.bin / "pg_basebackup",
        *arguments,
        *("-D", target, "-X", "stream", "--checkpoint=fast"),
        password=secret(server.data, SUPERUSER),
    )


def _run(*argv: str | Path, password: str = "") -> None:
    env = {**os.environ, "PGPASSWORD": password} if password else None
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StartFailed(f"{Path(argv[0]).name}: {done.stderr.strip()}")


@contextlib.contextmanager
def _standing_still(pid: int) -> Iterator[None]:
    """Stop a process for a moment, so that its files are those of one moment (as after a kill).

    Refusal when the moment was too short for what was done in it.
    """
    waker = subprocess.Popen(
        ["/bin/sh", "-c", f"sleep {BROKER_STILL_SECONDS_MAX}; kill -CONT {pid}"],
        start_new_session=True,
    )
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        too_long = waker.poll() is not None
        os.kill(pid, signal.SIGCONT)
        if not too_long:
            os.killpg(waker.pid, signal.SIGTERM)
            waker.wait()
    if too_long:
        seconds = BROKER_STILL_SECONDS_MAX
        raise Refusal(
            f"复制代理文件超过 {seconds} 秒，代理已继续运行，此备份无效；请换更快的磁盘再试",
            f"Copying the broker's files took more than {seconds} s and the broker went on: this "
            "backup is of no use; try again on a faster disk.",
        )
