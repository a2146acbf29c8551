"""Gaps: which open, what is done about one, and that nothing else decides but what is stored."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cold_chain import gaps
from domain.cold_chain.events import SeqGapClosed, SeqGapOpened
from domain.cold_chain.gaps import ASKS_MAX, QUIET_MS, RETRY_MS, SEQ_END, Gap, Span, Step

NOW_MS = 1_772_409_600_000
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
def test_given_any_ranges_when_more_is_stored_then_which_holes_are_new_and_which_healed(
    stored: set[int], more: set[int]
) -> None:
    before, after = flat(stored), flat(stored | more)
    old, now = gaps.holes(before), gaps.holes(after)

    def inside(span: Span, spans: list[Span]) -> bool:
        return any(first <= span[0] and span[1] <= past for first, past in spans)

    assert gaps.opened(before, after) == [span for span in now if not inside(span, old)]
    left = [span for span in old if any(inside(part, [span]) for part in now)]
    assert gaps.healed(before, after) == [span for span in old if span not in left]


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


@given(st.permutations([at(boot, seq) for boot in (1, 2) for seq in range(8)]), st.data())
def test_given_any_order_when_stored_then_open_gaps_are_the_holes(
    order: list[int], data: st.DataObject
) -> None:
    kept = data.draw(st.sets(st.sampled_from(order)))
    stored: set[int] = set()
    told: set[Span] = set()
    for version in (v for v in order if v in kept):
        before, after = flat(stored), flat(stored | {version})
        stored.add(version)
        for hole in gaps.healed(before, after):
            (known,) = [span for span in told if span[0] <= hole[0] and hole[1] <= span[1]]
            step = gaps.look(Gap(known, 1, (), 0), after, NOW_MS)
            if step.state == "filled":
                told.remove(known)
        new = gaps.opened(before, after)
        assert told.isdisjoint(new)
        told.update(new)
    holes = {v for first, past in gaps.holes(flat(stored)) for v in range(first, past)}
    assert {v for first, past in told for v in range(first, past)} - stored == holes
    assert all(holes.intersection(range(*span)) for span in told)


@pytest.mark.parametrize(
    ("stored", "lost", "asked", "then"),
    [
        ([0, 10, 20, 30], [], 0, Step("open", 10, 1, NOW_MS + RETRY_MS, SPAN)),
        ([0, 10, 20, 30], [], 3, Step("open", 10, 4, NOW_MS + 8 * RETRY_MS, SPAN)),
        ([0, 12, 20, 30], [], 3, Step("open", 8, 0, NOW_MS + QUIET_MS)),
        ([0, 10, 20, 30], [2, 16], 0, Step("open", 10, 1, NOW_MS + RETRY_MS, (16, 20))),
        ([0, 12, 20, 30], [12, 20], 0, Step("lost", 8, 0, NOW_MS)),
        ([0, 30], [12, 20], 1, Step("filled", 0, 1, NOW_MS)),
        ([0, 10, 20, 30], [], ASKS_MAX, Step("abandoned", 10, ASKS_MAX, NOW_MS)),
        ([], [], 0, Step("open", 10, 1, NOW_MS + RETRY_MS, SPAN)),
    ],
)
def test_given_an_open_gap_when_looked_at_then_one_step(
    stored: list[int], lost: list[int], asked: int, then: Step
) -> None:
    assert gaps.look(Gap(SPAN, 10, lost, asked), stored, NOW_MS) == then


@given(versions, versions, st.integers(0, ASKS_MAX - 1))
def test_given_any_gap_when_asked_for_then_nothing_at_its_edges_is_stored_or_lost(
    stored: set[int], lost: set[int], asked: int
) -> None:
    for span in gaps.holes(flat(stored)):
        gone = {v for v in lost if span[0] <= v < span[1]}
        n = span[1] - span[0]
        step = gaps.look(Gap(span, n, flat(gone), asked), flat(stored), NOW_MS)
        assert step.missing == n
        assert (step.state == "lost") is (len(gone) == n)
        if step.ask is not None:
            assert not {step.ask[0], step.ask[1] - 1} & (stored | lost)
            assert gone >= set(range(span[0], step.ask[0]))


def test_given_a_gap_when_told_then_in_the_numbers_of_the_device() -> None:
    span = (at(12, 7), at(12, SEQ_END - 1))
    place: dict[str, Any] = {"device_id": "d", "boot": 12, "first_seq": 7, "past_seq": SEQ_END - 1}
    assert gaps.was_opened("d", span, 5) == SeqGapOpened(**place, opened_ms=5)
    closed = gaps.was_closed("d", span, "lost", 3, 5)
    assert closed == SeqGapClosed(**place, outcome="lost", missing=3, closed_ms=5)
    assert gaps.gap_stream("d", span[0]) != gaps.gap_stream("d", span[1])
