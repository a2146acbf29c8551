"""Files that real temperature loggers write, read into plain rows: nothing rounded, nothing added.

Known: Berlinger Fridge-tags (2 L and Ultra Low: readings, 2: daily summaries only) and Q-tag CLm,
Maxim DS1923 CSV. Times in these files are local and name no usable zone; the caller says which zone
it was. What a Fridge-tag counted itself, day by day, or a Q-tag of its whole run, is an opinion of
its own on its readings: `days` works the same out from them, for comparison.

Codes of refusals (Invalid): unknown_logger_file, not_celsius, no_logger_data, bad_logger_time,
bad_logger_value, bad_logger_serial, bad_logger_number, logger_times_not_ascending.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import TypeAlias

from domain.shared.errors import Invalid

SIZE_MAX = 32 * 1024 * 1024  # bytes; a logger's file is a few hundred kB
Q_TAG, FRIDGE_TAG = "Device: Q-tag ", "Fridge-tag"
DS1923 = "1-Wire/iButton Part Number: DS1923"
FRIDGE_TAG_TIME, DS1923_TIME = "%Y-%m-%d %H:%M", "%m/%d/%y %I:%M:%S %p"
DS1923_HEADING = "Date/Time,Unit,Value"
NO_VALUE = "--.-"  # probe unplugged
# Loggers of this kind did not exist before, and a clock far ahead is not set.
YEAR_MIN, YEAR_MAX = 2000, 2100
MODEL_MAX = 40  # characters of a model's name that are shown

# A reading holds until the next one, but no longer than this; what lies beyond is unknown.
HOLD_MAX = timedelta(minutes=15)
# By how much a device's own counters may differ from its readings: it measures every minute and
# keeps a reading every five. Source: the real files.
COUNTER_MIN_MAX, COUNTER_C_MAX = 7.0, 0.5
# The same of a whole run: a Q-tag rounds its MKT to a tenth and uses its own activation energy.
MKT_C_MAX = 0.15

# What is done with a line that cannot be read: it may raise, or take note of it.
Refuse: TypeAlias = Callable[[Invalid], None]

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Day:
    """One local day: extremes in °C, minutes below the lower and above the upper limit.

    `unsure_min`: minutes among them of which nobody knows, since no reading followed in time.
    """

    day: date
    min_c: float
    max_c: float
    below_min: float
    above_min: float
    unsure_min: float = 0.0

    def agrees(self, counted: Day) -> bool:
        """Tell whether readings say the same of the day as its device, as far as they can tell."""
        degrees = (self.min_c - counted.min_c, self.max_c - counted.max_c)
        minutes = (self.below_min - counted.below_min, self.above_min - counted.above_min)
        return (
            max(map(abs, degrees)) <= COUNTER_C_MAX + 1e-9  # of numbers with one decimal
            and max(minutes) <= COUNTER_MIN_MAX
            and min(minutes) >= -COUNTER_MIN_MAX - counted.unsure_min
        )


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole run: extremes, mean and mean kinetic temperature in °C."""

    min_c: float
    max_c: float
    mean_c: float
    mkt_c: float

    def agrees(self, counted: Whole) -> bool:
        """Tell whether readings say the same of the run as its device."""
        degrees = (self.min_c - counted.min_c, self.max_c - counted.max_c)
        apart = max(map(abs, degrees)) <= COUNTER_C_MAX + 1e-9
        return apart and abs(self.mkt_c - counted.mkt_c) <= MKT_C_MAX + 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggerFile:
    """What a file holds: n local times ascending with n values in °C (None: probe unplugged).

    `own_days`: what the device counted itself, newest first, outside `limits_c` (below, above),
    None where it has no such alarms; `own`: what it says of its run. `zone_named` is the zone's
    short name as printed in the file, which may mean several zones and is only shown. `interval_s`
    is the logging interval.
    """

    kind: str
    name_zh: str
    name_en: str
    serial: str
    times: tuple[datetime, ...]
    values: tuple[float | None, ...]
    interval_s: int = 300
    own_days: tuple[Day, ...] = ()
    limits_c: tuple[float, float] | None = None
    own: Whole | None = None
    zone_named: str = ""


