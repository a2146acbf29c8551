"""Names and places of organisations, sites and units, for every page that shows one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from domain.cold_chain.events import UnitRegistered
from domain.registry.events import OrganisationRegistered, SiteChanged, SiteRegistered
from projections.projection import Projection
from store.envelope import Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "shared_org_tree.sql")

# Only a site has coordinates.
NOWHERE = {"latitude": None, "longitude": None}


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
                ids = {"kind": "organisation", "id": event.org_code, "parent_id": ""}
                cur.execute(queries.put_node, NOWHERE | asdict(event) | ids)
            case SiteRegistered() as event:
                ids = {"kind": "site", "id": event.site_id, "parent_id": event.org_code}
                cur.execute(queries.put_node, asdict(event) | ids)
            case UnitRegistered() as event:
                ids = {"kind": "unit", "id": event.unit_id, "parent_id": event.site_id}
                cur.execute(queries.put_node, NOWHERE | asdict(event) | ids)
            case SiteChanged() as event:
                cur.execute(queries.change_site, asdict(event))


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
