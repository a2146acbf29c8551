"""Batches on the real database: stored once, refused with a reason, played again, judged."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from domain.alerting.events import AlertFired
from domain.cold_chain.events import (
    DeviceReported,
    GatewayReported,
    MessageQuarantined,
    QuarantineResolved,
    ReadingConflict,
    ReadingsRecorded,
)
from domain.cold_chain.model import device_stream
from domain.shared.events import Event
from ingest.batch import Received
from ingest.link import AlreadyRunning
from ingest.worker import Worker
from projections import alerting
from projections.runner import Runner
from runtime.postgres import PostgresServer
from store.logs import Ledger, Telemetry
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import BASE, NOW_MS, batch_of, code, message, said, scan, single, told

pytestmark = pytest.mark.database


def stored(database: Database, device_id: str) -> list[tuple[int, int, float | None]]:
    """Return (boot, seq, t1) of a device's rows, in order."""
    return [
        (boot, seq, t1)
        for boot, seq, t1 in database.query(
            "SELECT boot, seq, t1 FROM reading JOIN device_no USING (device_no)"
            " WHERE device_id = %s ORDER BY boot, seq",
            device_id,
        )
    ]


def events_of(telemetry: Telemetry, after: int, *kinds: type[Event]) -> list[Event]:
    """Return the events of these kinds after a position."""
    topics = [kind.TOPIC for kind in kinds]
    return [recorded.envelope.event for recorded in telemetry.read(after, 1000, topics)]


def test_given_a_message_when_taken_then_row_event_state_and_ack_agree(
    worker: Worker, device: str, database: Database, telemetry: Telemetry
) -> None:
    before = telemetry.last_position()
    answers = worker.take([batch_of(device, 5, [4.0, None, 4.2])])
    assert said(answers) == [{"v": 1, "boot": 1, "seq": 7, "n": 3, "dup": 0}]
    assert told(answers)[0][0] == f"{BASE}/ack/{device}"
    assert stored(database, device) == [(1, 5, 4.0), (1, 6, None), (1, 7, 4.2)]
    (event,) = events_of(telemetry, before, ReadingsRecorded)
    assert isinstance(event, ReadingsRecorded)
    assert (event.device_id, event.boot, event.seq) == (device, 1, 5)
    assert event.columns == {"t1": (4.0, None, 4.2)}
    ((latest, region),) = database.query(
        "SELECT t1, region_code FROM device_state JOIN device_no USING (device_no)"
        " WHERE device_id = %s",
        device,
    )
    assert (latest, region) == (4.2, field.REGION)
    ((telemetry_id,),) = database.query(
        "SELECT telemetry_id FROM batches WHERE batch = (SELECT max(batch) FROM reading)"
    )
    assert telemetry_id == telemetry.last_position()


def test_given_stored_readings_when_cut_anew_then_only_new_ones_are_stored(
    worker: Worker, device: str, database: Database
) -> None:
    values = [4.0 + n / 10 for n in range(20)]
    worker.take([batch_of(device, 3, values[3:6]), batch_of(device, 12, values[12:15])])
    answers = worker.take([batch_of(device, 0, values[:10]), batch_of(device, 5, values[5:])])
    assert [(a["n"], a["dup"]) for a in said(answers)] == [(7, 3), (7, 8)]
    assert stored(database, device) == [(1, seq, values[seq]) for seq in range(20)]


def test_given_a_stored_message_when_redelivered_to_a_new_process_then_nothing_changes(
    worker: Worker, device: str, database: Database, telemetry: Telemetry, clock: ManualClock
) -> None:
    sent = [batch_of(device, 0, [4.0, 4.1]), batch_of(device, 0, [4.0, 4.1], boot=2)]
    worker.take(sent)
    before = telemetry.last_position()
    worker.close()
    again = field.started(database.app_dsn, clock)
    assert [a["dup"] for a in said(again.take(sent))] == [2, 2]
    again.close()
    assert telemetry.last_position() == before
    assert len(stored(database, device)) == 4


