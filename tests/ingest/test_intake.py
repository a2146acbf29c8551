"""The intake at its seams: packet ids, batch numbers, full sheets, states that lag, idle time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from threading import Event as StopEvent
from typing import Any

import psycopg
import pytest

import ingest.pipeline
import ingest.worker
from ingest.answers import Answer
from ingest.batch import Received
from ingest.client import Packet
from ingest.inbox import Block, Inbox
from ingest.pipeline import Pipeline
from ingest.sheet import Sheet
from ingest.worker import NUMBERS_MIN, Worker
from ingest.write import Entry
from store.logs import Ledger
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import BASE, NOW_MS, batch_of, single
from tests.ingest.test_broker import wait_until

pytestmark = pytest.mark.database

MID = b"\0\1"
HOUR_MS = 3_600_000


class Intake:
    """A worker with its pipeline and inbox, and what it has answered."""

    def __init__(self, dsn: str, clock: ManualClock) -> None:
        self.worker = field.started(dsn, clock)
        self.inbox = Inbox()
        self.answers: list[Answer] = []
        self.pipeline = Pipeline(self.worker, self.inbox, self.answers.extend)

    def take(self, *packets: Packet) -> list[dict[str, Any]]:
        """Store messages of one connection; return what their senders are told."""
        self.answers.clear()
        self.pipeline.take(Block(1, list(packets)))
        self.pipeline.finish()
        return field.said(self.answers)

    @property
    def mids(self) -> list[bytes]:
        """The packet ids that were answered."""
        return [mid for answer in self.answers for mid in answer.mids]

    def close(self) -> None:
        """End as the process does when it is told to."""
        self.pipeline.close()
        self.worker.close()

    def kill(self) -> None:
        """End with all that is unwritten lost."""
        self.pipeline.close()
        self.worker._link.close()


@pytest.fixture
def start(database: Database, ledger: Ledger, clock: ManualClock) -> Iterator[Callable[[], Intake]]:
    """Give what starts an intake on the module's database, one after the other."""
    field.register(ledger)
    made: list[Intake] = []

    def _start() -> Intake:
        made.append(Intake(database.app_dsn, clock))
        return made[-1]

    yield _start
    for intake in made:
        intake.close()


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the failures of commits, which another way of storing might mend unseen."""
    found: list[str] = []
    commit = Worker.commit

    def commits(worker: Worker, entry: Entry) -> None:
        try:
            commit(worker, entry)
        except psycopg.Error as error:
            found.append(str(error))
            raise

    monkeypatch.setattr(Worker, "commit", commits)
    return found


@pytest.fixture
def devices(ledger: Ledger, request: pytest.FixtureRequest) -> list[str]:
    """Give three registered devices of the test's own."""
    names = [f"{abs(hash(request.node.name)):x}-{n}" for n in range(3)]
    field.register(ledger, *names)
    return names


def defer_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no commit of a sheet write the states with it, however few: they are recalled."""
    monkeypatch.setattr(ingest.worker, "FEW_STATES", -1)
    monkeypatch.setattr(ingest.worker, "FLUSH_S", 1e9)


def packet(device: str, seq: int, *, ts_ms: int | None = None, mid: bytes = MID) -> Packet:
    """Return a message of one reading within the last hour."""
    ts_ms = NOW_MS - HOUR_MS + seq * 1000 if ts_ms is None else ts_ms
    body = {"v": 1, "boot": 1, "seq": seq, "ts": ts_ms, "m": {"t1": 4.0, "rh": 50}}
    return f"{BASE}/tele/{device}".encode(), json.dumps(body).encode(), mid


def of(received: Received) -> Packet:
    """Return a message as the receiver hands it over."""
    return received.topic.encode(), received.payload, MID


def stored(database: Database, device: str) -> list[int]:
    """Return the numbers of the readings in the rows, as often as they are there."""
    rows = database.query(
        "SELECT seq FROM reading JOIN device_no USING (device_no) WHERE device_id = %s"
        " ORDER BY seq",
        device,
    )
    return [seq for (seq,) in rows]


def state(database: Database, device: str, columns: str) -> tuple[Any, ...]:
    """Return columns of the device's written state."""
    query = f"SELECT {columns} FROM device_state JOIN device_no USING (device_no)"  # noqa: S608
    (found,) = database.query(f"{query} WHERE device_id = %s", device)
    return found


