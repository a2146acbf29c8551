"""Events of accounts: keys for machines and people's tools, with a role and a region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from domain.shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyIssued(Event):
    """A key was made; only its SHA-256 is kept (the key itself has 256 random bits)."""

    TOPIC: ClassVar[str] = "accounts.ApiKeyIssued"
    key_id: str
    digest: str
    role: str
    region_code: str  # 000000 = the whole country
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRevoked(Event):
    """The key opens nothing any more."""

    TOPIC: ClassVar[str] = "accounts.ApiKeyRevoked"
    key_id: str
    reason: str = ""
