"""The worker: facts become uploads, uploads are sent until answered, recalls become facts.

fact -> waiting -> submitted -> accepted            compared by day: what the platform lost is
           ^           |  `---> rejected (a person)  sent anew
           `-- later --' no answer: the same request again, later and later

A tick may come late, twice or after a kill: what is due stands in a table, ids follow from what is
told, and the change of a row is one transaction with the event that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from alerts.outbox import BACKOFF_S, ERROR_MAX
from alerts.platform.port import Answer, Platform, Unanswered
from alerts.platform.recalled import hold_of
from domain.platform import model
from domain.platform.events import UploadSubmitted
from domain.platform.policy import TOLD, uploads_of
from domain.platform.uploads import ZONE, Hour, Kind, Upload, storage
from domain.shared.decide import decide
from domain.shared.errors import Conflict
from domain.shared.events import Event
from domain.shared.ids import WHOLE_COUNTRY
from domain.traceability.events import FactWithdrawn
from domain.traceability.model import scan_stream
from store.commands import Command, execute
from store.envelope import Meta, Recorded
from store.logs import Ledger
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "platform.sql")
log = structlog.get_logger(__name__)

Connection = psycopg.Connection[Any]

# Events looked through, and uploads sent, in one tick.
BATCH = 2_000
SENT_MAX = 500
# Uploads without an answer, one after the other, from which on the platform counts as away.
UNANSWERED_MAX = 3
# Recalls are asked for this often, each time a little further back: clocks differ.
POLL = timedelta(minutes=10)
OVERLAP = timedelta(hours=1)
# How far back the first question for recalls goes.
FIRST_WINDOW = timedelta(days=30)
# Local time of day from which the last day counts as complete, and days compared each day.
COMPLETE_AT = time(1)
COMPARED_DAYS = 7
_TOPICS = [*TOLD, FactWithdrawn.TOPIC]


class Connector:
    """Speaks to one platform. One thread uses it; `conn`, in autocommit mode, holds the lead."""

    def __init__(
        self, ledger: Ledger, conn: Connection, platform: Platform, now: Callable[[], datetime]
    ) -> None:
        self._ledger = ledger
        self._conn = conn
        self._platform = platform
        self._now = now
        self._leads = False
        self._failures = 0
        self._away_until = datetime.min.replace(tzinfo=UTC)

    def tick(self) -> int:
        """Do what is due; return how many uploads were answered. Nothing without the lead."""
        if not self._lead():
            return 0
        answered = 0
        try:
            while self._collect() == BATCH:
                pass
            self._store()
            if self._now() < self._away_until:
                return 0
            self._poll()
            answered = self._send()
            self._compare()
            self._failures = 0
        except psycopg.errors.UndefinedTable:  # the read models are not built yet
            pass
        except Unanswered as error:
            wait_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
            self._failures += 1
            self._away_until = self._now() + timedelta(seconds=wait_s)
            log.warning("platform_unanswered", platform=self._platform.name, error=str(error))
        return answered

    def _lead(self) -> bool:
        if not self._leads:
            ((self._leads,),) = self._conn.execute(queries.try_lock).fetchall()
            self._conn.execute(queries.begin, (self._platform.name,))
        return self._leads

    def _progress(self) -> Mapping[str, Any]:
        with self._conn.cursor(row_factory=dict_row) as cur:
            row = cur.execute(queries.progress, (self._platform.name,)).fetchone()
        return row or {}

    def _reached(self, query: Any, value: object) -> None:
        self._conn.execute(query, (value, self._platform.name))

    # Facts to uploads.

    def _collect(self) -> int:
        """Put down what new facts must be told; return how many events were looked at."""
        position = self._progress()["position"]
        last = self._ledger.last_position()
        found = self._ledger.read(position, BATCH, _TOPICS)
        reached = found[-1].position if len(found) == BATCH else max(last, position)
        if reached == position:
            return 0
        withdrawn: list[FactWithdrawn] = []
        with self._conn.transaction():
            for recorded in found:
                event = recorded.envelope.event
                if isinstance(event, FactWithdrawn):
                    withdrawn.append(event)
                else:
                    self._put_of(recorded)
            for event in withdrawn:
                of = {"fact_id": event.fact_id, "site_id": event.of_site, "now": self._now()}
                self._conn.execute(queries.drop_waiting, of)
        for event in withdrawn:
            self._no_longer_so(event)
        self._reached(queries.looked_through, max(reached, found[-1].position if found else 0))
        return len(found)

    def _put_of(self, recorded: Recorded) -> None:
        envelope = recorded.envelope
        for upload in uploads_of(envelope.event, envelope.meta.occurred_at):
            self._put(upload, envelope.meta.region_code)

    def _put(self, upload: Upload, region_code: str) -> None:
        values = {
            "platform": self._platform.name,
            "upload_id": upload.upload_id,
            "kind": upload.kind.value,
            "bill_type": upload.bill_type,
            "bill_code": upload.bill_code,
            "fact_id": upload.fact_id,
            "site_id": upload.site_id,
            "region_code": region_code,
            "day": upload.day,
            "codes": len(upload.codes),
            "fields": Jsonb(upload.fields),
            "parties": Jsonb(upload.parties),
            "now": self._now(),
        }
        self._conn.execute(queries.put, values)

    def _no_longer_so(self, event: FactWithdrawn) -> None:
        """Make a work item of what was told and then withdrawn."""
        told = self._conn.execute(queries.sent_of_fact, (event.fact_id, event.of_site)).fetchall()
        for (upload_id,) in told:
            self._answered(upload_id, Answer(model.WITHDRAWN, event.reason))

    def _store(self) -> None:
        """Put down the storage temperatures of local days that are complete."""
        complete = self._complete_day()
        day = self._progress()["stored_until"] or complete - timedelta(days=1)
        while day < complete:
            day += timedelta(days=1)
            with self._conn.transaction():
                for upload, region_code in self._stored_on(day):
                    self._put(upload, region_code)
                self._reached(queries.stored_until, day)

    def _complete_day(self) -> date:
        local = self._now().astimezone(ZONE)
        return local.date() - timedelta(days=1 if local.time() >= COMPLETE_AT else 2)

    def _stored_on(self, day: date) -> Iterator[tuple[Upload, str]]:
        begins = datetime.combine(day, time(), ZONE)
        asked = {"begins": begins, "ends": begins + timedelta(days=1)}
        rows = self._conn.execute(queries.storage_day, asked).fetchall()
        for key, of in groupby(rows, itemgetter(0, 1, 2, 3, 4)):
            device_id, channel, site_id, region_code, unit_id = key
            hours = [Hour(ts, low, high, mean) for *_, ts, low, high, mean in of]
            probe = f"{device_id}-{channel}"
            upload = storage(device_id=probe, name=unit_id, site_id=site_id, day=day, hours=hours)
            yield upload, region_code

    # Uploads to the platform.

    def _send(self) -> int:
        """Send what is due, one after the other; Unanswered when several in a row are not."""
        unanswered = 0
        for count in range(SENT_MAX):
            with self._conn.cursor(row_factory=dict_row) as cur:
                asked = {"platform": self._platform.name, "now": self._now()}
                row = cur.execute(queries.due, asked).fetchone()
            if row is None:
                return count
            try:
                self._send_one(row)
            except Unanswered:
                unanswered += 1
                if unanswered == UNANSWERED_MAX:
                    raise
            else:
                self._failures = unanswered = 0
        return SENT_MAX

    def _send_one(self, row: Mapping[str, Any]) -> None:
        upload_id, now = row["upload_id"], self._now()
        if row["state"] == "waiting":
            of = (row["fact_id"], row["site_id"])
            ((gone,),) = self._conn.execute(queries.withdrawn, of).fetchall()
            if gone:
                dropped = {"fact_id": of[0], "site_id": of[1], "now": now}
                self._conn.execute(queries.drop_waiting, dropped)
                return
            self._submitted(row)
        request_id = model.request_id(upload_id, row["round"])
        fields = {**row["fields"], **self._parties(row["parties"])}
        try:
            answer = self._platform.upload(Kind(row["kind"]), request_id, fields)
        except Unanswered as error:
            wait_s = BACKOFF_S[min(row["attempts"], len(BACKOFF_S) - 1)]
            later = {"due_at": now + timedelta(seconds=wait_s), "said": _said(str(error))}
            self._conn.execute(queries.unanswered, later | {"upload_id": upload_id})
            raise
        self._answered(upload_id, answer, row["region_code"])

    def _submitted(self, row: Mapping[str, Any]) -> None:
        event = UploadSubmitted(
            upload_id=row["upload_id"],
            platform=row["platform"],
            kind=row["kind"],
            bill_type=row["bill_type"],
            bill_code=row["bill_code"],
            fact_id=row["fact_id"],
            site_id=row["site_id"],
            codes=row["codes"],
        )
        values = {"upload_id": row["upload_id"], "now": self._now()}
        deciding = decide(model.evolve, None, model.submit, event)
        self._run(row["upload_id"], row["region_code"], deciding, queries.submitted, values)

    def _answered(self, upload_id: str, answer: Answer, region_code: str = "") -> None:
        has_it = answer.code in {model.OK, model.DUPLICATE}
        if has_it:
            deciding = decide(model.evolve, None, model.accept, answer.code)
        else:
            deciding = decide(model.evolve, None, model.reject, answer.code, _said(answer.text))
        values = {
            "upload_id": upload_id,
            "now": self._now(),
            "state": (model.Stage.ACCEPTED if has_it else model.Stage.REJECTED).value,
            "said": "" if has_it else _said(f"{answer.code} {answer.text}".strip()),
        }
        self._run(upload_id, region_code, deciding, queries.answered, values)
        log.info("platform_answered", upload_id=upload_id, answer=answer.code)

    def _run(
        self, upload_id: str, region_code: str, deciding: Any, query: Any, values: Mapping[str, Any]
    ) -> None:
        """Store what was decided, and change the row with it."""
        stream = model.upload_stream(self._platform.name, upload_id)

        def before(cur: psycopg.Cursor[Any]) -> None:
            cur.execute(query, values)

        meta = self._meta(region_code)
        if not execute(self._ledger, Command(stream, deciding, meta, before=before)).events:
            # Decided already, and the row behind it: it cannot be, unless somebody set it back.
            self._conn.execute(query, values)

    def _meta(self, region_code: str, occurred_at: datetime | None = None) -> Meta:
        now = self._now()
        return Meta(
            occurred_at=occurred_at or now,
            recorded_at=now,
            actor_id=f"platform:{self._platform.name}",
            region_code=region_code or WHOLE_COUNTRY,
            source="platform",
        )

    def _parties(self, parties: Mapping[str, str]) -> dict[str, str]:
        """Return who our sites are there: unified codes and names; our own id where unknown."""
        with self._conn.cursor(row_factory=dict_row) as cur:
            rows = cur.execute(queries.parties, (list(parties.values()),)).fetchall()
        known = {row["id"]: row for row in rows}
        found = {}
        for role, site_id in parties.items():
            row = known.get(site_id, {})
            found[f"{role}_user_id"] = row.get("org_code") or site_id
            found[f"{role}_user_name"] = row.get("org_name", "")
            found[f"{role}_address"] = row.get("name", "")
        return found

    # Recalls to facts.

    def _poll(self) -> None:
        now, asked = self._now(), self._progress()["recalled_until"]
        if asked is not None and now - asked < POLL:
            return
        since = asked - OVERLAP if asked is not None else now - FIRST_WINDOW
        found, unread = self._platform.recalls(since, now)
        for recall in found:
            event = hold_of(self._platform.name, recall)
            meta = self._meta("", min(recall.recalled_at, now))
            stream = scan_stream(event.fact_id)
            outcome = execute(self._ledger, Command(stream, partial(_once, event), meta))
            if outcome.events:
                log.warning("recall_received", lot_id=recall.lot_id, notice=recall.recall_no)
        if not unread:  # else the same window is asked again: none is lost
            self._reached(queries.recalled_until, now)

    # What the platform has, day by day.

    def _compare(self) -> None:
        complete, compared = self._complete_day(), self._progress()["compared_until"]
        if compared is not None and compared >= complete:
            return
        for back in reversed(range(COMPARED_DAYS)):
            for kind in Kind:
                self._compare_day(complete - timedelta(days=back), kind)
        self._reached(queries.compared_until, complete)

    def _compare_day(self, day: date, kind: Kind) -> None:
        asked = (self._platform.name, day, kind.value)
        ours: Sequence[Any] = self._conn.execute(queries.accepted_of_day, asked).fetchall()
        if not ours:
            return
        held = self._platform.held(kind, day)
        for upload_id, bill_code, region_code in ours:
            if bill_code in held:
                continue
            deciding = decide(model.evolve, None, model.resubmit, "missing_at_platform")
            values = {"upload_id": upload_id, "now": self._now()}
            try:
                self._run(upload_id, region_code, deciding, queries.lost, values)
            except Conflict:  # a person was quicker and sends it anew
                continue
            log.warning("platform_lost", upload_id=upload_id, bill_code=bill_code)


def _once(event: Event, known: list[Event]) -> list[Event]:
    return [] if known else [event]


def _said(text: str) -> str:
    """Return words of the platform as one line that a row can keep."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line[:ERROR_MAX].encode(errors="replace").decode()
