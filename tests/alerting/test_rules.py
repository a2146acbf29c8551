"""Rules as data: what is shipped, what a custom set may say, when levels are told."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from domain.alerting.rules import (
    ESCALATION,
    RULES_MAX,
    SEVERITIES,
    SHIPPED,
    ThresholdRule,
    checked_rules,
)
from domain.shared.errors import Invalid

RULE = ThresholdRule(
    rule_id="high_8_10min", side="high", limit_c=8.0, raise_after_min=10, severity="minor"
)


@pytest.mark.parametrize("profile_id", SHIPPED)
def test_given_a_shipped_rule_set_when_checked_then_accepted_and_sourced(profile_id: str) -> None:
    shipped = SHIPPED[profile_id]
    assert checked_rules(shipped.rules) == shipped.rules
    assert shipped.source


def test_given_the_shipped_sets_when_listed_then_their_ids_and_limits_stand() -> None:
    """Rule ids are permanent; a changed number here is a decision, not a slip."""
    assert {
        profile_id: [
            (rule.rule_id, rule.side, rule.limit_c, rule.raise_after_min, rule.severity)
            for rule in shipped.rules
        ]
        for profile_id, shipped in SHIPPED.items()
    } == {
        "vaccine_2_8": [
            ("high_8_10min", "high", 8.0, 10, "minor"),
            ("high_8_30min", "high", 8.0, 30, "major"),
            ("high_15_5min", "high", 15.0, 5, "critical"),
            ("low_2_10min", "low", 2.0, 10, "minor"),
            ("freeze_60min", "low", -0.5, 60, "critical"),
        ],
        "frozen_minus_20": [("high_minus_15_30min", "high", -15.0, 30, "major")],
        "ultra_cold": [
            ("high_minus_60_60min", "high", -60.0, 60, "critical"),
            ("low_minus_90_60min", "low", -90.0, 60, "critical"),
        ],
        "who_30_day_logger": [
            ("who_high_8_600min", "high", 8.0, 600, "major"),
            ("who_freeze_60min", "low", -0.5, 60, "critical"),
        ],
    }


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (replace(RULE, rule_id="high 8"), "bad_name"),
        (replace(RULE, side="both"), "bad_side"),
        (replace(RULE, severity="fatal"), "bad_severity"),
        (replace(RULE, limit_c=math.nan), "bad_limit"),
        (replace(RULE, limit_c=math.inf), "bad_limit"),
        (replace(RULE, hysteresis_c=-0.1), "bad_hysteresis"),
        (replace(RULE, hysteresis_c=math.nan), "bad_hysteresis"),
        (replace(RULE, raise_after_min=-1), "bad_duration"),
        (replace(RULE, raise_after_min=math.nan), "bad_duration"),
        (replace(RULE, clear_after_min=0), "bad_duration"),
        (replace(RULE, max_gap_min=0), "bad_duration"),
        (replace(RULE, max_gap_min=math.inf), "bad_duration"),
    ],
)
def test_given_a_rule_nothing_can_be_judged_by_when_checked_then_refused(
    rule: ThresholdRule, code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        checked_rules([rule])
    assert refused.value.code == code


def test_given_a_rule_without_dwell_or_hysteresis_when_checked_then_accepted() -> None:
    assert checked_rules([replace(RULE, raise_after_min=0, hysteresis_c=0)])


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([], "bad_rule_count"),
        ([RULE] * (RULES_MAX + 1), "bad_rule_count"),
        ([RULE, replace(RULE, limit_c=9.0)], "duplicate_rule_id"),
    ],
)
def test_given_a_set_of_the_wrong_shape_when_checked_then_refused(
    rules: list[ThresholdRule], code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        checked_rules(rules)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("severity", "due_after_min"),
    [
        ("critical", [10, 20, 30, 45, 60]),
        ("major", [10, 20, 80, 140, 200]),
        ("minor", [120, 360, 600, 840, 1080]),
        ("info", [None] * 5),
    ],
)
def test_given_a_severity_when_nobody_acknowledges_then_levels_are_due_and_repeat(
    severity: str, due_after_min: list[int | None]
) -> None:
    escalation = ESCALATION[severity]
    assert [escalation.due_after_min(level) for level in range(1, 6)] == due_after_min
    assert set(ESCALATION) == set(SEVERITIES)
