"""Ranges: any cutting, repetition and order stores each reading once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import ranges
from ingest.ranges import SEQ_END, Ranges, add, new_runs, version_of

# Boots next to each other and a sequence that ends at the boot's end: neighbours on the line.
BOOTS = (0, 1, 2)
ORIGINS = (0, 7, SEQ_END - 30)

message = st.tuples(
    st.sampled_from(BOOTS), st.sampled_from(ORIGINS), st.integers(0, 29), st.integers(1, 30)
).map(lambda m: (version_of(m[0], m[1] + m[2]), min(m[3], 30 - m[2])))


@given(st.lists(message, max_size=60))
def test_given_messages_cut_anyhow_when_taken_then_each_reading_is_new_once(
    messages: list[tuple[int, int]],
) -> None:
    stored: Ranges = []
    taken: list[int] = []
    for first, n in messages:
        for start, end in new_runs(stored, first, n):
            taken.extend(range(start, end))
            add(stored, start, end)
    sent = {version for first, n in messages for version in range(first, first + n)}
    assert sorted(taken) == sorted(sent)
    assert stored == sorted(set(stored)), "ranges are disjoint and do not touch"
    assert ranges.from_bytes(ranges.to_bytes(stored)) == stored


def test_given_a_later_range_when_the_gap_before_it_is_filled_then_the_run_stops_there() -> None:
    stored: Ranges = []
    add(stored, 0, 10)
    add(stored, 15, 20)
    assert new_runs(stored, 10, 8) == [(10, 15)]
    assert new_runs(stored, 5, 20) == [(10, 15), (20, 25)]


def test_given_touching_ranges_when_added_then_they_are_one() -> None:
    stored: Ranges = []
    add(stored, 10, 20)
    add(stored, 0, 10)
    add(stored, 20, 30)
    assert stored == [0, 30]


@pytest.mark.parametrize("first", [0, 3, 9])
def test_given_a_stored_range_when_it_comes_again_then_nothing_is_new(first: int) -> None:
    stored: Ranges = []
    add(stored, 0, 10)
    assert new_runs(stored, first, 10 - first) == []
