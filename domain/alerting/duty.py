"""Who is on duty for alerts: duties, leave, and trial calls of whole chains.

Streams: `alerting.duty` (duty_id), `alerting.leave` (leave_id), `alerting.trial_call` (call_id).
Codes of refusals: unknown_duty, unknown_leave (NotFound); duty_exists, leave_exists, call_exists
(Conflict); bad_period, own_deputy, nobody_on_duty (Invalid).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, assert_never
from uuid import UUID

from domain.alerting.duty_events import (
    DutyAssigned,
    DutyEnded,
    LeaveEnded,
    LeaveTaken,
    PersonReached,
    TrialCallMade,
    TrialCallReported,
)
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import stream_id

# Distinct persons with a live contact whom every alert must reach at once, whatever its severity.
# Source: cold-chain rules of the field (three people).
PEOPLE_MIN = 3
# No step of escalation is higher: whoever is told from some level on is told of this one.
LEVEL_MAX = 9
# Farther from now no period begins or ends: it is a mistake in writing.
PERIOD_MAX = timedelta(days=5 * 366)
# A trial call is reported when everybody was reached, at the latest after so long.
REPORTED_AFTER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Span:
    """A duty or a leave as it stands: until when (None: until further notice)."""

    begins_at: datetime
    ends_at: datetime | None

    def over(self, now: datetime) -> bool:
        """Tell whether nothing of it is left."""
        return self.ends_at is not None and self.ends_at <= now


SpanState: TypeAlias = Span | None
CallState: TypeAlias = TrialCallMade | TrialCallReported | None


def duty_stream(duty_id: str) -> UUID:
    """Return the stream of a duty."""
    return stream_id("alerting.duty", duty_id)


def leave_stream(leave_id: str) -> UUID:
    """Return the stream of a leave."""
    return stream_id("alerting.leave", leave_id)


def call_stream(call_id: str) -> UUID:
    """Return the stream of a trial call."""
    return stream_id("alerting.trial_call", call_id)


def evolve_span(
    state: SpanState, event: DutyAssigned | DutyEnded | LeaveTaken | LeaveEnded
) -> SpanState:
    """Return the duty or leave after `event`."""
    match event:
        case DutyAssigned() | LeaveTaken():
            return Span(event.begins_at, event.ends_at)
        case DutyEnded() | LeaveEnded():
            return state and replace(state, ends_at=event.ended_at)
        case _:
            assert_never(event)


def assign(state: SpanState, *, wanted: DutyAssigned, now: datetime) -> list[Event]:
    """Give somebody a duty that is not over yet."""
    if state is not None:
        raise Conflict("duty_exists", duty_id=wanted.duty_id)
    if wanted.person_id == wanted.deputy_id:
        raise Invalid("own_deputy", field="deputy_id")
    _check(wanted.begins_at, wanted.ends_at, now)
    begins_at, ends_at = wanted.begins_at.astimezone(UTC), wanted.ends_at
    return [replace(wanted, begins_at=begins_at, ends_at=ends_at and ends_at.astimezone(UTC))]


def end_duty(state: SpanState, *, duty_id: str, now: datetime) -> list[Event]:
    """Let a duty end now; one that is over stays as it was."""
    if state is None:
        raise NotFound("unknown_duty", duty_id=duty_id)
    return [] if state.over(now) else [DutyEnded(duty_id=duty_id, ended_at=now)]


def take_leave(state: SpanState, *, wanted: LeaveTaken, now: datetime) -> list[Event]:
    """Let somebody be away for a time."""
    if state is not None:
        raise Conflict("leave_exists", leave_id=wanted.leave_id)
    _check(wanted.begins_at, wanted.ends_at, now)
    begins_at, ends_at = wanted.begins_at.astimezone(UTC), wanted.ends_at.astimezone(UTC)
    return [replace(wanted, begins_at=begins_at, ends_at=ends_at)]


def end_leave(state: SpanState, *, leave_id: str, now: datetime) -> list[Event]:
    """Let somebody be back now; a leave that is over stays as it was."""
    if state is None:
        raise NotFound("unknown_leave", leave_id=leave_id)
    return [] if state.over(now) else [LeaveEnded(leave_id=leave_id, ended_at=now)]


def evolve_call(_state: CallState, event: TrialCallMade | TrialCallReported) -> CallState:
    """Return how far a trial call has come."""
    return event


def call(state: CallState, *, wanted: TrialCallMade) -> list[Event]:
    """Call everybody in a chain for trial."""
    if state is not None:
        raise Conflict("call_exists", call_id=wanted.call_id)
    if not wanted.person_ids:
        raise Invalid("nobody_on_duty", field="region_code", region_code=wanted.region_code)
    return [wanted]


def report(
    state: CallState, *, reached: Sequence[PersonReached], made_at: datetime, now: datetime
) -> list[Event]:
    """Report a trial call once: when everybody was reached, or when its time is over."""
    if not isinstance(state, TrialCallMade):
        return []
    found = {one.person_id for one in reached}
    missed = tuple(each for each in state.person_ids if each not in found)
    if missed and now < made_at + REPORTED_AFTER:
        return []
    return [TrialCallReported(call_id=state.call_id, reached=tuple(reached), missed=missed)]


def _check(begins_at: datetime, ends_at: datetime | None, now: datetime) -> None:
    if ends_at is not None and not max(now, begins_at) < ends_at <= now + PERIOD_MAX:
        raise Invalid("bad_period", field="ends_at")
    if abs(begins_at - now) > PERIOD_MAX:
        raise Invalid("bad_period", field="begins_at")
