"""Equipment over HTTP: profiles, units, gateways, devices, and where each probe stands."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from fastapi import Response
from pydantic import Field

from api import (
    calibrations,
    devices,
    enrolment,
    imports,
    logger_files,
    maintenance,
    measurements,
    quarantine,
    replacements,
)
from api.auth import STAFF, Principal, permission
from api.commands import CallOf, Receipt, shown, state_of, versioned
from api.deps import Deps, DepsOf
from api.paging import PageOf
from api.records import daily, monthly, shipment, validation
from api.routing import PREFIX, module_router
from api.schemas import (
    Body,
    Items,
    Moment,
    Name,
    NameAsked,
    NameInPath,
    Note,
    Region,
    RegionAsked,
    Text,
    Version,
)
from domain.cold_chain import model
from domain.cold_chain.events import GatewayReplaced
from domain.cold_chain.places import places
from domain.registry import model as registry
from domain.shared.decide import decide
from domain.shared.errors import Invalid, NotFound
from domain.shared.roles import Role
from projections import cold_chain as read
from projections.shared import placements

router = module_router("cold_chain")

REGISTRARS = (Role.CDC, Role.STEWARD)


class May(StrEnum):
    """Permissions of this module's equipment."""

    READ = "cold_chain.read"
    DEFINE = "cold_chain.define_profile"
    REGISTER = "cold_chain.register"
    PLACE = "cold_chain.place_probe"


Celsius = Annotated[float, Field(ge=model.LIMIT_C_MIN, le=model.LIMIT_C_MAX)]
Channel = Annotated[str, Field(pattern=model.CHANNEL_PATTERN, examples=["t1"])]


class ProfileIn(Body):
    """Limits in degrees Celsius, both inclusive, and the document that asks for them."""

    profile_id: Annotated[Name, Field(examples=["cold-2-8"])]
    name: Annotated[Text, Field(examples=["冷藏 2–8 ℃"])]
    name_en: Note = ""
    temperature_c_min: Annotated[Celsius, Field(examples=[2.0])]
    temperature_c_max: Annotated[Celsius, Field(examples=[8.0])]
    source: Annotated[Text, Field(examples=["疫苗储存和运输管理规范（2017 年版）第十三条"])]


class Profile(ProfileIn):
    """A storage profile."""

    version: Version


class UnitIn(Body):
    """A piece of cold-chain equipment at a site; a vehicle or a box belongs to a site too."""

    unit_id: Annotated[Name, Field(examples=["dwk-room-1"])]
    site_id: Annotated[Name, Field(examples=["dwk-cdc"])]
    kind: Annotated[model.UnitKind, Field(strict=False)]
    name: Annotated[Text, Field(examples=["一号冷库"])]
    name_en: Note = ""
    profile_id: Annotated[Name, Field(examples=["cold-2-8"])]
    plate: Annotated[Note, Field(max_length=16)] = ""


class Unit(UnitIn):
    """A registered unit."""

    region_code: Region
    version: Version


class GatewayIn(Body):
    """A gateway, which publishes under `cc/v1/{region}/{site}/{gateway}/`."""

    gateway_id: Annotated[Name, Field(examples=["dwk-gw-1"])]
    site_id: Annotated[Name, Field(examples=["dwk-cdc"])]


class Gateway(GatewayIn):
    """A registered gateway; which other came in its place and when, if it went out of use."""

    region_code: Region
    replacement_id: Name | None
    replaced_at: datetime | None
    version: Version


class DeviceIn(Body):
    """A logger behind a gateway; `interval_s` seconds between two readings."""

    device_id: Annotated[Name, Field(examples=["dwk-log-1"])]
    gateway_id: Annotated[Name, Field(examples=["dwk-gw-1"])]
    channels: Annotated[
        list[Channel],
        Field(
            min_length=1,
            max_length=model.CHANNELS_MAX,
            examples=[["t1", "rh"]],
            json_schema_extra={"uniqueItems": True},
        ),
    ]
    interval_s: Annotated[int, Field(ge=model.INTERVAL_S_MIN, le=model.INTERVAL_S_MAX)]
    simulated: bool = False


class Device(DeviceIn):
    """A registered device and the gateway that it reports through now."""

    site_id: Name
    region_code: Region
    version: Version


class Reporting(GatewayIn):
    """A gateway that a device reported through; `since` null for the first."""

    region_code: Region
    since: datetime | None


class DeviceWhole(Device):
    """A registered device with all gateways that it ever reported through, ascending in time."""

    gateways: list[Reporting]


class PlacementIn(Body):
    """From `placed_at` on, what this probe measures belongs to this unit."""

    device_id: Annotated[Name, Field(examples=["dwk-log-1"])]
    channel: Channel
    unit_id: Annotated[Name, Field(examples=["dwk-room-1"])]
    placed_at: Moment


class RemovalIn(Body):
    """From `removed_at` on, this probe belongs to no unit."""

    device_id: Name
    channel: Channel
    removed_at: Moment


