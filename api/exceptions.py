"""The work list of exceptions over HTTP: what is wrong, whose it is, until when, and its end.

An exception follows from facts: nobody opens one, and it goes when later facts take it back. A
person closes it with grounds, or gives it to another organisation; what is critical, only who
watches over others' work closes. Each caller sees the cases of its region.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response
from pydantic import Field

from api import asof
from api.asof import AsOf
from api.auth import OVERSIGHT, STAFF, Principal, permission
from api.commands import Call, CallOf, Receipt
from api.deps import Deps, DepsOf
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import Body, NameAsked, RegionAsked, Text
from domain.shared.decide import decide
from domain.shared.errors import NotAllowed, NotFound
from domain.shared.events import Event
from domain.shared.roles import Role
from domain.traceability.cases import Resolution, assign, case_stream_of, close, evolve_case
from domain.traceability.kinds import RULES, Kind, Severity
from projections.traceability import cases as read

router = module_router("traceability")

CLOSERS = (
    Role.CDC,
    Role.REGULATOR,
    Role.ADMIN,
    Role.CLINIC,
    Role.HOSPITAL,
    Role.PHARMACIST,
    Role.STORE_KEEPER,
    Role.SUPPLIER,
)
NOTHING: tuple[Event, ...] = ()
RESOLUTIONS = tuple(resolution.value for resolution in Resolution)
STATES = ("open", "closed", "resolved")
ORG_PATTERN = r"^[0-9A-Z]{18}$"


class May(StrEnum):
    """Permissions of the work list."""

    READ = "traceability.read_exceptions"
    SETTLE = "traceability.settle_exceptions"


class ListedException(Body):
    """One case. `state`: open, closed by a person, or resolved (later facts took it back).

    `units`: smallest packs concerned. `owner`: the organisation that is to settle it until
    `due_at`. `reopened`: facts were added after a person closed it.
    """

    case_id: str
    kind: Kind
    severity: Severity
    blocking: bool
    state: Literal[STATES]  # type: ignore[valid-type]  # the tuple above
    reopened: bool
    site_id: str
    region: str
    owner: str
    occurred_at: datetime
    opened_at: datetime
    due_at: datetime
    ended_at: datetime | None
    overdue: bool
    units: int
    codes: list[str] | None = None  # where they were asked for
    fact_ids: list[str] | None = None


class EvidenceFact(Body):
    """A fact that a case rests on."""

    fact_id: str
    position: int
    step: str
    site_id: str
    occurred_at: datetime
    recorded_at: datetime


class Act(Body):
    """What a person did with a case."""

    act: str
    at: datetime
    actor_id: str
    org_code: str
    resolution: str
    reason: str


class ExceptionCase(ListedException):
    """A case with its evidence: all its codes, and the facts in their order."""

    facts: list[EvidenceFact]
    acts: list[Act]
    as_of: str = Field(pattern=asof.POSITION_PATTERN)


class ExceptionList(Body):
    """A page of cases, first due first, and the position they were known at."""

    items: list[ListedException]
    next: str | None
    as_of: str = Field(pattern=asof.POSITION_PATTERN)


class ClosingIn(Body):
    """How a case was settled, and on what grounds."""

    resolution: Literal[RESOLUTIONS]  # type: ignore[valid-type]  # the set stands in the domain
    reason: Text


class AssignmentIn(Body):
    """Which organisation is to settle a case from now on, and why."""

    org_code: str = Field(pattern=ORG_PATTERN, examples=["126402024540000003"])
    reason: Text


Reader = Annotated[Principal, permission(May.READ, *STAFF)]
Settler = Annotated[Principal, permission(May.SETTLE, *CLOSERS)]
CaseInPath = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")]


@router.get("/exceptions", response_model=ExceptionList)
def list_exceptions(
    *,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    kind: Kind | None = None,
    severity: Severity | None = None,
    state: Annotated[str | None, Query(pattern=r"^(open|closed|resolved)$")] = None,
    region: RegionAsked = None,
    site_id: NameAsked = None,
    owner: Annotated[str | None, Query(pattern=ORG_PATTERN)] = None,
    overdue: bool = False,
    codes: bool = False,
    as_of: AsOf = None,
) -> Response:
    """List exceptions, those due first before the others; `codes`: with codes and facts of each."""
    after = page.after_key(int, str) or (-(2**63), "")
    wanted = read.Wanted(
        kind=kind,
        severity=severity,
        state=state,
        prefix=who.narrowed(region),
        site_id=site_id,
        owner=owner,
        overdue=overdue,
    )
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, as_of)
        now_ms = _now_ms(deps, conn, at.ledger if as_of else None)
        rows = read.cases(
            conn,
            wanted,
            at=at.ledger,
            now_ms=now_ms,
            after=(after[0], after[1]),
            limit=page.limit + 1,
        )
        shown = [_shown(row, now_ms) for row in rows]
        for item in shown if codes else ():
            found = read.evidence(conn, item["case_id"], at.ledger)
            item["codes"] = found.codes
            item["fact_ids"] = [fact["fact_id"] for fact in found.facts]
    return page.answer(
        shown,
        lambda row: [round(row["due_at"].timestamp() * 1000), row["case_id"]],
        as_of=str(at),
    )


@router.get("/exceptions/{case_id}", response_model=ExceptionCase)
def read_exception(case_id: CaseInPath, who: Reader, deps: DepsOf, as_of: AsOf = None) -> Response:
    """Return one case with the codes and facts it rests on."""
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, as_of)
        now_ms = _now_ms(deps, conn, at.ledger if as_of else None)
        row = _case(conn, who, case_id, at.ledger, now_ms)
        found = read.evidence(conn, case_id, at.ledger)
    shown = _shown(row, now_ms) | {
        "codes": found.codes,
        "facts": [_fact(fact) for fact in found.facts],
        "acts": [{"at": _time(act.pop("at_ms")), **act} for act in found.acts],
        "as_of": str(at),
    }
    return json_answer(shown, headers={"Vaxtrail-Position": str(at)})


@router.post("/exceptions/{case_id}/closing", status_code=201, response_model=Receipt)
def close_exception(case_id: CaseInPath, body: ClosingIn, who: Settler, call: CallOf) -> Response:
    """Close a case with grounds; facts that come later and add to it open it again."""
    row, found = _known(call, who, case_id)
    kind = Kind(row["kind"])
    if RULES[kind].severity is Severity.CRITICAL and who.role not in OVERSIGHT:
        raise NotAllowed("not_permitted", role=who.role.value)
    decision = decide(
        evolve_case,
        NOTHING,
        close,
        is_open=row["state"] == "open",
        closings=sum(act["act"] == "closed" for act in found.acts),
        case_id=case_id,
        kind=kind.value,
        codes=found.codes,
        fact_ids=[fact["fact_id"] for fact in found.facts],
        resolution=body.resolution,
        reason=body.reason,
    )
    return _run(call, row, decision, body.reason)


@router.post("/exceptions/{case_id}/assignment", status_code=201, response_model=Receipt)
def assign_exception(
    case_id: CaseInPath, body: AssignmentIn, who: Settler, call: CallOf
) -> Response:
    """Give a case to another organisation to settle."""
    row, _ = _known(call, who, case_id)
    decision = decide(
        evolve_case,
        NOTHING,
        assign,
        case_id=case_id,
        kind=row["kind"],
        org_code=body.org_code,
        reason=body.reason,
    )
    return _run(call, row, decision, body.reason)


def _run(call: Call, row: Mapping[str, Any], decision: Any, reason: str) -> Response:
    return call.run(
        case_stream_of(Kind(row["kind"]), row["key"]),
        decision,
        location=f"{PREFIX}/exceptions/{row['case_id']}",
        meta=call.meta(region_code=row["region"], reason=reason),
    )


def _known(call: Call, who: Principal, case_id: str) -> tuple[dict[str, Any], read.Evidence]:
    with call.deps.pool.connection() as conn:
        at = asof.shown_now(conn).ledger
        row = _case(conn, who, case_id, at, 0)
        return row, read.evidence(conn, case_id, at)


def _case(conn: Any, who: Principal, case_id: str, at: int, now_ms: int) -> dict[str, Any]:
    wanted = read.Wanted(case_id=case_id, prefix=who.region_prefix)
    rows = read.cases(conn, wanted, at=at, now_ms=now_ms, limit=1)
    if not rows:
        raise NotFound("unknown_exception", case_id=case_id)
    return rows[0]


def _now_ms(deps: Deps, conn: Any, at: int | None) -> int:
    """Return the moment that decides what is overdue: of an earlier position, its own."""
    if at is None:
        return round(deps.clock.now().timestamp() * 1000)
    return read.recorded_until(conn, at)


def _shown(row: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    rule = RULES[Kind(row["kind"])]
    ended_ms = row["ended_ms"]
    return {
        **{name: row[name] for name in ("case_id", "kind", "state", "reopened", "site_id")},
        **{name: row[name] for name in ("region", "owner", "units")},
        "severity": rule.severity.value,
        "blocking": rule.blocking,
        "occurred_at": _time(row["t_ms"]),
        "opened_at": _time(row["opened_ms"]),
        "due_at": _time(row["due_ms"]),
        "ended_at": None if ended_ms is None else _time(ended_ms),
        "overdue": row["state"] == "open" and row["due_ms"] < now_ms,
    }


def _fact(fact: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: fact[name] for name in ("fact_id", "position", "step", "site_id")},
        "occurred_at": _time(fact["t_ms"]),
        "recorded_at": _time(fact["recorded_ms"]),
    }


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
