"""Sparkplug B: payloads, what births declare, and the numbers of messages."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cold_chain.events import GatewayRegistered, MetricsDeclared
from domain.cold_chain.model import Device
from ingest.batch import Batch, Item, Received
from ingest.directory import Directory
from ingest.refusals import Refused
from ingest.sparkplug import take
from ingest.sparkplug_nodes import (
    Birth,
    Node,
    channel_of,
    declared,
    host_state,
    rebirth_request,
)
from ingest.sparkplug_payload import Metric, Payload, parse, serialized
from ingest.state import DeviceStates
from ingest.topics import Topic
from ingest.wire import MESSAGE_BYTES_MAX, Message
from tests.conftest import START
from tests.ingest import field
from tests.ingest.field import GATEWAY, NOW_MS, REGION, SITE
from tests.ingest.sparkplug import BOOLEAN, DOUBLE, FLOAT, TEXT, compressed, metric, sent

# --- payloads ---


def test_given_a_payload_when_parsed_then_what_was_sent() -> None:
    told = Payload(
        NOW_MS,
        255,
        [
            metric(5.25, name="t1", alias=0, datatype=DOUBLE),
            metric(alias=2**64 - 1, null=True, historical=True, transient=True, ts_ms=None),
            metric("x", name="型号", datatype=TEXT),
            metric(True, alias=3),
            metric(2**32 - 1, alias=4),
        ],
    )
    assert parse(serialized(told)) == told


def test_given_the_bytes_of_a_payload_when_parsed_then_by_the_numbers_of_the_standard() -> None:
    # timestamp 1, metrics 2 {name 1, alias 2, timestamp 3, datatype 4, float 12}, seq 3, uuid 4
    body = bytes.fromhex("080a120f0a0274311005180b2009659a99a9401807220178")
    ((parsed,), payload) = (parse(body).metrics, parse(body))
    assert (payload.ts_ms, payload.seq) == (10, 7)
    assert (parsed.name, parsed.alias, parsed.ts_ms, parsed.datatype) == ("t1", 5, 11, FLOAT)
    assert parsed.number(None) == 5.3


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff", "bad_protobuf"),
        (b'{"seq":1}', "bad_protobuf"),
        (b"\x12\x03\x0a\x01\xff", "bad_protobuf"),  # a name that is not UTF-8
        (serialized(Payload(1, 256, [])), "bad_field"),
    ],
)
def test_given_other_bytes_when_parsed_then_refused(body: bytes, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(body)
    assert caught.value.args[0] == reason


@pytest.mark.parametrize(
    ("datatype", "sent", "number"),
    [
        (1, 0xF6, -10),
        (1, 0xFFFFFFF6, -10),
        (2, 0xFFF6, -10),
        (3, 0xFFFFFFF6, -10),
        (4, 2**64 - 10, -10),
        (5, 200, 200),
        (7, 2**32 - 1, 2**32 - 1),
        (8, 2**63, 2.0**63),
        (BOOLEAN, True, True),
        (DOUBLE, 5.3, 5.3),
    ],
)
def test_given_a_datatype_when_a_number_is_asked_then_by_its_width_and_sign(
    datatype: int, sent: float | bool, number: float | bool
) -> None:
    long = not isinstance(sent, bool) and sent >= 2**32
    of = replace(metric(sent), field="long_value") if long else metric(sent)
    assert of.number(datatype) == number
    assert replace(of, datatype=datatype).number(FLOAT) == number  # its own type goes first


@pytest.mark.parametrize(
    ("sent", "datatype"),
    [(5, None), (5, FLOAT), (5.0, 1), (True, 1), ("5", TEXT), (5, 35), (None, 1)],
)
def test_given_another_type_when_a_number_is_asked_then_refused(
    sent: object, datatype: int | None
) -> None:
    with pytest.raises(Refused) as caught:
        metric(sent).number(datatype)
    assert caught.value.args[0] == "bad_metric"


@given(st.binary(max_size=80))
def test_given_any_bytes_when_parsed_then_a_payload_or_a_refusal(body: bytes) -> None:
    _parsed_or_refused(body)


@given(st.data())
def test_given_a_broken_payload_when_parsed_then_a_payload_or_a_refusal(
    data: st.DataObject,
) -> None:
    of = [metric(5.0 + n, name=f"t{n}", alias=n, datatype=DOUBLE) for n in range(4)]
    body = bytearray(serialized(Payload(NOW_MS, 3, of)))
    del body[data.draw(st.integers(1, len(body))) :]
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=4)):
        body[at] = data.draw(st.integers(0, 255))
    _parsed_or_refused(bytes(body))


def _parsed_or_refused(body: bytes) -> None:
    try:
        payload = parse(body)
    except Refused:
        return
    for of in payload.metrics:
        try:
            number = of.number(None)
        except Refused:
            continue
        assert number is None or isinstance(number, bool | float)


def test_given_a_request_for_births_when_parsed_then_the_command_of_the_standard() -> None:
    payload = parse(rebirth_request(NOW_MS))
    (command,) = payload.metrics
    assert (payload.ts_ms, payload.seq) == (NOW_MS, None)
    assert (command.name, command.datatype, command.number(None)) == (
        "Node Control/Rebirth", BOOLEAN, True
    )  # fmt: skip


# --- what births declare ---


def declaration(**columns: Sequence[Any]) -> MetricsDeclared:
    return MetricsDeclared(
        gateway_id=GATEWAY, device_id="d", bd_seq=0, session_ms=1, ts_ms=2, received_ms=3,
        names=tuple(columns["names"]), aliases=tuple(columns["aliases"]),
        datatypes=tuple(columns["datatypes"]),
    )  # fmt: skip


BIRTH = Birth.of(
    declaration(
        names=["Temperature", "rh", "model", "Properties/x", "door"],
        aliases=[0, 1, 2, 3, -1],
        datatypes=[FLOAT, 3, TEXT, 3, BOOLEAN],
    )
)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (metric(5.0, alias=0), ("t1", FLOAT)),
        (metric(5, alias=1), ("rh", 3)),
        (metric("x", alias=2), ("", TEXT)),
        (metric(5, alias=3), ("", 3)),
        (metric("x", name="model"), ("", TEXT)),
        (metric(5, name="rh"), ("rh", 3)),
        (metric(5, name="rh", datatype=5), ("rh", 5)),
        (metric(5.0, name="t2"), ("t2", None)),
        (metric("x", name="fresh"), ("", None)),
        (metric(1, name="Properties/y"), ("", None)),
        (metric(1, name="bdSeq"), ("", None)),
    ],
)
def test_given_a_birth_when_a_metric_comes_then_its_channel_and_type(
    of: Metric, expected: tuple[str, int | None]
) -> None:
    assert declared(BIRTH, of, "d") == expected


@pytest.mark.parametrize(
    ("birth", "of"),
    [
        (None, metric(5.0, alias=0)),
        (BIRTH, metric(5.0, alias=9)),
        (BIRTH, metric(5.0)),
        (BIRTH, metric(5, name="t2")),  # an integer of no known width
    ],
)
def test_given_no_birth_that_tells_when_a_metric_comes_then_refused(
    birth: Birth | None, of: Metric
) -> None:
    with pytest.raises(Refused) as caught:
        declared(birth, of, "d")
    assert caught.value.code == "unknown_alias"


def test_given_names_when_asked_for_their_channel_then_case_does_not_matter() -> None:
    names = ["Temperature", "HUMIDITY", "T2", "co2", "Node Control/Rebirth", "bdSeq", "型号"]
    assert [channel_of(name) for name in names] == ["t1", "rh", "t2", "co2", "", "", ""]


def test_given_numbers_when_they_follow_then_they_begin_anew_after_255() -> None:
    node = Node()
    assert [node.follows(seq) for seq in (254, 255, 0, 1, 3, 4, None, 5)] == [
        False, True, True, True, False, True, True, True
    ]  # fmt: skip


SENT = sent("DDATA", 7, metric(5.0, name="t1"))


@pytest.mark.parametrize(
    ("pack", "algorithm"),
    [(zlib.compress, []), (zlib.compress, ["DEFLATE"]), (gzip.compress, ["GZIP"])],
)
def test_given_a_compressed_payload_when_parsed_then_what_is_in_it(
    pack: Callable[[bytes], bytes], algorithm: list[str]
) -> None:
    assert parse(compressed(SENT, pack, *algorithm).payload) == parse(SENT.payload)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (compressed(SENT, zlib.compress, "BROTLI"), "bad_compression"),
        (compressed(compressed(SENT, zlib.compress), zlib.compress), "bad_compression"),
        (compressed(SENT, lambda body: body), "bad_zip"),
        (compressed(SENT, lambda body: zlib.compress(body)[:-1]), "bad_zip"),
        (compressed(SENT, lambda _: zlib.compress(bytes(MESSAGE_BYTES_MAX + 1))), "too_large"),
        (compressed(SENT, lambda _: zlib.compress(b"\xff")), "bad_protobuf"),
    ],
)
def test_given_a_compressed_payload_that_cannot_be_read_when_parsed_then_refused(
    message: Received, reason: str
) -> None:
    with pytest.raises(Refused) as caught:
        parse(message.payload)
    assert caught.value.args[0] == reason
    assert caught.value.zh
    assert caught.value.en


def test_given_one_alias_for_several_metrics_when_data_come_then_names_alone_tell() -> None:
    birth = Birth.of(declaration(names=["t1", "rh"], aliases=[0, 0], datatypes=[DOUBLE, DOUBLE]))
    assert declared(birth, metric(5.0, name="rh"), "d") == ("rh", DOUBLE)
    with pytest.raises(Refused):
        declared(birth, metric(5.0, alias=0), "d")


def test_given_the_state_of_the_host_when_told_then_as_the_standard_says() -> None:
    topic, payload = host_state("vaxtrail-ingest-0", NOW_MS, online=True)
    assert topic == "spBv1.0/STATE/vaxtrail-ingest-0"
    assert json.loads(payload) == {"online": True, "timestamp": NOW_MS}


# --- data messages against a plain reading of the standard ---


def taken(payload: bytes) -> tuple[Message, ...]:
    """Return the readings of a device's message in a session whose births are known."""
    directory = Directory()
    directory.gateways[GATEWAY] = GatewayRegistered(
        site_id=SITE, region_code=REGION, gateway_id=GATEWAY
    )
    directory.devices["d"] = Device(field._device("d"))
    directory.nodes._nodes[GATEWAY] = Node(births={"": BIRTH, "d": BIRTH}, known=True)
    batch = Batch(START, [], directory, DeviceStates())
    item = Item(Received("", payload), Topic(REGION, "", GATEWAY, "DDATA", "d"))
    no_database: Any = None
    content = take(batch, no_database, item)
    assert isinstance(content, tuple | None)
    return content or ()