class Placement(Body):
    """A probe's stay in a unit; `until` null while it lasts. Limits of the unit in degrees."""

    device_id: Name
    channel: Channel
    unit_id: Name
    since: datetime
    until: datetime | None
    site_id: Name
    region_code: Region
    profile_id: Name | None
    temperature_c_min: float | None
    temperature_c_max: float | None


Reader = Annotated[Principal, permission(May.READ, *STAFF, Role.VENDOR)]
Registrar = Annotated[Principal, permission(May.REGISTER, *REGISTRARS)]
Placer = Annotated[Principal, permission(May.PLACE, *REGISTRARS, Role.STORE_KEEPER, Role.VENDOR)]


@router.post("/profiles", status_code=201, response_model=Receipt)
def define_profile(
    body: ProfileIn,
    who: Annotated[Principal, permission(May.DEFINE, Role.STEWARD)],
    call: CallOf,
) -> Response:
    """Define a storage profile, for all regions; the same limits again change nothing."""
    who.require_country()
    return call.run(
        model.profile_stream(body.profile_id),
        decide(model.evolve_profile, None, model.define_profile, **body.model_dump()),
        location=f"{PREFIX}/profiles/{body.profile_id}",
        meta=call.meta(),
    )


@router.get("/profiles", response_model=Items[Profile])
def list_profiles(_who: Reader, deps: DepsOf, page: PageOf) -> Response:
    """List the storage profiles, by id; they are the same for every region."""
    with deps.pool.connection() as conn:
        rows = read.profiles(conn, after=page.after_text(), limit=page.limit + 1)
    return page.answer(rows, lambda row: [row.profile_id])


@router.get("/profiles/{profile_id}", response_model=Profile)
def read_profile(profile_id: NameInPath, _who: Reader, deps: DepsOf) -> Response:
    """Return one storage profile."""
    stream = model.profile_stream(profile_id)
    found, version = versioned(deps.ledger, stream, model.evolve_profile)
    if found is None:
        raise NotFound("unknown_profile", profile_id=profile_id)
    return shown(found, version)


@router.post("/units", status_code=201, response_model=Receipt)
def register_unit(body: UnitIn, who: Registrar, call: CallOf) -> Response:
    """Register a cold room, refrigerator, freezer, vehicle or box at a site."""
    region = _site_region(call.deps, who, body.site_id)
    profile_stream = model.profile_stream(body.profile_id)
    profile = state_of(call.deps.ledger, profile_stream, model.evolve_profile)
    return call.run(
        model.unit_stream(body.unit_id),
        decide(
            model.evolve_unit,
            None,
            model.register_unit,
            site_region=region,
            profile=profile,
            **body.model_dump(),
        ),
        location=f"{PREFIX}/units/{body.unit_id}",
        meta=call.meta(region_code=region or ""),
    )


@router.get("/units", response_model=Items[Unit])
def list_units(who: Reader, deps: DepsOf, page: PageOf, region: RegionAsked = None) -> Response:
    """List the units of the caller's region, by id."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = read.units(conn, region=prefix, after=page.after_text(), limit=page.limit + 1)
    return page.answer(rows, lambda row: [row.unit_id])


@router.get("/units/{unit_id}", response_model=Unit)
def read_unit(unit_id: NameInPath, who: Reader, deps: DepsOf) -> Response:
    """Return one unit."""
    found, version = versioned(deps.ledger, model.unit_stream(unit_id), model.evolve_unit)
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_unit", unit_id=unit_id)
    return shown(found, version)


@router.post("/gateways", status_code=201, response_model=Receipt)
def register_gateway(body: GatewayIn, who: Registrar, call: CallOf) -> Response:
    """Register a gateway at a site."""
    region = _site_region(call.deps, who, body.site_id)
    return call.run(
        model.gateway_stream(body.gateway_id),
        decide(
            model.evolve_gateway,
            None,
            model.register_gateway,
            site_region=region,
            **body.model_dump(),
        ),
        location=f"{PREFIX}/gateways/{body.gateway_id}",
        meta=call.meta(region_code=region or ""),
    )


@router.get("/gateways", response_model=Items[Gateway])
def list_gateways(who: Reader, deps: DepsOf, page: PageOf, region: RegionAsked = None) -> Response:
    """List the gateways of the caller's region, by id."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = read.gateways(conn, region=prefix, after=page.after_text(), limit=page.limit + 1)
    return page.answer(rows, lambda row: [row.gateway_id])


@router.get("/gateways/{gateway_id}", response_model=Gateway)
def read_gateway(gateway_id: NameInPath, who: Reader, deps: DepsOf) -> Response:
    """Return one gateway."""
    stream = model.gateway_stream(gateway_id)
    found, version = versioned(deps.ledger, stream, model.evolve_gateway)
    if found is None or not who.covers(found.registered.region_code):
        raise NotFound("unknown_gateway", gateway_id=gateway_id)
    replaced = found.replaced
    more = {
        "replacement_id": replaced.replacement_id if replaced else None,
        "replaced_at": replaced.replaced_at if replaced else None,
    }
    return shown(found.registered, version, **more)


