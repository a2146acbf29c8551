"""Years of readings in a moment: as the product would have stored them, by its own code.

Every device has told a reading a minute; 500 of them make one event, as after a backlog. Rows,
events, batches and each device's stored ranges are written; nothing is judged.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import psycopg

from bench.field import REGION
from bench.limits import COPY, binary, microseconds
from bench.processes import Costs
from bench.rig import Rig
from bench.shape import DEVICES, device_name
from domain.cold_chain.events import ReadingsRecorded
from ingest import ranges
from ingest.readings import device_stream
from store.envelope import Envelope, Meta
from store.mapper import to_row
from store.recorder import copy_events, record_batch

EVENT_READINGS = 500
TOGETHER = 20  # devices in a commit
MINUTE_S = 60
EVENT = timedelta(minutes=EVENT_READINGS)
# Followers of what was loaded come to rest before anything is measured.
REST_S, REST_CPU_S, REST_MAX_S = 5.0, 0.5, 3_600.0
NEXT_BATCH = "SELECT nextval('batch_seq')"
ADD_DEVICES = "INSERT INTO device_no (device_id) SELECT unnest(%s::text[]) RETURNING device_no"
ADD_STATES = """INSERT INTO device_state (device_no, region_code, ts, boot, seq, t1, rh,
                                          received_at, ranges)
                SELECT unnest(%s::int[]), %s, %s, 0, %s, 5, 60, %s, %s"""

Floats = npt.NDArray[np.float64]


def store(made: Rig, readings: int, until: datetime, devices: int = DEVICES) -> int:
    """Store about so many readings of the first devices, the newest before `until`.

    Return how many. No device may be registered or have told anything yet.
    """
    turns = max(1, readings // (devices * EVENT_READINGS))
    with psycopg.connect(made.product.dsn, autocommit=True) as conn:
        names = [device_name(n) for n in range(devices)]
        numbers = [int(row[0]) for row in conn.execute(ADD_DEVICES, (names,))]
        begins = until - turns * _event_lasts()
        conn.execute("SELECT ensure_reading_partitions(%s, %s)", (begins.date(), until.date()))
        for turn in range(turns):
            for first in range(0, devices, TOGETHER):
                with conn.transaction(), conn.cursor() as cur:
                    _append(cur, numbers, first, turn, begins + turn * _event_lasts())
        _keep_states(conn, numbers, turns * EVENT_READINGS, until)
    with psycopg.connect(made.product.superuser_dsn(), autocommit=True) as conn:
        # In life each day is vacuumed once; here that would go on while W1 is measured.
        conn.execute("VACUUM (FREEZE, ANALYZE)")
        conn.execute("CHECKPOINT")
    return turns * devices * EVENT_READINGS


def rest(made: Rig) -> None:
    """Wait until nobody works any more on what was stored."""
    until = time.monotonic() + REST_MAX_S
    while time.monotonic() < until:
        costs = Costs(made.product.pids, "ingest")
        time.sleep(REST_S)
        if sum(costs.cpu_s().values()) < REST_CPU_S:
            return


def _append(
    cur: psycopg.Cursor[Any], numbers: list[int], first: int, turn: int, start: datetime
) -> None:
    """Append one event each of the devices `first` and on, and their rows."""
    devices = range(first, first + TOGETHER)
    seqs = turn * EVENT_READINGS + np.arange(EVENT_READINGS)
    values = [_values(device, turn) for device in devices]
    cur.execute(NEXT_BATCH)
    batch = int(next(iter(cur.fetchone() or ())))
    rows = binary(
        device_no=np.repeat(numbers[first : first + TOGETHER], EVENT_READINGS),
        ts=np.tile(
            microseconds(start) + np.arange(EVENT_READINGS) * MINUTE_S * 1_000_000, TOGETHER
        ),
        seq=np.tile(seqs, TOGETHER),
        batch=batch,
        t1=np.concatenate([t1 for t1, _ in values]),
        rh=np.concatenate([rh for _, rh in values]),
    )
    with cur.copy(COPY) as copy:
        copy.write(rows)
    received = start + _event_lasts()
    events = [
        to_row(_event(device, int(seqs[0]), start, of_one, received))
        for device, of_one in zip(devices, values, strict=True)
    ]
    last = copy_events(cur, "telemetry_events", events)
    record_batch(cur, at=received, batch=batch, telemetry_id=last)


def _event_lasts() -> timedelta:
    return timedelta(minutes=EVENT_READINGS)


def _event(
    device: int, seq: int, start: datetime, values: tuple[Floats, Floats], received: datetime
) -> Envelope:
    start_ms = int(start.timestamp() * 1000)
    event = ReadingsRecorded(
        device_id=device_name(device),
        boot=0,
        seq=seq,
        ts_ms=tuple(start_ms + n * MINUTE_S * 1000 for n in range(EVENT_READINGS)),
        columns={"t1": tuple(values[0].tolist()), "rh": tuple(values[1].tolist())},
        received_ms=int(received.timestamp() * 1000),
    )
    stream: UUID = device_stream(event.device_id)
    return Envelope(stream, seq, event, Meta(occurred_at=received, recorded_at=received))


def _values(device: int, turn: int) -> tuple[Floats, Floats]:
    """Return temperatures and humidities, within the rules."""
    draw = np.random.default_rng((device, turn))
    return (
        np.round(draw.uniform(2.5, 7.5, EVENT_READINGS), 2),
        np.round(draw.uniform(40, 70, EVENT_READINGS), 1),
    )


def _keep_states(
    conn: psycopg.Connection[Any], numbers: list[int], readings: int, until: datetime
) -> None:
    """Keep what ingest would remember of the devices: newest values and stored ranges."""
    newest = until - timedelta(seconds=MINUTE_S)
    stored = ranges.to_bytes([0, readings])
    conn.execute(ADD_STATES, (numbers, REGION, newest, readings - 1, datetime.now(UTC), stored))
