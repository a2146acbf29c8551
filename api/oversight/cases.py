"""Inspections and legal holds over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import uuid4

import psycopg
from fastapi import Path, Response
from pydantic import Field

from api import facts
from api.auth import Principal, permission
from api.commands import Call, CallOf, Receipt, receipt
from api.deps import DepsOf
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import (
    Body,
    Items,
    Moment,
    Name,
    NameInPath,
    RegionAsked,
    RegionOrCountry,
    Text,
    Version,
)
from domain.oversight import model
from domain.shared.decide import decide
from domain.shared.errors import Invalid, NotFound
from domain.shared.roles import Role
from domain.traceability.lots import LOT_PATTERN
from projections import accounts
from projections import oversight as read
from store import retention
from store.commands import Answer, Command, Outcome, execute

router = module_router("oversight")


class May(StrEnum):
    """Permissions of inspections and legal holds."""

    INSPECT = "oversight.open_inspection"
    SEE = "oversight.see_inspections"
    HOLD = "oversight.hold_lot"


OPENERS = (Role.REGULATOR, Role.CDC)
SEERS = (*OPENERS, Role.AUDITOR)
CaseNo = Annotated[
    str, Field(pattern=model.CASE_NO_PATTERN, max_length=64, examples=["宁药监查〔2026〕3 号"])
]
LotId = Annotated[str, Field(pattern=LOT_PATTERN, examples=["8474354.A2026573"])]
Opener = Annotated[Principal, permission(May.INSPECT, *OPENERS)]
Seer = Annotated[Principal, permission(May.SEE, *SEERS)]
Holder = Annotated[Principal, permission(May.HOLD, *OPENERS)]


class InspectionIn(Body):
    """Let an inspector's key read reports for one case until a time.

    Of `lot_ids` alone where any are named, else of all that concerns the region.
    """

    key_id: Name
    case_no: CaseNo
    region_code: RegionOrCountry
    lot_ids: Annotated[list[LotId], Field(max_length=model.LOTS_MAX, default_factory=list)]
    valid_until: Moment
    grounds: Text


class Inspection(Body):
    """An inspection; it ends by itself at `valid_until`, or at `ended_at`."""

    inspection_id: str
    key_id: str
    case_no: str
    region_code: RegionOrCountry
    lot_ids: list[str]
    opened_at: datetime
    valid_until: datetime
    ended_at: datetime | None
    opened_by: str
    grounds: str
    in_force: bool
    version: Version


class Ending(Body):
    """Why an inspection ends before its time."""

    reason: Text


class Read(Body):
    """An answer given under an inspection: what was asked, and the SHA-256 of it."""

    position: int
    read_at: datetime
    path: str
    query: str
    as_of: str
    sha256: str


class HoldIn(Body):
    """A case that needs a lot; nothing its chain needs is dropped until the hold is lifted."""

    lot_id: LotId
    case_no: CaseNo
    grounds: Text


class Hold(Body):
    """A legal hold, `lifted_at` null while it holds."""

    lot_id: str
    case_no: str
    grounds: str
    placed_at: datetime
    placed_by: str
    lifted_at: datetime | None
    lifting_grounds: str
    position: int


@router.post("/inspections", status_code=201, response_model=Receipt)
def open_inspection(body: InspectionIn, who: Opener, call: CallOf) -> Response:
    """Open an inspection for a key of the role inspector; a key serves one case at a time."""
    who.require_region(body.region_code)
    with call.deps.pool.connection() as conn:
        key = accounts.key(conn, body.key_id)
    if key is None or key.revoked or key.role != Role.INSPECTOR:
        raise Invalid("not_an_inspector", field="key_id", value=body.key_id)
    who.require_region(key.region_code)
    inspection_id = uuid4().hex[:16]
    decision = decide(
        model.evolve_inspection,
        None,
        model.open_inspection,
        now=call.deps.clock.now(),
        inspection_id=inspection_id,
        **{**body.model_dump(), "lot_ids": tuple(body.lot_ids)},
    )
    return call.run(
        model.inspection_stream(body.key_id),
        decision,
        location=f"{PREFIX}/inspections/{inspection_id}",
        meta=call.meta(region_code=body.region_code, reason=body.grounds),
    )


@router.get("/inspections", response_model=Items[Inspection])
def list_inspections(who: Seer, deps: DepsOf, page: PageOf, region: RegionAsked = None) -> Response:
    """List inspections of the caller's region, those that are over too, by id."""
    with deps.pool.connection() as conn:
        rows = read.inspections(
            conn, region=who.narrowed(region), after=page.after_text(), limit=page.limit + 1
        )
    now = deps.clock.now()
    return page.answer([_shown(row, now) for row in rows], lambda row: [row["inspection_id"]])


