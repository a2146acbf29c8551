"""Planned doses that were not given: refused, contra-indicated, or for another cause.

Stream: `vaccination.not_given` (not_given_id). Codes of refusals: bad_field, names_a_person,
not_a_pseudonym, bad_name, bad_text (Invalid); unknown_not_given (NotFound); already_registered,
already_withdrawn (Conflict).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never
from uuid import UUID

from domain.shared.decide import register
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.shared.pseudonyms import checked_id, checked_note
from domain.vaccination.events import DoseNotGiven, NotGivenWithdrawn
from domain.vaccination.rules import NOT_GIVEN_CAUSES

NotGivenEvent: TypeAlias = DoseNotGiven | NotGivenWithdrawn


@dataclass(frozen=True, slots=True)
class NotGiven:
    """What was told, and whether it was taken back."""

    told: DoseNotGiven
    withdrawn: NotGivenWithdrawn | None = None


def not_given_stream(not_given_id: str) -> UUID:
    """Return the stream of one dose that was not given."""
    return stream_id("vaccination.not_given", not_given_id)


def evolve(state: NotGiven | None, event: NotGivenEvent) -> NotGiven | None:
    """Return what is known after `event`."""
    match event:
        case DoseNotGiven():
            return NotGiven(event)
        case NotGivenWithdrawn():
            return state and replace(state, withdrawn=event)
        case _:
            assert_never(event)


def tell(state: NotGiven | None, *, told: DoseNotGiven) -> list[Event]:
    """Tell that a dose was not given; the same again (whatever the moment) changes nothing."""
    checked_id(told.not_given_id, "not_given_id")
    checked_note(told.note, "note")
    if told.cause not in NOT_GIVEN_CAUSES:
        raise Invalid("bad_field", field="cause", expected=NOT_GIVEN_CAUSES)
    known = state.told if state else None
    at = known.decided_at if known else told.decided_at
    return register(known, replace(told, decided_at=at))


def take_back(state: NotGiven | None, *, reason: str) -> list[Event]:
    """Declare that it was told wrongly; the same again changes nothing."""
    if state is None:
        raise NotFound("unknown_not_given")
    not_given_id = state.told.not_given_id
    wanted = NotGivenWithdrawn(
        not_given_id=not_given_id, reason=checked_note(reason, "reason", required=True)
    )
    if state.withdrawn == wanted:
        return []
    if state.withdrawn is not None:
        raise Conflict("already_withdrawn", fact_id=not_given_id)
    return [wanted]
