"""Inspections and legal holds: who may read for which case until when, which lots must stay.

Streams: `oversight.inspection` (key id: a key serves one case at a time), `oversight.legal_hold`
(lot id), `oversight.read` (one answer). Codes of refusals: bad_name, bad_text, names_a_person,
bad_region, bad_case_no, bad_until (Invalid); inspection_in_force (Conflict); unknown_inspection,
unknown_legal_hold (NotFound).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from uuid import UUID

from domain.oversight.events import (
    InspectionEnded,
    InspectionOpened,
    LegalHoldLifted,
    LegalHoldPlaced,
)
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import WHOLE_COUNTRY, checked_name, checked_region, stream_id
from domain.shared.pseudonyms import checked_note

# A case's number: letters of any script, digits and what stands between them (〔2026〕宁药监 3 号).
CASE_NO_PATTERN = r"^[^\s\x00-\x1f\x7f-\x9f/?#%][^\x00-\x1f\x7f-\x9f/?#%]{0,63}$"
_CASE_NO = re.compile(CASE_NO_PATTERN)
# Longer than any inquiry; what lasts longer is opened again.
VALID_DAYS_MAX = 366
LOTS_MAX = 100

InspectionEvent = InspectionOpened | InspectionEnded
LegalHoldEvent = LegalHoldPlaced | LegalHoldLifted
# The cases that hold a lot, each with what placed it.
LegalHolds = Mapping[str, LegalHoldPlaced]
NO_HOLDS: LegalHolds = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Inspection:
    """The newest inspection of a key, and whether it was ended before its time."""

    opened: InspectionOpened
    ended: bool = False

    def in_force(self, now: datetime) -> bool:
        """Tell whether it opens anything."""
        return not self.ended and now < self.opened.valid_until


def inspection_stream(key_id: str) -> UUID:
    """Return the stream of the inspections of a key."""
    return stream_id("oversight.inspection", key_id)


def read_stream(read_id: str) -> UUID:
    """Return the stream of one answer given under an inspection."""
    return stream_id("oversight.read", read_id)


def legal_hold_stream(lot_id: str) -> UUID:
    """Return the stream of the legal holds on a lot."""
    return stream_id("oversight.legal_hold", lot_id)


def evolve_inspection(state: Inspection | None, event: InspectionEvent) -> Inspection | None:
    """Return the newest inspection after `event`."""
    if isinstance(event, InspectionOpened):
        return Inspection(event)
    return state and Inspection(state.opened, ended=True)


def open_inspection(
    state: Inspection | None,
    *,
    now: datetime,
    inspection_id: str,
    key_id: str,
    case_no: str,
    region_code: str,
    lot_ids: tuple[str, ...],
    valid_until: datetime,
    grounds: str,
) -> list[Event]:
    """Let a key read for a case; Conflict("inspection_in_force") while it serves another."""
    if region_code != WHOLE_COUNTRY:
        checked_region(region_code)
    if not now < valid_until <= now + timedelta(days=VALID_DAYS_MAX):
        raise Invalid("bad_until", field="valid_until", max_days=VALID_DAYS_MAX)
    if len(lot_ids) > LOTS_MAX:
        raise Invalid("bad_field", field="lot_ids")
    if state and state.in_force(now):
        raise Conflict("inspection_in_force", case_no=state.opened.case_no)
    return [
        InspectionOpened(
            inspection_id=checked_name(inspection_id, "inspection_id"),
            key_id=checked_name(key_id, "key_id"),
            case_no=checked_case_no(case_no),
            region_code=region_code,
            lot_ids=tuple(sorted(set(lot_ids))),
            valid_until=valid_until,
            grounds=checked_note(grounds, "grounds", required=True),
        )
    ]


def end_inspection(
    state: Inspection | None, *, now: datetime, inspection_id: str, reason: str
) -> list[Event]:
    """End an inspection before its time; nothing happens when it is over already."""
    if state is None or state.opened.inspection_id != inspection_id:
        raise NotFound("unknown_inspection")
    checked_note(reason, "reason", required=True)
    if not state.in_force(now):
        return []
    key_id = state.opened.key_id
    return [InspectionEnded(inspection_id=inspection_id, key_id=key_id, reason=reason)]


def evolve_legal_holds(state: LegalHolds, event: LegalHoldEvent) -> LegalHolds:
    """Return the holds on a lot after `event`."""
    others = {case_no: placed for case_no, placed in state.items() if case_no != event.case_no}
    if isinstance(event, LegalHoldPlaced):
        others[event.case_no] = event
    return others


def place_legal_hold(state: LegalHolds, *, lot_id: str, case_no: str, grounds: str) -> list[Event]:
    """Hold what is known of a lot for a case; the same case again changes nothing."""
    text = checked_note(grounds, "grounds", required=True)
    if checked_case_no(case_no) in state:
        return []
    return [LegalHoldPlaced(lot_id=lot_id, case_no=case_no, grounds=text)]


def lift_legal_hold(state: LegalHolds, *, lot_id: str, case_no: str, grounds: str) -> list[Event]:
    """Lift the hold of a case; NotFound("unknown_legal_hold") where it holds nothing."""
    text = checked_note(grounds, "grounds", required=True)
    if case_no not in state:
        raise NotFound("unknown_legal_hold", lot_id=lot_id, case_no=case_no)
    return [LegalHoldLifted(lot_id=lot_id, case_no=case_no, grounds=text)]


def checked_case_no(value: str) -> str:
    """Return the number of a case; Invalid("bad_case_no") otherwise."""
    if not _CASE_NO.fullmatch(value):
        raise Invalid("bad_case_no", field="case_no")
    return value
