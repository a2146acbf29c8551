"""A count by number against the book of its place: how many packs should be there, as known now."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from api import asof
from api.deps import Deps
from api.facts import told
from domain.shared.errors import Invalid
from domain.traceability.events import StockCounted
from domain.traceability.facts import FactEvent
from projections.traceability import stocktaking as read

# Beyond it the book has gone on: whoever counted says what should have been there.
TOLD_WITHIN = timedelta(minutes=15)


def against_book(deps: Deps, fact: FactEvent, at: datetime, levels: set[int]) -> FactEvent:
    """Return a count with what should be there of these levels, read off the book.

    Told again it stays as it was. Invalid: bad_field (a level twice), missing_field (no lot and no
    product), book_moved_on.
    """
    if not levels or not isinstance(fact, StockCounted):
        return fact
    if len({line.level for line in fact.quantities}) < len(fact.quantities):
        raise Invalid("bad_field", field="quantities")
    scope = fact.lot_id or fact.product_id
    if not scope:
        raise Invalid("missing_field", field="lot", step="cycle_counting")
    known, _ = told(deps, fact.fact_id)
    if known is not None and isinstance(known.event, StockCounted):
        due = {line.level: line.due for line in known.event.quantities}
        return _filled(fact, levels, due, known.event.book_position)
    if deps.clock.now() - at > TOLD_WITHIN:
        minutes = round(TOLD_WITHIN.total_seconds() / 60)
        raise Invalid("book_moved_on", field="quantities", minutes=minutes)
    with deps.pool.connection() as conn:
        position = asof.shown_now(conn).ledger
        found = read.on_hand(conn, fact.site_id, fact.unit_id, scope)
    return _filled(fact, levels, found, position)


def _filled(
    fact: StockCounted, levels: set[int], due: dict[int, int], position: int | None
) -> StockCounted:
    lines = tuple(
        replace(line, due=due.get(line.level, 0)) if line.level in levels else line
        for line in fact.quantities
    )
    return replace(fact, quantities=lines, book_position=position)
