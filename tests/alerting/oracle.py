"""A slow second opinion on threshold rules, written from the text of the rule and nothing else.

It looks at the whole ordered series at once and asks, for every reading, the questions of the text;
it shares no code with the product.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from domain.alerting.rules import ThresholdRule

Row = tuple[int, int, float | None]


@dataclass(frozen=True)
class Expected:
    """An episode; open without `resolved_ms`."""

    start_ms: int
    fired_ms: int
    peak_c: float
    recovered_ms: int | None
    resolved_ms: int | None


def episodes(rule: ThresholdRule, rows: Iterable[Row]) -> list[Expected]:
    """Return the episodes of a series given in any order, with repetitions."""
    identities: dict[tuple[int, int], float] = {}
    for ts_ms, seq, value in rows:
        if value is not None and (ts_ms, seq) not in identities:
            identities[ts_ms, seq] = value
    times = [ts_ms for ts_ms, _ in sorted(identities)]
    # Mirrored, a low rule is a high one.
    sign = 1 if rule.side == "high" else -1
    values = [sign * identities[key] for key in sorted(identities)]
    limit, good_limit = sign * rule.limit_c, sign * rule.limit_c - rule.hysteresis_c
    dwell, clear, gap = (
        round(minutes * 60_000)
        for minutes in (rule.raise_after_min, rule.clear_after_min, rule.max_gap_min)
    )

    def run_start(at: int, first: int, flags: list[bool]) -> int:
        """Return the first index of the run of flagged readings without a hole that ends at `at`."""
        begin = at
        while begin > first and flags[begin - 1] and times[begin] - times[begin - 1] <= gap:
            begin -= 1
        return begin

    bad = [value > limit for value in values]
    good = [value <= good_limit for value in values]
    found: list[Expected] = []
    at = first = 0
    while at < len(times):
        if not (bad[at] and times[at] - times[start := run_start(at, first, bad)] >= dwell):
            at += 1
            continue
        end = next(
            (
                later
                for later in range(at + 1, len(times))
                if good[later] and times[later] - times[run_start(later, at + 1, good)] >= clear
            ),
            None,
        )
        stop = len(times) if end is None else end + 1
        found.append(
            Expected(
                start_ms=times[start],
                fired_ms=times[at],
                peak_c=sign * max(values[start:stop]),
                recovered_ms=None if end is None else times[run_start(end, at + 1, good)],
                resolved_ms=None if end is None else times[end],
            )
        )
        at = first = stop
    return found
