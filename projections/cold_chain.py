"""Equipment as people list it, its newest values, and the readings of a probe for a chart.

Lists take the prefix of a region code (empty: everywhere) and go by id: `after` is the last id of
the page before. `version` is that of the stream, what `If-Match` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.rows import class_row

from domain.cold_chain.events import (
    DeviceMoved,
    DeviceRegistered,
    EvidenceKept,
    GatewayRegistered,
    GatewayReplaced,
    MaintenanceAssigned,
    MaintenanceCancelled,
    MaintenanceDone,
    MaintenanceOpened,
    ProbePlaced,
    ProbeRemoved,
    StorageProfileDefined,
    UnitRegistered,
)
from domain.cold_chain.model import SINCE_EVER
from projections.projection import Projection
from store.envelope import Envelope, Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "cold_chain.sql")

T = TypeVar("T")
_EPOCH_2000 = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_2000_MS = 946_684_800_000
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Profile:
    """Limits of a kind of storage, degrees Celsius, both inclusive."""

    profile_id: str
    name: str
    name_en: str
    temperature_c_min: float
    temperature_c_max: float
    source: str
    version: int


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of cold-chain equipment."""

    unit_id: str
    site_id: str
    region_code: str
    kind: str
    name: str
    name_en: str
    profile_id: str
    plate: str
    version: int


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway and where it stands; what came in its place and when, if it went out of use."""

    gateway_id: str
    site_id: str
    region_code: str
    replacement_id: str | None
    replaced_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class Device:
    """A logger and the gateway it reports through now."""

    device_id: str
    gateway_id: str
    site_id: str
    region_code: str
    channels: list[str]
    interval_s: int
    simulated: bool
    version: int


@dataclass(frozen=True, slots=True)
class Order:
    """Work on a unit. `state`: open, done or cancelled; `closed_at` with the last two.

    `assignee_id` is empty while nobody has it; `result` says what was done, or why it was not.
    """

    order_id: str
    unit_id: str
    site_id: str
    region_code: str
    org_code: str
    kind: str
    task: str
    due_on: date | None
    opened_at: datetime
    state: str
    assignee_id: str
    closed_at: datetime | None
    result: str
    parts: list[str]
    version: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file kept as received, without its content."""

    sha256: str
    filename: str
    kind: str
    device_serial: str
    note: str
    size_bytes: int
    region_code: str
    kept_at: datetime


@dataclass(frozen=True, slots=True)
class Conflict:
    """A reading that came again with another value: `stored` stands, `received` was refused.

    Both are {"ts": UTC ms, "m": {channel: value}}; `position` is that of the telemetry log.
    """

    position: int
    device_id: str
    region_code: str
    boot: int
    seq: int
    stored: dict[str, Any]
    received: dict[str, Any]
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest values of a device by channel; `ts` None: it never spoke."""

    device_id: str
    gateway_id: str
    site_id: str
    region_code: str
    interval_s: int
    channels: list[str]
    ts: datetime | None
    received_at: datetime | None
    values: dict[str, float]


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


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take registrations, placements (for the device's version) and evidence into the tables."""
    for recorded in batch:
        _take(cur, recorded.envelope)


def _take(cur: psycopg.Cursor[Any], envelope: Envelope) -> None:
    version = {"version": envelope.originator_version}
    match envelope.event:
        case StorageProfileDefined() as event:
            cur.execute(queries.put_profile, asdict(event) | version)
        case UnitRegistered() as event:
            cur.execute(queries.put_unit, asdict(event) | version)
        case EvidenceKept() as event:
            kept = {
                "size_bytes": len(event.content),
                "region_code": envelope.meta.region_code,
                "kept_at": envelope.meta.recorded_at,
            }
            cur.execute(queries.put_evidence, asdict(event) | kept)
        case (
            MaintenanceOpened() | MaintenanceAssigned() | MaintenanceDone() | MaintenanceCancelled()
        ):
            _take_order(cur, envelope)
        case _:
            _take_device(cur, envelope)


def _take_device(cur: psycopg.Cursor[Any], envelope: Envelope) -> None:
    version = {"version": envelope.originator_version}
    match envelope.event:
        case GatewayRegistered() as event:
            cur.execute(queries.put_gateway, asdict(event) | version)
        case GatewayReplaced() as event:
            cur.execute(queries.replace_gateway, asdict(event) | version)
            cur.execute(queries.follow_replacement, asdict(event))
        case DeviceRegistered() as event:
            more = {"channels": list(event.channels), "since": SINCE_EVER}
            cur.execute(queries.put_device, asdict(event) | more | version)
        case DeviceMoved() as event:
            cur.execute(queries.move_device, asdict(event))
            cur.execute(queries.touch_device, (envelope.originator_version, event.device_id))
        case ProbePlaced() | ProbeRemoved() as event:
            cur.execute(queries.touch_device, (envelope.originator_version, event.device_id))


