"""How many alerts rules would have given on readings of the past, before they are published.

By the same step as the engine's, over readings in order. Only what is bad is looked at one by one:
a rule that is idle stays so at a reading that is not bad, so it waits for the next bad one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from domain.alerting.conditions import Bools, Floats, Ints
from domain.alerting.rules import ThresholdRule
from domain.alerting.threshold import Fired, Firing, RuleState, step


class Episode(NamedTuple):
    """An alert that a rule would have given; `end_ms`: good again from then on, None: it lasts."""

    rule_id: str
    start_ms: int
    fired_ms: int
    end_ms: int | None
    peak_c: float


class Outcome(NamedTuple):
    """What rules find; `active`: one is pending or firing after the last reading."""

    episodes: list[Episode]
    active: bool


def bad(rules: Sequence[ThresholdRule], low_c: Floats, high_c: Floats) -> Bools:
    """Tell of which n spans, with their least and greatest values, some rule calls a value bad."""
    highs = [rule.limit_c for rule in rules if rule.side == "high"]
    lows = [rule.limit_c for rule in rules if rule.side == "low"]
    found: Bools = (high_c > min(highs, default=np.inf)) | (low_c < max(lows, default=-np.inf))
    return found


def replayed(rules: Sequence[ThresholdRule], at_ms: Ints, values: Floats) -> Outcome:
    """Return what rules find in n readings of a probe (ascending, none without a value)."""
    episodes: list[Episode] = []
    active = False
    for rule in rules:
        of_rule, state = _of_rule(rule, at_ms, values)
        episodes += of_rule
        active = active or state is not None
    return Outcome(sorted(episodes, key=lambda each: (each.start_ms, each.rule_id)), active)


def _of_rule(rule: ThresholdRule, at_ms: Ints, values: Floats) -> tuple[list[Episode], RuleState]:
    beyond = np.flatnonzero(values > rule.limit_c if rule.side == "high" else values < rule.limit_c)
    found: list[Episode] = []
    state: RuleState = None
    n = 0
    while state is None and (k := int(np.searchsorted(beyond, n))) < beyond.size:
        n = int(beyond[k])
        while n < at_ms.size:
            state, signal = step(rule, state, int(at_ms[n]), float(values[n]))
            n += 1
            if isinstance(signal, Fired):
                fired = (rule.rule_id, signal.start_ms, signal.fired_ms)
                found.append(Episode(*fired, None, signal.peak_c))
            elif signal:
                found[-1] = found[-1]._replace(end_ms=signal.recovered_ms, peak_c=signal.peak_c)
            if state is None:
                break
    if isinstance(state, Firing):
        found[-1] = found[-1]._replace(peak_c=state.peak_c)
    return found, state
