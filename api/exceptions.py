"""The work list of exceptions over HTTP: what is wrong, whose it is, until when, and its end.

An exception follows from facts: nobody opens one, and it goes when later facts take it back. A
person closes it with grounds, or gives it to another organisation; what is critical, only who
watches over others' work closes. A case is of one place, and each caller sees those of its region:
of what it rests on, the facts told there, and of those told elsewhere what was sent there, without
the place.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Path, Query, Response
from pydantic import Field

from api import asof
from api.asof import AsOf, Position
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
    """A fact that a case rests on; without `site_id` where it was told in another region."""

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
    wanted = read.Wanted(
        kind=kind, severity=severity, state=state, site_id=site_id, owner=owner, overdue=overdue
    )
    # All pages are of the position and the moment of the first.
    after = page.after_key(int, str, str, int) or (*read.FIRST, as_of, None)
    due_ms, last_id, position, now_ms = after
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, position)
        now_ms = _moment(deps, conn, as_of, at) if now_ms is None else now_ms
        seen = read.Seen(at.ledger, now_ms, who.narrowed(region))
        rows = read.cases(conn, wanted, seen, after=(due_ms, last_id), limit=page.limit + 1)
        shown = [_shown(row, now_ms) for row in rows]
        if codes:
            behind = read.evidence(conn, [item["case_id"] for item in shown], seen)
            for item in shown:
                found = behind[item["case_id"]]
                item["codes"] = found.codes
                item["fact_ids"] = [fact["fact_id"] for fact in found.facts]
    return page.answer(
        shown,
        lambda row: [_ms(row["due_at"]), row["case_id"], str(at), now_ms],
        as_of=str(at),
    )


@router.get("/exceptions/{case_id}", response_model=ExceptionCase)
def read_exception(case_id: CaseInPath, who: Reader, deps: DepsOf, as_of: AsOf = None) -> Response:
    """Return one case with the codes and facts it rests on."""
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, as_of)
        seen = read.Seen(at.ledger, _moment(deps, conn, as_of, at), who.region_prefix)
        case = _case(conn, case_id, seen)
    shown = _shown(case.row, seen.now_ms) | {
        "codes": case.behind.codes,
        "facts": [_fact(fact) for fact in case.behind.facts],
        "acts": [{"at": _time(act.pop("at_ms")), **act} for act in case.acts],
        "as_of": str(at),
    }
    return json_answer(shown, headers={"Vaxtrail-Position": str(at)})


@router.post("/exceptions/{case_id}/closing", status_code=201, response_model=Receipt)
def close_exception(case_id: CaseInPath, body: ClosingIn, who: Settler, call: CallOf) -> Response:
    """Close a case with grounds; facts that come later and add to it open it again."""
    case = _known(call, who, case_id)
    kind = Kind(case.row["kind"])
    if RULES[kind].severity is Severity.CRITICAL and who.role not in OVERSIGHT:
        raise NotAllowed("not_permitted", role=who.role.value)
    decision = decide(
        evolve_case,
        NOTHING,
        close,
        is_open=case.row["state"] == "open",
        closings=sum(act["act"] == "closed" for act in case.acts),
        case_id=case_id,
        kind=kind.value,
        codes=case.behind.codes,
        fact_ids=[fact["fact_id"] for fact in case.behind.facts],
        resolution=body.resolution,
        reason=body.reason,
    )
    return _run(call, case.row, decision, body.reason)


@router.post("/exceptions/{case_id}/assignment", status_code=201, response_model=Receipt)
def assign_exception(
    case_id: CaseInPath, body: AssignmentIn, who: Settler, call: CallOf
) -> Response:
    """Give a case to another organisation to settle."""
    row = _known(call, who, case_id).row
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


class _Case(NamedTuple):
    """A case as a caller sees it: its row, what it rests on, what was done with it."""

    row: dict[str, Any]
    behind: read.Evidence
    acts: list[dict[str, Any]]


def _known(call: Call, who: Principal, case_id: str) -> _Case:
    deps = call.deps
    with deps.pool.connection() as conn:
        at = asof.shown_now(conn)
        return _case(conn, case_id, read.Seen(at.ledger, _ms(deps.clock.now()), who.region_prefix))


def _case(conn: Any, case_id: str, seen: read.Seen) -> _Case:
    rows = read.cases(conn, read.Wanted(case_ids=[case_id]), seen, limit=1)
    if not rows:
        raise NotFound("unknown_exception", case_id=case_id)
    behind = read.evidence(conn, [case_id], seen)[case_id]
    return _Case(rows[0], behind, read.acts(conn, case_id, seen.at))


def _moment(deps: Deps, conn: Any, as_of: str | None, at: Position) -> int:
    """Return the moment that decides what is overdue: of an earlier position, its own; ms."""
    if as_of is None:
        return _ms(deps.clock.now())
    if as_of.startswith("L"):
        return read.recorded_until(conn, at.ledger)
    return _ms(datetime.fromisoformat(as_of))


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


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
