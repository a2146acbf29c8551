"""Tables of custody kept by the follower: facts, stays in packs, the present of each code.

Facts are kept as they came, one narrow row a code and one wide row a scan. `contain` and `node`
are derived, for the codes a batch touches: of ordinary lives as lane.py follows them, of the others
anew from all their facts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from domain.traceability.custody import NOT_INHERITED
from domain.traceability.events import FactWithdrawn, LotReleased, ProductRegistered
from domain.traceability.facts import STEP_OF, Step, texts_of
from projections.projection import Bulk, Projection
from projections.traceability import bulk, derived, exceptions, lane, master, sums, telling
from projections.traceability.derived import Refreshed
from projections.traceability.lane import Lane
from projections.traceability.rows import Cursor, keys, queries, texts
from projections.traceability.telling import Given
from store.envelope import Recorded


def apply(cur: Cursor, batch: Sequence[Recorded]) -> None:
    """Take products, lots, facts and withdrawals into the tables.

    Conflict("code_key_collision") as `master.keep_code_texts`.
    """
    exceptions.keep_beside(cur, batch)
    late = [k for r in batch for k in master.keep(cur, r)]
    given = _keep_scans(cur, batch)
    gone, withdrawn = _keep_withdrawals(cur, batch, given)
    first, told = batch[0].position, [t.order[2] for t, _ in given]
    fallen = {*late, *(k for k, _, _ in withdrawn)}
    touched = fallen.union(*(t.scanned for t, _ in given))
    if not touched:
        facts = [telling.kept(g) for g in given]
        exceptions.keep(cur, batch, exceptions.Taken(facts, (), None, gone, first, told))
        return
    packs = {row[0] for row in cur.execute(queries.packs_among, (keys(touched),))}
    touched |= _left_packs(cur, given, withdrawn, packs)
    along = lane.follow(cur, given, touched, fallen=fallen, gone=gone, first=first)
    lots = _lots(given, along)
    telling.copy_lines(cur, queries.copy_fact, telling.fact_lines(given, lots))
    found = derived.refresh(cur, along.careful, lots, lane.keep(cur, along))
    lots.update(found.lots)
    _keep_sums(cur, given, _Sums(along, lots, found, withdrawn, packs))
    facts = [telling.kept(g) for g in lane.others(cur, given, batch, along)]
    taken = (facts, along.careful, found.book, gone, first, told, along.closure())
    exceptions.keep(cur, batch, exceptions.Taken(*taken))


PROJECTION = Projection(
    "traceability",
    11,
    (
        ProductRegistered.TOPIC,
        LotReleased.TOPIC,
        FactWithdrawn.TOPIC,
        *sorted(cls.TOPIC for cls in STEP_OF),
        *exceptions.TOPICS,
    ),
    apply,
    f"{queries.tables};\n{queries.indexes};\n{exceptions.DDL}",
    Bulk(f"{queries.tables};\n{exceptions.DDL}", bulk.load),
)


def _keep_scans(cur: Cursor, batch: Sequence[Recorded]) -> list[Given]:
    """Store what was said in facts not yet known by their id (the first holds); return them."""
    given = telling.facts_of(batch)
    if not given:
        return []
    ids = [t.order[2] for t, _ in given]
    if known := {row[0] for row in cur.execute(queries.known_facts, (texts(ids),))}:
        given = [g for g in given if g[0].order[2] not in known]
    master.keep_code_texts(cur, (text for _, event in given for text in texts_of(event)))
    telling.copy_lines(cur, queries.copy_scan, [telling.scan_line(g) for g in given])
    return given


def _keep_withdrawals(
    cur: Cursor, batch: Sequence[Recorded], given: Sequence[Given]
) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Mark facts declared wrong; return their positions, and (code, time, position) they named."""
    declared = master.keep_declarations(cur, batch)
    ((any_declared,),) = cur.execute(queries.any_withdrawal).fetchall()
    if not any_declared:
        return [], []
    ids = [*(t.order[2] for t, _ in given), *declared]
    marked = [row[0] for row in cur.execute(queries.withdraw, (ids,))]
    if not marked:
        return [], []
    named = cur.execute(queries.codes_at, (marked,)).fetchall()
    now = (t for t, _ in given if t.position in set(marked))
    named += [(code, t.order[0], t.position) for t in now for code in t.scanned]
    return marked, named


def _left_packs(
    cur: Cursor,
    given: Sequence[Given],
    withdrawn: Sequence[tuple[int, int, int]],
    packs: Collection[int],
) -> set[int]:
    """Return contents of these packs that facts about them change."""
    seeds = [(k, t_ms, True) for k, t_ms, _ in withdrawn if k in packs]
    for told, _ in given if packs else ():
        if told.order[1] not in NOT_INHERITED:
            named = told.scanned if told.all_contents else told.codes
            seeds += [(k, told.order[0], told.all_contents) for k in named if k in packs]
    if not seeds:
        return set()
    columns = [list(column) for column in zip(*seeds, strict=True)]
    return {row[0] for row in cur.execute(queries.left_packs, columns)}


def _lots(given: Iterable[Given], along: Lane) -> dict[int, str]:
    """Return under which lot the facts of each code are stored, as far as is known by now."""
    made = (t for t, _ in given if t.order[1] == Step.COMMISSIONING)
    lots = {code: t.lot_id for t in made for code in t.codes}
    lots.update((k, row[1]) for k, row in along.nodes.items())
    lots.update((k, life.lot_id) for k, life in along.lives.items())
    return lots


class _Sums(NamedTuple):
    """What the sums have to count; `packs`: codes of the batch that had contents before."""

    along: Lane
    lots: dict[int, str]
    found: Refreshed
    withdrawn: Sequence[tuple[int, int, int]]
    packs: Collection[int]


def _keep_sums(cur: Cursor, given: Sequence[Given], of: _Sums) -> None:
    found, stale = of.found, of.found.hops
    if of.withdrawn:
        positions = list({position for *_, position in of.withdrawn})
        stale.update(cur.execute(queries.hops_at, (positions,)).fetchall())
    sums.keep_hops(cur, given, of.lots, _seen(of), stale)
    gone = {k for k, *_ in of.withdrawn}
    sums.keep_doses(cur, given, of.lots, found.moved | gone)
    other = found.moved | found.new.intersection(of.packs)
    inside = cur.execute(queries.contents_of, (list(other),)).fetchall() if other else ()
    sums.keep_mixed(cur, found.moved.union(found.resettled, (row[0] for row in inside)))


def _seen(of: _Sums) -> Iterator[sums.CodeHop]:
    """Yield the hops that codes were in before."""
    for told in of.along.earlier:
        own = told.order[1] == Step.COMMISSIONING
        for code in told.scanned:
            lot_id = told.lot_id if own else of.lots.get(code, "")
            yield code, lot_id, told.order[1], told.site_id
