"""The clocks: real time, and the stepped one that processes share through a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.shared.errors import Conflict, Invalid
from runtime.clock import STEPPED_START, RealClock, SteppedClock

LATER = datetime(2026, 3, 2, 8, 0, 0, 1500, tzinfo=UTC)


def test_given_new_stepped_clock_when_read_then_it_stands_at_the_start(tmp_path: Path) -> None:
    clock = SteppedClock(tmp_path / "clock")
    assert clock.now() == clock.last_tick() == STEPPED_START
    assert clock.stepped


def test_given_two_openings_of_one_file_when_one_moves_then_the_other_sees_it(
    tmp_path: Path,
) -> None:
    one, other = SteppedClock(tmp_path / "clock"), SteppedClock(tmp_path / "clock")
    one.set(LATER)
    one.ticked(LATER)
    # Whole milliseconds, rounded up, so that last_tick() >= now can be waited for.
    assert other.now() == LATER + timedelta(microseconds=500)
    assert other.last_tick() >= LATER


def test_given_stepped_clock_when_opened_again_later_then_it_stands_where_it_stood(
    tmp_path: Path,
) -> None:
    SteppedClock(tmp_path / "clock").set(LATER)
    assert SteppedClock(tmp_path / "clock").now() > LATER


def test_given_stepped_clock_when_moved_back_then_conflict(tmp_path: Path) -> None:
    clock = SteppedClock(tmp_path / "clock")
    clock.set(LATER)
    with pytest.raises(Conflict) as refused:
        clock.set(LATER - timedelta(seconds=1))
    assert refused.value.code == "clock_backwards"


def test_given_real_clock_when_moved_then_invalid() -> None:
    clock = RealClock()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    with pytest.raises(Invalid) as refused:
        clock.set(LATER)
    assert refused.value.code == "clock_not_stepped"
    clock.ticked(LATER)
    assert clock.last_tick() == LATER
