"""When a fact can have happened: the same rule for scans and for documents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from domain.shared.errors import Invalid

# A fact may not lie further in the future than clocks differ.
AHEAD_MAX = timedelta(minutes=5)
# Earlier than any code of these systems: a clock that was never set, or a slip of the pen.
EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)
# What a person tells later than this is told with the reason why so late.
UNEXPLAINED_MAX = timedelta(hours=72)


def check_time(occurred_at: datetime, now: datetime, field: str) -> None:
    """Refuse a time that cannot be: Invalid("clock_ahead") or Invalid("too_early")."""
    if occurred_at > now + AHEAD_MAX:
        raise Invalid("clock_ahead", field=field, value=occurred_at.isoformat())
    if occurred_at < EARLIEST:
        raise Invalid("too_early", field=field, value=occurred_at.isoformat())


def check_told_late(occurred_at: datetime, now: datetime, reason: str, field: str) -> None:
    """Refuse what a person tells after more than 72 hours without a reason: Invalid.

    Only of people: a document or a scanner is a machine record, written when it happened and sent
    when the line was back.
    """
    if not reason and occurred_at < now - UNEXPLAINED_MAX:
        raise Invalid("late_without_reason", field=field, value=occurred_at.isoformat())
