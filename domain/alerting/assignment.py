"""Which rules a unit is judged by: those of its storage profile, unless others are assigned.

An assignment is dated and of a unit or of a site; that of the unit goes first. What was judged
stays so: it begins no earlier than now. A unit with assignments has versions of its own: each
change of profile counts a million on, so that they ascend and name the version of the profile.

Stream: `alerting.assignment` (scope, subject_id). Codes of refusals: naive_time,
rules_backdated, unknown_rules (Invalid); rules_not_later (Conflict).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeAlias
from uuid import UUID

from domain.alerting.assignment_events import RulesAssigned
from domain.alerting.model import BACKDATED_MIN_MAX
from domain.alerting.watch import RuleSet
from domain.shared.errors import Conflict, Invalid
from domain.shared.events import Event
from domain.shared.ids import stream_id

# Between the versions of two profiles that follow one another.
APART = 1_000_000

# From when on which profile, ascending in time (ms).
Assigned: TypeAlias = tuple[tuple[int, str], ...]


def assignment_stream(scope: str, subject_id: str) -> UUID:
    """Return the stream of what is assigned to a unit or a site."""
    return stream_id("alerting.assignment", scope, subject_id)


def evolve(_state: RulesAssigned | None, event: RulesAssigned) -> RulesAssigned | None:
    """Return the newest assignment after `event`."""
    return event


def assign(
    state: RulesAssigned | None, *, wanted: RulesAssigned, published: bool, now: datetime
) -> list[Event]:
    """Judge a unit or a site by other rules from a moment on. `published`: the profile has some."""
    if wanted.effective_from.tzinfo is None:
        raise Invalid("naive_time", field="effective_from")
    if wanted.profile_id and not published:
        raise Invalid("unknown_rules", field="profile_id", profile_id=wanted.profile_id)
    if state is not None and wanted.profile_id == state.profile_id:
        return []
    if state is not None and wanted.effective_from <= state.effective_from:
        raise Conflict("rules_not_later", effective_from=state.effective_from.isoformat())
    if wanted.effective_from < now - timedelta(minutes=BACKDATED_MIN_MAX):
        raise Invalid("rules_backdated", field="effective_from")
    return [replace(wanted, effective_from=wanted.effective_from.astimezone(UTC))]


def in_force(
    own: str, of_site: Assigned, of_unit: Assigned, rule_sets: Mapping[str, Sequence[RuleSet]]
) -> tuple[RuleSet, ...]:
    """Return the rule sets of a unit of a profile, ascending in time, with what is assigned."""
    if not of_site and not of_unit:
        return tuple(rule_sets.get(own, ()))
    found: list[RuleSet] = []
    spans = [*_profiles(own, of_site, of_unit), (None, "")]
    for number, ((start_ms, profile_id), (end_ms, _)) in enumerate(pairwise(spans)):
        for known in rule_sets.get(profile_id, ()):
            at_ms = known.effective_ms if start_ms is None else max(known.effective_ms, start_ms)
            if end_ms is None or at_ms < end_ms:
                if found and found[-1].effective_ms == at_ms:
                    found.pop()
                found.append(RuleSet(number * APART + known.version, at_ms, known.rules))
    return tuple(found)


def _profiles(own: str, of_site: Assigned, of_unit: Assigned) -> Iterator[tuple[int | None, str]]:
    """Yield from when on which profile is in force, the first from ever on."""
    last = own
    yield None, own
    for at_ms in sorted({ms for ms, _ in (*of_site, *of_unit)}):
        profile_id = _at(of_unit, at_ms) or _at(of_site, at_ms) or own
        if profile_id != last:
            last = profile_id
            yield at_ms, profile_id


def _at(assigned: Assigned, at_ms: int) -> str:
    return next((profile for ms, profile in reversed(assigned) if ms <= at_ms), "")
