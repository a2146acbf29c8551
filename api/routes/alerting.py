"""Alerts over HTTP: the inbox, taking an alert on, who was told; recipients and rule sets."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Literal

import orjson
import psycopg
import structlog
from fastapi import Path, Query, Response
from pydantic import Field

from alerts import notices, recipients
from api import affected
from api.auth import Principal, permission
from api.commands import CallOf, Receipt, VersionOf, receipt, versioned
from api.deps import Deps, DepsOf
from api.paging import Page, PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import (
    Body,
    Items,
    Moment,
    Name,
    NameAsked,
    NameInPath,
    NameOrNone,
    Region,
    RegionAsked,
    RegionOrCountry,
    Text,
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
router.routes.extend(affected.router.routes)
_log = structlog.get_logger()

ON_SITE = (Role.STORE_KEEPER, Role.CLINIC, Role.HOSPITAL, Role.VACCINATOR, Role.COURIER)
READERS = (Role.CDC, Role.REGULATOR, Role.AUDITOR, Role.PLATFORM, *ON_SITE)
# Random bytes of a webhook secret that we make.
SECRET_BYTES = 32
# Digits of an alert's id in hex, in the form of a uuid.
ALERT_ID_PATTERN = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
EMAIL_PATTERN = (
    r"^[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,8}$"
)
URL_PATTERN = r"^https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?(/[!-~]{0,1000})?$"

Severity = Literal["info", "minor", "major", "critical"]
State = Literal["firing", "acknowledged", "resolved", "closed_unverified", "withdrawn"]
Side = Literal["high", "low"]
Kind = Literal["temperature"] | ConditionKind
AlertId = Annotated[str, Path(pattern=ALERT_ID_PATTERN)]
Level = Annotated[int, Field(ge=0, le=9)]
Celsius = Annotated[float, Field(ge=rules.LIMIT_C_MIN, le=rules.LIMIT_C_MAX)]
Minutes = Annotated[float, Field(ge=0, le=rules.DURATION_MIN_MAX)]


class May(StrEnum):
    """Permissions of this module."""

    READ = "alerting.read"
    ACKNOWLEDGE = "alerting.acknowledge"
    SEE_DELIVERIES = "alerting.see_deliveries"
    MANAGE_RECIPIENTS = "alerting.manage_recipients"
    PUBLISH_RULES = "alerting.publish_rules"


class Alert(Body):
    """An alert as it stands now. `escalate_at`: when the next level is told, if nobody answers.

    One of another kind than temperature is a condition of equipment: without side, limit, value and
    peak; `detail` has its figures, `silenced_by` the maintenance order because of which nobody is
    told.
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
    """One notice to one recipient; the address is masked."""

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


class RecipientFields(Body):
    """Who is told of which alerts; `level`: from which step of escalation on, 0 at once."""

    recipient_id: Annotated[Name, Field(examples=["dwk-duty"])]
    name: Annotated[Text, Field(examples=["大武口区疾控值班"])]
    region_code: RegionOrCountry
    site_id: NameOrNone = ""
    level: Level = 0
    severity_min: Severity = "minor"


class EmailRecipient(RecipientFields):
    """A person, by e-mail."""

    channel: Literal["email"]
    address: Annotated[
        str, Field(max_length=254, pattern=EMAIL_PATTERN, examples=["duty@cdc.example"])
    ]


class WebhookRecipient(RecipientFields):
    """A system, told of every event by signed POST; without a secret one is made."""

    channel: Literal["webhook"]
    address: Annotated[
        str,
        Field(max_length=1300, pattern=URL_PATTERN, examples=["https://city.example/alerts"]),
    ]
    secret: Annotated[str, Field(pattern=r"^[!-~]{16,200}$")] | None = None


RecipientIn = Annotated[EmailRecipient | WebhookRecipient, Field(discriminator="channel")]


class RecipientOut(RecipientFields):
    """A recipient, without its secret."""

    channel: Literal["email", "webhook"]
    address: str


class NewRecipient(RecipientOut):
    """A recipient just put down; `secret` is shown here and never again."""

    secret: str | None


class RuleIn(Body):
    """One threshold: bad beyond the limit, alert after `raise_after_min` of it."""

    rule_id: Annotated[Name, Field(examples=["high_8_30min"])]
    side: Side
    limit_c: Annotated[Celsius, Field(examples=[8.0])]
    hysteresis_c: Annotated[float, Field(ge=0, le=rules.LIMIT_C_MAX - rules.LIMIT_C_MIN)] = 0.5
    raise_after_min: Annotated[Minutes, Field(examples=[30])]
    clear_after_min: Annotated[Minutes, Field(gt=0)] = 10.0
    max_gap_min: Annotated[Minutes, Field(gt=0)] = 15.0
    severity: Severity


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
        [_shown(row) for row in rows],
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
    """Return one alert; its ETag is what taking it on must name."""
    row = _seen(deps, who, alert_id)
    return json_answer(_shown(row), headers={"ETag": f'"{row.version}"'})


