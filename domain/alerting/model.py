"""What people decide about alerts and rules.

An alert is told in two streams: the engine writes its episode, or the clock a condition of
equipment; people and timers write what they do about it. `evolve` folds both in the order in which
they were stored (`streams_of`): a condition raised once more, graver or no longer silenced, begins
anew, so what was done about it before counts no more: nobody has taken it on, no level was told.
Streams: `alerting.episode` and `alerting.condition` (their ids are the alerts'), `alerting.alert`
(alert_id), `alerting.rule_set` (profile_id).

Codes of refusals: unknown_alert (NotFound); already_acknowledged, alert_withdrawn, alert_closed,
alert_fires, second_person, rules_not_later (Conflict); comment_required, names_a_person, bad_text,
naive_time, rule_side_changed, and those of `rules.checked_rules` (Invalid).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias, assert_never
from uuid import UUID

from domain.alerting.events import (
    AlertAcknowledged,
    AlertAmended,
    AlertClosed,
    AlertClosedUnverified,
    AlertClosingProposed,
    AlertEscalated,
    AlertFired,
    AlertResolved,
    AlertWithdrawn,
    ConditionEnded,
    ConditionRaised,
    RuleSetPublished,
)
from domain.alerting.rules import ThresholdRule, checked_rules
from domain.alerting.silence_events import AlertResumed, AlertSuppressed
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import checked_name, stream_id
from domain.shared.pseudonyms import names_person
from domain.shared.text import checked_text

# Characters of an acknowledgement's comment.
COMMENT_LENGTH_MAX = 1_000
# Minutes by which the clock of whoever publishes rules may be behind.
BACKDATED_MIN_MAX = 5
# What an alert came to, when people close it.
DISPOSITIONS = ("no_effect", "stock_assessed", "equipment_mended", "false_alarm", "other")
# How a condition ends: it is well again, or what it was about is there no more.
RECOVERED, REMOVED = "recovered", "removed"

# What people and timers do about an alert.
AlertAct: TypeAlias = (
    AlertAcknowledged
    | AlertClosingProposed
    | AlertClosed
    | AlertEscalated
    | AlertSuppressed
    | AlertResumed
)
AlertEvent: TypeAlias = (
    AlertFired
    | AlertResolved
    | AlertAmended
    | AlertWithdrawn
    | AlertClosedUnverified
    | AlertAct
    | ConditionRaised
    | ConditionEnded
)


class Status(StrEnum):
    """Where an alert stands; whether it was acknowledged is told apart."""

    FIRING = "firing"
    RESOLVED = "resolved"
    CLOSED_UNVERIFIED = "closed_unverified"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert as it stands now. Open: no `resolved_at`. `level`: the highest that was told."""

    fired: AlertFired | ConditionRaised
    started_at: datetime
    fired_at: datetime
    peak_c: float | None
    recovered_at: datetime | None = None
    resolved_at: datetime | None = None
    withdrawn: bool = False
    acknowledged: AlertAcknowledged | None = None
    proposed: AlertClosingProposed | None = None
    closed: bool = False
    level: int = 0
    suppressed_by: str = ""

    @property
    def status(self) -> Status:
        """Where the alert stands."""
        if self.withdrawn:
            return Status.WITHDRAWN
        if self.resolved_at is None:
            return Status.FIRING
        if self.closed:
            return Status.CLOSED
        return Status.CLOSED_UNVERIFIED if self.recovered_at is None else Status.RESOLVED


AlertState: TypeAlias = Alert | None
RuleSetState: TypeAlias = RuleSetPublished | None


def episode_stream(alert_id: str) -> UUID:
    """Return the stream that tells what happened: an episode, or a condition."""
    return UUID(alert_id)


def condition_stream(kind: str, subject_id: str, since_ms: int) -> UUID:
    """Return the stream of a condition of equipment."""
    return stream_id("alerting.condition", kind, subject_id, since_ms)


def begins_alert(event: Event) -> bool:
    """Tell whether a stream that begins with this event is that of an alert."""
    return isinstance(event, AlertFired | ConditionRaised)


def alert_stream(alert_id: str) -> UUID:
    """Return the stream of what people and timers do about an alert."""
    return stream_id("alerting.alert", alert_id)


def streams_of(alert_id: str) -> list[UUID]:
    """Return both streams of an alert, to be folded together."""
    return [episode_stream(alert_id), alert_stream(alert_id)]


