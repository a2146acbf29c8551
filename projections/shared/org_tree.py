"""Names and places of organisations, sites and units, for every page that shows one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from domain.cold_chain.events import UnitRegistered
from domain.registry.events import OrganisationRegistered, SiteChanged, SiteRegistered
from projections.projection import Projection
from store.envelope import Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "shared" / "org_tree.sql")


@dataclass(frozen=True, slots=True)
class Name:
    """What a thing is called and where it is: names, region code, degrees WGS 84."""

    zh: str
    en: str
    region: str
    latitude: float | None = None
    longitude: float | None = None


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take registrations and changes into the tree."""
    for recorded in batch:
        match recorded.envelope.event:
            case OrganisationRegistered() as event:
                _put(cur, "organisation", event.org_code, "", event)
            case SiteRegistered() as event:
                _put(cur, "site", event.site_id, event.org_code, event)
            case UnitRegistered() as event:
                _put(cur, "unit", event.unit_id, event.site_id, event)
            case SiteChanged() as event:
                values = {
                    "site_id": event.site_id,
                    "name": event.name,
                    "name_en": event.name_en,
                    "latitude": event.latitude,
                    "longitude": event.longitude,
                }
                cur.execute(queries.change_site, values)


def _put(
    cur: psycopg.Cursor[Any],
    kind: str,
    node_id: str,
    parent_id: str,
    event: OrganisationRegistered | SiteRegistered | UnitRegistered,
) -> None:
    placed = isinstance(event, SiteRegistered)
    values = {
        "kind": kind,
        "id": node_id,
        "parent_id": parent_id,
        "name": event.name,
        "name_en": event.name_en,
        "region_code": event.region_code,
        "latitude": event.latitude if placed else None,
        "longitude": event.longitude if placed else None,
    }
    cur.execute(queries.put_node, values)


PROJECTION = Projection(
    name="shared_org_tree",
    version=1,
    topics=(
        OrganisationRegistered.TOPIC,
        SiteRegistered.TOPIC,
        SiteChanged.TOPIC,
        UnitRegistered.TOPIC,
    ),
    apply=apply,
    ddl=queries.ddl,
)


def names(
    conn: psycopg.Connection[Any], ids: Collection[str], kind: str = "site"
) -> dict[str, Name]:
    """Return the names of those of these ids that are known; `kind`: organisation, site, unit."""
    found = conn.execute(queries.names, (kind, list(ids))).fetchall()
    return {row[0]: Name(*row[1:]) for row in found}
