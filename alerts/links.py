"""Where the API answers about what a message tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from alerts.notices import (
    AEFI_CLUSTER,
    EXPOSURE_REVISED,
    OBSERVATION_OVERDUE,
    RECALLED,
    STOCK,
    STOCK_HERE,
    TRIAL_CALL,
    UNDERSTAFFED,
)

# What is no alert of its own, by kind of message; the names are fields of what it tells.
_ELSEWHERE = {
    AEFI_CLUSTER: "vaccination/aefi-clusters",
    EXPOSURE_REVISED: "lots/{lot_id}/thermal",
    OBSERVATION_OVERDUE: "vaccination/doses?observed=true&site_id={site_id}",
    RECALLED: "lots/{lot_id}/recall",
    STOCK: "alerts/{of_alert}/stock",
    STOCK_HERE: "alerts/{of_alert}/stock",
    TRIAL_CALL: "trial-calls/{call_id}",
    UNDERSTAFFED: "alert-floor?region={region_code}",
}


def path_of(kind: str, alert: Mapping[str, Any]) -> str:
    """Return the path, below the API's version, that shows what a message is about."""
    about = {"of_alert": alert["alert_id"], **alert}
    named = {name: quote(str(value), safe="") for name, value in about.items()}
    return _ELSEWHERE.get(kind, "alerts/{of_alert}").format_map(named)
