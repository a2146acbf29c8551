"""Decode a telemetry message into columns: JSON single, JSON batch, JSON flat, each maybe gzipped.

single  `{"v":1,"dev":…,"boot":12,"seq":48211,"ts":ms,"m":{"t1":5.3,…},"q":{…},"clk":"ntp"}`
batch   `{"v":1,"dev":…,"boot":12,"base":{"seq":…,"ts":ms,"step":ms},"cols":[…],"rows":[[…],…]}`,
        or `"dts":[ms after base.ts, …]` in place of `step`
flat    one object or an array of `{"ts":ms or RFC 3339,"temperature":…,"humidity":…,"seq":…}`

Typed decoding checks the shape; what is left to check here are values, times and repetitions.
Every fault raises Refused: the message is kept whole, never in part.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import itemgetter
from typing import Annotated

import msgspec

from domain.cold_chain.events import BOOT_UNSEQUENCED, boot_of_channels
from domain.cold_chain.model import CHANNEL_ALIASES, CHANNEL_PATTERN
from ingest.ranges import SEQ_END
from ingest.refusals import Refused

# Contract: bytes of a message (unpacked) and readings in it; more is refused whole.
MESSAGE_BYTES_MAX = 64 * 1024
READINGS_MAX = 500
# Times before this are seconds taken for milliseconds, or a clock that was never set.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TS_MS_MIN = 1_420_070_400_000  # 2015-01-01T00:00:00Z
AHEAD_MS_MAX = 5 * 60 * 1000
# What a probe sends for "nothing is connected" (DS18B20 and common transmitters).
SENTINELS_C = frozenset({327.67, -127.0})
# What a channel can measure at all, in its unit; any other channel takes every finite number.
TEMPERATURE_C = (-200.0, 200.0)  # liquid nitrogen is -196
VALUE_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("t1", "t2", "t3", "t4"), TEMPERATURE_C),
    **dict.fromkeys(("rh", "bat"), (0.0, 100.0)),
    **dict.fromkeys(("door", "mains"), (0.0, 1.0)),
}
GZIP = b"\x1f\x8b"

Seq = Annotated[int, msgspec.Meta(ge=0, lt=SEQ_END)]
Boot = Annotated[int, msgspec.Meta(ge=0, lt=BOOT_UNSEQUENCED)]
Ms = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Value = bool | float | None

_channel = re.compile(CHANNEL_PATTERN)


class _Base(msgspec.Struct):
    seq: Seq
    ts: Ms
    step: Ms | None = None


class _Flat(msgspec.Struct, gc=False):
    ts: Ms | str
    seq: Seq | None = None
    boot: Boot = 0
    temperature: float | None = None
    humidity: float | None = None


class Packet(msgspec.Struct, gc=False):
    """Single, batch or flat: told apart by `m`, `rows`, or neither."""

    v: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    dev: str | None = None
    boot: Boot = 0
    seq: Seq | None = None
    ts: Ms | str | None = None
    m: dict[str, Value] | None = None
    q: dict[str, str] | None = None
    clk: str | None = None
    base: _Base | None = None
    cols: list[str] | None = None
    rows: list[list[Value]] | None = None
    dts: list[Ms] | None = None
    temperature: float | None = None
    humidity: float | None = None


decode_packet = msgspec.json.Decoder(Packet).decode
decode_flat = msgspec.json.Decoder(list[_Flat]).decode


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading on its way into a message; `values` stand as the message's channels are named."""

    ts_ms: int
    seq: int | None
    boot: int
    values: list[Value]


@dataclass(frozen=True, slots=True)
class Message:
    """The readings of one message: n rows of one device and boot, ascending by `seqs`.

    A column holds n values, None where the probe was unplugged. Without a sequence of its own a
    device has the boot of its channels and seq = milliseconds since 2015-01-01T00:00Z. `backfill`:
    the message itself says that it tells of the past.
    """

    device_id: str
    boot: int
    seqs: Sequence[int]
    ts_ms: Sequence[int]
    columns: dict[str, Sequence[float | None]]
    backfill: bool = False

    @property
    def sequenced(self) -> bool:
        """Tell whether the device numbers its readings itself."""
        return self.boot < BOOT_UNSEQUENCED


