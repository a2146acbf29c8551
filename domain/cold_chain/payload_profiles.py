"""Profiles of vendors' messages: what may be published, on which topics, and in which units.

A profile is published in versions, all kept for ever; its newest is in force until withdrawn.
Stream: `cold_chain.payload_profile`. The expressions themselves are read by `ingest/profiles.py`.

Codes of refusals: bad_name, bad_text, bad_profile_topic, bad_profile_device, bad_expression,
bad_time_form, bad_channel, bad_unit, bad_divisor (Invalid); topic_overlaps, too_many_profiles
(Conflict); unknown_payload_profile (NotFound).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from itertools import zip_longest
from typing import TypeAlias, assert_never
from uuid import UUID

from domain.cold_chain.events import (
    PayloadProfile,
    PayloadProfilePublished,
    PayloadProfileWithdrawn,
    PayloadTime,
)
from domain.cold_chain.model import TEMPERATURE_CHANNELS, checked_channels
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import checked_name, stream_id
from domain.shared.text import checked_text

# Profiles in force: each is a subscription, and a broker bounds what it keeps in flight over all
# subscriptions of a client together (the embedded one at 65,535 messages).
PROFILES_MAX = 16
# Characters of an expression and of a topic; more than any message needs.
EXPRESSION_LENGTH_MAX = 500
TOPIC_LENGTH_MAX = 200
# Our unit = the vendor's × factor + shift. `Cel`, `K`, `%RH` and `/` (a ratio) are SenML's names
# (RFC 8428, table 1); degF is no unit of SenML.
UNITS: Mapping[str, tuple[float, float]] = {
    "Cel": (1.0, 0.0),
    "degF": (5.0 / 9.0, -160.0 / 9.0),
    "K": (1.0, -273.15),
    "%RH": (1.0, 0.0),
    "%": (1.0, 0.0),
    "/": (100.0, 0.0),
    "": (1.0, 0.0),
}
# What must be said of channels that have a unit of ours; any other takes every unit.
UNITS_OF: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(TEMPERATURE_CHANNELS, ("Cel", "degF", "K")),
    "rh": ("%RH", "%", "/"),
    "bat": ("%", "/"),
    **dict.fromkeys(("door", "mains"), ("",)),
}
# Decimals kept of a converted value: without it 46.4 °F would be 8.000000000000002 °C, which is
# above a limit of 8. No probe resolves more.
DECIMALS = 4
NUMBER_FORMS: Mapping[str, int] = {"ms": 1, "s": 1_000}  # milliseconds
RFC_3339 = "rfc3339"
# Every part differs from the others, so that a pattern that leaves one out does not give it back.
_SPECIMEN = datetime(2026, 11, 22, 17, 38, 49)  # noqa: DTZ001 (a pattern has no offset)
_OFFSET = re.compile(r"([+-])(0[0-9]|1[0-4]):([0-5][0-9])")
_WILD = {"{device}", "{gateway}", "+"}
_LITERAL = re.compile(r"[A-Za-z0-9_.:-]+")
_OUR_ROOTS = ("cc", "spBv1.0")

ProfileEvent: TypeAlias = PayloadProfilePublished | PayloadProfileWithdrawn
ProfileState: TypeAlias = ProfileEvent | None


def profile_stream(profile_id: str) -> UUID:
    """Return the stream of a profile's versions."""
    return stream_id("cold_chain.payload_profile", profile_id)


def evolve(_state: ProfileState, event: ProfileEvent) -> ProfileState:
    """Return what stands after `event`."""
    match event:
        case PayloadProfilePublished() | PayloadProfileWithdrawn():
            return event
        case _:
            assert_never(event)


def publish(
    state: ProfileState, *, profile: PayloadProfile, others: Mapping[str, str]
) -> list[Event]:
    """Put a profile in force as its next version; the same as is in force changes nothing.

    others: topics of the profiles in force, by profile. Conflict("topic_overlaps") when a message
    could belong to two of them, Conflict("too_many_profiles").
    """
    checked_profile(profile)
    if len(others.keys() - {profile.profile_id}) >= PROFILES_MAX:
        raise Conflict("too_many_profiles", limit=PROFILES_MAX)
    for profile_id, topic in others.items():
        if profile_id != profile.profile_id and _overlap(profile.topic, topic):
            raise Conflict("topic_overlaps", profile_id=profile_id, topic=topic)
    if isinstance(state, PayloadProfilePublished) and state.profile == profile:
        return []
    version = state.version + 1 if state else 1
    return [
        PayloadProfilePublished(profile_id=profile.profile_id, version=version, profile=profile)
    ]


def withdraw(state: ProfileState) -> list[Event]:
    """Put a profile out of force; nothing happens when it is already."""
    if state is None:
        raise NotFound("unknown_payload_profile")
    if isinstance(state, PayloadProfileWithdrawn):
        return []
    return [PayloadProfileWithdrawn(profile_id=state.profile_id, version=state.version)]


