"""A fact as answers show it: times, the step by its name, and what says something."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from domain.traceability.facts import Fact, Step
from projections.traceability.rows import SAID

_NAMES = {step.value: step.name.lower() for step in Step}
# Shown in other ways, or not at all.
_APART = frozenset({"all_contents", "recall", "details"})


def view(fact: Fact) -> dict[str, Any]:
    """Return a fact as shown."""
    return shown(fact, {n: value for n, none in SAID if (value := getattr(fact, n)) != none})


def shown(told: Any, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fact as shown: `told` has what every fact has, `said` are its other particulars."""
    found: dict[str, Any] = {
        "step": _NAMES[told.step],
        "occurred_at": time_of(told.t_ms),
        "recorded_at": time_of(told.recorded_ms),
        "fact_id": told.fact_id,
        "position": told.position,
    }
    if told.site_id:
        found["site_id"] = told.site_id
    if told.to_site_id:
        found["to_site_id"] = told.to_site_id
    if told.lot_id:
        found["lot_id"] = told.lot_id
    found["accepted"] = True
    found |= said
    if not _APART.isdisjoint(said):
        for name in _APART:
            found.pop(name, None)
        if details := said.get("details"):
            found |= json.loads(details)
        if said.get("recall"):
            found["recall"] = True
    return found


def step_name(step: int) -> str:
    """Return a step as answers name it."""
    return _NAMES[step]


def time_of(ms: int) -> datetime:
    """Return milliseconds since 1970 as a time."""
    return datetime.fromtimestamp(ms / 1000, UTC)
