"""A clinic's signed snapshot over HTTP, for days without the server."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import Response

from api import facts
from api.auth import Principal, permission
from api.deps import Deps, DepsOf
from api.injections import CLINIC_STAFF
from api.routing import json_answer, module_router
from api.schemas import Body, NameInPath
from api.snapshot_file import key_id, sealed
from api.vials import vials
from domain.shared.errors import NotFound
from domain.shared.roles import Role
from domain.vaccination.snapshot import Snapshot, snapshot
from projections import traceability as goods

router = module_router("vaccination")

SNAPSHOT_MEDIA = "application/jsonl"


class May(StrEnum):
    """Permissions of snapshots."""

    READ = "vaccination.read_snapshot"


class PublicKey(Body):
    """The key that snapshots are signed with, as PEM; carry it to the clinic once."""

    key_id: str
    pem: str


Reader = Annotated[Principal, permission(May.READ, Role.CDC, *CLINIC_STAFF)]


@router.get(
    "/vaccination/snapshots/{site_id}",
    response_class=Response,
    responses={200: {"content": {SNAPSHOT_MEDIA: {"schema": {"type": "string"}}}}},
)
def read_snapshot(site_id: NameInPath, who: Reader, deps: DepsOf) -> Response:
    """Return a site's stock as a signed file: JSON in a line, its signature in the next."""
    region = facts.site_region(deps, site_id)
    if region is None or not who.covers(region):
        raise NotFound("unknown_site")
    return Response(
        sealed(snapshot_of(deps, site_id), deps.signing_key()), media_type=SNAPSHOT_MEDIA
    )


@router.get("/vaccination/snapshot-key", response_model=PublicKey)
def read_snapshot_key(_who: Reader, deps: DepsOf) -> Response:
    """Return the public key that snapshots are checked with."""
    key = deps.signing_key().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return json_answer({"key_id": key_id(key), "pem": pem})


def snapshot_of(deps: Deps, site_id: str) -> Snapshot:
    """Return what is known of every smallest pack at a site."""
    now, position = deps.clock.now(), deps.ledger.last_position()
    with deps.pool.connection() as conn:
        found = vials(deps, conn, goods.codes_at(conn, site_id), now)
    return snapshot(site_id=site_id, made_at=now, position=position, vials=found)
