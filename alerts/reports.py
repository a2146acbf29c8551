"""Reports to subscribers: each event that a query asks for, once, in the order of its record.

at rest -> the next events after the last told are taken as one report, put down -> posted
        <- told, further on        |  not accepted: the same report again, later and later

Delivery is at least once: a kill between the post and its record sends the same report again, under
the same `Idempotency-Key`. Nothing is ever skipped, however long a receiver is away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import structlog
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from alerts.channels.channel import Undelivered
from alerts.channels.webhook import Webhook, signature
from alerts.outbox import BACKOFF_S, ERROR_MAX
from alerts.subscriptions import Subscription, queries
from domain.epcis.translate import EpcFormat
from domain.shared.ids import region_prefix
from projections.epcis import answers
from projections.epcis.documents import query_document, together

log = structlog.get_logger(__name__)

Pool = ConnectionPool[psycopg.Connection[Any]]

# Subscriptions looked after in one round, and at a time.
DUE_MAX = 100
SENDERS = 4
_LAST_ORDINAL = 2**31 - 1


class Reporter:
    """Looks after subscriptions; `round` may run in several processes at once."""

    def __init__(self, pool: Pool, webhook: Webhook, *, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._webhook = webhook
        self._now = now
        self._busy: set[UUID] = set()
        self._turn = threading.Lock()

    def round(self, threads: ThreadPoolExecutor | None = None) -> int:
        """Look after every subscription that is due; return how many there were.

        In `threads`, a receiver that does not answer holds up nobody else.
        """
        with self._pool.connection() as conn:
            try:
                followed = _followed(conn)
                asked = {"now": self._now(), "followed": followed, "limit": DUE_MAX}
                due = [row[0] for row in conn.execute(queries.due, asked).fetchall()]
            except psycopg.errors.UndefinedTable:  # the read models are not built yet
                return 0
        with self._turn:
            free = [one for one in due if one not in self._busy]
            self._busy.update(free)
        for subscription_id in free:
            if threads is None:
                self._look_after(subscription_id)
            else:
                threads.submit(self._look_after, subscription_id)
        return len(free)

    def _look_after(self, subscription_id: UUID) -> None:
        try:
            with self._pool.connection() as conn, _held(conn, subscription_id) as held:
                while held and self._report(conn, subscription_id):
                    pass
        except Exception:  # whatever one subscription does must not stop the others
            log.exception("report_failed", subscription_id=str(subscription_id))
        finally:
            with self._turn:
                self._busy.discard(subscription_id)

    def _report(self, conn: psycopg.Connection[Any], subscription_id: UUID) -> bool:
        """Tell one report; True when there may be more to tell at once."""
        now = self._now()
        with conn.cursor(row_factory=class_row(Subscription)) as cur:
            to = cur.execute(queries.locked, (subscription_id, now)).fetchone()
        if to is None:
            return False
        try:
            return self._tell(conn, to, now)
        except Exception as error:  # also a query that cannot be answered waits longer and longer
            log.exception("report_failed", subscription_id=str(subscription_id))
            return self._failed(conn, to, type(error).__name__, now)

    def _tell(self, conn: psycopg.Connection[Any], to: Subscription, now: datetime) -> bool:
        followed = _followed(conn)
        found = _next(conn, to, followed)
        kept = together(found)
        full = len(kept) == to.batch_max or len(kept) < len(found)
        if not kept and not (to.schedule and to.report_if_empty):
            return self._passed(conn, to, followed, now, told=False)
        last = (kept[-1].position, kept[-1].ordinal) if kept else (followed, _LAST_ORDINAL)
        if kept and to.sending_position is None:
            begun = {"position": last[0], "ordinal": last[1]}
            conn.execute(queries.begin, begun | {"subscription_id": to.subscription_id})
        if not self._posted(conn, to, kept, last, now):
            return False
        if full or to.sending_position is not None:
            return self._passed(conn, to, last[0], now, told=True, ordinal=last[1], more=True)
        return self._passed(conn, to, followed, now, told=True)

    def _passed(
        self,
        conn: psycopg.Connection[Any],
        to: Subscription,
        position: int,
        now: datetime,
        *,
        told: bool,
        ordinal: int = _LAST_ORDINAL,
        more: bool = False,
    ) -> bool:
        values = {
            "subscription_id": to.subscription_id,
            "position": position,
            "ordinal": ordinal,
            "now": now,
            "due_at": now if more else to.next_due(now),
            "notified_at": now if told else None,
        }
        conn.execute(queries.passed, values)
        return more

    def _posted(
        self,
        conn: psycopg.Connection[Any],
        to: Subscription,
        kept: list[answers.Kept],
        last: tuple[int, int],
        now: datetime,
    ) -> bool:
        form = EpcFormat(to.epc_format)
        body = query_document(
            kept,
            form=form,
            companies=answers.companies(conn, last[0]) if form is EpcFormat.URN else (),
            now=now,
            query_name=to.query_name,
            subscription_id=str(to.subscription_id),
        )
        headers = {
            "Content-Type": "application/json",
            "GS1-EPCIS-Version": "2.0.0",
            "GS1-CBV-Version": "2.0.0",
            "GS1-EPC-Format": to.epc_format,
            "GS1-Signature": signature(to.secret, now, body),
            "Idempotency-Key": f"{to.subscription_id}:{last[0]}.{last[1]}",
        }
        try:
            status = self._webhook.post(to.dest, body, headers)
        except Undelivered as error:
            return self._failed(conn, to, str(error), now)
        if 200 <= status < 300:
            log.info("report_delivered", subscription_id=str(to.subscription_id), count=len(kept))
            return True
        if status == 413:
            smaller = {"subscription_id": to.subscription_id, "count": len(kept)}
            conn.execute(queries.smaller, smaller)
        return self._failed(conn, to, f"HTTP {status}", now)

    def _failed(
        self, conn: psycopg.Connection[Any], to: Subscription, error: str, now: datetime
    ) -> bool:
        wait_s = BACKOFF_S[min(to.attempts, len(BACKOFF_S) - 1)]
        said = error.replace("\0", "?")[:ERROR_MAX].encode(errors="replace").decode()
        values = {"due_at": now + timedelta(seconds=wait_s), "error": said}
        conn.execute(queries.failed, values | {"subscription_id": to.subscription_id})
        log.warning("report_undelivered", subscription_id=str(to.subscription_id), error=said)
        return False


def _followed(conn: psycopg.Connection[Any]) -> int:
    ((followed,),) = conn.execute(queries.followed).fetchall()
    return int(followed)


def _next(conn: psycopg.Connection[Any], to: Subscription, followed: int) -> list[answers.Kept]:
    """Return the events of the next report: of the one begun, else all that fit into one."""
    kept = answers.events(
        conn,
        to.asks(),
        position=followed if to.sending_position is None else to.sending_position,
        region=region_prefix(to.region_code),
        after=answers.Key("", to.position, to.ordinal, 0),
        limit=to.batch_max,
    )
    if to.sending_position is None or to.sending_ordinal is None:
        return kept
    last = (to.sending_position, to.sending_ordinal)
    return [one for one in kept if (one.position, one.ordinal) <= last]


@contextmanager
def _held(conn: psycopg.Connection[Any], subscription_id: UUID) -> Iterator[bool]:
    """Look after a subscription alone for the block; False when somebody else does."""
    ((held,),) = conn.execute(queries.try_lock, (str(subscription_id),)).fetchall()
    try:
        yield bool(held)
    finally:
        if held:
            conn.execute(queries.unlock, (str(subscription_id),))
