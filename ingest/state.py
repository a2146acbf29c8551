"""What ingest remembers of a device: newest values, stored ranges, threshold states.

One row of `device_state` each, loaded when a device is first seen and kept in memory after that:
the ingest that owns the device is the only writer. States change as messages are prepared, ahead of
their commit: when a commit fails all are forgotten and read again.

What careful judgement changed is written in the transaction of its readings. What messages in
order left behind without changing a threshold state (newest values, the end of a range) may be
written up to `FLUSH_S` later, for many messages at once; `recall` folds the log after the written
position in again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import psycopg
from psycopg.rows import dict_row

from domain.alerting.watch import WatchState, to_datetime, to_ms
from domain.cold_chain.events import ReadingsRecorded
from ingest import ranges
from ingest.ranges import BOOT_SHIFT, SEQ_END, Ranges, version_of
from ingest.rows import queries
from ingest.screen import Screen
from store.columns import Floats, Ints

TYPED = ("t1", "t2", "t3", "t4", "rh", "door", "mains", "bat")
BOOLEAN = ("door", "mains")
# Devices kept in memory; beyond, all are forgotten once written, and read again as they come.
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


@dataclass(slots=True, eq=False)
class DeviceState:
    """A device as it stands after the newest prepared message.

    `last`: its newest reading. `values`: of each channel what the newest reading that names it says
    (None: the probe is unplugged), `keys` which reading that is; so they do not depend on the order
    of arrival, and a channel that is measured less often keeps its value.

    `calm_ms`: readings after it lie outside every episode stored; None when that must be looked up,
    -inf when the device has never had one.
    `screen`: what plainly changes no threshold state, made when it is asked for.
    """

    device_id: str
    device_no: int
    last: Key | None = None
    values: dict[str, float | None] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    ranges: Ranges = field(default_factory=list)
    probes: dict[str, Watched] = field(default_factory=dict)
    calm_ms: float | None = None
    stored_ts_ms: int | None = None  # time of the newest reading before this batch
    changed: bool = False  # by this batch
    dirty: bool = False  # not written since it changed
    screen: Screen | None = None
    received_ms: int = 0  # when its newest message came

    @property
    def ts_ms(self) -> int | None:
        """The time of the newest reading in UTC milliseconds."""
        return self.last[0] if self.last else None

    @property
    def newest_ms(self) -> int:
        """The same; before all times when there is none."""
        return self.last[0] if self.last else BEGINNING[0]

    def saw(self, key: Key, row: Values) -> None:
        """Note a new reading: of each channel, when nothing newer is known of it."""
        self.changed = True
        if key > (self.last or BEGINNING):
            self.last = key
        else:
            row = {name: v for name, v in row.items() if key > self.keys.get(name, BEGINNING)}
        self.values.update(row)
        self.keys.update(dict.fromkeys(row, key))

    def judged(self, channels: Iterable[str], at: tuple[int, int]) -> None:
        """Note that readings up to `at` (ts_ms, version) changed nothing about idle watches."""
        for channel in channels:
            watched = self.probes.get(channel)
            if watched and _follows(watched.state, at):
                state = replace(watched.state, last=at)
                self.probes[channel] = Watched(watched.rule_version, state)


@dataclass(frozen=True, slots=True)
class Ran:
    """Messages of a block that changed newest values only: of each one its last reading.

    states, ts_ms and versions of m messages, and of each channel m values.
    """

    channels: tuple[str, ...]
    states: Sequence[DeviceState]
    ts_ms: Ints
    versions: Ints
    values: Sequence[Floats]
    received_ms: int


class DeviceStates:
    """The devices in memory. `generation` counts how often all of them were dropped.

    What messages left behind that changed newest values only is gathered in `_ran`, and folded in
    for all of them at once before anybody looks: of each device only the newest counts then.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._kept: dict[str, DeviceState] = {}
        self._dirty: list[DeviceState] = []
        self._ran: list[Ran] = []

    def get(self, device_id: str) -> DeviceState | None:
        """Return a device's state when it is in memory."""
        return self._kept.get(device_id)

    def load(
        self, conn: psycopg.Connection[Any], device_ids: Collection[str], *, numbering: bool
    ) -> dict[str, DeviceState]:
        """Return these devices for careful judgement, read where they are not in memory.

        A device seen for the first time gets its number with `numbering`, else it is left out.
        """
        self._load(conn, device_ids, numbering)
        self._fold()
        states = {i: self._kept[i] for i in device_ids if i in self._kept}
        for state in states.values():
            state.stored_ts_ms, state.changed, state.screen = state.ts_ms, False, None
        self._find_calm(conn, [s for s in states.values() if s.calm_ms is None])
        return states

    def ran_on(self, ran: Ran) -> None:
        """Note messages that change newest values only."""
        self._ran.append(ran)

    def _fold(self) -> None:
        """Take in what messages left behind, one set of channels after the other."""
        by_channels = defaultdict[tuple[str, ...], list[Ran]](list)
        for ran in self._ran:
            by_channels[ran.channels].append(ran)
        self._ran.clear()
        for channels, rans in by_channels.items():
            _fold(channels, rans)

    def touched(self, state: DeviceState) -> None:
        """Note that a state is to be written."""
        if not state.dirty:
            state.dirty = True
            self._dirty.append(state)

    def flush(self) -> list[DeviceState]:
        """Return the states to write now; they count as written."""
        self._fold()
        flushed, self._dirty = self._dirty, []
        for state in flushed:
            state.dirty = False
        return flushed

    @property
    def unwritten(self) -> int:
        """The number of states that are yet to be written."""
        return len(self._dirty)

    def drop(self, device_id: str) -> None:
        """Drop a device, which another worker has now."""
        if self._kept.pop(device_id, None) is not None:
            self.generation += 1

    def trim(self) -> None:
        """Drop everything when there is too much of it and all is written."""
        if len(self._kept) > DEVICES_MAX and not self._dirty:
            self.forget()

    def forget(self) -> None:
        """Drop everything: what is stored must be read again."""
        self.generation += 1
        self._kept.clear()
        self._dirty.clear()
        self._ran.clear()

    def forget_screens(self) -> None:
        """Drop what was derived from the registry, which has changed."""
        for state in self._kept.values():
            state.screen = None

    def recall(self, conn: psycopg.Connection[Any], events: Iterable[ReadingsRecorded]) -> None:
        """Fold in readings stored after the rows of device_state may have been written.

        Each was either written with its state, then it changes nothing here, or changed nothing but
        what is folded in here.
        """
        told = list(events)
        states = self.load(conn, {event.device_id for event in told}, numbering=False)
        for event in told:
            state = states.get(event.device_id)
            if state is not None:
                _recall(state, event)
                self.touched(state)

    def _load(
        self, conn: psycopg.Connection[Any], device_ids: Collection[str], numbering: bool
    ) -> None:
        missing = [device_id for device_id in device_ids if device_id not in self._kept]
        if not missing:
            return
        self._read(conn, missing)
        unnumbered = [device_id for device_id in missing if device_id not in self._kept]
        if unnumbered and numbering:
            conn.execute(queries.add_devices, (unnumbered,))
            self._read(conn, unnumbered)

    def _read(self, conn: psycopg.Connection[Any], device_ids: list[str]) -> None:
        with conn.cursor(row_factory=dict_row) as cur:
            for row in cur.execute(queries.load_devices, (device_ids,)):
                self._kept[row["device_id"]] = _from_row(row)

    def _find_calm(self, conn: psycopg.Connection[Any], states: Sequence[DeviceState]) -> None:
        if not states:
            return
        numbers = [state.device_no for state in states]
        ends = dict(conn.execute(queries.last_episode_ends, (numbers,)).fetchall())
        for state in states:
            end_ms = ends.get(state.device_no, -math.inf)
            state.calm_ms = math.inf if end_ms is None else end_ms


