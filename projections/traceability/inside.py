"""Which smallest packs were in a unit during an excursion, and how each stands now.

Candidates are found by the tables; whether one was there is decided by the fold of its facts, as
for every question about custody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg.rows import tuple_row

from domain.traceability.codes import product_of
from domain.traceability.custody import Book, Product
from domain.traceability.facts import LEVEL_MAX, Step
from domain.traceability.states import ENDED
from domain.traceability.thermal import Excursion, whereabouts
from projections.traceability.cases import texts_of
from projections.traceability.fresh import queries as fresh
from projections.traceability.rows import ALWAYS, Connection, Cursor, read_mentions
from projections.traceability.views import time_of
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "traceability_inside.sql")

# Codes folded at a time: what bounds the memory.
_FOLD_MAX = 5_000
_SMALLEST = 1


@dataclass(frozen=True, slots=True)
class Inside:
    """A smallest pack that was inside. `site_id`: where it is now, or goes to.

    `ended`: used up, destroyed or condemned: no hold changes that. `pack`: the outermost one it is
    in that has nothing in it but packs that were inside and are of products to be bound, or itself.
    """

    code: str
    lot_id: str
    product_id: str
    site_id: str
    doses: int
    ended: bool
    held: bool
    released_at: datetime | None
    pack: str


@dataclass(frozen=True, slots=True)
class _Unit:
    """The same by key; `parent`: the pack it is in now."""

    k: int
    lot_id: str
    site_id: str
    doses: int
    ended: bool
    held: bool
    released_at: datetime | None
    parent: int | None


def inside(
    conn: Connection, excursion: Excursion, at_site: str, bound: Callable[[str], bool]
) -> list[Inside]:
    """Return what was inside during an excursion, as the read model stands.

    `at_site`: where the unit belongs, also of a vehicle (which is at no site, as its excursions).
    `bound`: whether goods of a product are to be bound by their packs.
    """
    with conn.cursor(row_factory=tuple_row) as cur:
        return _told(cur, _units(cur, excursion, at_site), bound)


def named(conn: Connection, position: int, since_ms: int) -> list[Inside]:
    """Return the smallest packs that the fact at a position names, or packs they were in since."""
    with conn.cursor(row_factory=tuple_row) as cur:
        codes = [k for (k,) in cur.execute(queries.named, (position,))]
        asked = {"codes": codes, "start_ms": since_ms, "end_ms": ALWAYS}
        return _told(cur, _smallest(cur, asked, None), lambda _product: False)


def _told(cur: Cursor, units: Sequence[_Unit], bound: Callable[[str], bool]) -> list[Inside]:
    if not units:
        return []
    texts = texts_of(cur, [unit.k for unit in units])
    products = {unit.k: product_of(texts[unit.k]) for unit in units}
    binding = {unit.k for unit in units if not unit.ended and bound(products[unit.k])}
    packs = _packs(cur, [unit for unit in units if unit.k in binding])
    texts |= texts_of(cur, set(packs.values()))
    return [
        Inside(
            code=texts[unit.k],
            lot_id=unit.lot_id,
            product_id=products[unit.k],
            site_id=unit.site_id,
            doses=unit.doses,
            ended=unit.ended,
            held=unit.held,
            released_at=unit.released_at,
            pack=texts[packs.get(unit.k, unit.k)],
        )
        for unit in units
    ]


def _units(cur: Cursor, excursion: Excursion, at_site: str) -> list[_Unit]:
    """Return the smallest packs that were inside, by key."""
    asked: dict[str, Any] = {
        "start_ms": excursion.start_ms,
        "end_ms": excursion.end_ms,
        "site_id": at_site,
        "unit_id": excursion.unit_id,
        "device_id": excursion.device_id,
    }
    seeds = [row[0] for row in cur.execute(queries.seeds, asked)]
    if not seeds:
        return []
    return _smallest(cur, asked | {"codes": seeds}, excursion)


def _smallest(cur: Cursor, asked: Mapping[str, Any], excursion: Excursion | None) -> list[_Unit]:
    """Return the smallest packs among codes and their contents; None: exposed or not."""
    rows = cur.execute(queries.contents, asked).fetchall()
    codes = [k for k, level in rows if level == _SMALLEST]
    found: list[_Unit] = []
    for start in range(0, len(codes), _FOLD_MAX):
        found += _exposed(cur, codes[start : start + _FOLD_MAX], excursion)
    return found


def _exposed(cur: Cursor, codes: Sequence[int], excursion: Excursion | None) -> Iterator[_Unit]:
    mentions = read_mentions(cur.execute(fresh.facts_of_codes, (list(codes),)))
    doses = _doses(cur, codes)
    book = Book(mentions, product=lambda k: Product(doses.get(k)))
    for k in codes:
        chain = book.chain(k)
        stays = whereabouts(chain, doses.get(k))
        if excursion is not None and not any(stay.exposed(excursion) for stay in stays):
            continue
        stands, own = book.standing(k), book.progress(k)
        released = [e.fact.t_ms for e in chain if e.fact.step is Step.RELEASING]
        stay = book.inside(k)
        ended = stands.status in ENDED
        left = (doses.get(k) or 1) - own.doses_given - own.doses_wasted
        yield _Unit(
            k=k,
            lot_id=stands.lot_id,
            site_id=stands.site_id,
            doses=0 if ended else max(left, 0),
            ended=ended or stands.condemned,
            held=stands.held,
            released_at=time_of(max(released)) if released else None,
            parent=stay.parent if stay else None,
        )


def _doses(cur: Cursor, codes: Sequence[int]) -> dict[int, int]:
    """Return the doses of a vial of each code's product, where that is known."""
    named = {k: product_of(text) for k, text in texts_of(cur, codes).items()}
    found: dict[str, int] = dict(
        cur.execute(queries.products, (sorted(set(named.values())),)).fetchall()
    )
    return {k: found[product] for k, product in named.items() if product in found}


def _packs(cur: Cursor, units: Collection[_Unit]) -> dict[int, int]:
    """Return the outermost pack of each unit that holds nothing but such units now."""
    above: dict[int, int | None] = {unit.k: unit.parent for unit in units}
    outer = {k: k for k in above}
    for _ in range(LEVEL_MAX):
        whole = _whole(cur, {parent for parent in above.values() if parent is not None}, above)
        if not whole:
            break
        for k, inner in outer.items():
            parent = above[inner]
            if parent is not None and parent in whole:
                outer[k] = parent
        above |= whole
    return outer


def _whole(
    cur: Cursor, packs: Collection[int], known: Mapping[int, int | None]
) -> dict[int, int | None]:
    """Return those of these packs all of whose contents are known, with the packs they are in."""
    new = [k for k in packs if k not in known]
    if not new:
        return {}
    contents: dict[int, list[int]] = defaultdict(list)
    for parent, k in cur.execute(queries.inside_now, (new,)):
        contents[parent].append(k)
    whole = [pack for pack in new if contents[pack] and all(k in known for k in contents[pack])]
    found: dict[int, int | None] = dict(cur.execute(queries.parents, (whole,)).fetchall())
    return found
