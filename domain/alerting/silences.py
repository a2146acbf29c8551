"""Silences: when people are not told of alerts of a place, and what no silence may keep from them.

A silence has a place, kinds of alerts, an end and a reason. One that is for work on equipment lasts
eight hours at most, and no chain of them longer without a pause in which whatever is still on is
told. Quiet hours come every day, may be put down for longer, and hold back the slight alone. Of a
whole region temperature and power are never silenced: that is decided site by site. Whether an
alert is held back at a moment is asked in the store (`held_back`), where no silence but one of
goods that were moved holds back what is critical or may freeze.

Stream: `alerting.silence` (silence_id). Codes of refusals: unknown_silence (NotFound);
silence_exists, silence_too_long (Conflict); bad_period, bad_quiet_hours, quiet_too_long,
silence_of_region, reason_required, bad_text (Invalid).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, assert_never
from uuid import UUID

from domain.alerting.conditions import Kind
from domain.alerting.silence_events import SilenceCreated, SilenceEnded
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.shared.text import checked_text

# Source: cold-chain rules of the field, maintenance windows.
LASTS_MAX = timedelta(hours=8)
# So long a pause between silences of one place lets everything that is on be told (own choice).
PAUSE_MIN = timedelta(minutes=10)
# Quiet hours: how many minutes a day, and for how long they may be put down (own choice).
QUIET_MIN_MAX, QUIET_LASTS_MAX = 12 * 60, timedelta(days=366)
# Silences are put down at most so long before they begin.
AHEAD_MAX = timedelta(days=31)
DAY_MIN = 24 * 60
REASON_LENGTH_MAX = 500

# The kind of an alert by a threshold, as the inbox names it.
TEMPERATURE = "temperature"
# What three people must be told of at once, whatever its severity.
OF_LAW = frozenset({TEMPERATURE, Kind.POWER_LOST.value})


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence as it stands."""

    created: SilenceCreated
    ends_at: datetime


SilenceState: TypeAlias = Silence | None
Span: TypeAlias = tuple[datetime, datetime]


def silence_stream(silence_id: str) -> UUID:
    """Return the stream of a silence."""
    return stream_id("alerting.silence", silence_id)


def evolve(state: SilenceState, event: SilenceCreated | SilenceEnded) -> SilenceState:
    """Return the silence after `event`."""
    match event:
        case SilenceCreated():
            return Silence(event, event.ends_at)
        case SilenceEnded():
            return state and replace(state, ends_at=max(event.ended_at, state.created.begins_at))
        case _:
            assert_never(event)


def create(state: SilenceState, *, wanted: SilenceCreated, now: datetime) -> list[Event]:
    """Put down a silence, from now on at the earliest; `check_row` has to follow."""
    if state is not None:
        raise Conflict("silence_exists", silence_id=wanted.silence_id)
    begins_at, ends_at = wanted.begins_at.astimezone(UTC), wanted.ends_at.astimezone(UTC)
    if not (now < ends_at and begins_at < ends_at and begins_at <= now + AHEAD_MAX):
        raise Invalid("bad_period", field="ends_at")
    if not wanted.reason.strip():
        raise Invalid("reason_required", field="reason")
    begins_at = max(begins_at, now)
    if wanted.daily:
        _check_quiet(wanted.daily, ends_at - begins_at)
    elif not wanted.site_id and (not wanted.kinds or OF_LAW.intersection(wanted.kinds)):
        raise Invalid("silence_of_region", field="kinds")
    reason = checked_text(wanted.reason.strip(), "reason", length_max=REASON_LENGTH_MAX)
    kinds = tuple(sorted(set(wanted.kinds)))
    return [replace(wanted, begins_at=begins_at, ends_at=ends_at, reason=reason, kinds=kinds)]


def end(state: SilenceState, *, silence_id: str, actor_id: str, now: datetime) -> list[Event]:
    """Let a silence end now; one that is over stays as it was."""
    if state is None:
        raise NotFound("unknown_silence", silence_id=silence_id)
    if state.ends_at <= max(now, state.created.begins_at):
        return []
    return [SilenceEnded(silence_id=silence_id, ended_at=now, actor_id=actor_id)]


def _check_quiet(daily: tuple[int, ...], lasts: timedelta) -> None:
    begin, to = daily
    if begin == to or not (0 <= begin < DAY_MIN and 0 <= to < DAY_MIN):
        raise Invalid("bad_quiet_hours", field="daily")
    if (to - begin) % DAY_MIN > QUIET_MIN_MAX or lasts > QUIET_LASTS_MAX:
        raise Invalid("quiet_too_long", field="daily", hours=QUIET_MIN_MAX // 60)


def check_row(made: SilenceCreated, beside: Sequence[Span]) -> None:
    """Refuse what lasts too long, by itself or in a row with others that silence some of the same.

    `beside`: when those do so all day.
    """
    if made.daily:
        return
    first, last = made.begins_at, made.ends_at
    before = after = None
    while (first, last) != (before, after):
        before, after = first, last
        for begins_at, ends_at in beside:
            if begins_at <= last + PAUSE_MIN and ends_at >= first - PAUSE_MIN:
                first, last = min(first, begins_at), max(last, ends_at)
    if last - first > LASTS_MAX:
        hours = int(LASTS_MAX.total_seconds()) // 3600
        facts = {"begins_at": first.isoformat(), "ends_at": last.isoformat()}
        raise Conflict("silence_too_long", hours=hours, **facts)
