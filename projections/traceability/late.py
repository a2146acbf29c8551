"""What is told of products, lots, sites and probes after the facts that it says something of.

Those facts and codes are judged again. What a batch tells of itself is not looked for here: its
facts are held against all that is known at its end, and those told before something they name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from domain.cold_chain.events import ProbePlaced
from domain.registry.events import SiteChanged, SiteRegistered
from domain.traceability.events import LotReleased, ProductRegistered
from domain.traceability.facts import Step
from domain.traceability.journeys import Place, least_ms
from domain.traceability.ordinary import keys_of
from domain.traceability.progress import end_of
from projections.traceability.findings import queries
from projections.traceability.rows import Cursor
from store.envelope import Recorded

_STEPS = [step.value for step in Step]


class Doubts(NamedTuple):
    """Ids of facts, and codes by key."""

    facts: set[str]
    codes: set[int]


def doubts(cur: Cursor, batch: Iterable[Recorded], first: int) -> Doubts:
    """Return what was told before position `first` and must be judged again after a batch."""
    told: dict[type[Any], list[Any]] = defaultdict(list)
    for recorded in batch:
        told[type(recorded.envelope.event)].append(recorded.envelope.event)
    found = Doubts(set(), set())
    wanted = [cls for cls in _LOOK if cls in told]
    if wanted and cur.execute(queries.told_before, (first,)).fetchall()[0][0]:
        for cls in wanted:
            _LOOK[cls](cur, told[cls], first, found)
    return found


def _products(cur: Cursor, events: Sequence[ProductRegistered], first: int, found: Doubts) -> None:
    ids = [event.product_id for event in events]
    lows, highs = zip(*map(keys_of, ids), strict=True)
    asked = {"lows": list(lows), "highs": list(highs), "first": first}
    found.codes.update(row[0] for row in cur.execute(queries.used_before, asked))
    gtins = {"gtins": [f"(01){i}(" for i in ids if len(i) == 14], "first": first}
    if gtins["gtins"]:
        found.codes.update(row[0] for row in cur.execute(queries.used_before_of, gtins))


def _lots(cur: Cursor, events: Sequence[LotReleased], first: int, found: Doubts) -> None:
    asked = {
        "lots": [event.lot_id for event in events],
        "ends": [end_of(event.expires_on) for event in events],
        "first": first,
    }
    found.codes.update(row[0] for row in cur.execute(queries.expired_before, asked))
    found.facts.update(row[0] for row in cur.execute(queries.printed_before, asked))


def _new_sites(cur: Cursor, events: Sequence[SiteRegistered], first: int, found: Doubts) -> None:
    asked = {"sites": [event.site_id for event in events], "steps": _STEPS, "first": first}
    found.facts.update(row[0] for row in cur.execute(queries.strangers_before, asked))
    _moved_sites(cur, events, first, found)


def _moved_sites(
    cur: Cursor, events: Sequence[SiteRegistered | SiteChanged], first: int, found: Doubts
) -> None:
    """Find who came to or from these sites too soon, wherever they ever were on the map."""
    places: dict[str, set[Place]] = defaultdict(set)
    for site_id, latitude, longitude in cur.execute(queries.all_places):
        places[site_id].add(Place(latitude, longitude))
    ways = [
        (site_id, other, ms)
        for site_id in {event.site_id for event in events}
        for other in places.keys() - {site_id}
        if (ms := max(least_ms(a, b) for a in places[site_id] for b in places[other]))
    ]
    if ways:
        sites, others, ms_least = map(list, zip(*ways, strict=True))
        asked = {"sites": sites, "others": others, "ms": ms_least, "steps": _STEPS}
        found.codes.update(row[0] for row in cur.execute(queries.hurried_before, asked))


def _probes(cur: Cursor, events: Sequence[ProbePlaced], first: int, found: Doubts) -> None:
    asked = {"units": [event.unit_id for event in events], "first": first}
    found.facts.update(row[0] for row in cur.execute(queries.received_before, asked))


_LOOK: dict[type[Any], Any] = {
    ProductRegistered: _products,
    LotReleased: _lots,
    SiteRegistered: _new_sites,
    SiteChanged: _moved_sites,
    ProbePlaced: _probes,
}
