"""Units are judged by the rules that are assigned to them or their site, from their date on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.alerting import assignment
from domain.alerting.assignment_events import RulesAssigned
from domain.alerting.rules import SHIPPED
from domain.alerting.watch import RuleSet, to_ms
from domain.cold_chain.events import DeviceRegistered, UnitRegistered
from domain.cold_chain.model import Device, Stand
from domain.shared.errors import DomainError
from ingest.directory import Directory
from tests.conftest import START

OWN, OTHER = (SHIPPED[name].rules for name in ("vaccine_2_8", "frozen_minus_20"))
RULES = {
    "own": (RuleSet(1, 0, OWN), RuleSet(2, 500, OWN[:1])),
    "other": (RuleSet(1, 0, OTHER), RuleSet(2, 300, OTHER), RuleSet(3, 900, OTHER)),
}
DEVICE = DeviceRegistered(
    device_id="d1",
    gateway_id="g1",
    site_id="s1",
    region_code="640202",
    channels=("t1",),
    interval_s=60,
)
WANTED = RulesAssigned(
    scope="unit", subject_id="u1", region_code="640202", profile_id="other", effective_from=START
)


def shown(found: tuple[RuleSet, ...]) -> list[tuple[int, int]]:
    return [(one.effective_ms, one.version) for one in found]


@pytest.mark.parametrize(
    ("of_site", "of_unit", "expected"),
    [
        ((), (), [(0, 1), (500, 2)]),
        ((), ((400, "other"),), [(0, 1), (400, 1_000_002), (900, 1_000_003)]),
        (((400, "other"),), ((600, "own"),), [(0, 1), (400, 1_000_002), (600, 2_000_002)]),
        (((100, "own"),), (), [(0, 1), (500, 2)]),
        (
            (),
            ((200, "other"), (400, "")),
            [(0, 1), (200, 1_000_001), (300, 1_000_002), (400, 2_000_001), (500, 2_000_002)],
        ),
    ],
)
def test_given_assignments_when_rules_are_asked_for_then_those_in_force_from_each_moment(
    of_site: assignment.Assigned, of_unit: assignment.Assigned, expected: list[tuple[int, int]]
) -> None:
    assert shown(assignment.in_force("own", of_site, of_unit, RULES)) == expected


def test_given_a_directory_when_rules_are_assigned_then_its_watches_follow_and_probes_shift() -> (
    None
):
    unit = UnitRegistered(
        unit_id="u1",
        site_id="s1",
        region_code="640202",
        kind="refrigerator",
        name="冰箱",
        name_en="",
        profile_id="own",
    )
    known = Directory(units={"u1": unit}, rule_sets=dict(RULES))
    at = START - timedelta(days=1)
    known.devices["d1"] = Device(DEVICE, stands={"t1": (Stand(at, "u1"),)})
    assert [one.version for one in known.watches("d1", "t1")[0].rule_sets] == [1, 2]
    (shift,) = known._take(WANTED)
    assert (shift.device_id, shift.channel, shift.at_ms) == ("d1", "t1", to_ms(START))
    known._watches.clear()
    (watch,) = known.watches("d1", "t1")
    assert watch.rule_set(to_ms(START) - 1).version == 2
    assert watch.rule_set(to_ms(START)).rules == OTHER
    assert known._take(replace(WANTED, scope="site", subject_id="s2")) == []


@pytest.mark.parametrize(
    ("fields", "published", "code"),
    [
        ({"effective_from": START.replace(tzinfo=None)}, True, "naive_time"),
        ({}, False, "unknown_rules"),
        ({"effective_from": START - timedelta(hours=1)}, True, "rules_backdated"),
    ],
)
def test_given_what_cannot_be_assigned_when_asked_then_refused(
    fields: dict[str, Any], published: bool, code: str
) -> None:
    with pytest.raises(DomainError, match=code):
        assignment.assign(None, wanted=replace(WANTED, **fields), published=published, now=START)


def test_given_an_assignment_when_another_follows_then_later_and_the_same_changes_nothing() -> None:
    (made,) = assignment.assign(None, wanted=WANTED, published=True, now=START)
    assert isinstance(made, RulesAssigned)
    state = assignment.evolve(None, made)
    assert assignment.assign(state, wanted=WANTED, published=True, now=START) == []
    back = replace(WANTED, profile_id="")
    with pytest.raises(DomainError, match="rules_not_later"):
        assignment.assign(state, wanted=back, published=False, now=START)
    later = replace(back, effective_from=datetime(2027, 1, 1, tzinfo=UTC))
    assert assignment.assign(state, wanted=later, published=False, now=START) == [later]
    assert assignment.assignment_stream("unit", "u1") != assignment.assignment_stream("site", "u1")