METRICS = st.lists(
    st.tuples(
        st.sampled_from(["Temperature", "rh", "door", "Properties/x"]),
        st.sampled_from([None, NOW_MS, NOW_MS - 1, NOW_MS - 60_000]),
        st.booleans(),  # by its alias, where it has one
        st.booleans(),  # of the past
        st.integers(0, 1) | st.none(),
    ),
    unique_by=lambda each: (each[0], each[1] or NOW_MS - 5, each[3]),
    max_size=12,
)


@given(METRICS)
def test_given_any_metrics_when_taken_then_the_rows_that_they_say(
    sent: list[tuple[str, int | None, bool, bool, int | None]],
) -> None:
    types = {"Temperature": float, "rh": int, "door": bool, "Properties/x": int}
    aliases = {"Temperature": 0, "rh": 1, "Properties/x": 3}
    channels = {"Temperature": "t1", "rh": "rh", "door": "door"}
    expected: dict[tuple[bool, int], dict[str, float | None]] = {}
    metrics = []
    for name, ts_ms, by_alias, past, value in sent:
        named: dict[str, Any] = {"name": name}
        if by_alias and name in aliases:
            named = {"alias": aliases[name]}
        told = None if value is None else types[name](value)
        metrics.append(
            replace(
                metric(told, ts_ms=ts_ms, **named, historical=past, null=value is None),
                field={float: "float_value", int: "int_value", bool: "boolean_value"}[types[name]]
                if value is not None
                else "",
            )
        )
        if name in channels:
            row = expected.setdefault((past, ts_ms or NOW_MS - 5), {})
            row[channels[name]] = None if value is None else float(value)
    found = {
        (message.backfill, ts_ms): {c: column[n] for c, column in message.columns.items()}
        for message in taken(serialized(Payload(NOW_MS - 5, 0, metrics)))
        for n, ts_ms in enumerate(message.ts_ms)
    }
    assert found == expected


@given(METRICS, st.data())
def test_given_a_broken_message_when_taken_then_readings_or_a_refusal(
    sent: list[tuple[str, int | None, bool, bool, int | None]], data: st.DataObject
) -> None:
    metrics = [metric(float(each[4] or 0), name=each[0], ts_ms=each[1]) for each in sent]
    body = bytearray(serialized(Payload(NOW_MS - 5, 0, metrics)))
    del body[data.draw(st.integers(1, len(body))) :]
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=4)):
        body[at] = data.draw(st.integers(0, 255))
    try:
        messages = taken(bytes(body))
    except Refused:
        return
    assert all(len(c) == len(m.ts_ms) for m in messages for c in m.columns.values())
