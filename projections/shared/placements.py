"""Which probe stood in which unit from when to when, and what a unit's probes read meanwhile.

A stay is [since, until): it ends where the next fact about the same probe begins, so the order in
which placements were told does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.rows import class_row

from domain.cold_chain.events import (
    DeviceRegistered,
    ProbePlaced,
    ProbeRemoved,
    StorageProfileDefined,
    UnitRegistered,
)
from domain.cold_chain.model import TEMPERATURE_CHANNELS
from projections.projection import Projection
from store.envelope import Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "shared_placements.sql")

# A reading holds until the next one, but no longer than three intervals and 15 minutes; the time
# beyond is unknown (EN 12830 logging intervals; exposure convention of the cold-chain rules).
HOLD_INTERVALS_MAX = 3
HOLD_MAX = timedelta(minutes=15)

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_EPOCH_2000 = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_US_PER_MIN = 60_000_000

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Placement:
    """A probe's stay in a unit, `until` None while it lasts, with the unit's limits in degrees."""

    device_id: str
    channel: str
    unit_id: str
    since: datetime
    until: datetime | None
    site_id: str
    region_code: str
    profile_id: str | None
    temperature_c_min: float | None
    temperature_c_max: float | None


@dataclass(frozen=True, slots=True)
class TemperatureSummary:
    """What the probes of a unit read in a span of time.

    `n` readings in it; extremes in degrees of all values that held in it; `mean_c` weighted by
    time over all probes. Minutes above and below the unit's limits: when any probe was; unknown:
    when no probe's reading held. None where nothing is known (limits, or any reading).
    """

    n: int
    temperature_c_min: float | None
    temperature_c_max: float | None
    mean_c: float | None
    above_min: float | None
    below_min: float | None
    unknown_min: float


@dataclass(frozen=True, slots=True)
class _Held:
    """Values that held in [start, end), microseconds since 2000; `read`: values read meanwhile."""

    start: Ints
    end: Ints
    value: Floats
    read: Floats


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take placements, and what they must know of units, profiles and devices."""
    for position, envelope in batch:
        match envelope.event:
            case ProbePlaced() as event:
                stand = (event.device_id, event.channel, event.placed_at, event.unit_id, position)
                cur.execute(queries.put_stand, stand)
            case ProbeRemoved() as event:
                stand = (event.device_id, event.channel, event.removed_at, "", position)
                cur.execute(queries.put_stand, stand)
            case UnitRegistered() as event:
                cur.execute(queries.put_unit, asdict(event))
            case StorageProfileDefined() as event:
                cur.execute(queries.put_profile, asdict(event))
            case DeviceRegistered() as event:
                cur.execute(queries.put_device, asdict(event))


PROJECTION = Projection(
    name="shared_placements",
    version=1,
    topics=(
        ProbePlaced.TOPIC,
        ProbeRemoved.TOPIC,
        UnitRegistered.TOPIC,
        StorageProfileDefined.TOPIC,
        DeviceRegistered.TOPIC,
    ),
    apply=apply,
    ddl=queries.ddl,
)


def placements(
    conn: psycopg.Connection[Any],
    *,
    device_id: str = "",
    unit_id: str = "",
    region: str = "",
    after: tuple[str, str, datetime] = ("", "", BEGINNING),
    limit: int,
) -> list[Placement]:
    """Return up to `limit` stays by device, channel and begin, after that key.

    `device_id` and `unit_id` narrow the list to one, `region` to a prefix of the unit's region.
    """
    wanted = {
        "device_id": device_id,
        "unit_id": unit_id,
        "region": region,
        "after_device": after[0],
        "after_channel": after[1],
        "after_since": after[2],
        "limit": limit,
    }
    with conn.cursor(row_factory=class_row(Placement)) as cur:
        return cur.execute(queries.placements, wanted).fetchall()


def temperature_summary(
    conn: psycopg.Connection[Any],
    unit_id: str,
    t0: datetime,
    t1: datetime,
    *,
    ledger: int | None = None,
    telemetry: int | None = None,
    limits: tuple[float, float] | None = None,
) -> TemperatureSummary:
    """Return what the probes standing in a unit read in [t0, t1).

    As the logs stood at the positions `ledger` and `telemetry` (None: now). Minutes are counted
    outside `limits` in degrees (None: those of the unit).
    """
    wanted = {
        "unit_id": unit_id,
        "t0": t0,
        "t1": t1,
        "channels": list(TEMPERATURE_CHANNELS),
        "ledger": ledger,
    }
    stays = conn.execute(queries.stays, wanted).fetchall()
    held = [_held(conn, stay, t0, t1, telemetry) for stay in stays]
    outside = limits or conn.execute(queries.limits, (unit_id,)).fetchone()
    return _summary(held, outside, (t1 - t0) // _MICROSECOND)


def _held(
    conn: psycopg.Connection[Any],
    stay: tuple[Any, ...],
    t0: datetime,
    t1: datetime,
    telemetry: int | None,
) -> _Held:
    device_no, channel, since, until, interval_s = stay
    hold = min(HOLD_INTERVALS_MAX * timedelta(seconds=interval_s), HOLD_MAX)
    begin, end = max(since, t0), min(until or t1, t1)
    wanted = {
        "device_no": device_no,
        "channel": channel,
        # A reading before the window may hold into it, one before the stay was of another unit.
        "begin": max(since, t0 - hold),
        "end": end,
        "telemetry": telemetry,
    }
    row: Any = conn.execute(queries.held, wanted, binary=True).fetchone()
    ts = np.frombuffer(row[0], ">i8").astype(np.int64)
    value = np.frombuffer(row[1], ">f8").astype(np.float64)
    first, last = ((t - _EPOCH_2000) // _MICROSECOND for t in (begin, end))
    # The last reading holds for no time: what came after it is unknown.
    return _Held(
        start=np.clip(ts[:-1], first, last),
        end=np.clip(np.minimum(ts[1:], ts[:-1] + hold // _MICROSECOND), first, last),
        value=value[:-1],
        read=value[(ts >= first) & (ts < last)],
    )


def _summary(
    held: Sequence[_Held], limits: tuple[float, float] | None, span_us: int
) -> TemperatureSummary:
    start, end, value = (
        np.concatenate([getattr(h, name) for h in held] or [np.empty(0)])
        for name in ("start", "end", "value")
    )
    lasting = end > start
    start, end, value = start[lasting], end[lasting], value[lasting]
    read = np.concatenate([h.read for h in held] or [np.empty(0)])
    seen = np.concatenate([value, read])
    mean = float(np.average(value, weights=end - start)) if value.size else None
    above = below = None
    if limits is not None and seen.size:
        below = _covered_min(start[value < limits[0]], end[value < limits[0]])
        above = _covered_min(start[value > limits[1]], end[value > limits[1]])
    return TemperatureSummary(
        n=int(read.size),
        temperature_c_min=float(seen.min()) if seen.size else None,
        temperature_c_max=float(seen.max()) if seen.size else None,
        mean_c=mean,
        above_min=above,
        below_min=below,
        unknown_min=span_us / _US_PER_MIN - _covered_min(start, end),
    )


def _covered_min(start: Ints, end: Ints) -> float:
    """Return the minutes that lie in any of these spans, overlapping as they may."""
    if not start.size:
        return 0.0
    order = np.argsort(start, kind="stable")
    start, reached = start[order], np.maximum.accumulate(end[order])
    fresh = np.maximum(start[1:], reached[:-1])
    covered = reached[0] - start[0] + np.maximum(reached[1:] - fresh, 0).sum()
    return float(covered) / _US_PER_MIN
