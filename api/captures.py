"""EPCIS documents over HTTP: kept as received, with the facts read out of them, in one stream."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import orjson
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from api import asof
from api.auth import Principal, permission
from api.commands import Call, CallOf
from api.deps import DepsOf
from api.routing import PREFIX, ModuleRoute, json_answer
from api.schemas import Body
from domain.shared.errors import Conflict, NotFound
from domain.shared.roles import Role
from domain.traceability import model
from domain.traceability.epcis import Captured, read_document
from domain.traceability.events import CaptureStored
from projections.shared import org_tree
from store.envelope import Envelope

SHA256_PATTERN = r"^[0-9a-f]{64}$"


class May(StrEnum):
    """Permissions of captured documents."""

    CAPTURE = "traceability.capture"
    READ = "traceability.read_captures"


class CaptureRoute(ModuleRoute):
    """A document of a whole shipment is larger than other bodies."""

    body_bytes_max: ClassVar[int] = 16 * 1_048_576


router = APIRouter(prefix=PREFIX, tags=["traceability"], route_class=CaptureRoute)


class EpcisBody(BaseModel):
    """The events of a document, in EPCIS 2.0 JSON."""

    model_config = ConfigDict(extra="allow")

    eventList: list[dict[str, Any]]  # noqa: N815  # the standard's own name


class EpcisDocument(BaseModel):
    """An EPCIS 2.0 document (JSON or JSON-LD); its bytes are kept as received."""

    model_config = ConfigDict(extra="allow")

    type: Literal["EPCISDocument"]
    epcisBody: EpcisBody  # noqa: N815  # the standard's own name


class Capture(Body):
    """A document that is kept: the digest of its bytes, and the facts read out of it."""

    sha256: str = Field(pattern=SHA256_PATTERN)
    event_count: int = Field(ge=0)
    fact_ids: list[str]


@router.post("/captures", status_code=201, response_model=Capture)
def capture_document(
    document: EpcisDocument,
    who: Annotated[
        Principal,
        permission(May.CAPTURE, Role.PLATFORM, Role.SUPPLIER, Role.CDC, Role.HOSPITAL, Role.CLINIC),
    ],
    call: CallOf,
) -> Response:
    """Keep a document and record its facts; the same document again gives the same answer."""
    sha256 = hashlib.sha256(call.body).hexdigest()
    found = read_document(orjson.loads(call.body))
    _require_sites(call, who, found)
    stored = _stored(call, sha256, found)
    shown = {
        "sha256": sha256,
        "event_count": len(document.epcisBody.eventList),
        "fact_ids": [captured.fact_id for captured in found],
    }
    position = asof.last(call.deps)
    call.wait_for(position.ledger)
    headers = {"Location": f"{PREFIX}/captures/{sha256}", "Vaxtrail-Position": str(position)}
    return json_answer(shown, 201 if stored else 200, headers)


@router.get("/captures/{sha256}", response_model=EpcisDocument)
def read_capture(
    sha256: Annotated[str, Path(pattern=SHA256_PATTERN)],
    who: Annotated[Principal, permission(May.READ, Role.PLATFORM, Role.SUPPLIER, Role.CDC)],
    deps: DepsOf,
) -> Response:
    """Return a document as received."""
    kept = deps.ledger.stream(model.capture_stream(sha256))
    if not kept or not who.covers(kept[0].meta.region_code):
        raise NotFound("unknown_capture", sha256=sha256)
    event = kept[0].event
    content = event.document if isinstance(event, CaptureStored) else b""
    return Response(content, media_type="application/json")


def _require_sites(call: Call, who: Principal, found: Sequence[Captured]) -> None:
    """Refuse a document that states facts of sites out of region; unknown sites are recorded."""
    with call.deps.pool.connection() as conn:
        names = org_tree.names(conn, {captured.event.site_id for captured in found})
    for name in names.values():
        who.require_region(name.region)


def _stored(call: Call, sha256: str, found: Sequence[Captured]) -> bool:
    """Store the document and its facts; False when it is stored already."""
    stream, meta = model.capture_stream(sha256), call.meta()
    if call.deps.ledger.stream(stream):
        return False
    document = CaptureStored(sha256=sha256, document=call.body, event_count=len(found))
    envelopes = [Envelope(stream, 1, document, meta)]
    for version, captured in enumerate(found, start=2):
        happened = msgspec.structs.replace(meta, occurred_at=captured.occurred_at, source="capture")
        envelopes.append(Envelope(stream, version, captured.event, happened))
    try:
        call.deps.ledger.append(envelopes)
    except Conflict as error:
        if error.code != "version_conflict":
            raise
        return False  # the same document came twice at once
    return True
