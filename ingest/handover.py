"""From one dealing of regions to another, with nothing lost and no device in two hands.

The same brings a worker from one session to two (lots.py). The sessions of the workers before hold
subscriptions that are no longer theirs, and messages that the broker has acknowledged. So while no
worker is at work, one process opens the sessions of all, those before and those to come:

1. each subscribes to what it will take: from here on no message goes past the new sessions;
2. a mark is published on every subscription. A session that has its marks back has given
   everything that came before them, and what comes later is in a new session as well;
3. all that the sessions give is stored, by one worker, until every mark is back and messages that
   the broker sends again have come: those given to a connection before this one, and those that a
   full session could not be given;
4. old subscriptions and the sessions of workers that are no more are ended, and the new dealing is
   recorded. Only then do the workers begin.

Killed at any moment it begins again. A message that two sessions give is stored once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event as StopEvent
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import paho.mqtt.client as mqtt
import psycopg
import structlog
from paho.mqtt.enums import CallbackAPIVersion

from domain.shared.clock import Clock
from ingest.answers import Answer
from ingest.batch import Received
from ingest.inbox import Block
from ingest.lots import Lot
from ingest.mqtt import CONNECT_TIMEOUT_S, KEEPALIVE_S, Receiver, identify, port_of
from ingest.topics import mark
from ingest.worker import Worker
from store.sql import load_queries

# A message given and not acknowledged comes again after this: the brokers' `ack_wait`, and more.
REDELIVERED_S = 5.0 + 5.0
SILENT_S = 20.0  # after which a mark will not come back
STEP_S = 15.0  # for the broker to do one thing
MARK = b"vaxtrail handover "
RETRY_S = 0.2
TAKE_S = 0.02

queries = load_queries(Path(__file__).with_suffix(".sql"))
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sessions:
    """Where the broker is, and under which client id it keeps a worker's first session."""

    mqtt_url: str
    client_id: Callable[[int], str]


def await_dealing(
    lots: Sequence[Lot],
    worker: int,
    sessions: Sessions,
    *,
    app_dsn: str,
    clock: Clock,
    stop: StopEvent,
) -> bool:
    """Wait until the regions are dealt like this; False when `stop` is set before.

    Worker 0 sees to it, however long servers are away. SubscriptionRefused by the broker.
    """
    while not stop.is_set():
        try:
            if _recorded_at(app_dsn) == list(lots):
                return True
            if worker == 0:
                hand_over(lots, sessions, app_dsn, clock, stop)
        except Exception as error:
            if stop.is_set():
                break  # that is why
            if not isinstance(error, OSError | psycopg.OperationalError):
                raise
            log.warning("handover_waits", error=str(error).strip())
        stop.wait(RETRY_S)
    return False


def hand_over(
    lots: Sequence[Lot], sessions: Sessions, app_dsn: str, clock: Clock, stop: StopEvent
) -> None:
    """Bring sessions and records to these lots.

    OSError or psycopg.Error when a server is away, and any when `stop` is set: then it is to be
    begun again. SubscriptionRefused when the broker does not grant old and new ones together.
    """
    with psycopg.connect(app_dsn, autocommit=True) as conn:
        before = _recorded(conn)
        if not before:
            ((stored,),) = conn.execute(queries.anything_stored).fetchall()
            # Before lots were recorded one worker took everything.
            before = [Lot(apart=False)] if stored else []
        last = max(lot.worker for lot in [*before, *lots])
        while conn.execute(queries.own_all, (last,)).fetchall()[0][0] is False:
            _wait(stop, RETRY_S)
        if before:
            log.info("handover_started", before=_told(before), after=_told(lots))
            conn.execute(queries.gather)
            all_alone = Worker(app_dsn, clock, stop)
            try:
                all_alone.start()
                _drain(sessions.mqtt_url, all_alone, _sessions(before, lots, sessions), clock, stop)
            finally:
                all_alone.close()
        with conn.transaction():
            for lot in lots:
                conn.execute(queries.record, {**asdict(lot), "regions": list(lot.regions)})
            conn.execute(queries.retire, (lots[-1].worker,))
        log.info("regions_dealt", lots=_told(lots))


def _told(lots: Sequence[Lot]) -> list[dict[str, Any]]:
    return [asdict(lot) for lot in lots]


def _recorded_at(app_dsn: str) -> list[Lot]:
    with psycopg.connect(app_dsn, autocommit=True) as conn:
        return _recorded(conn)


def _recorded(conn: psycopg.Connection[Any]) -> list[Lot]:
    found = conn.execute(queries.recorded).fetchall()
    return [Lot(worker, tuple(regions), apart) for worker, regions, apart in found]


class _Silent(ConnectionError):
    """Sessions do not give what was published for them."""

    def __init__(self, sessions: list[_Session]) -> None:
        super().__init__("会话收不到消息 / sessions are silent")
        self.sessions = sessions


class _Taker(Receiver):
    """A receiver that tells when the broker has granted its subscriptions."""

    subscribed = False

    def _on_subscribe(self, *granted: Any) -> None:
        super()._on_subscribe(*granted)
        self.subscribed = True


