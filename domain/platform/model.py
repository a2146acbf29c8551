"""Where an upload stands, and what may happen to it.

(nothing) -> submitted -> accepted | rejected; both can be resubmitted, the rejected be settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from domain.platform.events import (
    UploadAccepted,
    UploadRejected,
    UploadResubmitted,
    UploadSettled,
    UploadSubmitted,
)
from domain.shared.errors import Conflict, NotFound
from domain.shared.ids import stream_id
from domain.shared.pseudonyms import checked_note

# What the platform may answer (others: no answer). The first two mean that it has the upload.
OK, DUPLICATE = "ok", "duplicate_bill"
REFUSALS = frozenset({"partner_missing", "not_found", "failed"})
# Our own reason for a work item: what was told is no longer so.
WITHDRAWN = "fact_withdrawn"

UploadEvent = UploadSubmitted | UploadAccepted | UploadRejected | UploadResubmitted | UploadSettled


class Stage(StrEnum):
    """Where an upload stands; `waiting`, `withdrawn` (never sent) are before its first event."""

    WAITING = "waiting"
    WITHDRAWN = "withdrawn"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class State:
    """An upload that was sent; `round` as in UploadResubmitted, 0 at first."""

    upload_id: str
    platform: str
    stage: Stage
    round: int = 0


def upload_stream(platform: str, upload_id: str) -> UUID:
    """Return the stream of an upload."""
    return stream_id("platform.upload", platform, upload_id)


def request_id(upload_id: str, round_: int) -> str:
    """Return the id of a request: the same for every attempt of one round."""
    return f"{upload_id}.{round_}"


def evolve(state: State | None, event: UploadEvent) -> State:
    """Return the state after an event."""
    match event:
        case UploadSubmitted():
            return State(event.upload_id, event.platform, Stage.SUBMITTED)
        case UploadAccepted():
            return _at(state, event, Stage.ACCEPTED)
        case UploadRejected():
            return _at(state, event, Stage.REJECTED)
        case UploadResubmitted():
            return replace(_at(state, event, Stage.SUBMITTED), round=event.round)
        case UploadSettled():
            return _at(state, event, Stage.SETTLED)
    assert_never(event)


def _at(state: State | None, event: UploadEvent, stage: Stage) -> State:
    begun = state or State(event.upload_id, event.platform, stage)
    return replace(begun, stage=stage)


def submit(state: State | None, wanted: UploadSubmitted) -> Sequence[UploadEvent]:
    """Send for the first time; nothing when it was sent before."""
    return [wanted] if state is None else []


def accept(state: State | None, answer: str) -> Sequence[UploadEvent]:
    """Record that the platform has it."""
    begun = _begun(state)
    if begun.stage is not Stage.SUBMITTED:
        return []
    return [UploadAccepted(upload_id=begun.upload_id, platform=begun.platform, answer=answer)]


def reject(state: State | None, answer: str, reason: str) -> Sequence[UploadEvent]:
    """Record that it was refused, or is no longer so: a person must look at it."""
    begun = _begun(state)
    if begun.stage in {Stage.REJECTED, Stage.SETTLED}:
        return []
    return [
        UploadRejected(
            upload_id=begun.upload_id, platform=begun.platform, answer=answer, reason=reason
        )
    ]


def resubmit(state: State | None, reason: str) -> Sequence[UploadEvent]:
    """Send anew what was rejected, or what the platform lost.

    Conflict("upload_under_way") when it waits for its answer or was settled.
    """
    begun = _begun(state)
    if begun.stage not in {Stage.REJECTED, Stage.ACCEPTED}:
        raise Conflict("upload_under_way", upload_id=begun.upload_id, state=begun.stage.value)
    return [
        UploadResubmitted(
            upload_id=begun.upload_id,
            platform=begun.platform,
            round=begun.round + 1,
            reason=checked_note(reason, "reason", required=True),
        )
    ]


def settle(state: State | None, reason: str) -> Sequence[UploadEvent]:
    """Close a rejected upload that was put right otherwise; Conflict("upload_not_rejected")."""
    begun = _begun(state)
    if begun.stage is Stage.SETTLED:
        return []
    if begun.stage is not Stage.REJECTED:
        raise Conflict("upload_not_rejected", upload_id=begun.upload_id)
    told = checked_note(reason, "reason", required=True)
    return [UploadSettled(upload_id=begun.upload_id, platform=begun.platform, reason=told)]


def _begun(state: State | None) -> State:
    if state is None:
        raise NotFound("unknown_upload")
    return state
