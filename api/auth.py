"""Who asks and what they may: bearer API keys, a permission a route, scope by region.

The region of a key bounds what it reads and writes: its own region and what lies in it. What all
regions share (products, lots, storage profiles, rule sets) is written with a key of the whole
country only. Who reads: STAFF, the people and systems that work with vaccines; residents, their
guardians and roles of other trades read nothing here. How much of a chain of custody is shown
stands in `api/custody_scope.py`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from fastapi import Depends, Request
from psycopg_pool import ConnectionPool
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from domain.shared.errors import Invalid, NotAllowed, NotFound
from domain.shared.ids import WHOLE_COUNTRY, covers, region_prefix
from domain.shared.roles import Role
from projections import accounts

# Who watches over others' work: sees what concerns its region in full.
OVERSIGHT = (
    Role.ADMIN,
    Role.AUDITOR,
    Role.CDC,
    Role.PLATFORM,
    Role.REGULATOR,
    Role.STEWARD,
)
# Who handles vaccines: sees what is in its region.
HANDLERS = (
    Role.CLINIC,
    Role.HOSPITAL,
    Role.DOCTOR,
    Role.NURSE,
    Role.VACCINATOR,
    Role.VILLAGE_DOCTOR,
    Role.PHARMACIST,
    Role.STORE_KEEPER,
    Role.COURIER,
    Role.SUPPLIER,
    Role.HIS,
)
STAFF = (*OVERSIGHT, *HANDLERS)

# Age in seconds at which the table of keys is read again: a revoked key stops within a second.
KEYS_AGE_MAX_S = 0.5
# An unknown key makes the table be read again at most this often (seconds).
KEYS_RETRY_S = 0.25


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a key: what it may follows from role and region (000000 = everywhere)."""

    key_id: str
    role: Role
    region_code: str

    @property
    def region_prefix(self) -> str:
        """Return the prefix for `region_code LIKE prefix || '%'`: empty, 2, 4 or 6 digits."""
        return region_prefix(self.region_code)

    def covers(self, region_code: str) -> bool:
        """Tell whether this region lies within the grant."""
        return covers(self.region_code, region_code)

    def require_region(self, region_code: str) -> str:
        """Return a region that a request names; NotAllowed("out_of_scope") outside the grant."""
        if not self.covers(region_code):
            raise NotAllowed("out_of_scope", region=region_code)
        return region_code

    def require_country(self) -> None:
        """Demand a grant for the whole country: what follows holds for every region."""
        self.require_region(WHOLE_COUNTRY)

    def narrowed(self, region_code: str | None) -> str:
        """Return the region prefix of a list: the region asked for, else that of the grant.

        NotAllowed("out_of_scope") when the region asked for lies outside the grant.
        """
        if region_code is None:
            return self.region_prefix
        return region_prefix(self.require_region(region_code))

    def require_seen(self, region_code: str, code: str, **facts: object) -> None:
        """Hide one thing that lies out of region: NotFound(code) as if it did not exist."""
        if not self.covers(region_code):
            raise NotFound(code, **facts)


class KeyTable:
    """All keys in memory by the SHA-256 of the key; `load` reads them from the read model."""

    def __init__(self, load: Callable[[], Mapping[str, Principal]]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._keys: Mapping[str, Principal] = {}
        self._read_at = -KEYS_AGE_MAX_S

    def known(self, key: str) -> Principal | None:
        """Return the holder of a key from memory, None when the table must be read first."""
        if time.monotonic() - self._read_at > KEYS_AGE_MAX_S:
            return None
        return self._keys.get(digest(key))

    def find(self, key: str) -> Principal:
        """Return the holder of a key, reading the table when it is old; 401 when unknown."""
        with self._lock:
            age = time.monotonic() - self._read_at
            found = self._keys.get(digest(key))
            if age > KEYS_AGE_MAX_S or (found is None and age > KEYS_RETRY_S):
                self._keys = self._load()
                self._read_at = time.monotonic()
                found = self._keys.get(digest(key))
        if found is None:
            raise Invalid("unauthenticated")
        return found


def digest(key: str) -> str:
    """Return what is kept of a key: its SHA-256 in hex (the key has 256 random bits)."""
    return hashlib.sha256(key.encode()).hexdigest()


class Allowed:
    """What every route declares: the permission it needs and the roles that have it.

    As a dependency it gives the principal whom `check` found before the body was read.
    """

    def __init__(self, name: StrEnum, roles: frozenset[Role]) -> None:
        self.permission = name
        self.roles = roles

    async def check(self, request: HTTPConnection) -> None:
        """Authenticate the request and check the role: 401, or NotAllowed("not_permitted")."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Invalid("unauthenticated")
        keys = cast(KeyTable, request.app.state.keys)
        principal = keys.known(key)
        if principal is None:
            principal = await run_in_threadpool(keys.find, key)
        if principal.role not in self.roles:
            raise NotAllowed("not_permitted", role=principal.role.value)
        request.state.principal = principal

    async def __call__(self, request: Request) -> Principal:
        """Return the principal of this request."""
        return cast(Principal, request.state.principal)


def permission(name: StrEnum, *roles: Role) -> Any:
    """Declare a route's permission and the roles that have it (the administrator always).

    `who: Annotated[Principal, permission(May.READ, Role.CDC)]`
    """
    return Depends(Allowed(name, frozenset({Role.ADMIN, *roles})))


def load_keys(pool: ConnectionPool[Any]) -> dict[str, Principal]:
    """Return the holders of all keys that are not revoked, by the SHA-256 of the key."""
    with pool.connection() as conn:
        found = accounts.keys(conn)
    return {k.digest: Principal(k.key_id, Role(k.role), k.region_code) for k in found}