class _Session:
    """One session at the broker: what it is subscribed to before and after."""

    def __init__(self, client_id: str, before: Sequence[str], after: Sequence[str]) -> None:
        self.client_id = client_id
        self.new = not before
        self.after = list(after)
        self.stale = [text for text in before if text not in after]
        self.filters = self.stale + self.after
        self.awaited: set[str] = set()  # topics of the marks that have not come back
        self.heard = 0.0  # when it last gave something


def _sessions(before: Sequence[Lot], after: Sequence[Lot], sessions: Sessions) -> list[_Session]:
    old, new = (
        {
            name: texts
            for lot in lots
            for name, texts in lot.sessions(sessions.client_id(lot.worker)).items()
        }
        for lots in (before, after)
    )
    return [_Session(name, old.get(name, ()), new.get(name, ())) for name in {**old, **new}]


def _drain(
    mqtt_url: str, worker: Worker, sessions: list[_Session], clock: Clock, stop: StopEvent
) -> None:
    """Store all that the sessions hold, then end what is no longer theirs."""
    try:
        _store_all(mqtt_url, worker, sessions, clock, stop)
    except _Silent as silent:
        for session in silent.sessions:
            if session.new:  # a broker that was killed may have kept half of an ended session
                with _connected(mqtt_url, session.client_id, clean=True):
                    log.warning("session_silent")
        raise
    for session in sessions:
        if session.stale:
            with _connected(mqtt_url, session.client_id) as client:
                _unsubscribe(client, session.stale)
        if not session.after:
            with _connected(mqtt_url, session.client_id, clean=True):
                log.info("session_ended")


def _store_all(
    mqtt_url: str, worker: Worker, sessions: list[_Session], clock: Clock, stop: StopEvent
) -> None:
    """Store what the sessions give, up to their marks and what comes again."""
    nonce = uuid4().hex
    receivers = [
        _Taker(
            mqtt_url,
            client_id=one.client_id,
            filters=one.filters,
            may_read=lambda: True,
            clock=clock,
        )
        for one in sessions
    ]
    for receiver in receivers:
        receiver.start()
    until = 0.0
    try:
        while nonce or time.monotonic() < until:
            _wait(stop, 0.0)
            if nonce and all(receiver.subscribed for receiver in receivers):
                _publish_marks(mqtt_url, sessions, nonce)
                nonce = ""
            if any(one.awaited for one in sessions):
                until = time.monotonic() + REDELIVERED_S
            for session, receiver in zip(sessions, receivers, strict=True):
                _store_some(session, receiver, worker)
            worker.settle()
            _check_heard(sessions)
    finally:
        for receiver in receivers:
            receiver.stop()


def _store_some(session: _Session, receiver: Receiver, worker: Worker) -> None:
    if receiver.failure is not None:
        raise receiver.failure
    block = receiver.inbox.take(TAKE_S)
    if block is not None:
        session.heard = time.monotonic()
        marks, received = _parted(session, block)
        receiver.answer([Answer(block.connection, marks), *worker.take(received)])


def _check_heard(sessions: list[_Session]) -> None:
    since = time.monotonic() - SILENT_S
    silent = [session for session in sessions if session.awaited and session.heard < since]
    if silent:
        raise _Silent(silent)


def _publish_marks(mqtt_url: str, sessions: list[_Session], nonce: str) -> None:
    """Publish a mark for every subscription; from then on each session waits for its own."""
    marks = {text: mark(text, nonce) for session in sessions for text in session.filters}
    for session in sessions:
        session.awaited = {marks[text] for text in session.filters}
        session.heard = time.monotonic()
    with _connected(mqtt_url, "") as client:
        for topic in marks.values():
            client.publish(topic, MARK + nonce.encode(), qos=1).wait_for_publish(STEP_S)


def _parted(session: _Session, block: Block) -> tuple[list[bytes], list[Received]]:
    """Return the packet ids of the marks, which are ticked off, and all other messages."""
    marks, received = [], []
    for topic, payload, mid in block.packets:
        text = topic.decode(errors="replace")
        if payload.startswith(MARK):
            session.awaited.discard(text)
            marks.append(mid)
        else:
            received.append(Received(text, payload, block.connection, mid))
    return marks, received


def _wait(stop: StopEvent, seconds: float) -> None:
    if stop.wait(seconds):
        raise InterruptedError("stopped")


@contextmanager
def _connected(mqtt_url: str, client_id: str, *, clean: bool = False) -> Iterator[mqtt.Client]:
    """Give a connection that acknowledges nothing; ConnectionError when there is none.

    Without a name, or `clean`, no session stays behind.
    """
    parts = urlsplit(mqtt_url)
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=clean or not client_id,
        protocol=mqtt.MQTTv311,
        manual_ack=True,
    )
    client.connect_timeout = CONNECT_TIMEOUT_S
    identify(client, parts)
    client.connect(parts.hostname or "127.0.0.1", port_of(parts), KEEPALIVE_S)
    client.loop_start()
    try:
        _await(client.is_connected)
        yield client
        client.disconnect()
    finally:
        client.loop_stop()


def _unsubscribe(client: mqtt.Client, texts: Sequence[str]) -> None:
    done: list[int] = []
    client.on_unsubscribe = lambda _client, _data, mid, *_: done.append(mid)
    client.unsubscribe(list(texts))
    _await(lambda: bool(done))


def _await(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + STEP_S
    while not done():
        if time.monotonic() > deadline:
            raise ConnectionError("代理无应答 / the broker does not answer")
        time.sleep(0.01)
