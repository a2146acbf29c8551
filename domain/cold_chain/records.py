"""The record of temperatures that a person signs twice a day, for each unit that stays in place.

Morning and afternoon each have a window in which the record is due; for some hours after it, it may
still be signed as late; then it is missed for good, as no record is made up afterwards. Between the
two of a day lie six hours at least. Source: 疫苗储存和运输管理规范 (2017), art. 11; the hours of
windows are our own choice around those in use (8 to 9 and 16 to 17 o'clock).

Streams: `cold_chain.temperature_record` (unit, day, half).

Codes of refusals: own_reading_required, not_a_pseudonym, names_a_person, bad_text,
bad_own_reading, shown_long_ago (Invalid); record_not_due, record_missed, record_signed,
records_too_close (Conflict).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import StrEnum
from uuid import UUID

from domain.cold_chain.model import LIMIT_C_MAX, LIMIT_C_MIN, UnitKind
from domain.cold_chain.record_events import ShownProbe, TemperatureRecordSigned
from domain.shared.errors import Conflict, Invalid
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.shared.pseudonyms import checked_note, checked_pseudonym

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")  # no summer time since 1991
APART = timedelta(hours=6)
# From its opening a record is due for so long, and may be signed as late for as long again.
DUE_FOR = LATE_FOR = timedelta(hours=6)
# What a person signs was put before them no longer ago.
SHOWN_FOR = timedelta(minutes=15)
# Equipment that stays in place; what moves has records of its journeys.
KINDS = (UnitKind.COLD_ROOM, UnitKind.FREEZER_ROOM, UnitKind.REFRIGERATOR, UnitKind.FREEZER)

Record = TemperatureRecordSigned


class Half(StrEnum):
    """Halves of a day: permanent, they stand in events."""

    MORNING = "morning"
    AFTERNOON = "afternoon"


_OPENS = {Half.MORNING: time(6), Half.AFTERNOON: time(12)}


class State(StrEnum):
    """Where a record stands."""

    UPCOMING = "upcoming"
    DUE = "due"
    LATE = "late"
    MISSED = "missed"
    SIGNED = "signed"


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Half a day: from `opens` on its record may be signed, by `due_at` it should be."""

    opens: datetime
    day: date
    half: Half

    @property
    def due_at(self) -> datetime:
        """By when it should be signed."""
        return self.opens + DUE_FOR

    @property
    def closes(self) -> datetime:
        """From when on it cannot be signed any more."""
        return self.due_at + LATE_FOR

    def state(self, now: datetime) -> State:
        """Return where a record that nobody signed stands."""
        if now < self.opens:
            return State.UPCOMING
        if now < self.due_at:
            return State.DUE
        return State.LATE if now < self.closes else State.MISSED

    @property
    def other(self) -> Window:
        """The other half of the day."""
        return window(self.day, Half.AFTERNOON if self.half is Half.MORNING else Half.MORNING)


def window(day: date, half: Half) -> Window:
    """Return half a day in China; times in UTC."""
    opens = datetime.combine(day, _OPENS[half], SHANGHAI).astimezone(UTC)
    return Window(opens, day, half)


def windows(first: date, last: date) -> Iterator[Window]:
    """Yield the halves of these days, in order."""
    for n in range((last - first).days + 1):
        for half in Half:
            yield window(first + timedelta(days=n), half)


def overdue(now: datetime, count: int) -> list[Window]:
    """Return the last windows that should have been signed by now, the newest first."""
    today = now.astimezone(SHANGHAI).date()
    found = windows(today - timedelta(days=count), today)
    return [each for each in reversed(list(found)) if each.due_at <= now][:count]


def record_stream(unit_id: str, window: Window) -> UUID:
    """Return the stream of a record."""
    return stream_id("cold_chain.temperature_record", unit_id, f"{window.day}", window.half)


def evolve_record(_state: Record | None, event: TemperatureRecordSigned) -> Record | None:
    """Return the record after `event`."""
    return event


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is put before the person: of which unit, as known at which moment and position."""

    unit_id: str
    site_id: str
    region_code: str
    shown_at: datetime
    as_of: str
    since: datetime
    probes: Sequence[ShownProbe]
    min_c: float | None
    max_c: float | None
    outside_min: float | None
    unknown_min: float
    alert_ids: Sequence[str]


def sign(
    state: Record | None,
    *,
    window: Window,
    other: Record | None,
    shown: Shown,
    own_c: float | None,
    remark: str,
    signed_by: str,
    now: datetime,
) -> list[Event]:
    """Sign the record of a window; `other`: that of the other half of the day.

    The same again changes nothing. Where no probe says anything, the person must have read a
    thermometer.
    """
    if state is not None:
        if (state.signed_by, state.own_c, state.remark) == (signed_by, own_c, remark):
            return []
        raise Conflict("record_signed", unit_id=shown.unit_id, signed_by=state.signed_by)
    _check_time(window, other, shown.shown_at, now)
    if not signed_by:
        raise Invalid("not_a_pseudonym", field="signed_by")
    if own_c is None and all(probe.value_c is None for probe in shown.probes):
        raise Invalid("own_reading_required", field="own_c")
    if own_c is not None and not LIMIT_C_MIN <= own_c <= LIMIT_C_MAX:
        raise Invalid("bad_own_reading", field="own_c", value=own_c)
    return [
        TemperatureRecordSigned(
            unit_id=shown.unit_id,
            site_id=shown.site_id,
            region_code=shown.region_code,
            day=window.day,
            half=window.half.value,
            due_at=window.due_at,
            shown_at=shown.shown_at,
            as_of=shown.as_of,
            since=shown.since,
            probes=tuple(shown.probes),
            min_c=shown.min_c,
            max_c=shown.max_c,
            outside_min=shown.outside_min,
            unknown_min=shown.unknown_min,
            alert_ids=tuple(shown.alert_ids),
            own_c=own_c,
            remark=checked_note(remark, "remark"),
            signed_by=checked_pseudonym(signed_by, "signed_by"),
            late=now >= window.due_at,
        )
    ]


def _check_time(window: Window, other: Record | None, shown_at: datetime, now: datetime) -> None:
    if now < window.opens:
        raise Conflict("record_not_due", opens=window.opens.isoformat())
    if now >= window.closes:
        raise Conflict("record_missed", closed=window.closes.isoformat())
    if not now - SHOWN_FOR <= shown_at <= now:
        raise Invalid("shown_long_ago", field="shown_at")
    if other is not None and abs(shown_at - other.shown_at) < APART:
        raise Conflict("records_too_close", other=other.shown_at.isoformat())
