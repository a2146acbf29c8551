"""Readiness: what people rely on is looked at, each part on its own, on real servers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from domain.accounts.events import ApiKeyIssued
from ingest.lots import BEHIND, OFFLINE
from projections.runner import Runner
from runtime.broker import BrokerServer
from runtime.disk import DiskGuard
from runtime.health import BEHIND_SECONDS_MAX, SERVICES, Health
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.conftest import Database, ManualClock, free_port

pytestmark = [pytest.mark.database, pytest.mark.broker]


NOWHERE = Path("no-embedded-broker")


class _Running(ManualClock):
    stepped = False


@pytest.fixture
def clock() -> ManualClock:
    """Give a clock that a test moves and that passes for the machine's."""
    return _Running()


@contextmanager
def sessions(database: Database, *services: str) -> Iterator[None]:
    """Hold the database open as these services do."""
    with ExitStack() as held:
        for service in services:
            name = make_conninfo(database.app_dsn, application_name=f"vaxtrail {service}")
            held.enter_context(psycopg.connect(name))
        yield


def health(database: Database, url: str, clock: ManualClock) -> Health:
    return Health(database.app_dsn, url, DiskGuard([Path("/")], 0.0), clock, data=NOWHERE)


def test_given_everything_there_when_asked_then_ready(
    database: Database, broker: BrokerServer, clock: ManualClock
) -> None:
    with sessions(database, *SERVICES):
        looked = health(database, broker.server_url, clock)
        assert looked.problems() == {}
        assert looked.check().keys() == {"database", "broker", *SERVICES, "read_models", "disk"}


@pytest.mark.parametrize("missing", SERVICES)
def test_given_a_service_that_is_away_when_asked_then_it_alone_is_named(
    database: Database, broker: BrokerServer, clock: ManualClock, missing: str
) -> None:
    with sessions(database, *(name for name in SERVICES if name != missing)):
        found = health(database, broker.server_url, clock).problems()
    assert found.keys() == {missing}
    assert "未运行" in found[missing]


@pytest.mark.parametrize(
    ("worker", "state", "told"),
    [("ingest", OFFLINE, "未连上"), ("ingest-1", BEHIND, "积压")],
)
def test_given_a_worker_that_cannot_do_its_work_when_asked_then_told_why(
    database: Database, broker: BrokerServer, clock: ManualClock, worker: str, state: str, told: str
) -> None:
    names = {*SERVICES, "ingest-1"} - {worker}
    disk = DiskGuard([Path("/")], 0.0)
    looked = Health(database.app_dsn, broker.server_url, disk, clock, data=NOWHERE, workers=2)
    with sessions(database, *names, f"{worker} {state}"):
        found = looked.problems()
    assert found.keys() == {worker}
    assert told in found[worker]
    assert found[worker].isascii() is False
    with sessions(database, *names):
        assert looked.problems().keys() == {worker}, "as many workers as there should be"


def test_given_read_models_that_stand_still_when_asked_then_not_ready_after_a_while(
    database: Database, broker: BrokerServer, ledger: Ledger, clock: ManualClock
) -> None:
    runner = Runner(database.app_dsn)
    looked = health(database, broker.server_url, clock)
    stepped = health(database, broker.server_url, ManualClock(clock.now() + timedelta(days=1)))
    try:
        with sessions(database, *SERVICES):
            runner.follow_once()
            clock.advance(seconds=10 * BEHIND_SECONDS_MAX)
            assert looked.problems() == {}, "nothing to follow, however long"
            meta = Meta(occurred_at=clock.now(), recorded_at=clock.now())
            event = ApiKeyIssued(key_id="k", digest="", role="cdc", region_code="")
            ledger.append([Envelope(uuid4(), 1, event, meta)])
            clock.advance(seconds=BEHIND_SECONDS_MAX)
            assert looked.problems() == {}
            clock.advance(seconds=1)
            assert looked.problems().keys() == {"read_models"}
            assert looked.service_problems("project") == {}, "a restart would not help"
            assert stepped.problems() == {}
            runner.follow_once()
            assert looked.problems() == {}
    finally:
        runner.close()


def test_given_broker_that_refuses_the_login_when_asked_then_not_ready(
    database: Database, broker: BrokerServer, clock: ManualClock
) -> None:
    user, _, place = broker.server_url.rpartition("@")
    looked = health(database, f"{user}-wrong@{place}", clock)
    with sessions(database, *SERVICES):
        assert "拒绝登录" in looked.problems()["broker"]
        assert looked.service_problems("ingest").keys() == {"broker"}
        assert looked.service_problems("alert") == {}


def test_given_no_broker_or_a_silent_one_when_asked_then_not_ready_within_seconds(
    database: Database, clock: ManualClock
) -> None:
    with sessions(database, *SERVICES), socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mqtt://u:p@127.0.0.1:{silent.getsockname()[1]}"
        assert "无应答" in health(database, url, clock).problems()["broker"]
        url = f"mqtt://u:p@127.0.0.1:{free_port()}"
        assert "无法连接" in health(database, url, clock).problems()["broker"]


def test_given_no_database_when_asked_then_neither_it_nor_the_services_are_ready(
    broker: BrokerServer, clock: ManualClock
) -> None:
    nowhere = Database("none", f"postgresql://127.0.0.1:{free_port()}/none", "")
    found = health(nowhere, broker.server_url, clock).problems()
    assert found.keys() == {"database", *SERVICES, "read_models"}