def quarantined(database: Database, device: str) -> list[str]:
    """Return why messages of the device are in quarantine."""
    query = "SELECT code FROM quarantine WHERE topic LIKE %s"
    return [reason for (reason,) in database.query(query, f"%/{device}")]


def written_upto(database: Database) -> int:
    """Return up to where in the log the states are said to be written."""
    ((position,),) = database.query("SELECT states_telemetry_id FROM ingest_worker")
    return int(position)


# --- answers ---


def test_given_messages_of_qos_0_among_others_when_taken_then_they_have_no_puback(
    start: Callable[[], Intake], database: Database, devices: list[str], failures: list[str]
) -> None:
    intake = start()
    for seq in range(3):  # the first of each goes the careful way, the others the fast lane
        mids = [b"", bytes([1, seq]), b""]
        intake.take(*(packet(d, seq, mid=mid) for d, mid in zip(devices, mids, strict=True)))
        assert intake.mids == [bytes([1, seq])]
    assert [stored(database, device) for device in devices] == [[0, 1, 2]] * 3
    assert failures == []


@pytest.mark.parametrize("follows", ["careful", "nothing"])
def test_given_acks_that_can_wait_when_no_sheet_follows_then_they_are_told(
    start: Callable[[], Intake],
    devices: list[str],
    monkeypatch: pytest.MonkeyPatch,
    follows: str,
) -> None:
    monkeypatch.setattr(ingest.pipeline, "OWING_S", 60.0)
    intake = start()
    intake.take(packet(devices[0], 0))
    intake.answers.clear()
    intake.inbox.put(Block(1, [(b"cc/v1/nonsense", b"x", b"\0\3")]))  # so that acks can wait
    intake.pipeline.take(Block(1, [packet(devices[0], 1, mid=b"\0\2")]))
    wait_until(lambda: bool(intake.answers))
    if follows == "careful":
        block = intake.inbox.take(0)
        assert block is not None
        intake.pipeline.take(block)
    else:
        intake.pipeline.finish()
    first = intake.answers[0]
    assert (first.mids, first.publications) == ([b"\0\2"], ())
    assert field.said(intake.answers) == [{"v": 1, "boot": 1, "seq": 1, "n": 1, "dup": 0}]


