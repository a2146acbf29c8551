"""Whether phones have the short messages that a provider accepted: asked until it says so.

What it says is added to the delivery's evidence: `delivered_at`, or `undelivered` with its reason.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg.types.json import Jsonb

from alerts.channels.channel import Undelivered
from alerts.channels.sms import Report, Sms
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "receipts.sql")
log = structlog.get_logger(__name__)

# Seconds after a message was sent at which it is asked about first, and doubled each time after.
FIRST_S = 5.0
# Nothing more is asked of older ones, nor of more of the newest at a time.
ASKED_FOR = timedelta(hours=2)
KNOWN_MAX = 2_000


class Receipts:
    """Asks; remembers what it asked about already. One thread uses it."""

    def __init__(self, sms: Sms, now: Callable[[], datetime]) -> None:
        self._sms = sms
        self._now = now
        self._asked: dict[int, int] = {}  # how often, by delivery

    def round(self, conn: psycopg.Connection[Any]) -> int:
        """Ask about what is due, the newest first; return how many were told of.

        The first question that is not answered ends the round: others may be due before its next.
        """
        now = self._now()
        page = {"since": now - ASKED_FOR, "limit": KNOWN_MAX}
        rows = conn.execute(queries.unreported, page).fetchall()
        self._asked = {row[0]: self._asked.get(row[0], 0) for row in rows}
        told = 0
        for delivery_id, address, accepted_id, sent_at in rows:
            times = self._asked[delivery_id]
            if now >= sent_at + timedelta(seconds=FIRST_S * 2**times):
                self._asked[delivery_id] += 1
                try:
                    report = self._sms.report(address, accepted_id, sent_at, self._now())
                except Undelivered as error:  # the question, not the message
                    log.info("receipt_not_told", delivery_id=delivery_id, error=str(error))
                    break
                told += _keep(conn, delivery_id, report)
        return told


def _keep(conn: psycopg.Connection[Any], delivery_id: int, report: Report) -> bool:
    """Add what a provider says to the evidence; tell whether that is something."""
    evidence = {"undelivered": report.failure} if report.failure else {}
    if report.delivered_at is not None:
        evidence["delivered_at"] = report.delivered_at.isoformat()
    if evidence:
        conn.execute(queries.report, (Jsonb(evidence), delivery_id))
    return bool(evidence)
