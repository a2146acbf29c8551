"""Capture: documents by jobs that are done when they are answered, single events at once.

A job is named by the region, the bytes and what is asked for errors, so the same document again is
the same job: what it took is not taken again, what failed is tried again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import orjson
from fastapi import Header, Request, Response

from api.auth import OVERSIGHT, Principal, permission
from api.commands import Call, CallOf
from api.deps import Deps, DepsOf
from api.epcis import problems
from api.epcis.paging import is_position, page_of, parameters_of, query_router
from api.epcis.routing import EVENTS_MAX, May
from api.epcis.taking import Item, Taking
from api.epcis.validation import check_document, check_event, hasher, remarks_on, told
from api.errors import wants_english
from api.routing import json_answer
from domain.epcis import model
from domain.epcis.document import event_id_of, events_of, hash_uri
from domain.epcis.events import CaptureEnded, EventProblem
from domain.shared.decide import fold
from domain.shared.errors import Invalid, NotFound
from domain.shared.roles import Role
from domain.traceability.events import CaptureStored
from domain.traceability.model import capture_stream
from projections import epcis as read
from store.envelope import Envelope

router = query_router()

# What is wrong with an event and is no fault of the event's form.
_STATUS = {"fact_differs": 409, "not_permitted": 403, "out_of_scope": 403, "unknown_fact": 404}
# Seconds that the answer to a single event waits for the read models, so that it can be asked for.
WAIT_S = 2

Capturer = Annotated[
    Principal,
    permission(May.CAPTURE, Role.PLATFORM, Role.SUPPLIER, Role.CDC, Role.HOSPITAL, Role.CLINIC),
]
# Who sees what became of documents of its region.
Tracker = Annotated[
    Principal, permission(May.TRACK, *OVERSIGHT, Role.SUPPLIER, Role.HOSPITAL, Role.CLINIC)
]


@router.post("/capture", status_code=202)
def capture(
    who: Capturer,
    call: CallOf,
    gs1_capture_error_behaviour: Annotated[str, Header()] = "rollback",
) -> Response:
    """Capture a document: all of its events or none (rollback), or as many as can be (proceed)."""
    behaviour = gs1_capture_error_behaviour
    if behaviour not in model.BEHAVIOURS:
        expected = ", ".join(model.BEHAVIOURS)
        raise Invalid("bad_behaviour", field="GS1-Capture-Error-Behaviour", expected=expected)
    began = call.deps.clock.now()
    sha256 = hashlib.sha256(call.body).hexdigest()
    capture_id = model.capture_id_of(who.region_code, behaviour, sha256)
    earlier = _job(call.deps, capture_id)
    if earlier is None or not earlier[0].success:
        taking = Taking(call, who, sha256, _items(call, behaviour))
        taking.read()
        job = {"capture_id": capture_id, "behaviour": behaviour, "began_at": began}
        whole = behaviour == "rollback"
        taking.take(call.body, whole=whole, job=lambda: _ended(call, taking, job, whole))
    call.wait_for(call.deps.ledger.last_position())
    headers = {
        "Location": f"{problems.PATH}/capture/{capture_id}",
        "GS1-Capture-Error-Behaviour": behaviour,
    }
    return Response(status_code=202, headers=headers)


@router.get("/capture")
def list_captures(request: Request, who: Tracker, deps: DepsOf) -> Response:
    """List the capture jobs, newest first."""
    with deps.pool.connection() as conn:
        page = page_of(request, parameters_of(request, only_controls=True), deps, conn)
        (before,) = page.key(is_position) or [page.position + 1]
        found = read.jobs(conn, region=who.region_prefix, before=before, limit=page.limit + 1)
    shown = [
        _shown(job.capture_id, job.began_at, job.ended_at, job.success, job.behaviour)
        for job in found[: page.limit]
    ]
    last = [found[page.limit - 1].position] if len(found) > page.limit else None
    return json_answer(shown, headers=page.links(last))


@router.get("/capture/{capture_id}")
def read_capture_job(capture_id: str, request: Request, who: Tracker, deps: DepsOf) -> Response:
    """Return a capture job with what is wrong, and a receipt of each event with its hash."""
    parameters_of(request, only_controls=True)
    ended, kept = require_job(deps, who, capture_id)
    shown = _shown(
        capture_id, ended.began_at, kept.meta.recorded_at, ended.success, ended.behaviour
    )
    english = wants_english(request.headers.get("accept-language", ""))
    errors = [_error(problem, english=english) for problem in ended.refused]
    receipts = sorted(_receipts(deps, ended, kept), key=lambda receipt: receipt["eventIndex"])
    return json_answer({**shown, "errors": errors, "receipts": receipts})


def require_job(deps: Deps, who: Principal, capture_id: str) -> tuple[CaptureEnded, Envelope]:
    """Return a job and its envelope; NotFound("unknown_capture_job") for one out of region."""
    found = _job(deps, capture_id)
    if found is None or not who.covers(found[1].meta.region_code):
        raise NotFound("unknown_capture_job", capture_id=capture_id[:64])
    return found


@router.post("/events", status_code=201)
def capture_event(who: Capturer, call: CallOf) -> Response:
    """Capture a single event at once; the very same again changes nothing."""
    event = _loaded(call.body)
    if event.get("type") in {"EPCISDocument", "EPCISQueryDocument"}:
        raise Invalid("epcis_not_one_event")
    _refuse([*check_document(event), *check_event(event, 0)])
    item = Item(0, event, hasher(event)(event))
    taking = Taking(call, who, hashlib.sha256(call.body).hexdigest(), [item], raising=True)
    taking.read()
    taking.take(call.body)
    position = call.deps.ledger.last_position()
    call.wait_for(position, WAIT_S)
    where = f"{problems.PATH}/events/{quote(item.event_id, safe='')}"
    return Response(status_code=201, headers={"Location": where})


def _items(call: Call, behaviour: str) -> list[Item]:
    """Return the events of a document, those refused that are none; Invalid as ValidationException.

    Where all or nothing is asked for, one event that is none makes the document none.
    """
    document = _loaded(call.body)
    if document.get("type") != "EPCISDocument":
        raise Invalid("epcis_not_a_document")
    _refuse(check_document(document))
    events = events_of(document)
    if len(events) > EVENTS_MAX:
        raise Invalid("epcis_too_many_events", max=EVENTS_MAX)
    wrong = {n: found for n, event in enumerate(events) if (found := check_event(event, n))}
    if behaviour == "rollback":
        _refuse(problem for found in wrong.values() for problem in found)
    items, hashed = [], hasher(document)
    for n, event in enumerate(events):
        item = Item(n, event, "" if n in wrong else hashed(event))
        item.refused = wrong[n][0] if n in wrong else None
        item.remarks = [] if item.refused else remarks_on(event, n)
        items.append(item)
    return items


def _loaded(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid("malformed_json") from error
    if not isinstance(document, dict):
        raise Invalid("epcis_not_a_document")
    return document


def _refuse(found: Iterable[EventProblem]) -> None:
    """Refuse a document for what is wrong with it: the first is said, all are listed."""
    listed = list(found)
    if listed:
        first = listed[0]
        place = {"event_index": first.index, "event_id": first.event_id, "path": first.path}
        raise Invalid(first.code, **first.facts, **place, problems=[told(one) for one in listed])


def _ended(call: Call, taking: Taking, job: Mapping[str, Any], whole: bool) -> Envelope:
    """Return the end of a job as its events stand."""
    items, known = taking.items, taking.known()
    refused = tuple(item.refused for item in items if item.refused is not None)
    taken = 0 if refused and whole else len(items) - len(known) - len(refused)
    event = CaptureEnded(
        **job,
        sha256=taking.sha256,
        event_count=len(items),
        captured_count=taken,
        known=known,
        refused=refused,
        remarks=tuple(one for item in items if not item.refused for one in item.remarks),
    )
    stream = model.capture_stream(event.capture_id)
    version = len(call.deps.ledger.stream(stream)) + 1
    return Envelope(stream, version, event, call.meta())


def _job(deps: Deps, capture_id: str) -> tuple[CaptureEnded, Envelope] | None:
    """Return the newest attempt of a job and its envelope."""
    envelopes = deps.ledger.stream(model.capture_stream(capture_id))
    ended = fold(model.evolve_capture, None, (kept.event for kept in envelopes))
    return None if ended is None else (ended, envelopes[-1])


def _shown(
    capture_id: str, began: datetime, ended: datetime, success: bool, behaviour: str
) -> dict[str, Any]:
    return {
        "captureID": capture_id,
        "createdAt": began,
        "finishedAt": ended,
        "running": False,  # the job is done when it is answered
        "success": success,
        "captureErrorBehaviour": behaviour,
        "errors": [],
    }


def _error(problem: EventProblem, *, english: bool) -> dict[str, Any]:
    """Return what is wrong with an event as a problem of EPCIS."""
    shown = told(problem)
    status = _STATUS.get(problem.code, 400)
    title = shown["title_en" if english else "title_zh"]
    return {
        "type": problems.kind_of(problem.code, status),
        "title": title,
        "status": status,
        **shown,
    }


def _receipts(deps: Deps, ended: CaptureEnded, kept: Envelope) -> list[dict[str, Any]]:
    """Return what became of each event: captured, known, refused or rolled back; with its hash."""
    remarks: dict[int | None, list[EventProblem]] = {}
    for problem in ended.remarks:
        remarks.setdefault(problem.index, []).append(problem)
    shown = [
        _receipt(known.index, known.event_id, known.hash, "known", remarks.get(known.index, []))
        for known in ended.known
    ]
    shown += [
        _receipt(problem.index, problem.event_id, "", "refused", [problem])
        for problem in ended.refused
    ]
    for envelope in deps.ledger.stream(capture_stream(ended.sha256)):
        stored = envelope.event
        if isinstance(stored, CaptureStored) and envelope.meta.causation_id == kept.event_id:
            events = events_of(orjson.loads(stored.document))
            for index, digest in zip(stored.indexes, stored.hashes, strict=True):
                event_id = event_id_of(events[index], digest)
                said = remarks.get(index, [])
                shown.append(_receipt(index, event_id, digest, "captured", said))
    told_of = {receipt["eventIndex"] for receipt in shown}
    others = (n for n in range(ended.event_count) if n not in told_of)
    return shown + [_receipt(n, "", "", "rolled_back", []) for n in others]


def _receipt(
    index: int | None, event_id: str, digest: str, status: str, remarks: Sequence[EventProblem]
) -> dict[str, Any]:
    return {
        "eventIndex": index,
        "eventID": event_id or None,
        "eventHash": hash_uri(digest) if digest else None,
        "status": status,
        "remarks": [told(remark) for remark in remarks],
    }