def test_given_a_commit_that_ends_between_two_looks_when_waiting_for_more_then_woken_at_once(
    start: Callable[[], Intake],
    database: Database,
    devices: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intake = start()
    intake.take(packet(devices[0], 0))
    go, commit = StopEvent(), intake.worker.commit

    def held(entry: Entry) -> None:
        go.wait(10)
        commit(entry)

    monkeypatch.setattr(intake.worker, "commit", held)
    intake.inbox.put(Block(1, [packet(devices[0], 2)]))
    intake.pipeline.take(Block(1, [packet(devices[0], 1)]))  # commits, in its own thread
    block = intake.inbox.take(0)
    assert block is not None
    intake.pipeline.take(block)  # gathered: the commit is not done
    go.set()
    time.sleep(0.2)  # it ends while nobody waits for the inbox
    started = time.monotonic()
    assert intake.inbox.take(20.0) is None
    assert time.monotonic() - started < 10
    intake.pipeline.advance()
    intake.pipeline.finish()
    assert stored(database, devices[0]) == [0, 1, 2]


# --- batch numbers and sheets ---


def test_given_few_batch_numbers_when_connections_change_then_all_is_stored(
    start: Callable[[], Intake],
    database: Database,
    devices: list[str],
    failures: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingest.worker, "BATCH_NUMBERS", NUMBERS_MIN)
    intake = start()
    intake.take(packet(devices[0], 0))
    intake.inbox.put(Block(99, []))  # something waits: commits have their own thread
    commit = intake.worker.commit

    def slow(entry: Entry) -> None:
        time.sleep(0.005)
        commit(entry)

    monkeypatch.setattr(intake.worker, "commit", slow)
    for seq in range(1, 5 * NUMBERS_MIN):  # two on a connection: one commits while one gathers
        intake.pipeline.take(Block(seq // 2, [packet(devices[0], seq)]))
    intake.pipeline.finish()
    assert stored(database, devices[0]) == list(range(5 * NUMBERS_MIN))
    assert failures == []


@pytest.mark.parametrize("way", ["pipeline", "worker"])
def test_given_more_rows_than_a_sheet_holds_when_taken_then_many_sheets_and_all_is_stored(
    start: Callable[[], Intake],
    database: Database,
    devices: list[str],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    sheets: list[int] = []
    finished = Worker.finished

    def counted(worker: Worker, connection: int, mids: list[bytes]) -> Entry:
        entry = finished(worker, connection, mids)
        assert isinstance(entry.content, Sheet)
        sheets.append(entry.content.rows)
        return entry

    monkeypatch.setattr(Worker, "finished", counted)
    monkeypatch.setattr(ingest.worker, "SHEET_ROWS", 25)
    intake = start()
    intake.take(*(of(batch_of(device, 0, [4.0])) for device in devices))
    messages = [batch_of(device, 1 + 10 * n, [4.0] * 10) for n in range(10) for device in devices]
    if way == "pipeline":
        intake.take(*map(of, messages))
    else:
        intake.worker.take(messages)
    assert sum(sheets) == 300
    assert max(sheets) == 30  # full after the message that fills it
    assert [stored(database, device) for device in devices] == [list(range(101))] * 3


# --- what is remembered and what is stored ---


def test_given_a_worker_that_could_not_recall_when_it_closes_then_the_next_recalls_all(
    start: Callable[[], Intake],
    database: Database,
    devices: list[str],
    failures: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    defer_states(monkeypatch)
    killed = start()
    killed.take(*(packet(device, 0) for device in devices))
    killed.worker.flush()
    position = written_upto(database)
    killed.take(*(packet(device, 1) for device in devices))
    killed.kill()
    assert written_upto(database) == position
    with monkeypatch.context() as patched:
        patched.setattr(ingest.worker, "RECALL_EVENTS", "any fault while it recalls")
        unlucky = Worker(database.app_dsn, ManualClock(), StopEvent())
        with pytest.raises(psycopg.Error):
            unlucky.start()
        unlucky.close()
    assert written_upto(database) == position
    intake = start()
    told = intake.take(packet(devices[0], 1), packet(devices[1], 2))
    assert sorted((ack["seq"], ack["n"], ack["dup"]) for ack in told) == [(1, 0, 1), (2, 1, 0)]
    intake.worker.flush()
    assert [state(database, device, "seq") for device in devices] == [(1,), (2,), (1,)]
    assert written_upto(database) > position
    assert failures == []


def test_given_an_unwritten_state_when_recalled_later_then_it_keeps_the_time_of_receipt(
    start: Callable[[], Intake],
    database: Database,
    devices: list[str],
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    defer_states(monkeypatch)
    killed = start()
    killed.take(packet(devices[0], 0))
    killed.worker.flush()
    received_at = clock.advance(minutes=1)
    killed.take(packet(devices[0], 1))
    killed.kill()
    clock.advance(hours=2)
    start().worker.flush()
    assert state(database, devices[0], "seq, received_at") == (1, received_at)


def test_given_the_first_reading_of_a_device_when_repeated_then_a_repetition_and_no_commit_fails(
    start: Callable[[], Intake], database: Database, devices: list[str], failures: list[str]
) -> None:
    worker, device = start().worker, devices[0]
    worker.take([batch_of(device, 0, [4.0] * 10)])
    worker.forget()
    worker.take_carefully([batch_of(device, 10, [4.0])])
    (ack,) = field.said(worker.take([batch_of(device, 0, [4.0])]))
    assert (ack["n"], ack["dup"]) == (0, 1)
    assert stored(database, device) == list(range(11))
    assert failures == []


def test_given_states_behind_the_log_when_readings_are_repeated_then_repetitions_and_no_poison(
    start: Callable[[], Intake], database: Database, devices: list[str]
) -> None:
    intake = start()
    intake.take(*(of(batch_of(device, 0, [4.0] * 5)) for device in devices))
    intake.worker.flush()
    database.query(
        "UPDATE device_state SET ranges = '' FROM device_no d"
        " WHERE d.device_no = device_state.device_no AND device_id = ANY(%s)",
        devices[:2],
    )
    intake.worker.forget()
    again = [(devices[0], 0, 5), (devices[1], 0, 8), (devices[2], 5, 5)]
    told = intake.take(*(of(batch_of(device, seq, [4.0] * n)) for device, seq, n in again))
    assert sorted((ack["n"], ack["dup"]) for ack in told) == [(0, 5), (3, 5), (5, 0)]
    assert [len(stored(database, device)) for device in devices] == [5, 8, 10]
    assert [quarantined(database, device) for device in devices] == [[]] * 3


@pytest.mark.parametrize("kind", ["tele", "backfill"])
@pytest.mark.parametrize("later_first", [True, False])
def test_given_readings_of_one_time_when_taken_either_way_then_the_same_is_the_newest(
    start: Callable[[], Intake],
    database: Database,
    devices: list[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    later_first: bool,
) -> None:
    defer_states(monkeypatch)
    worker, at = start().worker, NOW_MS - 100_000
    for device, take in zip(devices, (worker.take, worker.take_carefully), strict=False):

        def reading(seq: int, ms: int, value: float, kind: str, of: str = device) -> Received:
            body = {"v": 1, "boot": 1, "seq": seq, "ts": at + ms, "m": {"t1": value}}
            return field.message(f"{BASE}/{kind}/{of}", body)

        worker.take_carefully([reading(1, -2000, 4.0, "tele"), reading(10, -1000, 4.0, "tele")])
        two = [reading(11, 0, 5.0, "tele"), reading(2, 0, 6.0, kind)]
        for message in two if later_first else reversed(two):
            take([message])
    worker.flush()
    columns = "ts, boot, seq, t1, older, ranges, rules"
    fast, careful = (state(database, device, columns) for device in devices[:2])
    assert fast == careful
    assert fast[2:4] == (11, 5.0)


def test_given_a_clock_never_set_when_a_device_without_a_watch_tells_then_it_alone_is_refused(
    start: Callable[[], Intake],
    database: Database,
    ledger: Ledger,
    devices: list[str],
    failures: list[str],
) -> None:
    field.register_device(ledger, "unset")  # its probe stands nowhere
    intake = start()
    intake.take(*(packet(device, 0) for device in ("unset", *devices)))
    intake.take(*(packet(device, 1) for device in devices), packet("unset", 1, ts_ms=5_000))
    assert failures == []
    assert quarantined(database, "unset") == ["clock"]
    assert stored(database, "unset") == [0]
    assert [stored(database, device) for device in devices] == [[0, 1]] * 3


def test_given_nothing_to_store_when_time_passes_then_nothing_is_committed(
    start: Callable[[], Intake], database: Database, devices: list[str]
) -> None:
    intake = start()
    intake.take(packet(devices[0], 0))
    writers = set()
    for turn in range(4):  # what a second of the loop does; the first may have something left
        intake.pipeline.finish()
        intake.worker.settle()
        intake.worker.flush()
        intake.worker.replay()
        intake.worker.due()
        if turn:
            writers |= set(database.query("SELECT xmin::text FROM ingest_worker"))
    assert len(writers) == 1


def test_given_a_message_sent_twice_at_once_when_taken_then_stored_once(
    start: Callable[[], Intake], database: Database, devices: list[str], failures: list[str]
) -> None:
    intake = start()
    intake.take(packet(devices[0], 0))
    told = intake.take(packet(devices[0], 1), packet(devices[0], 1), of(single(devices[1], 1, 4.0)))
    assert sorted((ack["n"], ack["dup"]) for ack in told) == [(0, 1), (1, 0), (1, 0)]
    assert stored(database, devices[0]) == [0, 1]
    assert failures == []
