"""Alerts over HTTP: the inbox, taking an alert on, who was told; recipients and rule sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Literal

import psycopg
from fastapi import Path, Query, Response
from pydantic import Field

from alerts import notices, people, recipients
from api import affected, assignments, backtests, duty, foresight, hand_over, live, silences, told
from api import recipients as api_recipients
from api.alert_shown import ALERT_ID_PATTERN, ON_SITE, READERS, seen, shown
from api.auth import Principal, permission
from api.commands import CallOf, Receipt, VersionOf, receipt, versioned
from api.deps import DepsOf
from api.paging import Page, PageOf
from api.recipients import Severity
from api.routing import PREFIX, json_answer, module_router
from api.rule_bodies import RuleIn, Side
from api.schemas import (
    Body,
    Items,
    Moment,
    Name,
    NameAsked,
    NameInPath,
    Region,
    RegionAsked,
    Version,
    moment,
)
from domain.alerting import model, rules
from domain.alerting.conditions import Kind as ConditionKind
from domain.cold_chain import model as cold_chain
from domain.shared.decide import decide, fold
from domain.shared.errors import Invalid, NotFound
from domain.shared.events import Event
from domain.shared.roles import Role
from domain.shared.text import TEXT_PATTERN
from projections import alerting as read
from store.commands import Answer, Command, Outcome, execute
from store.envelope import Envelope

router = module_router("alerting")

State = Literal["firing", "acknowledged", "resolved", "closed_unverified", "closed", "withdrawn"]
Kind = Literal["temperature"] | ConditionKind
AlertId = Annotated[str, Path(pattern=ALERT_ID_PATTERN)]


class May(StrEnum):
    """Permissions of this module."""

    READ = "alerting.read"
    ACKNOWLEDGE = "alerting.acknowledge"
    SEE_DELIVERIES = "alerting.see_deliveries"
    PUBLISH_RULES = "alerting.publish_rules"


class Alert(Body):
    """An alert as it stands now. `escalate_at`: when the next level is told, if nobody answers.

    One of another kind than temperature is a condition of equipment: without side, limit, value and
    peak; `detail` has its figures. `silenced_by`: why people are not told of it, `silence:`,
    `order:` (maintenance), `alert:` (a larger one) or `flap:` (one alike before it) and an id;
    `silenced_until`: null where nobody knows. `closing_by`: who proposed to close a critical one,
    which another person has to confirm.
    """

    alert_id: str
    kind: Kind
    subject_kind: Literal["probe", "site", "gateway", "unit", "device"]
    subject_id: str
    device_id: str
    channel: str
    unit_id: str
    site_id: str
    region_code: Region
    rule_id: str
    rule_version: int
    severity: Severity
    side: Side | Literal[""]
    limit_c: float | None
    started_at: Moment
    fired_at: Moment
    detected_at: Moment
    late: bool
    value_c: float | None
    peak_c: float | None
    detail: dict[str, float]
    silenced_by: str
    silenced_until: Moment | None
    recovered_at: Moment | None
    resolved_at: Moment | None
    cause: str
    state: State
    acknowledged_by: str
    acknowledged_role: str
    acknowledged_at: Moment | None
    comment: str
    level: int
    escalate_at: Moment | None
    disposition: str
    closing_by: str
    closed_by: str
    closed_at: Moment | None
    version: int = Field(ge=0, description="What If-Match names when the alert is taken on.")


class Acknowledgement(Body):
    """What was found or done."""

    comment: Annotated[
        str,
        Field(
            min_length=1,
            max_length=model.COMMENT_LENGTH_MAX,
            pattern=TEXT_PATTERN,
            examples=["已到现场，门已关好，温度在回落"],
        ),
    ]


class DeliveryOut(Body):
    """One notice to one recipient, or to one contact of a person; the address is masked.

    `accepted_id`: under which a provider took it; `delivered_at`: when a phone or a siren had it.
    """

    delivery_id: int
    recipient_id: str
    name: str
    channel: str
    address: str
    kind: str
    level: int
    state: Literal["queued", "sending", "sent", "failed"]
    attempts: int
    created_at: Moment
    next_at: Moment | None
    sent_at: Moment | None
    last_error: str
    accepted_id: str
    delivered_at: Moment | None
    person_id: str


class RuleSetIn(Body):
    """The rules of a storage profile from a moment on."""

    profile_id: Annotated[Name, Field(examples=["vaccine_2_8"])]
    effective_from: Moment
    rules: Annotated[list[RuleIn], Field(min_length=1, max_length=rules.RULES_MAX)]


class RuleSet(RuleSetIn):
    """One published version."""

    version: Version


@router.get("/alerts", response_model=Items[Alert])
def list_alerts(
    *,
    who: Annotated[Principal, permission(May.READ, *READERS)],
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    state: Annotated[State | None, Query()] = None,
    site_id: NameAsked = None,
    severity: Annotated[Severity | None, Query()] = None,
    kind: Annotated[Kind | None, Query()] = None,
) -> Response:
    """List the alerts of the caller's region, the newest first."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = read.alerts(
            conn,
            region=prefix,
            state=state,
            site_id=site_id,
            severity=severity,
            kind=kind,
            before=_before(page),
            limit=page.limit + 1,
        )
    return page.answer(
        [shown(row) for row in rows],
        lambda row: [row["fired_at"].isoformat(), row["alert_id"]],
    )


def _before(page: Page) -> tuple[Any, str] | None:
    key = page.after_key(str, str)
    if key is None:
        return None
    try:
        return moment(key[0]), str(model.episode_stream(key[1]))
    except ValueError:
        raise Invalid("bad_cursor", field="cursor") from None


