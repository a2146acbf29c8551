"""What the server asks of devices and what they answer, on the real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from domain.cold_chain.commands import Reply
from domain.cold_chain.events import DeviceCommandAnswered
from domain.cold_chain.gaps import GapNotes
from ingest.batch import Report
from ingest.clock_rules import ClockRules
from ingest.commands import Publication, due_commands, note_report
from ingest.ranges import SEQ_END, version_of
from ingest.refusals import Refused
from store.logs import Ledger
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import BASE, NOW_MS
from tests.ingest.gap_field import Taker

pytestmark = pytest.mark.database

EXPIRES_S = 600


@pytest.fixture
def taker(database: Database, clock: ManualClock) -> Iterator[Taker]:
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        conn.execute("UPDATE device_command SET state = 'failed'")  # of the tests before
        yield Taker(conn, clock)


def ask(database: Database, clock: ManualClock, device_id: str, cmd: str, **arguments: int) -> UUID:
    """Put a person's command where ingest looks for it."""
    command_id = uuid4()
    database.query(
        "INSERT INTO device_command (command_id, device_id, region_code, cmd, arguments, actor_id,"
        " issued_at, expires_at, changed_at) VALUES (%s, %s, %s, %s, %s, 'k1', %s, %s, %s)",
        command_id,
        device_id,
        field.REGION,
        cmd,
        json.dumps(arguments),
        clock.now(),
        clock.advance(seconds=EXPIRES_S),
        clock.now(),
    )
    return command_id


def sent(taker: Taker, clock: ManualClock, *regions: str) -> list[Publication]:
    taker.directory.refresh(taker.conn)
    return due_commands(taker.conn, taker.directory, regions, ClockRules(clock), clock.now())


def report(**body: Any) -> Report:
    return Report(str(body["kind"]), NOW_MS, False, json.dumps({"ts": NOW_MS, **body}))


def rows(database: Database, command_id: UUID) -> list[tuple[Any, ...]]:
    return database.query(
        "SELECT state, answer, version FROM device_command WHERE command_id = %s", command_id
    )


def test_given_a_person_who_asks_when_looked_then_sent_once_to_the_device(
    taker: Taker, device: str, clock: ManualClock, database: Database
) -> None:
    command_id = ask(database, clock, device, "set_interval", interval_s=60)
    expires_ms = NOW_MS + EXPIRES_S * 1000
    clock = ManualClock()
    assert sent(taker, clock, "110101") == []
    (told,) = sent(taker, clock, field.REGION)
    assert (told.topic, told.qos) == (f"{BASE}/cmd/{device}", 1)
    assert json.loads(told.payload) == {
        "v": 1,
        "cmd_id": str(command_id),
        "exp": expires_ms,
        "cmd": "set_interval",
        "interval_s": 60,
    }
    assert rows(database, command_id) == [("sent", "", 1)]
    assert sent(taker, clock) == []


def test_given_a_device_that_is_not_known_here_yet_when_looked_then_its_command_waits(
    taker: Taker, device: str, clock: ManualClock, database: Database
) -> None:
    command_id = ask(database, clock, device, "identify")
    now = ManualClock().now()
    assert due_commands(taker.conn, taker.directory, [], ClockRules(clock), now) == []
    assert rows(database, command_id) == [("waiting", "", 1)]
    assert len(sent(taker, ManualClock())) == 1


def test_given_a_process_that_ends_before_it_publishes_when_the_next_starts_then_sent_again(
    taker: Taker, device: str, clock: ManualClock, database: Database
) -> None:
    lost = ask(database, clock, device, "siren", on=1)
    assert len(sent(taker, ManualClock())) == 1  # and the process ends
    worker = field.started(database.app_dsn, ManualClock())
    (again,) = worker.due()
    assert json.loads(again.payload)["cmd_id"] == str(lost)
    taker.take(device, [], reports=[report(kind="cmd", cmd_id=str(lost), state="accepted")])
    worker.close()
    answered = field.started(database.app_dsn, ManualClock())
    assert answered.due() == []
    answered.close()


def test_given_commands_of_one_second_when_taken_then_sent_in_the_order_they_were_asked(
    taker: Taker, device: str, clock: ManualClock, database: Database
) -> None:
    asked = [str(ask(database, clock, device, "siren", on=on)) for on in (1, 0, 1)]
    # A row that was written anew lies behind the others.
    database.query("UPDATE device_command SET answer = '' WHERE command_id = %s", asked[0])
    found = sent(taker, ManualClock())
    assert [json.loads(told.payload)["cmd_id"] for told in found] == asked


