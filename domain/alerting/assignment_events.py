"""Events of which rules a place is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from domain.shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesAssigned(Event):
    """From a moment on a unit, or every unit of a site, is judged by the rules of another profile.

    That of a unit goes before that of its site. `profile_id` empty: as if nothing was assigned.
    """

    TOPIC: ClassVar[str] = "alerting.RulesAssigned"
    scope: str  # unit | site
    subject_id: str
    region_code: str
    profile_id: str
    effective_from: datetime
