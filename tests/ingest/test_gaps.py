"""Gaps on the real database: opened, filled, lost, asked for, given up; whatever the order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg_pool import ConnectionPool

from domain.cold_chain import gaps as rules
from domain.cold_chain.events import ReadingsRecorded, SeqGapClosed, SeqGapOpened
from domain.cold_chain.gaps import ASKS_MAX, QUIET_MS, GapNotes, Span
from ingest import gaps
from ingest.batch import Report
from ingest.gaps import GATEWAY_MAX, OPEN_MAX
from ingest.ranges import RANGES_MAX, version_of
from runtime.disk import DiskGuard
from runtime.metrics import DatabaseCollector
from store.logs import Ledger, Telemetry
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.gap_field import Taker, gap_rows

pytestmark = pytest.mark.database

Closed = Callable[[], list[tuple[str, int]]]
QUIET_S = QUIET_MS / 1000


@pytest.fixture
def taker(database: Database, clock: ManualClock) -> Iterator[Taker]:
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        conn.execute("UPDATE gap SET state = 'lost'")  # of the tests before
        yield Taker(conn, clock)


def run(first: int, past: int, boot: int = 1) -> Span:
    return version_of(boot, first), version_of(boot, past)


def lost(first: int, last: int) -> Report:
    body = {"kind": "lost", "ts": field.NOW_MS, "boot": 1, "from": first, "to": last}
    return Report("lost", field.NOW_MS, False, json.dumps(body))


def opened(device_id: str, first: int, past: int) -> SeqGapOpened:
    return SeqGapOpened(
        device_id=device_id, boot=1, first_seq=first, past_seq=past, opened_ms=field.NOW_MS
    )


@pytest.fixture
def closed(telemetry: Telemetry) -> Closed:
    """Give what tells which gaps were closed in the test: outcome and how many are missing."""
    before = telemetry.last_position()

    def told() -> list[tuple[str, int]]:
        found = [r.envelope.event for r in telemetry.read(before, 1000, [SeqGapClosed.TOPIC])]
        return [(e.outcome, e.missing) for e in found if isinstance(e, SeqGapClosed)]

    return told


def test_given_readings_missing_when_they_come_in_parts_then_opened_once_and_closed_once(
    taker: Taker, device: str, database: Database, closed: Closed
) -> None:
    assert taker.take(device, [run(5, 10)]) == [], "nothing is known of what was before"
    assert taker.take(device, [run(20, 25)]) == [opened(device, 10, 20)]
    assert taker.take(device, [run(14, 16)]) == []
    assert taker.take(device, [run(10, 14), run(3, 4)]) == [opened(device, 4, 5)]
    taker.look()
    assert gap_rows(database, device) == [(*run(4, 5), 1, "open"), (*run(10, 20), 4, "open")]
    assert taker.take(device, [run(16, 20)]) == []
    taker.look()
    assert closed() == [("filled", 0)]
    assert gap_rows(database, device)[1] == (*run(10, 20), 0, "filled")


def test_given_a_new_boot_when_it_speaks_then_no_gap_between_boots(
    taker: Taker, device: str
) -> None:
    taker.take(device, [run(0, 10)])
    assert taker.take(device, [run(7, 10, boot=2)]) == []
    assert taker.take(device, [run(12, 13)]) == [opened(device, 10, 12)]


def test_given_messages_in_disorder_when_in_one_batch_then_nothing_is_told(
    taker: Taker, device: str
) -> None:
    for n, each in enumerate((False, True)):
        spans = [run(first + 9 * n, first + 1 + 9 * n) for first in (0, 2, 1)]
        assert len(taker.take(device, spans, each=each)) == n, "the gap between both, no other"


pieces = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 24), st.integers(1, 8), st.booleans()),
    min_size=1,
    max_size=12,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(messages=pieces, each=st.booleans())
def test_given_messages_cut_anyhow_when_taken_then_open_gaps_are_the_holes(
    taker: Taker,
    ledger: Ledger,
    telemetry: Telemetry,
    database: Database,
    messages: list[tuple[int, int, int, bool]],
    each: bool,
) -> None:
    device, before = field.new_device(ledger), telemetry.last_position()
    batch: list[Span] = []
    for boot, first, n, more in messages:
        batch.append(run(first, first + n, boot=boot))
        if not more:
            taker.take(device, batch, each=each)
            taker.look()
            batch = []
    taker.take(device, batch, each=each)
    for _ in range(3):  # a gateway is asked about few at once
        taker.clock.advance(milliseconds=QUIET_MS)
        taker.look()
    holes = rules.holes(taker.state(device).ranges)
    rows = gap_rows(database, device)
    inside = [
        hole for first, past, *_ in rows for hole in holes if first <= hole[0] and hole[1] <= past
    ]
    assert sorted(inside) == holes, "each hole lies in one gap"
    for first, past, missing, state in rows:
        assert missing == sum(b - a for a, b in holes if first <= a and b <= past)
        assert state == ("open" if missing else "filled")
    told = [r.envelope.event for r in telemetry.read(before, 1000)]
    starts = [version_of(e.boot, e.first_seq) for e in told if isinstance(e, SeqGapOpened)]
    ends = [version_of(e.boot, e.first_seq) for e in told if isinstance(e, SeqGapClosed)]
    assert sorted(starts) == [row[0] for row in rows]
    assert sorted(ends) == [row[0] for row in rows if row[3] == "filled"]


def test_given_more_holes_than_ranges_are_kept_when_filled_then_closed_by_the_log(
    taker: Taker, device: str, database: Database, closed: Closed
) -> None:
    taker.take(device, [run(10 * n, 10 * n + 1) for n in range(3)])
    taker.take(device, [run(1000 + 2 * n, 1001 + 2 * n) for n in range(RANGES_MAX)])
    state = taker.state(device)
    assert len(state.ranges) == 2 * RANGES_MAX
    assert not rules.opened([], state.ranges[:2]), "the first holes are forgotten"
    taker.clock.advance(milliseconds=QUIET_MS)
    (asked, *_) = taker.look()
    assert asked.arguments == {"boot": 1, "from": 1, "to": 9}, "but not told as filled"
    for first, past in ((1, 6), (6, 10)):
        event = ReadingsRecorded(
            device_id=device,
            boot=1,
            seq=first,
            ts_ms=tuple(range(field.NOW_MS, field.NOW_MS + past - first)),
            columns={"t1": (5.0,) * (past - first)},
            received_ms=field.NOW_MS,
        )
        assert closed() == []
        notes = GapNotes()
        gaps.note_stored(notes, state, *run(first, past))
        taker.commit(state, notes, more=[(run(first, past)[0], event)])
        taker.look()
    assert closed() == [("filled", 0)]
    assert gap_rows(database, device)[0][2:] == (0, "filled")


def test_given_a_device_that_numbers_otherwise_when_many_gaps_are_open_then_no_more(
    taker: Taker, device: str, database: Database
) -> None:
    for n in range(OPEN_MAX + 5):
        taker.take(device, [run(300 * n, 300 * n + 1)])
    assert len(gap_rows(database, device)) == OPEN_MAX


def test_given_very_many_holes_in_one_batch_when_taken_then_no_more_are_open(
    taker: Taker, device: str, database: Database
) -> None:
    taker.take(device, [run(0, 1), run(2, 3)])
    told = taker.take(device, [run(2 * n, 2 * n + 1) for n in range(2, OPEN_MAX + 50)])
    assert len(told) == OPEN_MAX - 1
    assert len(gap_rows(database, device)) == OPEN_MAX


def test_given_a_gap_when_nothing_comes_then_asked_for_ever_later_and_given_up(
    taker: Taker, device: str, clock: ManualClock, closed: Closed, database: Database
) -> None:
    taker.take(device, [run(0, 10), run(20, 30)])
    clock.advance(seconds=QUIET_S - 1)
    assert taker.look() == []
    clock.advance(seconds=1)
    (asked,) = taker.look(field.REGION)
    assert (asked.device_id, asked.cmd) == (device, "backfill")
    assert asked.arguments == {"boot": 1, "from": 10, "to": 19}
    ids = {asked.command_id}
    for n in range(1, ASKS_MAX):
        clock.advance(minutes=2 ** (n - 1), seconds=-1)
        assert taker.look() == []
        clock.advance(seconds=1)
        (asked,) = taker.look()
        ids.add(asked.command_id)
    assert len(ids) == ASKS_MAX
    clock.advance(days=1)
    assert taker.look() == []
    assert closed() == [("abandoned", 10)]
    assert gap_rows(database, device)[0][2:] == (10, "abandoned")
    taker.take(device, [run(10, 20)])
    taker.look()
    assert closed() == [("abandoned", 10), ("filled", 0)]


def test_given_a_gap_asked_for_when_a_part_comes_then_waited_and_asked_for_the_rest(
    taker: Taker, device: str, clock: ManualClock
) -> None:
    taker.take(device, [run(0, 10), run(20, 30)])
    clock.advance(seconds=QUIET_S)
    taker.look()
    clock.advance(seconds=50)
    taker.take(device, [run(10, 13)])
    clock.advance(seconds=10)
    assert taker.look() == []
    clock.advance(seconds=QUIET_S)
    (asked,) = taker.look()
    assert asked.arguments == {"boot": 1, "from": 13, "to": 19}


def test_given_another_region_when_due_then_left_to_whoever_has_it(
    taker: Taker, device: str, clock: ManualClock
) -> None:
    taker.take(device, [run(0, 10), run(20, 30)])
    clock.advance(seconds=QUIET_S)
    assert taker.look("110101") == []
    assert len(taker.look("110101", field.REGION)) == 1


def test_given_a_backlog_on_its_way_when_due_then_not_asked_for_nor_given_up_but_filled(
    taker: Taker, device: str, clock: ManualClock, database: Database
) -> None:
    taker.take(device, [run(0, 10), run(20, 30)])
    for _ in range(2 * ASKS_MAX):
        clock.advance(days=1)
        assert taker.look(asking=False) == []
    clock.advance(seconds=QUIET_S)
    assert len(taker.look()) == 1, "as often as if nothing had been"
    for _ in range(ASKS_MAX - 1):
        clock.advance(days=1)
        taker.look()
    for _ in range(2):
        clock.advance(days=1)
        taker.look(asking=False)
        assert gap_rows(database, device)[0][3] == "open"
    taker.take(device, [run(10, 20)])
    taker.look(asking=False)
    assert gap_rows(database, device)[0][3] == "filled"


def test_given_many_gaps_of_a_gateway_when_due_then_few_at_once(
    taker: Taker, ledger: Ledger, clock: ManualClock
) -> None:
    for device in [field.new_device(ledger) for _ in range(2 * GATEWAY_MAX)]:
        taker.take(device, [run(0, 10), run(20, 30)])
    clock.advance(seconds=QUIET_S)
    first = taker.look()
    assert len(first) == GATEWAY_MAX
    clock.advance(seconds=QUIET_S - 1)
    assert taker.look() == []
    clock.advance(seconds=1)
    second = taker.look()
    assert len(second) == GATEWAY_MAX
    assert not {one.device_id for one in first} & {one.device_id for one in second}


def test_given_a_gap_when_the_device_lost_it_then_closed_as_lost(
    taker: Taker, device: str, clock: ManualClock, closed: Closed, database: Database
) -> None:
    taker.take(device, [run(0, 10), run(20, 30)])
    taker.take(device, [], reports=[lost(5, 14)])
    (asked,) = taker.look()
    assert asked.arguments == {"boot": 1, "from": 15, "to": 19}
    taker.take(device, [run(18, 20)], reports=[lost(5, 17)])
    assert taker.look() == []
    assert closed() == [("lost", 8)]
    assert gap_rows(database, device)[0][2:] == (8, "lost")
    taker.take(device, [run(10, 18)])
    taker.look()
    assert closed() == [("lost", 8), ("filled", 0)]


def test_given_a_gap_given_up_when_the_device_says_it_is_lost_then_lost(
    taker: Taker, device: str, clock: ManualClock, database: Database
) -> None:
    taker.take(device, [run(0, 10), run(20, 30)])
    for _ in range(ASKS_MAX + 1):
        clock.advance(days=1)
        taker.look()
    assert gap_rows(database, device)[0][3] == "abandoned"
    taker.take(device, [], reports=[lost(0, 100)])
    taker.look()
    assert gap_rows(database, device)[0][3] == "lost"


def test_given_gaps_when_scraped_then_counted_by_state(
    taker: Taker, device: str, database: Database
) -> None:
    taker.take(device, [run(0, 10), run(20, 30), run(40, 50)])
    guard = DiskGuard([Path()], 0)
    with ConnectionPool(database.app_dsn, min_size=1, open=True) as pool:
        families = {family.name: family for family in DatabaseCollector(pool, guard).collect()}
    states = {s.labels["state"]: s.value for s in families["vaxtrail_gaps"].samples}
    assert states["open"] == 2
    assert "filled" not in states
