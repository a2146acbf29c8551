"""By what affected goods are held now, and what a decision on some of them must name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from domain.alerting import policy
from domain.shared.errors import Conflict, Invalid
from domain.traceability.codes import code_key
from domain.traceability.custody import Book, Product
from domain.traceability.progress import Progress
from domain.traceability.states import ENDED
from projections import traceability as custody
from projections.traceability.cases import texts_of

# Codes whose facts are read at once: what bounds the memory.
READ_MAX = 2_000

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Bound:
    """By which codes a smallest pack is held now (its own, and packs around it), and where.

    `by_people`: those of them that are held for another reason than alerts, too.
    """

    site_id: str
    names: tuple[str, ...]
    by_people: frozenset[str]
    condemned: bool
    ended: bool

    @property
    def stays(self) -> bool:
        """Tell whether it is held on, whatever of alerts is released."""
        return not self.ended and (self.condemned or bool(self.by_people))


def bound(conn: Connection, codes: Sequence[str]) -> dict[str, Bound]:
    """Return how codes are bound, as of now; a recall binds for itself, and is left alone."""
    found: dict[str, Bound] = {}
    for start in range(0, len(codes), READ_MAX):
        found |= _bound_at_once(conn, codes[start : start + READ_MAX])
    return found


def _bound_at_once(conn: Connection, codes: Sequence[str]) -> dict[str, Bound]:
    book = custody.book_of(conn, codes, Product())
    around = {code: list(_around(book, code_key(code))) for code in codes}
    held = {
        k for above in around.values() for k in above if not all(book.progress(k).holds.values())
    }
    with conn.cursor() as cur:
        texts = texts_of(cur, held)
    by_people = {k for k in held if _held_by_people(book.progress(k))}
    stands = {code: book.standing(code_key(code)) for code in codes}
    return {
        code: Bound(
            site_id=stands[code].site_id,
            names=tuple(texts[k] for k in around[code] if k in held),
            by_people=frozenset(texts[k] for k in around[code] if k in by_people),
            condemned=stands[code].condemned,
            ended=stands[code].status in ENDED,
        )
        for code in codes
    }


def _held_by_people(progress: Progress) -> bool:
    """Tell whether anything binds a code that is neither of an alert nor a recall."""
    told = (fact for facts in progress.orders.values() for fact in facts if not fact.recall)
    return any(fact.more.get("issued_by") != policy.SYSTEM for fact in told)


def _around(book: Book, code: int) -> Iterator[int]:
    """Yield a code and the packs it is in, the innermost first."""
    seen: set[int] = set()
    within: int | None = code
    while within is not None and within not in seen:
        seen.add(within)
        yield within
        stay = book.inside(within)
        within = stay.parent if stay else None


def not_condemned(held: Mapping[str, Bound], codes: Sequence[str], *, all_meant: bool) -> list[str]:
    """Return codes that can be released; Conflict for condemned ones named, and for none left."""
    found = [code for code in codes if not held[code].condemned]
    if found and all_meant:
        return found
    for code in codes:
        if held[code].condemned:
            raise Conflict("condemned_already", code=code)
    return found


def named(
    held: Mapping[str, Bound], codes: Sequence[str], site_id: str, *, release: bool
) -> dict[str, list[str]]:
    """Return the codes that a decision names, by the site where they are (`site_id`: if unknown).

    A release names none that people hold as well. What is condemned in a pack stays so when the
    pack is released. Invalid("part_of_pack") where a pack is held as a whole and only some of its
    contents are meant.
    """
    chosen = set(codes)
    found: dict[str, set[str]] = defaultdict(set)
    for code in codes:
        if not held[code].ended:
            names = set(held[code].names) - (held[code].by_people if release else set())
            found[held[code].site_id or site_id].update(names)
    packs = {name for names in found.values() for name in names}
    for code, other in held.items():
        if code in chosen or other.ended or (release and other.condemned):
            continue
        if not packs.isdisjoint(other.names):
            pack = min(packs.intersection(other.names))
            raise Invalid("part_of_pack", field="codes", value=pack)
    return {site: sorted(names) for site, names in sorted(found.items()) if names}
