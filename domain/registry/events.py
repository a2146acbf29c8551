"""Events of the registry: an organisation exists once, its sites hang on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from domain.shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationRegistered(Event):
    """An organisation with its unified social credit code (GB 32100)."""

    TOPIC: ClassVar[str] = "registry.OrganisationRegistered"
    org_code: str
    name: str
    name_en: str = ""
    region_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRegistered(Event):
    """A place where an organisation works; branches share a code, so key = code + site number."""

    TOPIC: ClassVar[str] = "registry.SiteRegistered"
    site_id: str
    org_code: str
    site_no: int
    name: str
    name_en: str = ""
    kind: str  # holder | province_cdc | city_cdc | county_cdc | clinic | hospital | other
    region_code: str
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteChanged(Event):
    """New particulars of a site; its id, organisation, number and region stay."""

    TOPIC: ClassVar[str] = "registry.SiteChanged"
    site_id: str
    name: str
    name_en: str = ""
    kind: str
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteNumberClaimed(Event):
    """The claim that makes (organisation, number) unique: a second one fails in the store."""

    TOPIC: ClassVar[str] = "registry.SiteNumberClaimed"
    org_code: str
    site_no: int
    site_id: str
