"""Equipment, gateways, devices, and where each probe stands: what may be registered and placed.

The state of a thing that never changes is the event that registered it; None before that. Streams:
`cold_chain.profile`, `.unit`, `.gateway`, `.device_record` (with the placements of its probes),
`.evidence` (SHA-256). A probe is (device, channel); it stands in one unit at a time: from its
placing until it is next placed or removed, in whatever order those facts were told.

A device reports through one gateway at a time: that of its registration until it is moved, and in
place of a gateway that was replaced, the one that came for it (`places`).

Codes of refusals: bad_name, bad_text, bad_unit_kind, bad_channel, bad_interval, bad_limits,
naive_time, in_future, empty_file, unknown_site, unknown_profile, unknown_gateway, unknown_unit,
unknown_channel (Invalid); unknown_device (NotFound); already_registered, already_placed,
not_placed, gateway_replaced (Conflict).
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from domain.cold_chain.events import (
    DeviceMoved,
    DeviceRegistered,
    EvidenceKept,
    GatewayRegistered,
    GatewayReplaced,
    ProbePlaced,
    ProbeRemoved,
    StorageProfileDefined,
    UnitRegistered,
)
from domain.shared.decide import register
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import checked_name, checked_region, stream_id
from domain.shared.text import checked_text

# Degrees Celsius that a storage profile can name: dry ice is −79, liquid nitrogen −196.
LIMIT_C_MIN, LIMIT_C_MAX = -200.0, 100.0
# Seconds between two readings of a device.
INTERVAL_S_MIN, INTERVAL_S_MAX = 1, 86_400
# Channels of one device; more than any logger on the market has.
CHANNELS_MAX = 16
# Names on the wire of simple devices.
CHANNEL_ALIASES: Mapping[str, str] = {"temperature": "t1", "humidity": "rh"}
# Channels whose readings are degrees Celsius.
TEMPERATURE_CHANNELS = ("t1", "t2", "t3", "t4")
CHANNEL_PATTERN = r"^[a-z][a-z0-9_]{0,31}$"

# A registration holds from here: readings older than it are as welcome.
SINCE_EVER = datetime(1, 1, 1, tzinfo=UTC)

_CHANNEL = re.compile(CHANNEL_PATTERN)

Profile = StorageProfileDefined
Unit = UnitRegistered
Evidence = EvidenceKept
GatewayEvent = GatewayRegistered | GatewayReplaced
DeviceEvent = DeviceRegistered | DeviceMoved | ProbePlaced | ProbeRemoved


class UnitKind(StrEnum):
    """Kinds of cold-chain equipment."""

    COLD_ROOM = "cold_room"
    FREEZER_ROOM = "freezer_room"
    REFRIGERATOR = "refrigerator"
    FREEZER = "freezer"
    REFRIGERATED_VEHICLE = "refrigerated_vehicle"
    COLD_BOX = "cold_box"


@dataclass(frozen=True, slots=True, order=True)
class Stand:
    """From `since` on a probe stands in `unit_id`; an empty unit_id: nowhere."""

    since: datetime
    unit_id: str


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """From `since` on a device reports through this gateway, which stands at this site."""

    since: datetime
    gateway_id: str
    site_id: str
    region_code: str


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway, and by which other it was replaced, if it was."""

    registered: GatewayRegistered
    replaced: GatewayReplaced | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A device, where it was moved, ascending in time, and where each of its probes stood."""

    registered: DeviceRegistered
    moves: tuple[Place, ...] = ()
    stands: Mapping[str, tuple[Stand, ...]] = field(default_factory=dict)

    @property
    def posts(self) -> tuple[Place, ...]:
        """Return the gateways it was put behind, ascending; the first since ever."""
        known = self.registered
        return (Place(SINCE_EVER, known.gateway_id, known.site_id, known.region_code), *self.moves)

    @property
    def region_code(self) -> str:
        """Return the region it is in now."""
        return self.posts[-1].region_code

    def unit_at(self, channel: str, at: datetime) -> str:
        """Return the unit in which the probe stood at that time, empty when in none."""
        stands = self.stands.get(channel, ())
        index = bisect_right(stands, at, key=lambda stand: stand.since)
        return stands[index - 1].unit_id if index else ""


def profile_stream(profile_id: str) -> UUID:
    """Return the stream of a storage profile."""
    return stream_id("cold_chain.profile", profile_id)


def unit_stream(unit_id: str) -> UUID:
    """Return the stream of a unit."""
    return stream_id("cold_chain.unit", unit_id)


def gateway_stream(gateway_id: str) -> UUID:
    """Return the stream of a gateway."""
    return stream_id("cold_chain.gateway", gateway_id)


def device_stream(device_id: str) -> UUID:
    """Return the stream of a device's record: its registration and its probes' placements."""
    return stream_id("cold_chain.device_record", device_id)


def evidence_stream(sha256: str) -> UUID:
    """Return the stream of a file kept as evidence."""
    return stream_id("cold_chain.evidence", sha256)


def evolve_profile(_state: Profile | None, event: StorageProfileDefined) -> Profile | None:
    """Return the profile after `event`."""
    return event


def evolve_unit(_state: Unit | None, event: UnitRegistered) -> Unit | None:
    """Return the unit after `event`."""
    return event


def evolve_gateway(state: Gateway | None, event: GatewayEvent) -> Gateway | None:
    """Return the gateway after `event`."""
    match event:
        case GatewayRegistered():
            return Gateway(event)
        case GatewayReplaced():
            return state and replace(state, replaced=event)
        case _:
            assert_never(event)


def evolve_evidence(_state: Evidence | None, event: EvidenceKept) -> Evidence | None:
    """Return the evidence after `event`."""
    return event


def evolve_device(state: Device | None, event: DeviceEvent) -> Device | None:
    """Return the device after `event`."""
    match event:
        case DeviceRegistered():
            return Device(event)
        case DeviceMoved():
            moved = Place(event.moved_at, event.gateway_id, event.site_id, event.region_code)
            return state and replace(state, moves=tuple(sorted((*state.moves, moved))))
        case ProbePlaced():
            return state and _stood(state, event.channel, Stand(event.placed_at, event.unit_id))
        case ProbeRemoved():
            return state and _stood(state, event.channel, Stand(event.removed_at, ""))
        case _:
            assert_never(event)


def define_profile(
    state: Profile | None,
    *,
    profile_id: str,
    name: str,
    name_en: str = "",
    temperature_c_min: float,
    temperature_c_max: float,
    source: str,
) -> list[Event]:
    """Define the limits of a kind of storage, in degrees Celsius, both inclusive."""
    if not LIMIT_C_MIN <= temperature_c_min < temperature_c_max <= LIMIT_C_MAX:
        raise Invalid("bad_limits", field="temperature_c_min", value=temperature_c_min)
    return register(
        state,
        StorageProfileDefined(
            profile_id=checked_name(profile_id, "profile_id"),
            name=checked_text(name, "name"),
            name_en=checked_text(name_en, "name_en", required=False),
            temperature_c_min=temperature_c_min,
            temperature_c_max=temperature_c_max,
            source=checked_text(source, "source"),
        ),
    )


def register_unit(
    state: Unit | None,
    *,
    site_region: str | None,
    profile: Profile | None,
    unit_id: str,
    site_id: str,
    kind: str,
    name: str,
    name_en: str = "",
    profile_id: str,
    plate: str = "",
) -> list[Event]:
    """Register a cold unit at a site; `site_region` is the site's region, None when unknown."""
    if kind not in list(UnitKind):
        raise Invalid("bad_unit_kind", field="kind", value=kind)
    if profile is None or profile.profile_id != profile_id:
        raise Invalid("unknown_profile", field="profile_id", profile_id=profile_id)
    return register(
        state,
        UnitRegistered(
            unit_id=checked_name(unit_id, "unit_id"),
            site_id=checked_name(site_id, "site_id"),
            region_code=_known_region(site_id, site_region),
            kind=kind,
            name=checked_text(name, "name"),
            name_en=checked_text(name_en, "name_en", required=False),
            profile_id=profile_id,
            plate=checked_text(plate, "plate", required=False, length_max=16),
        ),
    )


