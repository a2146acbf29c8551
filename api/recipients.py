"""Who is told of alerts, over HTTP: recipients by channel, and which channels there are.

A person's phone, a robot's key and a browser's subscription are shown to nobody in full: whoever
has them could use them.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any, Literal

import psycopg
import structlog
from fastapi import Response
from pydantic import Field

from alerts import floor, people, recipients
from alerts.channels.offered import NEEDS
from alerts.channels.push import is_subscription
from api.auth import Principal, permission
from api.commands import state_of
from api.deps import Deps, DepsOf
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import (
    EMAIL_PATTERN,
    KEY_PATTERN,
    PHONE_PATTERN,
    ROBOT_PATTERN,
    URL_PATTERN,
    Body,
    Items,
    Name,
    NameInPath,
    NameOrNone,
    RegionAsked,
    RegionOrCountry,
    Text,
)
from domain.cold_chain import model as cold_chain
from domain.shared.errors import Invalid, NotFound
from domain.shared.roles import Role

router = module_router("alerting")
_log = structlog.get_logger()

# Random bytes of a webhook secret that we make.
SECRET_BYTES = 32

# Of RFC 8291, appendix A.
POINT_EXAMPLE = (
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
)

Severity = Literal["info", "minor", "major", "critical"]
ChannelName = Literal["email", "webhook", "sms", "wecom", "dingtalk", "feishu", "push", "siren"]
Level = Annotated[int, Field(ge=0, le=9)]
Secret = Annotated[str, Field(pattern=r"^[!-~]{16,200}$")]
# The end of a robot's own web address: what stands after `key=`, `access_token=` or `hook/`.
RobotKey = Annotated[
    str, Field(pattern=ROBOT_PATTERN, examples=["693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa"])
]
WebAddress = Annotated[
    str, Field(max_length=1300, pattern=URL_PATTERN, examples=["https://city.example/alerts"])
]
# Channels whose addresses are shown in full to those who manage them.
_SHOWN = ("email", "webhook", "siren")


class May(StrEnum):
    """Permissions of this file."""

    MANAGE_RECIPIENTS = "alerting.manage_recipients"


class RecipientFields(Body):
    """Who is told of which alerts; `level`: from which step of escalation on, 0 at once.

    With `person_id` it is one of a person's contacts, used in the order of `rank`: then of what
    they are told, their duties say, not site, level and severity here.
    """

    recipient_id: Annotated[Name, Field(examples=["dwk-duty"])]
    name: Annotated[Text, Field(examples=["大武口区疾控值班"])]
    region_code: RegionOrCountry
    site_id: NameOrNone = ""
    level: Level = 0
    severity_min: Severity = "minor"
    person_id: NameOrNone = ""
    rank: Annotated[int, Field(ge=1, le=9)] = 1


class EmailRecipient(RecipientFields):
    """A person, by e-mail."""

    channel: Literal["email"]
    address: Annotated[
        str, Field(max_length=254, pattern=EMAIL_PATTERN, examples=["duty@cdc.example"])
    ]


class WebhookRecipient(RecipientFields):
    """A system, told of every event by signed POST; without a secret one is made."""

    channel: Literal["webhook"]
    address: WebAddress
    secret: Secret | None = None


class SmsRecipient(RecipientFields):
    """A person, by short message to a mobile number of mainland China."""

    channel: Literal["sms"]
    address: Annotated[str, Field(pattern=PHONE_PATTERN, examples=["+8613800000000"])]


class WecomRecipient(RecipientFields):
    """A group, by its WeCom robot; the address is the robot's key."""

    channel: Literal["wecom"]
    address: RobotKey


class SignedRobotRecipient(RecipientFields):
    """A group, by its DingTalk or Feishu robot; `secret` is the one for signing that it shows."""

    channel: Literal["dingtalk", "feishu"]
    address: RobotKey
    secret: Secret


class PushKeys(Body):
    """The keys of a browser's subscription, as `PushSubscription.toJSON()` gives them."""

    p256dh: Annotated[str, Field(max_length=100, pattern=KEY_PATTERN, examples=[POINT_EXAMPLE])]
    auth: Annotated[
        str, Field(max_length=30, pattern=KEY_PATTERN, examples=["BTBZMqHH6r4Tts7J_aSIgg"])
    ]


class PushRecipient(RecipientFields):
    """A browser, by web push; the address is the endpoint of its subscription."""

    channel: Literal["push"]
    address: WebAddress
    keys: PushKeys


class SirenRecipient(RecipientFields):
    """A siren on site: the address is the id of its device."""

    channel: Literal["siren"]
    address: Name


AnyRecipient = (
    EmailRecipient
    | WebhookRecipient
    | SmsRecipient
    | WecomRecipient
    | SignedRobotRecipient
    | PushRecipient
    | SirenRecipient
)
RecipientIn = Annotated[AnyRecipient, Field(discriminator="channel")]


class RecipientOut(RecipientFields):
    """A recipient, without its secret; phones, keys of robots and endpoints are masked."""

    channel: ChannelName
    address: str


class ChannelOut(Body):
    """A channel; `needs`: the setting without which it is not offered."""

    channel: ChannelName
    offered: bool
    needs: str


class Channels(Body):
    """All channels; `push_key`: what browsers subscribe with, empty without web push."""

    channels: list[ChannelOut]
    push_key: str


class NewRecipient(RecipientOut):
    """A recipient just put down; `secret` is shown here and never again."""

    secret: str | None


