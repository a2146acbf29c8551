"""Types of request and answer bodies: strict, closed, with the patterns of the domain."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from domain.shared.errors import Invalid
from domain.shared.ids import NAME_PATTERN, ORG_CODE_PATTERN, REGION_PATTERN, WHOLE_COUNTRY
from domain.shared.text import TEXT_LENGTH_MAX, TEXT_PATTERN

T = TypeVar("T")


class Body(BaseModel):
    """A closed body: fields it does not name are refused, types are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Items(Body, Generic[T]):
    """One page of a list; `next` is the cursor of the following page, null at the end."""

    items: list[T]
    next: str | None


def moment(value: object) -> datetime:
    """Return a time written as RFC 3339 with its offset, in UTC; ValueError otherwise."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError("a time is a text")  # noqa: TRY004  # pydantic reports ValueError only
    try:
        found = datetime.fromisoformat(value.upper())
        if found.tzinfo is None:
            raise ValueError("a time needs its offset")
        return found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time outside the calendar") from error


def moment_of(value: str, field: str) -> datetime:
    """Return the time of a query parameter; Invalid("bad_time") otherwise."""
    try:
        return moment(value)
    except ValueError:
        raise Invalid("bad_time", field=field, value=value) from None


def _moment(value: object) -> datetime:
    try:
        return moment(value)
    except ValueError:
        raise PydanticCustomError("not_a_time", "not a time with its offset") from None


def _day(value: object) -> date:
    written = value if isinstance(value, str) and len(value) == len("2028-02-28") else ""
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise PydanticCustomError("not_a_day", "not a day") from None


TIME_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)
NOTE_PATTERN = f"^$|{TEXT_PATTERN}"
NAME_OR_NONE_PATTERN = f"^$|{NAME_PATTERN}"
# Addresses of recipients: mail, web, a mobile number of mainland China, a robot's key, a key of web
# push in base64url.
EMAIL_PATTERN = (
    r"^[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,8}$"
)
URL_PATTERN = r"^https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?(/[!-~]{0,1000})?$"
PHONE_PATTERN = r"^(\+86)?1[3-9][0-9]{9}$"
ROBOT_PATTERN = r"^[A-Za-z0-9_-]{16,128}$"
KEY_PATTERN = r"^[A-Za-z0-9_-]+={0,2}$"
TIME_OF_DAY_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
REGION_OR_COUNTRY_PATTERN = f"^{WHOLE_COUNTRY}$|{REGION_PATTERN}"
Moment = Annotated[
    datetime, BeforeValidator(_moment), Field(examples=["2026-03-02T08:00:00+08:00"])
]
Day = Annotated[date, BeforeValidator(_day), Field(examples=["2028-02-28"])]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Region = Annotated[str, Field(pattern=REGION_PATTERN, examples=["640202"])]
# A region, or 000000 for the whole country.
RegionOrCountry = Annotated[str, Field(pattern=REGION_OR_COUNTRY_PATTERN, examples=["640202"])]
OrgCode = Annotated[str, Field(pattern=ORG_CODE_PATTERN, examples=["12640200454000000C"])]
Text = Annotated[str, Field(min_length=1, max_length=TEXT_LENGTH_MAX, pattern=TEXT_PATTERN)]
# A text that may be empty.
Note = Annotated[str, Field(max_length=TEXT_LENGTH_MAX, pattern=NOTE_PATTERN)]
# Nothing, or a name.
NameOrNone = Annotated[str, Field(pattern=NAME_OR_NONE_PATTERN)]

# The version of a thing: what its ETag holds and If-Match names.
Version = Annotated[int, Field(ge=1)]

OrgCodeInPath = Annotated[str, Path(pattern=ORG_CODE_PATTERN)]
NameInPath = Annotated[str, Path(pattern=NAME_PATTERN)]
RegionAsked = Annotated[
    str | None,
    Query(
        pattern=REGION_PATTERN,
        examples=["640200"],
        description="Only this region and what lies in it (GB/T 2260).",
    ),
]
NameAsked = Annotated[str | None, Query(pattern=NAME_PATTERN)]
TimeAsked = Annotated[str | None, Query(pattern=TIME_PATTERN, examples=["2026-03-02T00:00:00Z"])]
