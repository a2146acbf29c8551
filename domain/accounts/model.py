"""API keys: who may act, with which role, in which region. The key itself is never seen here.

Stream `accounts.api_key` (key id). Codes of refusals: bad_name, bad_digest, unknown_role,
bad_region, bad_text (Invalid); unknown_key (NotFound); already_registered, key_revoked (Conflict).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import assert_never
from uuid import UUID

from domain.accounts.events import ApiKeyIssued, ApiKeyRevoked
from domain.shared.decide import register
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import WHOLE_COUNTRY, checked_name, checked_region, stream_id
from domain.shared.roles import Role
from domain.shared.text import checked_text

# SHA-256 in lower-case hexadecimal.
_DIGEST = re.compile(r"[0-9a-f]{64}")

ApiKeyEvent = ApiKeyIssued | ApiKeyRevoked


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