def rule_set_stream(profile_id: str) -> UUID:
    """Return the stream of a storage profile's rules."""
    return stream_id("alerting.rule_set", profile_id)


def evolve(state: AlertState, event: AlertEvent) -> AlertState:
    """Return the alert after `event`; what comes before its first event has no alert to change."""
    if isinstance(event, AlertFired):
        return Alert(
            fired=event,
            started_at=event.started_at,
            fired_at=event.fired_at,
            peak_c=event.peak_c,
        )
    if isinstance(event, ConditionRaised):
        return _raised(event)
    if isinstance(event, AlertAct):
        return state and _done(state, event)
    return state and _found(state, event)


def _raised(event: ConditionRaised) -> Alert:
    return Alert(fired=event, started_at=event.started_at, fired_at=event.fired_at, peak_c=None)


def _done(alert: Alert, event: AlertAct) -> Alert:
    """Return the alert after what people and timers did about it."""
    match event:
        case AlertAcknowledged():
            return replace(alert, acknowledged=event)
        case AlertClosingProposed():
            return replace(alert, proposed=event)
        case AlertClosed():
            return replace(alert, closed=True)
        case AlertEscalated():
            # It went on although somebody had taken the alert on: that has lapsed.
            return replace(alert, level=max(alert.level, event.level), acknowledged=None)
        case AlertSuppressed():
            return replace(alert, suppressed_by=event.by)
        case AlertResumed():
            return replace(alert, suppressed_by="")
        case _:
            assert_never(event)


def _found(
    alert: Alert,
    event: AlertResolved | AlertAmended | AlertWithdrawn | AlertClosedUnverified | ConditionEnded,
) -> Alert:
    """Return the alert after what the engine or the clock found since."""
    match event:
        case AlertResolved():
            return replace(
                alert,
                recovered_at=event.recovered_at,
                resolved_at=event.resolved_at,
                peak_c=event.peak_c,
            )
        case AlertClosedUnverified():
            return replace(alert, resolved_at=event.closed_at, peak_c=event.peak_c)
        case AlertAmended():
            return replace(
                alert,
                started_at=event.started_at,
                fired_at=event.fired_at,
                peak_c=event.peak_c,
                recovered_at=event.recovered_at,
                resolved_at=event.resolved_at,
                proposed=alert.proposed if event.resolved_at else None,
                closed=alert.closed and event.resolved_at is not None,
            )
        case AlertWithdrawn():
            return replace(alert, withdrawn=True)
        case ConditionEnded():
            recovered = event.ended_at if event.cause == RECOVERED else None
            return replace(alert, resolved_at=event.ended_at, recovered_at=recovered)
        case _:
            assert_never(event)


def acknowledge(
    state: AlertState, *, actor_id: str, actor_role: str, comment: str, person_id: str = ""
) -> list[Event]:
    """Take an alert on, while it fires or after; the comment says what was found or done."""
    alert = _known(state)
    if alert.withdrawn:
        raise Conflict("alert_withdrawn", alert_id=alert.fired.alert_id)
    if alert.status in (Status.CLOSED_UNVERIFIED, Status.CLOSED):
        raise Conflict("alert_closed", alert_id=alert.fired.alert_id)
    if alert.acknowledged is not None:
        raise Conflict("already_acknowledged", alert_id=alert.fired.alert_id)
    return [
        AlertAcknowledged(
            alert_id=alert.fired.alert_id,
            actor_id=actor_id,
            actor_role=actor_role,
            comment=_comment(comment),
            person_id=person_id,
        )
    ]


def close(
    state: AlertState,
    *,
    actor_id: str,
    actor_role: str,
    person_id: str,
    disposition: str,
    comment: str,
) -> list[Event]:
    """Close an alert that is over, with what it came to; a critical one takes two persons.

    The first proposes; another, who says the same, closes; who says otherwise proposes that.
    """
    alert = _known(state)
    if alert.withdrawn:
        raise Conflict("alert_withdrawn", alert_id=alert.fired.alert_id)
    if alert.status is Status.FIRING:
        raise Conflict("alert_fires", alert_id=alert.fired.alert_id)
    if alert.closed:
        raise Conflict("alert_closed", alert_id=alert.fired.alert_id)
    said = {
        "alert_id": alert.fired.alert_id,
        "actor_id": actor_id,
        "actor_role": actor_role,
        "person_id": person_id,
        "disposition": disposition,
        "comment": _comment(comment),
    }
    if alert.fired.severity != "critical":
        return [AlertClosed(**said)]
    first = alert.proposed
    if first is None:
        return [AlertClosingProposed(**said)]
    if first.actor_id == actor_id or (person_id and first.person_id == person_id):
        raise Conflict("second_person", alert_id=alert.fired.alert_id)
    if first.disposition != disposition:
        return [AlertClosingProposed(**said)]
    return [AlertClosed(**said, proposed_by=first.actor_id)]


