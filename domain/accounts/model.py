"""API keys: who may act, with which role, in which region; gateways: who may speak at the broker.

A key or a password itself is never seen here. Streams: `accounts.api_key` (key id),
`accounts.gateway_access` (gateway or scanner). Codes of refusals: bad_name, bad_digest,
unknown_role, bad_region, bad_text (Invalid); unknown_key (NotFound); already_registered,
key_revoked (Conflict).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import assert_never
from uuid import UUID

from domain.accounts.events import (
    ApiKeyIssued,
    ApiKeyRevoked,
    GatewayAccessGranted,
    GatewayAccessRevoked,
)
from domain.shared.decide import register
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import WHOLE_COUNTRY, checked_name, checked_region, stream_id
from domain.shared.roles import Role
from domain.shared.text import checked_text

# SHA-256 in lower-case hexadecimal.
_DIGEST = re.compile(r"[0-9a-f]{64}")

ApiKeyEvent = ApiKeyIssued | ApiKeyRevoked
# What a gateway may do at the broker, None when it may do nothing.
GatewayAccess = GatewayAccessGranted
GatewayAccessEvent = GatewayAccessGranted | GatewayAccessRevoked


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that was issued, and whether it still opens anything."""

    issued: ApiKeyIssued
    revoked: bool = False


def api_key_stream(key_id: str) -> UUID:
    """Return the stream of an API key."""
    return stream_id("accounts.api_key", key_id)


def evolve(state: ApiKey | None, event: ApiKeyEvent) -> ApiKey | None:
    """Return the key after `event`."""
    match event:
        case ApiKeyIssued():
            return ApiKey(event)
        case ApiKeyRevoked():
            return state and replace(state, revoked=True)
        case _:
            assert_never(event)


def issue_key(
    state: ApiKey | None, *, key_id: str, digest: str, role: str, region_code: str, label: str = ""
) -> list[Event]:
    """Issue a key known by the SHA-256 `digest` of its secret; `region_code` bounds its reach."""
    if not _DIGEST.fullmatch(digest):
        raise Invalid("bad_digest", field="digest")
    if role not in list(Role):
        raise Invalid("unknown_role", field="role", value=role)
    if region_code != WHOLE_COUNTRY:
        checked_region(region_code)
    if state and state.revoked:
        raise Conflict("key_revoked", key_id=key_id)
    issued = ApiKeyIssued(
        key_id=checked_name(key_id, "key_id"),
        digest=digest,
        role=role,
        region_code=region_code,
        label=checked_text(label, "label", required=False),
    )
    return register(state.issued if state else None, issued)


def revoke_key(state: ApiKey | None, *, reason: str = "") -> list[Event]:
    """Revoke a key for ever; nothing happens when it is revoked already."""
    if state is None:
        raise NotFound("unknown_key")
    checked_text(reason, "reason", required=False)
    if state.revoked:
        return []
    return [ApiKeyRevoked(key_id=state.issued.key_id, reason=reason)]


def gateway_access_stream(gateway_id: str) -> UUID:
    """Return the stream of what a gateway or scanner may do at the broker."""
    return stream_id("accounts.gateway_access", gateway_id)


def evolve_gateway_access(
    _state: GatewayAccess | None, event: GatewayAccessEvent
) -> GatewayAccess | None:
    """Return the access after `event`."""
    return event if isinstance(event, GatewayAccessGranted) else None


def grant_gateway_access(
    _state: GatewayAccess | None,
    *,
    gateway_id: str,
    region_code: str,
    site_id: str,
    by: str,
    topics: tuple[str, ...] = (),
) -> list[Event]:
    """Record that a gateway got a new password or certificate; each time is an event."""
    return [
        GatewayAccessGranted(
            gateway_id=checked_name(gateway_id, "gateway_id"),
            region_code=checked_region(region_code),
            site_id=checked_name(site_id, "site_id"),
            by=by,
            topics=topics,
        )
    ]


def revoke_gateway_access(state: GatewayAccess | None, *, gateway_id: str) -> list[Event]:
    """Record that a gateway has no access any more; nothing happens when it had none."""
    return [GatewayAccessRevoked(gateway_id=gateway_id)] if state else []