@router.get("/alert-channels", response_model=Channels)
def list_channels(
    who: Annotated[Principal, permission(May.MANAGE_RECIPIENTS, Role.CDC)],
    deps: DepsOf,
) -> Response:
    """List the channels, whether each is set up here, and what web push subscribes with."""
    offer = deps.offer
    channels = [
        {"channel": name, "offered": name in offer.channels, "needs": needs}
        for name, needs in NEEDS.items()
    ]
    push_key = offer.vapid.public if offer.vapid else ""
    return json_answer({"channels": channels, "push_key": push_key})


@router.post("/recipients", status_code=201, response_model=NewRecipient)
def add_recipient(
    body: RecipientIn,
    who: Annotated[Principal, permission(May.MANAGE_RECIPIENTS, Role.CDC)],
    deps: DepsOf,
) -> Response:
    """Put down who is told, by a channel that is offered; a webhook's secret stands here only."""
    who.require_region(body.region_code)
    _require_reachable(deps, who, body)
    _require_person(deps, who, body)
    secret = _secret(body)
    fields = body.model_dump(exclude={"secret", "keys"})
    with deps.pool.connection() as conn:
        recipients.add(conn, recipients.Recipient(**fields), secret=secret)
    _log_change("added", who, body.recipient_id, body.region_code)
    headers = {
        "Location": f"{PREFIX}/recipients/{body.recipient_id}",
        "Cache-Control": "no-store",
    }
    fields["address"] = _address(body.channel, body.address)
    shown = secret if isinstance(body, WebhookRecipient) else None
    return json_answer({**fields, "secret": shown}, 201, headers)


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
    return page.answer([_shown(row) for row in rows], lambda row: [row["recipient_id"]])


@router.get("/recipients/{recipient_id}", response_model=RecipientOut)
def read_recipient(
    recipient_id: NameInPath,
    who: Annotated[Principal, permission(May.MANAGE_RECIPIENTS, Role.CDC)],
    deps: DepsOf,
) -> Response:
    """Return one recipient, without its secret."""
    with deps.pool.connection() as conn:
        return json_answer(_shown(_recipient(conn, who, recipient_id)))


@router.delete("/recipients/{recipient_id}", status_code=204, response_model=None)
def remove_recipient(
    recipient_id: NameInPath,
    who: Annotated[Principal, permission(May.MANAGE_RECIPIENTS, Role.CDC)],
    deps: DepsOf,
) -> Response:
    """Forget a recipient, name and address with it; what is still queued is not sent.

    Refused for a contact without which a site's alerts would reach fewer than three people.
    """
    with deps.pool.connection() as conn:
        found = _recipient(conn, who, recipient_id)
        people_of = [found.person_id] if found.person_id else []
        with conn.transaction(), floor.kept(conn, people_of, deps.clock.now()):
            recipients.remove(conn, recipient_id)
    _log_change("removed", who, recipient_id, found.region_code)
    return Response(status_code=204)


def _recipient(
    conn: psycopg.Connection[Any], who: Principal, recipient_id: str
) -> recipients.Recipient:
    found = recipients.one(conn, recipient_id)
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_recipient")
    return found


def _require_reachable(deps: Deps, who: Principal, body: AnyRecipient) -> None:
    """Refuse who cannot be told: Invalid says why."""
    if body.channel not in deps.offer.channels:
        facts = {"channel": body.channel, "setting": NEEDS[body.channel]}
        raise Invalid("channel_not_offered", field="channel", **facts)
    match body:
        case WebhookRecipient() | PushRecipient():
            if not deps.destinations.may_call(body.address):
                raise Invalid("bad_address", field="address")
        case SirenRecipient():
            _require_device(deps, who, body.address)


def _require_person(deps: Deps, who: Principal, body: AnyRecipient) -> None:
    """Refuse a contact of nobody, and a siren as one."""
    if not body.person_id:
        return
    if body.channel == "siren":
        raise Invalid("no_contact", field="channel")
    with deps.pool.connection() as conn:
        found = people.one(conn, body.person_id)
    if found is None or not who.covers(found.region_code):
        raise Invalid("unknown_person", field="person_id", person_id=body.person_id)


def _secret(body: AnyRecipient) -> str:
    """Return the secret to keep with a recipient; Invalid("bad_push_keys") for a wrong one."""
    match body:
        case WebhookRecipient():
            return body.secret or secrets.token_urlsafe(SECRET_BYTES)
        case SignedRobotRecipient():
            return body.secret
        case PushRecipient():
            if not is_subscription(body.keys.p256dh, body.keys.auth):
                raise Invalid("bad_push_keys", field="keys")
            return f"{body.keys.p256dh}.{body.keys.auth}"
        case _:
            return ""


def _require_device(deps: Deps, who: Principal, device_id: str) -> None:
    stream = cold_chain.device_stream(device_id)
    device = state_of(deps.ledger, stream, cold_chain.evolve_device)
    if device is None or not who.covers(device.region_code):
        raise Invalid("unknown_device", field="address", device_id=device_id)


def _address(channel: str, address: str) -> str:
    return address if channel in _SHOWN else recipients.masked(address)


def _shown(row: recipients.Recipient) -> dict[str, Any]:
    return {**asdict(row), "address": _address(row.channel, row.address)}


def _log_change(change: str, who: Principal, recipient_id: str, region_code: str) -> None:
    """Tell the log who changed the list; recipients are no events, and their addresses no log."""
    _log.info(
        "recipient_changed",
        change=change,
        recipient_id=recipient_id,
        region_code=region_code,
        key_id=who.key_id,
    )
