"""Gaps: which open, what is done about one, and that nothing else decides but what is stored."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cold_chain import gaps
from domain.cold_chain.events import SeqGapClosed, SeqGapOpened
from domain.cold_chain.gaps import (
    ASKS_MAX,
    QUIET_MS,
    RETRY_MS,
    SEQ_END,
    Ask,
    Close,
    Gap,
    Wait,
    next_step,
)

NOW_MS = 1_772_409_600_000
LONG_AGO_MS = NOW_MS - QUIET_MS
SPAN = (10, 20)


def at(boot: int, seq: int) -> int:
    return boot * SEQ_END + seq


def flat(versions: set[int]) -> list[int]:
    """Return the ranges of a set of versions."""
    edges = {v for v in versions if v - 1 not in versions}
    ends = {v + 1 for v in versions if v + 1 not in versions}
    return sorted(edges | ends)


versions = st.sets(
    st.builds(at, st.integers(0, 2), st.integers(0, 12) | st.integers(SEQ_END - 5, SEQ_END - 1)),
    max_size=25,
)


@given(versions, versions)
def test_given_any_ranges_when_more_is_stored_then_what_was_added_and_which_holes_are_new(
    stored: set[int], more: set[int]
) -> None:
    before, after = flat(stored), flat(stored | more)
    assert {v for first, past in gaps.added(before, after) for v in range(first, past)} == (
        more - stored
    )
    old = gaps.holes(before)
    for span in gaps.holes(after):
        inside = any(first <= span[0] and span[1] <= past for first, past in old)
        assert (span in gaps.opened(before, after)) is not inside


@given(versions)
def test_given_any_ranges_when_holes_are_listed_then_missing_versions_between_two_of_a_boot(
    stored: set[int],
) -> None:
    expected = [
        (left + 1, right)
        for boot in range(3)
        for left, right in pairwise(sorted(v for v in stored if v // SEQ_END == boot))
        if right - left > 1
    ]
    assert gaps.holes(flat(stored)) == expected
    for first, past in expected:
        assert gaps.in_hole(flat(stored), first)
        assert gaps.in_hole(flat(stored), past - 1)
        assert not gaps.in_hole(flat(stored), first - 1)
        assert not gaps.in_hole(flat(stored), past)


@given(st.permutations([at(boot, seq) for boot in (1, 2) for seq in range(8)]), st.data())
def test_given_any_order_when_stored_then_open_gaps_are_the_holes(
    order: list[int], data: st.DataObject
) -> None:
    kept = data.draw(st.sets(st.sampled_from(order)))
    stored: set[int] = set()
    missing: dict[tuple[int, int], int] = {}
    for version in (v for v in order if v in kept):
        before, after = flat(stored), flat(stored | {version})
        stored.add(version)
        for span in gaps.added(before, after):
            for known in [known for known in missing if known[0] <= span[0] < known[1]]:
                assert gaps.in_hole(before, span[0])
                missing[known] -= span[1] - span[0]
                if not missing[known]:
                    del missing[known]
        for span in gaps.opened(before, after):
            assert span not in missing
            missing[span] = span[1] - span[0]
    holes = {v for first, past in gaps.holes(flat(stored)) for v in range(first, past)}
    open_now = {v for first, past in missing for v in range(first, past)} - stored
    assert open_now == holes
    assert sum(missing.values()) == len(holes)


@pytest.mark.parametrize(
    ("stored", "lost", "asked", "progress_ms", "then"),
    [
        ([0, 10, 20, 30], [], 0, LONG_AGO_MS, Ask(SPAN, NOW_MS + RETRY_MS)),
        ([0, 10, 20, 30], [], 0, LONG_AGO_MS + 1, Wait(NOW_MS + 1)),
        ([0, 10, 20, 30], [], 3, NOW_MS, Ask(SPAN, NOW_MS + 8 * RETRY_MS)),
        ([0, 12, 15, 17, 19, 30], [], 0, LONG_AGO_MS, Ask((12, 19), NOW_MS + RETRY_MS)),
        ([0, 12, 20, 30], [12, 16], 0, LONG_AGO_MS, Ask((16, 20), NOW_MS + RETRY_MS)),
        ([0, 12, 20, 30], [12, 20], 0, NOW_MS, Close("lost")),
        ([0, 10, 20, 30], [], ASKS_MAX, LONG_AGO_MS, Close("abandoned")),
        # The ranges forgot the hole.
        ([0, 30], [], 0, LONG_AGO_MS, Ask(SPAN, NOW_MS + RETRY_MS)),
    ],
)
def test_given_an_open_gap_when_looked_at_then_one_step(
    stored: list[int], lost: list[int], asked: int, progress_ms: int, then: Ask | Wait | Close
) -> None:
    assert next_step(Gap(SPAN, lost, progress_ms, asked), stored, NOW_MS) == then


@given(versions, versions, st.integers(0, ASKS_MAX - 1))
def test_given_any_gap_when_asked_for_then_nothing_at_its_edges_is_stored_or_lost(
    stored: set[int], lost: set[int], asked: int
) -> None:
    for span in gaps.holes(flat(stored)):
        gone = [v for v in lost if span[0] <= v < span[1]]
        step = next_step(Gap(span, flat(set(gone)), LONG_AGO_MS, asked), flat(stored), NOW_MS)
        if isinstance(step, Close):
            assert len(gone) == span[1] - span[0]
        else:
            assert isinstance(step, Ask)
            assert not {step.span[0], step.span[1] - 1} & (stored | lost)
            assert not set(range(span[0], step.span[0])) - lost
            assert span[1] >= step.span[1]


def test_given_a_gap_when_told_then_in_the_numbers_of_the_device() -> None:
    span = (at(12, 7), at(12, SEQ_END - 1))
    place: dict[str, Any] = {"device_id": "d", "boot": 12, "first_seq": 7, "past_seq": SEQ_END - 1}
    assert gaps.was_opened("d", span, 5) == SeqGapOpened(**place, opened_ms=5)
    closed = gaps.was_closed("d", span, "lost", 3, 5)
    assert closed == SeqGapClosed(**place, outcome="lost", missing=3, closed_ms=5)
    assert gaps.gap_stream("d", span[0]) != gaps.gap_stream("d", span[1])
