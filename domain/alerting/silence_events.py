"""Events of silences, and of what they and other alerts keep from people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from domain.shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceCreated(Event):
    """People are not told of alerts of a place for a time; recorded and shown they are.

    `site_id` and `unit_id` empty: of the whole region, of the whole site. `kinds`: of alerts; none:
    of all. `daily`: quiet hours, from and to in minutes of the day, Asia/Shanghai; none: all day.
    `stock_moved`: the vaccine was brought elsewhere before.
    """

    TOPIC: ClassVar[str] = "alerting.SilenceCreated"
    silence_id: str
    region_code: str
    site_id: str
    unit_id: str
    kinds: tuple[str, ...]
    begins_at: datetime
    ends_at: datetime
    daily: tuple[int, ...]
    stock_moved: bool
    reason: str
    actor_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceEnded(Event):
    """A silence is over before its end."""

    TOPIC: ClassVar[str] = "alerting.SilenceEnded"
    silence_id: str
    ended_at: datetime
    actor_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSuppressed(Event):
    """People are told no more of an alert that is on. `until`: None where nobody knows.

    `by`: silence:ID, order:ID (maintenance), alert:ID (a larger one) or flap:ID (the one before).
    """

    TOPIC: ClassVar[str] = "alerting.AlertSuppressed"
    alert_id: str
    by: str
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertResumed(Event):
    """Nothing suppresses an alert any more, and it is still on: those up to `level` are told."""

    TOPIC: ClassVar[str] = "alerting.AlertResumed"
    alert_id: str
    by: str  # what suppressed it
    level: int