def test_given_a_reading_when_it_comes_with_another_value_then_the_first_stands(
    worker: Worker, device: str, database: Database, telemetry: Telemetry
) -> None:
    before = telemetry.last_position()
    worker.take([batch_of(device, 0, [4.0, 4.1])])
    for _ in range(2):
        (ack,) = said(worker.take([batch_of(device, 0, [4.0, 7.7])]))
        assert (ack["n"], ack["dup"], ack["conflict"]) == (0, 1, 1)
    assert stored(database, device) == [(1, 0, 4.0), (1, 1, 4.1)]
    (conflict,) = events_of(telemetry, before, ReadingConflict)
    assert isinstance(conflict, ReadingConflict)
    assert json.loads(conflict.stored)["m"] == {"t1": 4.1}
    assert json.loads(conflict.received)["m"] == {"t1": 7.7}


def test_given_a_device_without_numbers_when_it_repeats_itself_then_times_tell(
    worker: Worker, device: str, database: Database, telemetry: Telemetry
) -> None:
    before = telemetry.last_position()

    def flat(*rows: tuple[int, float]) -> Received:
        body = [{"ts": NOW_MS + minute * 60_000, "temperature": t} for minute, t in rows]
        return message(f"{BASE}/tele/{device}", body)

    first = worker.take([flat((-9, 4.0), (-7, 4.2)), flat((-7, 4.2), (-6, 4.3))])
    second = worker.take([flat((-8, 4.1), (-7, 4.2), (-6, 9.9), (-5, 4.4))])
    assert [(a["n"], a["dup"], a.get("conflict")) for a in said(first + second)] == [
        (2, 0, None),
        (1, 1, None),
        (2, 1, 1),
    ]
    assert [t1 for _, _, t1 in stored(database, device)] == [4.0, 4.1, 4.2, 4.3, 4.4]
    assert len(events_of(telemetry, before, ReadingConflict)) == 1


