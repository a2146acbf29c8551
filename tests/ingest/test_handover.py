"""Regions dealt anew, on the real broker and database: what sessions hold is stored, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event as StopEvent
from threading import Thread
from typing import Any

import pytest

from ingest.batch import Received
from ingest.handover import Sessions, await_dealing
from ingest.lots import Lot, deal
from ingest.main import run
from ingest.topics import filters
from runtime.broker import BrokerServer
from store.logs import Ledger
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import single
from tests.ingest.test_backlog import comes_again_s, session, urls
from tests.ingest.test_broker import counted, publish, wait_for_session, wait_until

pytestmark = [pytest.mark.database, pytest.mark.broker, pytest.mark.timeout(200)]

OTHER = "640205"
DEVICE = "d-handed-over"


@pytest.fixture
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """Start a broker whose sessions are this test's own."""
    server = BrokerServer(
        tmp_path_factory.mktemp("handover"), sync="interval", filters=20, shared=True
    )
    server.start()
    yield server
    server.stop()


@contextmanager
def working(
    database: Database, url: str, lots: Sequence[Lot], name: str = "handover"
) -> Iterator[StopEvent]:
    """Run every worker in a thread, the handover before them; they end when the event is set."""
    stop, failures = StopEvent(), list[BaseException]()

    def work(lot: Lot) -> None:
        sessions = Sessions(url, f"{name}-{{}}".format)
        where: dict[str, Any] = {"app_dsn": database.app_dsn, "stop": stop}
        clock = ManualClock()
        try:
            if await_dealing(lots, lot.worker, sessions, **where, clock=clock):
                run(
                    **where,
                    mqtt_url=url,
                    regions=lot.regions,
                    worker=lot.worker,
                    client_id=sessions.client_id(lot.worker),
                    clock=clock,
                )
        except BaseException as error:
            failures.append(error)
            raise

    threads = [Thread(target=work, args=(lot,)) for lot in lots]
    for thread in threads:
        thread.start()
    try:
        yield stop
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        assert not failures, failures


def recorded(database: Database) -> list[Lot]:
    """Return each lot at work."""
    asked = (
        "SELECT worker, regions, backfill_apart FROM ingest_worker"
        " WHERE regions IS NOT NULL ORDER BY worker"
    )
    return [Lot(worker, tuple(regions), apart) for worker, regions, apart in database.query(asked)]


def test_given_messages_in_old_sessions_when_dealt_anew_then_each_is_stored_once(
    database: Database,
    ledger: Ledger,
    own_broker: BrokerServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Every worker here ends with all it took acknowledged, so nothing comes again.
    monkeypatch.setattr("ingest.handover.REDELIVERED_S", 1.0)
    field.register(ledger)
    field.register(ledger, DEVICE)
    regions, each, sent = (OTHER, field.REGION), 40, 0
    for lots in (deal((), 1), deal(regions, 2), deal(regions, 1), deal(regions, 2), deal((), 1)):
        with working(database, own_broker.server_url, lots):
            wait_until(lambda lots=lots: recorded(database) == list(lots), 60.0)  # type: ignore[misc]
            if not sent:
                wait_for_session(own_broker.gateway_url, "first", database)
            publish(own_broker.gateway_url, [single(DEVICE, sent + n, 4.0) for n in range(each)])
            sent += each
            wait_until(lambda upto=sent: counted(database, DEVICE) == (upto, upto))  # type: ignore[misc]
        # Nobody is there: the sessions keep it.
        publish(own_broker.gateway_url, [single(DEVICE, sent + n, 4.0) for n in range(each)])
        sent += each
    with working(database, own_broker.server_url, deal((), 1)):
        wait_until(lambda: counted(database, DEVICE) == (sent, sent))
    marks = "SELECT count(*) FROM quarantine WHERE topic NOT LIKE '%%/tele/nobody'"
    assert database.query(marks) == [(0,)]


def sent_again(device: str, seq: int) -> Received:
    """Return a reading as a device sends it from its memory."""
    live = single(device, seq, 4.0)
    return Received(live.topic.replace("/tele/", "/backfill/"), live.payload)


@pytest.mark.parametrize("kind", ["embedded", "mosquitto"])
def test_given_one_session_with_messages_when_brought_to_two_and_stopped_then_each_is_stored_once(
    database: Database,
    ledger: Ledger,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setattr("ingest.handover.REDELIVERED_S", comes_again_s(kind))
    server, gateway = urls(request, kind)
    name, device = f"upgrade-{kind}", f"d-{kind}"
    field.register(ledger)
    field.register(ledger, device)
    lots, each = deal((), 1), 300

    def publish_both(first: int) -> None:
        publish(gateway, [single(device, first + n, 4.0) for n in range(each)])
        publish(gateway, [sent_again(device, first + each + n) for n in range(each)])

    with session(server, f"{name}-0", filters(())) as old:
        wait_until(lambda: old.connected)
        publish_both(0)
        wait_until(lambda: old.inbox.take(0.1) is not None)  # what it was given comes again
    publish_both(2 * each)
    database.query("UPDATE ingest_worker SET regions = NULL WHERE worker > 0")
    database.query(
        "UPDATE ingest_worker SET regions = '{}', backfill_apart = false WHERE worker = 0"
    )
    with working(database, server, lots, name) as stop:
        wait_until(lambda: counted(database, device)[0] > 0)
        stop.set()
    assert recorded(database) == [Lot(apart=False)]
    publish_both(4 * each)
    with working(database, server, lots, name):
        wait_until(lambda: recorded(database) == list(lots), 60.0)
        wait_until(lambda: counted(database, device) == (6 * each, 6 * each))
    publish(gateway, [sent_again(device, 6 * each)])
    with session(server, f"{name}-0", ()) as live:
        assert live.inbox.take(1.0) is None
    with working(database, server, lots, name):
        wait_until(lambda: counted(database, device)[0] == 6 * each + 1)
