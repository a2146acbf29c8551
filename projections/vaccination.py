"""Read model of the clinic's work: doses with their observation, and what is in hand by kind.

`record` holds one row a visit, check, transfer, AEFI, cluster, stock limit, requisition and charge:
its state by name, and in `body` the newest value of each field that its events told. Facts of doses
come from traceability's events; what was declared wrong is left out when rows are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import msgspec
import psycopg
from psycopg.rows import class_row

from domain.shared.events import Event
from domain.traceability.codes import product_of
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
    DoseNotGiven,
    InjectionChecked,
    NotGivenWithdrawn,
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
    DoseNotGiven: ("not_given", ("not_given_id",), "not_given"),
    NotGivenWithdrawn: ("not_given", ("not_given_id",), "withdrawn"),
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


# Codes, dose of the schedule (None = not known) and time of a dose.
Given = tuple[list[str], int | None, datetime]


@dataclass(frozen=True, slots=True)
class OpenCheck:
    """A check that said "may" and keeps a dose of a place for its person."""

    check_id: str
    site_id: str
    code: str
    recipient: str
    product_id: str
    checked_at: datetime

    def met_by(self, dose: DoseAdministered) -> bool:
        """Tell whether a dose is the one that is kept, or in its place."""
        products = map(product_of, dose.codes)
        theirs = dose.recipient == self.recipient and self.product_id in products
        return dose.fact_id == self.check_id or theirs

    def freed_by(self, check: InjectionChecked) -> bool:
        """Tell whether the person was checked for another vial of the product at the same place."""
        theirs = (check.site_id, check.recipient, check.product_id)
        return theirs == (self.site_id, self.recipient, self.product_id)

    def let_go_by(self, told: DoseNotGiven) -> bool:
        """Tell whether the dose is told not to be given, at the place that keeps it."""
        theirs = (told.recipient, told.product_id) == (self.recipient, self.product_id)
        return told.site_id == self.site_id and (told.check_id == self.check_id or theirs)


@dataclass(frozen=True, slots=True)
class Before:
    """What was given to a person, and checks that are open: of a code, or of the person."""

    given: list[Given]
    open: list[OpenCheck]


@dataclass(frozen=True, slots=True)
class Overdue:
    """People whom nobody has let go at a place; `hour`: of the end of their time, since 1970."""

    site_id: str
    region_code: str
    hour: int
    people: int
    since: datetime


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take events of the clinic and of doses into the tables."""
    for given, events in groupby(batch, key=_is_dose):
        if given:
            _take_doses(cur, [envelope for _, envelope in events])
        else:
            _take(cur, events)


def _is_dose(recorded: Recorded) -> bool:
    return isinstance(recorded.envelope.event, DoseAdministered)


def _take_doses(cur: psycopg.Cursor[Any], told: Sequence[Envelope]) -> None:
    """Take doses in a row together: many come so."""
    doses = [(cast(DoseAdministered, envelope.event), envelope) for envelope in told]
    cur.executemany(queries.put_dose, [_dose(event, envelope) for event, envelope in doses])
    whose = [
        (event.fact_id, event.recipient, list(map(product_of, event.codes))) for event, _ in doses
    ]
    cur.executemany(queries.close_given, whose)


def _take(cur: psycopg.Cursor[Any], events: Iterable[Recorded]) -> None:
    for position, envelope in events:
        event = envelope.event
        match event:
            case FactWithdrawn():
                cur.execute(queries.put_withdrawn, (event.fact_id, event.of_site))
            case ObservationEnded():
                told = (event.ended_at, event.reaction, event.reason, event.fact_id)
                cur.execute(queries.end_observation, told)
            case _:
                cur.execute(queries.put_record, _record(event, envelope))
                _keep(cur, event, position)


# What changes the answer of a check.
_BEFORE = tuple(
    cls.TOPIC for cls in (DoseAdministered, InjectionChecked, DoseNotGiven, FactWithdrawn)
)

PROJECTION = Projection(
    name="vaccination",
    version=3,
    topics=(
        DoseAdministered.TOPIC,
        FactWithdrawn.TOPIC,
        ObservationEnded.TOPIC,
        *sorted(cls.TOPIC for cls in _RECORDS),
    ),
    apply=apply,
    ddl=queries.ddl,
)


def _keep(cur: psycopg.Cursor[Any], event: Event, position: int) -> None:
    """Keep a dose for the person of a check, or let go what was kept."""
    match event:
        case InjectionChecked(may=True):
            cur.execute(queries.put_open, (*_kept(event), position))
        case DoseNotGiven():
            let_go = (event.site_id, event.check_id, event.recipient, event.product_id)
            cur.execute(queries.close_not_given, let_go)


def _kept(event: InjectionChecked) -> tuple[str, str, str, str, str, datetime]:
    dose = (event.check_id, event.site_id, event.code, event.recipient, event.product_id)
    return *dose, event.checked_at


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


@contextmanager
def alone(conn: Connection, code: str) -> Iterator[None]:
    """Look at a code and record what follows from it, one check at a time."""
    conn.execute(queries.lock_code, (code,))
    try:
        yield
    finally:
        conn.execute(queries.unlock_code, (code,))


def _open_after(
    open_: dict[str, OpenCheck], event: InjectionChecked, since: datetime
) -> dict[str, OpenCheck]:
    if not event.may:
        return open_
    kept = {n: check for n, check in open_.items() if not check.freed_by(event)}
    if event.checked_at > since:
        kept[event.check_id] = OpenCheck(*_kept(event))
    return kept


def before(conn: Connection, recipient: str, code: str, since: datetime) -> Before:
    """Return what a check must know of a person's doses, and of checks open since a moment.

    As of now: what the read model does not have yet is read off the ledger.
    """
    after = followed(conn, PROJECTION.follower)
    found: dict[tuple[str, str], Given] = {
        (fact_id, site_id): (codes, number, given_at)
        for fact_id, site_id, codes, number, given_at in conn.execute(queries.given, (recipient,))
    }
    asked = {"since": since, "code": code, "recipient": recipient}
    open_: dict[str, OpenCheck] = {
        row[0]: OpenCheck(*row) for row in conn.execute(queries.open_checks, asked)
    }
    checked = dict[str, int | None]()
    for _, envelope in recorded_after(conn, after, _BEFORE, (recipient, code)):
        match envelope.event:
            case InjectionChecked() as event:
                checked[event.check_id] = event.series_dose
                open_ = _open_after(open_, event, since)
            case DoseAdministered() as event:
                open_ = {n: o for n, o in open_.items() if not o.met_by(event)}
                if event.recipient == recipient:
                    number = event.series_dose or checked.get(event.fact_id)
                    told = (list(event.codes), number, envelope.meta.occurred_at)
                    found.setdefault((event.fact_id, event.site_id), told)
            case DoseNotGiven() as event:
                open_ = {n: o for n, o in open_.items() if not o.let_go_by(event)}
            case FactWithdrawn() as event:
                found.pop((event.fact_id, event.of_site), None)
    return Before(list(found.values()), list(open_.values()))


def overdue(conn: Connection, *, since: datetime, until: datetime) -> list[Overdue]:
    """Return places and hours with people not let go whose time was over between two moments."""
    with conn.cursor(row_factory=class_row(Overdue)) as cur:
        return cur.execute(queries.overdue, {"since": since, "until": until}).fetchall()
