"""Organisations and their sites over HTTP."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from fastapi import Response
from pydantic import Field

from api.auth import STAFF, Principal, permission
from api.commands import CallOf, Receipt, VersionOf, shown, state_of, versioned
from api.deps import DepsOf
from api.paging import PageOf
from api.routing import PREFIX, module_router
from api.schemas import (
    Body,
    Items,
    Name,
    NameInPath,
    Note,
    OrgCode,
    OrgCodeInPath,
    Region,
    RegionAsked,
    Text,
    Version,
)
from domain.registry import model
from domain.shared.decide import decide
from domain.shared.errors import NotFound
from domain.shared.roles import Role
from projections import registry as read

router = module_router("registry")

REGISTRARS = (Role.CDC, Role.STEWARD)


class May(StrEnum):
    """Permissions of this module."""

    READ = "registry.read"
    REGISTER = "registry.register"


class OrganisationIn(Body):
    """An organisation under its unified social credit code (GB 32100)."""

    org_code: OrgCode
    name: Annotated[Text, Field(examples=["石嘴山市疾病预防控制中心"])]
    name_en: Note = ""
    region_code: Region


class Organisation(OrganisationIn):
    """A registered organisation."""

    version: Version


class SiteParticulars(Body):
    """What may change of a site. Coordinates are degrees, WGS 84; both or neither."""

    name: Annotated[Text, Field(examples=["大武口区疾控中心冷库"])]
    name_en: Note = ""
    kind: Annotated[model.SiteKind, Field(strict=False)]
    latitude: Annotated[
        float | None, Field(ge=model.LATITUDE_DEG_MIN, le=model.LATITUDE_DEG_MAX)
    ] = None
    longitude: Annotated[
        float | None, Field(ge=model.LONGITUDE_DEG_MIN, le=model.LONGITUDE_DEG_MAX)
    ] = None


class SiteIn(SiteParticulars):
    """A site: a place where an organisation works; the number tells branches apart."""

    site_id: Annotated[Name, Field(examples=["dwk-cdc"])]
    org_code: OrgCode
    site_no: int = Field(ge=1, le=model.SITE_NO_MAX)
    region_code: Region


class Site(SiteIn):
    """A registered site."""

    version: Version


@router.post("/organisations", status_code=201, response_model=Receipt)
def register_organisation(
    body: OrganisationIn,
    who: Annotated[Principal, permission(May.REGISTER, *REGISTRARS)],
    call: CallOf,
) -> Response:
    """Register an organisation; the same particulars again change nothing."""
    who.require_region(body.region_code)
    return call.run(
        model.organisation_stream(body.org_code),
        decide(model.evolve_organisation, None, model.register_organisation, **body.model_dump()),
        location=f"{PREFIX}/organisations/{body.org_code}",
        meta=call.meta(region_code=body.region_code),
    )


@router.get("/organisations", response_model=Items[Organisation])
def list_organisations(
    who: Annotated[Principal, permission(May.READ, *STAFF, Role.VENDOR)],
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
) -> Response:
    """List the organisations of the caller's region, by code."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = read.organisations(
            conn, region=prefix, after=page.after_text(), limit=page.limit + 1
        )
    return page.answer(rows, lambda row: [row.org_code])


@router.get("/organisations/{org_code}", response_model=Organisation)
def read_organisation(
    org_code: OrgCodeInPath,
    who: Annotated[Principal, permission(May.READ, *STAFF, Role.VENDOR)],
    deps: DepsOf,
) -> Response:
    """Return one organisation."""
    found, version = versioned(
        deps.ledger, model.organisation_stream(org_code), model.evolve_organisation
    )
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_organisation", org_code=org_code)
    return shown(found, version)


@router.post("/sites", status_code=201, response_model=Receipt)
def register_site(
    body: SiteIn,
    who: Annotated[Principal, permission(May.REGISTER, *REGISTRARS)],
    call: CallOf,
) -> Response:
    """Register a site of an organisation; the same particulars again change nothing."""
    who.require_region(body.region_code)
    organisation = state_of(
        call.deps.ledger, model.organisation_stream(body.org_code), model.evolve_organisation
    )
    fields: dict[str, Any] = body.model_dump()
    return call.run(
        model.site_stream(body.site_id),
        decide(model.evolve_site, None, model.register_site, organisation=organisation, **fields),
        location=f"{PREFIX}/sites/{body.site_id}",
        meta=call.meta(region_code=body.region_code),
        claims=[
            model.site_number_claim(
                org_code=body.org_code, site_no=body.site_no, site_id=body.site_id
            )
        ],
    )


@router.get("/sites", response_model=Items[Site])
def list_sites(
    who: Annotated[Principal, permission(May.READ, *STAFF, Role.VENDOR)],
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
) -> Response:
    """List the sites of the caller's region, by id."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = read.sites(conn, region=prefix, after=page.after_text(), limit=page.limit + 1)
    return page.answer(rows, lambda row: [row.site_id])


@router.get("/sites/{site_id}", response_model=Site)
def read_site(
    site_id: NameInPath,
    who: Annotated[Principal, permission(May.READ, *STAFF, Role.VENDOR)],
    deps: DepsOf,
) -> Response:
    """Return one site; its ETag is what a change must name."""
    found, version = versioned(deps.ledger, model.site_stream(site_id), model.evolve_site)
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_site", site_id=site_id)
    return shown(found, version)


@router.put("/sites/{site_id}", response_model=Receipt)
def change_site(
    site_id: NameInPath,
    body: SiteParticulars,
    version: VersionOf,
    who: Annotated[Principal, permission(May.REGISTER, *REGISTRARS)],
    call: CallOf,
) -> Response:
    """Give a site new particulars; its organisation, number and region stay."""
    stream = model.site_stream(site_id)
    found = state_of(call.deps.ledger, stream, model.evolve_site)
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_site", site_id=site_id)
    return call.run(
        stream,
        decide(model.evolve_site, None, model.change_site, **body.model_dump()),
        location=f"{PREFIX}/sites/{site_id}",
        meta=call.meta(region_code=found.region_code),
        expected_version=version,
    )