def _bad(device: str) -> dict[str, tuple[Received, str]]:
    topic, event = f"{BASE}/tele/{device}", f"{BASE}/event/{device}"
    good = single(device, 0, 4.0)
    one = json.loads(good.payload)
    return {
        "seconds for milliseconds": (message(topic, {**one, "ts": NOW_MS // 1000}), "clock"),
        "ahead of now": (message(topic, {**one, "ts": NOW_MS + 301_000}), "clock"),
        "not JSON": (Received(topic, b"{nonsense"), "schema"),
        "not UTF-8": (Received(topic, b"\xff\xfe"), "schema"),
        "NaN": (Received(topic, good.payload.replace(b"4.0", b"NaN")), "schema"),
        "negative seq": (message(topic, {**one, "seq": -1}), "schema"),
        "seq too large": (message(topic, {**one, "seq": 2**40}), "schema"),
        "boot reserved": (message(topic, {**one, "boot": 2**22 - 1}), "schema"),
        "impossible value": (message(topic, {**one, "m": {"t1": 5000}}), "schema"),
        "unknown version": (message(topic, {**one, "v": 9}), "schema"),
        "no readings": (message(topic, []), "schema"),
        "too many": (batch_of(device, 0, [4.0] * 501, step_ms=1000), "schema"),
        "NUL in a channel": (message(topic, {**one, "m": {"a\x00": 1}}), "schema"),
        "oversize": (Received(topic, good.payload + b" " * 65_536), "too_large"),
        "gzip bomb": (Received(topic, gzip.compress(b"[" * 10_000_000)), "too_large"),
        "broken gzip": (Received(topic, gzip.compress(good.payload)[:-4]), "schema"),
        "unknown device": (replace(good, topic=f"{BASE}/tele/nobody"), "unknown_device"),
        "wrong gateway": (replace(good, topic=topic.replace("gw-1", "gw-2")), "acl"),
        "another device": (message(topic, {**one, "dev": "other"}), "acl"),
        "unknown topic": (replace(good, topic="cc/v1/640202/x/y/z/q"), "schema"),
        "bad code": (scan(900, ["123"]), "bad_code"),
        "unknown code": (scan(901, ["8" + "9" * 19]), "unknown_code"),
        "lot held": (scan(904, [], unit=None, step="holding", lot="8412345.A1", reason="x"), "acl"),
        "lot condemned": (
            scan(908, [], unit=None, step="condemning", lot="8412345.A1", reason="x"),
            "acl",
        ),
        "recall": (scan(905, [code(1)], unit=None, step="holding", recall=True, reason="x"), "acl"),
        "person": (
            scan(906, [code(1)], step="dispensing", recipient="R-640202198001011234"),
            "personal_data",
        ),
        "in itself": (scan(907, [code(1)], unit=None, step="packing", parent=code(1)), "schema"),
        "unknown step": (scan(902, [code(1)], step="juggling"), "schema"),
        "unknown site": (
            replace(scan(903, [code(1)]), topic="cc/v1/640202/nowhere/sc/scan"),
            "unknown_site",
        ),
        "deep": (Received(topic, b'{"x":' + b"[" * 60_000), "schema"),
        "status of a stranger": (message("cc/v1/640202/s/g/status", {}), "unknown_device"),
        "double gzip": (Received(topic, gzip.compress(gzip.compress(good.payload))), "schema"),
        "report in UTF-16": (
            Received(event, json.dumps({"ts": NOW_MS}).encode("utf-16")),
            "schema",
        ),
        "half a character": (Received(event, b'{"x":"\\ud800","ts":%d}' % NOW_MS), "schema"),
        "NaN in a report": (Received(event, b'{"x":NaN,"ts":%d}' % NOW_MS), "schema"),
        "report without a time": (message(event, {"kind": "door"}), "schema"),
    }


@pytest.mark.parametrize("fault", list(_bad("x")))
def test_given_bad_input_when_taken_then_kept_with_its_reason_and_told(
    worker: Worker, device: str, database: Database, telemetry: Telemetry, fault: str
) -> None:
    sent, expected = _bad(device)[fault]
    good = single(device, 1, 4.0)
    before = telemetry.last_position()
    first = worker.take([replace(sent, mid=b"\0\1"), replace(good, mid=b"\0\2")])
    again = worker.take([replace(sent, mid=b"\0\3")])
    answers = first + again
    acknowledged = sorted(mid for answer in answers for mid in answer.mids)
    assert acknowledged == [b"\0\1", b"\0\2", b"\0\3"], "every message gets its PUBACK"
    assert [a["n"] for a in said(answers) if "n" in a] == [1], "the good one is stored"
    (kept,) = events_of(telemetry, before, MessageQuarantined)
    assert isinstance(kept, MessageQuarantined)
    assert (kept.topic, kept.payload, kept.code) == (sent.topic, sent.payload, expected)
    rows = database.query(
        "SELECT code, detail, seen, state FROM quarantine WHERE topic = %s AND payload = %s",
        sent.topic,
        sent.payload,
    )
    assert rows == [(expected, kept.detail, 2, "open")]
    for reject in (a for a in said(answers) if "code" in a):
        assert reject["code"] == expected
        assert reject["detail_zh"]
        assert reject["detail_en"]


def test_given_an_unplugged_probe_when_taken_then_no_value_and_no_alert(
    worker: Worker, device: str, database: Database
) -> None:
    worker.take([batch_of(device, 0, [4.0, 327.67, -127, None, 4.1])])
    assert [t1 for _, _, t1 in stored(database, device)] == [4.0, None, None, None, 4.1]
    assert not episodes(database, device)


def test_given_a_quarantined_device_when_registered_and_replayed_then_stored_and_resolved(
    worker: Worker, ledger: Ledger, database: Database, telemetry: Telemetry
) -> None:
    sent = batch_of("latecomer", 0, [4.0, 4.1])
    (refused,) = said(worker.take([sent]))
    before = telemetry.last_position()
    replay = "UPDATE quarantine SET state = 'replay', actor_id = 'k1' WHERE id = %s"
    database.query(replay, refused["id"])
    assert said(worker.replay())[0]["code"] == "unknown_device"
    assert database.query("SELECT state FROM quarantine WHERE id = %s", refused["id"]) == [
        ("open",)
    ]
    field.register(ledger, "latecomer")
    database.query(replay, refused["id"])
    assert said(worker.replay())[0]["n"] == 2
    assert worker.replay() == []
    assert len(stored(database, "latecomer")) == 2
    (resolved,) = events_of(telemetry, before, QuarantineResolved)
    assert isinstance(resolved, QuarantineResolved)
    assert (resolved.outcome, resolved.actor_id) == ("stored", "k1")
    state = database.query("SELECT state, seen FROM quarantine WHERE id = %s", refused["id"])
    assert state == [("resolved", 1)]


def test_given_scans_when_repeated_or_changed_then_one_fact_and_one_conflict(
    worker: Worker, ledger: Ledger
) -> None:
    before = ledger.last_position()
    first = scan(1, [code(1), code(2), " " + code(1)])
    other = scan(1, [code(3)])
    answers = said(worker.take([first, first, scan(2, [code(3)])]) + worker.take([first, other]))
    assert [a.get("seq", a.get("code")) for a in answers] == [1, 1, 2, 1, "conflict"]
    facts = [r.envelope for r in ledger.read(before, 100)]
    assert [f.originator_version for f in facts] == [(1 << 40) + 1, (1 << 40) + 2]
    assert facts[0].event.codes == (code(1), code(2))  # type: ignore[attr-defined]  # PutAway
    assert facts[0].meta.occurred_at == datetime.fromtimestamp(NOW_MS / 1000, UTC)
    assert (facts[0].meta.region_code, facts[0].meta.device_id) == (field.REGION, "sc-1")


def test_given_reports_when_repeated_then_each_is_one_event(
    worker: Worker, device: str, telemetry: Telemetry
) -> None:
    before = telemetry.last_position()
    door = message(f"{BASE}/event/{device}", {"kind": "door", "ts": NOW_MS, "open": True})
    on = message(f"{BASE}/status", {"online": True, "boot": 1})
    off = message(f"{BASE}/status", {"online": False, "boot": 1})
    assert said(worker.take([door, door, on, on])) == [{"v": 1, "ts": NOW_MS}] * 2
    worker.take([door, on, off, off])
    worker.take([on])
    reported = events_of(telemetry, before, DeviceReported)
    assert [r.kind for r in reported if isinstance(r, DeviceReported)] == ["door"]
    statuses = events_of(telemetry, before, GatewayReported)
    assert [s.online for s in statuses if isinstance(s, GatewayReported)] == [True, False, True]


def test_given_a_poisonous_message_when_in_a_batch_then_it_alone_is_kept_aside(
    worker: Worker, device: str, database: Database, telemetry: Telemetry
) -> None:
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        owner.execute("ALTER TABLE reading ADD CONSTRAINT no_66 CHECK (t1 <> 66.6)")
    before = telemetry.last_position()
    try:
        sent = [single(device, n, 66.6 if n == 5 else 4.0) for n in range(12)]
        answers = said(worker.take(sent))
    finally:
        with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
            owner.execute("ALTER TABLE reading DROP CONSTRAINT no_66")
    assert [a.get("code") for a in answers] == [None] * 5 + ["poison"] + [None] * 6
    assert [seq for _, seq, _ in stored(database, device)] == [*range(5), *range(6, 12)]
    assert len(events_of(telemetry, before, MessageQuarantined)) == 1


def test_given_a_day_whose_partition_was_dropped_when_readings_come_then_it_is_made_again(
    worker: Worker, device: str, database: Database
) -> None:
    day_ms = 24 * 60 * field.MINUTE_MS
    worker.take([batch_of(device, 0, [4.0], start_ms=NOW_MS - 40 * day_ms)])
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        owner.execute("DROP TABLE reading_20260121")
    (ack,) = said(worker.take([batch_of(device, 1, [4.1], start_ms=NOW_MS - 40 * day_ms)]))
    assert ack["n"] == 1
    assert stored(database, device) == [(1, 1, 4.1)]


def test_given_a_running_ingest_when_another_starts_then_it_is_refused(
    worker: Worker, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.link.LOCK_WAIT_S", 0.1)
    with pytest.raises(AlreadyRunning, match="another ingest"):
        field.started(database.app_dsn, clock)


def test_given_a_lost_connection_when_messages_come_then_stored_after_reconnecting(
    worker: Worker, device: str, database: Database, postgres: PostgresServer
) -> None:
    worker.take([single(device, 0, 4.0)])
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (database.name,),
        )
    answers = said(worker.take([single(device, 0, 4.0), single(device, 1, 4.1)]))
    assert [(a["n"], a["dup"]) for a in answers] == [(0, 1), (1, 0)]


def episodes(database: Database, device_id: str) -> list[tuple[object, ...]]:
    """Return the living episodes of a device, oldest first."""
    return database.query(
        "SELECT rule_id, started_at, fired_at, peak_c, recovered_at, resolved_at FROM episode"
        " JOIN device_no USING (device_no) WHERE device_id = %s AND NOT withdrawn"
        " ORDER BY started_at, rule_id",
        device_id,
    )


WARM = [5.0] * 3 + [9.0, 9.5, 10.0, 9.0] + [5.0] * 5


def test_given_a_warm_spell_when_taken_then_alert_episode_and_notice_in_one_commit(
    worker: Worker, device: str, database: Database, ledger: Ledger
) -> None:
    before = ledger.last_position()
    worker.take([batch_of(device, 0, WARM)])
    ((rule_id, started, fired, peak, recovered, resolved),) = episodes(database, device)
    assert (rule_id, peak) == ("high", 10.0)
    assert isinstance(started, datetime)
    assert (fired, recovered, resolved) == tuple(started + field.minutes(n) for n in (10, 20, 30))
    told = [r.envelope for r in ledger.read(before, 10)]
    assert [e.event.TOPIC for e in told] == ["alerting.AlertFired", "alerting.AlertResolved"]
    assert [e.originator_version for e in told] == [1, 2]
    notices = database.query(
        "SELECT kind, severity, region_code FROM outbox WHERE alert_id = %s ORDER BY id",
        str(told[0].originator_id),
    )
    assert notices == [("fired", "major", "640202"), ("resolved", "major", "640202")]
    position = ledger.last_position()
    worker.take([batch_of(device, 0, WARM)])
    assert ledger.last_position() == position, "a repetition tells nothing"


def test_given_an_open_alert_when_it_grows_warmer_then_the_inbox_shows_its_peak_so_far(
    worker: Worker, device: str, database: Database, ledger: Ledger
) -> None:
    before = ledger.last_position()
    worker.take([batch_of(device, 0, [9.0] * 4)])
    worker.take([batch_of(device, 4, [12.5, 11.0])])
    (found,) = [r.envelope.event for r in ledger.read(before, 10)]
    assert isinstance(found, AlertFired)
    assert found.peak_c == 9.0
    following = Runner(database.app_dsn)
    following.follow_once()
    shown = alerting.alert(following.conn, found.alert_id)
    following.close()
    assert shown is not None
    assert shown.peak_c == 12.5


@pytest.mark.parametrize("cut", [1, 2, 5])
@pytest.mark.parametrize("restart", [False, True])
def test_given_readings_late_and_reversed_when_taken_then_the_same_episodes(
    worker: Worker,
    device: str,
    ledger: Ledger,
    database: Database,
    clock: ManualClock,
    cut: int,
    restart: bool,
) -> None:
    in_order = f"{device}-o"
    field.register(ledger, in_order)
    series = WARM + [1.0] * 4 + [5.0] * 4 + WARM
    worker.take([batch_of(in_order, 0, series)])
    pieces = [batch_of(device, at, series[at : at + cut]) for at in range(0, len(series), cut)]
    for piece in reversed(pieces):
        if restart:
            worker.close()
            worker = field.started(database.app_dsn, clock)
        worker.take([piece])
    worker.close()
    assert episodes(database, device) == episodes(database, in_order)
    assert len(episodes(database, device)) == 3


@pytest.mark.parametrize("down", [False, True])
def test_given_an_open_alert_when_the_probe_is_moved_then_it_is_closed_unverified(
    worker: Worker,
    device: str,
    ledger: Ledger,
    database: Database,
    clock: ManualClock,
    down: bool,
) -> None:
    worker.take([batch_of(device, 0, WARM[:7])])
    ((*_, resolved),) = episodes(database, device)
    assert resolved is None
    if down:
        worker.close()
    moved_at = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    stream = device_stream(device)
    field.append(ledger, [(stream, 3, field.placed(device, "elsewhere", moved_at))])
    if down:
        field.started(database.app_dsn, clock).close()
    else:
        worker.settle()
    ((*_, recovered, resolved),) = episodes(database, device)
    assert (recovered, resolved) == (None, moved_at)


def test_given_stored_readings_when_stricter_rules_are_published_then_judged_again(
    worker: Worker, ledger: Ledger, database: Database
) -> None:
    field.register_device(ledger, "strict")
    field.register_unit(ledger, "strict-unit", "strict_profile")
    placing = field.placed("strict", "strict-unit", field.PLACED)
    field.append(ledger, [(device_stream("strict"), 2, placing)])
    field.publish(ledger, "strict_profile", 1, field.HIGH)
    worker.take([batch_of("strict", 0, [5.0, 7.0, 7.0, 7.0, 7.0, 5.0, 5.0, 5.0, 5.0])])
    assert not episodes(database, "strict")
    field.publish(ledger, "strict_profile", 2, replace(field.HIGH, limit_c=6.0))
    worker.settle()
    ((*_, recovered, resolved),) = episodes(database, "strict")
    assert recovered is not None
    assert resolved is not None


def test_given_a_message_put_aside_by_a_person_when_sent_again_then_it_stays_aside(
    worker: Worker, database: Database, telemetry: Telemetry
) -> None:
    sent = batch_of("never", 0, [4.0])
    (refused,) = said(worker.take([sent]))
    state = "UPDATE quarantine SET state = 'set_aside' WHERE id = %s"
    database.query(state, refused["id"])
    before = telemetry.last_position()
    worker.take([sent])
    asked = "SELECT state, seen FROM quarantine WHERE id = %s"
    assert database.query(asked, refused["id"]) == [("set_aside", 2)]
    assert telemetry.last_position() == before


def test_given_stored_readings_when_their_place_is_told_late_then_they_are_judged(
    worker: Worker, ledger: Ledger, database: Database
) -> None:
    field.register_device(ledger, "homeless")
    worker.take([batch_of("homeless", 0, WARM)])
    assert not episodes(database, "homeless")
    placing = field.placed("homeless", field.UNIT, field.PLACED)
    field.append(ledger, [(device_stream("homeless"), 2, placing)])
    worker.settle()
    ((_, started, *_),) = episodes(database, "homeless")
    worker.take([batch_of("homeless", len(WARM), WARM)])
    assert next(row[1] for row in episodes(database, "homeless")) == started
    assert len(episodes(database, "homeless")) == 2
