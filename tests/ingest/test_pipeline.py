"""Two stages: whatever breaks while one commits and one gathers, each message is stored once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Event as StopEvent

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from domain.cold_chain.model import device_stream
from ingest.answers import Answer
from ingest.batch import Batch
from ingest.client import Packet
from ingest.inbox import Block, Inbox
from ingest.pipeline import Pipeline
from ingest.worker import Worker
from ingest.write import Entry
from store.logs import Ledger
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import BASE, NOW_MS

pytestmark = pytest.mark.database

DEVICES = [f"pipe-{n}" for n in range(40)]


class Rig:
    """A pipeline with its inbox, and the packet ids that were answered."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.inbox = Inbox()
        self.answered: Counter[bytes] = Counter()
        self.acked: Counter[str] = Counter()
        self.pipeline = Pipeline(worker, self.inbox, self._answer)
        self._sent = 0

    def _answer(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            self.answered.update(answer.mids)
            for topic, payload in answer.publications:
                self.acked[topic.rsplit("/", 1)[1]] += json.loads(payload)["n"]

    def block(self, seqs: range, *, value: float = 4.0, devices: Sequence[str] = DEVICES) -> Block:
        """Return a block with these readings of the devices, a message each."""
        packets: list[Packet] = []
        for seq in seqs:
            for device in devices:
                self._sent += 1
                ts = NOW_MS - 3_600_000 + seq * 1000
                body = {"boot": 1, "seq": seq, "ts": ts, "m": {"t1": value, "rh": 50}}
                topic = f"{BASE}/tele/{device}".encode()
                packets.append((topic, json.dumps(body).encode(), self._sent.to_bytes(2, "big")))
        return Block(1, packets)

    @property
    def sent(self) -> int:
        """Messages made so far."""
        return self._sent


@pytest.fixture
def rig(database: Database, ledger: Ledger, clock: ManualClock) -> Iterator[Rig]:
    """Give a pipeline over a worker whose field has the devices."""
    if not database.query("SELECT 1 FROM device_no WHERE device_id = %s", DEVICES[0]):
        field.register(ledger)
        field.register(ledger, *DEVICES)
    dsn = make_conninfo(database.app_dsn, application_name="pipeline under test")
    worker = Worker(dsn, clock, StopEvent())
    worker.start()
    made = Rig(worker)
    yield made
    made.pipeline.close()
    worker.close()


def stored(database: Database, first: int, past: int) -> Counter[tuple[str, int]]:
    """Return how often each reading of these numbers is in the rows."""
    rows = database.query(
        "SELECT device_id, seq FROM reading JOIN device_no USING (device_no)"
        " WHERE seq >= %s AND seq < %s",
        first,
        past,
    )
    return Counter((device, seq) for device, seq in rows)


def each_once(first: int, past: int) -> Counter[tuple[str, int]]:
    """Return what must be stored of these numbers."""
    return Counter((device, seq) for device in DEVICES for seq in range(first, past))


def cut_off(database: Database) -> None:
    """End the pipeline's connection as the server's administrator might."""
    with psycopg.connect(database.owner_dsn, autocommit=True) as conn:
        conn.execute("SET ROLE vaxtrail_owner")
        found = conn.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'pipeline under test%'"
        ).fetchall()
    for (pid,) in found:
        with psycopg.connect(database.app_dsn, autocommit=True) as conn:
            conn.execute("SELECT pg_terminate_backend(%s)", (pid,))


def test_given_a_connection_that_breaks_again_and_again_when_messages_flow_then_each_is_stored_once(
    rig: Rig, database: Database
) -> None:
    for n in range(12):
        rig.pipeline.take(rig.block(range(n * 5, n * 5 + 5)))
        if n % 3 == 1:
            cut_off(database)
    rig.pipeline.finish()
    assert stored(database, 0, 60) == each_once(0, 60)
    assert len(rig.answered) == rig.sent
    assert set(rig.answered.values()) == {1}
    assert rig.acked == Counter(dict.fromkeys(DEVICES, 60))
    keys = database.query(
        "SELECT count(*), count(DISTINCT (originator_id, originator_version))"
        " FROM telemetry_events WHERE topic = 'cold_chain.ReadingsRecorded'"
    )
    assert keys == [(rig.sent, rig.sent)]


