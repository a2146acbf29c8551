"""The readings of a probe for a chart: all of them, or thinned so that every peak is still there.

Long spans are answered from the hourly roll-ups, which know the extremes of each hour and when
they were reached; hours whose rows were dropped are shown by them as well. Both ways give the same
points.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg

from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "charts.sql")

# Channels that are rolled up; any other is read from its rows.
ROLLED_UP = frozenset({"t1", "t2", "t3", "t4", "rh", "door", "mains", "bat"})
# Rows of shorter spans are read in some tens of milliseconds.
LONG = timedelta(days=31)
HOUR = timedelta(hours=1)

_EPOCH_2000 = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_2000_MS = 946_684_800_000
_MICROSECOND = timedelta(microseconds=1)
_HOUR_US = HOUR // _MICROSECOND

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


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


class _Series(NamedTuple):
    """Times in microseconds since 2000, ascending; values; how many rows these stand for."""

    ts: Ints
    values: Floats
    rows: int


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

    As the telemetry log stood at that position (None: now). Where rows were dropped, the extremes
    of each hour stand for them.
    """
    asked = {"device_id": device_id, "channel": channel, "telemetry": telemetry}
    return _thinned(_rows(conn, asked, t0, t1), t0, t1, points)


def long_readings(
    conn: psycopg.Connection[Any],
    *,
    device_id: str,
    channel: str,
    t0: datetime,
    t1: datetime,
    points: int,
) -> tuple[Readings, int] | None:
    """Return what `readings` would, out of the roll-ups, and the telemetry position it stands for.

    None where that would be no gain, or where the roll-ups are behind.
    """
    if channel not in ROLLED_UP or t1 - t0 < LONG or (t1 - t0) / (points // 2) < HOUR:
        return None
    first, last = _hour_from(t0), _hour_before(t1)
    with conn.transaction():
        conn.execute(queries.one_moment)
        ((position,),) = conn.execute(queries.rolled_up_to).fetchall()
        if position is None:
            return None
        asked = {"device_id": device_id, "channel": channel, "telemetry": position}
        hours = _hours(conn, asked, first, last, dropped=False)
        if hours.rows <= points:
            return None
        ends = [_rows(conn, asked, t0, first), _rows(conn, asked, last, t1)]
    return _thinned(_joined(ends[0], hours, ends[1]), t0, t1, points), position


def _thinned(series: _Series, t0: datetime, t1: datetime, points: int) -> Readings:
    begin, end = ((t - _EPOCH_2000) // _MICROSECOND for t in (t0, t1))
    kept = decimate(series.ts, series.values, begin, end, points, rows=series.rows)
    return Readings(
        t=(series.ts[kept] // 1_000 + _EPOCH_2000_MS).tolist(),
        v=[None if np.isnan(value) else value for value in series.values[kept].tolist()],
        rows=series.rows,
        decimated=kept.size < series.rows,
    )


def decimate(
    ts: Ints, values: Floats, begin: int, end: int, points: int, *, rows: int | None = None
) -> Ints:
    """Return the indices of at most `points` rows that keep every peak.

    `ts` ascending in [begin, end), microseconds. All of them when the `rows` they stand for fit;
    else the least and the greatest of each of up to `points` // 2 equal spans, and one row without
    value where a span has no other. Spans of an hour and more are whole hours.
    """
    if (ts.size if rows is None else rows) <= points:
        return np.arange(ts.size)
    edges = np.searchsorted(ts, _edges(begin, end, points // 2)).tolist()
    kept: list[int] = []
    for first, last in pairwise([0, *edges, ts.size]):
        part = values[first:last]
        if np.isnan(part).all():
            kept += [first] if part.size else []
        else:
            kept += sorted({first + int(np.nanargmin(part)), first + int(np.nanargmax(part))})
    return np.array(kept, dtype=np.int64)


def _edges(begin: int, end: int, spans: int) -> npt.NDArray[Any]:
    """Return where a span ends and the next begins."""
    if end - begin < spans * _HOUR_US:
        return np.linspace(begin, end, spans + 1)[1:-1]
    start = begin - begin % _HOUR_US
    step = _HOUR_US * -(-(end - start) // (spans * _HOUR_US))
    return np.arange(start + step, end, step)


def _rows(
    conn: psycopg.Connection[Any], asked: dict[str, Any], t0: datetime, t1: datetime
) -> _Series:
    """Return the rows in [t0, t1), and the extremes of hours whose rows were dropped."""
    if t0 >= t1:
        return _series([], [], 0)
    span = {**asked, "t0": t0, "t1": t1}
    row: Any = conn.execute(queries.rows, span, binary=True).fetchone()
    ts = np.frombuffer(row[0], ">i8").astype(np.int64)
    found = _told(ts, np.frombuffer(row[1], ">f8").astype(np.float64))
    ((dropped,),) = conn.execute(queries.any_dropped, span).fetchall()
    if not dropped:
        return found
    hours = _hours(conn, asked, _hour_before(t0), t1, dropped=True)
    begin, end = ((t - _EPOCH_2000) // _MICROSECOND for t in (t0, t1))
    inside = (hours.ts >= begin) & (hours.ts < end)
    return _joined(found, _Series(hours.ts[inside], hours.values[inside], hours.rows))


def _told(ts: Ints, values: Floats) -> _Series:
    """Return rows without those that only tell of other channels at a time that has a value."""
    valued = ~np.isnan(values)
    if not valued.all():
        kept = valued | ~np.isin(ts, ts[valued])
        ts, values = ts[kept], values[kept]
    return _Series(ts, values, int(ts.size))


def _hours(
    conn: psycopg.Connection[Any],
    asked: dict[str, Any],
    first: datetime,
    last: datetime,
    *,
    dropped: bool,
) -> _Series:
    """Return the extremes of each hour that begins in [first, last)."""
    span = {**asked, "t0": first, "t1": last, "dropped": dropped}
    row: Any = conn.execute(queries.hours, span, binary=True).fetchone()
    lo_ts, hi_ts = (np.frombuffer(row[n], ">i8").astype(np.int64) for n in (1, 3))
    lo, hi = (np.frombuffer(row[n], ">f8").astype(np.float64) for n in (2, 4))
    two = (lo_ts != hi_ts) | (lo < hi)  # else one reading was both, or there was none
    return _series([lo_ts, hi_ts[two]], [lo, hi[two]], int(row[0]))


def _joined(*parts: _Series) -> _Series:
    return _series(
        [part.ts for part in parts], [part.values for part in parts], sum(p.rows for p in parts)
    )


def _series(ts: list[Ints], values: list[Floats], rows: int) -> _Series:
    all_ts = np.concatenate([np.empty(0, np.int64), *ts])
    order = np.argsort(all_ts, kind="stable")
    return _Series(all_ts[order], np.concatenate([np.empty(0), *values])[order], rows)


def _hour_before(t: datetime) -> datetime:
    return t - (t - _EPOCH_2000) % HOUR


def _hour_from(t: datetime) -> datetime:
    return -(-(t - _EPOCH_2000) // HOUR) * HOUR + _EPOCH_2000
