"""What a correction means for goods: the history of each as it was told, and as it is known now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import psycopg

from domain.stability.arrhenius import Floats
from domain.stability.budget import Compared, compared
from domain.stability.exposure import COLD_C, FREEZING_C, WARM_C
from domain.traceability.codes import code_key
from domain.traceability.model import Product
from domain.traceability.thermal import Excursion
from projections import thermal
from projections.thermal import Histories, Known
from projections.traceability.inside import Inside, inside
from projections.traceability.stays import Stays, stays_as_of, stays_of_codes

Connection = psycopg.Connection[Any]
# Limits that say nothing of a product, by its id.
Bears = Callable[[str], frozenset[str]]


# Where codes were, and what they went through as was told and as is known.
_Histories = tuple[Stays, Histories, Histories]


class Place(NamedTuple):
    """A unit that reads otherwise from `since_ms` to `until_ms`; `site_id`: where it belongs.

    `device_id`, `channel`: the probe that does; empty where goods were elsewhere than known.
    """

    unit_id: str
    site_id: str
    device_id: str
    channel: str
    since_ms: int
    until_ms: int


class How(NamedTuple):
    """Which limits goods passed by a correction, or no longer have; which for longer, or less."""

    passed: tuple[str, ...]
    no_longer: tuple[str, ...]
    longer: tuple[str, ...]
    shorter: tuple[str, ...]


class Group(NamedTuple):
    """Goods of one holder that a correction means the same for."""

    place: Place
    site_id: str
    how: How
    goods: list[Inside]


def borne(product: Product) -> frozenset[str]:
    """Return the limits (`budget.LIMITS`) that a product is kept beyond, or that do not hurt it."""
    least, most = product.temperature_c_min, product.temperature_c_max
    frozen = not product.freeze_sensitive or least <= FREEZING_C
    found = {"above": most > WARM_C, "below": least < COLD_C, "freezing": frozen}
    return frozenset(name for name, bears in found.items() if bears)


class Looking(NamedTuple):
    """Within one moment: a connection, until when readings are known, and what products bear."""

    conn: Connection
    until_ms: int
    bears: Bears


def by_place(looking: Looking, places: Iterable[Place], then: Known, now: Known) -> list[Group]:
    """Return the goods that were in some units, by what reads otherwise there means for them."""
    conn = looking.conn
    found: dict[str, tuple[Inside, Place]] = {}
    for place in places:
        excursion = Excursion("", place.since_ms, place.until_ms - 1, 0.0, 0.0, place.unit_id)
        for each in inside(conn, excursion, place.site_id, lambda _product: False):
            found.setdefault(each.code, (each, place))

    def histories(product_id: str, keys: list[int]) -> _Histories:
        stays = stays_of_codes(conn, keys, product_id)
        was, is_now = (
            thermal.histories(conn, stays.presence, stays.units, looking.until_ms, known)
            for known in (then, now)
        )
        return stays, was, is_now

    return _grouped(found, histories, looking.bears)


def by_custody(
    looking: Looking, goods: Iterable[Inside], place: Place, position: int
) -> list[Group]:
    """Return goods by what the fact at a position of the ledger means for them.

    But for those of which nothing was known before.
    """

    def histories(product_id: str, keys: list[int]) -> _Histories:
        was, is_now = (_as_of(looking, product_id, keys, each) for each in (position - 1, position))
        unknown = was[1].begin == 0
        is_now[1].exposed.sums[:, unknown] = was[1].exposed.sums[:, unknown]
        return was[0], was[1], is_now[1]

    return _grouped({each.code: (each, place) for each in goods}, histories, looking.bears)


def _as_of(
    looking: Looking, product_id: str, keys: list[int], position: int
) -> tuple[Stays, Histories]:
    stays = stays_as_of(looking.conn, keys, product_id, position)
    until_ms = looking.until_ms
    return stays, thermal.histories(looking.conn, stays.presence, stays.units, until_ms)


def _grouped(
    found: Mapping[str, tuple[Inside, Place]],
    histories: Callable[[str, list[int]], _Histories],
    bears: Bears,
) -> list[Group]:
    by_product: dict[str, dict[int, str]] = defaultdict(dict)
    for code, (each, _) in found.items():
        by_product[each.product_id][code_key(code)] = code
    groups: dict[tuple[Place, str, How], list[Inside]] = defaultdict(list)
    for product_id, codes in by_product.items():
        stays, was, is_now = histories(product_id, list(codes))
        keys = stays.keys[stays.presence.code].tolist()
        changed = _changed(was.exposed.sums, is_now.exposed.sums, bears(product_id))
        for n, how in changed:
            each, place = found[codes[keys[n]]]
            groups[place, each.site_id, how].append(each)
    return [Group(*key, goods) for key, goods in groups.items()]


def _changed(was: Floats, is_now: Floats, borne_by_it: frozenset[str]) -> Iterator[tuple[int, How]]:
    """Yield which of some histories mean something else now, and what."""
    limits = {name: v for name, v in compared(was, is_now).items() if name not in borne_by_it}
    flags = [flag for found in limits.values() for flag in found]
    for n in np.flatnonzero(np.any(flags, axis=0)).tolist() if flags else []:
        yield n, How(*(_named(limits, kind, n) for kind in Compared._fields))


def _named(limits: Mapping[str, Compared], kind: str, n: int) -> tuple[str, ...]:
    return tuple(sorted(name for name, found in limits.items() if getattr(found, kind)[n]))
