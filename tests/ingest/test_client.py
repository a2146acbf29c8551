"""The block reader takes from a stream of bytes what paho's own reader takes."""

from __future__ import annotations

import contextlib
import socket
import struct
from itertools import pairwise
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from ingest.client import BlockClient, Packet, publication, split

Seen = tuple[str, bytes, bytes, int]


def _length(n: int) -> bytes:
    out = bytearray()
    while True:
        n, byte = n >> 7, n & 0x7F
        out.append(byte | (0x80 if n else 0))
        if not n:
            return bytes(out)


def publish(topic: bytes, payload: bytes, qos: int, mid: int, flags: int = 0) -> bytes:
    """Return a PUBLISH packet."""
    body = struct.pack("!H", len(topic)) + topic + (struct.pack("!H", mid) if qos else b"")
    return bytes([0x30 | qos << 1 | flags]) + _length(len(body + payload)) + body + payload


PUBLISHES = st.builds(
    publish,
    st.sampled_from([b"t", b"cc/v1/640202/s/g/tele/d", "主题".encode(), b"x" * 200]),
    st.one_of(st.binary(max_size=40), st.sampled_from([b"y" * 127, b"y" * 128, b"z" * 20_000])),
    st.sampled_from([0, 1, 1, 1]),
    st.integers(1, 65_535),
    st.sampled_from([0, 1, 8, 9]),
)
OTHERS = st.sampled_from([b"\xd0\x00", b"\x90\x03\x00\x01\x01", b"\x40\x02\x00\x07"])
PACKETS = st.lists(st.one_of(PUBLISHES, PUBLISHES, OTHERS), max_size=12)


class _Bytes:
    """A socket from which what was fed can be read, and nothing else be done."""

    def __init__(self) -> None:
        self.fed = b""

    def recv(self, size: int) -> bytes:
        if not self.fed:
            raise BlockingIOError
        taken, self.fed = self.fed[:size], self.fed[size:]
        return taken

    def close(self) -> None:
        """Nothing was opened."""


def _prepared(client: mqtt.Client, seen: list[Seen]) -> _Bytes:
    client.on_subscribe = lambda _c, _u, mid, _r, _p: seen.append(("suback", b"", b"", mid))
    source = _Bytes()
    client._sock = source  # type: ignore[assignment]
    return source


def _paho(seen: list[Seen]) -> tuple[mqtt.Client, _Bytes]:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "a", clean_session=False, manual_ack=True)
    client.on_message = lambda _c, _u, m: seen.append(
        ("publish", bytes(m._topic), bytes(m.payload), m.mid)
    )
    return client, _prepared(client, seen)


def _blocks(seen: list[Seen]) -> tuple[mqtt.Client, _Bytes]:
    client = BlockClient(CallbackAPIVersion.VERSION2, "b", clean_session=False, manual_ack=True)

    def took(packets: list[Packet], _repeats: list[int]) -> None:
        for topic, payload, mid in packets:
            seen.append(("publish", topic, payload, int.from_bytes(mid, "big")))

    client.on_packets = took
    return client, _prepared(client, seen)


def _play(client: mqtt.Client, source: _Bytes, cuts: list[bytes]) -> bool:
    """Feed the stream piece by piece; tell whether the connection survived it."""
    for piece in cuts:
        source.fed += piece
        while source.fed:
            try:
                if client._packet_read() > MQTTErrorCode.MQTT_ERR_SUCCESS:
                    return False
            except (struct.error, ValueError):  # paho lets these through; its loop ends with them
                return False
    return True


def _cut(stream: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(n % (len(stream) + 1) for n in at)})
    return [stream[a:b] for a, b in pairwise(places)]


@settings(max_examples=300, deadline=None)
@given(packets=PACKETS, at=st.lists(st.integers(0, 10**6), max_size=12))
def test_given_packets_cut_anywhere_when_read_then_as_by_paho(
    packets: list[bytes], at: list[int]
) -> None:
    ours: list[Seen] = []
    theirs: list[Seen] = []
    pieces = _cut(b"".join(packets), at)
    assert _play(*_blocks(ours), pieces)
    assert _play(*_paho(theirs), pieces)
    kinds = ("suback", "publish")
    # Within a block the messages are handed over together: only their own order counts.
    for kind in kinds:
        assert [s for s in ours if s[0] == kind] == [s for s in theirs if s[0] == kind]


@settings(max_examples=500, deadline=None)
@given(
    packets=PACKETS,
    spoilt=st.binary(min_size=1, max_size=30),
    at=st.lists(st.integers(0, 10**6), max_size=5),
    where=st.integers(0, 10**6),
)
def test_given_spoilt_bytes_when_read_then_nothing_is_taken_that_paho_would_not_take(
    packets: list[bytes], spoilt: bytes, at: list[int], where: int
) -> None:
    ours: list[Seen] = []
    theirs: list[Seen] = []
    whole = b"".join(packets)
    middle = where % (len(whole) + 1)
    pieces = _cut(whole[:middle] + spoilt + whole[middle:], at)
    survived = _play(*_blocks(ours), pieces)
    expected = _play(*_paho(theirs), pieces)
    taken = [s for s in ours if s[0] == "publish"]
    wanted = [s for s in theirs if s[0] == "publish"]
    assert taken == wanted[: len(taken)], pieces
    if survived and expected:
        assert taken == wanted, pieces


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 200_000])
def test_given_a_publication_when_packed_then_it_reads_back(size: int) -> None:
    packets: list[Packet] = []
    packed = publication(b"cc/v1/x", b"p" * size)
    assert split(packed, packets, [], lambda _first, _body: None) == len(packed)
    assert packets == [(b"cc/v1/x", b"p" * size, b"")]


def test_given_acks_of_a_batch_when_sent_then_they_are_one_write() -> None:
    near, far = socket.socketpair()
    client = BlockClient(CallbackAPIVersion.VERSION2, "c", clean_session=False, manual_ack=True)
    client._sock = near
    client.acknowledge([b"\0\1", b"\0\2"], [publication(b"t", b"x")])
    far.settimeout(2)
    assert far.recv(100) == b"\x40\x02\0\1\x40\x02\0\2" + publication(b"t", b"x")
    client.acknowledge([])
    far.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        assert far.recv(100) == b""
    near.close()
    far.close()


def test_given_half_a_packet_when_connected_anew_then_it_is_forgotten() -> None:
    seen: list[Any] = []
    client, source = _blocks(seen)
    source.fed = publish(b"t", b"payload", 1, 5)[:-3]
    client._packet_read()
    with contextlib.suppress(OSError):
        client.connect("127.0.0.1", 1)  # refused: nothing listens there
    client._sock = source  # type: ignore[assignment]
    source.fed = publish(b"t", b"other", 1, 6)
    client._packet_read()
    assert seen == [("publish", b"t", b"other", 6)]