def _take_order(cur: psycopg.Cursor[Any], envelope: Envelope) -> None:
    at, version = envelope.meta.occurred_at, {"version": envelope.originator_version}
    match envelope.event:
        case MaintenanceOpened() as event:
            cur.execute(queries.put_order, asdict(event) | {"opened_at": at} | version)
        case MaintenanceAssigned() as event:
            cur.execute(queries.assign_order, asdict(event) | version)
        case MaintenanceDone() as event:
            done = {"state": "done", "closed_at": event.done_at, "parts": list(event.parts)}
            cur.execute(queries.close_order, asdict(event) | done | version)
        case MaintenanceCancelled() as event:
            cancelled = {"state": "cancelled", "closed_at": at, "result": event.reason, "parts": []}
            cur.execute(queries.close_order, asdict(event) | cancelled | version)


PROJECTION = Projection(
    name="cold_chain",
    version=2,
    topics=(
        StorageProfileDefined.TOPIC,
        UnitRegistered.TOPIC,
        GatewayRegistered.TOPIC,
        GatewayReplaced.TOPIC,
        DeviceRegistered.TOPIC,
        DeviceMoved.TOPIC,
        ProbePlaced.TOPIC,
        ProbeRemoved.TOPIC,
        MaintenanceOpened.TOPIC,
        MaintenanceAssigned.TOPIC,
        MaintenanceDone.TOPIC,
        MaintenanceCancelled.TOPIC,
        EvidenceKept.TOPIC,
    ),
    apply=apply,
    ddl=queries.ddl,
)


def profiles(conn: psycopg.Connection[Any], *, after: str = "", limit: int) -> list[Profile]:
    """Return up to `limit` storage profiles."""
    return _page(conn, Profile, queries.profiles, after=after, limit=limit)


def units(
    conn: psycopg.Connection[Any],
    *,
    region: str = "",
    site_id: str = "",
    after: str = "",
    limit: int,
) -> list[Unit]:
    """Return up to `limit` units of a region, or of one of its sites."""
    wanted = {"region": region, "site_id": site_id, "after": after, "limit": limit}
    return _page(conn, Unit, queries.units, **wanted)


def gateways(
    conn: psycopg.Connection[Any],
    *,
    region: str = "",
    site_id: str = "",
    after: str = "",
    limit: int,
) -> list[Gateway]:
    """Return up to `limit` gateways of a region, or of one of its sites."""
    wanted = {"region": region, "site_id": site_id, "after": after, "limit": limit}
    return _page(conn, Gateway, queries.gateways, **wanted)


def devices(
    conn: psycopg.Connection[Any],
    *,
    region: str = "",
    site_id: str = "",
    after: str = "",
    limit: int,
) -> list[Device]:
    """Return up to `limit` devices of a region, or of one of its sites."""
    wanted = {"region": region, "site_id": site_id, "after": after, "limit": limit}
    return _page(conn, Device, queries.devices, **wanted)


def orders(
    conn: psycopg.Connection[Any],
    *,
    region: str = "",
    unit_id: str = "",
    org_code: str = "",
    state: str = "",
    after: str = "",
    limit: int,
) -> list[Order]:
    """Return up to `limit` orders of a region; of one unit, organisation, state where named."""
    wanted = {"region": region, "unit_id": unit_id, "org_code": org_code, "state": state}
    return _page(conn, Order, queries.orders, **wanted, after=after, limit=limit)


def evidence(
    conn: psycopg.Connection[Any], *, region: str = "", after: str = "", limit: int
) -> list[Evidence]:
    """Return up to `limit` files kept in a region."""
    return _page(conn, Evidence, queries.evidence, region=region, after=after, limit=limit)


def conflicts(
    conn: psycopg.Connection[Any], *, region: str = "", after: int = 0, limit: int
) -> list[Conflict]:
    """Return up to `limit` conflicting readings of a region after a telemetry position."""
    return _page(conn, Conflict, queries.conflicts, region=region, after=after, limit=limit)


def latest(
    conn: psycopg.Connection[Any],
    *,
    region: str = "",
    site_id: str = "",
    after: str = "",
    limit: int,
) -> list[Latest]:
    """Return the newest values of up to `limit` devices of a region, or of one of its sites."""
    wanted = {"region": region, "site_id": site_id, "after": after, "limit": limit}
    return _page(conn, Latest, queries.latest, **wanted)


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
    edges = np.searchsorted(ts, np.linspace(begin, end, spans + 1)[1:-1]).tolist()
    kept: list[int] = []
    for first, last in pairwise([0, *edges, ts.size]):
        part = values[first:last]
        if np.isnan(part).all():
            kept += [first] if part.size else []
        else:
            kept += sorted({first + int(np.nanargmin(part)), first + int(np.nanargmax(part))})
    return np.array(kept, dtype=np.int64)


def _page(conn: psycopg.Connection[Any], kind: type[T], query: Any, **wanted: object) -> list[T]:
    with conn.cursor(row_factory=class_row(kind)) as cur:
        return cur.execute(query, wanted).fetchall()