def decode(device_id: str, payload: bytes, now_ms: int) -> Message:
    """Return the readings of a message from the topic of `device_id`, or raise Refused.

    `now_ms` is UTC: later times (beyond 5 minutes) are refused.
    """
    return decode_body(device_id, unpacked(payload), now_ms)


def decode_body(device_id: str, body: bytes, now_ms: int) -> Message:
    """Return the readings in the unpacked bytes of a message, as `decode` does."""
    try:
        if body.lstrip()[:1] == b"[":
            message = _from_flat(device_id, decode_flat(body))
        else:
            message = _from_packet(device_id, decode_packet(body))
    except msgspec.ValidationError as error:
        raise Refused("bad_field", text=error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("bad_json", text=error) from error
    check_times(message.ts_ms, now_ms)
    return message


def unpacked(payload: bytes) -> bytes:
    """Return the message's own bytes, gunzipped when it begins as gzip does; Refused if too long.

    No more than the limit is ever unpacked, whatever the packed bytes claim.
    """
    if len(payload) > MESSAGE_BYTES_MAX:
        raise Refused("too_large", limit=MESSAGE_BYTES_MAX)
    return inflated(payload) if payload[:2] == GZIP else payload


def inflated(packed: bytes) -> bytes:
    """Return bytes unpacked by gzip or zlib, whichever their beginning tells; Refused as above."""
    unzip = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)
    try:
        body = unzip.decompress(packed, MESSAGE_BYTES_MAX + 1)
    except zlib.error as error:
        raise Refused("bad_zip") from error
    if len(body) > MESSAGE_BYTES_MAX:
        raise Refused("too_large", limit=MESSAGE_BYTES_MAX)
    if not unzip.eof or unzip.unused_data:
        raise Refused("bad_zip")
    return body


def gathered(device_id: str, channels: list[str], readings: Sequence[Reading]) -> Message:
    """Return one message of a device's readings, which come in any order; their times as they are.

    All readings have a sequence number, of one boot, or none has. Refused otherwise, and for what
    is there twice, for too many readings or none, and for values that cannot be.
    """
    checked_count(len(readings))
    boots, named = {each.boot for each in readings}, {each.seq is not None for each in readings}
    if len(named) > 1 or len(boots) > 1:
        raise Refused("mixed_seq")
    sequenced = named == {True}
    seqs = [each.ts_ms - TS_MS_MIN if each.seq is None else each.seq for each in readings]
    order = sorted(range(len(readings)), key=seqs.__getitem__)
    _check_distinct("seq" if sequenced else "ts", [seqs[i] for i in order])
    columns = _columns(channels, [readings[i].values for i in order])
    return Message(
        device_id,
        boots.pop() if sequenced else boot_of_channels(columns),
        [seqs[i] for i in order],
        [readings[i].ts_ms for i in order],
        columns,
    )


def told_apart(
    device_id: str, rows: Mapping[int, tuple[int | None, int, Mapping[str, Value]]]
) -> tuple[Message, ...]:
    """Return the readings of a device by time: ts_ms -> (seq, boot, value by channel).

    One message for each set of channels that readings tell of: a probe that a reading says nothing
    about is not one that was unplugged. The last one holds the newest reading. Refused as in
    `gathered`.
    """
    checked_count(len(rows))
    if len({(seq is None, boot) for seq, boot, _ in rows.values()}) > 1:
        raise Refused("mixed_seq")
    _check_distinct("seq", sorted(seq for seq, _, _ in rows.values() if seq is not None))
    by_channels: dict[frozenset[str], tuple[list[str], list[Reading]]] = {}
    for ts_ms, (seq, boot, values) in sorted(rows.items(), key=itemgetter(0)):
        channels, readings = by_channels.setdefault(frozenset(values), (list(values), []))
        readings.append(Reading(ts_ms, seq, boot, [values[channel] for channel in channels]))
    messages = [gathered(device_id, *of_channels) for of_channels in by_channels.values()]
    return tuple(sorted(messages, key=lambda message: message.seqs[-1]))


def checked_count(n: int) -> int:
    """Return a message's number of readings; Refused for none and for too many."""
    if n == 0:
        raise Refused("no_readings")
    if n > READINGS_MAX:
        raise Refused("too_many", n=n, limit=READINGS_MAX)
    return n


