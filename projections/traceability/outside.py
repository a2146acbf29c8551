"""Whether probes read outside the limits of a product while it was in a unit that keeps others.

Hours are looked at first, as they are rolled up, however long a stay was; readings themselves only
of what an hour leaves open, and of the last hours, which may not be rolled up yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from domain.cold_chain.model import TEMPERATURE_CHANNELS
from projections.shared.placements import Limits, Span, temperature_summaries
from projections.shared.placements import queries as placements
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "traceability_outside.sql")

# Roll-ups follow within seconds, after a standstill within minutes.
NOT_ROLLED_UP = timedelta(hours=2)


def left_limits(conn: psycopg.Connection[Any], spans: Sequence[Span], limits: Limits) -> bool:
    """Tell whether anything read in these spans of time was outside limits, however short.

    Only of units whose own range is not within them: of any other its alerts tell.
    """
    doubtful = _unfit(conn, [span for span in spans if span.t0 < span.t1], limits)
    if not doubtful:
        return False
    units, t0, t1 = (list(column) for column in zip(*doubtful, strict=True))
    asked = {"units": units, "t0": t0, "t1": t1, "channels": list(TEMPERATURE_CHANNELS)}
    read = [span._replace(t0=max(span.t0, span.t1 - NOT_ROLLED_UP)) for span in doubtful]
    for n, low, high, any_low, any_high in conn.execute(queries.reached, asked):
        if _outside(low, high, limits):
            return True
        if _outside(any_low, any_high, limits):
            read[n] = doubtful[n]
    return any(
        _outside(found.temperature_c_min, found.temperature_c_max, limits)
        for found in temperature_summaries(conn, read, limits=limits)
    )


def _unfit(conn: psycopg.Connection[Any], spans: Sequence[Span], limits: Limits) -> list[Span]:
    """Return the spans in units that may be colder or warmer than these limits."""
    units = sorted({span.unit_id for span in spans})
    known = conn.execute(placements.limits, (units,)).fetchall() if units else []
    unfit = {unit for unit, low, high in known if low < limits[0] or high > limits[1]}
    return [span for span in spans if span.unit_id in unfit]


def _outside(low: float | None, high: float | None, limits: Limits) -> bool:
    return (low is not None and low < limits[0]) or (high is not None and high > limits[1])
