"""Vendors' payload profiles: versions, topics, times, channels, units."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.cold_chain.events import (
    PayloadChannel,
    PayloadProfile,
    PayloadProfilePublished,
    PayloadProfileWithdrawn,
    PayloadTime,
)
from domain.cold_chain.payload_profiles import (
    PROFILES_MAX,
    checked_profile,
    converted,
    evolve,
    names_in_topic,
    offset_of,
    profile_stream,
    publish,
    topic_filter,
    withdraw,
)
from domain.shared.errors import Conflict, Invalid, NotFound
from tests.spec import spec

TIME = PayloadTime(value="message.ts", form="ms")
PROFILE = PayloadProfile(
    profile_id="acme",
    name="Acme",
    topic="acme/{gateway}/{device}/up",
    time=TIME,
    channels={"t1": PayloadChannel(value="message.t", unit="Cel")},
)
PUBLISHED = PayloadProfilePublished(profile_id="acme", version=1, profile=PROFILE)
WITHDRAWN = PayloadProfileWithdrawn(profile_id="acme", version=1)
profiles = spec(evolve, None)


def test_given_nothing_when_published_then_version_one() -> None:
    profiles.when(publish, profile=PROFILE, others={}).then(PUBLISHED)


def test_given_a_version_when_published_then_the_next_one_and_the_same_only_once() -> None:
    changed = replace(PROFILE, name="Acme 2")
    given = profiles.given(PUBLISHED)
    given.when(publish, profile=changed, others={"acme": PROFILE.topic}).then(
        replace(PUBLISHED, version=2, profile=changed)
    )
    given.when(publish, profile=PROFILE, others={"acme": PROFILE.topic}).then()


def test_given_a_withdrawn_profile_when_published_then_in_force_again_under_a_new_version() -> None:
    given = profiles.given(PUBLISHED, WITHDRAWN)
    given.when(publish, profile=PROFILE, others={}).then(replace(PUBLISHED, version=2))
    given.when(withdraw).then()


def test_given_a_profile_when_withdrawn_then_out_of_force() -> None:
    profiles.given(PUBLISHED).when(withdraw).then(WITHDRAWN)
    profiles.when(withdraw).refused(NotFound, "unknown_payload_profile")
    assert profile_stream("acme") != profile_stream("acme2")


@pytest.mark.parametrize(
    ("topic", "overlaps"),
    [
        ("acme/{device}/x/up", True),
        ("acme/+/+/+", True),
        ("acme/gw/dev/up", True),
        ("acme/{gateway}/{device}/down", False),
        ("acme/{gateway}/{device}", False),
        ("acme/{gateway}/{device}/up/x", False),
        ("other/{gateway}/{device}/up", False),
    ],
)
def test_given_a_topic_in_force_when_another_is_published_then_no_message_belongs_to_two(
    topic: str, overlaps: bool
) -> None:
    wanted = replace(PROFILE, profile_id="other", topic=topic, device="message.sn")
    done = profiles.when(publish, profile=wanted, others={"acme": PROFILE.topic})
    if overlaps:
        done.refused(Conflict, "topic_overlaps")
    else:
        assert done.error is None


def test_given_as_many_as_can_be_in_force_when_another_is_published_then_refused() -> None:
    others = {f"p{n}": f"p{n}/{{device}}" for n in range(PROFILES_MAX)}
    profiles.when(publish, profile=PROFILE, others=others).refused(Conflict, "too_many_profiles")
    del others["p0"]
    known = {**others, "acme": PROFILE.topic}
    profiles.when(publish, profile=PROFILE, others=known).then(PUBLISHED)


@pytest.mark.parametrize(
    "topic",
    [
        "acme/{device}",
        "/acme/{device}",
        "a:b/+/{gateway}/{device}/x_y-z",
        "v1.0/{device}",
    ],
)
def test_given_a_topic_of_names_and_placeholders_when_checked_then_taken(topic: str) -> None:
    assert checked_profile(replace(PROFILE, topic=topic)).topic == topic


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "cc/v1/{device}",
        "/cc/{device}",
        "spBv1.0/{device}",
        "{device}/up",
        "+/{device}",
        "/+/{device}",
        "acme/#",
        "acme/{device}/",
        "acme//{device}",
        "acme/x{device}",
        "acme/{device}/{device}",
        "acme/{other}",
        "ac me/{device}",
        "$SYS/{device}",
        "acme/{device}/" + "x" * 200,
    ],
)
def test_given_another_topic_when_checked_then_refused(topic: str) -> None:
    _refused("bad_profile_topic", topic=topic)


def test_given_a_topic_without_a_device_when_checked_then_the_message_must_name_it() -> None:
    _refused("bad_profile_device", topic="acme/{gateway}")
    checked_profile(replace(PROFILE, topic="acme/{gateway}", device="message.sn"))


@pytest.mark.parametrize(
    ("code", "field", "value"),
    [
        ("bad_expression", "device", ""),
        ("bad_expression", "readings", "x" * 501),
        ("bad_name", "profile_id", "a b"),
        ("bad_text", "name", ""),
    ],
)
def test_given_a_field_that_cannot_be_when_checked_then_refused(
    code: str, field: str, value: str
) -> None:
    _refused(code, **{field: value})


def test_given_every_expression_when_named_then_by_its_field() -> None:
    whole = replace(
        PROFILE,
        devices="message.d",
        readings="device.r",
        sequence="reading.n",
        boot="message.b",
        channels={"t1": PayloadChannel(value="reading.t", unit="Cel", valid="reading.ok")},
    )
    assert checked_profile(whole) is whole


@pytest.mark.parametrize(
    ("form", "offset"),
    [
        ("ms", ""),
        ("s", ""),
        ("rfc3339", ""),
        ("%Y-%m-%d %H:%M:%S", "+08:00"),
        ("%Y%m%d%H%M", "-03:30"),
        ("%d.%m.%Y %I:%M:%S %p", "+00:00"),
    ],
)
def test_given_a_form_of_time_when_checked_then_taken(form: str, offset: str) -> None:
    time = PayloadTime(value="message.ts", form=form, offset=offset)
    assert checked_profile(replace(PROFILE, time=time)).time is time


@pytest.mark.parametrize(
    ("form", "offset"),
    [
        ("us", ""),
        ("ms", "+08:00"),
        ("%Y-%m-%d %H:%M:%S", ""),
        ("%Y-%m-%d %H:%M:%S", "8"),
        ("%Y-%m-%d %H:%M:%S", "+15:00"),
        ("%m-%d %H:%M:%S", "+08:00"),
        ("%Y-%m-%d %H", "+08:00"),
        ("%Y-%m-%d %H:%M:%S%z", "+08:00"),
        ("%Y-%m-%d %H:%M:%S %", "+08:00"),
    ],
)
def test_given_another_form_of_time_when_checked_then_refused(form: str, offset: str) -> None:
    _refused("bad_time_form", time=PayloadTime(value="message.ts", form=form, offset=offset))


def test_given_an_offset_when_asked_then_as_named() -> None:
    for text, minutes in (("+08:00", 480), ("-03:30", -210)):
        time = PayloadTime(value="x", form="%Y", offset=text)
        assert offset_of(time).utcoffset(None) == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("code", "name", "fields"),
    [
        ("bad_unit", "t1", {"unit": ""}),
        ("bad_unit", "t1", {"unit": "%RH"}),
        ("bad_unit", "rh", {"unit": "Cel"}),
        ("bad_unit", "door", {"unit": "%"}),
        ("bad_unit", "co2", {"unit": "ppm"}),
        ("bad_divisor", "t1", {"unit": "Cel", "divisor": 0.0}),
        ("bad_divisor", "t1", {"unit": "Cel", "divisor": float("inf")}),
        ("bad_channel", "temperature", {"unit": "Cel"}),
        ("bad_channel", "T1", {"unit": "Cel"}),
    ],
)
def test_given_a_channel_that_cannot_be_when_checked_then_refused(
    code: str, name: str, fields: dict[str, Any]
) -> None:
    _refused(code, channels={name: PayloadChannel(value="message.t", **fields)})
    _refused("bad_channel", channels={})


@pytest.mark.parametrize(
    ("number", "unit", "divisor", "ours"),
    [
        (53, "Cel", 10, 5.3),
        (46.4, "degF", 1, 8.0),
        (35.6, "degF", 1, 2.0),
        (275.15, "K", 1, 2.0),
        (0.61, "/", 1, 61.0),
        (61.5, "%RH", 1, 61.5),
        (12, "", 1, 12.0),
    ],
)
def test_given_a_number_when_converted_then_exactly_on_the_limits(
    number: float, unit: str, divisor: float, ours: float
) -> None:
    assert converted(number, unit, divisor) == ours


def test_given_a_topic_when_subscribed_or_taken_apart_then_by_its_placeholders() -> None:
    assert topic_filter("/acme/{gateway}/+/{device}/up") == "/acme/+/+/+/up"
    pattern = "acme/{gateway}/+/{device}"
    assert names_in_topic(pattern, "acme/g/x/d") == {"gateway": "g", "device": "d"}
    assert names_in_topic(pattern, "acme/g/x") is None
    assert names_in_topic(pattern, "acme/g/x/d/y") is None
    assert names_in_topic(pattern, "other/g/x/d") is None


def _refused(code: str, **fields: Any) -> None:
    with pytest.raises(Invalid) as caught:
        checked_profile(replace(PROFILE, **fields))
    assert caught.value.code == code