def register_gateway(
    state: Gateway | None, *, site_region: str | None, gateway_id: str, site_id: str
) -> list[Event]:
    """Register a gateway at a site; `site_region` is the site's region, None when unknown."""
    return register(
        state.registered if state else None,
        GatewayRegistered(
            gateway_id=checked_name(gateway_id, "gateway_id"),
            site_id=checked_name(site_id, "site_id"),
            region_code=_known_region(site_id, site_region),
        ),
    )


def register_device(
    state: Device | None,
    *,
    gateway: Gateway | None,
    device_id: str,
    gateway_id: str,
    channels: Sequence[str],
    interval_s: int,
    simulated: bool = False,
) -> list[Event]:
    """Register a device behind `gateway`, whose site and region it takes."""
    known = known_gateway(gateway, gateway_id)
    if not INTERVAL_S_MIN <= interval_s <= INTERVAL_S_MAX:
        raise Invalid("bad_interval", field="interval_s", value=interval_s)
    registered = DeviceRegistered(
        device_id=checked_name(device_id, "device_id"),
        gateway_id=gateway_id,
        site_id=known.registered.site_id,
        region_code=known.registered.region_code,
        channels=checked_channels(channels),
        interval_s=interval_s,
        simulated=simulated,
    )
    if state is None:
        check_in_use(known)
    return register(state.registered if state else None, registered)


