"""Run ingest: messages from the broker into the logs, until told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event as StopEvent

import structlog
from prometheus_client import start_http_server

from domain.shared.clock import Clock
from ingest.link import Stopped
from ingest.lots import BEHIND, OFFLINE
from ingest.mqtt import Receiver
from ingest.pipeline import Pipeline
from ingest.topics import filters
from ingest.worker import Worker

# Fixed, so that the broker keeps the session and its messages; without '.', which NATS refuses.
CLIENT_ID = "vaxtrail-ingest-0"
# Seconds between two looks at the registry and at the messages to take again, while idle or not.
HOUSEKEEPING_S = 1.0
ONLINE_S = 0.05  # while the broker is not there
BEHIND_S = 30.0  # without an empty queue

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
    which share no region and no client_id. metrics_address: host:port where this process shows its
    figures, nowhere when empty. may_read: asked about twice a second; while False nothing is read
    and the broker keeps the messages (disk nearly full).
    AlreadyRunning when another ingest has the database; SubscriptionRefused by the broker.
    """
    if metrics_address:
        host, _, port = metrics_address.rpartition(":")
        start_http_server(int(port), addr=host)
    intake = Worker(app_dsn, clock, stop, number=worker, regions=regions)
    try:
        intake.start()
        receiver = Receiver(
            mqtt_url,
            client_id=client_id,
            filters=filters(regions),
            may_read=may_read,
            clock=clock,
            host_id=f"vaxtrail-ingest-{worker}",
        )
        receiver.start()
        log.info("ingest_started", regions=list(regions))
        try:
            _loop(intake, receiver, stop)
        finally:
            receiver.stop()
    except Stopped:
        log.info("ingest_stopped_waiting")
    finally:
        intake.close()


def _loop(worker: Worker, receiver: Receiver, stop: StopEvent) -> None:
    pipeline = Pipeline(worker, receiver.inbox, receiver.answer)
    next_look, caught_up, online = 0.0, time.monotonic(), False
    try:
        while not stop.is_set():
            block = receiver.inbox.take(HOUSEKEEPING_S if online else ONLINE_S)
            if receiver.inbox.empty:
                caught_up = time.monotonic()
            if receiver.failure is not None:
                raise receiver.failure
            if block is not None:
                pipeline.take(block)
            else:
                pipeline.advance()
            if time.monotonic() >= next_look or receiver.connected is not online:
                online = receiver.connected
                pipeline.finish()
                worker.settle()
                worker.flush()
                receiver.answer(worker.replay())
                receiver.publish(worker.due())
                receiver.take_vendors(*worker.vendors)
                worker.show(_state(receiver, caught_up))
                next_look = time.monotonic() + HOUSEKEEPING_S
    finally:
        pipeline.close()


def _state(receiver: Receiver, caught_up: float) -> str:
    if not receiver.connected:
        return OFFLINE
    return BEHIND if time.monotonic() - caught_up > BEHIND_S else ""
