"""What stays in units amount to, worked out reading by reading from the rows: no block, no sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from domain.stability.exposure import QUANTITIES, Quantity
from tests.conftest import Database

FACTORS_K = (10_000.0, 12_429.0, 13_652.0, 13_657.0)


class Placed(NamedTuple):
    """A probe (device and channel) in a unit, ms; `hold_ms`: how long a reading holds."""

    device_id: str
    channel: str
    unit_id: str
    since: int
    until: float
    hold_ms: int


class Certified(NamedTuple):
    """From `since` (ms) on a probe reads `deviation_c` too much."""

    device_id: str
    channel: str
    since: int
    deviation_c: float


@dataclass
class Found:
    """Sums of one stay, and the extremes outside 2 … 8 °C; last: ms that means are weighed by."""

    sums: list[float]
    hi: float = math.nan
    lo: float = math.nan


def readings(
    database: Database, device_id: str, channel: str, certified: Sequence[Certified] = ()
) -> list[tuple[int, float]]:
    """Return what a probe's readings count as, ms and °C, in order."""
    own = {c.since: c.deviation_c for c in certified if c[:2] == (device_id, channel)}
    rows = database.query(
        f"SELECT (extract(epoch FROM ts) * 1000)::bigint, {channel} FROM reading"  # noqa: S608
        " JOIN device_no USING (device_no) WHERE device_id = %s ORDER BY ts, boot, seq",
        device_id,
    )
    return [(ts, _counted(ts, v, own)) for ts, v in rows if v is not None]


def _counted(ts: int, celsius: float, deviations: dict[int, float]) -> float:
    since = max((since for since in deviations if since <= ts), default=None)
    return celsius if since is None else round(celsius - deviations[since], 6)


def exposure(
    known: dict[tuple[str, str], list[tuple[int, float]]],
    placed: Sequence[Placed],
    unit_id: str,
    t0: int,
    t1: int,
) -> Found:
    """Return what a unit's probes say of [t0, t1): each sum is that of the worst probe there.

    Those of means are of the probe that took most heat.
    """
    there = [p for p in placed if p.unit_id == unit_id and p.since < t1 and p.until > t0]
    edges = {t0, t1, *(e for p in there for e in (p.since, p.until) if t0 < e < t1)}
    cuts: list[Any] = sorted(edges)
    total = Found([0.0] * (QUANTITIES + 1))
    for begin, end in pairwise(cuts):
        found = [
            _piece(known[p.device_id, p.channel], p, begin, end)
            for p in there
            if p.since <= begin and p.until >= end
        ]
        warmest = max(found, key=lambda each: each.sums[Quantity.MKT], default=None)
        for n in range(QUANTITIES):
            total.sums[n] += max((each.sums[n] for each in found), default=0.0)
        if warmest is not None:
            total.sums[QUANTITIES] += warmest.sums[Quantity.KNOWN]
            for n in (Quantity.DEGREES, Quantity.MKT):
                total.sums[n] += warmest.sums[n] - max(each.sums[n] for each in found)
        for each in found:
            total.hi = _of(max, total.hi, each.hi)
            total.lo = _of(min, total.lo, each.lo)
    return total


def _of(extreme: Callable[..., float], one: float, other: float) -> float:
    """Return the extreme of two values, NaN where there is none."""
    return extreme((v for v in (one, other) if not math.isnan(v)), default=math.nan)


def _piece(rows: Sequence[tuple[int, float]], placed: Placed, t0: int, t1: int) -> Found:
    sums = [0.0] * QUANTITIES
    seen: list[float] = []
    for n, (ts, v) in enumerate(rows):
        if ts < placed.since:
            continue
        following = rows[n + 1][0] if n + 1 < len(rows) else ts
        begin, end = max(ts, t0), min(following, ts + placed.hold_ms, t1)
        if t0 <= ts < t1 or end > begin:
            seen.append(v)
        ms = max(0, end - begin)
        told = (
            *(1.0, v, v > 8, v < 2, v <= -0.5, max(v - 8, 0), max(2 - v, 0)),
            *(math.exp(-k / (v + 273.15)) for k in FACTORS_K),
        )
        for column, each in enumerate(told):
            sums[column] += each * ms
    return Found(
        sums,
        max(seen) if sums[2] else math.nan,
        min(seen) if sums[3] else math.nan,
    )
