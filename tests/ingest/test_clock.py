"""Clocks of devices: sampled, told as they change, set."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from domain.alerting.watch import to_ms
from domain.cold_chain import clocks
from domain.cold_chain.events import ClockSkewCleared, ClockSkewDetected
from domain.shared.events import Event
from ingest.clock_rules import EVERY_MS, ClockRules
from ingest.commands import due_commands
from ingest.directory import Directory
from store.logs import Telemetry
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import BASE, NOW_MS

pytestmark = pytest.mark.database


class RunningClock(ManualClock):
    """A clock that a test moves and that counts as one that runs by itself."""

    stepped = False


@pytest.fixture
def conn(database: Database) -> Iterator[psycopg.Connection[object]]:
    with psycopg.connect(database.app_dsn, autocommit=True) as made:
        yield made


def speak(clocks_: ClockRules, device_id: str, behind_s: int, *, minute: int = 0) -> None:
    """Let a device send five live messages, a minute apart, from a minute on."""
    for n in range(clocks.SAMPLES):
        rx_ms = NOW_MS + (minute + n) * EVERY_MS
        clocks_.note(device_id, rx_ms, rx_ms - 1000 * behind_s)
        clocks_.note(device_id, rx_ms + 1, rx_ms - 999_999)  # within the minute: not looked at


def told(telemetry: Telemetry, after: int) -> list[Event]:
    topics = [ClockSkewDetected.TOPIC, ClockSkewCleared.TOPIC]
    return [recorded.envelope.event for recorded in telemetry.read(after, 100, topics)]


def test_given_a_clock_that_goes_wrong_when_looked_at_then_each_change_is_told_once(
    conn: psycopg.Connection[object], device: str, telemetry: Telemetry, database: Database
) -> None:
    before, clock = telemetry.last_position(), RunningClock()
    rules, directory = ClockRules(clock), Directory()
    directory.refresh(conn)
    speak(rules, device, 3)
    assert due_commands(conn, directory, [], rules, clock.now()) == []
    for minute, behind_s in ((5, 90), (10, 91), (15, -301), (20, 0)):
        now_ms = to_ms(clock.advance(minutes=5))
        speak(rules, device, behind_s, minute=minute)
        published = due_commands(conn, directory, [], rules, clock.now())
        assert len(published) == (behind_s in (90, -301))
        for message in published:
            assert (message.topic, message.qos) == (f"{BASE}/cmd/{device}", 0)
            body = json.loads(message.payload)
            assert (body["cmd"], body["server_ms"]) == ("time_sync", now_ms)
        assert due_commands(conn, directory, [], rules, clock.now()) == []
    assert told(telemetry, before) == [
        ClockSkewDetected(
            device_id=device,
            severity="minor",
            offset_ms=90_000,
            detected_ms=NOW_MS + 5 * EVERY_MS,
        ),
        ClockSkewDetected(
            device_id=device,
            severity="major",
            offset_ms=-301_000,
            detected_ms=NOW_MS + 15 * EVERY_MS,
        ),
        ClockSkewCleared(device_id=device, offset_ms=0, cleared_ms=NOW_MS + 20 * EVERY_MS),
    ]
    assert database.query(
        "SELECT severity, version FROM device_clock WHERE device_id = %s", device
    ) == [("", 3)]


def test_given_a_wrong_clock_when_ingest_starts_again_then_not_told_again_but_cleared(
    conn: psycopg.Connection[object], device: str, telemetry: Telemetry
) -> None:
    before, clock = telemetry.last_position(), RunningClock()
    for behind_s, n in ((400, 1), (401, 1), (0, 2)):
        rules = ClockRules(clock)
        speak(rules, device, behind_s)
        rules.due(conn, clock.now())
        assert len(told(telemetry, before)) == n


def test_given_a_clock_that_stays_wrong_when_it_speaks_on_then_set_again_every_ten_minutes(
    conn: psycopg.Connection[object], device: str, telemetry: Telemetry
) -> None:
    before, clock = telemetry.last_position(), RunningClock()
    asked = []
    for rules in (ClockRules(clock), ClockRules(clock)):  # ingest starts again
        for minute in range(30):
            rx_ms = to_ms(clock.advance(seconds=EVERY_MS / 1000))
            rules.note(device, rx_ms, rx_ms - 600_000)
            if rules.due(conn, clock.now()):
                asked.append(minute)
    assert asked == [4, 14, 24] * 2
    assert len(told(telemetry, before)) == 1


@pytest.mark.parametrize("ahead_ms", [6 * EVERY_MS, -NOW_MS])
def test_given_a_clock_so_wrong_that_its_readings_are_refused_when_it_speaks_then_told_and_set(
    device: str, telemetry: Telemetry, database: Database, ahead_ms: int
) -> None:
    before, clock = telemetry.last_position(), RunningClock()
    worker = field.started(database.app_dsn, clock)
    asked = []
    for n in range(clocks.SAMPLES):
        ts_ms = to_ms(clock.advance(minutes=1)) + ahead_ms
        body = {"v": 1, "boot": 1, "seq": n, "ts": ts_ms, "m": {"t1": 5.0}}
        worker.take([field.message(f"{BASE}/tele/{device}", body)])
        asked += worker.due()
    worker.close()
    assert [json.loads(each.payload)["cmd"] for each in asked] == ["time_sync"]
    (found,) = told(telemetry, before)
    assert isinstance(found, ClockSkewDetected)
    assert (found.device_id, found.severity) == (device, "major")
    kept = database.query("SELECT code FROM quarantine WHERE topic LIKE %s", f"%{device}")
    assert kept == [("clock",)] * clocks.SAMPLES


def test_given_few_messages_when_their_clock_is_wrong_then_not_judged_yet(
    conn: psycopg.Connection[object], device: str
) -> None:
    clock = RunningClock()
    rules = ClockRules(clock)
    for n in range(clocks.SAMPLES - 1):
        rules.note(device, NOW_MS + n * EVERY_MS, 0)
    assert rules.due(conn, clock.now()) == []


def test_given_a_stepped_clock_when_devices_speak_then_nothing_is_judged(
    conn: psycopg.Connection[object], device: str, clock: ManualClock
) -> None:
    rules = ClockRules(clock)
    speak(rules, device, 900)
    assert rules.due(conn, clock.now()) == []


def test_given_very_many_devices_when_sampled_then_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ingest.clock_rules.DEVICES_MAX", 3)
    rules = ClockRules(RunningClock())
    for n in range(10):
        rules.note(f"d{n}", NOW_MS, NOW_MS)
    assert len(rules._samples) <= 3
