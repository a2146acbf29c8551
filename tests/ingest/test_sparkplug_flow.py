"""Sparkplug B on a real database: sessions over restarts, aliases, deaths, births asked for."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

import pytest

from domain.cold_chain.events import (
    DeviceReported,
    GatewayReported,
    MetricsDeclared,
    ReadingsRecorded,
)
from domain.shared.events import Event
from ingest.batch import Received
from ingest.sparkplug_payload import Metric, parse
from ingest.wire import READINGS_MAX, TS_MS_MIN
from ingest.worker import Worker
from store.logs import Ledger, Telemetry
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import GATEWAY, NOW_MS
from tests.ingest.sparkplug import DOUBLE, SITE_ROOT, metric, nbirth, ndeath, sent, session

pytestmark = pytest.mark.database


def rows(database: Database, device: str) -> list[tuple[Any, ...]]:
    """Return (milliseconds before now, backfill, t1, rh) of a device's rows, in order."""
    found = database.query(
        "SELECT seq, backfill, t1, rh FROM reading JOIN device_no USING (device_no)"
        " WHERE device_id = %s ORDER BY seq, backfill",
        device,
    )
    return [(NOW_MS - TS_MS_MIN - seq, *values) for seq, *values in found]


def events(telemetry: Telemetry, after: int, *kinds: type[Event]) -> list[Any]:
    topics = [kind.TOPIC for kind in kinds]
    return [recorded.envelope.event for recorded in telemetry.read(after, 1000, topics)]


def codes(database: Database, device: str) -> list[str]:
    found = database.query(
        "SELECT code FROM quarantine WHERE topic LIKE %s AND state = 'open'", f"%/{device}"
    )
    return [code for (code,) in found]


def asked(worker: Worker) -> list[tuple[str, bytes]]:
    """Return what gateways are asked, and forget it."""
    return worker._directory.nodes.due()


def test_given_a_session_when_data_come_by_alias_then_rows_known_by_their_time(
    worker: Worker, device: str, database: Database, telemetry: Telemetry
) -> None:
    before = telemetry.last_position()
    data = [
        metric(4.5, alias=1, ts_ms=NOW_MS + 1000),
        metric(60, alias=2, ts_ms=NOW_MS + 1000),
        metric(4.6, alias=1, ts_ms=NOW_MS + 2000),
        metric(alias=1, ts_ms=NOW_MS + 3000, null=True),
        metric(float("nan"), alias=1, ts_ms=NOW_MS + 3500),
        metric("X2", alias=3),
        metric(9.0, alias=1, ts_ms=NOW_MS + 4000, transient=True),
    ]
    worker.take([*session(device), sent("DDATA", 2, *data, device=device)])
    assert rows(database, device) == [
        (0, False, 5.0, 61.0),
        (-1000, False, 4.5, 60.0),
        (-2000, False, 4.6, None),
        (-3000, False, None, None),
        (-3500, False, None, None),
    ]
    assert asked(worker) == []
    born, device_born = events(telemetry, before, MetricsDeclared)
    assert (born.bd_seq, born.device_id, born.session_ms) == (0, "", NOW_MS - 1000)
    assert (device_born.device_id, device_born.session_ms) == (device, NOW_MS - 1000)
    assert device_born.names == ("t1", "rh", "Properties/Model")
    (online,) = events(telemetry, before, GatewayReported)
    assert (online.gateway_id, online.online) == (GATEWAY, True)


def test_given_messages_sent_twice_when_taken_then_each_reading_is_stored_once(
    worker: Worker, device: str, database: Database, telemetry: Telemetry
) -> None:
    messages = [
        *session(device),
        sent("DDATA", 2, metric(4.5, alias=1, ts_ms=NOW_MS + 1), device=device),
    ]
    before = telemetry.last_position()
    worker.take([*messages, *messages])
    worker.take(messages)
    births = events(telemetry, before, MetricsDeclared)
    assert len([born for born in births if born.device_id == device]) == 1
    assert [row[0] for row in rows(database, device)] == [0, -1]
    assert codes(database, device) == []


