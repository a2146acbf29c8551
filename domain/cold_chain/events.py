"""Events of the cold chain: equipment, gateways, devices, probes, and what they measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar
from zlib import crc32

from domain.cold_chain import calibration_events, record_events  # noqa: F401  # their TOPICs
from domain.shared.events import Event

# Readings of devices that number nothing have this boot or a higher one: no real boot reaches it.
BOOT_UNSEQUENCED = 2**22 - 1
# The channels of the built-in form that needs no number.
_FLAT = ["rh", "t1"]


def boot_of_channels(channels: Iterable[str]) -> int:
    """Return the boot of a reading without a number, which tells of these channels.

    Its time and its boot are its identity: what a gateway tells of one moment in several messages,
    a channel each, are several readings. In 2^22 - 1 … 2^23 - 1.
    """
    names = sorted(channels)
    if names == _FLAT:
        return BOOT_UNSEQUENCED
    return BOOT_UNSEQUENCED + 1 + crc32(",".join(names).encode()) % 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageProfileDefined(Event):
    """The limits that equipment of one kind must keep, in degrees Celsius, both inclusive."""

    TOPIC: ClassVar[str] = "cold_chain.StorageProfileDefined"
    profile_id: str
    name: str
    name_en: str = ""
    temperature_c_min: float
    temperature_c_max: float
    source: str  # document, article, page


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRegistered(Event):
    """A piece of cold-chain equipment at a site (a vehicle or a box belongs to a site too)."""

    TOPIC: ClassVar[str] = "cold_chain.UnitRegistered"
    unit_id: str
    site_id: str
    region_code: str
    kind: str  # cold_room | freezer_room | refrigerator | freezer | refrigerated_vehicle | cold_box
    name: str
    name_en: str = ""
    profile_id: str
    plate: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRegistered(Event):
    """A gateway that publishes under `cc/v1/{region}/{site}/{gateway}/`."""

    TOPIC: ClassVar[str] = "cold_chain.GatewayRegistered"
    gateway_id: str
    site_id: str
    region_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRegistered(Event):
    """A logger behind a gateway. A probe is (device, channel); `interval_s` between readings."""

    TOPIC: ClassVar[str] = "cold_chain.DeviceRegistered"
    VERSION: ClassVar[int] = 2
    device_id: str
    gateway_id: str
    site_id: str
    region_code: str
    channels: tuple[str, ...]
    interval_s: int
    simulated: bool = False

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        """Version 1 gave the interval in whole minutes, too coarse for devices in vehicles."""
        if version != 1:
            return super(DeviceRegistered, cls).upcast(version, data)
        seconds = data["interval_min"] * 60
        return {k: v for k, v in data.items() if k != "interval_min"} | {"interval_s": seconds}


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayReplaced(Event):
    """From `replaced_at` on, the devices behind this gateway report through another one.

    Stream = the gateway that went out of use; the other stands at the same site.
    """

    TOPIC: ClassVar[str] = "cold_chain.GatewayReplaced"
    gateway_id: str
    replacement_id: str
    replaced_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMoved(Event):
    """From `moved_at` on, this device reports through this gateway, whose site and region it has.

    Stream = the device. Where its probes stand is told apart from it.
    """

    TOPIC: ClassVar[str] = "cold_chain.DeviceMoved"
    device_id: str
    gateway_id: str
    site_id: str
    region_code: str
    moved_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePlaced(Event):
    """From `placed_at` on, what this probe measures belongs to this unit."""

    TOPIC: ClassVar[str] = "cold_chain.ProbePlaced"
    device_id: str
    channel: str
    unit_id: str
    placed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRemoved(Event):
    """From `removed_at` on, this probe belongs to no unit."""

    TOPIC: ClassVar[str] = "cold_chain.ProbeRemoved"
    device_id: str
    channel: str
    removed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceOpened(Event):
    """Work to be done on a unit, as planned or because something is wrong. Stream = the order.

    `org_code`: the organisation of the unit's site. `due_on`: the last day for it, if there is one.
    """

    TOPIC: ClassVar[str] = "cold_chain.MaintenanceOpened"
    order_id: str
    unit_id: str
    site_id: str
    region_code: str
    org_code: str
    kind: str  # planned_maintenance | repair | calibration
    task: str
    due_on: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceAssigned(Event):
    """Who is to do the work: the id of a person or firm, never a name."""

    TOPIC: ClassVar[str] = "cold_chain.MaintenanceAssigned"
    order_id: str
    assignee_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceDone(Event):
    """The work was finished at `done_at`, with this result and these parts replaced."""

    TOPIC: ClassVar[str] = "cold_chain.MaintenanceDone"
    order_id: str
    result: str
    parts: tuple[str, ...] = ()
    done_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceCancelled(Event):
    """The work will not be done."""

    TOPIC: ClassVar[str] = "cold_chain.MaintenanceCancelled"
    order_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceKept(Event):
    """A logger's own file, kept as received: evidence, never merged into an on-line series."""

    TOPIC: ClassVar[str] = "cold_chain.EvidenceKept"
    sha256: str
    filename: str
    kind: str
    device_serial: str = ""
    note: str = ""
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingsRecorded(Event):
    """The new readings of one message: n rows of one device and boot, `seq` ascending by one.

    `columns` maps a channel to n values, None where the probe was unplugged; `ts_ms` are device
    event times in UTC milliseconds. Stream = device; version = boot * 2^40 + seq of the first row.
    A device that numbers nothing has the boot of its channels (`boot_of_channels`), and each row's
    seq is its own time in milliseconds since 2015-01-01T00:00Z.
    """

    TOPIC: ClassVar[str] = "cold_chain.ReadingsRecorded"
    device_id: str
    boot: int
    seq: int
    ts_ms: tuple[int, ...]
    columns: dict[str, tuple[float | None, ...]]
    received_ms: int
    backfill: bool = False

    @property
    def sequenced(self) -> bool:
        """Tell whether the device numbers its readings itself."""
        return self.boot < BOOT_UNSEQUENCED

    def seq_of(self, n: int) -> int:
        """Return the sequence number of row `n`."""
        return self.seq + (n if self.sequenced else self.ts_ms[n] - self.ts_ms[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingConflict(Event):
    """The same identity came again with another value: the first is kept, this one is shown."""

    TOPIC: ClassVar[str] = "cold_chain.ReadingConflict"
    device_id: str
    boot: int
    seq: int
    stored: str  # JSON of the row that stands
    received: str  # JSON of the row refused
    received_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageQuarantined(Event):
    """A message that could not be taken, as received, with the reason. Stream = topic + payload."""

    TOPIC: ClassVar[str] = "cold_chain.MessageQuarantined"
    topic: str
    payload: bytes
    code: str  # schema | unknown_device | clock | conflict | acl | unknown_code …
    detail: str
    received_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineResolved(Event):
    """A quarantined message was replayed after its cause was mended, or set aside by a person."""

    TOPIC: ClassVar[str] = "cold_chain.QuarantineResolved"
    outcome: str  # stored | set_aside
    actor_id: str = ""
    resolved_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReported(Event):
    """A device told of something other than a reading: a door, its power, a defrost; as it came."""

    TOPIC: ClassVar[str] = "cold_chain.DeviceReported"
    device_id: str
    kind: str  # the message's own `kind`, empty when it names none
    ts_ms: int
    payload: str  # JSON
    received_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayReported(Event):
    """A gateway came on line or, by its will, went off; as it came. A repetition is no event."""

    TOPIC: ClassVar[str] = "cold_chain.GatewayReported"
    gateway_id: str
    online: bool
    payload: str  # JSON
    received_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsDeclared(Event):
    """What a Sparkplug gateway, or a device behind it, said at birth: how its metrics are named.

    Three columns, a metric each: its name, its alias (-1: none), its datatype. `device_id` is empty
    for the gateway itself. `session_ms`: when the gateway's own birth was sent; what it and its
    devices declare holds until its next one. Stream = gateway and device.
    """

    TOPIC: ClassVar[str] = "cold_chain.MetricsDeclared"
    gateway_id: str
    device_id: str
    bd_seq: int
    session_ms: int
    ts_ms: int
    names: tuple[str, ...]
    aliases: tuple[int, ...]
    datatypes: tuple[int, ...]
    received_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqGapOpened(Event):
    """A device numbered on while the readings `first_seq … past_seq-1` of a boot had not come."""

    TOPIC: ClassVar[str] = "cold_chain.SeqGapOpened"
    device_id: str
    boot: int
    first_seq: int
    past_seq: int
    opened_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqGapClosed(Event):
    """What became of a gap; where it is told more than once, the newest counts.

    `missing` readings never came: 0 when filled.
    """

    TOPIC: ClassVar[str] = "cold_chain.SeqGapClosed"
    device_id: str
    boot: int
    first_seq: int
    past_seq: int
    outcome: str  # filled | lost (the device has them no more) | abandoned (asked in vain)
    missing: int
    closed_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCommandIssued(Event):
    """A person asked something of a device. Stream = command."""

    TOPIC: ClassVar[str] = "cold_chain.DeviceCommandIssued"
    command_id: str
    device_id: str
    cmd: str  # backfill | time_sync | set_interval | identify | fw_info | set_threshold | siren
    arguments: dict[str, int]
    expires_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCommandAnswered(Event):
    """What the device said to a command; after `accepted` it may still say one of the others."""

    TOPIC: ClassVar[str] = "cold_chain.DeviceCommandAnswered"
    command_id: str
    device_id: str
    outcome: str  # accepted | applied | failed
    text: str = ""
    answered_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSkewDetected(Event):
    """The clock of a device is wrong. Its readings keep the times it gave them.

    `offset_ms`: receipt minus the device's time, median of its last live messages; above 0 the
    device's clock is behind.
    """

    TOPIC: ClassVar[str] = "cold_chain.ClockSkewDetected"
    device_id: str
    severity: str  # minor | major
    offset_ms: int
    detected_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSkewCleared(Event):
    """The clock of a device is right again."""

    TOPIC: ClassVar[str] = "cold_chain.ClockSkewCleared"
    device_id: str
    offset_ms: int
    cleared_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadTime:
    """Where the time of a reading stands in a vendor's message, and in which form."""

    value: str  # JMESPath
    form: str  # ms | s | rfc3339 | a pattern of strptime
    offset: str = ""  # of a pattern's local time from UTC: +08:00


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadChannel:
    """Where a channel's value stands in a vendor's message, and how it becomes ours.

    The number is divided by `divisor` and then converted from `unit`. None is stored for a value
    among `sentinels`, and where `valid` gives false.
    """

    value: str  # JMESPath
    unit: str = ""
    divisor: float = 1.0
    sentinels: tuple[float | str, ...] = ()
    valid: str = ""  # JMESPath


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadProfile:
    """How messages of one model of gateway are read: where what stands, as JMESPath expressions.

    `topic` is an MQTT topic with {device} and {gateway} in place of levels. An expression is empty
    where the message has no such thing.
    """

    profile_id: str
    name: str
    topic: str
    devices: str = ""
    readings: str = ""
    device: str = "topic.device"
    time: PayloadTime
    sequence: str = ""
    boot: str = ""
    channels: dict[str, PayloadChannel]  # by our names of channels


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadProfilePublished(Event):
    """From now on messages on the profile's topic are read by it. Stream = profile."""

    TOPIC: ClassVar[str] = "cold_chain.PayloadProfilePublished"
    profile_id: str
    version: int
    profile: PayloadProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadProfileWithdrawn(Event):
    """From now on no message is read by the profile, whose last version was `version`."""

    TOPIC: ClassVar[str] = "cold_chain.PayloadProfileWithdrawn"
    profile_id: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureRevised(Event):
    """What came late changed what goods were exposed to; who holds them now is told.

    `cause`: late readings, a calibration, a probe that stood elsewhere (placement), scans told late
    or declared wrong (custody). They were in `unit_id` then, in which the probe read otherwise than
    known from `since` to `until` (custody: no unit, no probe; where they were is what changed); now
    they are at `site_id`, or were used up there. `codes`: those whose history has `passed` a limit
    by this (above 8 °C, below 2 °C, freezing) or has `no_longer` passed it, or spent whole steps
    `longer` or `shorter` beyond it. Stream = the revision.
    """

    TOPIC: ClassVar[str] = "cold_chain.ExposureRevised"
    revision_id: str
    device_id: str
    channel: str
    unit_id: str
    since: datetime
    until: datetime
    site_id: str
    region_code: str
    lot_ids: tuple[str, ...]
    codes: tuple[str, ...]
    passed: tuple[str, ...]  # above | below | freezing
    no_longer: tuple[str, ...]
    longer: tuple[str, ...] = ()
    shorter: tuple[str, ...] = ()
    cause: str = "readings"  # readings | calibration | placement | custody