def _at_once(error: Invalid) -> None:
    raise error


def read(text: str, refuse: Refuse = _at_once) -> LoggerFile:
    """Read the text of a logger's file; Invalid when it is unknown or broken.

    Each line that cannot be read goes to `refuse`, and is left out where that does not raise.
    """
    if text.startswith(Q_TAG):
        return _q_tag(text.splitlines(), refuse)
    if text.startswith(DS1923):
        return _ds1923(text.splitlines(), refuse)
    raise Invalid("unknown_logger_file", field="file")


def days(
    times: Sequence[datetime], values: Sequence[float | None], limits_c: tuple[float, float]
) -> Mapping[date, Day]:
    """Return what the readings say of each day, outside limits that are themselves within.

    A reading counts for the day it is of, until the next one, for `HOLD_MAX` at most; the last one
    for no time.
    """
    found: dict[date, Day] = {}
    following = (*times[1:], *times[-1:])
    for at, after, value in zip(times, following, values, strict=True):
        if value is None:
            continue
        held = min(after - at, HOLD_MAX)
        minutes = held / _MINUTE
        outside = value < limits_c[0] or value > limits_c[1]
        known = found.get(at.date()) or Day(at.date(), value, value, 0.0, 0.0)
        found[at.date()] = Day(
            known.day,
            min(known.min_c, value),
            max(known.max_c, value),
            known.below_min + minutes * (value < limits_c[0]),
            known.above_min + minutes * (value > limits_c[1]),
            known.unsure_min + minutes * (outside and after - at > held),
        )
    return found


def _q_tag(lines: list[str], refuse: Refuse) -> LoggerFile:
    begin = next((n for n, line in enumerate(lines) if line == "Data:"), len(lines))
    head = lines[:begin]
    fields = dict(
        part.strip().split(": ", 1) for line in head for part in line.split(", ") if ": " in part
    )
    if fields.get("Temp unit", "C") != "C":
        raise Invalid("not_celsius", field="file", row=0)
    rows = _Rows(refuse, FRIDGE_TAG_TIME)
    # Rows are indented by a tab; the certificate that follows is not.
    for number, line in enumerate(lines[begin + 2 :], start=1):
        if not line.startswith("\t"):
            break
        when, value, *_ = [*line[1:].split("\t"), ""]
        rows.take(when, value, number)
    model = lines[0].removeprefix(Q_TAG).strip()[:MODEL_MAX]
    kind = "q_tag"
    if model.startswith(FRIDGE_TAG):
        kind = "fridge_tag_2l" if rows.times else "fridge_tag_2"
    else:
        model = f"Q-tag {model}"
    return LoggerFile(
        kind=kind,
        name_zh=f"{model} 温度记录仪",
        name_en=f"{model} logger",
        serial=_serial(fields.get("Serial", "")),
        times=tuple(rows.times),
        values=tuple(rows.values),
        interval_s=60 * int(_number(fields.get("Logging Interval", "5"))),
        own_days=_own_days(head),
        limits_c=_limits(head),
        own=_own(fields),
    )


class _Rows:
    """Readings as they are read, line by line: n times ascending, n values."""

    def __init__(self, refuse: Refuse, form: str) -> None:
        self.times: list[datetime] = []
        self.values: list[float | None] = []
        self._refuse = refuse
        self._form = form

    def take(self, when: str, value: str, number: int) -> None:
        """Take a row by its number, or refuse it."""
        try:
            at, read = _time(when, self._form, number), _value(value, number)
        except Invalid as error:
            self._refuse(error)
            return
        if self.times and at <= self.times[-1]:
            self._refuse(Invalid("logger_times_not_ascending", field="file", row=number))
            return
        self.times.append(at)
        self.values.append(read)


