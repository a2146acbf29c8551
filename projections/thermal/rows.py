"""What stays in units exposed goods to, out of the rows of readings: as of any earlier position.

Blocks are of now. What was known then is read again, reading by reading: for the few stays of one
code, and as far as rows have not been dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from domain.cold_chain.model import TEMPERATURE_CHANNELS
from domain.stability.arrhenius import Floats
from domain.stability.exposure import QUANTITIES, Ints, Quantity, amounts
from projections.shared import placements
from projections.shared.calibrations import calibrations
from projections.thermal.follow import CHANNELS, EPOCH_2000_MS, hold_ms, queries
from projections.thermal.spans import Connection, Exposures, Pieces, Spans, pieces_of, together


def exposures_of_rows(
    conn: Connection, units: Sequence[str], spans: Spans, *, ledger: int, telemetry: int
) -> Exposures:
    """Return what spans in units amounted to, as the logs stood at two positions."""
    pieces = pieces_of(conn, units, spans, ledger)
    n = pieces.span.size
    parts = Exposures(np.zeros((QUANTITIES, n)), np.full(n, np.nan), np.full(n, np.nan))
    if n:
        _read(conn, pieces, parts, ledger, telemetry)
    return together(pieces, parts, spans.t0.size)


def _read(conn: Connection, pieces: Pieces, parts: Exposures, ledger: int, telemetry: int) -> None:
    """Fill in what each piece amounts to."""
    numbers, channels = np.divmod(pieces.probe, CHANNELS)
    found = conn.execute(queries.holds, (np.unique(numbers).tolist(),)).fetchall()
    names = {number: device_id for number, device_id, _ in found}
    holds = {number: hold_ms(interval_s) for number, _, interval_s in found}
    hold = np.array([holds[number] for number in numbers.tolist()], np.int64)
    asked = {
        "devices": numbers.tolist(),
        "channels": [TEMPERATURE_CHANNELS[n] for n in channels.tolist()],
        "begins": _times(np.maximum(pieces.since, pieces.t0 - hold)),
        "ends": _times(pieces.t1),
        "telemetry": telemetry,
    }
    known = calibrations(conn, ledger)
    rows = conn.execute(placements.queries.held, asked, binary=True)
    for n, (ts, celsius) in enumerate(rows):
        at = np.frombuffer(ts, ">i8") // 1000 + EPOCH_2000_MS
        v = np.frombuffer(celsius, ">f8").astype(np.float64)
        v = known.corrected(v, names[int(numbers[n])], asked["channels"][n], at)
        _fill(parts, n, (at, v, int(hold[n])), (int(pieces.t0[n]), int(pieces.t1[n])))


def _fill(parts: Exposures, n: int, told: tuple[Ints, Floats, int], ends: tuple[int, int]) -> None:
    """Fill in one piece: readings with the one after it, in order, and how long one holds."""
    (at, v, hold), (t0, t1) = told, ends
    held = np.zeros(at.size, np.int64)
    until = np.minimum(np.minimum(at[1:], at[:-1] + hold), t1)
    held[:-1] = np.maximum(until - np.maximum(at[:-1], t0), 0)
    parts.sums[:, n] = amounts(v, held).sum(axis=1)
    seen = v[((at >= t0) & (at < t1)) | (held > 0)]
    if parts.sums[Quantity.ABOVE, n]:
        parts.hi[n] = seen.max()
    if parts.sums[Quantity.BELOW, n]:
        parts.lo[n] = seen.min()


def _times(ms: Ints) -> list[datetime]:
    return [datetime.fromtimestamp(each / 1000, UTC) for each in ms.tolist()]