def _fold(channels: tuple[str, ...], rans: Sequence[Ran]) -> None:
    """Take in the newest reading that each device has of these channels."""
    states = [state for ran in rans for state in ran.states]
    devices = np.array([state.device_no for state in states])
    ts_ms = np.concatenate([ran.ts_ms for ran in rans])
    versions = np.concatenate([ran.versions for ran in rans])
    received = np.repeat([ran.received_ms for ran in rans], [len(ran.states) for ran in rans])
    order = np.lexsort((versions, ts_ms, devices))
    first = np.flatnonzero(np.append(True, np.diff(devices[order]) != 0))
    newest = order[np.append(first[1:], len(order)) - 1]
    columns = [
        np.concatenate(of)[newest].tolist() for of in zip(*[r.values for r in rans], strict=True)
    ]
    for n, at_ms, version, received_ms, *row in zip(
        newest.tolist(),
        ts_ms[newest].tolist(),
        versions[newest].tolist(),
        np.maximum.reduceat(received[order], first).tolist(),
        *columns,
        strict=True,
    ):
        state = states[n]
        key = (at_ms, version >> BOOT_SHIFT, version & (SEQ_END - 1))
        state.saw(key, dict(zip(channels, row, strict=True)))
        state.judged(channels, (at_ms, version))
        state.received_ms = max(state.received_ms, received_ms)