def test_given_a_command_for_the_clock_when_sent_then_with_the_time_and_not_kept(
    taker: Taker, device: str, clock: ManualClock, database: Database
) -> None:
    ask(database, clock, device, "time_sync")
    (told,) = sent(taker, ManualClock())
    assert told.qos == 0
    assert json.loads(told.payload)["server_ms"] == NOW_MS


def test_given_a_command_that_expired_when_looked_then_not_sent(
    taker: Taker, device: str, clock: ManualClock, database: Database
) -> None:
    command_id = ask(database, clock, device, "identify")
    assert sent(taker, clock) == []
    assert rows(database, command_id) == [("waiting", "", 1)]


def test_given_a_command_when_answered_then_told_once_whatever_is_repeated(
    taker: Taker, device: str, clock: ManualClock, database: Database, ledger: Ledger
) -> None:
    before = ledger.last_position()
    command_id = ask(database, clock, device, "fw_info")
    sent(taker, ManualClock())
    reply = {"kind": "cmd", "cmd_id": str(command_id)}
    for body in (
        {"state": "accepted"},
        {"state": "accepted"},
        {"state": "applied", "text": "fw 1.4.2\x00"},
        {"state": "accepted"},
        {"state": "failed"},
    ):
        taker.take(device, [], reports=[report(**reply, **body)])
    assert rows(database, command_id) == [("applied", "fw 1.4.2", 3)]
    found = [r.envelope for r in ledger.read(before, 10, [DeviceCommandAnswered.TOPIC])]
    assert [
        (e.originator_version, e.event.outcome, e.event.text, e.meta.region_code)
        for e in found
        if isinstance(e.event, DeviceCommandAnswered)
    ] == [(2, "accepted", "", field.REGION), (3, "applied", "fw 1.4.2", field.REGION)]


def test_given_an_answer_when_nobody_asked_that_device_then_nothing_is_told(
    taker: Taker, device: str, clock: ManualClock, database: Database
) -> None:
    command_id = ask(database, clock, device, "identify")
    assert taker.take(device, [], reports=[report(kind="door", open=True)]) == []
    for cmd_id, of in ((uuid4(), device), (command_id, "another")):
        reply = report(kind="cmd", cmd_id=str(cmd_id), state="applied")
        assert taker.take(of, [], reports=[reply]) == []
    assert rows(database, command_id) == [("waiting", "", 1)]


def test_given_a_device_that_lost_readings_when_it_says_so_then_noted() -> None:
    notes, replies = GapNotes(), list[Reply]()
    last = SEQ_END - 1
    note_report(notes, replies, "d", report(kind="lost", boot=3, **{"from": 5, "to": last}))
    note_report(notes, replies, "", report(kind="lost"))  # a gateway's status
    assert notes.lost == [("d", (version_of(3, 5), version_of(4, 0)))]
    assert replies == []


@pytest.mark.parametrize(
    ("body", "field_name"),
    [
        ({"kind": "lost", "from": 5}, "to"),
        ({"kind": "lost", "from": 5, "to": 4}, "$.to"),
        ({"kind": "lost", "from": -1, "to": 4}, "$.from"),
        ({"kind": "lost", "from": 1, "to": SEQ_END}, "$.to"),
        ({"kind": "lost", "boot": 2**22, "from": 1, "to": 2}, "$.boot"),
        ({"kind": "cmd", "state": "applied"}, "cmd_id"),
        ({"kind": "cmd", "cmd_id": "x", "state": "applied"}, "$.cmd_id"),
        ({"kind": "cmd", "cmd_id": str(uuid4()), "state": "done"}, "$.state"),
    ],
)
def test_given_a_report_of_another_form_when_taken_then_refused(
    body: dict[str, Any], field_name: str
) -> None:
    notes, replies = GapNotes(), list[Reply]()
    with pytest.raises(Refused) as refused:
        note_report(notes, replies, "d", report(**body))
    assert refused.value.code == "schema"
    assert field_name in refused.value.en
    assert (notes, replies) == (GapNotes(), [])


def test_given_a_report_that_only_python_reads_when_taken_then_refused() -> None:
    with pytest.raises(Refused):
        note_report(GapNotes(), [], "d", Report("lost", NOW_MS, False, '{"from": NaN, "to": 1}'))
