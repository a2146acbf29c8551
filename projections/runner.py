"""The process that follows: waits for the ledger's notice and takes what is new."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import psycopg
import structlog
from eventsourcing.persistence import PersistenceError
from prometheus_client import Gauge

from projections import readings, rollups, thermal
from projections import rebuild as rebuilding
from projections.discovery import discover
from projections.follower import Follower, queries
from projections.projection import Checked, Projection
from store.logs import Ledger

log = structlog.get_logger(__name__)
LAG = Gauge("vaxtrail_follower_lag_events", "Ledger events not yet in the read models")

# A lost notice is made up for by looking anyway; waiting this long also bounds a stop.
POLL_SECONDS = 0.5
RETRY_SECONDS = 1.0
# A pass that takes longer is dropped with its connection and taken again at the next start.
ROLLUPS_STOP_SECONDS = 5.0


class Runner:
    """Read models of one database, brought up to date step by step."""

    def __init__(self, app_dsn: str, projections: Sequence[Projection] | None = None) -> None:
        self.ledger = Ledger(app_dsn)
        self.conn: psycopg.Connection[Any] = psycopg.connect(app_dsn, autocommit=True)
        # Safe here: tables and progress are lost together, and followed again.
        self.conn.execute("SET synchronous_commit = off")
        rebuilt = rebuilding.prepare(self.ledger, self.conn)
        if rebuilt:
            log.info("read_models_built", names=rebuilt)
        self._follower = Follower(self.ledger, projections or discover())

    def follow_once(self) -> int:
        """Take everything there is and return how many events it was."""
        total = 0
        while taken := self._follower.step(self.conn):
            total += taken
        return total

    def behind(self) -> int:
        """Return how many positions the slowest read model is behind the ledger."""
        return self._follower.behind()

    def close(self) -> None:
        """Let go of the database."""
        self.conn.close()
        self.ledger.close()


def run(*, app_dsn: str, stop: threading.Event) -> None:
    """Follow until `stop`; wait for an absent database, and for another follower to go."""
    while not stop.is_set():
        try:
            _follow(app_dsn, stop)
        except (psycopg.OperationalError, PersistenceError) as error:
            log.warning("database_away", error=str(error))
            stop.wait(RETRY_SECONDS)


def _follow(app_dsn: str, stop: threading.Event) -> None:
    with psycopg.connect(app_dsn, autocommit=True) as listening:
        while not _leads(listening):
            if stop.wait(RETRY_SECONDS):
                return
        listening.execute("LISTEN ledger_events")
        runner = Runner(app_dsn)
        # These follow the other log, in passes that may take seconds: threads of their own.
        ended = threading.Event()
        beside = [
            threading.Thread(
                target=each.follow,
                kwargs={"app_dsn": app_dsn, "stop": ended},
                name=each.NAME,
                daemon=True,
            )
            for each in (rollups, thermal.follow)
        ]
        for thread in beside:
            thread.start()
        try:
            while not stop.is_set():
                runner.follow_once()
                LAG.set(runner.behind())
                for _ in listening.notifies(timeout=POLL_SECONDS, stop_after=1):
                    LAG.set(runner.behind())
        finally:
            ended.set()
            for thread in beside:
                thread.join(ROLLUPS_STOP_SECONDS)
            runner.close()


def _leads(conn: psycopg.Connection[Any]) -> bool:
    row = conn.execute(queries.try_lead).fetchone()
    return bool(row and row[0])


def listing(app_dsn: str) -> list[rebuilding.Listed]:
    """Return the read models in use with their progress."""
    with psycopg.connect(app_dsn, autocommit=True) as conn:
        return rebuilding.listing(conn)


def rebuild(app_dsn: str, name: str) -> int:
    """Rebuild one read model, `rollups` or `thermal`, while the product runs; return its position.

    NotFound for another name.
    """
    if name == rollups.NAME:
        return rollups.rebuild(app_dsn)
    if name == thermal.follow.NAME:
        return thermal.follow.rebuild(app_dsn)
    with Ledger(app_dsn) as ledger, psycopg.connect(app_dsn, autocommit=True) as conn:
        return rebuilding.rebuild(ledger, conn, rebuilding.named(name))


def check(app_dsn: str, name: str) -> Checked:
    """Compare one read model with a rebuild at the same position; `readings` with their events.

    NotFound for another name.
    """
    if name == readings.NAME:
        return readings.check(app_dsn)
    with Ledger(app_dsn) as ledger, psycopg.connect(app_dsn, autocommit=True) as conn:
        return rebuilding.check(ledger, conn, rebuilding.named(name))
