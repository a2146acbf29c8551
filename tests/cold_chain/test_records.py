"""The twice-daily record as rules, and what readings say of a stretch of time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from domain.cold_chain import records
from domain.cold_chain.record_events import ShownProbe, TemperatureRecordSigned
from domain.cold_chain.records import Half, Shown, State, window, windows
from domain.cold_chain.spells import Held, Spell, gaps, measured_test, spells, spread, values_at
from domain.shared.errors import Conflict, DomainError, Invalid
from tests.spec import Outcome, spec

DAY = date(2026, 3, 2)
MORNING, AFTERNOON = (window(DAY, half) for half in Half)
NINE = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)  # 09:00 in China
MIN = 60_000


def shown(at: datetime, value: float | None = 4.6) -> Shown:
    probe = ShownProbe(device_id="D", channel="t1", value_c=value, read_at=at)
    return Shown(
        unit_id="U",
        site_id="S",
        region_code="640202",
        shown_at=at,
        as_of="L1.T2",
        since=at - timedelta(hours=15),
        probes=[probe],
        min_c=3.9,
        max_c=5.2,
        outside_min=0.0,
        unknown_min=0.0,
        alert_ids=[],
    )


def signed(now: datetime, *known: TemperatureRecordSigned, **changed: Any) -> Outcome:
    given: dict[str, Any] = {
        "window": MORNING,
        "other": None,
        "shown": shown(now, changed.pop("value", 4.6)),
        "own_c": None,
        "remark": "",
        "signed_by": "P-1",
        "now": now,
    }
    return spec(records.evolve_record, None).given(*known).when(records.sign, **given | changed)


def event(outcome: Outcome) -> TemperatureRecordSigned:
    assert outcome.error is None, outcome.error
    (found,) = outcome.events
    assert isinstance(found, TemperatureRecordSigned)
    return found


def test_given_a_day_when_its_windows_pass_then_due_late_and_missed() -> None:
    assert [each.half for each in windows(DAY, DAY)] == list(Half)
    assert MORNING.opens == datetime(2026, 3, 1, 22, 0, tzinfo=UTC)  # 06:00 in China
    moments = [MORNING.opens, MORNING.due_at, MORNING.closes]
    before = [MORNING.state(at - timedelta(seconds=1)) for at in moments]
    assert before == [State.UPCOMING, State.DUE, State.LATE]
    assert [MORNING.state(at) for at in moments] == [State.DUE, State.LATE, State.MISSED]
    assert MORNING.other == AFTERNOON
    assert AFTERNOON.other == MORNING
    assert records.overdue(MORNING.due_at, 2) == [
        MORNING,
        window(DAY - timedelta(days=1), Half.AFTERNOON),
    ]
    assert records.overdue(MORNING.due_at - timedelta(seconds=1), 1)[0].half is Half.AFTERNOON
    streams = {records.record_stream(u, w) for u in "AB" for w in (MORNING, AFTERNOON)}
    assert len(streams) == 4


def test_given_what_was_shown_when_signed_then_on_record_once_and_never_changed() -> None:
    found = event(signed(NINE, own_c=4.8, remark="门封条老化"))
    assert (found.half, found.day, found.late, found.own_c) == ("morning", DAY, False, 4.8)
    assert (found.min_c, found.probes[0].value_c, found.due_at) == (3.9, 4.6, MORNING.due_at)
    assert signed(NINE, found, own_c=4.8, remark="门封条老化").events == []
    signed(NINE, found, own_c=5.0).refused(Conflict, "record_signed")
    late = MORNING.due_at + timedelta(minutes=1)
    assert event(signed(late)).late


def test_given_two_records_of_a_day_when_closer_than_six_hours_then_refused() -> None:
    first = event(signed(MORNING.due_at - timedelta(minutes=1)))
    soon = first.shown_at + timedelta(hours=5, minutes=59)
    signed(soon, window=AFTERNOON, other=first).refused(Conflict, "records_too_close")
    then = first.shown_at + timedelta(hours=6)
    assert event(signed(then, window=AFTERNOON, other=first)).half == "afternoon"


@pytest.mark.parametrize(
    ("now", "changed", "kind", "code"),
    [
        (MORNING.opens - timedelta(minutes=1), {}, Conflict, "record_not_due"),
        (MORNING.closes, {}, Conflict, "record_missed"),
        (NINE, {"shown": shown(NINE - timedelta(minutes=16))}, Invalid, "shown_long_ago"),
        (NINE, {"shown": shown(NINE + timedelta(minutes=1))}, Invalid, "shown_long_ago"),
        (NINE, {"signed_by": ""}, Invalid, "not_a_pseudonym"),
        (NINE, {"signed_by": "张三"}, Invalid, "not_a_pseudonym"),
        (NINE, {"value": None}, Invalid, "own_reading_required"),
        (NINE, {"own_c": 1e6}, Invalid, "bad_own_reading"),
        (NINE, {"remark": "电话 13800000000"}, Invalid, "names_a_person"),
    ],
)
def test_given_a_wrong_signature_when_signed_then_refused(
    now: datetime, changed: dict[str, Any], kind: type[DomainError], code: str
) -> None:
    signed(now, **changed).refused(kind, code)


# ---- stretches of time ----


def held(*values: float, start: int = 0, gap_after: int = -1) -> Held:
    """Return values that held for a minute each; a gap of ten minutes after one of them."""
    begin = start + MIN * np.arange(len(values), dtype=np.int64)
    if gap_after >= 0:
        begin[gap_after + 1 :] += 10 * MIN
    return Held(begin, begin + MIN, np.array(values))


def test_given_readings_when_looked_through_then_spells_of_each_side_and_gaps_between() -> None:
    probe = held(8.0, 8.1, 9.0, 5.0, 1.9, 8.5, 8.6, gap_after=5)
    assert spells(probe, (2.0, 8.0)) == [
        Spell("high", MIN, 3 * MIN, 9.0),
        Spell("low", 4 * MIN, 5 * MIN, 1.9),
        Spell("high", 5 * MIN, 6 * MIN, 8.5),
        Spell("high", 16 * MIN, 17 * MIN, 8.6),
    ]
    assert spells(held(2.0, 8.0), (2.0, 8.0)) == []
    assert gaps([probe], -MIN, 20 * MIN) == [(-MIN, 0), (6 * MIN, 16 * MIN), (17 * MIN, 20 * MIN)]
    assert gaps([probe, held(*[5.0] * 30)], 0, 20 * MIN) == []
    assert gaps([], 0, MIN) == [(0, MIN)]


def test_given_probes_when_compared_then_how_far_apart_at_one_moment() -> None:
    assert spread([held(4.0, 4.0, 4.0), held(5.0, 6.0)], 0, 5 * MIN) == (1.5, 2.0)
    assert spread([held(4.0), held(5.0, start=MIN)], 0, 3 * MIN) is None
    assert np.isnan(values_at(held(), np.array([0])))


def test_given_a_test_of_a_store_when_measured_then_how_long_it_held_and_came_back() -> None:
    steady = held(*[5.0] * 60)
    warmed = held(*[5.0] * 10, *[6.0, 7.0, 8.5, 9.0, 8.2], *[7.0] * 45)
    found = measured_test([steady, warmed], (2.0, 8.0), 10 * MIN, 13 * MIN)
    assert (found.start_lo_c, found.start_hi_c, found.lo_c, found.hi_c) == (5.0, 6.0, 5.0, 9.0)
    assert (found.held_min, found.recovered_min) == (2.0, 2.0)
    calm = measured_test([steady], (2.0, 8.0), 10 * MIN, 13 * MIN)
    assert (calm.held_min, calm.recovered_min) == (None, 0.0)
    never = measured_test([held(*[5.0] * 10, *[9.0] * 20)], (2.0, 8.0), 5 * MIN, 8 * MIN)
    assert (never.held_min, never.recovered_min) == (5.0, None)
    nothing = measured_test([], (2.0, 8.0), 0, MIN)
    assert (nothing.lo_c, nothing.held_min, nothing.recovered_min) == (None, None, 0.0)
