"""Threshold rules as dated values, with the shipped defaults and their sources.

Durations are minutes of device event time, temperatures degrees Celsius. A rule id is permanent: it
stands in alerts and in alert ids.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from domain.shared.errors import Invalid
from domain.shared.ids import checked_name

SIDES = ("high", "low")
# Least to most urgent.
SEVERITIES = ("info", "minor", "major", "critical")

# A dwell longer than the memory of a logger (30 days) could never be judged.
DURATION_MIN_MAX = 30 * 24 * 60
# Beyond any probe: liquid nitrogen is −196.
LIMIT_C_MIN, LIMIT_C_MAX = -200.0, 100.0
# More would be a mistake, and every reading passes every rule.
RULES_MAX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdRule:
    """One threshold with dwell, hysteresis and gap. Every comparison is strict as written here.

    high: bad when v > limit_c, good when v <= limit_c - hysteresis_c; low mirrored. `threshold`
    tells what follows from bad and good.
    """

    rule_id: str
    side: str  # high | low
    limit_c: float
    hysteresis_c: float = 0.5
    raise_after_min: float
    clear_after_min: float = 10.0
    max_gap_min: float = 15.0
    severity: str  # info | minor | major | critical


@dataclass(frozen=True, slots=True)
class ShippedRules:
    """The rules a storage profile starts with, and where their numbers come from."""

    profile_id: str
    rules: tuple[ThresholdRule, ...]
    source: str


def _high(rule_id: str, limit_c: float, minutes: float, severity: str) -> ThresholdRule:
    return ThresholdRule(
        rule_id=rule_id, side="high", limit_c=limit_c, raise_after_min=minutes, severity=severity
    )


def _low(rule_id: str, limit_c: float, minutes: float, severity: str) -> ThresholdRule:
    return ThresholdRule(
        rule_id=rule_id, side="low", limit_c=limit_c, raise_after_min=minutes, severity=severity
    )


# Hysteresis 0.5, clearing 10 min and gap 15 min of every shipped rule are our own choice: the
# permitted error of a probe (GSP), two readings at 5 min, and three times that interval.
SHIPPED: Mapping[str, ShippedRules] = {
    shipped.profile_id: shipped
    for shipped in (
        ShippedRules(
            "vaccine_2_8",
            (
                _high("high_8_10min", 8.0, 10, "minor"),
                _high("high_8_30min", 8.0, 30, "major"),
                _high("high_15_5min", 15.0, 5, "critical"),
                _low("low_2_10min", 2.0, 10, "minor"),
                _low("freeze_60min", -0.5, 60, "critical"),
            ),
            "药品经营质量管理规范附录《温湿度自动监测》: alarm when out of range (2 to 8 °C); "
            "dwell times own choice; freeze: WHO PQS E006, -0.5 °C for 60 min",
        ),
        ShippedRules(
            "frozen_minus_20",
            (_high("high_minus_15_30min", -15.0, 30, "major"),),
            "Storage at -20 °C with the permitted rise of 5 °C; dwell time own choice",
        ),
        ShippedRules(
            "ultra_cold",
            (
                _high("high_minus_60_60min", -60.0, 60, "critical"),
                _low("low_minus_90_60min", -90.0, 60, "critical"),
            ),
            "Alarm settings of the Berlinger Fridge-tag UL: -60 and -90 °C for 60 min",
        ),
        ShippedRules(
            "who_30_day_logger",
            (
                _high("who_high_8_600min", 8.0, 600, "major"),
                _low("who_freeze_60min", -0.5, 60, "critical"),
            ),
            "WHO PQS E006, default alarms of 30-day loggers: +8 °C for 600 min, -0.5 °C for 60 min",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Escalation:
    """Whom nobody's acknowledging brings in, and when; minutes after the alert fired.

    `after_min`: level 1, 2, … is told then. `repeat_min`: from the last level on, everybody so far
    is told again that often; None: never.
    """

    after_min: tuple[int, ...]
    repeat_min: int | None

    def due_after_min(self, level: int) -> int | None:
        """Return when `level` (from 1 on) is due; a level beyond the last is a repetition of it.

        None when it never is.
        """
        if level <= len(self.after_min):
            return self.after_min[level - 1]
        if self.repeat_min is None:
            return None
        last_min = self.after_min[-1] if self.after_min else 0
        return last_min + (level - len(self.after_min)) * self.repeat_min


# By severity. Own choice: duty person, keeper and head at once (level 0), then the deputy head, the
# county CDC and the municipal CDC.
ESCALATION: Mapping[str, Escalation] = {
    "critical": Escalation((10, 20, 30), 15),
    "major": Escalation((10, 20), 60),
    "minor": Escalation((120,), 240),
    "info": Escalation((), None),
}

# Minutes for which an acknowledgement holds escalation back; then it goes on, unless the alert is
# over. A severity without an entry is held back for good. Source: cold-chain rules of the field.
ACKNOWLEDGED_FOR_MIN: Mapping[str, int] = {"critical": 30, "major": 120}

# An alert found later than this after it fired (in a logger's file, after a long outage) is
# history: it stands in the inbox and goes to subscribed systems, but rouses nobody and does not
# escalate, unless it lasts to this day.
# Source: cold-chain rules of the field, late data.
HISTORY_AFTER = timedelta(hours=24)


def checked_rules(rules: Sequence[ThresholdRule]) -> tuple[ThresholdRule, ...]:
    """Return the rules of a set when each can be judged by; Invalid otherwise.

    Codes: bad_rule_count, duplicate_rule_id, bad_name, bad_side, bad_severity, bad_limit,
    bad_hysteresis, bad_duration.
    """
    if not 1 <= len(rules) <= RULES_MAX:
        raise Invalid("bad_rule_count", field="rules", count=len(rules), count_max=RULES_MAX)
    rule_id, count = Counter(rule.rule_id for rule in rules).most_common(1)[0]
    if count > 1:
        raise Invalid("duplicate_rule_id", field="rule_id", rule_id=rule_id)
    for rule in rules:
        _check(rule)
    return tuple(rules)


def _check(rule: ThresholdRule) -> None:
    checked_name(rule.rule_id, "rule_id")
    if rule.side not in SIDES:
        raise Invalid("bad_side", field="side", value=rule.side)
    if rule.severity not in SEVERITIES:
        raise Invalid("bad_severity", field="severity", value=rule.severity)
    # Written so that NaN fails too.
    if not LIMIT_C_MIN <= rule.limit_c <= LIMIT_C_MAX:
        raise Invalid("bad_limit", field="limit_c", value=rule.limit_c)
    if not 0 <= rule.hysteresis_c <= LIMIT_C_MAX - LIMIT_C_MIN:
        raise Invalid("bad_hysteresis", field="hysteresis_c", value=rule.hysteresis_c)
    # An episode must be able to last, and two readings must be able to follow one another.
    for field, value, least in (
        ("raise_after_min", rule.raise_after_min, 0.0),
        ("clear_after_min", rule.clear_after_min, math.ulp(0.0)),
        ("max_gap_min", rule.max_gap_min, math.ulp(0.0)),
    ):
        if not least <= value <= DURATION_MIN_MAX:
            raise Invalid("bad_duration", field=field, value=value)
