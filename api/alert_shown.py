"""An alert as the interface shows it, and who sees alerts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson

from domain.shared.roles import Role
from projections.alerting import AlertRow

ON_SITE = (Role.STORE_KEEPER, Role.CLINIC, Role.HOSPITAL, Role.VACCINATOR, Role.COURIER)
READERS = (Role.CDC, Role.REGULATOR, Role.AUDITOR, Role.PLATFORM, *ON_SITE)
# What serves the read model alone.
_HIDDEN = ("due_at", "pos")


def shown(row: AlertRow) -> dict[str, Any]:
    """Return what the interface tells of an alert."""
    told = {name: value for name, value in asdict(row).items() if name not in _HIDDEN}
    return {**told, "detail": orjson.loads(row.detail)}
