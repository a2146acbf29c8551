"""What the engine watches, and what it remembers of it between two batches of readings.

A watch is one probe while it stands in one unit: limits belong to the unit's contents, so a probe
moved elsewhere starts afresh there. Within a watch the rule set of the unit's storage profile may
change from a moment on; a rule that keeps its id keeps its state, since the cold has not changed.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeAlias

from domain.alerting.rules import ThresholdRule
from domain.alerting.threshold import Firing, Pending, RuleState

# (ts_ms, seq, degrees Celsius; None: the probe gave none). `seq` tells apart, and orders, readings
# of a device that share a ts: boot * 2^40 + seq of the wire.
Reading: TypeAlias = tuple[int, int, float | None]

# Above every seq.
SEQ_MAX = 2**63 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """Return an aware moment as whole milliseconds of UTC."""
    return (moment - _EPOCH) // _MILLISECOND


def to_datetime(ms: int) -> datetime:
    """Return milliseconds of UTC as an aware moment, exactly."""
    return _EPOCH + ms * _MILLISECOND


@dataclass(frozen=True)
class RuleSet:
    """One version of a storage profile's rules, in force from `effective_ms` until the next."""

    version: int
    effective_ms: int
    rules: tuple[ThresholdRule, ...]

    @cached_property
    def by_id(self) -> Mapping[str, ThresholdRule]:
        """The rules by their id."""
        return {rule.rule_id: rule for rule in self.rules}

    @cached_property
    def band_c(self) -> tuple[float, float]:
        """The lowest and highest temperature, both inclusive, that no rule calls bad."""
        lows = [rule.limit_c for rule in self.rules if rule.side == "low"]
        highs = [rule.limit_c for rule in self.rules if rule.side == "high"]
        return max(lows, default=-math.inf), min(highs, default=math.inf)


# In force before the first published one.
NO_RULES = RuleSet(0, 0, ())


@dataclass(frozen=True)
class Watch:
    """One probe (device, channel) while it stands in one unit: `start_ms` <= ts < `end_ms`.

    `rule_sets`: at least one, ascending by `effective_ms`. Readings before the first are judged by
    nothing.
    """

    device_id: str
    channel: str
    unit_id: str
    site_id: str
    region_code: str
    start_ms: int
    end_ms: int | None
    rule_sets: tuple[RuleSet, ...]

    @cached_property
    def rule_ids(self) -> tuple[str, ...]:
        """Every rule that was ever in force here, sorted."""
        return tuple(sorted({id_ for rule_set in self.rule_sets for id_ in rule_set.by_id}))

    def covers(self, ts_ms: int) -> bool:
        """Tell whether a reading at this moment belongs to the watch."""
        return self.start_ms <= ts_ms and (self.end_ms is None or ts_ms < self.end_ms)

    def rule_set(self, ts_ms: int) -> RuleSet:
        """Return the rule set in force at this moment."""
        at = bisect_right(self.rule_sets, ts_ms, key=lambda rule_set: rule_set.effective_ms)
        return self.rule_sets[at - 1] if at else NO_RULES

    def rule(self, rule_id: str, ts_ms: int) -> ThresholdRule | None:
        """Return the rule of this id in force at this moment, if it was in force."""
        return self.rule_set(ts_ms).by_id.get(rule_id)


@dataclass(frozen=True, slots=True)
class WatchState:
    """All that must survive between two batches. Small on purpose: mostly `active` is empty.

    `last`: (ts_ms, seq) of the newest reading judged, what comes at or before it is late.
    `active`: rule id -> state, of the rules that are pending or firing.
    """

    watch_ms: int  # start of the watch it belongs to
    last: tuple[int, int]
    active: Mapping[str, Pending | Firing] = field(default_factory=dict)

    @classmethod
    def initial(cls, watch: Watch) -> WatchState:
        """Return the state of a watch that has judged nothing yet."""
        return cls(watch.start_ms, (watch.start_ms - 1, 0))

    @classmethod
    def ended(cls, watch: Watch) -> WatchState:
        """Return the state of a watch that is over: whatever comes for it is late."""
        if watch.end_ms is None:
            raise ValueError("this watch has not ended")
        return cls(watch.start_ms, (watch.end_ms - 1, SEQ_MAX))

    def with_rule(self, rule_id: str, state: RuleState) -> WatchState:
        """Return this state with the state of one rule replaced."""
        active = {id_: known for id_, known in self.active.items() if id_ != rule_id}
        if state is not None:
            active[rule_id] = state
        return WatchState(self.watch_ms, self.last, active)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON column; `from_json` reads them back."""
        active = {id_: asdict(state) for id_, state in self.active.items()}
        return {"watch_ms": self.watch_ms, "last": list(self.last), "active": active}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WatchState:
        """Read what `to_json` wrote. KeyError or TypeError when it is something else."""
        active = {
            id_: Firing(**state) if "fired_ms" in state else Pending(**state)
            for id_, state in data["active"].items()
        }
        ts_ms, seq = data["last"]
        return cls(data["watch_ms"], (ts_ms, seq), active)


def is_quiet(watch: Watch, state: WatchState, readings: Sequence[Reading]) -> bool:
    """Tell whether these readings plainly change nothing but `state.last`: the common case.

    readings: n >= 1 rows of the watch with values, ascending by (ts, seq). One look at the extremes
    serves every rule.
    """
    if state.active or readings[0][:2] <= state.last:
        return False
    rule_set = watch.rule_sets[-1]
    if readings[0][0] < rule_set.effective_ms:
        return False
    low_c, high_c = rule_set.band_c
    return all(low_c <= value_c <= high_c for _, _, value_c in readings if value_c is not None)