def checked_ms(ts: int | str | None) -> int:
    """Return a time as UTC milliseconds; an RFC 3339 text must name its offset."""
    if isinstance(ts, int):
        return ts
    try:
        moment = datetime.fromisoformat(ts or "")
    except ValueError as error:
        raise Refused("bad_field", text=f"ts {ts!r}") from error
    if moment.tzinfo is None:
        raise Refused("bad_field", text=f"ts {ts!r}")
    return (moment - EPOCH) // timedelta(milliseconds=1)


def check_clock(ts_ms: int, now_ms: int) -> None:
    """Raise Refused("clock") for a time before 2015 or more than 5 minutes ahead."""
    if not TS_MS_MIN <= ts_ms <= now_ms + AHEAD_MS_MAX:
        raise Refused("clock", ts=ts_ms)


def check_times(ts_ms: Sequence[int], now_ms: int) -> None:
    """Refuse times that cannot be, and a time that is there twice."""
    for ts in ts_ms:
        check_clock(ts, now_ms)
    _check_distinct("ts", sorted(ts_ms))


def _from_packet(device_id: str, packet: Packet) -> Message:
    if packet.dev is not None and packet.dev != device_id:
        raise Refused("other_device", named=packet.dev, device=device_id)
    if packet.rows is not None:
        return _from_batch(device_id, packet)
    if packet.m is None:
        flat = _Flat(
            packet.ts if packet.ts is not None else "",
            packet.seq,
            packet.boot,
            packet.temperature,
            packet.humidity,
        )
        return _from_flat(device_id, [flat])
    if packet.seq is None:
        raise Refused("bad_field", text="$.seq")
    columns = _columns(list(packet.m), [list(packet.m.values())])
    return Message(device_id, packet.boot, (packet.seq,), (checked_ms(packet.ts),), columns)


def _from_batch(device_id: str, packet: Packet) -> Message:
    rows, base = packet.rows or [], packet.base
    n = checked_count(len(rows))
    if base is None or packet.cols is None:
        raise Refused("bad_field", text="$.base, $.cols")
    if base.seq + n > SEQ_END:
        raise Refused("bad_field", text="$.base.seq")
    if packet.dts is not None:
        offsets: Sequence[int] = packet.dts
    elif base.step is not None:
        offsets = range(0, n * base.step, base.step) if base.step else [0] * n
    else:
        raise Refused("bad_field", text="$.base.step, $.dts")
    if len(offsets) != n:
        raise Refused("bad_field", text="$.dts")
    ts_ms = [base.ts + offset for offset in offsets]
    return Message(
        device_id, packet.boot, range(base.seq, base.seq + n), ts_ms, _columns(packet.cols, rows)
    )


def _from_flat(device_id: str, items: list[_Flat]) -> Message:
    readings = [
        Reading(checked_ms(item.ts), item.seq, item.boot, [item.temperature, item.humidity])
        for item in items
    ]
    return gathered(device_id, ["temperature", "humidity"], readings)


def _columns(names: list[str], rows: list[list[Value]]) -> dict[str, Sequence[float | None]]:
    """Return the checked columns of the rows, under the channels' own names."""
    channels = [CHANNEL_ALIASES.get(name, name) for name in names]
    if not channels:
        raise Refused("no_readings")
    _check_distinct("channel", sorted(channels))
    for number, row in enumerate(rows):
        if len(row) != len(channels):
            raise Refused("uneven_rows", row=number)
    by_channel = zip(channels, zip(*rows, strict=True), strict=True)
    return {channel: _checked_values(channel, values) for channel, values in by_channel}


def _checked_values(channel: str, values: Sequence[Value]) -> list[float | None]:
    if not _channel.fullmatch(channel):
        raise Refused("bad_channel", channel=channel)
    low, high = VALUE_RANGES.get(channel, (-math.inf, math.inf))
    sentinels = SENTINELS_C if low == TEMPERATURE_C[0] else frozenset[float]()
    checked: list[float | None] = []
    for value in values:
        if value is None or value in sentinels:
            checked.append(None)
        elif low <= value <= high and math.isfinite(value):
            checked.append(float(value))
        else:
            raise Refused("bad_value", channel=channel, value=value, low=low, high=high)
    return checked


def _check_distinct(field: str, ascending: Sequence[object]) -> None:
    for left, right in pairwise(ascending):
        if left == right:
            raise Refused("repeated", field=field, value=left)
