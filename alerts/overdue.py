"""Shipments whose time is over are put on record: no fact says that nothing arrived.

What is on its way is read off the read model of custody once, and then as it comes; each is looked
at again when its time is over, and all once more when a receipt was declared wrong. A shipment is
put on record once, whoever ticks and however often.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from domain.shared.decide import decide
from domain.traceability import overdue
from domain.traceability.facts import Fact
from projections.traceability.rows import read_fact
from store.commands import Command, execute
from store.envelope import Meta
from store.logs import Ledger
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "overdue.sql")

LOOK_AGAIN = timedelta(minutes=1)
# Everything is looked through as often, whatever was or was not in the read model meanwhile.
LOOK_THROUGH = timedelta(hours=6)
# A shipment told of after its time has so long for its arrival to be told as well.
GRACE_MS = 3_600_000
# Shipments put on record in one tick; the rest at the next.
TOLD_MAX = 100


class Overdue:
    """Puts on record; remembers what is on its way. One thread uses it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._looked: datetime | None = None
        self._through: datetime | None = None
        self._after = self._declared = -1
        self._awaited: list[tuple[int, str]] = []  # (expected ms, fact id), a heap

    def tick(self, conn: psycopg.Connection[Any], now: datetime) -> int:
        """Put on record what is overdue; return how many."""
        if self._looked is not None and self._looked <= now < self._looked + LOOK_AGAIN:
            return 0
        try:
            aged = self._through is None or not self._through <= now < self._through + LOOK_THROUGH
            if self._receipt_taken_back(conn) or aged:
                self._through, self._after, self._awaited = now, -1, []
            ((head,),) = conn.execute(queries.head).fetchall()
            for _, fact in self._out(conn, self._after):
                due_ms = max(overdue.expected_ms(fact), fact.recorded_ms + GRACE_MS)
                heapq.heappush(self._awaited, (due_ms, fact.fact_id))
                head = max(head, fact.position)
            self._after = head
            return self._tell(conn, now)
        except psycopg.errors.UndefinedTable:  # the read model is not built yet
            return 0

    def _receipt_taken_back(self, conn: psycopg.Connection[Any]) -> bool:
        """Tell whether a receipt was declared wrong since this was asked last."""
        asked = {"after": self._declared}
        ((self._declared, found),) = conn.execute(queries.declared, asked).fetchall()
        return bool(found)

    def _tell(self, conn: psycopg.Connection[Any], now: datetime) -> int:
        now_ms = round(now.timestamp() * 1000)
        over: list[str] = []
        while self._awaited and self._awaited[0][0] <= now_ms and len(over) < TOLD_MAX:
            over.append(heapq.heappop(self._awaited)[1])
        if len(over) < TOLD_MAX:
            self._looked = now
        told = 0
        for region, fact in self._out(conn, -1, over) if over else ():
            meta = Meta(occurred_at=now, recorded_at=now, region_code=region, source="timer")
            decision = decide(
                overdue.evolve_overdue,
                None,
                overdue.tell,
                fact=fact,
                now_ms=now_ms,
            )
            command = Command(overdue.overdue_stream(fact.fact_id), decision, meta)
            told += len(execute(self._ledger, command).events)
        return told

    def _out(
        self, conn: psycopg.Connection[Any], after: int, fact_ids: Sequence[str] | None = None
    ) -> list[tuple[str, Fact]]:
        """Return shipments of which nothing arrived, with the region of their site."""
        asked = {"after": after, "fact_ids": None if fact_ids is None else list(fact_ids)}
        return [(row[0], read_fact(row[1:])) for row in conn.execute(queries.out, asked)]
