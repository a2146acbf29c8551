"""The threshold rule as a state machine: one reading in, a new state and perhaps a signal out.

The heart of alerting, used by `engine`. It is a pure fold: the episodes of a probe under a rule are
what `step` signals over all its readings in the order of (ts, seq), each identity once, nulls left
out. Times are milliseconds of device event time in UTC, temperatures degrees Celsius.

The rule, in full (high side; the low side is mirrored):

* bad when v > limit; good when v <= limit - hysteresis. The band between is neither.
* Not firing: a bad reading begins, or continues, a pending run; anything else ends it. After a hole
  longer than the gap the run begins anew at the bad reading. The first bad reading at which the run
  has lasted `raise_after` fires; the episode starts where the run began.
* Firing: a good reading begins, or continues, a recovery; anything else ends it. After a hole
  longer than the gap the recovery begins anew at the good reading. The first good reading at which
  it has lasted `clear_after` resolves. A hole alone never resolves.
* The peak is the most extreme value from the start to the resolving reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from domain.alerting.rules import ThresholdRule

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Pending:
    """Bad since `since_ms`, not yet for long enough."""

    since_ms: int
    last_ms: int
    peak_c: float


@dataclass(frozen=True, slots=True)
class Firing:
    """An open episode; `good_since_ms` is set while a recovery is under way."""

    start_ms: int
    fired_ms: int
    good_since_ms: int | None
    last_ms: int
    peak_c: float


# None: neither pending nor firing. Such a rule needs no memory at all.
RuleState: TypeAlias = Pending | Firing | None


@dataclass(frozen=True, slots=True)
class Fired:
    """An episode began at `start_ms`; the reading at `fired_ms`, of `value_c`, ended the dwell."""

    start_ms: int
    fired_ms: int
    value_c: float
    peak_c: float


@dataclass(frozen=True, slots=True)
class Resolved:
    """The open episode is over: good from `recovered_ms` on, for long enough at `resolved_ms`."""

    recovered_ms: int
    resolved_ms: int
    peak_c: float


@dataclass(frozen=True, slots=True)
class Closed:
    """The open episode can never resolve: what was watched, or its rule, was taken away."""

    recovered_ms: ClassVar[None] = None
    resolved_ms: int
    peak_c: float
    reason: str  # probe_removed | rule_retired


Ending: TypeAlias = Resolved | Closed
Signal: TypeAlias = Fired | Ending


def is_bad(rule: ThresholdRule, value_c: float) -> bool:
    """Tell whether the value breaks the limit. The limit itself does not."""
    return value_c > rule.limit_c if rule.side == "high" else value_c < rule.limit_c


def is_good(rule: ThresholdRule, value_c: float) -> bool:
    """Tell whether the value is back inside the limit by the hysteresis."""
    if rule.side == "high":
        return value_c <= rule.limit_c - rule.hysteresis_c
    return value_c >= rule.limit_c + rule.hysteresis_c


def step(
    rule: ThresholdRule | None, state: RuleState, ts_ms: int, value_c: float
) -> tuple[RuleState, Signal | None]:
    """Judge the next reading of a probe: the state after it, and what it signals if anything.

    rule: as in force at `ts_ms`; None when it is not, which ends whatever was under way.
    """
    if isinstance(state, Firing):
        if rule is None:
            return None, Closed(ts_ms, state.peak_c, "rule_retired")
        return _while_firing(rule, state, ts_ms, value_c)
    if rule is None:
        return None, None
    return _while_not_firing(rule, state, ts_ms, value_c)


def _while_not_firing(
    rule: ThresholdRule, state: Pending | None, ts_ms: int, value_c: float
) -> tuple[RuleState, Signal | None]:
    if not is_bad(rule, value_c):
        return None, None
    since_ms, peak_c = ts_ms, value_c
    if state is not None and not _is_hole(rule, state.last_ms, ts_ms):
        since_ms, peak_c = state.since_ms, _worse(rule, state.peak_c, value_c)
    if ts_ms - since_ms < rule.raise_after_min * MINUTE_MS:
        return Pending(since_ms, ts_ms, peak_c), None
    return Firing(since_ms, ts_ms, None, ts_ms, peak_c), Fired(since_ms, ts_ms, value_c, peak_c)


def _while_firing(
    rule: ThresholdRule, state: Firing, ts_ms: int, value_c: float
) -> tuple[RuleState, Signal | None]:
    peak_c = _worse(rule, state.peak_c, value_c)
    if not is_good(rule, value_c):
        return Firing(state.start_ms, state.fired_ms, None, ts_ms, peak_c), None
    since_ms = state.good_since_ms
    if since_ms is None or _is_hole(rule, state.last_ms, ts_ms):
        since_ms = ts_ms
    if ts_ms - since_ms < rule.clear_after_min * MINUTE_MS:
        return Firing(state.start_ms, state.fired_ms, since_ms, ts_ms, peak_c), None
    return None, Resolved(since_ms, ts_ms, peak_c)


def _is_hole(rule: ThresholdRule, last_ms: int, ts_ms: int) -> bool:
    return ts_ms - last_ms > rule.max_gap_min * MINUTE_MS


def _worse(rule: ThresholdRule, one_c: float, other_c: float) -> float:
    return max(one_c, other_c) if rule.side == "high" else min(one_c, other_c)
