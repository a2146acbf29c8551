"""Search parameters of FHIR as conditions on immunizations."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from api.fhir.resources import PERSON
from domain.platform.uploads import ZONE
from domain.shared.errors import Invalid
from projections.platform import EARLIEST, LATEST, Asked

_DATE = re.compile(
    r"(eq|ge|gt|le|lt)?([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?"
)
_STATUS = {"completed": "done", "entered-in-error": "withdrawn", "not-done": "not_done"}
VALUES_MAX = 100
Span = tuple[datetime, datetime]
T = TypeVar("T")


def span_of(values: Sequence[str], field: str) -> Span:
    """Return the times (from, to exclusive) that all of these dates allow.

    A date without an offset is local. Invalid("bad_fhir_value") for anything else than a date
    with a prefix out of eq, ge, gt, le, lt.
    """
    low, high = EARLIEST, LATEST
    for value in values:
        found = _DATE.fullmatch(value.replace(" ", "+"))
        if found is None:
            raise Invalid("bad_fhir_value", field=field, value=value[:64])
        try:
            begins, ends = _moments(found)
        except (ValueError, OverflowError):
            raise Invalid("bad_fhir_value", field=field, value=value[:64]) from None
        match found[1] or "eq":
            case "eq":
                low, high = max(low, begins), min(high, ends)
            case "ge":
                low = max(low, begins)
            case "gt":
                low = max(low, ends)
            case "le":
                high = min(high, ends)
            case _:
                high = min(high, begins)
    return low, high


def _moments(found: re.Match[str]) -> Span:
    """Return the first moment of a date of any precision, and the first after it."""
    year, month, day, hour, minute, second, part, offset = found.groups()[1:]
    zone = ZONE if offset is None else datetime.fromisoformat(f"2000-01-01T00:00{offset}").tzinfo
    begins = datetime(
        *(int(year), int(month or 1), int(day or 1)),
        *(int(hour or 0), int(minute or 0), int(second or 0)),
        microsecond=round(float(part or 0) * 1_000_000),
        tzinfo=zone,
    ).astimezone(UTC)
    if month is None:
        return begins, begins.astimezone(zone).replace(year=begins.astimezone(zone).year + 1)
    if day is None:
        later = begins.astimezone(zone) + timedelta(days=32)
        return begins, later.replace(day=1).astimezone(UTC)
    if hour is None:
        return begins, begins + timedelta(days=1)
    if second is None:
        return begins, begins + timedelta(minutes=1)
    return begins, begins + (timedelta(microseconds=1) if part else timedelta(seconds=1))


def asked_of(
    region: str,
    *,
    ids: str | None,
    date: Sequence[str],
    changed: Sequence[str],
    lot: str | None,
    patient: str | None,
    status: str | None,
) -> Asked:
    """Return the conditions of a search in a region; Invalid("bad_fhir_value") names a parameter.

    A comma means "or".
    """
    given, learned = span_of(date, "date"), span_of(changed, "_lastUpdated")
    asked = Asked(
        region=region,
        given_from=given[0],
        given_to=given[1],
        changed_from=learned[0],
        changed_to=learned[1],
        lots=None if lot is None else _parts(lot, "lot-number"),
        states=_states(status),
    )
    if ids is not None:
        asked = replace(asked, ids=_each(ids, "_id", UUID))
    if patient is not None:
        asked = replace(asked, recipients=_each(patient, "patient", _pseudonym))
    return asked


def _parts(value: str, field: str) -> list[str]:
    found = [part for part in value.split(",") if part]
    if not found or len(found) > VALUES_MAX or "\0" in value:
        raise Invalid("bad_fhir_value", field=field, value=value[:64])
    return found


def _each(value: str, field: str, read: Callable[[str], T]) -> list[T]:
    try:
        return [read(part) for part in _parts(value, field)]
    except ValueError:
        raise Invalid("bad_fhir_value", field=field, value=value[:64]) from None


def _pseudonym(value: str) -> str:
    """Return the pseudonym of a reference, or of an identifier with or without its system."""
    system, bar, rest = value.partition("|")
    if bar:
        if system not in {"", PERSON}:
            raise ValueError(system)
        return rest
    return value.removeprefix("Patient/")


def _states(value: str | None) -> list[str]:
    if value is None:
        return [*_STATUS.values()]
    found = {_STATUS.get(part.rpartition("|")[2], "") for part in _parts(value, "status")}
    if "" in found:
        raise Invalid("bad_fhir_value", field="status", value=value[:64])
    return sorted(found)
