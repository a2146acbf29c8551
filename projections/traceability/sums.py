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
    codes: dict[Hop, set[int]] = {}
    times: dict[Hop, list[int]] = {}
    for told, _ in given:
        t_ms, step, _ = told.order
        own = told.lot_id if step == Step.COMMISSIONING else None
        for code in told.scanned:
            hop = (lots.get(code, "") if own is None else own, step, told.site_id)
            scanned = codes.get(hop)
            if scanned is None:
                codes[hop], times[hop] = {code}, [t_ms]
            else:
                scanned.add(code)
                times[hop].append(t_ms)
    for code, lot_id, at_step, site_id in before:
        codes.get((lot_id, at_step, site_id), set()).discard(code)
    rows = [
        (*hop, len(codes[hop]), min(told_at), max(told_at))
        for hop, told_at in sorted(times.items())
        if hop[0] and hop not in stale
    ]
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
    telling.copy_lines(cur, queries.copy_dose, telling.dose_lines(given, lots, changed))


def keep_mixed(cur: Cursor, codes: Collection[int]) -> None:
    """Look anew which of these codes were inside packs that are not of their lot."""
    if codes:
        cur.execute(queries.forget_mixed, (list(codes),))
        cur.execute(queries.find_mixed, (list(codes),))
