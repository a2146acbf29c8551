"""Keep exposure up with the telemetry log: quarter hours and days of each temperature probe.

Of each stored message only the beginning is read: which hours of which device it touches. The
readings of the quarters that may change are read again, so late ones, repetitions and rebuilds all
end in the same rows. Days whose readings were dropped keep what they have.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psycopg
import structlog

from domain.cold_chain.events import ReadingsRecorded
from domain.cold_chain.model import TEMPERATURE_CHANNELS
from domain.stability.arrhenius import Floats
from domain.stability.exposure import COLD_C, WARM_C, Ints
from projections.shared.calibrations import PROJECTION as CALIBRATIONS
from projections.shared.calibrations import Calibrations, calibrations, recorded_after
from projections.shared.placements import HOLD_INTERVALS_MAX, HOLD_MAX
from projections.thermal import making
from projections.thermal.blocks import (
    BLOCK_MS,
    BLOCKS_A_DAY,
    DAY_MS,
    PROBE,
    Blocks,
    content,
    decode,
    encode,
    read_sums,
    sums_bytes,
    taken,
)
from projections.thermal.making import Runs, Series
from store.headers import HOUR_MS, beginning_of
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "thermal.sql")
log = structlog.get_logger(__name__)

Connection = psycopg.Connection[Any]

NAME = "thermal"
CHANNELS = len(TEMPERATURE_CHANNELS)  # probe = number of the device times this, and the channel
PAGE_EVENTS = 1_000
# One pass, one commit: some hundred megabytes at most while it is worked on.
PASS_READINGS = 400_000
IDLE_SECONDS = 10.0
PAUSE_SECONDS = 0.1
RETRY_SECONDS = 5.0
# What comes later than this changes what somebody may have been told; loggers that send every
# hour are ordinary.
LATE_MS = 2 * HOUR_MS
HOLD_MAX_MS = HOLD_MAX // timedelta(milliseconds=1)
EPOCH_2000_MS = 946_684_800_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_READINGS_AN_HOUR = 60  # about, where nothing was counted
# Why rows mean something else now than somebody may have been told.
READINGS, CALIBRATION = "readings", "calibration"


class Pass(NamedTuple):
    """What a pass found; `complete`: the sums are exactly what is stored at their position."""

    events: int
    complete: bool


class Touched:
    """Hours of devices that have to be read again, from which moment on (ms).

    `late`: of which devices something came late, or counts otherwise now, and why.
    """

    def __init__(self) -> None:
        self.events = self.readings = 0
        self.hours: dict[tuple[str, int], int] = {}
        self.late: dict[str, str] = {}

    def read(self, conn: Connection, after: int, head: int) -> int:
        """Take what the log holds after a position, up to a pass; return the position reached."""
        while after < head and self.readings < PASS_READINGS:
            asked = (after, head, ReadingsRecorded.TOPIC, PAGE_EVENTS)
            page = conn.execute(queries.events, asked, binary=True).fetchall()
            for position, state in page:
                if self.readings >= PASS_READINGS:
                    return after
                self._take(position, state)
                after = position
            after = after if len(page) == PAGE_EVENTS else head
        return after

    def _take(self, position: int, state: bytes) -> None:
        self.events += 1
        try:
            told = beginning_of(state)
        except ValueError:  # msgspec's errors are ValueErrors
            log.exception("exposure_event_unreadable", position=position)
            return
        self.readings += told.readings
        for hour, ts in told.hours.items():
            self.touch(told.device_id, hour, ts)
            if told.received_ms - ts >= LATE_MS:
                self.late.setdefault(told.device_id, READINGS)

    def calibrated(self, conn: Connection, after: int, followed: int) -> int:
        """Take calibrations after a position of the ledger, up to a pass; return that reached."""
        for position, device_id, channel, since in recorded_after(conn, after, followed):
            if self.readings >= PASS_READINGS:
                return position - 1
            since_ms = (since - _EPOCH) // _MILLISECOND
            number = TEMPERATURE_CHANNELS.index(channel)
            asked = {"device_id": device_id, "channel": number, "block": since_ms // BLOCK_MS}
            for (hour,) in conn.execute(queries.hours_since, asked).fetchall():
                self.touch(device_id, hour, max(since_ms, hour * HOUR_MS))
                self.readings += _READINGS_AN_HOUR
            self.late[device_id] = CALIBRATION
        return max(after, followed)

    def touch(self, device_id: str, hour: int, since_ms: int) -> None:
        """Have an hour read again from a moment on."""
        key = (device_id, hour)
        self.hours[key] = min(self.hours.get(key, since_ms), since_ms)


class _Device(NamedTuple):
    device_id: str
    number: int
    hold_ms: int


def connect(app_dsn: str) -> Connection:
    """Open the follower's connection: what a pass sees is stored at one moment."""
    conn: Connection = psycopg.connect(app_dsn, autocommit=True, prepare_threshold=None)
    conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    # Safe here: sums and position are lost together, and followed again.
    conn.execute("SET synchronous_commit = off")
    return conn