@router.post("/alerts/{alert_id}/acknowledgements", status_code=201, response_model=Receipt)
def acknowledge_alert(
    alert_id: AlertId,
    body: Acknowledgement,
    version: VersionOf,
    who: Annotated[Principal, permission(May.ACKNOWLEDGE, Role.CDC, *ON_SITE)],
    call: CallOf,
) -> Response:
    """Take an alert on: escalation waits for half an hour (critical) or two hours (major)."""
    row = _seen(call.deps, who, alert_id)
    ledger, stream = call.deps.ledger, model.alert_stream(alert_id)
    episode = [envelope.event for envelope in ledger.stream(model.episode_stream(alert_id))]
    meta = call.meta(region_code=row.region_code)
    acts: list[Event] = []

    def decision(history: list[Event]) -> Sequence[Event]:
        state = fold(model.evolve, None, [*episode, *history])
        acts[:] = model.acknowledge(
            state, actor_id=who.key_id, actor_role=who.role.value, comment=body.comment
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
    _seen(deps, who, alert_id)
    (after,) = page.after_key(int) or (0,)
    with deps.pool.connection() as conn:
        rows = recipients.deliveries(conn, alert_id, after=after, limit=page.limit + 1)
    items = [{**asdict(row), "address": recipients.masked(row.address)} for row in rows]
    return page.answer(items, lambda item: [item["delivery_id"]])


@router.post("/recipients", status_code=201, response_model=NewRecipient)
def add_recipient(
    body: RecipientIn,
    who: Annotated[Principal, permission(May.MANAGE_RECIPIENTS, Role.CDC)],
    deps: DepsOf,
) -> Response:
    """Put down who is told; a webhook's secret stands in this answer only."""
    who.require_region(body.region_code)
    secret = ""
    if isinstance(body, WebhookRecipient):
        if not deps.destinations.may_call(body.address):
            raise Invalid("bad_address", field="address")
        secret = body.secret or secrets.token_urlsafe(SECRET_BYTES)
    fields = body.model_dump(exclude={"secret"})
    with deps.pool.connection() as conn:
        recipients.add(conn, recipients.Recipient(**fields), secret=secret)
    _log_change("added", who, body.recipient_id, body.region_code)
    headers = {
        "Location": f"{PREFIX}/recipients/{body.recipient_id}",
        "Cache-Control": "no-store",
    }
    return json_answer({**fields, "secret": secret or None}, 201, headers)


@router.get("/recipients", response_model=Items[RecipientOut])
def list_recipients(
    who: Annotated[Principal, permission(May.MANAGE_RECIPIENTS, Role.CDC)],
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
) -> Response:
    """List the recipients of the caller's region, by id."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = recipients.listed(conn, region=prefix, after=page.after_text(), limit=page.limit + 1)
    return page.answer(rows, lambda row: [row.recipient_id])


@router.get("/recipients/{recipient_id}", response_model=RecipientOut)
def read_recipient(
    recipient_id: NameInPath,
    who: Annotated[Principal, permission(May.MANAGE_RECIPIENTS, Role.CDC)],
    deps: DepsOf,
) -> Response:
    """Return one recipient, without its secret."""
    with deps.pool.connection() as conn:
        return json_answer(_recipient(conn, who, recipient_id))


@router.delete("/recipients/{recipient_id}", status_code=204, response_model=None)
def remove_recipient(
    recipient_id: NameInPath,
    who: Annotated[Principal, permission(May.MANAGE_RECIPIENTS, Role.CDC)],
    deps: DepsOf,
) -> Response:
    """Forget a recipient, name and address with it; what is still queued is not sent."""
    with deps.pool.connection() as conn:
        found = _recipient(conn, who, recipient_id)
        recipients.remove(conn, recipient_id)
    _log_change("removed", who, recipient_id, found.region_code)
    return Response(status_code=204)


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


def _seen(deps: Deps, who: Principal, alert_id: str) -> read.AlertRow:
    """Return an alert as its streams tell it now; NotFound out of region."""
    episode = deps.ledger.stream(model.episode_stream(alert_id))
    # Any uuid may be asked for, that of another stream as well.
    if not episode or not model.begins_alert(episode[0].event):
        raise NotFound("unknown_alert")
    row = read.folded([*episode, *deps.ledger.stream(model.alert_stream(alert_id))])
    if row is None or not who.covers(row.region_code):
        raise NotFound("unknown_alert")
    return row


def _shown(row: read.AlertRow) -> dict[str, Any]:
    hidden = ("due_at", "pos")
    shown = {name: value for name, value in asdict(row).items() if name not in hidden}
    return {**shown, "detail": orjson.loads(row.detail)}


def _recipient(
    conn: psycopg.Connection[Any], who: Principal, recipient_id: str
) -> recipients.Recipient:
    found = recipients.one(conn, recipient_id)
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_recipient")
    return found


def _log_change(change: str, who: Principal, recipient_id: str, region_code: str) -> None:
    """Tell the log who changed the list; recipients are no events, and their addresses no log."""
    _log.info(
        "recipient_changed",
        change=change,
        recipient_id=recipient_id,
        region_code=region_code,
        key_id=who.key_id,
    )
