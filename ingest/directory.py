"""What the ledger says about who may send and what is watched: folded in memory, read on.

Sites, gateways, devices with their probes' placements and calibrations, units, rule sets, products.
`refresh` reads what the ledger has gained; ingest calls it before every batch, so a message that
follows its device's registration finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import psycopg

from domain.alerting.assignment import Assigned, in_force
from domain.alerting.assignment_events import RulesAssigned
from domain.alerting.events import RuleSetPublished
from domain.alerting.watch import RuleSet, Watch, to_ms
from domain.cold_chain.calibration import Calibration
from domain.cold_chain.calibration_events import CalibrationRecorded
from domain.cold_chain.events import (
    DeviceMoved,
    DeviceRegistered,
    GatewayRegistered,
    GatewayReplaced,
    PayloadProfilePublished,
    PayloadProfileWithdrawn,
    ProbePlaced,
    ProbeRemoved,
    UnitRegistered,
)
from domain.cold_chain.model import (
    TEMPERATURE_CHANNELS,
    Device,
    DeviceEvent,
    Place,
    Stand,
    evolve_device,
)
from domain.cold_chain.places import places
from domain.registry.events import SiteRegistered
from domain.shared.events import Event
from domain.traceability.events import ProductRegistered
from ingest.profiles import Profiles
from ingest.refusals import Refused
from ingest.rows import envelope_of, queries
from ingest.sparkplug_nodes import Nodes
from ingest.topics import Topic

TOPICS = (
    SiteRegistered.TOPIC,
    GatewayRegistered.TOPIC,
    GatewayReplaced.TOPIC,
    DeviceRegistered.TOPIC,
    DeviceMoved.TOPIC,
    ProbePlaced.TOPIC,
    ProbeRemoved.TOPIC,
    UnitRegistered.TOPIC,
    RuleSetPublished.TOPIC,
    ProductRegistered.TOPIC,
    PayloadProfilePublished.TOPIC,
    PayloadProfileWithdrawn.TOPIC,
    CalibrationRecorded.TOPIC,
    RulesAssigned.TOPIC,
)
READ_LIMIT = 2_000


@dataclass(frozen=True, slots=True)
class Shift:
    """From `at_ms` on a probe stands elsewhere, is under other rules or reads otherwise."""

    device_id: str
    channel: str
    at_ms: int


@dataclass(slots=True)
class Directory:
    """The fold, and the ledger position it stands at.

    `waiting`: by device, what the events after position `settled` changed for probes; whoever acts
    on it takes it out. Of vendors' messages, which no topic divides by region, this worker stores
    those of devices in `regions` (none: all) and, with `strays`, keeps what belongs to no region.
    """

    position: int = 0
    settled: int = 0
    regions: tuple[str, ...] = ()
    strays: bool = True
    waiting: dict[str, list[Shift]] = field(default_factory=dict)
    sites: dict[str, str] = field(default_factory=dict)  # site -> region
    gateways: dict[str, GatewayRegistered] = field(default_factory=dict)
    replaced: dict[str, GatewayReplaced] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    units: dict[str, UnitRegistered] = field(default_factory=dict)
    rule_sets: dict[str, tuple[RuleSet, ...]] = field(default_factory=dict)  # by profile
    assigned: dict[tuple[str, str], Assigned] = field(default_factory=dict)  # by scope and id
    products: set[str] = field(default_factory=set)
    calibrations: dict[tuple[str, str], Calibration] = field(default_factory=dict)  # by probe
    profiles: Profiles = field(default_factory=Profiles)
    nodes: Nodes = field(default_factory=Nodes)  # not of the ledger: what gateways declared
    _watches: dict[tuple[str, str], tuple[Watch, ...]] = field(default_factory=dict)
    _places: dict[str, tuple[Place, ...]] = field(default_factory=dict)

    def refresh(self, conn: psycopg.Connection[Any]) -> bool:
        """Take in what the ledger has gained; what it changed for probes is added to `waiting`.

        Return whether there was anything.
        """
        changed = False
        ((top,),) = conn.execute(queries.ledger_position).fetchall()
        while self.position < top:
            window = (self.position, top, list(TOPICS), READ_LIMIT)
            found = conn.execute(queries.ledger_after, window).fetchall()
            for row in found:
                shifts = self._take(envelope_of(row).event)
                for shift in shifts if row[4] > self.settled else ():
                    self.waiting.setdefault(shift.device_id, []).append(shift)
            self.position = found[-1][4] if len(found) == READ_LIMIT else top
            if found:
                self._watches.clear()
                self._places.clear()
                changed = True
        return changed

    def check_device(self, topic: Topic, last_ms: int | None = None) -> Device:
        """Return the topic's device, registered under that gateway, site and region, or refuse.

        The gateway that a device has now may send what the device kept from before it came; one
        that it had before, what was measured until it left. `last_ms`: the newest time that the
        message tells of; without it, any gateway that the device ever had will do. A device that
        has moved to the region of another worker is that one's alone.
        """
        device = self.devices.get(topic.device_id)
        if device is None:
            raise Refused("unknown_device", device=topic.device_id)
        known = self.places(topic.device_id)
        now = known[-1]
        if _at(topic, now):
            return device
        for place, following in pairwise(known) if self.owns(topic.device_id) else ():
            if _at(topic, place) and (last_ms is None or last_ms < to_ms(following.since)):
                return device
        raise _elsewhere(topic, now.region_code, now.site_id, now.gateway_id, topic.device_id)

    def owns(self, device_id: str) -> bool:
        """Tell whether a registered device is this worker's: the one of its present region."""
        return not self.regions or self.places(device_id)[-1].region_code in self.regions

    def places(self, device_id: str) -> tuple[Place, ...]:
        """Return through which gateways a registered device reported, ascending in time.

        One place only: whatever comes through another is refused, whenever it was measured.
        """
        if device_id not in self._places:
            self._places[device_id] = places(self.devices[device_id], self.replaced.get)
        return self._places[device_id]

    def reports_through(self, topic: Topic) -> bool:
        """Tell whether a device is registered and the topic's gateway is the one it has now."""
        return topic.device_id in self.devices and _at(topic, self.places(topic.device_id)[-1])

    def given_away(self) -> list[str]:
        """Return the devices that have moved to the regions of other workers."""
        moved = (device_id for device_id, known in self.devices.items() if known.moves)
        return [device_id for device_id in moved if not self.owns(device_id)]

    def check_gateway(self, topic: Topic) -> None:
        """Refuse a topic whose gateway is not registered at that site and region."""
        known = self.gateways.get(topic.gateway_id)
        if known is None:
            raise Refused("unknown_gateway", gateway=topic.gateway_id)
        _check_place(topic, known.region_code, known.site_id, known.gateway_id, known.gateway_id)

    def check_site(self, topic: Topic) -> None:
        """Refuse a topic whose site is not registered in that region."""
        region = self.sites.get(topic.site_id)
        if region is None:
            raise Refused("unknown_site", site=topic.site_id)
        _check_place(topic, region, topic.site_id, topic.gateway_id, topic.site_id)

    def watches(self, device_id: str, channel: str) -> tuple[Watch, ...]:
        """Return the watches of a probe, ascending in time; none for what no rule judges."""
        key = (device_id, channel)
        if key not in self._watches:
            self._watches[key] = self._find_watches(device_id, channel)
        return self._watches[key]

    def _find_watches(self, device_id: str, channel: str) -> tuple[Watch, ...]:
        device = self.devices.get(device_id)
        if device is None or channel not in TEMPERATURE_CHANNELS:
            return ()
        stands: tuple[Stand | None, ...] = (*device.stands.get(channel, ()), None)
        watches = []
        for stand, following in pairwise(stands):
            unit = self.units.get(stand.unit_id) if stand else None
            rule_sets = self._rules_of(unit) if unit else ()
            if stand is None or unit is None or not rule_sets:
                continue
            watches.append(
                Watch(
                    device_id=device_id,
                    channel=channel,
                    unit_id=unit.unit_id,
                    site_id=unit.site_id,
                    region_code=unit.region_code,
                    start_ms=to_ms(stand.since),
                    end_ms=to_ms(following.since) if following else None,
                    rule_sets=rule_sets,
                )
            )
        return tuple(watches)

    def _take(self, event: Event) -> list[Shift]:
        match event:
            case SiteRegistered():
                self.sites[event.site_id] = event.region_code
            case GatewayRegistered():
                self.gateways[event.gateway_id] = event
            case GatewayReplaced():
                self.replaced[event.gateway_id] = event
            case UnitRegistered():
                self.units[event.unit_id] = event
            case ProductRegistered():
                self.products.add(event.product_id)
            case RuleSetPublished():
                return self._take_rules(event)
            case DeviceRegistered() | DeviceMoved() | ProbePlaced() | ProbeRemoved():
                return self._take_device(event)
            case _:
                return self._take_other(event)
        return []

    def _take_other(self, event: Event) -> list[Shift]:
        if isinstance(event, CalibrationRecorded):
            return self._take_calibration(event)
        if isinstance(event, RulesAssigned):
            return self._take_assignment(event)
        if not isinstance(event, PayloadProfilePublished | PayloadProfileWithdrawn):
            raise ValueError(f"{event.TOPIC} is not read here")  # noqa: TRY004 (no caller's mistake)
        self.profiles.take(event)
        return []

    def _take_device(self, event: DeviceEvent) -> list[Shift]:
        changed = evolve_device(self.devices.get(event.device_id), event)
        if changed is not None:
            self.devices[event.device_id] = changed
        match event:
            case ProbePlaced():
                return [Shift(event.device_id, event.channel, to_ms(event.placed_at))]
            case ProbeRemoved():
                return [Shift(event.device_id, event.channel, to_ms(event.removed_at))]
        return []

    def _take_rules(self, event: RuleSetPublished) -> list[Shift]:
        added = RuleSet(event.version, to_ms(event.effective_from), event.rules)
        known = self.rule_sets.get(event.profile_id, ())
        self.rule_sets[event.profile_id] = tuple(
            sorted((*known, added), key=lambda rule_set: (rule_set.effective_ms, rule_set.version))
        )
        return [
            Shift(device_id, channel, added.effective_ms)
            for device_id, device in self.devices.items()
            for channel, stands in device.stands.items()
            if self._under_profile(stands, event.profile_id)
        ]

    def _take_calibration(self, event: CalibrationRecorded) -> list[Shift]:
        probe = (event.device_id, event.channel)
        known = self.calibrations.get(probe)
        told = known.certificates if known else ()
        self.calibrations[probe] = Calibration.of((*told, event))
        return [Shift(*probe, to_ms(event.since))]

    def _take_assignment(self, event: RulesAssigned) -> list[Shift]:
        key, at_ms = (event.scope, event.subject_id), to_ms(event.effective_from)
        self.assigned[key] = (*self.assigned.get(key, ()), (at_ms, event.profile_id))
        return [
            Shift(device_id, channel, at_ms)
            for device_id, device in self.devices.items()
            for channel, stands in device.stands.items()
            if any(key in self._keys_of(stand.unit_id) for stand in stands)
        ]

    def _rules_of(self, unit: UnitRegistered) -> tuple[RuleSet, ...]:
        of_unit, of_site = (self.assigned.get(key, ()) for key in self._keys_of(unit.unit_id))
        return in_force(unit.profile_id, of_site, of_unit, self.rule_sets)

    def _keys_of(self, unit_id: str) -> tuple[tuple[str, str], tuple[str, str]]:
        unit = self.units.get(unit_id)
        return ("unit", unit_id), ("site", unit.site_id if unit else "")

    def _under_profile(self, stands: tuple[Stand, ...], profile_id: str) -> bool:
        units: Mapping[str, UnitRegistered] = self.units
        return any(
            stand.unit_id in units
            and (
                units[stand.unit_id].profile_id == profile_id
                or any(
                    profile_id == profile
                    for key in self._keys_of(stand.unit_id)
                    for _, profile in self.assigned.get(key, ())
                )
            )
            for stand in stands
        )


def _at(topic: Topic, place: Place) -> bool:
    return (topic.gateway_id, topic.site_id, topic.region_code) == (
        place.gateway_id,
        place.site_id,
        place.region_code,
    )


def _check_place(topic: Topic, region: str, site: str, gateway: str, what: str) -> None:
    if (topic.region_code, topic.site_id, topic.gateway_id) != (region, site, gateway):
        raise _elsewhere(topic, region, site, gateway, what)


def _elsewhere(topic: Topic, region: str, site: str, gateway: str, what: str) -> Refused:
    return Refused(
        "elsewhere",
        what=what,
        registered=f"{region}/{site}/{gateway}",
        topic=f"{topic.region_code}/{topic.site_id}/{topic.gateway_id}",
    )
