"""Decode a SenML pack (RFC 8428, JSON) into readings: the records of one time are one reading.

`[{"bn":"urn:dev:ow:10e2073a01080063:","bt":1795312800,"n":"t1","u":"Cel","v":5.3,"seq_":7},
{"n":"rh","u":"%RH","v":61}]`. The topic says which device it is. What stands in the resolved name
before its last ":" or "/" is the same in all records; where it is a plain name, it is the device's.
The rest is the channel; a record without one (`urn:dev:…` alone, or no `n`) has that of its unit.

`seq_` and `boot_` are fields of ours: the reading's own number, which any record of its time may
name, and the restarts, which hold on in the records after. Without them the time is the identity.
Texts, data and sums are no readings and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from domain.cold_chain.model import CHANNEL_ALIASES, TEMPERATURE_CHANNELS
from domain.shared.ids import NAME_PATTERN
from ingest.refusals import Refused
from ingest.wire import READINGS_MAX, Boot, Message, Seq, Value, check_times, told_apart

VERSIONS = frozenset(range(1, 11))
# Seconds: times below are relative to now (RFC 8428, 4.5.3).
RELATIVE_S_END = 2**28
# Beyond every time that can be taken, and exact in milliseconds.
TIME_S_MAX = 2.0**43
# Records a reading can have: more than any device has channels.
RECORDS_MAX = 16 * READINGS_MAX
# The channel of a record that names none, by its unit; any other unit is a channel of its own.
UNIT_CHANNELS = {"Cel": "t1", "%RH": "rh", "%EL": "bat"}
# What a channel may be given in; others are kept in whatever unit they come.
CHANNEL_UNITS = {
    **dict.fromkeys(TEMPERATURE_CHANNELS, ("", "Cel")),
    "rh": ("", "%RH", "%"),
    "bat": ("", "%EL", "%"),
    "door": ("", "/"),
    "mains": ("", "/"),
}
OWN_FIELDS = frozenset({"seq_", "boot_"})
# A record with one of these measures something, so it needs a value.
OF_VALUES = frozenset({"n", "u", "t", "seq_"})

_pack = re.compile(rb'\s*\[\s*\{[^{}]*?"(?:n|b[ntuvs]|bver)"\s*:')
_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]*")
_plain = re.compile(NAME_PATTERN)
_device_urn = re.compile(r"urn:dev:[^:/]+:[^:/]+")
_decode_records = msgspec.json.Decoder(list[dict[str, Any]]).decode


class _Record(msgspec.Struct):
    """A record as it comes; a value of null is a fault, since SenML has none."""

    bn: str = ""
    bt: float = 0.0
    bu: str = ""
    bv: float = 0.0
    bs: float | UnsetType = UNSET
    bver: int = 10
    n: str = ""
    u: str = ""
    v: float | UnsetType = UNSET
    vs: str | UnsetType = UNSET
    vb: bool | UnsetType = UNSET
    vd: str | UnsetType = UNSET
    s: float | UnsetType = UNSET
    t: float = 0.0
    seq_: Seq | None = None
    boot_: Boot = 0


@dataclass(frozen=True, slots=True)
class Resolved:
    """A record with its base values applied; `named`: it has a name beside the base name."""

    name: str
    named: bool
    unit: str
    ts_ms: int
    value: float | bool | str  # a text or data is no reading
    seq: int | None
    boot: int


def is_pack(body: bytes) -> bool:
    """Tell whether bytes are a SenML pack: an array whose first object has `n` or base values."""
    return _pack.match(body) is not None


def decode(device_id: str, body: bytes, now_ms: int, received_ms: int) -> tuple[Message, ...]:
    """Return the readings of an unpacked pack from the topic of `device_id`, or raise Refused.

    `now_ms` is UTC: later times (beyond 5 minutes) are refused. `received_ms`: when the pack first
    came, what relative times are counted from.
    """
    rows: dict[int, tuple[int | None, int, dict[str, Value]]] = {}
    devices: set[str] = set()
    for record in resolve(body, received_ms):
        device, channel = _device_and_channel(record)
        devices.add(device)
        if not isinstance(record.value, bool | float):
            continue
        seq, boot, values = rows.get(record.ts_ms, (None, record.boot, {}))
        if channel in values:
            raise Refused("repeated", field=f"{channel}, t", value=record.ts_ms)
        if None not in {seq, record.seq} and seq != record.seq:
            raise Refused("bad_field", text=f"seq_ {seq}, {record.seq}")
        values[channel] = record.value
        rows[record.ts_ms] = (record.seq if seq is None else seq, boot, values)
    _check_device(device_id, devices)
    check_times(list(rows), now_ms)
    return told_apart(device_id, rows)


def resolve(body: bytes, received_ms: int) -> Iterator[Resolved]:
    """Give the records that hold a value, in their order, base values applied (RFC 8428, 4.6)."""
    bases: dict[str, Any] = {"bn": "", "bt": 0.0, "bu": "", "bv": 0.0, "bs": UNSET}
    bases["boot_"] = 0
    versions: set[int] = set()
    for fields in _records(body):
        record = _typed(fields)
        bases.update((label, getattr(record, label)) for label in bases if label in fields)
        if "bver" in fields or not versions:
            versions.add(record.bver)
        if not versions <= VERSIONS or len(versions) > 1:
            raise Refused("bad_field", text=f"bver {sorted(versions)}")
        values = [v for v in (record.v, record.vs, record.vb, record.vd) if v is not UNSET]
        summed = record.s is not UNSET or bases["bs"] is not UNSET
        if len(values) > 1 or (not values and not summed and OF_VALUES & fields.keys()):
            raise Refused("bad_field", text="v, vs, vb, vd")
        if not values:
            continue  # base values alone, or a sum
        name = bases["bn"] + record.n
        if not _name.fullmatch(name):
            raise Refused("bad_field", text=f"n {name}")
        yield Resolved(
            name=name,
            named=bool(record.n),
            unit=record.u or bases["bu"],
            ts_ms=_ms(bases["bt"] + record.t, received_ms),
            value=values[0] if record.v is UNSET else record.v + bases["bv"],
            seq=record.seq_,
            boot=bases["boot_"],
        )


def _records(body: bytes) -> list[dict[str, Any]]:
    try:
        records = _decode_records(body)
    except msgspec.ValidationError as error:
        raise Refused("bad_field", text=error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("bad_json", text=error) from error
    if len(records) > RECORDS_MAX:
        raise Refused("too_many", n=len(records), limit=RECORDS_MAX)
    return records


def _typed(fields: dict[str, Any]) -> _Record:
    """Return a record's known fields; one that must be understood and is not is a fault."""
    for label in fields:
        if label.endswith("_") and label not in OWN_FIELDS:
            raise Refused("must_understand", field=label)
    try:
        return msgspec.convert(fields, _Record)
    except msgspec.ValidationError as error:
        raise Refused("bad_field", text=error) from error