def _comment(comment: str) -> str:
    if not comment.strip():
        raise Invalid("comment_required", field="comment")
    if names_person(comment):
        raise Invalid("names_a_person", field="comment")
    return checked_text(comment.strip(), "comment", length_max=COMMENT_LENGTH_MAX)


def escalate(
    state: AlertState,
    *,
    level: int,
    due_at: datetime,
    lapsed: bool = False,
    person_ids: Sequence[str] = (),
) -> list[Event]:
    """Tell `level` (from 1 on), and these persons, that nobody has taken the alert on.

    `lapsed`: the acknowledgement has been in force for its time (`ACKNOWLEDGED_FOR_MIN`). Nothing
    happens when that level was told already, or the alert needs nobody any more: a timer may be
    late, and may come twice.
    """
    alert = _known(state)
    taken_on = alert.acknowledged is not None and not lapsed
    settled = taken_on or alert.status is not Status.FIRING or alert.suppressed_by
    if settled or level <= alert.level:
        return []
    return [
        AlertEscalated(
            alert_id=alert.fired.alert_id, level=level, due_at=due_at, person_ids=tuple(person_ids)
        )
    ]


def suppress(
    state: AlertState, *, by: str, until: datetime | None, untold: bool = False
) -> list[Event]:
    """Say why people are not told of an alert that is on (`by`), or that they are again (empty).

    `untold`: they were not told of something, whatever the alert itself says. Nothing happens when
    that was said already, or the alert is over: a timer may be late, and may come twice.
    """
    alert = _known(state)
    said = by == alert.suppressed_by and (by != "" or not untold)
    if said or alert.status is not Status.FIRING:
        return []
    alert_id = alert.fired.alert_id
    if by:
        return [AlertSuppressed(alert_id=alert_id, by=by, until=until)]
    return [AlertResumed(alert_id=alert_id, by=alert.suppressed_by, level=alert.level)]


def evolve_rule_set(_state: RuleSetState, event: RuleSetPublished) -> RuleSetState:
    """Return the newest rule set of a profile after `event`."""
    return event


def publish_rules(
    state: RuleSetState,
    *,
    profile_id: str,
    effective_from: datetime,
    rules: Sequence[ThresholdRule],
    now: datetime,
) -> list[Event]:
    """Publish a storage profile's rules as the next version, in force from `effective_from`.

    The same rules again change nothing. A version takes effect after the one before it; a rule that
    keeps its id keeps its side. Only the first version may begin in the past: what was judged under
    rules in force stays so.
    """
    if effective_from.tzinfo is None:
        raise Invalid("naive_time", field="effective_from")
    checked = checked_rules(rules)
    if state is not None:
        if checked == state.rules:
            return []
        if effective_from <= state.effective_from:
            raise Conflict("rules_not_later", effective_from=state.effective_from.isoformat())
        if effective_from < now - timedelta(minutes=BACKDATED_MIN_MAX):
            raise Invalid("rules_backdated", field="effective_from")
        _check_sides(state.rules, checked)
    return [
        RuleSetPublished(
            profile_id=checked_name(profile_id, "profile_id"),
            version=state.version + 1 if state else 1,
            effective_from=effective_from.astimezone(UTC),
            rules=checked,
        )
    ]


def _check_sides(before: Sequence[ThresholdRule], after: Sequence[ThresholdRule]) -> None:
    sides = {rule.rule_id: rule.side for rule in before}
    for rule in after:
        if sides.get(rule.rule_id, rule.side) != rule.side:
            raise Invalid("rule_side_changed", field="side", rule_id=rule.rule_id)


def _known(state: AlertState) -> Alert:
    if state is None:
        raise NotFound("unknown_alert")
    return state
