"""The messages of the bench: who sends what, when, on which topic, as bytes ready for a socket.

1,000 devices behind 10 gateways, in turn; device i is `dev…` behind gateway i mod 10. A reading is
the flat JSON that many gateways send: RFC 3339 time with milliseconds, temperature within 2.5 and
7.5 °C (two decimals), humidity within 40 and 70 % (one decimal), and the device's sequence.
"""

from __future__ import annotations

import random
import struct
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

DEVICES, GATEWAYS = 1_000, 10
PRODUCT_TOPIC = "cc/v1/640202/bench/{gateway}/tele/{device}"
BACKFILL_TOPIC = "cc/v1/640202/bench/{gateway}/backfill/{device}"
PEER_TOPIC = "v1/{gateway}/{device}/telemetry"
PACKET_IDS = 65_535  # packet ids run from 1 to this and begin again

# Of one connection: the packets in a row, and where each begins (one more offset than packets).
Encoded = tuple[bytearray, "array[int]"]


def gateway_name(device: int) -> str:
    """Return the gateway that device number `device` stands behind."""
    return f"gw{device % GATEWAYS:03d}"


def device_name(device: int) -> str:
    """Return the name of device number `device`."""
    return f"dev{device:05d}"


@dataclass(frozen=True, slots=True)
class Shape:
    """`batch` readings a message. A device's reading n has seq n, at `start_s` + n * `step_s`."""

    topic: str
    start_s: float  # Unix seconds; early enough that no reading is ahead of the clock
    batch: int = 1
    devices: int = DEVICES
    first_device: int = 0
    step_s: float = 1.0

    def topic_of(self, device: int) -> str:
        """Return the topic device number `device` sends on."""
        return self.topic.format(gateway=gateway_name(device), device=device_name(device))

    def body(self, first_seq: int, draw: random.Random) -> bytes:
        """Return a message of the readings `first_seq` and on."""
        readings = [
            reading(
                self.start_s + seq * self.step_s,
                2.5 + 5 * draw.random(),
                40 + 30 * draw.random(),
                seq,
            )
            for seq in range(first_seq, first_seq + self.batch)
        ]
        text = readings[0] if self.batch == 1 else f"[{','.join(readings)}]"
        return text.encode()

    def encoded(self, messages: int, first_seq: int, connections: int) -> list[Encoded]:
        """Return `messages` messages, devices in turn, each gateway on one connection."""
        draw = random.Random(first_seq)  # noqa: S311 - nothing secret
        packets = [bytearray() for _ in range(connections)]
        starts = [array("q", [0]) for _ in range(connections)]
        for number in range(messages):
            turn, at_device = divmod(number, self.devices)
            device = self.first_device + at_device
            at = device % GATEWAYS % connections
            body = self.body(first_seq + turn * self.batch, draw)
            packet_id = (len(starts[at]) - 1) % PACKET_IDS + 1
            packets[at] += publish_packet(self.topic_of(device), body, packet_id)
            starts[at].append(len(packets[at]))
        return list(zip(packets, starts, strict=True))


def reading(at_s: float, temperature_c: float, humidity_pct: float, seq: int) -> str:
    """Return one reading as JSON."""
    seconds, ms = divmod(round(at_s * 1000), 1000)
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ms:03d}Z"
    values = f'"temperature":{temperature_c:.2f},"humidity":{humidity_pct:.1f}'
    return f'{{"ts":"{moment}",{values},"seq":{seq}}}'


def publish_packet(topic: str, body: bytes, packet_id: int) -> bytes:
    """Return a PUBLISH of MQTT 3.1.1 at QoS 1."""
    head = _text(topic) + struct.pack("!H", packet_id)
    return b"\x32" + _length(len(head) + len(body)) + head + body


def connect_packet(client_id: str, login: Sequence[str] = ()) -> bytes:
    """Return a CONNECT that begins anew (clean session); `login`: user and password, or nothing."""
    flags = 0xC2 if login else 0x02
    fields = b"".join(_text(field) for field in (client_id, *login))
    body = _text("MQTT") + bytes((4, flags)) + struct.pack("!H", 0) + fields
    return b"\x10" + _length(len(body)) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!H", len(data)) + data


def _length(length: int) -> bytes:
    digits = bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(digits)
