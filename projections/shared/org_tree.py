"""Names and places of organisations, sites and units, for every page that shows one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

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
    if batch:
        cur.execute(queries.note_change, (batch[-1].position,))


PROJECTION = Projection(
    name="shared_org_tree",
    version=2,
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
    """Return the names of those of these ids that are known, in order of id.

    `kind`: organisation, site, unit.
    """
    found = conn.execute(queries.names, (kind, list(ids))).fetchall()
    return {row[0]: Name(*row[1:]) for row in sorted(found)}


class _Known(NamedTuple):
    """Names that were looked up since the tree changed last, by kind and id; None = no such."""

    version: int
    by_kind: dict[str, dict[str, Name | None]]


_known: list[_Known] = [_Known(0, {})]
KNOWN_MAX = 100_000


def names_at(
    conn: psycopg.Connection[Any], version: int, ids: Collection[str], kind: str = "site"
) -> dict[str, Name]:
    """Return `names`, out of memory where nothing changed since they were asked for last.

    `version`: the position in `changed`, as the caller has just read it.
    """
    if _known[0].version != version:
        _known[0] = _Known(version, {})
    found = _known[0].by_kind.setdefault(kind, {})
    missing = [each for each in ids if each not in found]
    if missing:
        if len(found) > KNOWN_MAX:  # ids that nobody registered could go on for ever
            return names(conn, ids, kind)
        asked = names(conn, missing, kind)
        found.update((each, asked.get(each)) for each in missing)
    return _named(found, ids)


def names_known(version: int, ids: Collection[str], kind: str = "site") -> dict[str, Name] | None:
    """Return `names_at` out of memory alone, None where somebody has to ask for one of them."""
    if not ids:
        return {}
    known = _known[0]
    found = known.by_kind.get(kind)
    if known.version != version or found is None or not found.keys() >= set(ids):
        return None
    return _named(found, ids)


def _named(found: Mapping[str, Name | None], ids: Collection[str]) -> dict[str, Name]:
    return {each: name for each in sorted(ids) if (name := found.get(each)) is not None}
