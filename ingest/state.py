"""What ingest remembers of a device: newest values, stored ranges, threshold states.

One row of `device_state` each, loaded when a device is first seen and kept in memory after that:
the ingest that holds the lock is the only writer. A batch works on copies, which replace the kept
ones only after its commit, so a failed batch leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec
import psycopg
from psycopg.rows import dict_row

from domain.alerting.watch import WatchState, to_datetime, to_ms
from ingest import ranges
from ingest.ranges import Ranges
from ingest.rows import queries

TYPED = ("t1", "t2", "t3", "t4", "rh", "door", "mains", "bat")
BOOLEAN = ("door", "mains")
# Devices kept in memory; beyond, all are forgotten and read again as they come.
DEVICES_MAX = 50_000

Values = Mapping[str, float | None]


@dataclass(slots=True)
class Watched:
    """The threshold state of a probe's present watch, and the rule sets it was judged under."""

    rule_version: int
    state: WatchState


@dataclass(slots=True)
class DeviceState:
    """A device as it stands after the newest stored batch; `values` are each channel's latest."""

    device_id: str
    device_no: int
    ts_ms: int | None = None
    boot: int | None = None
    seq: int | None = None
    values: dict[str, float | None] = field(default_factory=dict)
    ranges: Ranges = field(default_factory=list)
    probes: dict[str, Watched] = field(default_factory=dict)
    stored_ts_ms: int | None = None  # time of the newest reading before this batch
    changed: bool = False  # by this batch

    def copy(self) -> DeviceState:
        """Return one that a batch may change."""
        return replace(
            self,
            values=dict(self.values),
            ranges=list(self.ranges),
            probes=dict(self.probes),
            stored_ts_ms=self.ts_ms,
            changed=False,
        )

    def saw(self, ts_ms: int, boot: int, seq: int, row: Values) -> None:
        """Note a new reading: the latest when it is the newest by time."""
        self.changed = True
        if self.ts_ms is None or (ts_ms, boot, seq) >= (self.ts_ms, self.boot or 0, self.seq or 0):
            self.ts_ms, self.boot, self.seq = ts_ms, boot, seq
            self.values.update(row)


class DeviceStates:
    """The devices in memory."""

    def __init__(self) -> None:
        self._kept: dict[str, DeviceState] = {}

    def load(
        self, conn: psycopg.Connection[Any], device_ids: Collection[str], *, numbering: bool
    ) -> dict[str, DeviceState]:
        """Return copies of these devices, read where they are not in memory.

        A device seen for the first time gets its number with `numbering`, else it is left out.
        """
        self._load(conn, device_ids, numbering)
        return {i: self._kept[i].copy() for i in device_ids if i in self._kept}

    def _load(
        self, conn: psycopg.Connection[Any], device_ids: Collection[str], numbering: bool
    ) -> None:
        missing = [device_id for device_id in device_ids if device_id not in self._kept]
        if not missing:
            return
        if len(self._kept) + len(missing) > DEVICES_MAX:
            self._kept.clear()
            missing = list(device_ids)
        self._read(conn, missing)
        unnumbered = [device_id for device_id in missing if device_id not in self._kept]
        if unnumbered and numbering:
            conn.execute(queries.add_devices, (unnumbered,))
            self._read(conn, unnumbered)

    def keep(self, states: Iterable[DeviceState]) -> None:
        """Take what a committed batch made of its copies."""
        self._kept.update((state.device_id, state) for state in states)

    def forget(self) -> None:
        """Drop everything: the connection was lost, so what is stored must be read again."""
        self._kept.clear()

    def _read(self, conn: psycopg.Connection[Any], device_ids: list[str]) -> None:
        with conn.cursor(row_factory=dict_row) as cur:
            for row in cur.execute(queries.load_devices, (device_ids,)):
                self._kept[row["device_id"]] = _from_row(row)


def columns(values: Values) -> tuple[object, ...]:
    """Return the typed columns of a row in table order, then `extra` as JSON or None."""
    typed = [
        bool(value) if name in BOOLEAN and value is not None else value
        for name, value in ((name, values.get(name)) for name in TYPED)
    ]
    extra = {name: value for name, value in values.items() if name not in TYPED}
    return (*typed, msgspec.json.encode(extra).decode() if extra else None)


def values_of(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the values of a stored row; a channel that has none is left out."""
    typed = {name: float(row[name]) for name in TYPED if row[name] is not None}
    return {**typed, **(row["extra"] or {})}


def to_row(state: DeviceState, region_code: str, now: datetime) -> tuple[object, ...]:
    """Return the columns of `upsert_states`."""
    probes = {
        channel: {"version": watched.rule_version, **watched.state.to_json()}
        for channel, watched in state.probes.items()
    }
    return (
        state.device_no,
        region_code,
        None if state.ts_ms is None else to_datetime(state.ts_ms),
        state.boot,
        state.seq,
        *columns(state.values),
        now,
        ranges.to_bytes(state.ranges),
        msgspec.json.encode(probes).decode(),
    )


def _from_row(row: Mapping[str, Any]) -> DeviceState:
    return DeviceState(
        device_id=row["device_id"],
        device_no=row["device_no"],
        ts_ms=None if row["ts"] is None else to_ms(row["ts"]),
        boot=row["boot"],
        seq=row["seq"],
        values=values_of(row),
        ranges=ranges.from_bytes(bytes(row["ranges"] or b"")),
        probes={
            channel: Watched(kept["version"], WatchState.from_json(kept))
            for channel, kept in (row["rules"] or {}).items()
        },
    )
