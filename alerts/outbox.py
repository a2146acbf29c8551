"""The sender: notices out of the outbox to each recipient, retried until done or given up.

notice (outbox row) -> one `delivery` a recipient -> queued -> sending -> sent
                                                       ^---- queued again ---- | failed
A delivery is stored once for its key. Delivery itself is at least once: a kill between the send and
its record makes the next start send again, under the same key (`Message-ID`, `Idempotency-Key`), by
which the receiver can tell.

Who is being sent to is known by locks of the sending sessions, not by rows and not by a lease: a
sender that dies lets go of them, and its row is anybody's. No transaction is open during a send.

Of an alert that fires systems are told before any of this: their request is on its way while the
delivery is put down and claimed, and whoever claims it waits for the answer instead of sending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from alerts import brief, group_texts, links, messages
from alerts.channels.channel import Channel, Later, Message, Permanent, Transient, Undelivered
from alerts.channels.webhook import Webhook
from domain.alerting.grouping import GROUPING, Grouping
from domain.alerting.rules import HISTORY_AFTER, SEVERITIES
from store.one_trip import one_trip
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("sql") / "outbox.sql")
log = structlog.get_logger(__name__)

Pool = ConnectionPool[psycopg.Connection[Any]]

# Seconds to the next attempt after the 1st, 2nd, … failure; the last value repeats.
BACKOFF_S = (1, 5, 25, 125, 625, 1800)
# Attempts before a delivery is given up as `failed` (after about seven hours).
ATTEMPTS_MAX = 20
# Sends at a time to one place (a web host, or the mail server), so that one that does not answer
# leaves senders to the others. One recipient gets one at a time.
PLACE_MAX = 2
# Requests on their way before their delivery is claimed: a storm of alerts goes its ordinary way.
# Nothing else is begun for so many seconds at most; and so many answers are kept to be claimed.
AHEAD_MAX, AHEAD_S, KEPT_MAX = 8, 0.02, 64
# Where a person's contact has failed the next one is tried at once; where it has not accepted, so
# long after. What was put down longer ago is news no more.
SILENCE, FALL_BACK_WITHIN = timedelta(seconds=20), timedelta(hours=1)
# Characters of an error kept with a delivery.
ERROR_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A notice, with all that was told of its alert up to it."""

    alert_id: str
    kind: str
    level: int
    severity: str
    created_at: datetime
    payloads: Sequence[Mapping[str, Any]]

    @property
    def alert(self) -> dict[str, Any]:
        """All that was told of the alert up to this notice; later fields replace earlier ones."""
        told: dict[str, Any] = {}
        for payload in self.payloads:
            told |= payload
        return told


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Told):
    """A delivery in the hands of this sender, with its notice and where it goes.

    `also`: the notices that are told along, as ids of the outbox.
    """

    delivery_id: int
    key: str
    attempts: int
    channel: str
    address: str | None
    secret: str | None
    notice: str
    names: Sequence[Sequence[str]] = ()  # as `names` gives them, where they are known
    locale: str = ""  # of a person
    also: Sequence[int] = ()


