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
# A reading's place in time: (ts_ms, boot, seq).
Key = tuple[int, int, int]
BEGINNING: Key = (-1, -1, -1)


@dataclass(slots=True)
class Watched:
    """The threshold state of a probe's present watch, and the rule sets it was judged under."""

    rule_version: int
    state: WatchState


@dataclass(slots=True)
class DeviceState:
    """A device as it stands after the newest stored batch.

    `last`: its newest reading. `values`: of each channel what the newest reading that names it says
    (None: the probe is unplugged), `keys` which reading that is; so they do not depend on the order
    of arrival, and a channel that is measured less often keeps its value.
    """

    device_id: str
    device_no: int
    last: Key | None = None
    values: dict[str, float | None] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    ranges: Ranges = field(default_factory=list)
    probes: dict[str, Watched] = field(default_factory=dict)
    stored_ts_ms: int | None = None  # time of the newest reading before this batch
    changed: bool = False  # by this batch

    def copy(self) -> DeviceState:
        """Return one that a batch may change."""
        return replace(
            self,
            values=dict(self.values),
            keys=dict(self.keys),
            ranges=list(self.ranges),
            probes=dict(self.probes),
            stored_ts_ms=self.ts_ms,
            changed=False,
        )

    @property
    def ts_ms(self) -> int | None:
        """The time of the newest reading in UTC milliseconds."""
        return self.last[0] if self.last else None

    def saw(self, key: Key, row: Values) -> None:
        """Note a new reading: of each channel, when nothing newer is known of it."""
        self.changed = True
        if key > (self.last or BEGINNING):
            self.last = key
        else:
            row = {name: v for name, v in row.items() if key > self.keys.get(name, BEGINNING)}
        self.values.update(row)
        self.keys.update(dict.fromkeys(row, key))


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
    ts_ms, boot, seq = state.last or (None, None, None)
    return (
        state.device_no,
        region_code,
        None if ts_ms is None else to_datetime(ts_ms),
        boot,
        seq,
        *columns(state.values),
        _older(state),
        now,
        ranges.to_bytes(state.ranges),
        msgspec.json.encode(probes).decode(),
    )


def _older(state: DeviceState) -> str:
    """Return as JSON the keys that the row does not tell by itself: mostly there are none."""
    told = {
        channel: key
        for channel, key in state.keys.items()
        if key != state.last or state.values[channel] is None
    }
    return msgspec.json.encode(told).decode()


def _from_row(row: Mapping[str, Any]) -> DeviceState:
    last = None if row["ts"] is None else (to_ms(row["ts"]), row["boot"], row["seq"])
    older = {channel: tuple(key) for channel, key in (row["older"] or {}).items()}
    values = values_of(row)
    return DeviceState(
        device_id=row["device_id"],
        device_no=row["device_no"],
        last=last,
        values=dict.fromkeys(older) | values,
        keys=dict.fromkeys(values, last or BEGINNING) | older,
        ranges=ranges.from_bytes(bytes(row["ranges"] or b"")),
        probes={
            channel: Watched(kept["version"], WatchState.from_json(kept))
            for channel, kept in (row["rules"] or {}).items()
        },
    )
