"""Readings without a number: of a moment each channel is stored once, in whatever messages."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import psycopg
import pytest

from domain.cold_chain.events import BOOT_UNSEQUENCED, ReadingConflict, boot_of_channels
from ingest.batch import Received
from ingest.worker import Worker
from projections import charts
from projections import readings as rows_and_events
from store.logs import Ledger, Telemetry
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import BASE, NOW_MS, message, said
from tests.ingest.sparkplug import metric, nbirth, sent

pytestmark = pytest.mark.database

CHANNELS = ("t1", "t2", "t3", "t4", "rh", "door", "mains", "bat")


def pack(device: str, **values: float) -> Received:
    """Return a SenML pack of the present moment."""
    records = [{"n": name, "bt": NOW_MS / 1000, "v": value} for name, value in values.items()]
    return message(f"{BASE}/tele/{device}", records)


def flat(device: str, **values: float | None) -> Received:
    return message(f"{BASE}/tele/{device}", {"ts": NOW_MS, **values})


def stored(database: Database, device: str) -> list[tuple[Any, ...]]:
    """Return (t1, rh, bat) of each row of a device."""
    return sorted(
        database.query(
            "SELECT t1, rh, bat FROM reading JOIN device_no USING (device_no) WHERE device_id = %s",
            device,
        ),
        key=str,
    )


def conflicts(telemetry: Telemetry, device: str) -> list[tuple[Any, Any]]:
    """Return what stands and what was refused, of each conflict of a device."""
    found = telemetry.read(0, 10_000, [ReadingConflict.TOPIC])
    events: list[Any] = [recorded.envelope.event for recorded in found]
    return [
        (json.loads(e.stored)["m"], json.loads(e.received)["m"])
        for e in events
        if e.device_id == device
    ]


def test_given_a_pack_a_channel_when_of_one_moment_then_both_kept_once_whatever_the_turn(
    worker: Worker, ledger: Ledger, database: Database, telemetry: Telemetry, clock: ManualClock
) -> None:
    for together in (True, False):
        for order in permutations(({"t1": 5.0}, {"rh": 61.0}, {"bat": 90.0})):
            device = field.new_device(ledger)
            packs = [pack(device, **values) for values in order]
            for messages in [packs] if together else [[each] for each in packs]:
                worker.take(messages)
            worker.take(packs)
            worker.close()  # what is kept of a device is found again in the log
            worker.start()
            told = said(worker.take(packs))
            assert [(each["n"], each["dup"]) for each in told] == [(0, 1)] * 3
            rows = stored(database, device)
            assert rows == [(5.0, None, None), (None, 61.0, None), (None, None, 90.0)]
            assert conflicts(telemetry, device) == []


def test_given_the_same_channel_with_another_value_when_taken_then_a_conflict_and_the_first_stands(
    worker: Worker, device: str, database: Database, telemetry: Telemetry
) -> None:
    worker.take([pack(device, t1=5.0), pack(device, rh=61.0)])
    told = said(worker.take([pack(device, t1=6.0), pack(device, rh=62.0, bat=90.0)]))
    assert [each["conflict"] for each in told] == [1, 1]
    assert stored(database, device) == [(5.0, None, None), (None, 61.0, None)]
    assert conflicts(telemetry, device) == [
        ({"t1": 5.0, "rh": 61.0}, {"t1": 6.0}),
        ({"t1": 5.0, "rh": 61.0}, {"rh": 62.0, "bat": 90.0}),
    ]


def test_given_channels_cut_otherwise_when_sent_again_then_only_what_is_new_is_stored(
    worker: Worker, device: str, database: Database, telemetry: Telemetry
) -> None:
    worker.take([pack(device, t1=5.0, rh=61.0)])
    again = [
        pack(device, t1=5.0),
        pack(device, t1=5.0, bat=90.0),
        pack(device, rh=61.0, bat=90.0, t1=5.0),
    ]
    assert [each["n"] for each in said(worker.take(again))] == [0, 1, 0]
    assert [each["n"] for each in said(worker.take(again))] == [0, 0, 0]
    assert stored(database, device) == [(5.0, 61.0, None), (None, None, 90.0)]
    assert conflicts(telemetry, device) == []


def test_given_channels_without_a_value_when_sent_again_then_stored_once(
    worker: Worker, device: str, database: Database, telemetry: Telemetry
) -> None:
    messages = [
        flat(device, temperature=5.0),  # a humidity that is not there is one without a value
        sent("DDATA", None, metric(name="bat", null=True, datatype=10), device=device),
        sent("DDATA", None, metric(5.0, name="t1"), device=device),
    ]
    for _ in range(2):
        worker.take(messages)
    rows = stored(database, device)
    assert rows == [(5.0, None, None), (None, None, None)]
    worker.take([sent("DDATA", None, metric(80.0, name="bat", datatype=10), device=device)])
    assert conflicts(telemetry, device) == [({"t1": 5.0}, {"bat": 80.0})]


def test_given_a_metric_a_message_when_of_one_moment_then_one_state_and_a_chart_without_holes(
    worker: Worker, device: str, database: Database, clock: ManualClock
) -> None:
    told = [
        sent("DDATA", None, metric(value, name=name, ts_ms=NOW_MS + n), device=device)
        for n in range(3)
        for name, value in (("t1", 5.0 + n), ("rh", 60.0 + n))
    ]
    worker.take([nbirth(0), *told])
    checked = rows_and_events.check(database.app_dsn)
    assert checked.live == checked.rebuilt
    with psycopg.connect(database.app_dsn) as conn:
        shown = charts.readings(
            conn,
            device_id=device,
            channel="t1",
            t0=clock.now(),
            t1=clock.advance(minutes=1),
            points=100,
        )
    assert (shown.v, shown.rows) == ([5.0, 6.0, 7.0], 3)


def test_given_each_channel_alone_when_it_has_no_number_then_a_boot_of_its_own() -> None:
    boots = {boot_of_channels([channel]) for channel in CHANNELS}
    assert len(boots) == len(CHANNELS)
    assert BOOT_UNSEQUENCED < min(boots) <= max(boots) < 2**23
    assert boot_of_channels(["t1", "rh"]) == boot_of_channels(["rh", "t1"]) == BOOT_UNSEQUENCED
