"""One notice to every holder of a recalled lot, or of recalled codes, when it holds some or later.

Read off the read model of custody, so it does not matter how the recall became known. A holder is
told once of a recall: its key is that of recall and place.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from alerts.notices import RECALLED, Notice, untold, write
from domain.shared.errors import NotFound
from domain.shared.ids import stream_id
from domain.traceability.facts import Fact
from domain.traceability.recalls import Recall
from projections.shared import org_tree
from projections.traceability import recalls as read
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "recalls.sql")

# What was on the way when a lot was recalled may come to a new holder this much later.
LOOK_AGAIN = timedelta(minutes=1)


class Recalls:
    """Tells holders; remembers when each lot was looked at last."""

    def __init__(self) -> None:
        self._looked: dict[str, tuple[int, datetime]] = {}

    def tick(self, conn: psycopg.Connection[Any], now: datetime) -> int:
        """Write the notices that are due; return how many."""
        try:
            lots = conn.execute(queries.recalled_lots).fetchall()
        except psycopg.errors.UndefinedTable:  # the read model is not built yet
            return 0
        return sum(self._tell(conn, lot_id, newest, now) for lot_id, newest in lots)

    def _tell(self, conn: psycopg.Connection[Any], lot_id: str, newest: int, now: datetime) -> int:
        seen, at = self._looked.get(lot_id, (0, now))
        if seen == newest and now - at < LOOK_AGAIN:
            return 0
        self._looked[lot_id] = (newest, now)
        try:
            recall = read.recall_now(conn, lot_id).recall
        except NotFound:
            return 0
        holders = {order.fact_id: recall.holders(order) for order in recall.orders}
        names = org_tree.names(conn, {site_id for found in holders.values() for site_id in found})
        wanted = [
            _notice(order, recall, lot_id, site_id, region=names[site_id].region, now=now)
            for order in recall.orders
            for site_id in holders[order.fact_id]
            if site_id in names
        ]
        new = untold(conn, wanted)
        with conn.transaction(), conn.cursor() as cur:
            write(cur, new)
        return len(new)


def _notice(
    order: Fact, recall: Recall, lot_id: str, site_id: str, *, region: str, now: datetime
) -> Notice:
    units = [unit for unit in recall.on_hand(order) if unit.site_id == site_id]
    alert_id = str(stream_id("traceability.recall", order.fact_id, site_id))
    issued = datetime.fromtimestamp(order.t_ms / 1000, UTC)
    payload = {
        "alert_id": alert_id,
        "site_id": site_id,
        "lot_id": lot_id,
        "units": len(units),
        "recall_id": order.fact_id,
        "started_at": issued.isoformat(),
        "reason": order.reason,
    }
    return Notice(
        key=f"{alert_id}:{RECALLED}:1",
        alert_id=alert_id,
        kind=RECALLED,
        level=0,
        severity="critical",
        region_code=region,
        payload=payload,
        created_at=now,
    )
