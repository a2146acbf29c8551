"""Who is on duty, who is away, and what trial calls came to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.alerting import duty, model
from domain.alerting.duty_events import (
    DutyAssigned,
    DutyEnded,
    LeaveEnded,
    LeaveTaken,
    PersonReached,
    TrialCallMade,
    TrialCallReported,
)
from domain.alerting.events import (
    AlertAmended,
    AlertClosed,
    AlertClosingProposed,
    AlertResolved,
    AlertWithdrawn,
)
from domain.shared.errors import Conflict, Invalid, NotFound
from tests.alerts.notices_of import ALERT, FIRED_AT, fired, resolved
from tests.spec import spec

AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
DUTY = DutyAssigned(
    duty_id="d1",
    person_id="p1",
    deputy_id="p2",
    region_code="640202",
    site_id="s1",
    level=0,
    severity_min="minor",
    begins_at=AT,
    ends_at=None,
)
LEAVE = LeaveTaken(leave_id="l1", person_id="p1", begins_at=AT + DAY, ends_at=AT + 2 * DAY)
CALL = TrialCallMade(
    call_id="c1", alert_id=ALERT, region_code="640202", site_id="", person_ids=("p1", "p2")
)
REACHED = PersonReached(person_id="p1", channel="sms", seconds=2.0)
SAID = {"actor_role": "cdc", "person_id": "", "disposition": "no_effect", "comment": "已核对"}


def test_given_no_duty_when_assigned_then_put_down_and_once() -> None:
    given = spec(duty.evolve_span, None)
    given.when(duty.assign, wanted=DUTY, now=AT).then(DUTY)
    ended = replace(DUTY, ends_at=AT + DAY)
    given.when(duty.assign, wanted=ended, now=AT).then(ended)
    given.given(DUTY).when(duty.assign, wanted=DUTY, now=AT).refused(Conflict, "duty_exists")
    own = replace(DUTY, deputy_id="p1")
    given.when(duty.assign, wanted=own, now=AT).refused(Invalid, "own_deputy")


@pytest.mark.parametrize(
    ("begins_at", "ends_at"),
    [(AT - 2 * DAY, AT - DAY), (AT + DAY, AT + DAY), (AT + 2 * duty.PERIOD_MAX, None)],
)
def test_given_a_period_that_is_none_when_assigned_then_refused(
    begins_at: datetime, ends_at: datetime | None
) -> None:
    wanted = replace(DUTY, begins_at=begins_at, ends_at=ends_at)
    spec(duty.evolve_span, None).when(duty.assign, wanted=wanted, now=AT).refused(
        Invalid, "bad_period"
    )


def test_given_a_duty_or_leave_when_ended_then_once_and_only_where_it_is() -> None:
    given = spec(duty.evolve_span, None)
    ended = DutyEnded(duty_id="d1", ended_at=AT)
    given.given(DUTY).when(duty.end_duty, duty_id="d1", now=AT).then(ended)
    given.given(DUTY, ended).when(duty.end_duty, duty_id="d1", now=AT).then()
    given.when(duty.end_duty, duty_id="d1", now=AT).refused(NotFound, "unknown_duty")
    given.when(duty.take_leave, wanted=LEAVE, now=AT).then(LEAVE)
    given.given(LEAVE).when(duty.take_leave, wanted=LEAVE, now=AT).refused(Conflict, "leave_exists")
    back = LeaveEnded(leave_id="l1", ended_at=AT)
    given.given(LEAVE).when(duty.end_leave, leave_id="l1", now=AT).then(back)
    given.given(LEAVE, back).when(duty.end_leave, leave_id="l1", now=AT).then()
    given.when(duty.end_leave, leave_id="l1", now=AT).refused(NotFound, "unknown_leave")


def test_given_a_trial_call_when_all_reached_or_time_is_over_then_reported_once() -> None:
    given = spec(duty.evolve_call, None)
    given.when(duty.call, wanted=CALL).then(CALL)
    given.given(CALL).when(duty.call, wanted=CALL).refused(Conflict, "call_exists")
    nobody = replace(CALL, person_ids=())
    given.when(duty.call, wanted=nobody).refused(Invalid, "nobody_on_duty")
    called, late = given.given(CALL), AT + duty.REPORTED_AFTER
    called.when(duty.report, reached=[REACHED], made_at=AT, now=AT).then()
    partly = TrialCallReported(call_id="c1", reached=(REACHED,), missed=("p2",))
    called.when(duty.report, reached=[REACHED], made_at=AT, now=late).then(partly)
    both = (REACHED, replace(REACHED, person_id="p2"))
    whole = TrialCallReported(call_id="c1", reached=both, missed=())
    called.when(duty.report, reached=both, made_at=AT, now=AT).then(whole)
    called.given(whole).when(duty.report, reached=both, made_at=AT, now=late).then()
    streams = {duty.duty_stream("1"), duty.leave_stream("1"), duty.call_stream("1")}
    assert len(streams) == 3


def test_given_a_critical_alert_over_when_closed_then_by_two_persons_who_agree() -> None:
    given = spec(model.evolve, None).given(fired(severity="critical"))
    given.when(model.close, actor_id="k1", **SAID).refused(Conflict, "alert_fires")
    over = given.given(resolved())
    first = AlertClosingProposed(alert_id=ALERT, actor_id="k1", **SAID)
    over.when(model.close, actor_id="k1", **SAID).then(first)
    proposed = over.given(first)
    proposed.when(model.close, actor_id="k1", **SAID).refused(Conflict, "second_person")
    closed = AlertClosed(alert_id=ALERT, actor_id="k2", proposed_by="k1", **SAID)
    proposed.when(model.close, actor_id="k2", **SAID).then(closed)
    other = SAID | {"disposition": "false_alarm"}
    otherwise = AlertClosingProposed(alert_id=ALERT, actor_id="k2", **other)
    proposed.when(model.close, actor_id="k2", **other).then(otherwise)
    proposed.when(model.close, actor_id="k2", **SAID | {"comment": " "}).refused(
        Invalid, "comment_required"
    )
    done = proposed.given(closed)
    assert done.state is not None
    assert done.state.status is model.Status.CLOSED
    done.when(model.close, actor_id="k3", **SAID).refused(Conflict, "alert_closed")
    taking = {"actor_id": "k3", "actor_role": "cdc", "comment": "看看"}
    done.when(model.acknowledge, **taking).refused(Conflict, "alert_closed")
    again = AlertAmended(
        alert_id=ALERT,
        started_at=FIRED_AT,
        fired_at=FIRED_AT,
        peak_c=9.9,
        recovered_at=None,
        resolved_at=None,
        cause="late_data",
    )
    done.given(again).when(model.close, actor_id="k3", **SAID).refused(Conflict, "alert_fires")


def test_given_one_person_with_two_keys_when_closing_then_refused_as_one() -> None:
    said = SAID | {"person_id": "p1"}
    first = AlertClosingProposed(alert_id=ALERT, actor_id="k1", **said)
    given = spec(model.evolve, None).given(fired(severity="critical"), resolved(), first)
    given.when(model.close, actor_id="k2", **said).refused(Conflict, "second_person")


def test_given_an_alert_of_less_when_closed_then_by_one_and_not_when_withdrawn() -> None:
    given = spec(model.evolve, None).given(fired(severity="major"))
    over = AlertResolved(alert_id=ALERT, recovered_at=AT, resolved_at=AT, peak_c=9.0)
    closed = AlertClosed(alert_id=ALERT, actor_id="k1", **SAID)
    given.given(over).when(model.close, actor_id="k1", **SAID).then(closed)
    gone = given.given(AlertWithdrawn(alert_id=ALERT, cause="late_data"))
    gone.when(model.close, actor_id="k1", **SAID).refused(Conflict, "alert_withdrawn")
