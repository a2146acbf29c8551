"""The steps of a batch, and what happens when one fails.

A batch is made from its messages, stored in one transaction, and answered. When the database goes
away it is made anew once it is back, from what is stored then: had the lost commit succeeded after
all, its messages are repetitions. Nothing is answered before. A message that nothing but itself
makes fail is found by halving and kept in quarantine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event as StopEvent
from typing import Any, TypeVar

import psycopg
import structlog

from domain.shared.clock import Clock
from ingest import metrics
from ingest.answers import Answer, answers
from ingest.batch import Batch, Item, Received
from ingest.decode import decode, topic_of
from ingest.dedupe import dedupe
from ingest.directory import Directory
from ingest.judge import judge
from ingest.quarantine import replays, set_aside
from ingest.refusals import Refused
from ingest.rows import queries
from ingest.state import DeviceStates
from ingest.write import Partitions, write
from store.transient import is_transient

# Seconds: how long a start waits for the lock (the server may still be ending a killed ingest),
# and between two attempts to reach a database that is away.
LOCK_WAIT_S = 20.0
RETRY_S_MIN, RETRY_S_MAX = 0.05, 2.0
CONNECT_TIMEOUT_S = 5
BATCH_NUMBERS = 64  # taken from the sequence at once
# Seconds after which messages get their turn again while many devices are to be judged anew.
SETTLE_S = 1.0

Connection = psycopg.Connection[Any]
T = TypeVar("T")
log = structlog.get_logger()

# What a batch goes through before it is written; each step adds to it.
STEPS: tuple[Callable[[Batch, Connection], None], ...] = (decode, dedupe, judge, set_aside)


class AlreadyRunning(RuntimeError):
    """Another ingest holds the database."""

    def __init__(self) -> None:
        super().__init__(
            "另一个 ingest 正在写入同一数据库 / another ingest is writing to this database"
        )


class Stopped(Exception):
    """The process is to end while the database is away; what it holds stays unanswered."""


class Worker:
    """Owns the connection that writes, the lock on it, and what is kept in memory."""

    def __init__(self, dsn: str, clock: Clock, stop: StopEvent) -> None:
        self._dsn = dsn
        self._clock = clock
        self._stop = stop
        self._conn: Connection | None = None
        self._numbers: list[int] = []
        self._states = DeviceStates()
        self._partitions = Partitions()
        self._directory = Directory()
        self._all_settled = True

    def start(self) -> None:
        """Take the database and learn the registry. AlreadyRunning when another ingest has it."""
        self._persist(self._begin)

    def close(self) -> None:
        """Give the connection and its lock back."""
        if self._conn is not None:
            self._conn.close()

    def take(self, received: Sequence[Received]) -> list[Answer]:
        """Store messages and return what their senders are to be told. Stopped while waiting."""
        self.settle()
        return self._persist(lambda conn: self._halving(conn, received))

    def replay(self) -> list[Answer]:
        """Take again what somebody asked for in quarantine, and return what senders are told."""
        asked = self._persist(replays)
        return self.take(asked) if asked else []

    def settle(self) -> None:
        """Read on in the registry; act on probes that moved and rules that changed."""
        self._persist(self._settle)

    # --- the database comes and goes ---

    def _persist(self, act: Callable[[Connection], T]) -> T:
        """Do it, again and again while the database is away."""
        delay = RETRY_S_MIN
        while True:
            try:
                return act(self._connected())
            except psycopg.Error as error:
                if not is_transient(error):
                    raise
                log.warning("database_lost", error=str(error).strip(), retry_s=delay)
                metrics.RETRIES.inc()
                self._disconnect()
            if self._stop.wait(delay):
                raise Stopped
            delay = min(2 * delay, RETRY_S_MAX)

    def _connected(self) -> Connection:
        """Return the connection; a new one holds the lock, and nothing is remembered with it."""
        if self._conn is None:
            conn = psycopg.connect(self._dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
            try:
                self._own(conn)
            except BaseException:
                conn.close()
                raise
            self._conn = conn
        return self._conn

    def _own(self, conn: Connection) -> None:
        deadline = time.monotonic() + LOCK_WAIT_S
        while not conn.execute(queries.own).fetchall()[0][0]:
            if time.monotonic() > deadline:
                raise AlreadyRunning
            if self._stop.wait(RETRY_S_MIN):
                raise Stopped

    def _forget(self) -> None:
        self._states.forget()
        self._partitions = Partitions()

    def _disconnect(self) -> None:
        self._forget()
        self._numbers.clear()
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    # --- batches ---

    def _begin(self, conn: Connection) -> None:
        """Fold the registry; what it changed while nobody listened is settled now."""
        ((self._directory.settled,),) = conn.execute(queries.settled_position).fetchall()
        self._settle(conn)

    def _settle(self, conn: Connection) -> None:
        """Judge again the devices concerned, each in a transaction of its own.

        To settle again what is settled changes nothing: the position may follow at the end.
        """
        self._partitions.make_ahead(conn, self._clock.now())
        directory = self._directory
        directory.refresh(conn)
        if not directory.waiting:
            return
        sent = self._states.load(conn, list(directory.waiting), numbering=False)
        for device_id in [silent for silent in directory.waiting if silent not in sent]:
            del directory.waiting[device_id]  # nothing is stored of it
        until = time.monotonic() + SETTLE_S
        for device_id in sent:
            self._settle_device(conn, device_id)
            if directory.waiting and time.monotonic() > until:
                return
        if self._all_settled:
            conn.execute(queries.set_settled_position, (directory.position,))

    def _settle_device(self, conn: Connection, device_id: str) -> None:
        """Settle one device; a fault of its data must not stop all the others.

        The next start tries it again: until then the position stays behind.
        """
        try:
            self._store(conn, (), shifted=device_id)
        except Exception as error:
            if isinstance(error, psycopg.Error) and is_transient(error):
                raise
            log.exception("settling_failed", device_id=device_id)
            self._forget()
            self._all_settled = False
            del self._directory.waiting[device_id]

    def _halving(
        self, conn: Connection, received: Sequence[Received], *, forgotten: bool = False
    ) -> list[Answer]:
        """Store the messages; on a fault of the data, each half, down to the one at fault.

        forgotten: nothing is remembered, so the fault is no longer one of memory.
        """
        try:
            return self._store(conn, received)
        except Exception as error:  # any fault of one message must not stop all the others
            if isinstance(error, psycopg.Error) and is_transient(error):
                raise
            fault = error
        self._forget()
        if len(received) == 1 and forgotten:
            log.error("message_poisoned", topic=received[0].topic, exc_info=fault)
            return self._store(conn, received, poison=fault)
        middle = (len(received) + 1) // 2
        parts = [part for part in (received[:middle], received[middle:]) if part]
        return [answer for part in parts for answer in self._halving(conn, part, forgotten=True)]

    def _store(
        self,
        conn: Connection,
        received: Sequence[Received],
        *,
        shifted: str = "",
        poison: Exception | None = None,
    ) -> list[Answer]:
        batch = Batch(
            number=self._number(conn),
            now=self._clock.now(),
            items=[Item(message) for message in received],
            directory=self._directory,
            memory=self._states,
            shifted=shifted,
        )
        if poison is None:
            for step in STEPS:
                step(batch, conn)
        else:
            for item in batch.items:
                item.topic = topic_of(item.received)
                item.refused = Refused("poison", text=f"{type(poison).__name__}: {poison}")
            set_aside(batch, conn)
        started = time.perf_counter()
        write(batch, conn, self._partitions)
        self._states.keep(batch.states.values())
        for device_id in batch.states:
            self._directory.waiting.pop(device_id, None)
        metrics.committed(batch, time.perf_counter() - started)
        return answers(batch)

    def _number(self, conn: Connection) -> int:
        if not self._numbers:
            taken = conn.execute(queries.take_batch_numbers, (BATCH_NUMBERS,)).fetchall()
            self._numbers = [number for (number,) in reversed(taken)]
        return self._numbers.pop()