def checked_profile(profile: PayloadProfile) -> PayloadProfile:
    """Return a profile whose topic, time, channels and units can be; Invalid otherwise."""
    checked_name(profile.profile_id, "profile_id")
    checked_text(profile.name, "name")
    _check_topic(profile)
    for field, expression in expressions(profile).items():
        if not 0 < len(expression) <= EXPRESSION_LENGTH_MAX:
            raise Invalid(
                "bad_expression",
                field=field,
                value=expression[:EXPRESSION_LENGTH_MAX],
                reason=f"1–{EXPRESSION_LENGTH_MAX}",
            )
    _check_time(profile.time)
    if checked_channels(list(profile.channels)) != tuple(profile.channels):
        raise Invalid("bad_channel", field="channels", value=list(profile.channels))
    for name, channel in profile.channels.items():
        units = UNITS_OF.get(name, tuple(UNITS))
        if channel.unit not in units:
            raise Invalid(
                "bad_unit", field=f"channels.{name}.unit", value=channel.unit, units=units
            )
        if not (math.isfinite(channel.divisor) and channel.divisor > 0):
            raise Invalid("bad_divisor", field=f"channels.{name}.divisor", value=channel.divisor)
    return profile


def expressions(profile: PayloadProfile) -> dict[str, str]:
    """Return the expressions of a profile by the field they stand in; those it leaves out not."""
    optional = {
        "devices": profile.devices,
        "readings": profile.readings,
        "sequence": profile.sequence,
        "boot": profile.boot,
    }
    found = {name: expression for name, expression in optional.items() if expression}
    found |= {"device": profile.device, "time.value": profile.time.value}
    for name, channel in profile.channels.items():
        found[f"channels.{name}.value"] = channel.value
        if channel.valid:
            found[f"channels.{name}.valid"] = channel.valid
    return found


def topic_filter(topic: str) -> str:
    """Return the MQTT filter that takes what a profile's topic stands for."""
    return "/".join("+" if level in _WILD else level for level in topic.split("/"))


def names_in_topic(pattern: str, topic: str) -> dict[str, str] | None:
    """Return what stands in a topic for {device} and {gateway}; None when it does not fit."""
    levels = list(zip_longest(pattern.split("/"), topic.split("/")))
    if any(found is None or (wanted not in _WILD and wanted != found) for wanted, found in levels):
        return None
    return {wanted[1:-1]: found for wanted, found in levels if wanted[:1] == "{"}


def offset_of(time: PayloadTime) -> timezone:
    """Return the offset of a profile's local times."""
    sign, hours, minutes = _OFFSET.fullmatch(time.offset).groups()  # type: ignore[union-attr]
    ahead = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-ahead if sign == "-" else ahead)


def converted(number: float, unit: str, divisor: float) -> float:
    """Return a vendor's number in our unit."""
    factor, shift = UNITS[unit]
    return round(number / divisor * factor + shift, DECIMALS)


def _check_topic(profile: PayloadProfile) -> None:
    """Hold a topic to literals and placeholders, beginning with a literal that is not our own.

    A level that a broker reads as a wild card at the front would take other people's messages.
    """
    levels = profile.topic.split("/")
    first = levels[1] if levels[0] == "" and len(levels) > 1 else levels[0]
    named = [level for level in levels if level[:1] == "{"]
    if (
        len(profile.topic) > TOPIC_LENGTH_MAX
        or first in {"", *_OUR_ROOTS, *_WILD}
        or len(set(named)) < len(named)
        or not all(
            level in _WILD or _LITERAL.fullmatch(level) or (n == 0 and not level)
            for n, level in enumerate(levels)
        )
    ):
        raise Invalid("bad_profile_topic", field="topic", value=profile.topic)
    if profile.device == "topic.device" and "{device}" not in named:
        raise Invalid("bad_profile_device", field="device")


def _check_time(time: PayloadTime) -> None:
    if time.form in NUMBER_FORMS or time.form == RFC_3339:
        if not time.offset:
            return
    elif _OFFSET.fullmatch(time.offset) and _gives_all(time.form):
        return
    raise Invalid("bad_time_form", field="time", value=f"{time.form} {time.offset}".strip())


def _gives_all(pattern: str) -> bool:
    """Tell whether a pattern of strptime tells a time to the minute at least."""
    try:
        back = datetime.strptime(_SPECIMEN.strftime(pattern), pattern)  # noqa: DTZ007
    except ValueError:
        return False
    return back.replace(second=0) == _SPECIMEN.replace(second=0)


def _overlap(one: str, other: str) -> bool:
    pairs = zip_longest(one.split("/"), other.split("/"))
    return all(
        a is not None and b is not None and (a == b or a in _WILD or b in _WILD) for a, b in pairs
    )
