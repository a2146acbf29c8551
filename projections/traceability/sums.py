"""Sums that questions about whole lots read instead of facts: hops, doses, codes in strange packs.

`hop`: what was scanned of a lot by step and place. New facts add to it; where a fact was withdrawn
or a code turned out to be of another lot, the hops concerned are counted anew, for what was first
or last cannot be taken back. `dose`: who was given what. `mixed`: codes of a lot that were ever
inside a pack that is not of the lot: its facts are the lot's too, but no hop of it tells so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from domain.traceability.facts import Fact, Mention, Step
from projections.traceability.rows import Cursor, queries

Kept = tuple[Fact, list[Mention]]
Hop = tuple[str, int, str]  # lot, step, place
CodeHop = tuple[int, str, int, str]


def relot(cur: Cursor, codes: Sequence[int], lots: Sequence[str]) -> set[Hop]:
    """Give all facts of these codes their lots; return the hops that this changed."""
    if not codes:
        return set()
    columns = (list(codes), list(lots))
    found = cur.execute(queries.strange_facts, columns).fetchall()
    if not found:
        return set()
    cur.execute(queries.relot, columns)
    return {hop for *hop_from, lot in found for hop in (_hop(*hop_from), _hop(lot, *hop_from[1:]))}


def _hop(lot_id: str, step: int, site_id: str) -> Hop:
    return lot_id, step, site_id


def keep_hops(
    cur: Cursor,
    kept: Sequence[Kept],
    lots: dict[int, str],
    before: Iterable[CodeHop],
    stale: set[Hop],
) -> None:
    """Add new facts to the hops; count those in `stale` anew. `before`: where codes were scanned.

    (In a hop that a code was in before, it is not counted again.)
    """
    seen = set(before)
    added: dict[Hop, list[int]] = {}
    for fact, mentions in kept:
        for m in mentions:
            own = fact.step is Step.COMMISSIONING
            hop = (fact.lot_id if own else lots.get(m.code, ""), int(fact.step), fact.site_id)
            if not hop[0] or hop in stale:
                continue
            line = added.setdefault(hop, [0, fact.t_ms, fact.t_ms])
            line[1], line[2] = min(line[1], fact.t_ms), max(line[2], fact.t_ms)
            once = (m.code, *hop)
            if once not in seen:
                seen.add(once)
                line[0] += 1
    rows = [(*hop, *line) for hop, line in sorted(added.items())]
    if rows:
        cur.execute(queries.add_hops, [list(column) for column in zip(*rows, strict=True)])
    if stale:
        columns = [list(column) for column in zip(*sorted(stale), strict=True)]
        cur.execute(queries.forget_hops, columns)
        cur.execute(queries.count_hops, columns)


def keep_doses(
    cur: Cursor, kept: Sequence[Kept], lots: dict[int, str], changed: Collection[int]
) -> None:
    """Add new doses; read those of `changed` codes (lot or withdrawn facts) anew."""
    if changed:
        cur.execute(queries.forget_doses, (list(changed),))
        cur.execute(queries.read_doses, (list(changed),))
    with cur.copy(queries.copy_dose) as copy:
        for fact, mentions in kept:
            if fact.step is Step.DISPENSING:
                for m in mentions:
                    if m.code not in changed:
                        place = (m.code, lots.get(m.code, ""), fact.site_id, fact.t_ms)
                        copy.write_row((*place, fact.position, fact.dose_number, fact.recipient))


def keep_mixed(cur: Cursor, codes: Collection[int]) -> None:
    """Look anew which of these codes were inside packs that are not of their lot."""
    if codes:
        cur.execute(queries.forget_mixed, (list(codes),))
        cur.execute(queries.find_mixed, (list(codes),))
