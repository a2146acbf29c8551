"""What is known of a code this moment: the read model, and the ledger's facts it has not yet.

For a question whose answer must not be older than a moment, before an injection: a hold placed a
second ago counts, however far the follower is behind.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from psycopg.rows import tuple_row

from domain.traceability.codes import code_key, key_code
from domain.traceability.custody import Book, Product
from domain.traceability.events import ExcursionConfirmed, FactWithdrawn
from domain.traceability.facts import (
    STEP_OF,
    Fact,
    FactEvent,
    Mention,
    Step,
    fact_of,
    mentions_of,
)
from domain.traceability.thermal import Excursion, Whereabouts
from projections.traceability.follow import PROJECTION
from projections.traceability.rows import Connection, Cursor, read_fact, read_mentions
from projections.unfollowed import followed, recorded_after
from store.envelope import Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "traceability_fresh.sql")

_TOPICS = [cls.TOPIC for cls in STEP_OF] + [FactWithdrawn.TOPIC]
# A code that the newest facts put into a pack, and that into another, is looked at once more each.
_ROUNDS_MAX = 4


@dataclass(slots=True)
class _Tail:
    """The facts after a position, and what was declared wrong there."""

    facts: list[tuple[FactEvent, Fact]] = field(default_factory=list)
    withdrawn: dict[tuple[str, str], int] = field(default_factory=dict)

    def marked(self, fact: Fact) -> Fact:
        """Return a fact with the declaration that is not yet in the read model."""
        position = self.withdrawn.get((fact.fact_id, fact.site_id))
        if position is None or fact.withdrawn_position is not None:
            return fact
        return replace(fact, withdrawn_position=position)


def book_of(conn: Connection, codes: Sequence[str], product: Product) -> Book:
    """Return the facts of canonical codes of one product, of their packs and lots, as of now."""
    after = followed(conn, PROJECTION.follower)
    with conn.cursor(row_factory=tuple_row) as cur:
        keys, lots = {code_key(code) for code in codes}, set[str]()
        named = set(codes)
        for _ in range(_ROUNDS_MAX):
            stored = read_mentions(cur.execute(queries.facts_of_codes, (sorted(keys),)))
            packs = {m.parent for m in stored if m.parent is not None}
            lots |= _lots_of(m.fact for m in stored)
            named |= _texts(cur, packs)
            tail = _tail(conn, after, named | lots)
            told = [m for event, fact in tail.facts for m in mentions_of(event, fact)]
            wider = keys | {m.parent for m in told if m.parent is not None and m.code in keys}
            found = _lots_of(fact for _, fact in tail.facts) - lots
            if wider <= keys | packs and not found:
                break
            keys, lots = wider, lots | found
        holds = [read_fact(row) for row in cur.execute(queries.lot_facts, (sorted(lots),))]
    holds += [fact for event, fact in tail.facts if not event.codes]
    mentions = [Mention(m.code, m.parent, m.as_parent, tail.marked(m.fact)) for m in stored + told]
    return Book(mentions, facts=map(tail.marked, holds), product=lambda _k: product)


def exposures(conn: Connection, stays: Sequence[Whereabouts]) -> list[Excursion]:
    """Return the excursions on record that a code was exposed to in any of its stays."""
    units = {name for stay in stays for name in (stay.unit_id, *stay.device_ids) if name}
    wanted = {"sites": sorted({stay.site_id for stay in stays} - {""}), "units": sorted(units)}
    after = followed(conn, PROJECTION.follower)
    with conn.cursor(row_factory=tuple_row) as cur:
        found = [Excursion(*row) for row in cur.execute(queries.excursions, wanted)]
    places = {*wanted["sites"], *wanted["units"]}
    found += map(_confirmed, recorded_after(conn, after, [ExcursionConfirmed.TOPIC], places))
    return [each for each in found if any(stay.exposed(each) for stay in stays)]


def codes_at(conn: Connection, site_id: str) -> list[str]:
    """Return the smallest packs that the read model places at a site, as texts."""
    with conn.cursor(row_factory=tuple_row) as cur:
        keys = [row[0] for row in cur.execute(queries.at_site, (site_id,))]
        return sorted(_texts(cur, keys))


def _lots_of(facts: Any) -> set[str]:
    return {f.lot_id for f in facts if f.step is Step.COMMISSIONING and f.lot_id}


def _texts(cur: Cursor, keys: Collection[int]) -> set[str]:
    plain = {k: key_code(k) for k in keys}
    hashed = [k for k, text in plain.items() if text is None]
    texts = {text for text in plain.values() if text is not None}
    if hashed:
        texts |= {row[0] for row in cur.execute(queries.code_texts, (hashed,))}
    return texts


def _tail(conn: Connection, after: int, named: Collection[str]) -> _Tail:
    found = _Tail()
    for recorded in recorded_after(conn, after, _TOPICS, named):
        event = recorded.envelope.event
        if isinstance(event, FactWithdrawn):
            found.withdrawn.setdefault((event.fact_id, event.of_site), recorded.position)
        else:
            found.facts.append((cast(FactEvent, event), _fact(recorded)))
    return found


def _fact(recorded: Recorded) -> Fact:
    meta = recorded.envelope.meta
    return fact_of(
        cast(FactEvent, recorded.envelope.event),
        t_ms=_ms(meta.occurred_at),
        recorded_ms=_ms(meta.recorded_at),
        position=recorded.position,
    )


def _confirmed(recorded: Recorded) -> Excursion:
    event = cast(ExcursionConfirmed, recorded.envelope.event)
    return Excursion(
        device_id=event.device_id,
        start_ms=_ms(event.started_at),
        end_ms=_ms(event.ended_at),
        limit_c=event.limit_c,
        peak_c=event.peak_c,
        unit_id=event.unit_id,
        site_id=event.site_id,
        position=recorded.position,
    )


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)