def _follows(state: WatchState, key: tuple[int, int]) -> bool:
    """Tell whether an idle watch has judged nothing as new as this reading."""
    return not state.active and state.watch_ms <= key[0] and key > state.last


def _recall(state: DeviceState, event: ReadingsRecorded) -> None:
    first = version_of(event.boot, event.seq)
    n = len(event.ts_ms)
    if event.sequenced:
        ranges.add(state.ranges, first, first + n)
    channels = tuple(event.columns)
    for i, ts_ms in enumerate(event.ts_ms):
        version = version_of(event.boot, event.seq_of(i))
        state.received_ms = max(state.received_ms, event.received_ms)
        row = {channel: values[i] for channel, values in event.columns.items()}
        state.saw((ts_ms, event.boot, event.seq_of(i)), row)
        state.judged(channels, (ts_ms, version))


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


def to_row(state: DeviceState, region_code: str) -> dict[str, object]:
    """Return a row of `upsert_states`; a column that is not named is NULL."""
    ts_ms, boot, seq = state.last or (None, None, None)
    row: dict[str, object] = {
        "device_no": state.device_no,
        "region_code": region_code,
        "ts": None if ts_ms is None else to_datetime(ts_ms),
        "boot": boot,
        "seq": seq,
        "older": _older(state),
        "received_at": to_datetime(state.received_ms) if state.received_ms else None,
        "ranges": "\\x" + ranges.to_bytes(state.ranges).hex(),
        "rules": {
            channel: {"version": watched.rule_version, **watched.state.to_json()}
            for channel, watched in state.probes.items()
        },
    }
    extra = {}
    for name, value in state.values.items():
        if name not in TYPED:
            extra[name] = value
        else:
            row[name] = bool(value) if name in BOOLEAN and value is not None else value
    return row | {"extra": extra} if extra else row


def _older(state: DeviceState) -> dict[str, Key]:
    """Return the keys that the row does not tell by itself: mostly there are none."""
    return {
        channel: key
        for channel, key in state.keys.items()
        if key != state.last or state.values[channel] is None
    }


def _from_row(row: Mapping[str, Any]) -> DeviceState:
    last = None if row["ts"] is None else (to_ms(row["ts"]), row["boot"], row["seq"])
    older = {channel: tuple(key) for channel, key in (row["older"] or {}).items()}
    values = values_of(row)
    return DeviceState(
        device_id=row["device_id"],
        device_no=row["device_no"],
        last=last,
        received_ms=to_ms(row["received_at"]) if row["received_at"] else 0,
        values=dict.fromkeys(older) | values,
        keys=dict.fromkeys(values, last or BEGINNING) | older,
        ranges=ranges.from_bytes(bytes(row["ranges"] or b"")),
        probes={
            channel: Watched(kept["version"], WatchState.from_json(kept))
            for channel, kept in (row["rules"] or {}).items()
        },
    )
