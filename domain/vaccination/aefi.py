"""Suspected adverse events after doses, and clusters of them by lot.

Streams: `vaccination.aefi` (aefi_id) holds a report and what followed; `vaccination.aefi_lot`
(lot_id) counts the reports of a lot, in the same transaction, so that none is counted twice or
missed. Codes of refusals: unknown_sign, bad_onset, bad_field, names_a_person (Invalid);
unknown_aefi (NotFound); already_registered, aefi_closed (Conflict).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias, assert_never
from uuid import UUID

from domain.shared.decide import register
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.shared.pseudonyms import checked_id, checked_note
from domain.vaccination.events import (
    AefiClassified,
    AefiClusterFound,
    AefiCounted,
    AefiFollowedUp,
    AefiReported,
)
from domain.vaccination.rules import CAUSES, OUTCOMES, SIGNS, rules_at

AefiEvent: TypeAlias = AefiReported | AefiFollowedUp | AefiClassified
LotEvent: TypeAlias = AefiCounted | AefiClusterFound


@dataclass(frozen=True, slots=True)
class Aefi:
    """A report and what followed."""

    reported: AefiReported
    followed: tuple[AefiFollowedUp, ...] = ()
    classified: AefiClassified | None = None

    @property
    def serious(self) -> bool:
        """Tell whether it is serious, or became so."""
        return self.reported.serious or any(each.serious for each in self.followed)


@dataclass(frozen=True, slots=True)
class Lot:
    """The reports of a lot by id, and the reports that clusters were told of."""

    counted: tuple[AefiCounted, ...] = ()
    told: frozenset[str] = frozenset()
    clusters: int = 0


def aefi_stream(aefi_id: str) -> UUID:
    """Return the stream of a report."""
    return stream_id("vaccination.aefi", aefi_id)


def lot_stream(lot_id: str) -> UUID:
    """Return the stream that counts a lot's reports."""
    return stream_id("vaccination.aefi_lot", lot_id)


def evolve(state: Aefi | None, event: AefiEvent) -> Aefi | None:
    """Return the report after `event`."""
    match event:
        case AefiReported():
            return Aefi(event)
        case AefiFollowedUp():
            return state and replace(state, followed=(*state.followed, event))
        case AefiClassified():
            return state and replace(state, classified=event)
        case _:
            assert_never(event)


def evolve_lot(state: Lot, event: LotEvent) -> Lot:
    """Return the lot's reports after `event`."""
    match event:
        case AefiCounted():
            others = tuple(c for c in state.counted if c.aefi_id != event.aefi_id)
            return replace(state, counted=(*others, event))
        case AefiClusterFound():
            told = state.told | set(event.aefi_ids)
            return replace(state, told=told, clusters=state.clusters + 1)
        case _:
            assert_never(event)


def report(
    state: Aefi | None, *, reported: AefiReported, given_at: datetime, now: datetime
) -> list[Event]:
    """Report what was seen after a dose given at `given_at`; the same again changes nothing."""
    checked_id(reported.aefi_id, "aefi_id")
    checked_note(reported.note, "note")
    if not reported.signs or not set(reported.signs) <= set(SIGNS):
        raise Invalid("unknown_sign", field="signs", expected=SIGNS)
    if not given_at <= reported.onset_at <= now:
        raise Invalid("bad_onset", field="onset_at")
    return register(state.reported if state else None, reported)


def follow_up(
    state: Aefi | None, *, followed_at: datetime, serious: bool, outcome: str, note: str = ""
) -> list[Event]:
    """Add how it went on; the same again changes nothing."""
    known = _open(state)
    if outcome not in OUTCOMES:
        raise Invalid("bad_field", field="outcome", expected=OUTCOMES)
    followed = AefiFollowedUp(
        aefi_id=known.reported.aefi_id,
        followed_at=followed_at,
        serious=serious,
        outcome=outcome,
        note=checked_note(note, "note"),
    )
    return [] if followed in known.followed else [followed]


def classify(state: Aefi | None, *, cause: str, note: str = "") -> list[Event]:
    """Close a report with the cause that the experts found."""
    if cause not in CAUSES:
        raise Invalid("bad_field", field="cause", expected=CAUSES)
    told = checked_note(note, "note")
    known = None if state is None else state.classified
    if known is not None and (known.cause, known.note) == (cause, told):
        return []
    return [AefiClassified(aefi_id=_open(state).reported.aefi_id, cause=cause, note=told)]


def count(state: Lot, *, counted: AefiCounted) -> list[Event]:
    """Count a report for its lot, and tell of a cluster that it completes.

    A cluster is told of when it holds a report that no cluster told of held: a growing one is told
    of again only as it reaches the limit with new reports.
    """
    if any(known == counted for known in state.counted):
        return []
    cluster = _cluster(evolve_lot(state, counted), counted)
    return [counted, cluster] if cluster else [counted]


def _cluster(state: Lot, counted: AefiCounted) -> AefiClusterFound | None:
    rules = rules_at(counted.onset_at)
    window = timedelta(days=rules.cluster_days)
    near = sorted(state.counted, key=lambda c: (c.onset_at, c.aefi_id))
    for first in near:
        inside = [c for c in near if first.onset_at <= c.onset_at < first.onset_at + window]
        if counted not in inside:
            continue
        told = {_dose(c) for c in state.counted if c.aefi_id in state.told}
        for found, limit in (
            (inside, rules.cluster_cases),
            ([c for c in inside if c.serious], rules.cluster_serious),
        ):
            if len({_dose(c) for c in found} - told) >= limit:
                return _found(state, found, limit, counted)
    return None


def _dose(counted: AefiCounted) -> str:
    """Return what stands for a person's dose: two reports of one are one case."""
    return counted.fact_id or f"aefi:{counted.aefi_id}"


def _found(
    state: Lot, found: Sequence[AefiCounted], limit: int, counted: AefiCounted
) -> AefiClusterFound:
    rules = rules_at(counted.onset_at)
    return AefiClusterFound(
        cluster_id=str(stream_id("vaccination.cluster", counted.lot_id, state.clusters + 1)),
        lot_id=counted.lot_id,
        aefi_ids=tuple(c.aefi_id for c in found),
        region_codes=tuple(sorted({c.region_code for c in found})),
        serious=sum(c.serious for c in found),
        first_onset_at=found[0].onset_at,
        last_onset_at=found[-1].onset_at,
        limit=limit,
        window_days=rules.cluster_days,
        rule_from=rules.valid_from,
    )


def _open(state: Aefi | None) -> Aefi:
    if state is None:
        raise NotFound("unknown_aefi")
    if state.classified is not None:
        raise Conflict("aefi_closed", aefi_id=state.reported.aefi_id)
    return state