class Sender:
    """Expands notices and sends deliveries; every method may run in several threads at once.

    `now` decides what is due and is written beside what was done.
    """

    def __init__(
        self,
        pool: Pool,
        channels: Mapping[str, Channel],
        *,
        now: Callable[[], datetime],
        public_url: str,
        grouping: Grouping = GROUPING,
    ) -> None:
        self._pool = pool
        self._grouping = asdict(grouping)
        self._channels = channels
        self._ahead: dict[str, tuple[str | None, Future[dict[str, str]]]] = {}
        self._now = now
        self._public_url = public_url.rstrip("/")

    def expand(self) -> None:
        """Put down who must be told of each new notice."""
        with self._pool.connection() as conn:
            waits = True
            while waits:
                with one_trip(conn):
                    conn.execute(queries.take_turn)
                    expanded = conn.execute(queries.expand_next, self._asked())
                (_, waits) = expanded.fetchone() or (0, False)

    def _asked(self) -> dict[str, object]:
        return {
            "now": self._now(),
            "severities": list(SEVERITIES),
            "history_after": HISTORY_AFTER,
            "place_max": PLACE_MAX,
            **self._grouping,
        }

    def due(self) -> bool:
        """Tell whether there may be a delivery to send now."""
        with self._pool.connection() as conn:
            ((found,),) = conn.execute(queries.any_due, (self._now(),)).fetchall()
        return bool(found)

    def fall_back(self) -> bool:
        """Put down the next contact of persons whom the one tried does not reach; True for any."""
        asked = {"now": self._now(), "within": FALL_BACK_WITHIN, "silence": SILENCE}
        with self._pool.connection() as conn, one_trip(conn):
            conn.execute(queries.supersede, asked)
            made = conn.execute(queries.fall_back, asked)
        ((count,),) = made.fetchall()
        return bool(count)

    def send_due(self) -> int:
        """Send what is due, one after the other; return how many attempts were made."""
        count = 0
        while self.send_next():
            count += 1
        return count

    def send_next(self, others: Callable[[int], object] = lambda _: None) -> bool:
        """Make one attempt at the next due delivery; False when nothing is left to do.

        The next notice is expanded with it. `others`: told how many more senders find something.
        """
        with self._pool.connection() as conn, self._claimed(conn) as (held, made, waits):
            left = made + waits - (held is not None)
            if left > 0:
                others(left)
            if held is not None:
                self._attempt(conn, held)
        return held is not None or waits

    def send_ahead(self, notices: Sequence[int]) -> None:
        """Begin to tell systems of these rows of the outbox, where they are alerts that fire.

        For one thread. Each system gets one such request at a time, beside what is claimed for it.
        """
        webhook = self._channels.get("webhook")
        if not isinstance(webhook, Webhook) or not 0 < len(notices) <= AHEAD_MAX:
            return
        asked = {"notices": list(notices), "severities": list(SEVERITIES)}
        try:
            with self._pool.connection() as conn, conn.cursor(row_factory=class_row(Held)) as cur:
                found = cur.execute(queries.ahead, asked).fetchall()
        except psycopg.errors.UndefinedTable:  # the read models are not built yet
            return
        begun = []
        for held in found:
            waiting = [address for address, sent in list(self._ahead.values()) if not sent.done()]
            if held.address in waiting or len(waiting) >= AHEAD_MAX:
                continue
            begun.append(webhook.begin(self._message(held, held.names)))
            self._ahead[held.key] = held.address, begun[-1]
        for key in list(self._ahead)[:-KEPT_MAX]:  # whoever claimed these knows nothing of them
            self._ahead.pop(key, None)
        wait(begun, AHEAD_S)

    def close(self) -> None:
        """Close the channels' connections."""
        for channel in self._channels.values():
            channel.close()

    @contextmanager
    def _claimed(self, conn: psycopg.Connection[Any]) -> Iterator[tuple[Held | None, int, bool]]:
        """Keep the next due delivery, its recipient and its place for the block; None: none due.

        Also how many deliveries the next notice made, and whether more notices wait.
        """
        asked = self._asked()
        claimed = conn.cursor(row_factory=class_row(Held))
        try:
            with one_trip(conn):
                conn.execute(queries.take_turn)
                expanded = conn.execute(queries.expand_next, asked)
                conn.execute(queries.taken, asked)
                claimed.execute(queries.claim, asked)
            yield claimed.fetchone(), *(expanded.fetchone() or (0, False))
        finally:
            conn.execute(queries.let_go)

    def _attempt(self, conn: psycopg.Connection[Any], held: Held) -> None:
        try:
            evidence = self._send(conn, held)
        except Undelivered as error:
            self._undelivered(conn, held, error)
        except psycopg.Error:  # trouble of the database, not of this delivery
            raise
        except Exception as error:  # any fault of one delivery must not stop all the others
            log.exception("alert_send_failed", alert_id=held.alert_id, key=held.key)
            self._undelivered(conn, held, Transient(f"{type(error).__name__}: {error}"))
        else:
            told = {"now": self._now(), "evidence": Jsonb(evidence), "id": held.delivery_id}
            conn.execute(queries.record_sent, told)
            log.info("alert_delivered", alert_id=held.alert_id, kind=held.kind, key=held.key)

    def _send(self, conn: psycopg.Connection[Any], held: Held) -> dict[str, str]:
        channel = self._channels.get(held.channel)
        if channel is None:
            raise Permanent(f"no {held.channel} channel is configured")
        if held.address is None:
            raise Permanent("the recipient was removed")
        ahead = self._ahead.get(held.key)
        if ahead is None:
            message = self._message(held, _names(conn, held.alert))
            return channel.send(self._gathered(conn, held, message) if held.also else message)
        try:
            return ahead[1].result()
        finally:
            self._ahead.pop(held.key, None)

    def _facts(
        self, told: Told, alert: Mapping[str, Any], names: Sequence[Sequence[str]], locale: str
    ) -> messages.Facts:
        thing = links.path_of(told.kind, {**alert, "alert_id": told.alert_id})
        return messages.Facts(
            alert_id=told.alert_id,
            kind=told.kind,
            level=told.level,
            severity=told.severity,
            at=told.created_at,
            alert=alert,
            names={f"{kind}_id": (zh, en or zh) for kind, zh, en in names},
            link=f"{self._public_url}/api/v1/{thing}" if self._public_url else "",
            locale=locale,
        )

    def _gathered(self, conn: psycopg.Connection[Any], held: Held, one: Message) -> Message:
        """Return the message of several notices in place of that of the first."""
        with conn.cursor(row_factory=class_row(Told)) as cur:
            along = cur.execute(queries.gathered, (list(held.also),)).fetchall()
        facts = [
            self._facts(told, told.alert, _names(conn, told.alert), held.locale)
            for told in (held, *along)
        ]
        group = group_texts.Group.of(facts, self._public_url)
        return replace(
            one,
            subject=group_texts.short(group),
            text=group_texts.long(group),
            event={**one.event, "severity": group.severity},
            brief=group_texts.parts(group),
        )

    def _message(self, held: Held, names: Sequence[Sequence[str]]) -> Message:
        alert = held.alert
        facts = self._facts(held, alert, names, held.locale)
        subject = messages.short(facts)
        return Message(
            key=held.key,
            thread=held.alert_id,
            address=held.address or "",
            secret=held.secret or "",
            subject=subject,
            text=messages.long(facts),
            event={
                "id": held.notice,
                "kind": held.kind,
                "level": held.level,
                "severity": held.severity,
                "at": held.created_at,
                "alert": alert,
                "summary": subject,
                "link": facts.link,
            },
            at=held.created_at,
            sent_at=self._now(),
            brief=brief.parts(facts),
        )

    def _undelivered(self, conn: psycopg.Connection[Any], held: Held, error: Undelivered) -> None:
        # What the other side said may hold what a text of the database cannot.
        said = str(error).replace("\0", "?")[:ERROR_MAX]
        text = said.encode(errors="replace").decode()
        if isinstance(error, Later):
            next_at = self._now() + timedelta(seconds=error.seconds)
            later = {"next_at": next_at, "error": text, "id": held.delivery_id}
            conn.execute(queries.record_later, later)
            log.info("alert_waits", key=held.key, why=text)
            return
        if error.permanent or held.attempts >= ATTEMPTS_MAX:
            asked = {"error": text, "delivery_id": held.delivery_id, "now": self._now()}
            conn.execute(queries.record_failed, asked)
            result = "failed"
        else:
            wait = BACKOFF_S[min(held.attempts, len(BACKOFF_S)) - 1]
            next_at = self._now() + timedelta(seconds=wait)
            again = {"next_at": next_at, "error": text, "id": held.delivery_id}
            conn.execute(queries.record_retry, again)
            result = "retried"
        log.warning("alert_undelivered", key=held.key, result=result, attempts=held.attempts)


def _names(conn: psycopg.Connection[Any], alert: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return (kind, name, English name) of the alert's site and unit; none while nobody knows."""
    asked = [str(alert.get(field, "")) for field in ("site_id", "unit_id")]
    try:
        return conn.execute(queries.names, asked).fetchall()
    except psycopg.errors.UndefinedTable:  # the read models are not built yet
        return []