@router.get("/alerts/{alert_id}", response_model=Alert)
def read_alert(
    alert_id: AlertId,
    who: Annotated[Principal, permission(May.READ, *READERS)],
    deps: DepsOf,
) -> Response:
    """Return one alert; its ETag is what taking it on must name.

    That a person who was told of it has read it is kept as evidence.
    """
    row = seen(deps, who, alert_id)
    with deps.pool.connection() as conn:
        people.record_read(conn, alert_id=alert_id, key_id=who.key_id, at=deps.clock.now())
    return json_answer(shown(row), headers={"ETag": f'"{row.version}"'})


@router.post("/alerts/{alert_id}/acknowledgements", status_code=201, response_model=Receipt)
def acknowledge_alert(
    alert_id: AlertId,
    body: Acknowledgement,
    version: VersionOf,
    who: Annotated[Principal, permission(May.ACKNOWLEDGE, Role.CDC, *ON_SITE)],
    call: CallOf,
) -> Response:
    """Take an alert on: escalation waits for half an hour (critical) or two hours (major)."""
    row = seen(call.deps, who, alert_id)
    ledger, stream = call.deps.ledger, model.alert_stream(alert_id)
    meta = call.meta(region_code=row.region_code)
    with call.deps.pool.connection() as conn:
        person_id = people.person_of_key(conn, who.key_id)
    acts: list[Event] = []

    def decision(_: list[Event]) -> Sequence[Event]:
        told = ledger.together(model.streams_of(alert_id))
        state = fold(model.evolve, None, (envelope.event for envelope in told))
        acts[:] = model.acknowledge(
            state,
            actor_id=who.key_id,
            actor_role=who.role.value,
            comment=body.comment,
            person_id=person_id,
        )
        return acts

    def tell(cur: psycopg.Cursor[Any]) -> None:
        told = [Envelope(stream, version + n, act, meta) for n, act in enumerate(acts, start=1)]
        named = partial(notices.notice, severity=row.severity, region_code=row.region_code)
        notices.write(cur, [named(envelope) for envelope in told])

    telemetry = call.deps.telemetry.last_position()

    def answer(outcome: Outcome) -> Answer:
        return receipt(outcome, f"{PREFIX}/alerts/{alert_id}", telemetry)

    command = Command(
        stream,
        decision,
        meta,
        expected_version=version,
        before=tell,
        idempotency=call.idempotency(answer),
    )
    return call.answered(execute(ledger, command), answer)


@router.get("/alerts/{alert_id}/deliveries", response_model=Items[DeliveryOut])
def list_deliveries(
    alert_id: AlertId,
    who: Annotated[Principal, permission(May.SEE_DELIVERIES, Role.CDC, Role.AUDITOR)],
    deps: DepsOf,
    page: PageOf,
) -> Response:
    """List who was told of an alert, in order, with what became of it."""
    seen(deps, who, alert_id)
    (after,) = page.after_key(int) or (0,)
    with deps.pool.connection() as conn:
        rows = recipients.deliveries(conn, alert_id, after=after, limit=page.limit + 1)
    items = [{**asdict(row), "address": recipients.masked(row.address)} for row in rows]
    return page.answer(items, lambda item: [item["delivery_id"]])


@router.post("/rule-sets", status_code=201, response_model=Receipt)
def publish_rule_set(
    body: RuleSetIn,
    who: Annotated[Principal, permission(May.PUBLISH_RULES)],
    call: CallOf,
) -> Response:
    """Publish the rules of a storage profile, for all regions, from a moment on."""
    who.require_country()
    if not call.deps.ledger.stream(cold_chain.profile_stream(body.profile_id)):
        raise Invalid("unknown_profile", field="profile_id", profile_id=body.profile_id)
    return call.run(
        model.rule_set_stream(body.profile_id),
        decide(
            model.evolve_rule_set,
            None,
            model.publish_rules,
            profile_id=body.profile_id,
            effective_from=body.effective_from,
            rules=[rules.ThresholdRule(**rule.model_dump()) for rule in body.rules],
            now=call.deps.clock.now(),
        ),
        location=f"{PREFIX}/rule-sets/{body.profile_id}",
        meta=call.meta(),
    )


@router.get("/rule-sets", response_model=Items[RuleSet])
def list_rule_sets(
    who: Annotated[Principal, permission(May.READ, *READERS)],
    deps: DepsOf,
    page: PageOf,
) -> Response:
    """List every published version of every profile's rules; they hold for all regions."""
    profile_id, version = page.after_key(str, int) or ("", 0)
    with deps.pool.connection() as conn:
        rows = read.rule_sets(conn, after=(profile_id, version), limit=page.limit + 1)
    return page.answer(rows, lambda row: [row.profile_id, row.version])


@router.get("/rule-sets/{profile_id}", response_model=RuleSet)
def read_rule_set(
    profile_id: NameInPath,
    who: Annotated[Principal, permission(May.READ, *READERS)],
    deps: DepsOf,
) -> Response:
    """Return the newest rules of a profile."""
    found, version = versioned(
        deps.ledger, model.rule_set_stream(profile_id), model.evolve_rule_set
    )
    if found is None:
        raise NotFound("unknown_profile", profile_id=profile_id)
    return json_answer(asdict(found), headers={"ETag": f'"{version}"'})


for part in (
    api_recipients,
    live,
    affected,
    duty,
    told,
    hand_over,
    backtests,
    foresight,
    silences,
    assignments,
):
    router.routes.extend(part.router.routes)
