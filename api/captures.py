"""EPCIS documents over HTTP: kept as received, and the facts read out of them.

A document is taken whole or refused whole. What stands behind is the same as at `/epcis/capture`.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import orjson
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from api import asof, facts
from api.auth import Principal, permission
from api.commands import CallOf
from api.deps import DepsOf
from api.epcis.taking import Item, Taking
from api.epcis.validation import hasher
from api.routing import PREFIX, ModuleRoute, json_answer
from api.schemas import Body
from domain.epcis.document import events_of
from domain.shared.errors import NotFound
from domain.shared.roles import Role
from domain.traceability import model
from domain.traceability.events import CaptureStored

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
    """A document that is kept: the digest of its bytes, and the facts read out of it.

    `warnings`: what may be a slip, as places that nobody registered.
    """

    sha256: str = Field(pattern=SHA256_PATTERN)
    event_count: int = Field(ge=0)
    fact_ids: list[str]
    warnings: list[facts.Caution]


@router.post("/captures", status_code=201, response_model=Capture)
def capture_document(
    document: EpcisDocument,
    who: Annotated[
        Principal,
        permission(May.CAPTURE, Role.PLATFORM, Role.SUPPLIER, Role.CDC, Role.HOSPITAL, Role.CLINIC),
    ],
    call: CallOf,
) -> Response:
    """Keep a document and record its facts; the same document again gives the same answer.

    The facts must lie at registered sites of the caller's region; a key for the whole country may
    tell of other places too. A refusal names `event_index` (from 0) and `event_id`. What says
    nothing of custody is refused here and taken at `/epcis/capture`.
    """
    sha256 = hashlib.sha256(call.body).hexdigest()
    whole = orjson.loads(call.body)
    hashed = hasher(whole)
    items = [Item(n, event, hashed(event)) for n, event in enumerate(events_of(whole))]
    taking = Taking(call, who, sha256, items, raising=True, strict=True)
    stored = call.deps.ledger.stream(model.capture_stream(sha256))
    taking.read(again=bool(stored))
    if not stored:
        taking.take(call.body)
    shown = {
        "sha256": sha256,
        "event_count": len(document.epcisBody.eventList),
        "fact_ids": [captured.fact_id for item in items for captured in item.captured],
        "warnings": [
            facts.caution("unknown_site", "readPoint", site)
            for site, region in sorted(taking.regions.items())
            if region is None
        ],
    }
    position = asof.last(call.deps)
    call.wait_for(position.ledger)
    headers = {"Location": f"{PREFIX}/captures/{sha256}", "Vaxtrail-Position": str(position)}
    return json_answer(shown, 200 if stored else 201, headers)


@router.get("/captures/{sha256}", response_model=EpcisDocument)
def read_capture(
    sha256: Annotated[str, Path(pattern=SHA256_PATTERN)],
    who: Annotated[Principal, permission(May.READ, Role.PLATFORM, Role.SUPPLIER, Role.CDC)],
    deps: DepsOf,
) -> Response:
    """Return a document as received."""
    kept = deps.ledger.stream(model.capture_stream(sha256))
    if not any(who.covers(stored.meta.region_code) for stored in kept):
        raise NotFound("unknown_capture", sha256=sha256)
    event = kept[0].event
    content = event.document if isinstance(event, CaptureStored) else b""
    return Response(content, media_type="application/json")
