"""Which probe stood in which unit from when to when, and what a unit's probes read meanwhile.

A stay is [since, until): it ends where the next fact about the same probe begins, so the order in
which placements were told does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

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
from projections.shared.calibrations import calibrations
from store.envelope import Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "shared_placements.sql")

# A reading holds until the next one, but no longer than three intervals and 15 minutes; the time
# beyond is unknown (EN 12830 logging intervals; exposure convention of the cold-chain rules).
HOLD_INTERVALS_MAX = 3
HOLD_MAX = timedelta(minutes=15)

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_EPOCH_2000 = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_2000_MS = 946_684_800_000
_MICROSECOND = timedelta(microseconds=1)
_US_PER_MIN = 60_000_000

Limits = tuple[float, float]  # degrees
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


class Span(NamedTuple):
    """A time [t0, t1) in a unit."""

    unit_id: str
    t0: datetime
    t1: datetime


class ProbeReadings(NamedTuple):
    """What one probe read in a unit: n readings (UTC ms, °C), and m values with how long they held.

    A value may have been read before, and hold no longer than `hold_ms`.
    """

    device_id: str
    channel: str
    hold_ms: int
    ts_ms: Ints
    celsius: Floats
    begin_ms: Ints
    end_ms: Ints
    held_c: Floats


class UnitReadings(NamedTuple):
    """What the probes of a unit read in a time, each by itself and all together."""

    probes: list[ProbeReadings]
    limits: Limits | None
    summary: TemperatureSummary


class _Stay(NamedTuple):
    """What of a stay of a probe lies in a span (by its place among those asked for)."""

    span: int
    device_no: int
    channel: str
    since: datetime
    begin: datetime
    end: datetime
    interval_s: int
    device_id: str

    @property
    def hold(self) -> timedelta:
        """How long a reading holds at most."""
        return min(HOLD_INTERVALS_MAX * timedelta(seconds=self.interval_s), HOLD_MAX)

    @property
    def read_from(self) -> datetime:
        """From when readings count: one before may hold into it, but not from another unit."""
        return max(self.since, self.begin - self.hold)


@dataclass(frozen=True, slots=True)
class _Held:
    """Values that held in [start, end), microseconds since 2000; `read`: read meanwhile."""

    start: Ints
    end: Ints
    value: Floats
    read: Floats
    read_at: Ints


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
    limits: Limits | None = None,
) -> TemperatureSummary:
    """Return what the probes standing in a unit read in [t0, t1).

    As the logs stood at the positions `ledger` and `telemetry` (None: now). Minutes are counted
    outside `limits` (None: those of the unit).
    """
    spans = [Span(unit_id, t0, t1)]
    (found,) = temperature_summaries(conn, spans, ledger=ledger, telemetry=telemetry, limits=limits)
    return found


def temperature_summaries(
    conn: psycopg.Connection[Any],
    spans: Sequence[Span],
    *,
    ledger: int | None = None,
    telemetry: int | None = None,
    limits: Limits | None = None,
) -> list[TemperatureSummary]:
    """Return `temperature_summary` of many units and times at once."""
    if not spans:
        return []
    units, t0, t1 = (list(column) for column in zip(*spans, strict=True))
    wanted: dict[str, Any] = {"units": units, "t0": t0, "t1": t1}
    wanted |= {"channels": list(TEMPERATURE_CHANNELS), "ledger": ledger}
    stays = [_Stay(*row) for row in conn.execute(queries.stays, wanted)]
    held: dict[int, list[_Held]] = defaultdict(list)
    for stay, found in zip(stays, _held(conn, stays, ledger, telemetry), strict=True):
        held[stay.span].append(found)
    known: dict[str, Limits] = {}
    if limits is None:
        known = {unit: (low, high) for unit, low, high in conn.execute(queries.limits, (units,))}
    return [
        _summary(held[n], limits or known.get(span.unit_id), (span.t1 - span.t0) // _MICROSECOND)
        for n, span in enumerate(spans)
    ]


def unit_readings(
    conn: psycopg.Connection[Any],
    unit_id: str,
    t0: datetime,
    t1: datetime,
    *,
    ledger: int | None = None,
    telemetry: int | None = None,
) -> UnitReadings:
    """Return all that the probes standing in a unit read in [t0, t1), and its summary."""
    wanted: dict[str, Any] = {"units": [unit_id], "t0": [t0], "t1": [t1]}
    wanted |= {"channels": list(TEMPERATURE_CHANNELS), "ledger": ledger}
    stays = [_Stay(*row) for row in conn.execute(queries.stays, wanted)]
    held = list(_held(conn, stays, ledger, telemetry))
    limits = limits_of(conn, unit_id)
    of_probe: dict[tuple[str, str], list[int]] = defaultdict(list)
    for n, stay in enumerate(stays):
        of_probe[stay.device_id, stay.channel].append(n)
    return UnitReadings(
        [
            _probe(stays[found[0]], [held[n] for n in found])
            for found in (of_probe[name] for name in sorted(of_probe))
        ],
        limits,
        _summary(held, limits, (t1 - t0) // _MICROSECOND),
    )


def limits_of(conn: psycopg.Connection[Any], unit_id: str) -> Limits | None:
    """Return the limits of a unit in degrees, None where it has none."""
    known = conn.execute(queries.limits, ([unit_id],)).fetchone()
    return (known[1], known[2]) if known else None


def _probe(stay: _Stay, parts: Sequence[_Held]) -> ProbeReadings:
    """Return the stays of one probe as one; parts in order of time."""
    start, end, value, read, read_at = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("start", "end", "value", "read", "read_at")
    )
    lasting = end > start
    return ProbeReadings(
        device_id=stay.device_id,
        channel=stay.channel,
        hold_ms=stay.hold // timedelta(milliseconds=1),
        ts_ms=_ms(read_at),
        celsius=read,
        begin_ms=_ms(start[lasting]),
        end_ms=_ms(end[lasting]),
        held_c=value[lasting],
    )


def _ms(us: Ints) -> Ints:
    return us // 1000 + _EPOCH_2000_MS


def _held(
    conn: psycopg.Connection[Any],
    stays: Sequence[_Stay],
    ledger: int | None,
    telemetry: int | None,
) -> Iterator[_Held]:
    """Yield what held in each of these stays, as it counts by the calibrations of the probes."""
    if not stays:
        return
    wanted = {
        "devices": [stay.device_no for stay in stays],
        "channels": [stay.channel for stay in stays],
        "begins": [stay.read_from for stay in stays],
        "ends": [stay.end for stay in stays],
        "telemetry": telemetry,
    }
    known = calibrations(conn, ledger, sorted({stay.device_id for stay in stays}))
    rows = conn.execute(queries.held, wanted, binary=True)
    for stay, row in zip(stays, rows, strict=True):
        ts = np.frombuffer(row[0], ">i8").astype(np.int64)
        read = np.frombuffer(row[1], ">f8").astype(np.float64)
        at_ms = ts // 1_000 + _EPOCH_2000_MS
        value = known.corrected(read, stay.device_id, stay.channel, at_ms)
        first, last = ((t - _EPOCH_2000) // _MICROSECOND for t in (stay.begin, stay.end))
        # The last reading holds for no time: what came after it is unknown.
        inside = (ts >= first) & (ts < last)
        yield _Held(
            start=np.clip(ts[:-1], first, last),
            end=np.clip(np.minimum(ts[1:], ts[:-1] + stay.hold // _MICROSECOND), first, last),
            value=value[:-1],
            read=value[inside],
            read_at=ts[inside],
        )


def _summary(held: Sequence[_Held], limits: Limits | None, span_us: int) -> TemperatureSummary:
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
