"""Read model of the clinic's work: doses with their observation, and what is in hand by kind.

`record` holds one row a visit, check, transfer, AEFI, cluster, stock limit, requisition and charge:
its state by name, and in `body` the newest value of each field that its events told. Facts of doses
come from traceability's events; what was declared wrong is left out when rows are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg.rows import class_row

from domain.shared.events import Event
from domain.traceability.events import DoseAdministered, FactWithdrawn
from domain.vaccination.charges import Status
from domain.vaccination.events import (
    AefiClassified,
    AefiClusterFound,
    AefiFollowedUp,
    AefiReported,
    ChargeCancelled,
    ChargePaid,
    ChargeRaised,
    ChargeRefunded,
    ConsentDecided,
    InjectionChecked,
    ObservationEnded,
    RefundAsked,
    RequisitionApproved,
    RequisitionAsked,
    RequisitionDeclined,
    ScreeningAnswered,
    StockLimitSet,
    TransferAccepted,
    TransferDeclined,
    TransferRequested,
    VisitOpened,
)
from domain.vaccination.model import observed_until
from projections.projection import Projection
from projections.unfollowed import followed, recorded_after
from store.envelope import Envelope, Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "vaccination.sql")

Connection = psycopg.Connection[Any]
State = str | Callable[[Any], str]

# Event -> kind of record, the fields that are its id, the state it leads to.
_RECORDS: dict[type[Event], tuple[str, tuple[str, ...], State]] = {
    VisitOpened: ("visit", ("visit_id",), "open"),
    ConsentDecided: ("visit", ("visit_id",), lambda e: "consented" if e.given else "refused"),
    ScreeningAnswered: ("visit", ("visit_id",), lambda e: "stopped" if e.stops else "screened"),
    InjectionChecked: ("check", ("check_id",), lambda e: "may" if e.may else "may_not"),
    TransferRequested: ("transfer", ("transfer_id",), "waiting"),
    TransferAccepted: ("transfer", ("transfer_id",), "accepted"),
    TransferDeclined: ("transfer", ("transfer_id",), "declined"),
    AefiReported: ("aefi", ("aefi_id",), "reported"),
    AefiFollowedUp: ("aefi", ("aefi_id",), "followed_up"),
    AefiClassified: ("aefi", ("aefi_id",), "closed"),
    AefiClusterFound: ("cluster", ("cluster_id",), "found"),
    StockLimitSet: ("limit", ("site_id", "product_id"), "set"),
    RequisitionAsked: ("requisition", ("requisition_id",), "asked"),
    RequisitionApproved: ("requisition", ("requisition_id",), "approved"),
    RequisitionDeclined: ("requisition", ("requisition_id",), "declined"),
    ChargeRaised: ("charge", ("charge_id",), Status.DUE.value),
    ChargePaid: ("charge", ("charge_id",), Status.PAID.value),
    ChargeCancelled: ("charge", ("charge_id",), Status.CANCELLED.value),
    RefundAsked: ("charge", ("charge_id",), Status.REFUND_ASKED.value),
    ChargeRefunded: ("charge", ("charge_id",), Status.REFUNDED.value),
}
# Fields that name the other site of a thing and its region.
_OTHER_SITE = ("supplier_id", "from_site_id")
_OTHER_REGION = ("supplier_region_code", "from_region_code")


@dataclass(frozen=True, slots=True)
class Record:
    """One thing in hand as it stands now; `body` holds the fields that its events told."""

    id: str
    state: str
    site_id: str
    region_code: str
    changed_at: datetime
    version: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dose:
    """A dose that was given, and the observation after it.

    `may`: what the check before it said, None without one. `recorded_at` - `given_at` tells how
    late it was told.
    """

    fact_id: str
    site_id: str
    region_code: str
    codes: list[str]
    recipient: str
    given_at: datetime
    recorded_at: datetime
    due_at: datetime
    ended_at: datetime | None
    reaction: bool | None
    reason: str
    may: bool | None
    series_dose: int | None


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take events of the clinic and of doses into the tables."""
    for _, envelope in batch:
        event = envelope.event
        match event:
            case DoseAdministered():
                cur.execute(queries.put_dose, _dose(event, envelope))
            case FactWithdrawn():
                cur.execute(queries.put_withdrawn, (event.fact_id, event.of_site))
            case ObservationEnded():
                told = (event.ended_at, event.reaction, event.reason, event.fact_id)
                cur.execute(queries.end_observation, told)
            case _:
                cur.execute(queries.put_record, _record(event, envelope))


