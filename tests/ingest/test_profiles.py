"""Vendors' messages read by their profiles: what they tell, what is refused, how much work."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.cold_chain.events import (
    PayloadProfilePublished,
    PayloadProfileWithdrawn,
)
from domain.shared.errors import Invalid
from ingest.profiles import Compiled, Decoded, Found, Profiles, decode, filters, load
from ingest.refusals import Refused
from ingest.wire import TS_MS_MIN
from tests.ingest.hub import HUB, TS_MS

NOW = datetime(2026, 3, 3, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
EXAMPLES = Path(__file__).parents[2] / "docs" / "how-to" / "profiles"

HEAD = """
profile_id = "acme"
name = "Acme"
topic = "acme/{gateway}/{device}/up"
"""
TIME = """
[time]
value = "message.ts"
form = "ms"
"""
T1 = """
[channels.t1]
value = "message.t"
unit = "Cel"
"""


def profile(text: str) -> Compiled:
    return load(text.encode())


def read(text: str, message: object, **names: str) -> Decoded:
    """Return what a message tells by a profile, on a topic of gateway G and device D."""
    found = Found(profile(text), {"gateway": "G", "device": "D", **names})
    return decode(found, json.dumps(message).encode(), NOW_MS)


def value(text: str, message: object) -> float | None:
    """Return the only value that a message tells."""
    (told,) = read(text, message).messages
    ((only,),) = told.columns.values()
    return only


def fault(text: str, message: object, **names: str) -> str:
    """Return why the only device of a message is refused."""
    decoded = read(text, message, **names)
    assert decoded.messages == ()
    (refused,) = decoded.refused.values()
    return str(refused.args[0])


def test_given_a_flat_message_when_read_then_identified_by_its_time() -> None:
    (told,) = read(HEAD + TIME + T1, {"ts": TS_MS, "t": 5.3}).messages
    assert (told.device_id, told.sequenced) == ("D", False)
    assert list(told.ts_ms) == [TS_MS]
    assert list(told.seqs) == [TS_MS - TS_MS_MIN]
    assert told.columns == {"t1": [5.3]}


def test_given_nested_lists_when_read_then_one_message_a_device_in_order() -> None:
    rows = [{"n": n, "ts": TS_MS + n, "t": n} for n in (3, 1, 2)]
    sent = {"d": [{"sn": "b", "r": rows}, {"sn": "a", "r": rows[:1]}, {"sn": "c", "r": []}]}
    first, second = read(HUB, sent).messages
    assert (first.device_id, list(first.seqs), first.boot) == ("b", [1, 2, 3], 0)
    assert first.columns == {"t1": [1.0, 2.0, 3.0]}
    assert (second.device_id, list(second.seqs)) == ("a", [3])


def test_given_a_list_of_readings_of_several_devices_when_read_then_gathered_by_device() -> None:
    text = HUB.replace('readings = "device.r"\n', "").replace("reading.", "device.")
    sent = [{"sn": sn, "n": n, "ts": TS_MS + n, "t": 4} for n, sn in enumerate("abab")]
    assert [(m.device_id, list(m.seqs)) for m in read(text, {"d": sent}).messages] == [
        ("a", [0, 2]),
        ("b", [1, 3]),
    ]


def test_given_gzip_when_read_then_unpacked() -> None:
    found = Found(profile(HEAD + TIME + T1), {"gateway": "G", "device": "D"})
    packed = gzip.compress(json.dumps({"ts": TS_MS, "t": 5}).encode())
    assert decode(found, packed, NOW_MS).messages


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ('"ms"', TS_MS),
        ('"ms"', str(TS_MS)),
        ('"s"', TS_MS // 1000),
        ('"s"', TS_MS / 1000),
        ('"rfc3339"', "2026-03-02T08:00:00+08:00"),
        ('"%Y-%m-%d %H:%M:%S"\noffset = "+08:00"', "2026-03-02 08:00:00"),
        ('"%Y%m%d%H%M%S"\noffset = "-01:30"', "20260301223000"),
    ],
)
def test_given_a_time_in_its_form_when_read_then_utc_milliseconds(form: str, told: object) -> None:
    text = HEAD + TIME.replace('"ms"', form) + T1
    (message,) = read(text, {"ts": told, "t": 5}).messages
    assert list(message.ts_ms) == [TS_MS]


@pytest.mark.parametrize(
    ("form", "told", "reason"),
    [
        ('"ms"', "yesterday", "profile_time"),
        ('"ms"', True, "profile_time"),
        ('"ms"', None, "profile_time"),
        ('"ms"', "nan", "profile_time"),
        ('"ms"', 10**400, "profile_time"),
        ('"s"', [], "profile_time"),
        ('"rfc3339"', "2026-03-02T08:00:00", "profile_time"),
        ('"rfc3339"', 5, "profile_time"),
        ('"%Y-%m-%d %H:%M:%S"\noffset = "+08:00"', "2026-03-02", "profile_time"),
        ('"ms"', TS_MS // 1000, "clock"),
        ('"s"', TS_MS, "clock"),
        ('"ms"', NOW_MS + 301_000, "clock"),
    ],
)
def test_given_a_time_that_is_none_when_read_then_refused(
    form: str, told: object, reason: str
) -> None:
    assert fault(HEAD + TIME.replace('"ms"', form) + T1, {"ts": told, "t": 5}) == reason


@pytest.mark.parametrize(
    ("more", "told", "ours"),
    [
        ('unit = "Cel"', "5.3", 5.3),
        ('unit = "Cel"\ndivisor = 10', 53, 5.3),
        ('unit = "degF"', 46.4, 8.0),
        ('unit = "K"', 275.15, 2.0),
        ('unit = "Cel"\nsentinels = [-999, "--"]', -999, None),
        ('unit = "Cel"\nsentinels = [-999, "--"]', "-999.0", None),
        ('unit = "Cel"\nsentinels = [-999, "--"]', "--", None),
        ('unit = "Cel"', 327.67, None),  # what probes say for nothing connected, as everywhere
        ('unit = "Cel"', None, None),
        ('unit = "Cel"\nvalid = "message.ok"', 5, 5.0),
        ('unit = "Cel"\nvalid = "!(message.ok)"', 5, None),
    ],
)
def test_given_a_value_when_read_then_in_our_unit_or_unplugged(
    more: str, told: object, ours: float | None
) -> None:
    text = HEAD + TIME + T1.replace('unit = "Cel"', more)
    assert value(text, {"ts": TS_MS, "t": told, "ok": True}) == ours


def test_given_truth_when_read_then_a_number_where_the_channel_has_no_unit() -> None:
    door = "[channels.door]\nvalue = \"message.t == 'open'\"\n"
    assert value(HEAD + TIME + door, {"ts": TS_MS, "t": "open"}) == 1.0
    assert fault(HEAD + TIME + T1, {"ts": TS_MS, "t": True}) == "profile_number"


@pytest.mark.parametrize(
    ("text", "message", "reason"),
    [
        (HEAD + TIME + T1, {"ts": TS_MS, "t": "warm"}, "profile_number"),
        (HEAD + TIME + T1, {"ts": TS_MS, "t": {}}, "profile_number"),
        (HEAD + TIME + T1, {"ts": TS_MS, "t": "5_0.0"}, "profile_number"),
        (HEAD + TIME + T1, {"ts": TS_MS, "t": 10**400}, "profile_number"),
        (HEAD + TIME + T1, {"ts": TS_MS, "t": 201}, "bad_value"),
        (HEAD + TIME + T1, {"ts": TS_MS, "temp": 5}, "profile_nothing"),
        (HEAD + TIME + T1 + 'valid = "message.ok"', {"ts": TS_MS, "t": 5}, "profile_valid"),
        (HEAD + 'sequence = "message.n"' + TIME + T1, {"ts": TS_MS, "t": 5}, "profile_whole"),
        (
            HEAD + 'sequence = "message.n"' + TIME + T1,
            {"ts": TS_MS, "t": 5, "n": 2**40},
            "profile_whole",
        ),
        (
            HEAD + 'sequence = "message.n"' + TIME + T1,
            {"ts": TS_MS, "t": 5, "n": 1.5},
            "profile_whole",
        ),
        (
            HEAD + 'sequence = "message.n"\nboot = "message.b"' + TIME + T1,
            {"ts": TS_MS, "t": 5, "n": 1, "b": -1},
            "profile_whole",
        ),
        (HEAD + 'device = "message.sn"' + TIME + T1, {"ts": TS_MS, "t": 5}, "profile_device"),
        (
            HEAD + 'device = "message.sn"' + TIME + T1,
            {"ts": TS_MS, "t": 5, "sn": True},
            "profile_device",
        ),
        (
            HEAD + 'device = "message.sn"' + TIME + T1,
            {"ts": TS_MS, "t": 5, "sn": "x" * 65},
            "profile_device",
        ),
        (
            HEAD + TIME + T1.replace("message.t", "sum(message.t)"),
            {"ts": TS_MS, "t": 5},
            "profile_fault",
        ),
        (
            HEAD + TIME + T1.replace("message.t", "[message.t < message.u][0]"),
            {"ts": TS_MS, "t": 5, "u": "x"},
            "profile_fault",
        ),
    ],
)
def test_given_a_message_that_does_not_fit_when_read_then_its_device_is_refused(
    text: str, message: object, reason: str
) -> None:
    assert fault(text, message) == reason


@pytest.mark.parametrize(
    ("text", "payload", "reason"),
    [
        (HUB, b'{"d": 5}', "profile_list"),
        (HUB, b'{"d": [{"sn": 1}]}', "profile_list"),
        (HUB, b"{", "bad_json"),
        (HUB, b"\xff", "bad_json"),
        (HUB, b"[" * 30_000 + b"]" * 30_000, "bad_json"),
        (HUB, b" " * 65_537, "too_large"),
        (HUB, b'{"d": [{"r": [%s]}]}' % b",".join([b"0"] * 501), "too_many"),
    ],
)
def test_given_a_message_that_cannot_be_read_when_read_then_refused_whole(
    text: str, payload: bytes, reason: str
) -> None:
    with pytest.raises(Refused) as caught:
        decode(Found(profile(text), {}), payload, NOW_MS)
    assert caught.value.args[0] == reason


def test_given_a_fault_when_told_then_with_profile_place_and_expression_in_both_languages() -> None:
    sent = {"d": [{"sn": 7, "r": [{"n": 1, "ts": TS_MS, "t": 5}, {"n": 2, "ts": TS_MS, "t": "?"}]}]}
    refused = read(HUB, sent).refused["7"]
    for text in (refused.zh, refused.en):
        for part in ("hub", "channels.t1.value devices[0] readings[1]", "reading.t", '"?"'):
            assert part in text


def test_given_a_fault_of_one_device_when_read_then_the_others_are_told() -> None:
    rows = [{"n": 1, "ts": TS_MS, "t": 5}]
    sent = {"d": [{"sn": "a", "r": rows}, {"sn": "b", "r": [*rows, {}]}, {"r": rows}]}
    decoded = read(HUB, sent)
    assert [message.device_id for message in decoded.messages] == ["a"]
    assert {name: why.args[0] for name, why in decoded.refused.items()} == {
        "b": "profile_whole",
        "": "profile_device",
    }


def test_given_an_empty_list_when_read_then_nothing_is_told_and_nothing_is_wrong() -> None:
    text = HUB.replace('"message.d"', "\"message.d[?type=='th']\"")
    assert read(text, {"d": [{"type": "beat"}]}) == Decoded((), {})


def test_given_channels_told_at_times_when_read_then_left_out_of_readings_without_them() -> None:
    text = HUB + '[channels.rh]\nvalue = "reading.h[0]"\nunit = "%"\n'
    text += '[channels.bat]\nvalue = "reading.b"\nunit = "%"\n'
    rows = [{"n": 1, "ts": TS_MS, "t": 5, "h": []}, {"n": 2, "ts": TS_MS + 1, "t": 5, "h": [61]}]
    first, second = read(text, {"d": [{"sn": "a", "r": rows}]}).messages
    assert (list(first.seqs), first.columns) == ([1], {"t1": [5.0]})
    assert (list(second.seqs), second.columns) == ([2], {"t1": [5.0], "rh": [61.0]})


A_CHANNEL_AN_ITEM = """
profile_id = "items"
name = "Items"
topic = "items/{gateway}/{device}"
readings = "message.sensors"
[time]
value = "message.ts"
form = "ms"
[channels.t1]
value = "reading.temp"
unit = "Cel"
[channels.rh]
value = "reading.hum"
unit = "%"
"""


def test_given_an_item_a_channel_when_of_one_time_then_one_reading() -> None:
    sensors: list[dict[str, float]] = [{"temp": 5.3}, {"pressure": 900}, {"hum": 61}]
    (told,) = read(A_CHANNEL_AN_ITEM, {"ts": TS_MS, "sensors": sensors}).messages
    assert (list(told.ts_ms), told.columns) == ([TS_MS], {"t1": [5.3], "rh": [61.0]})
    again = {"ts": TS_MS, "sensors": [*sensors, {"hum": 62}]}
    assert fault(A_CHANNEL_AN_ITEM, again) == "repeated"


def test_given_a_number_without_channels_when_read_then_the_number_is_used() -> None:
    rows = [{"n": 1, "ts": TS_MS, "t": 5}, {"n": 2, "ts": TS_MS + 1}]
    (told,) = read(HUB, {"d": [{"sn": "a", "r": rows}]}).messages
    assert (list(told.seqs), told.columns) == ([1, 2], {"t1": [5.0, None]})


def test_given_a_vendors_id_when_read_then_a_name_of_ours() -> None:
    (told,) = read(HEAD + TIME + T1, {"ts": TS_MS, "t": 5}, device="86:AB.1").messages
    assert told.device_id == "86-AB-1"


@pytest.mark.parametrize(
    "expression",
    [
        "sum(message.big)",
        "message.big[?@ > `5`] | [0]",
        "join('', map(&to_string(message.big), message.big))",
        " | ".join(["message.r", *["[@, @][]"] * 30, "[0]"]),
    ],
)
def test_given_expressions_with_too_much_to_do_when_read_then_given_up(expression: str) -> None:
    text = HEAD + 'readings = "message.r"' + TIME + T1
    text = text.replace('"message.t"', f'"{expression}"')
    sent = {"ts": TS_MS, "r": list(range(500)), "big": [1] * 15_000}
    with pytest.raises(Refused) as caught:
        read(text, sent)
    assert caught.value.args[0] == "profile_work"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("=", "bad_profile_file"),
        (HEAD, "bad_profile_file"),
        (HEAD + TIME + "[channels]\nt1 = 5", "bad_profile_file"),
        (HEAD + "time = 5\n", "bad_profile_file"),
        (HEAD + "colour = 5" + TIME + T1, "unknown_field"),
        (HEAD + TIME + "zone = 5" + T1, "unknown_field"),
        (HEAD + TIME + T1 + "sentinel = [5]", "unknown_field"),
        (HEAD.replace("acme/", "cc/") + TIME + T1, "bad_profile_topic"),
        (HEAD + TIME + T1.replace("message.t", "message.t["), "bad_expression"),
        (HEAD + TIME + T1.replace("message.t", "message.t #"), "bad_expression"),
        (HEAD + TIME + T1.replace("message.t", "mean(message.t)"), "bad_expression"),
        (HEAD + TIME + T1.replace("message.t", "join(message.t)"), "bad_expression"),
        (HEAD + TIME + T1.replace("message.t", "[" * 400), "bad_expression"),
        (HEAD + TIME + T1.replace("message.t", "|".join(["[@,@][]"] * 50)), "bad_expression"),
    ],
)
def test_given_a_file_that_is_no_profile_when_loaded_then_told(text: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        load(text.encode())
    assert caught.value.code == code


def test_given_a_file_that_is_no_text_when_loaded_then_told() -> None:
    with pytest.raises(Invalid) as caught:
        load(b"\xff")
    assert caught.value.code == "bad_profile_file"


def test_given_published_profiles_when_folded_then_found_by_topic_until_withdrawn() -> None:
    known = Profiles()
    acme, hub = (profile(text).profile for text in (HEAD + TIME + T1, HUB))
    known.take(PayloadProfilePublished(profile_id="acme", version=1, profile=acme))
    known.take(PayloadProfilePublished(profile_id="hub", version=1, profile=hub))
    assert known.filters() == filters([acme, hub]) == ["acme/+/+/up", "hub/+/post"]
    assert known.dropped() == []
    found = known.find("acme/G/D/up")
    assert found is not None
    assert found.names == {"gateway": "G", "device": "D"}
    again = known.find("acme/G/E/up")
    assert again is not None
    assert again.profile is found.profile
    known.take(PayloadProfilePublished(profile_id="acme", version=2, profile=acme))
    newer = known.find("acme/G/D/up")
    assert newer is not None
    assert newer.profile is not found.profile
    known.take(PayloadProfileWithdrawn(profile_id="acme", version=2))
    assert known.find("acme/G/D/up") is None
    assert known.filters() == ["hub/+/post"]
    assert known.dropped() == ["acme/+/+/up"]


def test_given_a_stored_profile_that_no_longer_compiles_when_found_then_refused() -> None:
    known = Profiles()
    broken = profile(HUB).profile
    object.__setattr__(broken, "device", "device.")
    known.take(PayloadProfilePublished(profile_id="hub", version=1, profile=broken))
    with pytest.raises(Refused) as caught:
        known.find("hub/G/post")
    assert caught.value.args[0] == "bad_profile"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.toml")), ids=lambda f: f.stem)
def test_given_an_example_when_read_then_every_device_of_its_sample(file: Path) -> None:
    found = Found(load(file.read_bytes()), {"gateway": "G", "device": "D"})
    decoded = decode(found, file.with_suffix(".json").read_bytes(), NOW_MS)
    assert decoded.messages
    assert decoded.refused == {}
