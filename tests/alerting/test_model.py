"""What people may do about alerts and rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.alerting.events import (
    AlertAcknowledged,
    AlertAmended,
    AlertClosedUnverified,
    AlertEscalated,
    AlertFired,
    AlertResolved,
    AlertWithdrawn,
    ConditionEnded,
    ConditionRaised,
    RuleSetPublished,
)
from domain.alerting.model import (
    Alert,
    AlertEvent,
    Status,
    acknowledge,
    alert_stream,
    begins_alert,
    condition_stream,
    episode_stream,
    escalate,
    evolve,
    evolve_rule_set,
    publish_rules,
    rule_set_stream,
    suppress,
)
from domain.alerting.rules import ThresholdRule
from domain.alerting.silence_events import AlertResumed, AlertSuppressed
from domain.alerting.watch import to_datetime, to_ms
from domain.shared.decide import fold
from domain.shared.errors import Conflict, Invalid, NotFound
from tests.spec import spec

AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
LATER = AT + timedelta(minutes=30)
ALERT_ID = "0b0d1c70-93a4-5b5c-8a29-0f6c8e9b2f11"
FIRED = AlertFired(
    alert_id=ALERT_ID,
    device_id="TH-0007",
    channel="t1",
    unit_id="fridge",
    site_id="clinic",
    region_code="640202",
    rule_id="high_8_10min",
    rule_version=1,
    severity="minor",
    side="high",
    limit_c=8.0,
    started_at=AT,
    fired_at=AT + timedelta(minutes=10),
    value_c=9.0,
    peak_c=9.5,
)
RESOLVED = AlertResolved(alert_id=ALERT_ID, recovered_at=AT, resolved_at=LATER, peak_c=11.0)
CLOSED = AlertClosedUnverified(
    alert_id=ALERT_ID, closed_at=LATER, peak_c=11.0, reason="probe_removed"
)
WITHDRAWN = AlertWithdrawn(alert_id=ALERT_ID, cause="late_data")
REOPENED = AlertAmended(
    alert_id=ALERT_ID,
    started_at=AT,
    fired_at=LATER,
    peak_c=12.0,
    recovered_at=None,
    resolved_at=None,
    cause="late_data",
)
ACKNOWLEDGED = AlertAcknowledged(
    alert_id=ALERT_ID, actor_id="k1", actor_role="store_keeper", comment="门已关好"
)
ESCALATED = AlertEscalated(alert_id=ALERT_ID, level=1, due_at=LATER)
RULE = ThresholdRule(
    rule_id="high_8_10min", side="high", limit_c=8.0, raise_after_min=10, severity="minor"
)
PUBLISHED = RuleSetPublished(profile_id="vaccine_2_8", version=1, effective_from=AT, rules=(RULE,))

alert = spec(evolve, None)
rule_set = spec(evolve_rule_set, None)
BY_KEEPER = {"actor_id": "k1", "actor_role": "store_keeper"}


@pytest.mark.parametrize(
    ("events", "status", "peak_c"),
    [
        ([FIRED], Status.FIRING, 9.5),
        ([FIRED, RESOLVED], Status.RESOLVED, 11.0),
        ([FIRED, CLOSED], Status.CLOSED_UNVERIFIED, 11.0),
        ([FIRED, RESOLVED, REOPENED], Status.FIRING, 12.0),
        ([FIRED, RESOLVED, WITHDRAWN], Status.WITHDRAWN, 11.0),
        ([FIRED, ACKNOWLEDGED, ESCALATED], Status.FIRING, 9.5),
    ],
)
def test_given_a_history_when_folded_then_status_and_peak(
    events: list[AlertEvent], status: Status, peak_c: float
) -> None:
    state = fold(evolve, None, events)
    assert isinstance(state, Alert)
    assert (state.status, state.peak_c) == (status, peak_c)


def test_given_nothing_fired_when_other_events_come_then_there_is_no_alert() -> None:
    assert evolve(None, RESOLVED) is None


def test_given_firing_when_acknowledged_then_acknowledged() -> None:
    alert.given(FIRED).when(acknowledge, comment=" 门已关好 ", **BY_KEEPER).then(ACKNOWLEDGED)


def test_given_resolved_when_acknowledged_then_acknowledged() -> None:
    alert.given(FIRED, RESOLVED).when(acknowledge, comment="门已关好", **BY_KEEPER).then(
        ACKNOWLEDGED
    )


def test_given_acknowledged_when_acknowledged_again_then_conflict() -> None:
    alert.given(FIRED, ACKNOWLEDGED).when(acknowledge, comment="again", **BY_KEEPER).refused(
        Conflict, "already_acknowledged"
    )


def test_given_withdrawn_when_acknowledged_then_conflict() -> None:
    alert.given(FIRED, WITHDRAWN).when(acknowledge, comment="seen", **BY_KEEPER).refused(
        Conflict, "alert_withdrawn"
    )


def test_given_closed_unverified_when_acknowledged_then_conflict() -> None:
    alert.given(FIRED, CLOSED).when(acknowledge, comment="seen", **BY_KEEPER).refused(
        Conflict, "alert_closed"
    )


def test_given_firing_when_acknowledged_without_a_word_then_invalid() -> None:
    alert.given(FIRED).when(acknowledge, comment=" \t", **BY_KEEPER).refused(
        Invalid, "comment_required"
    )


def test_given_firing_when_acknowledged_with_control_characters_then_invalid() -> None:
    alert.given(FIRED).when(acknowledge, comment="a\0b", **BY_KEEPER).refused(Invalid, "bad_text")


def test_given_firing_when_acknowledged_with_a_phone_number_then_invalid() -> None:
    alert.given(FIRED).when(acknowledge, comment="已打 138-0000-0001", **BY_KEEPER).refused(
        Invalid, "names_a_person"
    )


def test_given_no_alert_when_acknowledged_then_not_found() -> None:
    alert.when(acknowledge, comment="seen", **BY_KEEPER).refused(NotFound, "unknown_alert")


def test_given_firing_when_a_level_is_due_then_escalated() -> None:
    alert.given(FIRED).when(escalate, level=1, due_at=LATER).then(ESCALATED)


def test_given_escalated_when_the_same_level_comes_again_then_nothing() -> None:
    alert.given(FIRED, ESCALATED).when(escalate, level=1, due_at=LATER).then()


@pytest.mark.parametrize("settled", [ACKNOWLEDGED, RESOLVED, CLOSED, WITHDRAWN])
def test_given_a_settled_alert_when_a_level_is_due_then_nothing(settled: AlertEvent) -> None:
    alert.given(FIRED, settled).when(escalate, level=1, due_at=LATER).then()


SUPPRESSED = AlertSuppressed(alert_id=ALERT_ID, by="silence:s1", until=LATER)
RESUMED = AlertResumed(alert_id=ALERT_ID, by="silence:s1", level=0)


def test_given_firing_when_people_are_kept_from_it_and_told_again_then_said_once() -> None:
    by = "silence:s1"
    alert.given(FIRED).when(suppress, by=by, until=LATER).then(SUPPRESSED)
    alert.given(FIRED, SUPPRESSED).when(suppress, by=by, until=LATER).then()
    alert.given(FIRED, SUPPRESSED).when(suppress, by="", until=None).then(RESUMED)
    alert.given(FIRED, SUPPRESSED, RESUMED).when(suppress, by="", until=None).then()
    alert.given(FIRED, SUPPRESSED, RESOLVED).when(suppress, by="", until=None).then()


RAISED = ConditionRaised(
    alert_id=ALERT_ID,
    kind="gateway_offline",
    subject_kind="gateway",
    subject_id="gw-1",
    unit_id="",
    site_id="clinic",
    region_code="640202",
    severity="minor",
    started_at=AT,
    fired_at=LATER,
    detail="{}",
)


@pytest.mark.parametrize(
    ("cause", "status"), [("recovered", Status.RESOLVED), ("removed", Status.CLOSED_UNVERIFIED)]
)
def test_given_a_condition_when_graver_and_over_then_as_it_was_told(
    cause: str, status: Status
) -> None:
    taken_on = AlertAcknowledged(alert_id=ALERT_ID, actor_id="k", actor_role="cdc", comment="x")
    graver = replace(RAISED, severity="major")
    alert = fold(evolve, None, [RAISED, ESCALATED, taken_on, graver])
    assert isinstance(alert, Alert)
    assert (alert.fired, alert.acknowledged, alert.status) == (graver, None, Status.FIRING)
    assert alert.level == 0
    over = evolve(alert, ConditionEnded(alert_id=ALERT_ID, ended_at=LATER, cause=cause))
    assert over is not None
    assert over.status is status


def test_given_conditions_when_named_then_by_kind_subject_and_beginning() -> None:
    assert begins_alert(RAISED)
    assert not begins_alert(RESOLVED)
    names = [condition_stream("stuck", "d", n) for n in (1, 2)]
    assert len({*names, condition_stream("rate", "d", 1)}) == 3


def test_given_no_alert_when_escalated_then_not_found() -> None:
    alert.when(escalate, level=1, due_at=LATER).refused(NotFound, "unknown_alert")


def test_given_no_rules_when_published_then_the_first_version() -> None:
    rule_set.when(
        publish_rules, profile_id="vaccine_2_8", effective_from=AT, rules=[RULE], now=LATER
    ).then(PUBLISHED)


def test_given_rules_when_other_ones_are_published_then_the_next_version() -> None:
    other = replace(RULE, raise_after_min=20)
    rule_set.given(PUBLISHED).when(
        publish_rules, profile_id="vaccine_2_8", effective_from=LATER, rules=[other], now=AT
    ).then(replace(PUBLISHED, version=2, effective_from=LATER, rules=(other,)))


def test_given_rules_when_the_same_are_published_again_then_nothing() -> None:
    rule_set.given(PUBLISHED).when(
        publish_rules, profile_id="vaccine_2_8", effective_from=LATER, rules=[RULE], now=AT
    ).then()


def test_given_rules_when_a_version_would_not_be_later_then_conflict() -> None:
    rule_set.given(PUBLISHED).when(
        publish_rules,
        profile_id="vaccine_2_8",
        effective_from=AT,
        rules=[replace(RULE, raise_after_min=20)],
        now=AT,
    ).refused(Conflict, "rules_not_later")


@pytest.mark.parametrize(("late_min", "taken"), [(5, True), (6, False)])
def test_given_rules_when_a_version_would_begin_in_the_past_then_invalid(
    late_min: int, taken: bool
) -> None:
    other = replace(RULE, raise_after_min=20)
    told = rule_set.given(PUBLISHED).when(
        publish_rules,
        profile_id="vaccine_2_8",
        effective_from=LATER,
        rules=[other],
        now=LATER + timedelta(minutes=late_min),
    )
    if taken:
        told.then(replace(PUBLISHED, version=2, effective_from=LATER, rules=(other,)))
    else:
        told.refused(Invalid, "rules_backdated")


def test_given_rules_when_one_would_change_sides_then_invalid() -> None:
    rule_set.given(PUBLISHED).when(
        publish_rules,
        profile_id="vaccine_2_8",
        effective_from=LATER,
        rules=[replace(RULE, side="low")],
        now=AT,
    ).refused(Invalid, "rule_side_changed")


def test_given_a_naive_time_when_published_then_invalid() -> None:
    rule_set.when(
        publish_rules,
        profile_id="vaccine_2_8",
        effective_from=AT.replace(tzinfo=None),
        rules=[RULE],
        now=AT,
    ).refused(Invalid, "naive_time")


def test_given_an_alert_when_its_streams_are_named_then_the_episodes_is_its_id() -> None:
    assert str(episode_stream(ALERT_ID)) == ALERT_ID
    assert len({episode_stream(ALERT_ID), alert_stream(ALERT_ID), rule_set_stream("x")}) == 3


def test_given_a_moment_when_turned_into_milliseconds_and_back_then_the_same() -> None:
    moment = AT + timedelta(milliseconds=123)
    assert to_datetime(to_ms(moment)) == moment
