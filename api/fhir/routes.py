"""FHIR over HTTP: `/fhir/R5` and `/fhir/R4B`. Its description is the CapabilityStatement."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request, Response

from api.auth import STAFF, Principal, permission
from api.custody_scope import CLINICAL
from api.deps import DepsOf
from api.fhir import resources, search
from api.injections import CLINIC_STAFF
from api.paging import decode, encode
from api.routing import ModuleRoute
from api.schemas import moment
from domain.shared.errors import Invalid, NotAllowed, NotFound
from domain.shared.roles import Role
from projections import platform as read

PATH = "/fhir"
MEDIA_TYPE = "application/fhir+json"
COUNT_DEFAULT, COUNT_MAX = 50, 500
Release = Literal["R5", "R4B"]


class May(StrEnum):
    """Permissions of the FHIR interface."""

    DISCOVER = "platform.discover_fhir"
    READ = "platform.read_immunizations"


Reader = Annotated[Principal, permission(May.READ, Role.CDC, *CLINIC_STAFF)]
Dates = Annotated[list[str], Query(default_factory=list, max_length=8)]
Asked = Annotated[str | None, Query(min_length=1, max_length=4_000)]


class FhirRoute(ModuleRoute):
    """A route that stands in no OpenAPI document."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **{**options, "include_in_schema": False})


router = APIRouter(prefix=PATH, tags=["platform"], route_class=FhirRoute)


def shape(body: dict[str, Any], headers: dict[str, str]) -> int:
    """Make an OperationOutcome of a problem; return the status, one that FHIR clients know."""
    status = 400 if body["status"] == 422 else int(body["status"])
    told = resources.outcome(status, code=body["code"], detail=body["detail"])
    body.clear()
    body.update(told)
    headers["Content-Type"] = MEDIA_TYPE
    return status


@router.get("/{release}/metadata")
def read_capabilities(
    request: Request,
    release: Release,
    _who: Annotated[Principal, permission(May.DISCOVER, *STAFF)],
    deps: DepsOf,
    _format: Asked = None,
) -> Response:
    """Tell what can be read and searched."""
    told = resources.capabilities(release, base=_base(request, release), at=deps.clock.now())
    return _answer(release, told)


@router.get("/{release}/Immunization/{resource_id}")
def read_immunization(
    release: Release, resource_id: str, who: Reader, deps: DepsOf, _format: Asked = None
) -> Response:
    """Return one dose."""
    try:
        asked = read.Asked(region=who.region_prefix, ids=[UUID(resource_id)], states=None)
    except ValueError:
        raise NotFound("unknown_immunization", id=resource_id[:64]) from None
    with deps.pool.connection() as conn:
        rows = read.immunizations(conn, asked, limit=1)
    if not rows:
        raise NotFound("unknown_immunization", id=resource_id[:64])
    told = resources.immunization(rows[0], release, people=who.role in CLINICAL)
    return _answer(release, told)


@router.get("/{release}/Immunization")
def search_immunizations(
    *,
    request: Request,
    release: Release,
    who: Reader,
    deps: DepsOf,
    date: Dates,
    changed: Annotated[list[str], Query(default_factory=list, max_length=8, alias="_lastUpdated")],
    ids: Annotated[str | None, Query(alias="_id", max_length=4_000)] = None,
    lot: Annotated[str | None, Query(alias="lot-number", max_length=4_000)] = None,
    patient: Asked = None,
    patient_identifier: Annotated[str | None, Query(alias="patient:identifier")] = None,
    status: Asked = None,
    count: Annotated[int, Query(alias="_count", ge=1)] = COUNT_DEFAULT,
    cursor: Annotated[str | None, Query(alias="_cursor", max_length=500)] = None,
    _format: Asked = None,
) -> Response:
    """Return doses in the order of their change, a page at a time."""
    person = patient or patient_identifier
    if person is not None and who.role not in CLINICAL:
        raise NotAllowed("not_permitted", role=who.role.value)
    asked = search.asked_of(
        who.region_prefix,
        ids=ids,
        date=date,
        changed=changed,
        lot=lot,
        patient=person,
        status=status,
    )
    limit = min(count, COUNT_MAX)
    with deps.pool.connection() as conn:
        rows = read.immunizations(conn, asked, after=_after(cursor), limit=limit + 1)
    told = [
        resources.immunization(row, release, people=who.role in CLINICAL) for row in rows[:limit]
    ]
    base = _base(request, release)
    following = None
    if len(rows) > limit:
        last = rows[limit - 1]
        key = encode([last["changed_at"].isoformat(), str(last["id"])])
        given = [(n, v) for n, v in request.query_params.multi_items() if n != "_cursor"]
        following = f"{base}/Immunization?{urlencode([*given, ('_cursor', key)])}"
    own = f"{base}/Immunization"
    if request.url.query:
        own += f"?{request.url.query}"
    return _answer(release, resources.bundle(told, base=base, own=own, following=following))


def _after(cursor: str | None) -> tuple[Any, UUID]:
    if cursor is None:
        return read.EARLIEST, read.NO_ID
    try:
        at, resource_id = decode(cursor)
        return moment(at), UUID(resource_id)
    except (ValueError, AttributeError, TypeError):
        raise Invalid("bad_cursor", field="_cursor") from None


def _base(request: Request, release: str) -> str:
    return f"{str(request.base_url).rstrip('/')}{PATH}/{release}"


def _answer(release: str, resource: dict[str, Any]) -> Response:
    version = resources.VERSIONS[release].rpartition(".")[0]
    media_type = f"{MEDIA_TYPE}; fhirVersion={version}"
    return Response(orjson.dumps(resource), media_type=media_type)
