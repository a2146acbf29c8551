"""A fact as answers show it: times, the step by its name, and what says something."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from domain.traceability.facts import Fact, Step

_APART = frozenset(
    {"step", "t_ms", "recorded_ms", "withdrawn_position", "all_contents", "recall", "details"}
)
_SHOWN = tuple((f.name, f.default) for f in fields(Fact) if f.init and f.name not in _APART)
_NAMES = {step.value: step.name.lower() for step in Step}


def view(fact: Fact) -> dict[str, Any]:
    """Return a fact as shown."""
    return shown({f.name: getattr(fact, f.name) for f in fields(Fact) if f.init})


def shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fact of these particulars as shown; what is left out has its default."""
    found: dict[str, Any] = {
        "step": _NAMES[values["step"]],
        "occurred_at": time_of(values["t_ms"]),
        "recorded_at": time_of(values["recorded_ms"]),
    }
    for name, none in _SHOWN:
        value = values.get(name, none)
        if value is not None and value != "":
            found[name] = value
    if details := values.get("details"):
        found |= json.loads(details)
    if values.get("recall"):
        found["recall"] = True
    return found


def step_name(step: int) -> str:
    """Return a step as answers name it."""
    return _NAMES[step]


def time_of(ms: int) -> datetime:
    """Return milliseconds since 1970 as a time."""
    return datetime.fromtimestamp(ms / 1000, UTC)