@router.get("/inspections/{inspection_id}", response_model=Inspection)
def read_inspection(inspection_id: NameInPath, who: Seer, deps: DepsOf) -> Response:
    """Return one inspection."""
    found = _inspection(who, deps, inspection_id)
    shown = _shown(found, deps.clock.now())
    return json_answer(shown, headers={"ETag": f'"{found.version}"'})


@router.get("/inspections/{inspection_id}/reads", response_model=Items[Read])
def list_reads(inspection_id: NameInPath, who: Seer, deps: DepsOf, page: PageOf) -> Response:
    """List what was read under an inspection, in the order of the ledger."""
    _inspection(who, deps, inspection_id)
    after = page.after_key(int)
    with deps.pool.connection() as conn:
        rows = read.reads(conn, inspection_id, after=after[0] if after else 0, limit=page.limit + 1)
    return page.answer(rows, lambda row: [row.position])


@router.post("/inspections/{inspection_id}/ending", response_model=Receipt)
def end_inspection(inspection_id: NameInPath, body: Ending, who: Opener, call: CallOf) -> Response:
    """End an inspection before its time."""
    found = _inspection(who, call.deps, inspection_id)
    decision = decide(
        model.evolve_inspection,
        None,
        model.end_inspection,
        now=call.deps.clock.now(),
        inspection_id=inspection_id,
        reason=body.reason,
    )
    return call.run(
        model.inspection_stream(found.key_id),
        decision,
        location=f"{PREFIX}/inspections/{inspection_id}",
        meta=call.meta(region_code=found.region_code, reason=body.reason),
    )


@router.post("/legal-holds", status_code=201, response_model=Receipt)
def place_legal_hold(body: HoldIn, who: Holder, call: CallOf) -> Response:
    """Keep what the chain of a lot needs, its readings too, whatever the retention."""
    who.require_country()
    if not facts.lot_known(call.deps, body.lot_id):
        raise Invalid("unknown_lot", field="lot_id", lot_id=body.lot_id)
    with call.deps.pool.connection() as conn:
        days = read.days_of_lot(conn, body.lot_id)
    first, last = days or (call.deps.clock.now().date(), read.FOR_EVER)

    def keep(cur: psycopg.Cursor[Any]) -> None:
        retention.hold_lot(cur, body.lot_id, body.case_no, first, last)

    return _hold(call, body, model.place_legal_hold, keep)


@router.post("/legal-holds/{lot_id}/lifting", response_model=Receipt)
def lift_legal_hold(
    lot_id: Annotated[str, Path(pattern=LOT_PATTERN)], body: HoldIn, who: Holder, call: CallOf
) -> Response:
    """Lift the hold of a case on a lot; other cases still hold it."""
    who.require_country()
    if lot_id != body.lot_id:
        raise Invalid("bad_field", field="lot_id")

    def let_go(cur: psycopg.Cursor[Any]) -> None:
        retention.lift_lot(cur, lot_id, body.case_no)

    return _hold(call, body, model.lift_legal_hold, let_go)


@router.get("/legal-holds", response_model=Items[Hold])
def list_legal_holds(_who: Seer, deps: DepsOf, page: PageOf) -> Response:
    """List the legal holds, lifted ones too, by lot, case and order; the same for every region."""
    after = page.after_key(str, str, int) or ("", "", 0)
    with deps.pool.connection() as conn:
        rows = read.legal_holds(conn, after=after, limit=page.limit + 1)
    return page.answer(rows, lambda row: [row.lot_id, row.case_no, row.position])


def _hold(call: Call, body: HoldIn, command: Any, before: Any) -> Response:
    """Decide on the holds of a lot; `before`: what to do to its days in the same transaction."""
    telemetry = call.deps.telemetry.last_position()

    def answer(outcome: Outcome) -> Answer:
        return receipt(outcome, f"{PREFIX}/legal-holds/{body.lot_id}", telemetry)

    decision = decide(model.evolve_legal_holds, model.NO_HOLDS, command, **body.model_dump())
    asked = Command(
        model.legal_hold_stream(body.lot_id),
        decision,
        call.meta(reason=body.grounds),
        before=before,
        idempotency=call.idempotency(answer),
    )
    return call.answered(execute(call.deps.ledger, asked), answer)


def _inspection(who: Principal, deps: Any, inspection_id: str) -> read.Inspection:
    with deps.pool.connection() as conn:
        found = read.inspection(conn, inspection_id)
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_inspection")
    return found


def _shown(found: read.Inspection, now: datetime) -> dict[str, Any]:
    in_force = found.ended_at is None and now < found.valid_until
    return asdict(found) | {"in_force": in_force}
