"""API keys over HTTP: issued once, listed without their secret, revoked for ever."""

from __future__ import annotations

import secrets
from dataclasses import asdict, replace
from enum import StrEnum
from typing import Annotated

import orjson
from fastapi import Response
from pydantic import Field

from api.auth import Principal, digest, permission
from api.commands import Call, CallOf, Receipt, state_of
from api.deps import DepsOf
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import Body, Items, NameInPath, Note, RegionAsked, RegionOrCountry, Version
from domain.accounts import model
from domain.shared.decide import decide
from domain.shared.errors import NotFound
from domain.shared.roles import Role
from projections import accounts as read

router = module_router("accounts")

# Random bytes of a key: nothing to guess, so a plain SHA-256 of it may be kept.
KEY_BYTES = 32
KEY_PREFIX = "vt_"


class May(StrEnum):
    """Permissions of this module."""

    MANAGE = "accounts.manage"


class KeyIn(Body):
    """A key to be issued; region 000000 is the whole country."""

    role: Annotated[Role, Field(strict=False)]
    region_code: RegionOrCountry
    label: Note = ""


class NewKey(Receipt):
    """A key just issued: `key` is shown here and never again."""

    key_id: str
    key: str


class Key(Body):
    """A key as it is listed."""

    key_id: str
    role: Role
    region_code: RegionOrCountry
    label: str
    revoked: bool
    version: Version


class Revocation(Body):
    """Why a key is revoked."""

    reason: Note = ""


@router.post("/api-keys", status_code=201, response_model=NewKey)
def issue_key(
    body: KeyIn, who: Annotated[Principal, permission(May.MANAGE)], call: CallOf
) -> Response:
    """Issue a key; its secret stands in this answer only, which is therefore not kept."""
    who.require_region(body.region_code)
    key_id, key = secrets.token_hex(8), KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    decision = decide(
        model.evolve, None, model.issue_key, key_id=key_id, digest=digest(key), **body.model_dump()
    )
    answer = _without_memory(call).run(
        model.api_key_stream(key_id),
        decision,
        location=f"{PREFIX}/api-keys/{key_id}",
        meta=call.meta(region_code=body.region_code),
    )
    shown = {**orjson.loads(bytes(answer.body)), "key_id": key_id, "key": key}
    headers = {k: v for k, v in answer.headers.items() if k != "content-length"}
    return json_answer(shown, 201, {**headers, "Cache-Control": "no-store"})


@router.get("/api-keys", response_model=Items[Key])
def list_keys(
    who: Annotated[Principal, permission(May.MANAGE)],
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
) -> Response:
    """List the keys of the caller's region, by id."""
    prefix = who.narrowed(region)
    with deps.pool.connection() as conn:
        rows = read.key_list(conn, region=prefix, after=page.after_text(), limit=page.limit + 1)
    return page.answer([_listed(row) for row in rows], lambda row: [row["key_id"]])


@router.get("/api-keys/{key_id}", response_model=Key)
def read_key(
    key_id: NameInPath, who: Annotated[Principal, permission(May.MANAGE)], deps: DepsOf
) -> Response:
    """Return one key, without its secret, which nobody has."""
    with deps.pool.connection() as conn:
        found = read.key(conn, key_id)
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_key")
    return json_answer(_listed(found), headers={"ETag": f'"{found.version}"'})


@router.post("/api-keys/{key_id}/revocation", response_model=Receipt)
def revoke_key(
    key_id: NameInPath,
    body: Revocation,
    who: Annotated[Principal, permission(May.MANAGE)],
    call: CallOf,
) -> Response:
    """Revoke a key for ever; it stops opening anything within a second."""
    stream = model.api_key_stream(key_id)
    found = state_of(call.deps.ledger, stream, model.evolve)
    if found is None or not who.covers(found.issued.region_code):
        raise NotFound("unknown_key")
    return call.run(
        stream,
        decide(model.evolve, None, model.revoke_key, reason=body.reason),
        location=f"{PREFIX}/api-keys/{key_id}",
        meta=call.meta(region_code=found.issued.region_code, reason=body.reason),
    )


def _listed(key: read.ApiKey) -> dict[str, object]:
    return {name: value for name, value in asdict(key).items() if name != "digest"}


def _without_memory(call: Call) -> Call:
    """Return the call without its idempotency key: a secret must not be stored."""
    return replace(call, idempotency_key=None)
