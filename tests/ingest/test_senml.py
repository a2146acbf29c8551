"""SenML: the examples of RFC 8428, what is refused, and packs against a plain resolver."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.refusals import Refused
from ingest.senml import decode, is_pack, resolve
from ingest.wire import READINGS_MAX, TS_MS_MIN, Message

NOW_MS = 1_795_312_800_000
URN = "urn:dev:ow:10e2073a01080063"
AT_S = 1_795_312_800

Rows = dict[int, tuple[int, int, dict[str, float]]]


def decoded(pack: object, device_id: str = "d") -> tuple[Message, ...]:
    return decode(device_id, json.dumps(pack).encode(), NOW_MS, NOW_MS)


def rows_of(messages: tuple[Message, ...]) -> Rows:
    """Return the readings of messages: time -> (boot, seq, values)."""
    return {
        ts_ms: (
            message.boot if message.sequenced else -1,
            message.seqs[i],
            {channel: float(column[i] or 0) for channel, column in message.columns.items()},
        )
        for message in messages
        for i, ts_ms in enumerate(message.ts_ms)
    }


# The examples of RFC 8428, 5.1.1 to 5.1.8, and what they say: (name, unit, UTC ms, value).
EXAMPLES: list[tuple[str, list[tuple[str, str, int, object]]]] = [
    (
        '[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]',
        [(URN, "Cel", NOW_MS, 23.1)],
    ),
    (
        '[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},'
        '{"n":"current","u":"A","v":1.2}]',
        [(URN + ":voltage", "V", NOW_MS, 120.1), (URN + ":current", "A", NOW_MS, 1.2)],
    ),
    (
        '[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,'
        '"n":"voltage","u":"V","v":120.1},{"n":"current","t":-5,"v":1.2},'
        '{"n":"current","t":-4,"v":1.3},{"n":"current","v":1.7}]',
        [
            ("urn:dev:ow:10e2073a0108006:voltage", "V", 1_276_020_076_001, 120.1),
            ("urn:dev:ow:10e2073a0108006:current", "A", 1_276_020_071_001, 1.2),
            ("urn:dev:ow:10e2073a0108006:current", "A", 1_276_020_072_001, 1.3),
            ("urn:dev:ow:10e2073a0108006:current", "A", 1_276_020_076_001, 1.7),
        ],
    ),
    (
        '[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":21.2},'
        '{"t":10,"v":21.3},{"t":20,"v":21.4}]',
        [
            (URN, "%RH", 1_320_067_464_000, 21.2),
            (URN, "%RH", 1_320_067_474_000, 21.3),
            (URN, "%RH", 1_320_067_484_000, 21.4),
        ],
    ),
    (
        '[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20.0},'
        '{"u":"lon","v":24.30621},{"u":"lat","v":60.07965},{"t":150,"u":"%EL","v":98}]',
        [
            (URN, "%RH", 1_320_067_464_000, 20.0),
            (URN, "lon", 1_320_067_464_000, 24.30621),
            (URN, "lat", 1_320_067_464_000, 60.07965),
            (URN, "%EL", 1_320_067_614_000, 98.0),
        ],
    ),
    (
        '[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},'
        '{"n":"humidity","u":"%RH","v":30},'
        '{"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3}]',
        [
            ("2001:db8::2/temperature", "Cel", 1_320_078_429_000, 25.2),
            ("2001:db8::2/humidity", "%RH", 1_320_078_429_000, 30.0),
            ("2001:db8::1/temperature", "Cel", 1_320_078_429_000, 12.3),
        ],
    ),
    (
        '[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},'
        '{"n":"label","vs":"Machine Room"},{"n":"open","vb":false},'
        '{"n":"nfv-reader","vd":"aGkgCg"}]',
        [
            (URN + ":temp", "Cel", NOW_MS, 23.1),
            (URN + ":label", "", NOW_MS, "Machine Room"),
            (URN + ":open", "", NOW_MS, False),
            (URN + ":nfv-reader", "", NOW_MS, "aGkgCg"),
        ],
    ),
    (
        '[{"bn":"urn:dev:ow:10e2073a01080063:","bt":1320078429,'
        '"l":"[{\\"href\\":\\"humidity\\"}]","n":"temperature","u":"Cel","v":27.2}]',
        [(URN + ":temperature", "Cel", 1_320_078_429_000, 27.2)],
    ),
    (
        '[{"bn":"urn:dev:ow:10e2073a01080063:"},{"n":"temp","u":"Cel","v":23.1},'
        '{"n":"heat","u":"/","v":1}]',
        [(URN + ":temp", "Cel", NOW_MS, 23.1), (URN + ":heat", "/", NOW_MS, 1.0)],
    ),
]


@pytest.mark.parametrize(("pack", "expected"), EXAMPLES)
def test_given_an_example_of_the_rfc_when_resolved_then_as_it_says(
    pack: str, expected: list[tuple[str, str, int, object]]
) -> None:
    body = pack.encode()
    assert is_pack(body)
    found = [(r.name, r.unit, r.ts_ms, r.value) for r in resolve(body, NOW_MS)]
    assert found == expected


def test_given_records_of_one_time_when_decoded_then_one_reading() -> None:
    messages = decoded(
        [
            {"bn": f"{URN}:", "bt": AT_S, "bver": 10, "n": "t1", "u": "Cel", "v": 5.3, "seq_": 7},
            {"n": "rh", "u": "%RH", "v": 61},
            {"n": "door", "vb": True},
            {"n": "t1", "t": -300, "v": 5.4, "seq_": 6, "boot_": 0},
        ]
    )
    assert rows_of(messages) == {
        NOW_MS: (0, 7, {"t1": 5.3, "rh": 61.0, "door": 1.0}),
        NOW_MS - 300_000: (0, 6, {"t1": 5.4}),
    }


def test_given_readings_of_other_channels_when_decoded_then_none_looks_unplugged() -> None:
    messages = decoded(
        [
            {"bt": AT_S, "n": "t1", "v": 5.3},
            {"n": "rh", "t": -1, "v": 60},
            {"n": "t1", "t": -2, "v": 5},
        ]
    )
    assert [(list(m.columns), len(m.ts_ms)) for m in messages] == [(["rh"], 1), (["t1"], 2)]
    assert all(None not in column for m in messages for column in m.columns.values())


def test_given_no_numbers_when_decoded_then_the_time_is_the_identity() -> None:
    (message,) = decoded([{"n": "t1", "t": AT_S, "v": 5.3}])
    assert (message.sequenced, list(message.seqs)) == (False, [NOW_MS - TS_MS_MIN])


def test_given_a_boot_when_decoded_then_it_holds_on() -> None:
    (message,) = decoded(
        [
            {"boot_": 3, "bt": AT_S, "n": "t1", "v": 5, "seq_": 1},
            {"n": "t1", "t": -1, "v": 5, "seq_": 0},
        ]
    )
    assert (message.boot, list(message.seqs)) == (3, [0, 1])


@pytest.mark.parametrize(
    ("name", "unit", "channel"),
    [
        (f"{URN}:temperature", "Cel", "t1"),
        (f"{URN}/Humidity", "%RH", "rh"),
        ("d:t2", "", "t2"),
        ("d/co2", "ppm", "co2"),
        (URN, "Cel", "t1"),
        (URN, "%EL", "bat"),
        (URN, "V", "v"),
        ("t3", "Cel", "t3"),
    ],
)
def test_given_a_name_and_unit_when_decoded_then_the_channel(
    name: str, unit: str, channel: str
) -> None:
    (message,) = decoded([{"n": name, "u": unit, "v": 5}])
    assert message.columns == {channel: [5.0]}


@pytest.mark.parametrize(
    ("pack", "reason"),
    [
        ([{"n": "t1", "v": 5, "crit_": 1}], "must_understand"),
        ([{"n": "t1", "v": 5, "bseq_": 1}], "must_understand"),
        ([{"n": "t1", "v": 5, "bver": 11}], "bad_field"),
        ([{"n": "t1", "v": 5, "bver": 5}, {"n": "rh", "v": 5, "bver": 10}], "bad_field"),
        ([{"n": "t1", "v": 5}, {"n": "rh", "v": 5, "bver": 5}], "bad_field"),
        ([{"n": "t1", "v": None}], "bad_field"),
        ([{"n": "t1", "v": "5"}], "bad_field"),
        ([{"n": "t1", "v": 5, "vb": True}], "bad_field"),
        ([{"n": "t1"}], "bad_field"),
        ([{"n": "t 1", "v": 5}], "bad_field"),
        ([{"n": "t1", "v": 5, "t": 1e300}], "clock"),
        ([{"n": "t1", "v": 5, "t": 301}], "clock"),
        ([{"n": "t1", "v": 5, "t": 1_276_020_076}], "clock"),
        ([{"n": "t1", "u": "K", "v": 278}], "bad_unit"),
        ([{"n": "t1", "v": 1e308, "bv": 1e308}], "bad_value"),
        ([{"n": "t1", "v": 201}], "bad_value"),
        ([{"n": "2001:db8::3", "v": 1}], "bad_channel"),
        ([{"n": "t1", "v": 5}, {"n": "temperature", "v": 5}], "repeated"),
        ([{"n": "t1", "v": 5, "seq_": 1}, {"n": "rh", "v": 5, "seq_": 2}], "bad_field"),
        ([{"n": "t1", "v": 5, "seq_": 1}, {"n": "t1", "t": -1, "v": 5, "seq_": 1}], "repeated"),
        ([{"n": "t1", "v": 5, "seq_": 1}, {"n": "t1", "t": -1, "v": 5}], "mixed_seq"),
        ([{"n": "t1", "v": 5, "seq_": 2**40}], "bad_field"),
        ([{"bn": "d:", "n": "t1", "v": 5}, {"bn": "e:", "n": "rh", "v": 5}], "bad_field"),
        ([{"bn": "other/", "n": "t1", "v": 5}], "other_device"),
        ([{"bn": "d:", "n": "label", "vs": "x"}], "no_readings"),
        ([{"bn": "d:"}], "no_readings"),
        (
            [{"n": "t1", "v": 5, "t": -second} for second in range(READINGS_MAX + 1)],
            "too_many",
        ),
        ([{"n": "t1", "vs": "x"}] * 8001, "too_many"),
        ([{"n": "t1", "v": 5}, 7], "bad_field"),
    ],
)
def test_given_a_fault_when_decoded_then_refused_for_it(pack: object, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        decoded(pack)
    assert caught.value.args[0] == reason


def test_given_a_base_sum_when_records_have_no_value_then_they_are_sums_and_left_out() -> None:
    (message,) = decoded([{"n": "t1", "v": 5, "bs": 100}, {"n": "rh"}, {"n": "t2", "v": 6}])
    assert message.columns == {"t1": [5.0], "t2": [6.0]}


def test_given_a_pack_of_before_when_a_time_is_relative_then_counted_from_its_receipt() -> None:
    (message,) = decode("d", b'[{"n":"t1","t":-5,"v":5}]', NOW_MS, NOW_MS - 60_000)
    assert list(message.ts_ms) == [NOW_MS - 65_000]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'\n [ {"v":1,"n":"t1"}]', True),
        (b'[{"bt":1,"bn":"x"}]', True),
        (b'[{"bver":10},{"n":"t1","v":5}]', True),
        (b'[{"bt":1795312800,"u":"Cel"}]', True),
        (b'[{"boot":1,"ts":1}]', False),
        (b'[{"ts":1,"temperature":5}]', False),
        (b'{"v":1,"seq":1,"m":{"n":5}}', False),
        (b'[{"ts":1,"x":{"n":1}}]', False),
        (b"[]", False),
        (b"", False),
    ],
)
def test_given_first_bytes_when_looked_at_then_a_pack_is_known(body: bytes, expected: bool) -> None:
    assert is_pack(body) is expected


# --- random packs against a resolver that does each thing by itself ---

CHANNELS = {"t1": "Cel", "t2": "Cel", "rh": "%RH", "co2": "ppm"}


@st.composite
def packs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return a pack of one device whose (time, channel) pairs are distinct."""
    pairs = draw(
        st.lists(
            st.tuples(st.integers(-600, 0), st.sampled_from(sorted(CHANNELS))),
            unique=True,
            min_size=1,
            max_size=20,
        )
    )
    numbered = draw(st.booleans())
    pack: list[dict[str, Any]] = []
    base_s, base_v = 0, 0.0
    for second, channel in pairs:
        record: dict[str, Any] = {}
        if not pack or draw(st.booleans()):
            record["bt"] = base_s = draw(st.sampled_from([0, -7, AT_S, AT_S - 60]))
        if draw(st.integers(0, 3)) == 0:
            record["bv"] = base_v = draw(st.sampled_from([0.0, 2.0, -1.5]))
        if draw(st.booleans()):
            record["bu"] = CHANNELS[channel]
        at_s = second + (AT_S if base_s >= AT_S - 60 else 0)
        record |= {"n": channel, "u": CHANNELS[channel], "v": draw(st.integers(0, 90)) - base_v}
        if base_s != at_s:
            record["t"] = at_s - base_s
        if numbered:
            record["seq_"] = 1000 + second
        pack.append(record)
    pack[0]["bn"] = f"{URN}:"
    return pack