@router.post("/devices", status_code=201, response_model=Receipt)
def register_device(body: DeviceIn, who: Registrar, call: CallOf) -> Response:
    """Register a device behind a gateway, whose site and region it takes."""
    stream = model.gateway_stream(body.gateway_id)
    gateway = state_of(call.deps.ledger, stream, model.evolve_gateway)
    if gateway is not None:
        who.require_region(gateway.registered.region_code)
    return call.run(
        model.device_stream(body.device_id),
        decide(
            model.evolve_device,
            None,
            model.register_device,
            gateway=gateway,
            **body.model_dump(),
        ),
        location=f"{PREFIX}/devices/{body.device_id}",
        meta=call.meta(region_code=gateway.registered.region_code if gateway else ""),
    )


@router.get("/devices", response_model=Items[Device])
def list_devices(who: Reader, deps: DepsOf, page: PageOf, region: RegionAsked = None) -> Response:
    """List the devices of the caller's region, by id."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = read.devices(conn, region=prefix, after=page.after_text(), limit=page.limit + 1)
    return page.answer(rows, lambda row: [row.device_id])


@router.get("/devices/{device_id}", response_model=DeviceWhole)
def read_device(device_id: NameInPath, who: Reader, deps: DepsOf) -> Response:
    """Return one device and the gateways that it reported through."""
    found, version = versioned(deps.ledger, model.device_stream(device_id), model.evolve_device)
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_device", device_id=device_id)
    known = [asdict(place) for place in places(found, lambda id_: _replaced(deps, id_))]
    now = {name: value for name, value in known[-1].items() if name != "since"}
    known[0]["since"] = None
    return shown(found.registered, version, **now, gateways=known)


@router.post("/probes", status_code=201, response_model=Receipt)
def place_probe(body: PlacementIn, who: Placer, call: CallOf) -> Response:
    """Place a probe in a unit; that ends its stay anywhere else from then on."""
    region = _device_region(call.deps, who, body.device_id)
    unit = state_of(call.deps.ledger, model.unit_stream(body.unit_id), model.evolve_unit)
    if unit is not None:
        who.require_region(unit.region_code)
    return call.run(
        model.device_stream(body.device_id),
        decide(
            model.evolve_device,
            None,
            model.place_probe,
            unit=unit,
            channel=body.channel,
            unit_id=body.unit_id,
            placed_at=model.checked_past(body.placed_at, call.deps.clock.now(), "placed_at"),
        ),
        location=f"{PREFIX}/devices/{body.device_id}",
        meta=call.meta(region_code=region),
    )


@router.post("/probes/removals", status_code=201, response_model=Receipt)
def remove_probe(body: RemovalIn, who: Placer, call: CallOf) -> Response:
    """Take a probe out of its unit."""
    region = _device_region(call.deps, who, body.device_id)
    return call.run(
        model.device_stream(body.device_id),
        decide(
            model.evolve_device,
            None,
            model.remove_probe,
            channel=body.channel,
            removed_at=body.removed_at,
        ),
        location=f"{PREFIX}/devices/{body.device_id}",
        meta=call.meta(region_code=region),
    )


@router.get("/probes", response_model=Items[Placement])
def list_probes(
    *,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    unit_id: NameAsked = None,
    device_id: NameAsked = None,
) -> Response:
    """List where probes stood and stand, by device, channel and begin."""
    key = page.after_key(str, str, str)
    after = (key[0], key[1], _since(key[2])) if key else ("", "", placements.BEGINNING)
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = placements.placements(
            conn,
            region=prefix,
            unit_id=unit_id or "",
            device_id=device_id or "",
            after=after,
            limit=page.limit + 1,
        )
    return page.answer(rows, lambda row: [row.device_id, row.channel, row.since.isoformat()])


def _since(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("bad_cursor", field="cursor") from None


def _site_region(deps: Deps, who: Principal, site_id: str) -> str | None:
    """Return the region of a site that a request names, None when there is no such site."""
    site = state_of(deps.ledger, registry.site_stream(site_id), registry.evolve_site)
    return None if site is None else who.require_region(site.region_code)


def _device_region(deps: Deps, who: Principal, device_id: str) -> str:
    """Return the region of a device that a request names; NotFound when there is none."""
    device = state_of(deps.ledger, model.device_stream(device_id), model.evolve_device)
    if device is None:
        raise NotFound("unknown_device", device_id=device_id)
    return who.require_region(device.region_code)


def _replaced(deps: Deps, gateway_id: str) -> GatewayReplaced | None:
    gateway = state_of(deps.ledger, model.gateway_stream(gateway_id), model.evolve_gateway)
    return gateway.replaced if gateway else None


for part in (
    *(calibrations, devices, enrolment, imports, maintenance, measurements, quarantine),
    replacements,
    *(logger_files, daily, monthly, shipment, validation),
):
    router.routes.extend(part.router.routes)
