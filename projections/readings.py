"""The readings of a probe for a chart: from the rows that ingest wrote, thinned to the peaks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg

from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "readings.sql")

_EPOCH_2000 = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_2000_MS = 946_684_800_000
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings of one channel: UTC milliseconds and values, None where the probe was unplugged.

    `rows` were found; when they were more than asked for, they are `decimated` to the least and
    the greatest value of each of equal spans of time.
    """

    t: list[int]
    v: list[float | None]
    rows: int
    decimated: bool


def readings(
    conn: psycopg.Connection[Any],
    *,
    device_id: str,
    channel: str,
    t0: datetime,
    t1: datetime,
    points: int,
    telemetry: int | None = None,
) -> Readings:
    """Return the readings of a channel in [t0, t1), at most `points` (at least 2) of them.

    As the telemetry log stood at that position (None: now).
    """
    wanted = {
        "device_id": device_id,
        "channel": channel,
        "t0": t0,
        "t1": t1,
        "telemetry": telemetry,
    }
    row: Any = conn.execute(queries.readings, wanted, binary=True).fetchone()
    ts = np.frombuffer(row[0], ">i8").astype(np.int64)
    values = np.frombuffer(row[1], ">f8").astype(np.float64)
    begin, end = ((t - _EPOCH_2000) // _MICROSECOND for t in (t0, t1))
    kept = decimate(ts, values, begin, end, points)
    return Readings(
        t=(ts[kept] // 1_000 + _EPOCH_2000_MS).tolist(),
        v=[None if np.isnan(value) else value for value in values[kept].tolist()],
        rows=int(ts.size),
        decimated=kept.size < ts.size,
    )


def decimate(
    ts: npt.NDArray[np.int64], values: npt.NDArray[np.float64], begin: int, end: int, points: int
) -> npt.NDArray[np.int64]:
    """Return the indices of at most `points` rows that keep every peak.

    `ts` ascending in [begin, end). All of them when they fit; else the least and the greatest of
    each of `points` // 2 equal spans, and one row without value where a span has no other.
    """
    if ts.size <= points:
        return np.arange(ts.size)
    spans = points // 2
    edges = begin + np.arange(1, spans) * (end - begin) // spans
    kept: list[int] = []
    for first, last in zip(*_bounds(np.searchsorted(ts, edges), ts.size), strict=True):
        part = values[first:last]
        if np.isnan(part).all():
            kept += [first] if part.size else []
        else:
            kept += sorted({first + int(np.nanargmin(part)), first + int(np.nanargmax(part))})
    return np.array(kept, dtype=np.int64)


def _bounds(inner: npt.NDArray[np.int64], size: int) -> tuple[list[int], list[int]]:
    return [0, *inner.tolist()], [*inner.tolist(), size]
