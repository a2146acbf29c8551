"""What the outside is told: uploads to the national platform, tables of immunizations, FHIR."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

import psycopg
from fastapi import Path, Query, Response

from api import elements
from api.auth import OVERSIGHT, Principal, permission
from api.commands import Call, CallOf, Receipt, receipt
from api.custody_scope import CLINICAL
from api.deps import DepsOf
from api.fhir.routes import May as Fhir
from api.fhir.routes import router as fhir
from api.imports import XLSX
from api.injections import CLINIC_STAFF
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import Body, Day, Items, Moment, RegionAsked, Text
from domain.platform import model
from domain.platform.events import UploadResubmitted
from domain.platform.uploads import ZONE, Kind
from domain.shared.decide import decide
from domain.shared.errors import Invalid, NotFound
from domain.shared.roles import Role
from projections import platform as read
from store.commands import Answer, Command, Outcome, execute

router = module_router("platform")
router.routes.extend(fhir.routes)

# Rows of a table, and days of a report, in one answer.
ROWS_MAX = 20_000
DAYS_MAX = 92


class May(StrEnum):
    """Permissions of the connector."""

    WATCH = "platform.watch_uploads"
    MEND = "platform.mend_uploads"


Watcher = Annotated[Principal, permission(May.WATCH, *OVERSIGHT)]
Mender = Annotated[Principal, permission(May.MEND, Role.CDC, Role.STEWARD)]
UploadInPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
DayAsked = Annotated[Day | None, Query(examples=["2026-03-02"])]


class UploadOut(Body):
    """An upload: what it tells, where it stands, what the platform said last.

    `missing`: the platform had lost it when it was last compared, and it is sent anew.
    """

    upload_id: str
    platform: str
    kind: str
    bill_type: str
    bill_code: str
    fact_id: str
    site_id: str
    region_code: str
    day: Day
    codes: int
    state: str
    round: int
    attempts: int
    missing: bool
    changed_at: Moment
    last_error: str


class Reason(Body):
    """Why it is done: what was mended, or how it was settled."""

    reason: Text


class Line(Body):
    """Counts of a day and kind: ours = accepted + rejected + settled + waiting."""

    day: Day
    kind: str
    ours: int
    accepted: int
    rejected: int
    settled: int
    waiting: int
    missing: int


class Reconciliation(Body):
    """The daily report: by local day and kind of upload."""

    first: Day
    last: Day
    lines: list[Line]


@router.get("/platform/uploads", response_model=Items[UploadOut])
def list_uploads(
    *,
    who: Watcher,
    deps: DepsOf,
    page: PageOf,
    state: Annotated[Literal[tuple(model.Stage)] | None, Query()] = None,  # type: ignore[valid-type]
    kind: Annotated[Literal[tuple(Kind)] | None, Query()] = None,  # type: ignore[valid-type]
    region_code: RegionAsked = None,
) -> Response:
    """List uploads by id; those `rejected` wait for a person."""
    with deps.pool.connection() as conn:
        rows = read.uploads(
            conn,
            region=who.narrowed(region_code),
            state=state,
            kind=kind,
            after=page.after_text(),
            limit=page.limit + 1,
        )
    return page.answer(rows, lambda row: [row.upload_id])


@router.post("/platform/uploads/{upload_id}/resubmission", response_model=Receipt, status_code=201)
def resubmit_upload(upload_id: UploadInPath, body: Reason, who: Mender, call: CallOf) -> Response:
    """Send a rejected upload anew, after what was wrong is mended."""
    return _decided(
        call, who, upload_id, "resubmission", command=model.resubmit, reason=body.reason
    )


@router.post("/platform/uploads/{upload_id}/settlement", response_model=Receipt, status_code=201)
def settle_upload(upload_id: UploadInPath, body: Reason, who: Mender, call: CallOf) -> Response:
    """Close a rejected upload that was put right at the platform itself."""
    return _decided(call, who, upload_id, "settlement", command=model.settle, reason=body.reason)


def _decided(
    call: Call, who: Principal, upload_id: str, what: str, *, command: Any, reason: str
) -> Response:
    """Decide on an upload and change its row in one transaction."""
    with call.deps.pool.connection() as conn:
        row = read.upload(conn, upload_id)
    if row is None:
        raise NotFound("unknown_upload")
    who.require_seen(row.region_code, "unknown_upload")
    stream = model.upload_stream(row.platform, upload_id)
    deciding = decide(model.evolve, None, command, reason)
    kept: list[Any] = []

    def decide_and_keep(events: list[Any]) -> list[Any]:
        kept[:] = deciding(events)
        return kept

    def before(cur: psycopg.Cursor[Any]) -> None:
        event = kept[0]
        anew = isinstance(event, UploadResubmitted)
        values = {
            "upload_id": upload_id,
            "state": (model.Stage.SUBMITTED if anew else model.Stage.SETTLED).value,
            "round": event.round if anew else row.round,
            "now": call.deps.clock.now(),
        }
        cur.execute(read.queries.put_state, values)

    location = f"{PREFIX}/platform/uploads/{upload_id}/{what}"
    telemetry = call.deps.telemetry.last_position()

    def answer(outcome: Outcome) -> Answer:
        return receipt(outcome, location, telemetry)

    outcome = execute(
        call.deps.ledger,
        Command(
            stream,
            decide_and_keep,
            call.meta(region_code=row.region_code, reason=reason),
            before=before,
            idempotency=call.idempotency(answer),
        ),
    )
    return call.answered(outcome, answer)


@router.get("/platform/reconciliation", response_model=Reconciliation)
def read_reconciliation(
    who: Watcher,
    deps: DepsOf,
    first: DayAsked = None,
    last: DayAsked = None,
    region_code: RegionAsked = None,
) -> Response:
    """Count by day and kind what is ours, accepted, rejected, waiting, and missing there.

    The last 7 days where none are named.
    """
    begins, ends = _days(deps.clock.now(), first, last)
    with deps.pool.connection() as conn:
        lines = read.reconciliation(conn, first=begins, last=ends, region=who.narrowed(region_code))
    return json_answer({"first": begins, "last": ends, "lines": lines})


def _days(now: datetime, first: date | None, last: date | None) -> tuple[date, date]:
    ends = last or now.astimezone(ZONE).date()
    begins = first or max(ends, date(1, 1, 8)) - timedelta(days=6)
    if not 0 <= (ends - begins).days < DAYS_MAX:
        raise Invalid("too_many_days", field="first", max=DAYS_MAX)
    return begins, ends


@router.get(
    "/platform/immunizations",
    responses={200: {"content": {XLSX: {}, "text/csv": {}}, "description": "A table"}},
)
def export_immunizations(
    *,
    who: Annotated[Principal, permission(Fhir.READ, Role.CDC, *CLINIC_STAFF)],
    deps: DepsOf,
    first: DayAsked = None,
    last: DayAsked = None,
    form: Annotated[Literal["csv", "xlsx"], Query(alias="format")] = "csv",
    region_code: RegionAsked = None,
) -> Response:
    """Return immunizations by local day as a table of the configured data elements."""
    begins, ends = _days(deps.clock.now(), first, last)
    asked = read.Asked(
        region=who.narrowed(region_code),
        given_from=_midnight(begins),
        given_to=_midnight(min(ends, date(9999, 12, 29)) + timedelta(days=1)),
    )
    columns = elements.load(deps.elements)
    with deps.pool.connection() as conn:
        rows = read.immunizations(conn, asked, limit=ROWS_MAX + 1)
    if len(rows) > ROWS_MAX:
        raise Invalid("too_many_immunizations", field="first", max=ROWS_MAX)
    people = who.role in CLINICAL
    table = [elements.headings(columns)]
    table += [elements.cells(row, columns, people=people) for row in rows]
    name = f"immunizations-{begins:%Y%m%d}-{ends:%Y%m%d}.{form}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if form == "xlsx":
        return Response(elements.as_xlsx(table), media_type=XLSX, headers=headers)
    return Response(elements.as_csv(table), media_type="text/csv; charset=utf-8", headers=headers)


def _midnight(day: date) -> datetime:
    return datetime.combine(max(day, date(1, 1, 3)), time(), ZONE)
