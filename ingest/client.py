"""paho's client with a reader and acknowledgements for many messages at once.

paho reads a packet in three system calls or more, hands it through locks and objects, and sends an
acknowledgement each. Here whole blocks are read, the PUBLISH packets in them are split off as plain
bytes, and the PUBACKs of a batch go out in one write. Everything else (connection, session, TLS,
keep-alive, every other packet) stays paho's: such a packet is put where paho's own reader would
have put it. Private names of paho 2.2 are used, so the version is pinned.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MalformedPacket

BLOCK_BYTES = 256 * 1024
PUBLISH, PUBACK = 0x30, 0x40
DUP = 0x08  # flag of a PUBLISH that is sent again
_PUBACK_HEAD = b"\x40\x02"

# (topic, payload, packet id as its two bytes): the id is empty for QoS 0.
Packet = tuple[bytes, bytes, bytes]


class Malformed(ValueError):
    """The bytes are no MQTT packet: the connection cannot be used any longer."""


class Ended(Exception):
    """The connection ends with this packet, for paho's reason."""

    def __init__(self, code: MQTTErrorCode) -> None:
        super().__init__(code)
        self.code = code


def split(
    block: bytes,
    packets: list[Packet],
    repeats: list[int],
    other: Callable[[int, bytes], object],
) -> int:
    """Take the whole packets off the front of a block and return how many bytes they were.

    PUBLISH packets of QoS 0 and 1 are added to `packets`, and to `repeats` the indexes of those
    that are sent again; any other is given to `other` as (first byte, body), in order. Malformed
    when a length cannot be.
    """
    at, end = 0, len(block)
    while end - at >= 2:
        first, length = block[at], block[at + 1]
        body = at + 2
        if length & 0x80:
            length, body = _length(block, at + 1, end)
            if length < 0:
                break
        past = body + length
        if not first & 0xF0:
            raise Malformed("no packet begins with this byte")
        if past > end:
            break
        if first & 0xF4 == PUBLISH:
            if first & DUP:
                repeats.append(len(packets))
            packets.append(_publish(block, first, body, past))
        else:
            other(first, block[body:past])
        at = past
    return at


def _publish(block: bytes, first: int, body: int, past: int) -> Packet:
    """Return the parts of the PUBLISH packet whose body lies in block[body:past]."""
    topic = body + 2
    if past < topic:
        raise Malformed("a PUBLISH packet has no topic")
    payload = topic + (block[body] << 8 | block[body + 1])
    mid = payload + 2 if first & 0x02 else payload
    if mid > past or payload == topic:
        raise Malformed("a PUBLISH packet is shorter than its topic, or has none")
    return block[topic:payload], block[mid:past], block[payload:mid]


def _length(block: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a remaining length of two to four bytes and where the body begins; -1 if cut off."""
    length = shift = 0
    while at < end:
        byte = block[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return length, at
        shift += 7
        if shift > 21:
            raise Malformed("a remaining length has more than four bytes")
    return -1, at


def publication(topic: bytes, payload: bytes) -> bytes:
    """Return a PUBLISH packet of QoS 0."""
    head = bytearray((PUBLISH,))
    length = 2 + len(topic) + len(payload)
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + len(topic).to_bytes(2, "big") + topic + payload


class BlockClient(mqtt.Client):
    """A client whose messages arrive in blocks; `on_packets` is called for each block of them.

    Its second argument: which of them (indexes) the broker marks as sent again.
    """

    on_packets: Callable[[list[Packet], list[int]], object]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._rest = b""  # the beginning of a packet whose end has not come yet
        super().__init__(*args, **kwargs)

    def reconnect(self) -> MQTTErrorCode:
        """Connect anew; what was read of the last connection belongs to it alone."""
        self._rest = b""
        return super().reconnect()

    def acknowledge(self, mids: Sequence[bytes], publications: Sequence[bytes] = ()) -> None:
        """Send the PUBACKs of these packet ids, and PUBLISH packets of QoS 0, in one write."""
        packet = _PUBACK_HEAD.join((b"", *mids)) + b"".join(publications)
        if packet:
            # As PUBACK: paho keeps no account of packets of this kind.
            self._packet_queue(PUBACK, packet, 0, 0)

    def _packet_read(self) -> MQTTErrorCode:
        """Read one block and handle the packets that are whole; paho's loop calls it."""
        try:
            read = self._sock_recv(BLOCK_BYTES)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_AGAIN
        except OSError:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        if not read:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        return self._take_block(self._rest + read if self._rest else read)

    def _take_block(self, block: bytes) -> MQTTErrorCode:
        packets: list[Packet] = []
        repeats: list[int] = []
        try:
            at = split(block, packets, repeats, self._hand_over)
        except Ended as ended:
            return ended.code
        except (Malformed, MalformedPacket, struct.error):
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        finally:
            if packets:  # also those ahead of a fault: they came whole
                self.on_packets(packets, repeats)
        self._rest = block[at:]
        return MQTTErrorCode.MQTT_ERR_AGAIN

    def _hand_over(self, first: int, body: bytes) -> None:
        """Let paho handle a packet as if it had read it. Ended when it wants no other."""
        self._in_packet = {
            "command": first,
            "have_remaining": 1,
            "remaining_count": [],
            "remaining_mult": 1,
            "remaining_length": len(body),
            "packet": bytearray(body),
            "to_process": 0,
            "pos": 0,
        }
        code = self._packet_handle()
        if code > MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise Ended(code)
