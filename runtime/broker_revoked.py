"""Revocations that hold at the broker before they are on record, as they do without a database.

They wait in `<data>/secrets/revoked.json` with the moment they came into force, until the next
`vaxtrail gateway` command or start of the API finds the database.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import structlog

from domain.accounts.model import (
    evolve_gateway_access,
    gateway_access_stream,
    revoke_gateway_access,
)
from domain.shared.decide import decide
from domain.shared.roles import Role
from runtime import broker_access
from runtime.folder import write_private

if TYPE_CHECKING:
    from store.logs import Ledger

ACTOR = "cli"  # who alone revokes
CONNECT_SECONDS = 5
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Revoked:
    """A gateway or scanner that lost its account; `at` is RFC 3339."""

    gateway_id: str
    region_code: str
    at: str


def waiting(data: Path) -> list[Revoked]:
    """Return the revocations that are not on record yet."""
    place = _path(data)
    return [Revoked(**each) for each in json.loads(place.read_text())] if place.exists() else []


def note(data: Path, revoked: Revoked) -> None:
    """Keep a revocation until it is on record; by whoever changes the accounts."""
    _write(data, [*waiting(data), revoked])


def record(data: Path, app_dsn: str, now: datetime) -> None:
    """Put what waits on record. psycopg.OperationalError without the database, within seconds.

    An account that is still there was not revoked after all.
    """
    from store.logs import Ledger  # `vaxtrail up`, which only asks what waits, needs no store

    found, accounts = waiting(data), broker_access.load(data)
    if not found:
        return
    with psycopg.connect(app_dsn, connect_timeout=CONNECT_SECONDS):
        pass  # it is there: the ledger would wait for it half a minute
    with Ledger(app_dsn) as ledger:
        for each in found:
            if each.gateway_id not in accounts:
                _record(ledger, each, now)
    with broker_access.held(data):
        _write(data, [each for each in waiting(data) if each not in found])


def _record(ledger: Ledger, revoked: Revoked, now: datetime) -> None:
    from store.commands import Command, execute
    from store.envelope import Meta

    meta = Meta(
        occurred_at=datetime.fromisoformat(revoked.at),
        recorded_at=now,
        actor_id=ACTOR,
        actor_role=Role.ADMIN.value,
        region_code=revoked.region_code,
        source="cli",
    )
    name = revoked.gateway_id
    deciding = decide(evolve_gateway_access, None, revoke_gateway_access, gateway_id=name)
    execute(ledger, Command(gateway_access_stream(name), deciding, meta))
    log.info("gateway_revoked", gateway=name, at=revoked.at)


def _path(data: Path) -> Path:
    return data / "secrets" / "revoked.json"


def _write(data: Path, left: list[Revoked]) -> None:
    if left:
        write_private(_path(data), json.dumps([asdict(each) for each in left], indent=1))
    else:
        _path(data).unlink(missing_ok=True)
