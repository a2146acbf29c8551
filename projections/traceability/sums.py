"""Sums that questions about whole lots read instead of facts: hops, doses, codes in strange packs.

`hop`: what was scanned of a lot by step and place. New facts add to it; where a fact was withdrawn
or a code turned out to be of another lot, the hops concerned are counted anew, for what was first
or last cannot be taken back. `dose`: who was given what. `mixed`: codes of a lot that were ever
inside a pack that is not of the lot: its facts are the lot's too, but no hop of it tells so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from domain.traceability.facts import Fact, Mention, Step
from projections.traceability import telling
from projections.traceability.rows import Cursor, queries
from projections.traceability.telling import Given

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
    given: Sequence[Given],
    lots: Mapping[int, str],
    before: Iterable[CodeHop],
    stale: set[Hop],
) -> None:
    """Add new facts to the hops; count those in `stale` anew. `before`: where codes were scanned.

    (In a hop that a code was in before, it is not counted again.)
    """
    seen = set(before)
    added: dict[Hop, list[int]] = {}
    for told, _ in given:
        t_ms, step, _ = told.order
        own = told.lot_id if step == Step.COMMISSIONING else None
        for code in told.scanned:
            hop = (lots.get(code, "") if own is None else own, step, told.site_id)
            if not hop[0] or hop in stale:
                continue
            line = added.setdefault(hop, [0, t_ms, t_ms])
            line[1], line[2] = min(line[1], t_ms), max(line[2], t_ms)
            once = (code, *hop)
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
    cur: Cursor, given: Sequence[Given], lots: Mapping[int, str], changed: Collection[int]
) -> None:
    """Add new doses; read those of `changed` codes (lot or withdrawn facts) anew."""
    if changed:
        cur.execute(queries.forget_doses, (list(changed),))
        cur.execute(queries.read_doses, (list(changed),))
    doses = (g for g in given if g.told.order[1] == Step.DISPENSING)
    lines = (line for g in doses for line in telling.dose_lines(g, lots, changed))
    telling.copy_lines(cur, queries.copy_dose, list(lines))


def keep_mixed(cur: Cursor, codes: Collection[int]) -> None:
    """Look anew which of these codes were inside packs that are not of their lot."""
    if codes:
        cur.execute(queries.forget_mixed, (list(codes),))
        cur.execute(queries.find_mixed, (list(codes),))