@contextmanager
def alone(conn: Connection) -> Iterator[None]:
    """Keep every other follower and rebuild out; before a transaction, which sees one moment."""
    conn.execute(queries.lock)
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute(queries.unlock)


def step(conn: Connection) -> Pass:
    """Take one pass of the telemetry log, and calibrations, in one commit."""
    with alone(conn), conn.transaction():
        after, tells, head, calibrated, followed = _positions(conn)
        touched = Touched()
        reached = touched.read(conn, after, head)
        calibrated = touched.calibrated(conn, calibrated, followed)
        devices = _devices(conn, touched)
        if devices is None:
            return Pass(0, False)
        _keep(conn, touched, devices, calibrations(conn, calibrated), tells=tells)
        complete = reached == head and calibrated >= followed
        kept = {"at": reached, "calibrated": calibrated, "complete": complete}
        conn.execute(queries.keep_position, kept)
    return Pass(touched.events, complete)


def _positions(conn: Connection) -> tuple[int, bool, int, int, int]:
    asked = {"calibrations": CALIBRATIONS.follower}
    return conn.execute(queries.positions, asked).fetchone() or (0, False, 0, 0, 0)


def _devices(conn: Connection, touched: Touched) -> dict[str, _Device] | None:
    """Return the devices, None while one may be registered that is not known yet."""
    names = sorted({device_id for device_id, _ in touched.hours})
    found = conn.execute(queries.devices, (names,)).fetchall()
    if any(interval_s is None for _, _, interval_s in found):
        ((followed,),) = conn.execute(queries.placements_followed).fetchall()
        if not followed:
            return None
    return {
        device_id: _Device(device_id, number, hold_ms(interval_s))
        for device_id, number, interval_s in found
    }


def hold_ms(interval_s: int | None) -> int:
    """Return how long a reading of a device holds at most; None: it is not registered."""
    if interval_s is None:
        return HOLD_MAX_MS
    return min(HOLD_INTERVALS_MAX * interval_s * 1000, HOLD_MAX_MS)