def _ms(seconds: float, received_ms: int) -> int:
    """Return a resolved time as UTC milliseconds."""
    if not -TIME_S_MAX < seconds < TIME_S_MAX:
        raise Refused("clock", ts=seconds)
    if seconds >= RELATIVE_S_END:
        return round(seconds * 1000)
    return received_ms + round(seconds * 1000)


def _device_and_channel(record: Resolved) -> tuple[str, str]:
    """Return what a resolved name says of the device, and the channel in which it is kept."""
    device, channel = record.name, ""
    if record.named and not _device_urn.fullmatch(record.name):
        at = max(record.name.rfind(":"), record.name.rfind("/"))
        device, channel = record.name[: max(at, 0)], record.name[at + 1 :].lower()
    channel = CHANNEL_ALIASES.get(channel, channel)
    if not channel:
        channel = UNIT_CHANNELS.get(record.unit, record.unit.lower())
    units = CHANNEL_UNITS.get(channel)
    if units is not None and record.unit not in units:
        raise Refused("bad_unit", channel=channel, unit=record.unit)
    return device.rstrip(":/"), channel


def _check_device(device_id: str, named: set[str]) -> None:
    """Refuse a pack that tells of several devices, or by a plain name of another one."""
    if len(named) > 1:
        raise Refused("bad_field", text=f"bn {', '.join(sorted(named))}")
    for name in named:
        if _plain.fullmatch(name) and name != device_id:
            raise Refused("other_device", named=name, device=device_id)
