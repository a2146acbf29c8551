"""Events of accounts: keys for machines and people's tools, and gateways at the broker."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAccessGranted(Event):
    """A gateway or scanner got a new password or certificate at the broker; no secret is here."""

    TOPIC: ClassVar[str] = "accounts.GatewayAccessGranted"
    gateway_id: str
    region_code: str
    site_id: str
    by: str  # password | certificate
    topics: tuple[str, ...] = ()  # filters it may publish to besides the contract's


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAccessRevoked(Event):
    """The gateway's passwords and certificates open the broker no more."""

    TOPIC: ClassVar[str] = "accounts.GatewayAccessRevoked"
    gateway_id: str
