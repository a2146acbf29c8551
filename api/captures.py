"""EPCIS documents over HTTP: kept as received, and the facts read out of them.

A document is taken whole or refused whole. Each of its facts has a stream of its own, under its id:
an id that stands for something else already is a conflict, whoever told it first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import msgspec
import orjson
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from api import asof, facts
from api.auth import Principal, permission
from api.commands import Call, CallOf
from api.deps import DepsOf
from api.routing import PREFIX, ModuleRoute, json_answer
from api.schemas import Body
from domain.shared.errors import Busy, Conflict, DomainError, Invalid, NotFound
from domain.shared.roles import Role
from domain.traceability import model
from domain.traceability.epcis import Captured, read_document
from domain.traceability.events import CaptureStored, FactWithdrawn
from domain.traceability.facts import FactEvent
from domain.traceability.times import check_time
from store.commands import ATTEMPTS_MAX
from store.envelope import Envelope, Meta

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
    tell of other places too. A refusal names `event_index` (from 0) and `event_id`.
    """
    sha256 = hashlib.sha256(call.body).hexdigest()
    found = read_document(orjson.loads(call.body))
    regions = {site: facts.site_region(call.deps, site) for site in _sites(found)}
    if not call.deps.ledger.stream(model.capture_stream(sha256)):
        found = [_allowed(call, who, captured, regions) for captured in found]
        stored = _stored(call, sha256, found, regions)
    else:
        _require_regions(who, found, regions)
        stored = False
    shown = {
        "sha256": sha256,
        "event_count": len(document.epcisBody.eventList),
        "fact_ids": [captured.fact_id for captured in found],
        "warnings": [
            facts.caution("unknown_site", "readPoint", site)
            for site, region in regions.items()
            if region is None
        ],
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


Regions = dict[str, str | None]


def _sites(found: Sequence[Captured]) -> list[str]:
    return sorted({captured.event.site_id for captured in found})


@contextmanager
def _naming(captured: Captured) -> Iterator[None]:
    """Let a refusal name the event of the document that it is about."""
    try:
        yield
    except DomainError as error:
        place = {"event_index": captured.event_index, "event_id": captured.fact_id}
        raise type(error)(error.code, **error.facts, **place) from error


def _require_regions(who: Principal, found: Sequence[Captured], regions: Regions) -> None:
    """Refuse facts of sites out of region, and of unknown sites but for the whole country."""
    for captured in found:
        site_id = captured.event.site_id
        with _naming(captured):
            region = regions[site_id]
            if region is not None:
                who.require_region(region)
            elif who.region_prefix:
                raise Invalid("unknown_site", field="readPoint", site_id=site_id)


def _allowed(call: Call, who: Principal, captured: Captured, regions: Regions) -> Captured:
    """Return what may be recorded for this caller, or refuse the document."""
    event, now = captured.event, call.deps.clock.now()
    _require_regions(who, [captured], regions)
    with _naming(captured):
        if not isinstance(event, FactWithdrawn):
            check_time(captured.occurred_at, now, "eventTime")
            model.checked_fact_id(event.fact_id)
            facts.require_authority(call.deps, who, event)
            return captured
        check_time(captured.occurred_at, now, "declarationTime")
        known = facts.require_withdrawable(call.deps, who, event.fact_id)
    if known is None or known.event.site_id == event.site_id:
        return captured  # of a fact not known yet: it will hold for one of this site only
    return captured._replace(event=replace(event, fact_site_id=known.event.site_id))


def _stored(call: Call, sha256: str, found: Sequence[Captured], regions: Regions) -> bool:
    """Store the document and its facts; False when it is stored already.

    The ids of a new document are new, as a rule: they are looked up only when one was not.
    Conflict("fact_differs") for an id that stands for something else.
    """
    stream = model.capture_stream(sha256)
    document = CaptureStored(sha256=sha256, document=call.body, event_count=len(found))
    kept = Envelope(stream, 1, document, call.meta())
    for attempt in range(ATTEMPTS_MAX):
        streams = _Streams(call, cause=kept.event_id, looking=attempt > 0)
        for captured in found:
            with _naming(captured):
                streams.add(captured, regions[captured.event.site_id])
        try:
            call.deps.ledger.append([kept, *streams.new])
        except Conflict as error:
            if error.code != "version_conflict":
                raise
        else:
            return True
        if call.deps.ledger.stream(stream):
            return False  # the same document came twice at once
    raise Busy("busy")


@dataclass(slots=True)
class _Streams:
    """The streams of a document's facts, and what is new in them."""

    call: Call
    cause: str
    looking: bool
    new: list[Envelope] = field(default_factory=list)
    known: dict[UUID, list[Envelope]] = field(default_factory=dict)

    def add(self, captured: Captured, region_code: str | None) -> None:
        """Add one fact or declaration, unless the very same is there."""
        event = captured.event
        stream = model.scan_stream(event.fact_id)
        if stream not in self.known:
            look = self.looking or isinstance(event, FactWithdrawn)
            self.known[stream] = self.call.deps.ledger.stream(stream) if look else []
        envelopes = self.known[stream]
        if any(_same(kept, captured) for kept in envelopes):
            return
        told = any(isinstance(kept.event, FactEvent) for kept in envelopes)
        if told and not isinstance(event, FactWithdrawn):
            raise Conflict("fact_differs", fact_id=event.fact_id)
        version = envelopes[-1].originator_version + 1 if envelopes else 1
        envelope = Envelope(stream, version, event, self._meta(captured, region_code))
        envelopes.append(envelope)
        self.new.append(envelope)

    def _meta(self, captured: Captured, region_code: str | None) -> Meta:
        return msgspec.structs.replace(
            self.call.meta(region_code=region_code or ""),
            occurred_at=captured.occurred_at,
            causation_id=self.cause,
            source="capture",
        )


def _same(kept: Envelope, captured: Captured) -> bool:
    return kept.event == captured.event and kept.meta.occurred_at == captured.occurred_at
