"""A slow second opinion on threshold rules, written from the text of the rule and nothing else.

It looks at the whole ordered series at once and asks, of every reading, the questions of the text;
it shares no code with the product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from domain.alerting.rules import ThresholdRule

Row: TypeAlias = tuple[int, int, float | None]
RuleAt: TypeAlias = Callable[[int], ThresholdRule | None]


@dataclass(frozen=True)
class Expected:
    """An episode. Open: no `resolved_ms`; closed unverified: no `recovered_ms`."""

    start_ms: int
    fired_ms: int
    peak_c: float
    recovered_ms: int | None
    resolved_ms: int | None


def episodes(rule_at: RuleAt, rows: Iterable[Row], end_ms: int | None = None) -> list[Expected]:
    """Return the episodes of a series given in any order, with repetitions and nulls.

    rule_at: the rule in force at a moment. `end_ms`: when the probe was taken away, if it was.
    """
    return _Series(rule_at, rows).episodes(end_ms)


class _Series:
    def __init__(self, rule_at: RuleAt, rows: Iterable[Row]) -> None:
        first: dict[tuple[int, int], float] = {}
        for ts_ms, seq, value in rows:
            if value is not None and (ts_ms, seq) not in first:
                first[ts_ms, seq] = value
        self.times = [ts_ms for ts_ms, _ in sorted(first)]
        self.values = [first[key] for key in sorted(first)]
        self.rules = [rule_at(ts_ms) for ts_ms in self.times]
        self.bad = [self._is_bad(at) for at in range(len(self.times))]
        self.good = [self._is_good(at) for at in range(len(self.times))]

    def episodes(self, end_ms: int | None) -> list[Expected]:
        found, first = [], 0
        while (fired := self._first_firing(first)) is not None:
            start = self._run_start(fired, first, self.bad)
            end = self._first_end(fired + 1)
            last = len(self.times) - 1 if end is None else end
            retired = end is not None and self.rules[end] is None
            peaks = self.values[start : last + (0 if retired else 1)]
            resolved = end_ms if end is None else self.times[end]
            recovered = None
            if end is not None and not retired:
                recovered = self.times[self._run_start(end, fired + 1, self.good)]
            rule = self.rules[fired]
            assert rule is not None
            peak = max(peaks) if rule.side == "high" else min(peaks)
            found.append(Expected(self.times[start], self.times[fired], peak, recovered, resolved))
            first = last + 1
        return found

    def _first_firing(self, first: int) -> int | None:
        """Return the first bad reading whose run has lasted for the dwell."""
        for at in range(first, len(self.times)):
            rule = self.rules[at]
            if rule is not None and self.bad[at]:
                lasted = self.times[at] - self.times[self._run_start(at, first, self.bad)]
                if lasted >= rule.raise_after_min * 60_000:
                    return at
        return None

    def _first_end(self, first: int) -> int | None:
        """Return the first good reading whose run has lasted, or the first without the rule."""
        for at in range(first, len(self.times)):
            rule = self.rules[at]
            if rule is None:
                return at
            if self.good[at]:
                lasted = self.times[at] - self.times[self._run_start(at, first, self.good)]
                if lasted >= rule.clear_after_min * 60_000:
                    return at
        return None

    def _run_start(self, at: int, first: int, flags: list[bool]) -> int:
        """Return where the run of such readings, without a hole, that ends at `at` begins."""
        while at > first and flags[at - 1]:
            rule = self.rules[at]
            assert rule is not None
            if self.times[at] - self.times[at - 1] > rule.max_gap_min * 60_000:
                break
            at -= 1
        return at

    def _is_bad(self, at: int) -> bool:
        rule, value = self.rules[at], self.values[at]
        if rule is None:
            return False
        return value > rule.limit_c if rule.side == "high" else value < rule.limit_c

    def _is_good(self, at: int) -> bool:
        rule, value = self.rules[at], self.values[at]
        if rule is None:
            return False
        if rule.side == "high":
            return value <= rule.limit_c - rule.hysteresis_c
        return value >= rule.limit_c + rule.hysteresis_c