def test_given_ingest_started_again_when_data_come_by_alias_then_births_are_remembered(
    worker: Worker, device: str, database: Database, clock: ManualClock
) -> None:
    worker.take(session(device))
    worker.close()
    again = field.started(database.app_dsn, clock)
    late = gzip.compress(sent("DDATA", 2, metric(4.5, alias=1, ts_ms=NOW_MS + 1)).payload)
    again.take([Received(f"{SITE_ROOT}/DDATA/{GATEWAY}/{device}", late)])
    assert [row[2] for row in rows(database, device)] == [5.0, 4.5]
    ((topic, _),) = asked(again)  # a birth may have been missed meanwhile
    assert topic == f"{SITE_ROOT}/NCMD/{GATEWAY}"
    again.close()


def test_given_a_dead_session_when_ingest_starts_again_then_its_births_hold_no_longer(
    worker: Worker, device: str, database: Database, clock: ManualClock
) -> None:
    worker.take([*session(device), ndeath(0)])
    worker.close()
    again = field.started(database.app_dsn, clock)
    again.take([sent("DDATA", 2, metric(4.5, alias=1, ts_ms=NOW_MS + 1), device=device)])
    assert codes(database, device) == ["unknown_alias"]
    again.close()


def test_given_a_new_session_when_a_device_is_not_born_in_it_then_old_aliases_do_not_hold(
    worker: Worker, device: str, database: Database, clock: ManualClock
) -> None:
    worker.take([*session(device), nbirth(1, ts_ms=NOW_MS)])
    data = sent("DDATA", 1, metric(4.5, alias=1, ts_ms=NOW_MS + 1), device=device)
    worker.take([data])
    worker.close()
    again = field.started(database.app_dsn, clock)
    again.take([replace(data, payload=data.payload + b"\x22\x00")])
    assert codes(database, device) == ["unknown_alias", "unknown_alias"]
    again.close()


def test_given_an_unknown_alias_when_born_and_played_again_then_stored(
    worker: Worker, device: str, database: Database
) -> None:
    worker.take(
        [nbirth(0), sent("DDATA", 1, metric(4.5, alias=1, ts_ms=NOW_MS + 1), device=device)]
    )
    assert codes(database, device) == ["unknown_alias"]
    ((topic, payload),) = asked(worker)
    assert topic == f"{SITE_ROOT}/NCMD/{GATEWAY}"
    assert parse(payload).metrics[0].name == "Node Control/Rebirth"
    worker.take(session(device))
    # In a later session the alias means something else.
    swapped = [
        metric(50, name="rh", alias=1, datatype=3),
        metric(5.0, name="t1", alias=2, datatype=DOUBLE),
    ]
    worker.take([nbirth(1), sent("DBIRTH", 1, *swapped, device=device, ts_ms=NOW_MS + 200_000)])
    database.query(
        "UPDATE quarantine SET state = 'replay', actor_id = 'k1' WHERE topic LIKE %s", f"%{device}"
    )
    worker.replay()
    assert codes(database, device) == []
    assert (-1, False, 4.5, None) in rows(database, device)
    assert asked(worker) == []


def test_given_a_lost_message_when_the_next_comes_then_the_gateway_is_asked_once_a_minute(
    worker: Worker, device: str, clock: ManualClock
) -> None:
    worker.take([*session(device), sent("NDATA", 2), sent("NDATA", 3)])
    assert asked(worker) == []
    worker.take([sent("NDATA", 5), sent("NDATA", 9)])
    assert len(asked(worker)) == 1
    clock.advance(minutes=1)
    worker.take([sent("NDATA", 11)])
    assert len(asked(worker)) == 1
    worker.take(
        [nbirth(0, 40), sent("NDATA", 41), sent("NCMD", None), sent("DCMD", None, device=device)]
    )
    assert asked(worker) == []


def test_given_a_failed_commit_when_all_is_read_again_then_nobody_is_asked_for_it(
    worker: Worker, device: str, database: Database
) -> None:
    first = sent("DDATA", 2, metric(4.5, alias=1, ts_ms=NOW_MS + 1), device=device)
    second = sent("DDATA", 3, metric(4.6, alias=1, ts_ms=NOW_MS + 2), device=device)
    worker.take([*session(device), first, second])
    worker._directory.nodes.forget()
    worker.take([first, second])
    assert [row[2] for row in rows(database, device)] == [5.0, 4.5, 4.6]
    assert asked(worker) == []


