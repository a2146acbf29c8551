"""Somebody is called when people whom nobody let go are past the end of their observation.

One notice a place and hour, for its county: the first overdue calls, the others of that hour are
found where that one looks. Only doses with a check before them, told while the person was there:
clinics that record doses alone, or later, observe on paper.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from alerts.notices import OBSERVATION_OVERDUE, Notice, untold, write
from domain.shared.ids import stream_id
from domain.vaccination.rules import rules_at
from projections import vaccination as read

LOOK_AGAIN = timedelta(minutes=1)
# Whoever has not been let go for longer is no emergency any more: listed, but nobody is called.
SINCE = timedelta(hours=24)


class Observations:
    """Calls; remembers when it looked last."""

    def __init__(self) -> None:
        self._looked: datetime | None = None

    def tick(self, conn: psycopg.Connection[Any], now: datetime) -> int:
        """Write the notices that are due; return how many."""
        if self._looked is not None and self._looked <= now < self._looked + LOOK_AGAIN:
            return 0
        self._looked = now
        until = now - timedelta(minutes=rules_at(now).overdue_min)
        try:
            found = read.overdue(conn, since=now - SINCE, until=until)
        except psycopg.errors.UndefinedTable:  # the read model is not built yet
            return 0
        new = untold(conn, [_notice(one, now) for one in found])
        with conn.transaction(), conn.cursor() as cur:
            write(cur, new)
        return len(new)


def _notice(found: read.Overdue, now: datetime) -> Notice:
    alert_id = str(stream_id("vaccination.overdue", found.site_id, found.hour))
    return Notice(
        key=f"{alert_id}:{OBSERVATION_OVERDUE}:1",
        alert_id=alert_id,
        kind=OBSERVATION_OVERDUE,
        level=0,
        severity="major",
        region_code=found.region_code,
        payload={
            "alert_id": alert_id,
            "site_id": found.site_id,
            "people": found.people,
            "started_at": found.since.astimezone(UTC).isoformat(),
        },
        created_at=now,
    )
