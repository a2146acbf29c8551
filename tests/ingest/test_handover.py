"""Regions dealt anew, on the real broker and database: what sessions hold is stored, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event as StopEvent
from threading import Thread
from typing import Any

import pytest

from ingest.handover import Sessions, await_dealing, dealing
from ingest.lots import Lot, deal
from ingest.main import run
from runtime.broker import BrokerServer
from store.logs import Ledger
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import single
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
def working(database: Database, broker: BrokerServer, lots: Sequence[Lot]) -> Iterator[None]:
    """Run every worker in a thread, the handover before them."""
    stop, failures = StopEvent(), list[BaseException]()

    def work(lot: Lot) -> None:
        sessions = Sessions(broker.server_url, "handover-{}".format)
        where: dict[str, Any] = {"app_dsn": database.app_dsn, "stop": stop}
        clock = ManualClock()
        try:
            if await_dealing(lots, lot.worker, sessions, **where, clock=clock):
                run(
                    **where,
                    mqtt_url=broker.server_url,
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
        wait_until(lambda: recorded(database) == dealing(lots), 60.0)
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        assert not failures, failures


def recorded(database: Database) -> list[tuple[int, tuple[str, ...]]]:
    """Return worker and regions of each lot at work."""
    asked = "SELECT worker, regions FROM ingest_worker WHERE regions IS NOT NULL ORDER BY worker"
    return [(worker, tuple(regions)) for worker, regions in database.query(asked)]


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
        with working(database, own_broker, lots):
            if not sent:
                wait_for_session(own_broker.gateway_url, "first", database)
            publish(own_broker.gateway_url, [single(DEVICE, sent + n, 4.0) for n in range(each)])
            sent += each
            wait_until(lambda upto=sent: counted(database, DEVICE) == (upto, upto))  # type: ignore[misc]
        # Nobody is there: the sessions keep it.
        publish(own_broker.gateway_url, [single(DEVICE, sent + n, 4.0) for n in range(each)])
        sent += each
    with working(database, own_broker, deal((), 1)):
        wait_until(lambda: counted(database, DEVICE) == (sent, sent))
    marks = "SELECT count(*) FROM quarantine WHERE topic NOT LIKE '%%/tele/nobody'"
    assert database.query(marks) == [(0,)]
