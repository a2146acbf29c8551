"""Suspected adverse events over HTTP; a cluster by lot is told of through the alerts' outbox."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

import psycopg
from fastapi import Response
from pydantic import Field

from alerts import notices
from api.auth import Principal, permission
from api.commands import Call, CallOf, Receipt, receipt, state_of, versioned
from api.deps import Deps, DepsOf
from api.doses import FACT_PATTERN, dose_of
from api.injections import CLINIC_STAFF, list_records, without_people
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import Body, Items, Moment, Name, NameAsked, NameInPath, Note, RegionAsked
from api.vials import vials
from domain.shared.decide import decide
from domain.shared.errors import NotFound
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.shared.roles import Role
from domain.vaccination import aefi as model
from domain.vaccination.events import AefiClusterFound, AefiCounted, AefiReported
from domain.vaccination.rules import CAUSES, OUTCOMES, SIGNS
from store.commands import Answer, Command, Decide, Outcome, execute

router = module_router("vaccination")


class May(StrEnum):
    """Permissions of AEFI."""

    READ = "vaccination.read_aefi"
    REPORT = "vaccination.report_aefi"
    CLASSIFY = "vaccination.classify_aefi"


class AefiIn(Body):
    """What was seen after a dose. No names, no numbers of people, in the note or elsewhere.

    Without an `aefi_id`, dose, onset and signs make it: the same told again is the same report.
    """

    aefi_id: Name | None = None
    fact_id: Annotated[str, Field(pattern=FACT_PATTERN, description="The fact of the dose.")]
    onset_at: Moment
    serious: bool
    signs: Annotated[
        list[Literal[SIGNS]],  # type: ignore[valid-type]  # the list stands in the domain
        Field(min_length=1, max_length=len(SIGNS), examples=[["fever"]]),
    ]
    note: Note = ""


class FollowUpIn(Body):
    """How it went on."""

    followed_at: Moment
    serious: bool
    outcome: Literal[OUTCOMES]  # type: ignore[valid-type]  # as above
    note: Note = ""


class ClassificationIn(Body):
    """What the experts found the cause to be."""

    cause: Literal[CAUSES]  # type: ignore[valid-type]  # as above
    note: Note = ""


class Aefi(Body):
    """A report as it stands: the newest of what was told."""

    aefi_id: str
    fact_id: str
    site_id: str
    region_code: str
    code: str
    product_id: str
    lot_id: str
    recipient: str = ""
    onset_at: datetime
    serious: bool
    signs: list[str]
    note: str
    followed_at: datetime | None = None
    outcome: str = ""
    cause: str = ""
    state: str
    changed_at: datetime
    version: int


class FollowUp(Body):
    """How it went on at a moment."""

    followed_at: datetime
    serious: bool
    outcome: str
    note: str


class AefiWhole(Body):
    """A report with everything that followed, oldest first."""

    aefi_id: str
    fact_id: str
    site_id: str
    code: str
    product_id: str
    lot_id: str
    recipient: str = ""
    onset_at: datetime
    serious: bool
    signs: list[str]
    note: str
    followed: list[FollowUp]
    cause: str
    version: int


class Cluster(Body):
    """Reports of one lot that together reached the limit of their day's rule."""

    cluster_id: str
    lot_id: str
    aefi_ids: list[str]
    region_codes: list[str]
    serious: int
    first_onset_at: datetime
    last_onset_at: datetime
    limit: int
    window_days: int
    rule_from: str
    state: str
    region_code: str
    changed_at: datetime
    version: int


Reporter = Annotated[Principal, permission(May.REPORT, Role.CDC, *CLINIC_STAFF)]
Reader = Annotated[Principal, permission(May.READ, Role.CDC, Role.REGULATOR, *CLINIC_STAFF)]


@router.post("/vaccination/aefi", status_code=201, response_model=Receipt)
def report_aefi(body: AefiIn, who: Reporter, call: CallOf) -> Response:
    """Report a suspected adverse event after a dose."""
    deps, now = call.deps, call.deps.clock.now()
    dose, meta = dose_of(deps, who, body.fact_id)
    with deps.pool.connection() as conn:
        (vial,) = vials(deps, conn, dose.codes[:1], now)
    signs = ",".join(sorted(body.signs))
    onset = body.onset_at.astimezone(UTC).isoformat()
    said = stream_id("vaccination.aefi_said", body.fact_id, onset, signs)
    aefi_id = body.aefi_id or said.hex
    reported = AefiReported(
        aefi_id=aefi_id,
        fact_id=body.fact_id,
        site_id=dose.site_id,
        code=vial.code,
        product_id=vial.product_id,
        lot_id=vial.lot_id or f"{vial.product_id}.?",
        recipient=dose.recipient,
        onset_at=body.onset_at,
        serious=body.serious,
        signs=tuple(body.signs),
        note=body.note,
    )
    decision = decide(
        model.evolve, None, model.report, reported=reported, given_at=meta.occurred_at, now=now
    )
    return _counted(call, reported, meta.region_code, decision, serious=body.serious)


@router.post("/vaccination/aefi/{aefi_id}/follow-ups", status_code=201, response_model=Receipt)
def follow_up_aefi(aefi_id: NameInPath, body: FollowUpIn, who: Reporter, call: CallOf) -> Response:
    """Add how it went on; what became serious counts as such for the lot."""
    known, region = _known(call.deps, who, aefi_id)
    decision = decide(model.evolve, None, model.follow_up, **body.model_dump())
    serious = known.serious or body.serious
    return _counted(call, known.reported, region, decision, serious=serious)