PROJECTION = Projection(
    name="vaccination",
    version=1,
    topics=(
        DoseAdministered.TOPIC,
        FactWithdrawn.TOPIC,
        ObservationEnded.TOPIC,
        *sorted(cls.TOPIC for cls in _RECORDS),
    ),
    apply=apply,
    ddl=queries.ddl,
)


def _dose(event: DoseAdministered, envelope: Envelope) -> dict[str, Any]:
    meta = envelope.meta
    return {
        "fact_id": event.fact_id,
        "site_id": event.site_id,
        "region_code": meta.region_code,
        "codes": list(event.codes),
        "recipient": event.recipient,
        "given_at": meta.occurred_at,
        "recorded_at": meta.recorded_at,
        "due_at": observed_until(meta.occurred_at),
        "series_dose": event.series_dose,
    }


def _record(event: Event, envelope: Envelope) -> dict[str, Any]:
    kind, key, state = _RECORDS[type(event)]
    body: dict[str, Any] = msgspec.to_builtins(event)
    other = [
        next((body[n] for n in names if n in body), "") for names in (_OTHER_SITE, _OTHER_REGION)
    ]
    return {
        "kind": kind,
        "id": "/".join(body[name] for name in key),
        "state": state if isinstance(state, str) else state(event),
        "site_id": body.get("to_site_id") or body.get("site_id", ""),
        "region_code": envelope.meta.region_code,
        "other_site_id": other[0],
        "other_region": other[1],
        "changed_at": envelope.meta.recorded_at,
        "version": envelope.originator_version,
        "body": msgspec.json.encode(body).decode(),
    }


def records(
    conn: Connection,
    kind: str,
    *,
    region: str = "",
    site_id: str | None = None,
    state: str | None = None,
    after: str = "",
    limit: int,
) -> list[Record]:
    """Return up to `limit` records of a kind by id, after an id.

    Of a region (a prefix of its code), of one site; the other site of a thing counts as well.
    """
    wanted = {"kind": kind, "region": region, "site_id": site_id, "state": state}
    with conn.cursor(row_factory=class_row(Record)) as cur:
        return cur.execute(queries.records, {**wanted, "after": after, "limit": limit}).fetchall()


def doses(
    conn: Connection,
    *,
    region: str = "",
    site_id: str | None = None,
    observed: bool | None = None,
    after: tuple[datetime, str],
    limit: int,
) -> list[Dose]:
    """Return up to `limit` doses by time, after (time, fact id); `observed`: still, or no more."""
    wanted = {"region": region, "site_id": site_id, "observed": observed}
    page = {"after_at": after[0], "after_id": after[1], "limit": limit}
    with conn.cursor(row_factory=class_row(Dose)) as cur:
        return cur.execute(queries.doses, wanted | page).fetchall()


def given(conn: Connection, recipient: str) -> list[tuple[list[str], int | None, datetime]]:
    """Return codes, dose of the schedule (None = not known) and time of all doses of a person.

    As of now: those that the read model does not have yet are read off the ledger.
    """
    if not recipient:
        return []
    after = followed(conn, PROJECTION.follower)
    found: dict[tuple[str, str], tuple[list[str], int | None, datetime]] = {
        (fact_id, site_id): (codes, number, given_at)
        for fact_id, site_id, codes, number, given_at in conn.execute(queries.given, (recipient,))
    }
    checked = dict[str, int | None]()
    topics = (DoseAdministered.TOPIC, InjectionChecked.TOPIC, FactWithdrawn.TOPIC)
    for _, envelope in recorded_after(conn, after, topics, (recipient,)):
        match envelope.event:
            case InjectionChecked() as event:
                checked[event.check_id] = event.series_dose
            case DoseAdministered() as event if event.recipient == recipient:
                number = event.series_dose or checked.get(event.fact_id)
                told = (list(event.codes), number, envelope.meta.occurred_at)
                found.setdefault((event.fact_id, event.site_id), told)
            case FactWithdrawn() as event:
                found.pop((event.fact_id, event.of_site), None)
    return list(found.values())
