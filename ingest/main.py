"""Run ingest: messages from the broker into the logs, until told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event as StopEvent

import structlog
from prometheus_client import start_http_server

from domain.shared.clock import Clock
from ingest.answers import Answer
from ingest.inbox import Inbox
from ingest.link import Stopped
from ingest.lots import BEHIND, OFFLINE, Lot
from ingest.mqtt import Receiver
from ingest.pipeline import Pipeline
from ingest.worker import Worker

# Fixed, so that the broker keeps the session and its messages; without '.', which NATS refuses.
CLIENT_ID = "vaxtrail-ingest-0"
# Seconds between two looks at the registry and at the messages to take again, while idle or not.
HOUSEKEEPING_S = 1.0
ONLINE_S = 0.05  # while the broker is not there
BEHIND_S = 30.0  # without an empty queue
# How long no backfill may have waited before devices are asked for more: the broker may send it
# only after its `ack_wait` of 5 s.
ASKING_S = 10.0

log = structlog.get_logger()


def _always() -> bool:
    return True


def run(
    *,
    app_dsn: str,
    mqtt_url: str,
    regions: Sequence[str],
    clock: Clock,
    stop: StopEvent,
    metrics_address: str = "",
    may_read: Callable[[], bool] = _always,
    worker: int = 0,
    client_id: str = CLIENT_ID,
) -> None:
    """Receive, store and acknowledge until `stop` is set.

    regions: 6-digit codes whose messages are taken; none = all. worker: its number among several,
    which share no region and no client_id, the name of its first session at the broker.
    metrics_address: host:port where this process shows its figures, nowhere when empty. may_read:
    asked about twice a second; while False nothing is read and the broker keeps the messages (disk
    nearly full).
    AlreadyRunning when another ingest has the database; SubscriptionRefused by the broker.
    """
    if metrics_address:
        host, _, port = metrics_address.rpartition(":")
        start_http_server(int(port), addr=host)
    intake = Worker(app_dsn, clock, stop, number=worker, regions=regions)
    inbox = Inbox(intake.hurries)
    try:
        intake.start()
        lot = Lot(worker, tuple(regions))
        receivers = _Receivers(mqtt_url, lot, client_id, inbox, may_read=may_read, clock=clock)
        receivers.start()
        log.info("ingest_started", regions=list(regions))
        try:
            _loop(intake, receivers, stop)
        finally:
            receivers.stop()
    except Stopped:
        log.info("ingest_stopped_waiting")
    finally:
        intake.close()


class _Receivers:
    """The two sessions of a worker (lots.py), which fill one inbox."""

    def __init__(
        self,
        mqtt_url: str,
        lot: Lot,
        client_id: str,
        inbox: Inbox,
        *,
        may_read: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self.inbox = inbox
        self.live, self._backfill = (
            Receiver(
                mqtt_url,
                client_id=name,
                filters=wanted,
                may_read=may_read,
                clock=clock,
                host_id=host_id,
                inbox=inbox,
                backfill=not host_id,
            )
            for (name, wanted), host_id in zip(
                lot.sessions(client_id).items(), (f"vaxtrail-ingest-{lot.worker}", ""), strict=True
            )
        )

    @property
    def connected(self) -> bool:
        return self.live.connected and self._backfill.connected

    def start(self) -> None:
        self.live.start()
        self._backfill.start()

    def stop(self) -> None:
        self.live.stop()
        self._backfill.stop()

    def check(self) -> None:
        """Raise what ended one of them."""
        for receiver in (self.live, self._backfill):
            if receiver.failure is not None:
                raise receiver.failure

    def answer(self, answers: Sequence[Answer]) -> None:
        """Give each answer to the one whose connection waits for it; from any thread."""
        connection = self._backfill.connection
        backfill = [answer for answer in answers if answer.connection == connection]
        if backfill:
            self._backfill.answer(backfill)
        if len(backfill) < len(answers):
            self.live.answer([answer for answer in answers if answer.connection != connection])


def _loop(worker: Worker, receivers: _Receivers, stop: StopEvent) -> None:
    inbox, live = receivers.inbox, receivers.live
    pipeline = Pipeline(worker, inbox, receivers.answer)
    next_look, online = 0.0, False
    caught_up = backlog = time.monotonic()
    try:
        while not stop.is_set():
            block = inbox.take(HOUSEKEEPING_S if online else ONLINE_S)
            if inbox.empty:
                caught_up = time.monotonic()
            receivers.check()
            if block is not None:
                pipeline.take(block)
            else:
                pipeline.advance()
            if time.monotonic() >= next_look or receivers.connected is not online:
                online = receivers.connected
                pipeline.finish()
                worker.settle()
                worker.flush()
                receivers.answer(worker.replay())
                if inbox.backlog or not online:
                    backlog = time.monotonic()
                live.publish(worker.due(asking=time.monotonic() - backlog > ASKING_S))
                live.take_vendors(*worker.vendors)
                worker.show(_state(receivers, caught_up))
                next_look = time.monotonic() + HOUSEKEEPING_S
    finally:
        pipeline.close()


def _state(receivers: _Receivers, caught_up: float) -> str:
    if not receivers.connected:
        return OFFLINE
    return BEHIND if time.monotonic() - caught_up > BEHIND_S else ""