def plainly_resolved(pack: list[dict[str, Any]]) -> Rows:
    """Return the rows of a pack without faults, by RFC 8428, 4.6, read word by word."""
    rows: Rows = {}
    for at, record in enumerate(pack):
        base_s = next((r["bt"] for r in reversed(pack[: at + 1]) if "bt" in r), 0)
        base_v = next((r["bv"] for r in reversed(pack[: at + 1]) if "bv" in r), 0)
        seconds = base_s + record.get("t", 0)
        ts_ms = seconds * 1000 if seconds >= 268_435_456 else NOW_MS + seconds * 1000
        identity = (0, record["seq_"]) if "seq_" in record else (-1, ts_ms - TS_MS_MIN)
        rows.setdefault(ts_ms, (*identity, {}))[2][record["n"]] = float(base_v + record["v"])
    return rows


@given(packs())
def test_given_any_pack_when_decoded_then_the_rows_of_a_plain_resolver(
    pack: list[dict[str, Any]],
) -> None:
    body = json.dumps(pack).encode()
    assert is_pack(body)
    assert rows_of(decode("d", body, NOW_MS, NOW_MS)) == plainly_resolved(pack)


LABELS = [
    "bn",
    "bt",
    "bu",
    "bv",
    "bver",
    "n",
    "u",
    "v",
    "vs",
    "vb",
    "s",
    "t",
    "seq_",
    "boot_",
    "x_",
]
JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
FAULTY = st.lists(st.dictionaries(st.sampled_from(LABELS), JSON, max_size=5) | JSON, max_size=5)


@given(packs(), st.data())
def test_given_a_broken_pack_when_decoded_then_readings_or_a_refusal(
    pack: list[dict[str, Any]], data: st.DataObject
) -> None:
    body = bytearray(json.dumps(pack).encode())
    del body[data.draw(st.integers(0, len(body))) :]
    for at in data.draw(st.lists(st.integers(0, max(len(body) - 1, 0)), max_size=4)):
        if body:
            body[at] = data.draw(st.integers(0, 255))
    _taken_or_refused(bytes(body))


@given(st.binary(max_size=64) | FAULTY.map(lambda value: json.dumps(value).encode()))
def test_given_any_bytes_when_decoded_then_readings_or_a_refusal(body: bytes) -> None:
    _taken_or_refused(body)


def _taken_or_refused(body: bytes) -> None:
    try:
        messages = decode("d", body, NOW_MS, NOW_MS)
    except Refused:
        return
    assert messages
    for message in messages:
        assert all(len(column) == len(message.ts_ms) for column in message.columns.values())