@router.post("/vaccination/aefi/{aefi_id}/classification", status_code=201, response_model=Receipt)
def classify_aefi(
    aefi_id: NameInPath,
    body: ClassificationIn,
    who: Annotated[Principal, permission(May.CLASSIFY, Role.CDC)],
    call: CallOf,
) -> Response:
    """Close a report with its cause."""
    _, region = _known(call.deps, who, aefi_id)
    return call.run(
        model.aefi_stream(aefi_id),
        decide(model.evolve, None, model.classify, **body.model_dump()),
        location=f"{PREFIX}/vaccination/aefi/{aefi_id}",
        meta=call.meta(region_code=region),
    )


@router.get("/vaccination/aefi", response_model=Items[Aefi])
def list_aefi(
    *,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    site_id: NameAsked = None,
    state: Literal["reported", "followed_up", "closed"] | None = None,
) -> Response:
    """List the reports of the caller's region, by id."""
    asked: dict[str, Any] = {"region": region, "site_id": site_id, "state": state}
    return list_records(deps, who, page, "aefi", **asked)


@router.get("/vaccination/aefi/{aefi_id}", response_model=AefiWhole)
def read_aefi(aefi_id: NameInPath, who: Reader, deps: DepsOf) -> Response:
    """Return one report with everything that followed."""
    known, _ = _known(deps, who, aefi_id)
    _, version = versioned(deps.ledger, model.aefi_stream(aefi_id), model.evolve)
    shown = {
        **asdict(known.reported),
        "serious": known.serious,
        "followed": [
            {name: value for name, value in asdict(each).items() if name != "aefi_id"}
            for each in known.followed
        ],
        "cause": known.classified.cause if known.classified else "",
        "version": version,
    }
    return json_answer(without_people(who, shown), headers={"ETag": f'"{version}"'})


@router.get("/vaccination/aefi-clusters", response_model=Items[Cluster])
def list_clusters(who: Reader, deps: DepsOf, page: PageOf, region: RegionAsked = None) -> Response:
    """List clusters of reports by lot that a report of the caller's region completed."""
    asked = {"region": region, "site_id": None, "state": None}
    return list_records(deps, who, page, "cluster", **asked)


def _known(deps: Deps, who: Principal, aefi_id: str) -> tuple[model.Aefi, str]:
    """Return a report of the caller's region, with its region; NotFound("unknown_aefi")."""
    found = state_of(deps.ledger, model.aefi_stream(aefi_id), model.evolve)
    if found is None:
        raise NotFound("unknown_aefi")
    region = deps.ledger.stream(model.aefi_stream(aefi_id))[0].meta.region_code
    who.require_seen(region, "unknown_aefi")
    return found, region


def _counted(
    call: Call, reported: AefiReported, region: str, decision: Decide, *, serious: bool
) -> Response:
    """Run a command on a report and count it for its lot, in one transaction with the notices."""
    counted = AefiCounted(
        lot_id=reported.lot_id,
        aefi_id=reported.aefi_id,
        onset_at=reported.onset_at,
        serious=serious,
        region_code=region,
        fact_id=reported.fact_id,
    )
    counting = decide(model.evolve_lot, model.Lot(), model.count, counted=counted)
    told: list[AefiClusterFound] = []

    def watched(history: list[Event]) -> list[Event]:
        events = list(counting(history))
        told[:] = [event for event in events if isinstance(event, AefiClusterFound)]
        return events

    def tell(cur: psycopg.Cursor[Any]) -> None:
        for cluster in told:
            notices.write(cur, _notices(cluster, call.deps.clock.now()))

    telemetry = call.deps.telemetry.last_position()

    def answer(outcome: Outcome) -> Answer:
        return receipt(outcome, f"{PREFIX}/vaccination/aefi/{reported.aefi_id}", telemetry)

    command = Command(
        model.aefi_stream(reported.aefi_id),
        decision,
        call.meta(region_code=region),
        guards=[(model.lot_stream(reported.lot_id), watched)],
        before=tell,
        idempotency=call.idempotency(answer),
    )
    return call.answered(execute(call.deps.ledger, command), answer)


def _notices(cluster: AefiClusterFound, now: datetime) -> list[notices.Notice]:
    """Return what is told of a cluster: one notice for each county that has a case of it."""
    days = (cluster.last_onset_at - cluster.first_onset_at) / timedelta(days=1)
    payload = {
        "lot_id": cluster.lot_id,
        "cases": len(cluster.aefi_ids),
        "serious": cluster.serious,
        "started_at": cluster.first_onset_at.isoformat(),
        "days": round(days, 1),
        "limit": cluster.limit,
        "window_days": cluster.window_days,
    }
    return [
        notices.Notice(
            key=f"{cluster.cluster_id}:{notices.AEFI_CLUSTER}:{region}",
            alert_id=cluster.cluster_id,
            kind=notices.AEFI_CLUSTER,
            level=0,
            severity="critical" if cluster.serious else "major",
            region_code=region,
            payload=payload,
            created_at=now,
        )
        for region in cluster.region_codes
    ]