def test_given_readings_of_the_past_when_they_come_then_marked_as_such(
    worker: Worker, device: str, database: Database
) -> None:
    worker.take(session(device))
    data = [
        metric(float(n % 5), alias=1, ts_ms=NOW_MS - 60_000 * (n + 1), historical=True)
        for n in range(READINGS_MAX + 1)
    ]
    worker.take([sent("DDATA", 2, *data, metric(4.0, alias=1, ts_ms=NOW_MS + 1), device=device)])
    found = rows(database, device)
    assert len(found) == READINGS_MAX + 3
    assert [row[0] for row in found if not row[1]] == [0, -1]


def test_given_a_gateway_that_is_a_device_when_it_sends_then_its_own_readings(
    worker: Worker, ledger: Ledger, database: Database, telemetry: Telemetry
) -> None:
    worker.take([nbirth(3, 0, metric(4.0, name="t1", alias=1, datatype=DOUBLE))])
    field.register(ledger, GATEWAY)
    before = telemetry.last_position()
    worker.take(
        [
            nbirth(4, 0, metric(4.0, name="t1", alias=1, datatype=DOUBLE)),
            sent("NDATA", 1, metric(4.1, alias=1, ts_ms=NOW_MS + 1)),
        ]
    )
    assert [row[2] for row in rows(database, GATEWAY)] == [4.0, 4.1]
    assert len(events(telemetry, before, GatewayReported)) == 1
    assert len(events(telemetry, before, ReadingsRecorded)) == 2


def test_given_deaths_when_they_come_then_only_that_of_the_present_session_counts(
    worker: Worker, device: str, database: Database, telemetry: Telemetry
) -> None:
    before = telemetry.last_position()
    worker.take([*session(device, 7), ndeath(6), ndeath(8)])
    assert [e.online for e in events(telemetry, before, GatewayReported)] == [True]
    worker.take([sent("DDEATH", 2, device=device), ndeath(7), ndeath(7)])
    assert [e.online for e in events(telemetry, before, GatewayReported)] == [True, False]
    assert [e.kind for e in events(telemetry, before, DeviceReported)] == ["DDEATH"]
    worker.take([sent("DDATA", 3, metric(4.5, alias=1), device=device)])
    assert codes(database, device) == ["unknown_alias"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (sent("DDATA", 0, device="nobody"), "unknown_device"),
        (Received(f"{SITE_ROOT}/NDATA/nowhere", b""), "unknown_device"),
        (Received(f"spBv1.0/640205/NDATA/{GATEWAY}", b""), "acl"),
        (Received(f"spBv1.0/group/NDATA/{GATEWAY}", b""), "schema"),
        (sent("NBIRTH", 0), "schema"),
        (sent("NBIRTH", 0, metric(5, name="bdSeq"), metric(5, alias=1)), "schema"),
        (nbirth(0, ts_ms=NOW_MS + 301_000), "clock"),
        (sent("NDEATH", None), "schema"),
        (Received(f"{SITE_ROOT}/NDATA/{GATEWAY}", b"\xff"), "schema"),
    ],
)
def test_given_a_fault_when_taken_then_kept_with_its_reason(
    worker: Worker, database: Database, message: Received, code: str
) -> None:
    worker.take([message])
    found = database.query(
        "SELECT code FROM quarantine WHERE topic = %s AND payload = %s",
        message.topic,
        message.payload,
    )
    assert found == [(code,)]


@pytest.mark.parametrize(
    ("metrics", "code"),
    [
        ([metric(201.0, name="t1")], "schema"),
        ([metric(4.0, name="t1"), metric(4.1, name="Temperature")], "schema"),
        ([metric(4.0, name="t1", datatype=99)], "schema"),
        ([metric(name="t1", datatype=DOUBLE)], "schema"),
        ([metric(4.0, name="t1", ts_ms=NOW_MS + 301_000)], "clock"),
    ],
)
def test_given_a_value_that_cannot_be_when_taken_then_the_message_is_kept(
    worker: Worker, device: str, database: Database, metrics: list[Metric], code: str
) -> None:
    worker.take([sent("DDATA", 0, *metrics, device=device)])
    assert codes(database, device) == [code]
    assert rows(database, device) == []
