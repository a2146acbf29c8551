"""Events of who is on duty for alerts, and of trial calls; persons by pseudonymous ids alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from domain.shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyAssigned(Event):
    """A person is told of a region, or of one site of it, from a level of escalation on.

    `deputy_id` stands in while the person is on leave. `ends_at` None: until further notice.
    """

    TOPIC: ClassVar[str] = "alerting.DutyAssigned"
    duty_id: str
    person_id: str
    deputy_id: str
    region_code: str
    site_id: str
    level: int
    severity_min: str
    begins_at: datetime
    ends_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyEnded(Event):
    """A duty is over before its end, or has one now."""

    TOPIC: ClassVar[str] = "alerting.DutyEnded"
    duty_id: str
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveTaken(Event):
    """A person is told of nothing for a time; their deputies are."""

    TOPIC: ClassVar[str] = "alerting.LeaveTaken"
    leave_id: str
    person_id: str
    begins_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveEnded(Event):
    """A person is back before the end of their leave, or never left."""

    TOPIC: ClassVar[str] = "alerting.LeaveEnded"
    leave_id: str
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCallMade(Event):
    """Everybody in the chain of a region, or of one site, was called to see whether it works."""

    TOPIC: ClassVar[str] = "alerting.TrialCallMade"
    call_id: str
    alert_id: str  # under which deliveries keep what became of it
    region_code: str
    site_id: str
    person_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonReached:
    """By which channel somebody was reached first, after so many seconds."""

    person_id: str
    channel: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCallReported(Event):
    """What became of a trial call: who was reached, and who was not."""

    TOPIC: ClassVar[str] = "alerting.TrialCallReported"
    call_id: str
    reached: tuple[PersonReached, ...]
    missed: tuple[str, ...]
