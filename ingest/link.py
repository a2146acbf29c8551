"""The connection that writes: one process a worker number holds it, through every loss of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event as StopEvent
from typing import Any, TypeVar

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict

from ingest import metrics
from ingest.lots import OFFLINE
from ingest.rows import queries
from store.transient import is_transient

# Seconds: how long a start waits for the lock (the server may still be ending a killed ingest),
# and between two attempts to reach a database that is away.
LOCK_WAIT_S = 20.0
RETRY_S_MIN, RETRY_S_MAX = 0.05, 2.0
CONNECT_TIMEOUT_S = 5

Connection = psycopg.Connection[Any]
T = TypeVar("T")
log = structlog.get_logger()


class AlreadyRunning(RuntimeError):
    """Another ingest holds the database."""

    def __init__(self) -> None:
        super().__init__(
            "另一个 ingest 正在写入同一数据库 / another ingest is writing to this database"
        )


class Stopped(Exception):
    """The process is to end while the database is away; what it holds stays unanswered."""


class Link:
    """The connection of one worker; `lost` is called when it is gone, with all that it knew."""

    def __init__(
        self, dsn: str, stop: StopEvent, *, worker: int, lost: Callable[[], object]
    ) -> None:
        self._dsn = dsn
        self._stop = stop
        self._worker = worker
        self._lost = lost
        self._conn: Connection | None = None
        self._shown = ""

    @property
    def present(self) -> Connection:
        """The connection as it is. psycopg.OperationalError when there is none."""
        if self._conn is None:
            raise psycopg.OperationalError("the connection was lost")
        return self._conn

    def persist(self, act: Callable[[Connection], T]) -> T:
        """Do it, again and again while the database is away. Stopped meanwhile."""
        delay = RETRY_S_MIN
        while True:
            try:
                return act(self._connected())
            except psycopg.Error as error:
                if not is_transient(error):
                    raise
                log.warning("database_lost", error=str(error).strip(), retry_s=delay)
                metrics.RETRIES.inc()
                self._lost()
                self.close()
            if self._stop.wait(delay):
                raise Stopped
            delay = min(2 * delay, RETRY_S_MAX)

    def show(self, conn: Connection, state: str) -> None:
        """Add a state to the name of the session, which begins off line."""
        if state != self._shown:
            conn.execute(queries.name_session, (self._named(state),))
            self._shown = state

    def _named(self, state: str) -> str:
        name = conninfo_to_dict(self._dsn).get("application_name", "")
        return f"{name} {state}".strip()

    def close(self) -> None:
        """Give the connection and its lock back."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def _connected(self) -> Connection:
        """Return the connection; a new one holds the lock."""
        if self._conn is None:
            conn = psycopg.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name=self._named(OFFLINE),
            )
            try:
                self._own(conn)
            except BaseException:
                conn.close()
                raise
            self._conn, self._shown = conn, OFFLINE
        return self._conn

    def _own(self, conn: Connection) -> None:
        """Wait for the lock. AlreadyRunning, Stopped."""
        deadline = time.monotonic() + LOCK_WAIT_S
        while not conn.execute(queries.own, (self._worker,)).fetchall()[0][0]:
            if time.monotonic() > deadline:
                raise AlreadyRunning
            if self._stop.wait(RETRY_S_MIN):
                raise Stopped
