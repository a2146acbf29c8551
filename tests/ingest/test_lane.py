"""The fast lane stores, to the bit, what careful judgement stores of the same messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import count, zip_longest
from threading import Event as StopEvent
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.batch import Received
from ingest.sheet import Sheet
from ingest.worker import Worker
from ingest.write import Entry
from runtime.postgres import PostgresServer
from store.logs import Ledger
from tests.conftest import Database, ManualClock, create_database, drop_database
from tests.ingest import field
from tests.ingest.field import BASE, MINUTE_MS, NOW_MS
from tests.ingest.test_intake import defer_states

pytestmark = pytest.mark.database


class Counting(Worker):
    """A worker that counts the readings that went through the fast lane."""

    readings = 0
    failures: ClassVar[list[str]] = []

    def finished(self, connection: int, mids: Sequence[bytes]) -> Entry:
        """Count what is on the sheet."""
        entry = super().finished(connection, mids)
        assert isinstance(entry.content, Sheet)
        Counting.readings += entry.content.rows
        return entry

    def commit(self, entry: Entry) -> None:
        """Let no failure pass that another way of storing would mend."""
        try:
            super().commit(entry)
        except psycopg.Error as error:
            Counting.failures.append(str(error))
            raise


Rig = tuple[Worker, Database, Ledger]
# Turns of messages: (kind, first seq, n, form).
Turns = list[list[tuple[str, int, int, str]]]
_numbers = count()
START_MS = NOW_MS - 30 * 60 * MINUTE_MS

ORDINARY: st.SearchStrategy[float | None] = st.sampled_from([4.0, 5.25, 7.99, 2.0, 8.0, 4.00001, 5])
STRANGE: st.SearchStrategy[float | None] = st.sampled_from(
    [8.1, 9.5, 1.9, -0.5, 20.123, -127.0, None]
)
# Nearly all within 2 to 8 degrees; runs of others make alerts that fire, end and are amended.
TEMPERATURES = st.integers(0, 9).flatmap(
    lambda n: (
        st.lists(STRANGE, min_size=1, max_size=8)
        if n == 0
        else st.lists(ORDINARY, min_size=1, max_size=8)
    )
)


@pytest.fixture(scope="module")
def rigs(postgres: PostgresServer) -> Iterator[tuple[Rig, Rig]]:
    """Give two workers on databases of their own that know the same field."""
    made = []
    for _ in range(2):
        database = create_database(postgres)
        ledger = Ledger(database.app_dsn)
        field.register(ledger)
        worker = Counting(database.app_dsn, ManualClock(), StopEvent())
        worker.start()
        made.append((worker, database, ledger))
    yield made[0], made[1]
    for worker, database, ledger in made:
        worker.close()
        ledger.close()
        drop_database(postgres, database)


@st.composite
def _cuts(draw: st.DrawFn) -> Turns:
    """Return turns of messages as a gateway might come to send them."""
    length = draw(st.integers(4, 40))
    runs: list[tuple[str, int, int, str]] = []
    at = 0
    while at < length:
        n = draw(st.integers(1, 7))
        form = draw(st.sampled_from(["single", "batch", "dts", "flat", "array"]))
        kind = draw(st.sampled_from(["tele"] * 9 + ["backfill"]))
        runs.append((kind, at, min(n, length - at), form))
        at += n
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):  # sent again, perhaps cut anew
        first = draw(st.integers(0, length - 1))
        n = draw(st.integers(1, length - first))
        again = ("backfill", first, n, draw(st.sampled_from(["batch", "array"])))
        runs.insert(draw(st.integers(0, len(runs))), again)
    if draw(st.integers(0, 5)) == 0:
        runs = draw(st.permutations(runs))
    turns: Turns = [[]]
    for run in runs:
        turns[-1].append(run)
        if draw(st.integers(0, 2)) == 0:
            turns.append([])
    return [turn for turn in turns if turn]


def _messages(
    device: str, boot: int, kind: str, seqs: range, form: str, values: Sequence[float | None]
) -> list[Received]:
    """Return the readings of these numbers in one of the built-in forms."""
    topic = f"{BASE}/{kind}/{device}"
    rows = [
        (seq, START_MS + boot * 1000 * MINUTE_MS + seq * 4 * MINUTE_MS, value)
        for seq, value in zip(seqs, values, strict=True)
    ]
    first_seq, first_ms, _ = rows[0]
    base = {"seq": first_seq, "ts": first_ms, "step": 4 * MINUTE_MS}
    batch: dict[str, Any] = {"v": 1, "boot": boot, "base": base, "cols": ["t1", "rh"]}
    batch["rows"] = [[value, 60.5] for *_, value in rows]
    flat: list[dict[str, Any]] = [
        {"ts": _time(ms, seq), "seq": seq, "boot": boot, "temperature": value, "humidity": 60}
        for seq, ms, value in rows
    ]
    if first_seq % 7 == 6:
        flat[-1]["note"] = "beside it"
    match form:
        case "single":
            bodies: list[object] = [
                {"v": 1, "dev": device, "boot": boot, "seq": seq, "ts": ms, "m": {"t1": value}}
                for seq, ms, value in rows
            ]
        case "dts":
            batch["dts"] = [ms - first_ms for _, ms, _ in rows]
            bodies = [batch]
        case "flat":
            bodies = list(flat)
        case "array":
            bodies = [flat]
        case "holed" | "reversed" | "untimed" | "strange":
            bodies = [_spoilt(flat, form)]
        case _:
            bodies = [batch]
    return [Received(topic, json.dumps(body).encode()) for body in bodies]


def _spoilt(flat: list[dict[str, Any]], form: str) -> object:
    """Return the readings in a way that is not ordinary."""
    if form == "untimed":
        base = {"seq": flat[0]["seq"], "ts": START_MS}
        rows = [[4.0] for _ in flat]
        return {"v": 1, "boot": 1, "base": base, "dts": [], "cols": ["t1"], "rows": rows}
    if form == "strange":
        return flat[0] | {"ts": "", "m": {f"c{n}": 1 for n in range(3000)}}
    if form == "holed":
        return [flat[0], *flat[2:]]
    times = [one["ts"] for one in reversed(flat)]
    return [one | {"ts": ts} for one, ts in zip(flat, times, strict=True)]


def _time(ms: int, seq: int) -> int | str:
    """Return a time in one of the forms that senders use, mostly the common one."""
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")[:23]
    forms: dict[int, int | str] = {5: ms, 8: f"{text}+00:00", 11: f"{text[:19]}Z"}
    return forms.get(seq % 12, f"{text}Z")


def _stored(database: Database, device: str) -> list[Any]:
    """Return all that is stored of a device, without numbers that count transactions."""
    readings = database.query(
        "SELECT r.ts, boot, seq, backfill, t1, t2, t3, t4, rh, door, mains, bat, extra"
        " FROM reading r JOIN device_no USING (device_no) WHERE device_id = %s"
        " ORDER BY boot, seq",
        device,
    )
    states = database.query(
        "SELECT region_code, ts, boot, seq, t1, rh, extra, older, ranges, rules, received_at"
        " FROM device_state JOIN device_no USING (device_no) WHERE device_id = %s",
        device,
    )
    episodes = database.query(
        "SELECT alert_id, rule_id, started_at, fired_at, peak_c, recovered_at, resolved_at,"
        " withdrawn, version FROM episode JOIN device_no USING (device_no)"
        " WHERE device_id = %s ORDER BY alert_id",
        device,
    )
    return [readings, states, episodes]


def _events(database: Database, after: Sequence[int]) -> list[Any]:
    return [
        database.query(
            "SELECT originator_id, originator_version, topic, state FROM telemetry_events"
            " WHERE notification_id > %s ORDER BY originator_id, originator_version",
            after[0],
        ),
        database.query(
            "SELECT originator_id, originator_version, topic, state FROM ledger_events"
            " WHERE notification_id > %s ORDER BY originator_id, originator_version",
            after[1],
        ),
    ]


def _positions(database: Database) -> tuple[int, int]:
    ((telemetry, ledger),) = database.query(
        "SELECT (SELECT coalesce(max(notification_id), 0) FROM telemetry_events),"
        " (SELECT coalesce(max(notification_id), 0) FROM ledger_events)"
    )
    return telemetry, ledger


def _drawn_values(data: st.DataObject) -> list[list[float | None]]:
    """Return the values of readings 0 to 39, and what some of them are when they are sent again."""
    runs: list[list[float | None]] = data.draw(st.lists(TEMPERATURES, min_size=40, max_size=40))
    values = [value for run in runs for value in run]
    others = data.draw(st.lists(st.integers(0, 20), min_size=40, max_size=40))
    again = [4.5 if other == 0 else value for other, value in zip(others, values, strict=False)]
    return [values, again]


def _sent(
    device: str, boot: int, turn: list[tuple[str, int, int, str]], values: list[list[float | None]]
) -> list[Received]:
    return [
        message
        for nth, (kind, first, size, form) in enumerate(turn)
        for message in _messages(
            device,
            boot,
            kind,
            range(first, first + size),
            form,
            values[min(nth, 1)][first : first + size],
        )
    ]


def _compare(
    rigs: tuple[Rig, Rig],
    values: list[list[list[float | None]]],
    turns: Turns,
    restart: int,
    boots: int,
) -> None:
    """Let both workers take the messages, each in its way, and compare all that is stored.

    Two devices send, the second somewhat later, with values of its own.
    """
    devices = [f"lane-{next(_numbers)}", f"lane-{next(_numbers)}"]
    fast, careful = rigs
    before = []
    for _, database, ledger in rigs:
        for device in devices:
            field.register(ledger, device)
        before.append(_positions(database))
    for boot in range(1, boots + 1):
        for n, (turn, later) in enumerate(zip([*turns, []], [[], *turns], strict=True)):
            sent = [
                _sent(devices[0], boot, turn, values[0]),
                _sent(devices[1], boot, later, values[1]),
            ]
            messages = [m for pair in zip_longest(*sent) for m in pair if m is not None]
            fast[0].take(messages)
            careful[0].take_carefully(messages)
            if n == restart:
                fast[0].forget()  # as after a lost connection: all is read again
    for worker, _, _ in rigs:
        worker.flush()
    for device in devices:
        assert _stored(fast[1], device) == _stored(careful[1], device)
    assert _events(fast[1], before[0]) == _events(careful[1], before[1])
    assert Counting.failures == []


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), turns=_cuts(), restart=st.integers(0, 6), boots=st.integers(1, 2))
def test_given_any_messages_when_taken_fast_and_carefully_then_the_same_is_stored(
    rigs: tuple[Rig, Rig], data: st.DataObject, turns: Turns, restart: int, boots: int
) -> None:
    _compare(rigs, [_drawn_values(data), _drawn_values(data)], turns, restart, boots)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), turns=_cuts(), restart=st.integers(0, 6), boots=st.integers(1, 2))
def test_given_states_written_later_when_taken_fast_and_carefully_then_the_same_is_stored(
    rigs: tuple[Rig, Rig],
    monkeypatch: pytest.MonkeyPatch,
    data: st.DataObject,
    turns: Turns,
    restart: int,
    boots: int,
) -> None:
    defer_states(monkeypatch)
    _compare(rigs, [_drawn_values(data), _drawn_values(data)], turns, restart, boots)


def test_given_a_hole_in_an_episode_when_filled_with_ordinary_values_then_as_carefully(
    rigs: tuple[Rig, Rig],
) -> None:
    """They come late: in a narrower sense than order and limits they are not ordinary at all."""
    values: list[float | None] = [9.5 if 6 <= n < 12 or 22 <= n < 28 else 4.0
                                  for n in range(40)]  # fmt: skip
    turns: Turns = [
        [("tele", 0, 12, "batch")],
        [("tele", 22, 13, "batch")],
        [("tele", 35, 3, "flat")],
        [("backfill", 12, 9, "batch")],
    ]
    _compare(rigs, 2 * [[values, values]], turns, restart=9, boots=1)


@pytest.mark.parametrize(
    "turn",
    [
        [("tele", 4, 3, "batch"), ("tele", 9, 2, "flat"), ("tele", 11, 2, "batch")],  # a hole
        [("tele", 4, 3, "batch"), ("tele", 4, 3, "batch"), ("tele", 7, 2, "flat")],  # repeated
        [("tele", 4, 3, "flat"), ("tele", 6, 3, "array"), ("tele", 9, 2, "batch")],  # overlapping
        [("tele", 9, 2, "batch"), ("tele", 4, 5, "array"), ("tele", 11, 2, "dts")],  # swapped
        [("tele", 4, 3, "array"), ("backfill", 4, 3, "array"), ("tele", 7, 3, "flat")],
        [("backfill", 4, 3, "array"), ("tele", 4, 3, "array"), ("tele", 7, 3, "single")],
        [("backfill", 4, 3, "array"), ("tele", 7, 3, "array"), ("backfill", 10, 3, "flat")],
        [("tele", 4, 4, "holed"), ("tele", 8, 3, "array")],
        [("tele", 4, 4, "reversed"), ("tele", 8, 3, "array")],
        [("tele", 4, 4, "untimed"), ("tele", 4, 3, "array")],
        [("tele", 4, 4, "strange"), ("tele", 4, 3, "array")],
    ],
)
def test_given_a_block_out_of_order_when_taken_at_once_then_as_carefully(
    rigs: tuple[Rig, Rig], turn: list[tuple[str, int, int, str]]
) -> None:
    values: list[float | None] = [4.0 + n % 3 for n in range(40)]
    turns: Turns = [[("tele", 0, 4, "batch")], turn, [("tele", 13, 4, "array")]]
    _compare(rigs, 2 * [[values, values]], turns, restart=9, boots=1)


def test_given_a_hole_when_filled_to_its_end_then_as_carefully(rigs: tuple[Rig, Rig]) -> None:
    values: list[float | None] = [4.0] * 40
    turns: Turns = [
        [("tele", 0, 4, "batch")],
        [("tele", 8, 4, "array")],
        [("backfill", 4, 4, "batch")],
        [("tele", 12, 2, "flat")],
    ]
    _compare(rigs, 2 * [[values, values]], turns, restart=9, boots=1)


def test_given_those_messages_when_taken_then_many_readings_went_through_the_fast_lane() -> None:
    assert Counting.readings > 50
