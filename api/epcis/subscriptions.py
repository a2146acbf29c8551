"""Subscriptions to named queries: reported to an address of the client's, signed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from fastapi import Request, Response

from alerts import subscriptions
from alerts.subscriptions import Subscription
from api import asof
from api.auth import Principal
from api.commands import CallOf
from api.deps import Deps, DepsOf
from api.epcis import headers, paging
from api.epcis.named import Keeper, Name, read_json, require_query
from api.epcis.problems import PATH
from api.epcis.routing import Anybody, Reader
from api.routing import json_answer
from domain.epcis import named
from domain.epcis.named import NamedQuery
from domain.epcis.query import moment_of, storable
from domain.epcis.schedule import schedule_of
from domain.shared.errors import Invalid, NotFound

router = paging.query_router()

_ID = "/queries/{name}/subscriptions/{subscription_id}"
_SECRET_LENGTH_MAX = 1000
# No address has spaces or control characters; some readers drop them, others do not.
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_FIELDS = frozenset(
    {"dest", "secret", "signatureToken", "stream", "schedule", "reportIfEmpty"}
    | {"initialRecordTime", "initialPosition"}
)


@dataclass(frozen=True, slots=True)
class Controls:
    """When a subscriber is told, and from where on; schedule: None = as events become known."""

    schedule: dict[str, str] | None
    report_if_empty: bool
    initial: datetime | None


def controls_of(told: dict[str, Any]) -> Controls:
    """Return the controls of a subscription: either `stream` or `schedule`.

    Invalid("bad_subscription") names the field that is missing, wrong or contradictory.
    """
    stream, schedule = told.get("stream"), told.get("schedule")
    if stream not in (None, True, False) or (schedule is None) is not (stream is True):
        raise refused("stream", stream, "stream: true | schedule: {…}")
    if schedule is not None:
        if not isinstance(schedule, dict):
            raise refused("schedule", schedule, "{…}")
        schedule = {str(name): str(value) for name, value in schedule.items()}
        schedule_of(schedule)
    empty, text = told.get("reportIfEmpty", False), told.get("initialRecordTime")
    if not isinstance(empty, bool) or (empty and schedule is None):
        raise refused("reportIfEmpty", empty, "true | false")
    initial = moment_of(text) if isinstance(text, str) else None
    if text is not None and initial is None:
        raise refused("initialRecordTime", text, "2026-03-02T08:00:00+08:00")
    return Controls(schedule, empty, initial)


def refused(field: str, value: object, expected: str) -> Invalid:
    """Return the refusal of a subscription."""
    return Invalid("bad_subscription", field=field, value=str(value)[:200], expected=expected)


def require_unlimited(query: NamedQuery) -> None:
    """Refuse to subscribe to a query that asks for so many events: who is told gets all."""
    asked = named.query_of(query.query, query.extensions)
    if asked.limit is not None or asked.count_max is not None:
        raise refused("query", query.name, "eventCountLimit, maxEventCount: –")


def begin_at(deps: Deps, initial: datetime | None) -> int:
    """Return the position after which a subscriber is told: now, or that of an earlier moment."""
    if initial is None or initial > deps.clock.now():
        return deps.ledger.last_position()
    return deps.ledger.position_at(initial)


@router.get("/queries/{name}/subscriptions")
def list_subscriptions(name: Name, request: Request, who: Reader, deps: DepsOf) -> Response:
    """List the subscriptions to a named query."""
    parameters = paging.parameters_of(request, only_controls=True)
    require_query(deps, who, name)
    with deps.pool.connection() as conn:
        page = paging.page_of(request, parameters, deps, conn)
        scope: dict[str, Any] = {"region": who.region_prefix, "limit": page.limit + 1}
        if (after := page.key(paging.is_moment, paging.is_id)) is not None:
            scope["after"] = tuple(after)
        found = subscriptions.of_query(conn, name, **scope)
    last = found[page.limit - 1] if len(found) > page.limit else None
    key = [last.created_at.isoformat(), str(last.subscription_id)] if last else None
    return json_answer([_shown(one) for one in found[: page.limit]], headers=page.links(key))


@router.post("/queries/{name}/subscriptions", status_code=201)
def subscribe(name: Name, request: Request, who: Keeper, call: CallOf) -> Response:
    """Subscribe to a named query; the secret stands in no answer."""
    deps, told = call.deps, read_json(call.body)
    query = require_query(deps, who, name)
    for field in told.keys() - _FIELDS:
        raise refused(field[:64], told[field], ", ".join(sorted(_FIELDS)))
    controls = controls_of(told)
    require_unlimited(query)
    now = deps.clock.now()
    subscription = Subscription(
        subscription_id=uuid4(),
        query_name=name,
        query=query.query,
        extensions=query.extensions,
        key_id=who.key_id,
        region_code=who.region_code,
        dest=_dest(deps, told.get("dest")),
        secret=_secret(told.get("secret", told.get("signatureToken"))),
        epc_format=headers.epc_format(request).value,
        schedule=controls.schedule,
        report_if_empty=controls.report_if_empty,
        initial_record_time=controls.initial,
        created_at=now,
        position=_position(deps, told.get("initialPosition"), controls.initial),
        ordinal=2**31 - 1,
        due_at=schedule_of(controls.schedule).next_after(now) if controls.schedule else now,
        executed_at=controls.initial or now,
    )
    with deps.pool.connection() as conn:
        subscriptions.add(conn, subscription)
    location = f"{PATH}/queries/{name}/subscriptions/{subscription.subscription_id}"
    return json_answer(_shown(subscription), 201, {"Location": location})


@router.options(_ID, status_code=204)
def discover(name: Name, subscription_id: str, who: Anybody, deps: DepsOf) -> Response:
    """Tell the versions and methods of a subscription, and up to when it was told."""
    with deps.pool.connection() as conn:
        found = _require(conn, who, name, subscription_id)
    told = {
        **headers.DISCOVERY,
        "Allow": "DELETE, GET, OPTIONS",
        "GS1-Query-Min-Record-Time": instant(found.executed_at),
    }
    return Response(status_code=204, headers=told)


@router.get(_ID)
def read_subscription(
    name: Name, subscription_id: str, request: Request, who: Reader, deps: DepsOf
) -> Response:
    """Return a subscription, with what became of telling it."""
    paging.parameters_of(request, only_controls=True)
    with deps.pool.connection() as conn:
        return json_answer(_shown(_require(conn, who, name, subscription_id)))


@router.delete(_ID, status_code=204)
def unsubscribe(name: Name, subscription_id: str, who: Keeper, deps: DepsOf) -> Response:
    """End a subscription."""
    with deps.pool.connection() as conn:
        found = _require(conn, who, name, subscription_id)
        subscriptions.remove(conn, name, found.subscription_id)
    return Response(status_code=204)


def _require(
    conn: psycopg.Connection[Any], who: Principal, name: str, subscription_id: str
) -> Subscription:
    try:
        found = subscriptions.one(conn, name, UUID(subscription_id)) if storable(name) else None
    except ValueError:
        found = None
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_subscription", subscription_id=subscription_id[:64])
    return found


def _dest(deps: Deps, dest: object) -> str:
    plain = isinstance(dest, str) and len(dest) <= 2000 and not _CONTROL.search(dest)
    if not isinstance(dest, str) or not plain or not deps.destinations.may_call(dest):
        raise Invalid("bad_address", field="dest")
    return dest


def _secret(secret: object) -> str:
    if not isinstance(secret, str) or not 1 <= len(secret) <= _SECRET_LENGTH_MAX or "\0" in secret:
        raise refused("signatureToken", "***", f"1 … {_SECRET_LENGTH_MAX}")
    return secret


def _position(deps: Deps, told: object, initial: datetime | None) -> int:
    """Return where to begin: after a position told (ours, beyond the standard), or by time."""
    if told is None:
        return begin_at(deps, initial)
    if not isinstance(told, str) or not paging.POSITION.fullmatch(told):
        raise refused("initialPosition", told, "L12.T34")
    with deps.pool.connection() as conn:
        return asof.resolve(deps, conn, told).ledger


def instant(moment: datetime) -> str:
    """Return a time as the interface writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(one: Subscription) -> dict[str, Any]:
    """Return a subscription as the interface shows it, without its secret."""
    shown = {
        "subscriptionID": str(one.subscription_id),
        "queryName": one.query_name,
        "dest": one.dest,
        "createdAt": instant(one.created_at),
        "minRecordTime": instant(one.executed_at),
        "epcFormat": one.epc_format,
        "reportIfEmpty": one.report_if_empty,
        **({"schedule": one.schedule} if one.schedule else {"stream": True}),
    }
    if one.initial_record_time is not None:
        shown["initialRecordTime"] = instant(one.initial_record_time)
    if one.notified_at is not None:
        shown["lastNotifiedAt"] = instant(one.notified_at)
    if one.last_error:
        shown["lastError"] = one.last_error
    return shown