def place_probe(
    state: Device | None, *, unit: Unit | None, channel: str, unit_id: str, placed_at: datetime
) -> list[Event]:
    """Place a probe in a unit from `placed_at` (aware) on; that ends its stay anywhere else.

    Nothing happens when it stands there already at that time. Conflict("already_placed") when
    something else is told of that very moment.
    """
    device, channel, at = _probe(state, channel, placed_at, "placed_at")
    if unit is None or unit.unit_id != unit_id:
        raise Invalid("unknown_unit", field="unit_id", unit_id=unit_id)
    if device.unit_at(channel, at) == unit_id:
        return []
    _check_moment_free(device, channel, at)
    device_id = device.registered.device_id
    return [ProbePlaced(device_id=device_id, channel=channel, unit_id=unit_id, placed_at=at)]


def remove_probe(state: Device | None, *, channel: str, removed_at: datetime) -> list[Event]:
    """Take a probe out of its unit from `removed_at` (aware) on.

    Nothing happens when that very removal is known. Conflict("not_placed") when it stands nowhere
    then, Conflict("already_placed") when it was placed at that very moment.
    """
    device, channel, at = _probe(state, channel, removed_at, "removed_at")
    if Stand(at, "") in device.stands.get(channel, ()):
        return []
    if not device.unit_at(channel, at):
        raise Conflict("not_placed", device_id=device.registered.device_id, channel=channel)
    _check_moment_free(device, channel, at)
    device_id = device.registered.device_id
    return [ProbeRemoved(device_id=device_id, channel=channel, removed_at=at)]


def keep_evidence(
    state: Evidence | None,
    *,
    filename: str,
    kind: str,
    device_serial: str = "",
    note: str = "",
    content: bytes,
) -> list[Event]:
    """Keep a logger's own file as received; the same content again is a no-op."""
    if not content:
        raise Invalid("empty_file", field="content")
    kept = EvidenceKept(
        sha256=hashlib.sha256(content).hexdigest(),
        filename=checked_text(filename, "filename"),
        kind=checked_name(kind, "kind"),
        device_serial=checked_text(device_serial, "device_serial", required=False),
        note=checked_text(note, "note", required=False, length_max=2_000),
        content=content,
    )
    return [] if state and state.sha256 == kept.sha256 else [kept]


def known_gateway(gateway: Gateway | None, gateway_id: str) -> Gateway:
    """Return the gateway of this id; Invalid when it is another or none."""
    if gateway is None or gateway.registered.gateway_id != gateway_id:
        raise Invalid("unknown_gateway", field="gateway_id", gateway_id=gateway_id)
    return gateway


def check_in_use(gateway: Gateway) -> None:
    """Raise Conflict("gateway_replaced") for a gateway that went out of use."""
    if gateway.replaced is not None:
        raise Conflict(
            "gateway_replaced",
            gateway_id=gateway.registered.gateway_id,
            replacement_id=gateway.replaced.replacement_id,
        )


def checked_past(at: datetime, now: datetime, field: str) -> datetime:
    """Return an aware time in UTC; Invalid for one without offset or after `now`."""
    if at.tzinfo is None:
        raise Invalid("naive_time", field=field)
    if at > now:
        raise Invalid("in_future", field=field)
    return at.astimezone(UTC)


def _stood(device: Device, channel: str, stand: Stand) -> Device:
    stands = tuple(sorted((*device.stands.get(channel, ()), stand)))
    return replace(device, stands={**device.stands, channel: stands})


def _known_region(site_id: str, site_region: str | None) -> str:
    if site_region is None:
        raise Invalid("unknown_site", field="site_id", site_id=site_id)
    return checked_region(site_region)


def checked_channels(channels: Sequence[str]) -> tuple[str, ...]:
    """Return the channels of a device under their own names; Invalid("bad_channel") otherwise."""
    named = tuple(CHANNEL_ALIASES.get(channel, channel) for channel in channels)
    distinct = len(set(named)) == len(named)
    if not 1 <= len(named) <= CHANNELS_MAX or not distinct:
        raise Invalid("bad_channel", field="channels", value=list(channels))
    for channel in named:
        if not _CHANNEL.fullmatch(channel):
            raise Invalid("bad_channel", field="channels", value=channel)
    return named


def _probe(
    state: Device | None, channel: str, at: datetime, time_field: str
) -> tuple[Device, str, datetime]:
    if state is None:
        raise NotFound("unknown_device")
    named = CHANNEL_ALIASES.get(channel, channel)
    if named not in state.registered.channels:
        raise Invalid("unknown_channel", field="channel", value=channel)
    if at.tzinfo is None:
        raise Invalid("naive_time", field=time_field)
    return state, named, at.astimezone(UTC)


def _check_moment_free(device: Device, channel: str, at: datetime) -> None:
    if any(stand.since == at for stand in device.stands.get(channel, ())):
        raise Conflict("already_placed", device_id=device.registered.device_id, channel=channel)
