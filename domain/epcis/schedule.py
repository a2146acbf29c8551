"""When a subscription reports: at the moments that a schedule names, in the country's time.

A field is a number, a range `[a-b]`, or a list of both, as `0,[15-20]`; `a/n`, every nth from a on,
is taken too. A field left out takes any value, but below the finest one given it takes the least:
{"hour": "1", "minute": "5"} is every day at 01:05:00.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from zoneinfo import ZoneInfo

from domain.shared.errors import Invalid

ZONE = ZoneInfo("Asia/Shanghai")
# From fine to coarse, with their values; 1 is Monday.
FIELDS = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "dayOfMonth": (1, 31),
    "month": (1, 12),
    "dayOfWeek": (1, 7),
}
_ELEMENT = re.compile(r"(\d{1,2})|\[(\d{1,2})-(\d{1,2})\]|(\d{1,2})/(\d{1,2})", re.ASCII)
# A day that is named comes within so many: 29 February of a given day of the week.
_DAYS_MAX = 366 * 41


@dataclass(frozen=True, slots=True)
class Schedule:
    """The values that each field of the time must have."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def next_after(self, moment: datetime) -> datetime:
        """Return the first moment that is named after another."""
        local = moment.astimezone(ZONE)
        times = list(product(self.hours, self.minutes, self.seconds))
        named = (
            datetime.combine(day, time(*parts), ZONE)
            for day in self.days_from(local.date())
            for parts in times
        )
        return next(found for found in named if found > local).astimezone(UTC)

    def days_from(self, first: date) -> Iterator[date]:
        """Yield the days that are named, from one on."""
        for n in range(_DAYS_MAX):
            day = first + timedelta(days=n)
            if (
                day.month in self.months
                and day.day in self.days
                and day.isoweekday() in self.weekdays
            ):
                yield day


def schedule_of(told: Mapping[str, object]) -> Schedule:
    """Return a schedule; Invalid("bad_subscription") names the field that is wrong."""
    unknown = sorted(told.keys() - FIELDS.keys())
    if unknown or not told:
        raise _bad(unknown[0] if unknown else "schedule", "", ", ".join(FIELDS))
    finest = next(n for n, name in enumerate(FIELDS) if name in told)
    least = 3 if finest == 5 else finest  # a day of the week names no month
    values = [
        _values(name, told[name]) if name in told else _left_out(name, below=n < least)
        for n, name in enumerate(FIELDS)
    ]
    found = Schedule(*values[:3], *map(frozenset, values[3:]))  # type: ignore[arg-type]
    if next(found.days_from(date(2024, 1, 1)), None) is None:
        raise _bad("dayOfMonth", told.get("dayOfMonth", ""), "a day that comes")
    return found


def _left_out(name: str, *, below: bool) -> tuple[int, ...]:
    low, high = FIELDS[name]
    return (low,) if below else tuple(range(low, high + 1))


def _values(name: str, told: object) -> tuple[int, ...]:
    low, high = FIELDS[name]
    found: set[int] = set()
    for part in str(told).split(","):
        element = _ELEMENT.fullmatch(part.strip())
        if element is None:
            raise _bad(name, told, f"{low} … {high}")
        number, first, last, begin, step = (int(g) if g else None for g in element.groups())
        if number is not None:
            first = last = number
        values = (
            range(first, last + 1)
            if first is not None and last is not None
            else range(begin or 0, high + 1, step or high + 1)
        )
        if step == 0 or not values or values[0] < low or values[-1] > high:
            raise _bad(name, told, f"{low} … {high}")
        found.update(values)
    return tuple(sorted(found))


def _bad(name: str, value: object, expected: str) -> Invalid:
    return Invalid("bad_subscription", field=name, value=str(value)[:200], expected=expected)
