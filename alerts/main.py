"""The alert process: one thread listens to the outbox, some send, this one escalates by the clock.

APScheduler only wakes the tick; what is due stands in tables. A stepped clock is looked at often
instead, and told when all timers due by then have been handled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psycopg
import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from alerts.channels.channel import Channel
from alerts.channels.destinations import Destinations
from alerts.channels.offered import Offer
from alerts.channels.siren import Siren
from alerts.channels.sms import Sms
from alerts.channels.webhook import Webhook
from alerts.conditions import Conditions
from alerts.consequence import Consequences
from alerts.escalate import Escalator
from alerts.floor import Watch
from alerts.observations import Observations
from alerts.outbox import Pool, Sender
from alerts.overdue import Overdue
from alerts.platform.connector import Connector
from alerts.platform.national import Access, National
from alerts.recalls import Recalls
from alerts.receipts import Receipts
from alerts.reports import SENDERS, Reporter
from alerts.revised import Revisions
from alerts.silences import Silences
from alerts.trial_calls import TrialCalls
from domain.shared.clock import Clock
from store.logs import Ledger
from store.sql import load_queries
from store.transient import AWAY

queries = load_queries(Path(__file__).with_name("sql") / "main.sql")
log = structlog.get_logger(__name__)

# Threads that send, each with a connection of its own while it does.
WORKERS = 8
# Seconds of real time between two ticks, between two looks at a stepped clock, between two looks
# at the outbox when no notice comes, and before an absent database is tried again.
TICK_S = 1.0
STEP_S = 0.02
POLL_S = 0.5
RETRY_S = 1.0


class Lookout(Protocol):
    """Something that looks, as the clock goes, for what is to be told."""

    def tick(self, conn: psycopg.Connection[Any], now: datetime) -> int:
        """Tell what is due by `now`; return how much that was."""


def run(
    *,
    app_dsn: str,
    clock: Clock,
    offer: Offer,
    public_url: str,
    stop: threading.Event,
    destinations: Destinations,
    platform: Access | None = None,
) -> None:
    """Deliver and escalate until `stop`; an absent database is waited for."""
    webhook, ledger = Webhook(destinations), Ledger(app_dsn)
    channels: dict[str, Channel] = {
        "webhook": webhook,
        "siren": Siren(ledger, clock.now),
        **offer.opened(webhook.ask),
    }
    with (
        ledger,
        _pool(app_dsn, SENDERS + 1) as pool,
        _pool(app_dsn, WORKERS + 2, configure=_plan_once, prepare_threshold=0) as senders,
        closing(Sender(senders, channels, now=clock.now, public_url=public_url)) as sender,
    ):
        reporter = Reporter(pool, webhook, now=clock.now)
        sms = channels.get("sms")
        receipts = Receipts(sms, clock.now) if isinstance(sms, Sms) else None
        Alerting(app_dsn, clock, sender, reporter, platform, receipts=receipts).run(stop)


def _pool(
    app_dsn: str,
    most: int,
    configure: Callable[[psycopg.Connection[Any]], None] | None = None,
    **options: Any,
) -> Pool:
    kwargs = {"autocommit": True, **options}
    return Pool(app_dsn, kwargs=kwargs, min_size=1, max_size=most, configure=configure, open=True)


def _plan_once(conn: psycopg.Connection[Any]) -> None:
    conn.execute(queries.plan_once)


class Alerting:
    """The threads around one sender, one reporter and one escalator."""

    def __init__(
        self,
        app_dsn: str,
        clock: Clock,
        sender: Sender,
        reporter: Reporter,
        platform: Access | None = None,
        *,
        receipts: Receipts | None = None,
    ) -> None:
        self._app_dsn = app_dsn
        self._clock = clock
        self._sender = sender
        self._reporter = reporter
        self._platform = platform
        self._receipts = receipts
        self._bell = _Bell()
        self._wake = threading.Event()
        self._end = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`, each part as it can: a fault of one must not silence the others."""
        with ThreadPoolExecutor(WORKERS + 7, "alerts") as threads, _waking(self._clock, self._wake):
            parts = [self._listen, self._look_for_due, self._report, self._hold, self._revise]
            if self._platform is not None:
                parts.append(partial(self._upload, self._platform))
            if self._receipts is not None:
                parts.append(partial(self._confirm, self._receipts))
            for part in parts + [self._send] * WORKERS:
                threads.submit(self._keep, part)
            try:
                while not stop.is_set():
                    self._survive(partial(self._timers, stop))
            finally:
                self._end.set()
                self._bell.ring(WORKERS)

    def _keep(self, work: Callable[[], None]) -> None:
        while not self._end.is_set():
            self._survive(work)

    def _survive(self, work: Callable[[], None]) -> None:
        try:
            work()
        except AWAY as error:
            log.warning("database_away", error=str(error))
            self._end.wait(RETRY_S)
        except Exception:
            log.exception("part_failed")
            self._end.wait(RETRY_S)

    def _listen(self) -> None:
        with psycopg.connect(self._app_dsn, autocommit=True) as conn:
            conn.execute(queries.listen)
            while not self._end.is_set():
                if not self._bell.ring(1):  # all are busy: who is to be told is put down at least
                    self._sender.expand()
                told = [int(each.payload) for each in conn.notifies(timeout=POLL_S, stop_after=1)]
                self._sender.send_ahead(told)

    def _look_for_due(self) -> None:
        """Ring when time alone has made something due: one looks, and the others sleep."""
        while not self._end.wait(POLL_S):
            if self._sender.fall_back() or self._sender.due():
                self._bell.ring(WORKERS)

    def _report(self) -> None:
        """Look after subscriptions to EPCIS queries, several at a time."""
        with ThreadPoolExecutor(SENDERS, "reports") as threads:
            while not self._end.wait(POLL_S):
                self._reporter.round(threads)

    def _hold(self) -> None:
        """Find the goods that alerts affect, and hold them."""
        with (
            psycopg.connect(self._app_dsn, autocommit=True) as conn,
            Ledger(self._app_dsn) as ledger,
        ):
            consequences = Consequences(ledger, conn)
            while not self._end.wait(POLL_S):
                if consequences.leads():
                    consequences.tick(self._clock.now())

    def _revise(self) -> None:
        """Tell whose goods read otherwise by what came late."""
        with (
            psycopg.connect(self._app_dsn, autocommit=True) as conn,
            Ledger(self._app_dsn) as ledger,
        ):
            revisions = Revisions(ledger, conn)
            while not self._end.wait(POLL_S):
                if revisions.leads():
                    revisions.tick(self._clock.now())

    def _confirm(self, receipts: Receipts) -> None:
        """Ask whether phones have what was accepted."""
        with psycopg.connect(self._app_dsn, autocommit=True) as conn:
            while not self._end.wait(POLL_S):
                receipts.round(conn)

    def _upload(self, access: Access) -> None:
        """Tell the platform what is due."""
        with (
            psycopg.connect(self._app_dsn, autocommit=True) as conn,
            Ledger(self._app_dsn) as ledger,
            closing(National(access, self._clock.now)) as platform,
        ):
            connector = Connector(ledger, conn, platform, self._clock.now)
            while not self._end.wait(POLL_S):
                connector.tick()

    def _send(self) -> None:
        while not self._end.is_set():
            while not self._end.is_set() and self._sender.send_next(self._bell.ring):
                pass
            self._bell.wait()

    def _timers(self, stop: threading.Event) -> None:
        with (
            psycopg.connect(self._app_dsn, autocommit=True) as conn,
            Ledger(self._app_dsn) as ledger,
        ):
            escalator = Escalator(ledger, conn)
            lookouts: Sequence[Lookout] = (
                *(Recalls(), Observations(), Conditions(ledger), Overdue(ledger)),
                *(Watch(), TrialCalls(ledger), Silences(ledger)),
            )
            while not stop.is_set():
                woken = self._wake.wait(STEP_S if self._clock.stepped else POLL_S)
                self._wake.clear()
                if (woken or self._clock.stepped) and escalator.leads():
                    now = self._clock.now()
                    for lookout in lookouts:
                        _look(lookout, conn, now)
                    self._tick(escalator, now, stop)

    def _tick(self, escalator: Escalator, now: datetime, stop: threading.Event) -> None:
        if not self._clock.stepped:
            escalator.tick(now)
        elif now <= self._clock.last_tick() or not self._tell_all(escalator, now, stop):
            return
        self._clock.ticked(now)

    def _tell_all(self, escalator: Escalator, now: datetime, stop: threading.Event) -> bool:
        """Tell every level due by `now`; False when the inbox does not come up in time."""
        self._bell.ring(WORKERS)  # what waits for its next attempt may be due now
        while escalator.wait_for_inbox(stop):
            if not escalator.tick(now):
                return True
        if not stop.is_set():
            log.warning("inbox_behind", now=now.isoformat())
        return False


def _look(lookout: Lookout, conn: psycopg.Connection[Any], now: datetime) -> None:
    """Let one look; a fault of what it looks at must not keep the others from theirs."""
    try:
        lookout.tick(conn, now)
    except AWAY:
        raise
    except Exception:
        log.exception("lookout_failed", lookout=type(lookout).__name__)


class _Bell:
    """Wakes one sender for each delivery there is to send: all at once would hinder each other."""

    def __init__(self) -> None:
        self._due = self._waiting = 0
        self._changed = threading.Condition()

    def ring(self, senders: int) -> bool:
        """Wake so many senders, now or when they come to wait; tell whether any waits."""
        with self._changed:
            self._due = min(self._due + senders, WORKERS)
            self._changed.notify(senders)
            return self._waiting > 0

    def wait(self) -> None:
        """Wait for a ring that no other sender has heard."""
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: self._due)
            self._waiting -= 1
            self._due -= 1


@contextmanager
def _waking(clock: Clock, wake: threading.Event) -> Iterator[None]:
    """Set `wake` every second of real time; a stepped clock is looked at anyway."""
    if clock.stepped:
        yield
        return
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_job(wake.set, "interval", seconds=TICK_S, coalesce=True, max_instances=1)
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown()
