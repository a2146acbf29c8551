"""How often a robot may be told."""

from __future__ import annotations

import random

import pytest

from alerts.bucket import BEHIND_S, Buckets, Limit

LIMITS = (Limit(20, 60.0), Limit(5, 2.0))


class Seconds:
    """A clock that is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.mark.parametrize("seed", range(5))
def test_given_any_haste_when_told_then_no_stretch_holds_more_than_its_limit(seed: int) -> None:
    rng, clock, taken = random.Random(seed), Seconds(), list[float]()
    buckets = Buckets(LIMITS, clock)
    for _ in range(3_000):
        clock.now += rng.choice([0.0, 0.01, 0.3, rng.random() * 5])
        if buckets.take("robot", critical=rng.random() < 0.3) <= 0:
            taken.append(clock.now)
    for limit in LIMITS:
        for at in taken:
            assert sum(at <= other < at + limit.seconds for other in taken) <= limit.most
    assert len(taken) > (clock.now - 1_000) / 60 * 13  # and not much less than it may


def test_given_a_storm_when_critical_comes_then_its_share_is_left_and_it_returns_first() -> None:
    clock = Seconds()
    buckets = Buckets([Limit(20, 60.0)], clock)
    lesser = [buckets.take("robot", critical=False) for _ in range(30)]
    assert lesser.count(0.0) == 15
    assert {wait for wait in lesser if wait} == {60.0 + BEHIND_S}
    critical = [buckets.take("robot", critical=True) for _ in range(6)]
    assert critical == [0.0] * 5 + [60.0]
    assert buckets.take("another", critical=False) == 0.0
    clock.now += 60
    assert buckets.take("robot", critical=True) == 0.0


def test_given_a_robot_that_is_told_too_often_when_it_says_so_then_left_alone() -> None:
    clock = Seconds()
    buckets = Buckets([Limit(20, 60.0)], clock)
    buckets.shut("robot", 600.0)
    assert buckets.take("robot", critical=True) == 600.0
    clock.now += 600
    assert buckets.take("robot", critical=True) == 0.0