def _keep(
    conn: Connection,
    touched: Touched,
    devices: dict[str, _Device],
    known: Calibrations,
    *,
    tells: bool,
) -> None:
    """Bring the rows of the hours up to date."""
    dropped = {row[0] for row in conn.execute(queries.dropped_days)}
    hours = {
        key: since_ms
        for key, since_ms in touched.hours.items()
        if key[0] in devices and key[1] // 24 not in dropped
    }
    by_number = {device.number: device for device in devices.values()}
    pieces = _pieces([(devices[name].number, hour, ms) for (name, hour), ms in hours.items()])
    told = _read(conn, pieces, by_number, known)
    if not told.at.size:
        return
    runs, before = _surroundings(conn, pieces, told)
    hold = {
        device.number * CHANNELS + n: device.hold_ms
        for device in by_number.values()
        for n in range(CHANNELS)
    }
    changed = making.made(told, runs, before, hold)
    of_dropped = np.isin(changed.block // BLOCKS_A_DAY, np.array(sorted(dropped), np.int64))
    changed = taken(changed, np.flatnonzero(~of_dropped))
    late = {devices[name].number: why for name, why in touched.late.items() if name in devices}
    _put(conn, changed, late if tells else {})


def _pieces(hours: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return runs of quarters (device, first, last) that may change, in order.

    From that of the earliest new reading to the one after the hour, into which it may hold.
    """
    found: list[tuple[int, int, int]] = []
    for number, hour, since_ms in sorted(hours):
        first, last = since_ms // BLOCK_MS, (hour + 1) * (HOUR_MS // BLOCK_MS)
        if found and found[-1][0] == number and first <= found[-1][2] + 1:
            found[-1] = (number, found[-1][1], last)
        else:
            found.append((number, first, last))
    return found


def _read(
    conn: Connection,
    pieces: Sequence[tuple[int, int, int]],
    devices: dict[int, _Device],
    known: Calibrations,
) -> Series:
    """Return all readings in these runs, day by day: the planner then looks at one partition."""
    by_day: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for number, first, last in pieces:
        begin, end = first * BLOCK_MS, (last + 1) * BLOCK_MS
        for day in range(begin // DAY_MS, (end - 1) // DAY_MS + 1):
            piece = (number, max(begin, day * DAY_MS), min(end, (day + 1) * DAY_MS))
            by_day[day].append(piece)
    parts: list[tuple[int, Ints, Floats]] = []
    for day, asked in sorted(by_day.items()):
        numbers, begins, ends = (list(column) for column in zip(*asked, strict=True))
        wanted = {
            "devices": numbers,
            "begins": begins,
            "ends": ends,
            "day": _EPOCH + timedelta(days=day),
        }
        for n, ts, *channels in conn.execute(queries.readings, wanted, binary=True):
            device = devices[numbers[n - 1]]
            at = np.frombuffer(ts, ">i8") // 1000 + EPOCH_2000_MS
            parts += _of_channels(device, at, channels, known)
    return Series(
        np.repeat([probe for probe, _, _ in parts], [at.size for _, at, _ in parts]).astype(
            np.int64
        ),
        np.concatenate([np.empty(0, np.int64), *(at for _, at, _ in parts)]),
        np.concatenate([np.empty(0), *(v for _, _, v in parts)]),
    )


def _of_channels(
    device: _Device, at: Ints, channels: Sequence[bytes | None], known: Calibrations
) -> Iterator[tuple[int, Ints, Floats]]:
    """Yield (probe, times, values as they count) of the channels that have any."""
    for n, column in enumerate(channels):
        if column is not None:
            v = np.frombuffer(column, ">f8").astype(np.float64)
            read = ~np.isnan(v)
            name = TEMPERATURE_CHANNELS[n]
            values = known.corrected(v[read], device.device_id, name, at[read])
            yield device.number * CHANNELS + n, at[read], values


def _surroundings(
    conn: Connection, pieces: Sequence[tuple[int, int, int]], told: Series
) -> tuple[Runs, Blocks]:
    """Return the runs of probes that were read, and the stored row before each."""
    read = set(np.unique(told.probe).tolist())
    asked = [
        (number * CHANNELS + n, first, last)
        for number, first, last in pieces
        for n in range(CHANNELS)
        if number * CHANNELS + n in read
    ]
    columns = [list(column) for column in zip(*asked, strict=True)]
    rows = sorted(conn.execute(queries.before_runs, columns, binary=True).fetchall())
    followed = {probe: after for probe, _, _, _, after in rows}  # of the last run of each
    probe, first, last = (np.array(column, np.int64) for column in columns)
    runs = Runs(probe, first, last, np.array([followed[each] for each in columns[0]], np.bool_))
    before = {(probe, block): data for probe, _, block, data, _ in rows if block is not None}
    return runs, decoded([(*key, data) for key, data in sorted(before.items())])


def decoded(rows: Sequence[tuple[int, int, bytes]]) -> Blocks:
    """Return rows of probe, quarter and bytes."""
    return decode(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array([len(row[2]) for row in rows], np.int64),
        b"".join(row[2] for row in rows),
    )


def _put(conn: Connection, changed: Blocks, late: Mapping[int, str]) -> None:
    """Store rows that changed, what follows from them, and which of them came late."""
    if not changed.block.size:
        return
    days = changed.probe * PROBE + changed.block // BLOCKS_A_DAY
    begins = np.flatnonzero(np.diff(days, prepend=-1))
    asked = [changed.probe[begins].tolist(), changed.block[begins].tolist()]
    found = conn.execute(queries.rest_of_days, asked, binary=True).fetchall()
    stored = decoded(found)
    rows = making.merged(changed, stored)
    sums = making.amounts_of(rows)
    known = dict(zip(stored.key.tolist(), stored.before.T, strict=True))
    rows = rows._replace(before=making.running(rows, sums, known))
    data = encode(rows)
    same = {(probe, block): old for probe, block, old in found}
    keys = list(zip(rows.probe.tolist(), rows.block.tolist(), strict=True))
    differ = [n for n, key in enumerate(keys) if same.get(key) != data[n]]
    lo, hi = making.extremes_of(rows)
    columns = [rows.probe.tolist(), rows.block.tolist(), lo.tolist(), hi.tolist(), data]
    if differ:
        conn.execute(queries.put_blocks, [[column[n] for n in differ] for column in columns])
    _put_days(conn, rows, sums)
    before = [same.get(keys[n], b"") for n in differ]
    if late and differ:
        _keep_changes(conn, taken(rows, differ), [data[n] for n in differ], before, late)


def _keep_changes(
    conn: Connection,
    rows: Blocks,
    data: Sequence[bytes],
    before: Sequence[bytes],
    late: Mapping[int, str],
) -> None:
    """Keep what stood where rows of late devices changed; `data`, `before`: their bytes, or none.

    But for rows that were and are within the limits: nothing passed one there at any moment.
    """
    keys = list(zip(rows.probe.tolist(), rows.block.tolist(), strict=True))
    was = decoded([(*key, old) for key, old in zip(keys, before, strict=True) if old])
    beyond = _beyond(rows) | _beyond(was)
    kept = [
        (probe, block, old, late[probe // CHANNELS])
        for (probe, block), new, old in zip(keys, data, before, strict=True)
        if probe // CHANNELS in late
        and probe * PROBE + block in beyond
        and (not old or content(old) != content(new))
    ]
    if kept:
        conn.execute(queries.keep_changes, [list(column) for column in zip(*kept, strict=True)])


def _beyond(rows: Blocks) -> set[int]:
    """Return the keys of rows in which something was beyond a limit."""
    lo, hi = making.extremes_of(rows)
    return set(rows.key[(lo < COLD_C) | (hi > WARM_C)].tolist())


def _put_days(conn: Connection, rows: Blocks, sums: Floats) -> None:
    """Store the days of these rows, whose last row is that of the day, and all days after."""
    days = rows.probe * PROBE + rows.block // BLOCKS_A_DAY
    ends = np.flatnonzero(np.diff(days, append=-1))
    total = {
        (int(rows.probe[n]), int(rows.block[n]) // BLOCKS_A_DAY): rows.before[:, n] + sums[:, n]
        for n in ends
    }
    first: dict[int, int] = {}
    for probe, day in total:
        first.setdefault(probe, day)
    asked = [list(first), list(first.values())]
    found = {
        (probe, day): data
        for probe, day, data in conn.execute(queries.rest_of_probes, asked, binary=True)
    }
    before: dict[int, Floats] = {}
    put: list[tuple[int, int, bytes]] = []
    for probe, day in sorted({*found, *total}):
        old = found.get((probe, day))
        was = read_sums(old, 2)[0] if old is not None else None
        if was is not None and day < first[probe]:
            before[probe] = was[0] + was[1]
            continue
        own = total[probe, day] if (probe, day) in total else was[1]  # type: ignore[index]  # one has it
        start = before.get(probe, np.zeros_like(own))
        data = sums_bytes(np.stack([start, own]))
        before[probe] = start + own
        if data != old:
            put.append((probe, day, data))
    if put:
        conn.execute(queries.put_days, [list(column) for column in zip(*put, strict=True)])


def follow(*, app_dsn: str, stop: threading.Event) -> None:
    """Follow until `stop`, never busy more than half of the time: ingest comes first."""
    while not stop.is_set():
        try:
            with closing(connect(app_dsn)) as conn:
                while not stop.is_set():
                    begun = time.monotonic()
                    complete = step(conn).complete
                    stop.wait(
                        IDLE_SECONDS if complete else max(PAUSE_SECONDS, time.monotonic() - begun)
                    )
        except psycopg.Error as error:
            log.warning("exposure_waits", error=str(error))
            stop.wait(RETRY_SECONDS)
        except Exception:  # answers then tell an older position; all else must go on
            log.exception("exposure_fails")
            stop.wait(RETRY_SECONDS)


def rebuild(app_dsn: str) -> int:
    """Make exposure anew from all rows there are; return the position it stands for.

    What changed late before is told as ever; what comes late while it runs is not.
    """
    with closing(connect(app_dsn)) as conn:
        _catch_up(conn)
        with alone(conn), conn.transaction():
            conn.execute(queries.forget)
            conn.execute(queries.begin_again)
        _catch_up(conn)
        return _positions(conn)[0]


def _catch_up(conn: Connection) -> None:
    while not step(conn).complete:
        pass