def test_given_a_commit_that_fails_after_it_was_done_when_taken_again_then_they_are_repetitions(
    rig: Rig, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.pipeline.take(rig.block(range(100, 101)))
    commit = Worker.commit
    failures = [True]

    def commits_and_fails(worker: Worker, entry: Entry) -> None:
        commit(worker, entry)
        if failures:
            failures.pop()
            raise psycopg.OperationalError("the answer to the commit was lost")

    monkeypatch.setattr(Worker, "commit", commits_and_fails)
    for n in range(101, 110):
        rig.pipeline.take(rig.block(range(n, n + 1)))
    rig.pipeline.finish()
    assert not failures
    assert stored(database, 100, 110) == each_once(100, 110)
    assert len(rig.answered) == rig.sent


def test_given_messages_that_flow_when_committed_then_the_next_gather_until_they_stop(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Worker.commit

    def commits_slowly(worker: Worker, entry: Entry) -> None:
        commit(worker, entry)
        time.sleep(0.02)

    monkeypatch.setattr(Worker, "commit", commits_slowly)
    for n in range(110, 114):
        rig.pipeline.take(rig.block(range(n, n + 1)))
    assert 0 < rig.inbox.apart_s <= 0.016
    time.sleep(1)
    rig.pipeline.take(rig.block(range(114, 115)))
    assert rig.inbox.apart_s == 0


def test_given_an_alert_in_the_middle_when_messages_flow_then_it_fires_and_all_are_stored(
    rig: Rig, database: Database
) -> None:
    for n in range(200, 203):
        rig.pipeline.take(rig.block(range(n, n + 1)))
    rig.pipeline.take(rig.block(range(203, 204), value=9.5))
    rig.pipeline.take(rig.block(range(900, 901), value=9.5))  # more than 10 minutes later
    rig.pipeline.take(rig.block(range(901, 902)))
    rig.pipeline.finish()
    assert stored(database, 200, 902) == each_once(200, 204) + each_once(900, 902)
    ((fired,),) = database.query("SELECT count(*) FROM episode WHERE rule_id = 'high'")
    assert fired == len(DEVICES)


def test_given_few_messages_when_taken_then_states_are_written_with_them(
    rig: Rig, database: Database
) -> None:
    rig.pipeline.take(rig.block(range(1000, 1001)))
    rig.pipeline.take(rig.block(range(1001, 1002)))
    rig.pipeline.finish()
    newest = database.query(
        "SELECT DISTINCT s.seq FROM device_state s JOIN device_no USING (device_no)"
        " WHERE device_id = ANY(%s)",
        DEVICES,
    )
    assert newest == [(1001,)]
    ((behind,),) = database.query(
        "SELECT max(t.notification_id) - max(w.states_telemetry_id)"
        " FROM telemetry_events t, ingest_worker w"
    )
    assert behind == 0


def test_given_nothing_gathered_when_a_reading_needs_care_then_by_the_rules_of_now(
    rig: Rig, database: Database, ledger: Ledger
) -> None:
    device, unit, profile = "pipe-alone", "pipe-unit", "pipe_rules"
    at_once = replace(field.HIGH, raise_after_min=0.0)
    field.register_unit(ledger, unit, profile)
    field.publish(ledger, profile, 1, at_once)
    field.register_device(ledger, device)
    field.append(ledger, [(device_stream(device), 2, field.placed(device, unit, field.PLACED))])
    for seq in range(2):  # the first of a device in memory needs care, whatever it says
        rig.pipeline.take(rig.block(range(seq, seq + 1), devices=[device]))
    rig.pipeline.finish()
    field.publish(ledger, profile, 2, replace(at_once, limit_c=10.0))
    over = rig.block(range(2, 3), value=9.5, devices=[device])
    assert rig.worker.hurries(over.packets)
    rig.pipeline.take(over)
    rig.pipeline.finish()
    episodes = "SELECT count(*) FROM episode JOIN device_no USING (device_no) WHERE device_id = %s"
    assert database.query(episodes, device) == [(0,)]


@pytest.mark.parametrize("failing", [False, True])
def test_given_others_gathered_when_a_reading_may_begin_an_alert_then_it_is_stored_before_them(
    rig: Rig, database: Database, monkeypatch: pytest.MonkeyPatch, failing: bool
) -> None:
    first = 1_700 + 20 * failing
    urgent, calm = DEVICES[:1], DEVICES[1:]
    for seq in (first, first + 1):  # the first of a device in memory needs care, whatever it says
        rig.pipeline.take(rig.block(range(seq, seq + 1)))
    rig.pipeline.finish()
    commit, committed = Worker.commit, list[set[str]]()
    failures = [failing] * failing

    def commits(worker: Worker, entry: Entry) -> None:
        commit(worker, entry)
        content = entry.content
        lanes = () if isinstance(content, Batch) else (part.lanes for _, part in content.groups)
        states = content.states if isinstance(content, Batch) else {}
        committed.append({lane.state.device_id for of in lanes for lane in of} | states.keys())
        if failures:
            failures.pop()
            raise psycopg.OperationalError("the answer to the commit was lost")

    monkeypatch.setattr(Worker, "commit", commits)
    over = rig.block(range(first + 2, first + 3), value=9.5, devices=urgent)
    under = rig.block(range(first + 2, first + 3), devices=calm)
    assert rig.worker.hurries(over.packets)
    assert not rig.worker.hurries(under.packets)
    rig.pipeline.take(Block(1, [*under.packets, *over.packets]))
    rig.pipeline.take(rig.block(range(first + 3, first + 4)))
    rig.pipeline.finish()
    assert committed[0] == set(urgent)
    assert stored(database, first, first + 4) == each_once(first, first + 4)
    assert set(rig.answered.values()) == {1}
    assert len(rig.answered) == rig.sent
    late = database.query(
        "SELECT count(*) FROM device_state s JOIN device_no USING (device_no)"
        " WHERE device_id = ANY(%s) AND seq <> %s",
        DEVICES,
        first + 3,
    )
    assert late == [(0,)]
