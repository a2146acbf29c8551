"""What people do with exceptions, and excursions that the readings confirm.

An exception itself is no event: it follows from facts. Closing and assigning are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from domain.shared.errors import Conflict, Invalid
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.traceability.events import ExceptionAssigned, ExceptionClosed, ExcursionConfirmed
from domain.traceability.kinds import Kind
from domain.traceability.pseudonyms import checked_note
from domain.traceability.thermal import Excursion


class Resolution(StrEnum):
    """How a person settled an exception."""

    CORRECTED = "corrected"  # the record was put right
    FOUND = "found"  # the goods turned up
    DISPOSED = "disposed"  # the goods were returned, destroyed or taken out of use
    RELEASED = "released"  # a quality decision: fit for use
    FOLLOWED_UP = "followed_up"  # the person who was given the dose is looked after
    FALSE_ALARM = "false_alarm"
    OTHER = "other"


def case_id_of(kind: Kind, key: str) -> str:
    """Return the id of a case: it follows from its kind and key, whenever it is found."""
    return str(case_stream_of(kind, key))


def case_stream_of(kind: Kind, key: str) -> UUID:
    """Return the stream of what people did with a case."""
    return stream_id("traceability.exception", f"{kind.value}:{key}")


def excursion_stream(device_id: str, start_ms: int) -> UUID:
    """Return the stream of one excursion of a device."""
    return stream_id("traceability.excursion", f"{device_id}@{start_ms}")


def evolve_case(
    acts: tuple[Event, ...], event: ExceptionClosed | ExceptionAssigned
) -> tuple[Event, ...]:
    """Return what was done with a case so far."""
    return (*acts, event)


def close(
    acts: tuple[Event, ...],
    *,
    is_open: bool,
    closings: int,
    case_id: str,
    kind: str,
    codes: Sequence[str],
    fact_ids: Sequence[str],
    resolution: str,
    reason: str,
) -> list[Event]:
    """Close a case with grounds: Conflict("case_not_open"), Invalid("bad_field").

    `is_open` is what the read model knows, `closings` how many closings it knew then: a case that
    was closed since is closed once.
    """
    closed = sum(isinstance(act, ExceptionClosed) for act in acts)
    if not is_open or closed > closings:
        raise Conflict("case_not_open", case_id=case_id)
    if resolution not in set(Resolution):
        raise Invalid("bad_field", field="resolution")
    return [
        ExceptionClosed(
            case_id=case_id,
            kind=kind,
            codes=tuple(codes),
            fact_ids=tuple(fact_ids),
            resolution=resolution,
            reason=checked_note(reason, "reason", required=True),
        )
    ]


def assign(
    acts: tuple[Event, ...], *, case_id: str, kind: str, org_code: str, reason: str
) -> list[Event]:
    """Give a case to another organisation; the one that has it already changes nothing."""
    given = [act for act in acts if isinstance(act, ExceptionAssigned)]
    if given and given[-1].org_code == org_code:
        return []
    text = checked_note(reason, "reason", required=True)
    return [ExceptionAssigned(case_id=case_id, kind=kind, org_code=org_code, reason=text)]


def confirm(known: ExcursionConfirmed | None, *, excursion: Excursion) -> list[Event]:
    """Put an excursion on record; the same again changes nothing, a later end adds to it."""
    wanted = ExcursionConfirmed(
        device_id=excursion.device_id,
        unit_id=excursion.unit_id,
        site_id=excursion.site_id,
        started_at=_time(excursion.start_ms),
        ended_at=_time(excursion.end_ms),
        limit_c=excursion.limit_c,
        peak_c=excursion.peak_c,
    )
    return [] if known == wanted else [wanted]


def evolve_excursion(
    _known: ExcursionConfirmed | None, event: ExcursionConfirmed
) -> ExcursionConfirmed:
    """Return what was last said of an excursion."""
    return event


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
