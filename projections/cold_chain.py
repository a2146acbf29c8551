"""Equipment as people list it, and its newest values.

Lists take the prefix of a region code (empty: everywhere) and go by id: `after` is the last id of
the page before. `version` is that of the stream, what `If-Match` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

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
from domain.shared.events import Event
from projections.projection import Projection
from store.envelope import Envelope, Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "cold_chain.sql")

T = TypeVar("T")


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
class Unknown:
    """A device, or with an empty `device_id` a gateway, that spoke without being registered.

    Whether the site of its topic (empty where that names none), and the gateway there, are
    registered; how many different messages of it are kept.
    """

    region_code: str
    site_id: str
    gateway_id: str
    device_id: str
    first_seen_at: datetime
    last_seen_at: datetime
    messages: int
    site_known: bool
    gateway_known: bool


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take registrations, placements (for the device's version) and evidence into the tables."""
    for recorded in batch:
        _take(cur, recorded.envelope)


def _take(cur: psycopg.Cursor[Any], envelope: Envelope) -> None:
    event: Any = envelope.event  # each is a dataclass
    meta = envelope.meta
    told = asdict(event) | {"version": envelope.originator_version, "at": meta.occurred_at}
    match event:
        case StorageProfileDefined():
            cur.execute(queries.put_profile, told)
        case UnitRegistered():
            cur.execute(queries.put_unit, told)
        case EvidenceKept():
            kept = {"region_code": meta.region_code, "kept_at": meta.recorded_at}
            cur.execute(queries.put_evidence, told | kept | {"size_bytes": len(event.content)})
        case (
            MaintenanceOpened() | MaintenanceAssigned() | MaintenanceDone() | MaintenanceCancelled()
        ):
            _take_order(cur, event, told)
        case _:
            _take_device(cur, event, told)


def _take_device(cur: psycopg.Cursor[Any], event: Event, told: dict[str, Any]) -> None:
    match event:
        case GatewayRegistered():
            cur.execute(queries.put_gateway, told)
        case GatewayReplaced():
            cur.execute(queries.replace_gateway, told)
            cur.execute(queries.follow_replacement, told)
        case DeviceRegistered():
            more = {"channels": list(event.channels), "since": SINCE_EVER}
            cur.execute(queries.put_device, told | more)
        case DeviceMoved():
            cur.execute(queries.move_device, told)
            cur.execute(queries.touch_device, told)
        case ProbePlaced() | ProbeRemoved():
            cur.execute(queries.touch_device, told)


def _take_order(cur: psycopg.Cursor[Any], event: Event, told: dict[str, Any]) -> None:
    match event:
        case MaintenanceOpened():
            cur.execute(queries.put_order, told)
        case MaintenanceAssigned():
            cur.execute(queries.assign_order, told)
        case MaintenanceDone():
            done = {"state": "done", "closed_at": event.done_at, "parts": list(event.parts)}
            cur.execute(queries.close_order, told | done)
        case MaintenanceCancelled():
            cancelled = {"state": "cancelled", "closed_at": told["at"], "result": event.reason}
            cur.execute(queries.close_order, told | cancelled | {"parts": []})


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


def unknown(
    conn: psycopg.Connection[Any],
    *,
    region: str = "",
    after: tuple[str, str, str, str] = ("", "", "", ""),
    limit: int,
) -> list[Unknown]:
    """Return up to `limit` who spoke unregistered, by region, site, gateway, device after a key."""
    key = dict(zip(("region_code", "site_id", "gateway_id", "device_id"), after, strict=True))
    return _page(conn, Unknown, queries.unknown, region=region, **key, limit=limit)


def unknown_samples(
    conn: psycopg.Connection[Any], topics: Sequence[str], samples: int, bytes_max: int
) -> list[tuple[str, bytes]]:
    """Return (topic, payload) of the newest `samples` unregistered messages of each topic.

    Of a payload so many bytes at most.
    """
    wanted = {"topics": list(topics), "samples": samples, "bytes_max": bytes_max}
    return conn.execute(queries.unknown_samples, wanted, binary=True).fetchall()


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


def _page(conn: psycopg.Connection[Any], kind: type[T], query: Any, **wanted: object) -> list[T]:
    with conn.cursor(row_factory=class_row(kind)) as cur:
        return cur.execute(query, wanted).fetchall()
