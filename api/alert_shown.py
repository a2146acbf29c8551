"""An alert as the interface shows it, and who sees alerts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson

from api.auth import Principal
from api.deps import Deps
from domain.alerting import model
from domain.shared.errors import NotFound
from domain.shared.roles import Role
from projections.alerting import AlertRow, folded

ON_SITE = (Role.STORE_KEEPER, Role.CLINIC, Role.HOSPITAL, Role.VACCINATOR, Role.COURIER)
READERS = (Role.CDC, Role.REGULATOR, Role.AUDITOR, Role.PLATFORM, *ON_SITE)
# Digits of an alert's id in hex, in the form of a uuid.
ALERT_ID_PATTERN = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
# What serves the read model alone.
_HIDDEN = ("due_at", "pos")


def shown(row: AlertRow) -> dict[str, Any]:
    """Return what the interface tells of an alert."""
    told = {name: value for name, value in asdict(row).items() if name not in _HIDDEN}
    return {**told, "detail": orjson.loads(row.detail)}


def seen(deps: Deps, who: Principal, alert_id: str) -> AlertRow:
    """Return an alert as its streams tell it now; NotFound out of region."""
    history = deps.ledger.together(model.streams_of(alert_id))
    # Any uuid may be asked for, that of another stream as well.
    if not history or not model.begins_alert(history[0].event):
        raise NotFound("unknown_alert")
    row = folded(history)
    if row is None or not who.covers(row.region_code):
        raise NotFound("unknown_alert")
    return row
