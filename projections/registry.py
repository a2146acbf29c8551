"""Organisations and sites as people list them.

Lists take the prefix of a region code (empty: everywhere) and go by id: `after` is the last id of
the page before. `version` is that of the stream, what `If-Match` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import class_row

from domain.registry.events import OrganisationRegistered, SiteChanged, SiteRegistered
from projections.projection import Projection
from store.envelope import Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "registry.sql")


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation, by its unified social credit code."""

    org_code: str
    name: str
    name_en: str
    region_code: str
    version: int


@dataclass(frozen=True, slots=True)
class Site:
    """A site with its present particulars; coordinates in degrees, WGS 84."""

    site_id: str
    org_code: str
    site_no: int
    name: str
    name_en: str
    kind: str
    region_code: str
    latitude: float | None
    longitude: float | None
    version: int


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take registrations and changes into the tables."""
    for recorded in batch:
        version = {"version": recorded.envelope.originator_version}
        match recorded.envelope.event:
            case OrganisationRegistered() as event:
                cur.execute(queries.put_organisation, asdict(event) | version)
            case SiteRegistered() as event:
                cur.execute(queries.put_site, asdict(event) | version)
            case SiteChanged() as event:
                cur.execute(queries.change_site, asdict(event) | version)


PROJECTION = Projection(
    name="registry",
    version=1,
    topics=(OrganisationRegistered.TOPIC, SiteRegistered.TOPIC, SiteChanged.TOPIC),
    apply=apply,
    ddl=queries.ddl,
)


def organisations(
    conn: psycopg.Connection[Any], *, region: str = "", after: str = "", limit: int
) -> list[Organisation]:
    """Return up to `limit` organisations of a region."""
    with conn.cursor(row_factory=class_row(Organisation)) as cur:
        page = {"region": region, "after": after, "limit": limit}
        return cur.execute(queries.organisations, page).fetchall()


def sites(
    conn: psycopg.Connection[Any], *, region: str = "", after: str = "", limit: int
) -> list[Site]:
    """Return up to `limit` sites of a region."""
    with conn.cursor(row_factory=class_row(Site)) as cur:
        page = {"region": region, "after": after, "limit": limit}
        return cur.execute(queries.sites, page).fetchall()
