"""Organisations and sites: what may be registered, and what may change.

The state of an organisation or a site is its present particulars, in the shape of the event that
registered it; None before that. Streams: `registry.organisation` (code), `registry.site` (id),
`registry.site_number` (code, number), the claim that keeps a number unique.

Codes of refusals: bad_name, bad_region, bad_org_code, bad_text, bad_site_kind, bad_site_no,
bad_coordinates, unknown_organisation (Invalid); unknown_site (NotFound); already_registered
(Conflict). A number claimed twice is refused by the store.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from domain.registry.events import (
    OrganisationRegistered,
    SiteChanged,
    SiteNumberClaimed,
    SiteRegistered,
)
from domain.shared.decide import register
from domain.shared.errors import Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import checked_name, checked_org_code, checked_region, stream_id
from domain.shared.text import checked_text

# Degrees, WGS 84: the box around the mainland and its islands; beyond it a coordinate is a typo
# (most often latitude and longitude exchanged).
LONGITUDE_DEG_MIN, LONGITUDE_DEG_MAX = 73.0, 136.0
LATITUDE_DEG_MIN, LATITUDE_DEG_MAX = 3.0, 54.0
# Branches of one organisation are numbered from 1; five digits are printed on labels.
SITE_NO_MAX = 99_999

Organisation = OrganisationRegistered
Site = SiteRegistered
SiteEvent = SiteRegistered | SiteChanged


class SiteKind(StrEnum):
    """What a site is in the vaccine's way from the maker to the injection."""

    HOLDER = "holder"
    PROVINCE_CDC = "province_cdc"
    CITY_CDC = "city_cdc"
    COUNTY_CDC = "county_cdc"
    CLINIC = "clinic"
    HOSPITAL = "hospital"
    OTHER = "other"


def organisation_stream(org_code: str) -> UUID:
    """Return the stream of an organisation."""
    return stream_id("registry.organisation", org_code)


def site_stream(site_id: str) -> UUID:
    """Return the stream of a site."""
    return stream_id("registry.site", site_id)


def evolve_organisation(
    _state: Organisation | None, event: OrganisationRegistered
) -> Organisation | None:
    """Return the organisation after `event`."""
    return event


def evolve_site(state: Site | None, event: SiteEvent) -> Site | None:
    """Return the site after `event`."""
    match event:
        case SiteRegistered():
            return event
        case SiteChanged():
            return state and replace(
                state,
                name=event.name,
                name_en=event.name_en,
                kind=event.kind,
                latitude=event.latitude,
                longitude=event.longitude,
            )
        case _:
            assert_never(event)


def register_organisation(
    state: Organisation | None, *, org_code: str, name: str, name_en: str = "", region_code: str
) -> list[Event]:
    """Register an organisation under its unified social credit code (GB 32100-2015)."""
    return register(
        state,
        OrganisationRegistered(
            org_code=checked_org_code(org_code),
            name=checked_text(name, "name"),
            name_en=checked_text(name_en, "name_en", required=False),
            region_code=checked_region(region_code),
        ),
    )


def register_site(
    state: Site | None,
    *,
    organisation: Organisation | None,
    site_id: str,
    org_code: str,
    site_no: int,
    name: str,
    name_en: str = "",
    kind: str,
    region_code: str,
    latitude: float | None = None,
    longitude: float | None = None,
) -> list[Event]:
    """Register a site of `organisation`; append `site_number_claim` in the same transaction.

    Coordinates are degrees, WGS 84; both or neither.
    """
    checked_org_code(org_code)
    if organisation is None or organisation.org_code != org_code:
        raise Invalid("unknown_organisation", field="org_code", org_code=org_code)
    if not 1 <= site_no <= SITE_NO_MAX:
        raise Invalid("bad_site_no", field="site_no", value=site_no)
    _check_particulars(name, name_en, kind, latitude, longitude)
    return register(
        state,
        SiteRegistered(
            site_id=checked_name(site_id, "site_id"),
            org_code=org_code,
            site_no=site_no,
            name=name,
            name_en=name_en,
            kind=kind,
            region_code=checked_region(region_code),
            latitude=latitude,
            longitude=longitude,
        ),
    )


def site_number_claim(*, org_code: str, site_no: int, site_id: str) -> tuple[UUID, Event]:
    """Return the claim, stream and event, that makes (organisation, number) unique."""
    stream = stream_id("registry.site_number", org_code, site_no)
    return stream, SiteNumberClaimed(org_code=org_code, site_no=site_no, site_id=site_id)


def change_site(
    state: Site | None,
    *,
    name: str,
    name_en: str = "",
    kind: str,
    latitude: float | None = None,
    longitude: float | None = None,
) -> list[Event]:
    """Give a site new particulars; its id, organisation, number and region stay.

    NotFound when there is no such site; nothing happens when nothing differs.
    """
    if state is None:
        raise NotFound("unknown_site")
    _check_particulars(name, name_en, kind, latitude, longitude)
    changed = SiteChanged(
        site_id=state.site_id,
        name=name,
        name_en=name_en,
        kind=kind,
        latitude=latitude,
        longitude=longitude,
    )
    return [] if evolve_site(state, changed) == state else [changed]


def _check_particulars(
    name: str, name_en: str, kind: str, latitude: float | None, longitude: float | None
) -> None:
    checked_text(name, "name")
    checked_text(name_en, "name_en", required=False)
    if kind not in list(SiteKind):
        raise Invalid("bad_site_kind", field="kind", value=kind)
    if latitude is None and longitude is None:
        return
    if latitude is None or longitude is None:
        raise Invalid("bad_coordinates", field="latitude" if latitude is None else "longitude")
    if not LATITUDE_DEG_MIN <= latitude <= LATITUDE_DEG_MAX:
        raise Invalid("bad_coordinates", field="latitude", value=latitude)
    if not LONGITUDE_DEG_MIN <= longitude <= LONGITUDE_DEG_MAX:
        raise Invalid("bad_coordinates", field="longitude", value=longitude)