def _own(fields: Mapping[str, str]) -> Whole | None:
    """Return what a Q-tag says of its whole run; None where it says nothing, or has not run."""
    told = [fields.get(name, "") for name in ("Min T", "Max T", "Avrg T", "MKT")]
    return Whole(*map(_number, told)) if "MKT" in fields and all(told) else None


def _own_days(head: Sequence[str]) -> tuple[Day, ...]:
    """Return the daily counters: minutes stand under alarm 0 (low) and alarm 1 (high)."""
    found: list[Day] = []
    begins = [n for n, line in enumerate(head) if line.startswith("  Date: ")]
    for begin, end in pairwise([*begins, len(head)]):
        told = "\n".join(head[begin:end])
        day = re.search(r"Date: (\S+)", told)
        # A day on which nothing was measured has no extremes.
        extremes = [re.search(rf"{name} T: ([-+]?[\d.]+)", told) for name in ("Min", "Max")]
        minutes = re.findall(r"t Acc: (\d+)", told)
        if day is None or None in extremes or len(minutes) < 2:
            continue
        low, high = (_number(match[1]) for match in extremes if match)
        below, above = (float(text) for text in minutes[:2])
        found.append(Day(_time(day[1], "%Y-%m-%d", 0).date(), low, high, below, above))
    return tuple(found)


def _limits(head: Sequence[str]) -> tuple[float, float] | None:
    found = [
        _number(match[1]) for line in head if (match := re.match(r"   T AL: ([-+.\d]+)", line))
    ]
    return (found[0], found[1]) if len(found) == 2 else None


def _ds1923(lines: list[str], refuse: Refuse) -> LoggerFile:
    fields = dict(re.split(r":\s+", line, maxsplit=1) for line in lines if re.search(r":\s", line))
    if DS1923_HEADING not in lines:
        raise Invalid("no_logger_data", field="file", heading=DS1923_HEADING)
    begin = lines.index(DS1923_HEADING) + 1
    rows = _Rows(refuse, DS1923_TIME)
    for number, line in enumerate((line for line in lines[begin:] if line.strip()), start=1):
        when, unit, value = [*line.split(",", 2), "", ""][:3]
        if unit == "C":
            rows.take(when, value, number)
        else:
            refuse(Invalid("not_celsius", field="file", row=number))
    rate = re.search(r"(\d+) second", next((ln for ln in lines if "Sample Rate" in ln), ""))
    zone = re.search(r" ([A-Z]{3,4}) \d{4}$", fields.get("Mission Start Time", ""))
    return LoggerFile(
        kind="ds1923",
        name_zh="DS1923 温度记录仪",
        name_en="DS1923 logger",
        serial=_serial(fields.get("1-Wire/iButton Registration Number", "")),
        times=tuple(rows.times),
        values=tuple(rows.values),
        interval_s=int(rate[1]) if rate else 60,
        zone_named=zone[1] if zone else "",
    )


def _time(text: str, form: str, number: int) -> datetime:
    found = None
    with suppress(ValueError):
        found = datetime.strptime(text, form)  # noqa: DTZ007 - local on purpose: the caller knows the zone
    if found is None or not YEAR_MIN <= found.year <= YEAR_MAX:
        raise Invalid("bad_logger_time", field="file", row=number, value=text)
    return found


def _value(text: str, number: int) -> float | None:
    if text == NO_VALUE:
        return None
    found = _finite(text)
    if found is None:
        raise Invalid("bad_logger_value", field="file", row=number, value=text)
    return found


def _number(text: str) -> float:
    found = _finite(text)
    if found is None:
        raise Invalid("bad_logger_number", field="file", value=text)
    return found


def _finite(text: str) -> float | None:
    """Return a number, None where it is none or beyond all bounds."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _serial(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]{4,32}", text):
        raise Invalid("bad_logger_serial", field="file", value=text)
    return text
