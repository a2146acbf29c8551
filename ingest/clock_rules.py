"""Whether the clocks of devices are right: sampled as messages come, told once a second.

Samples are in memory only: after a restart a clock is judged again from its fifth message on. What
was told last stands in `device_clock`. A stepped clock stands still while devices speak, so
nothing is judged by it. Readings keep the times their device gave them, whatever is found.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from domain.alerting.watch import to_ms
from domain.cold_chain import clocks
from domain.cold_chain.clocks import RIGHT, clock_stream
from domain.cold_chain.commands import Cmd
from domain.cold_chain.events import ClockSkewCleared, ClockSkewDetected, DeviceCommandIssued
from domain.shared.clock import Clock
from domain.shared.events import Event
from domain.shared.ids import stream_id
from store.envelope import Envelope, Meta
from store.mapper import to_row
from store.recorder import copy_events, record_batch
from store.sql import load_queries

# Between two samples of a device: a backlog that is sent at once must not look like a slow clock.
EVERY_MS = 60_000
# Devices sampled; beyond, all are forgotten and sampled anew.
DEVICES_MAX = 50_000
# A clock that stays wrong is set again: the time is sent at QoS 0 and may never have arrived.
SYNC_EVERY_MS = 600_000
# The time that is sent is of no use later.
EXPIRES_MS = 10_000

Connection = psycopg.Connection[Any]

queries = load_queries(Path(__file__).with_suffix(".sql"))


class ClockRules:
    """The last samples of each device, and what is to be told of them."""

    def __init__(self, clock: Clock) -> None:
        self._judges = not clock.stepped
        self._next_ms: dict[str, int] = {}
        self._samples: dict[str, tuple[int, ...]] = {}
        self._told: dict[str, str] | None = None  # severities of wrong clocks
        self._judged: dict[str, tuple[str, int]] = {}  # severity and offset, not looked at yet
        self._synced_ms: dict[str, int] = {}  # within the last SYNC_EVERY_MS

    def note(self, device_id: str, rx_ms: int, ts_ms: int) -> int:
        """Take a live message (no backfill), received at rx_ms, whose newest reading is of ts_ms.

        Cheap: of each device one message a minute is looked at. Return when the next one will be.
        """
        next_ms = self._next_ms.get(device_id, 0)
        if rx_ms < next_ms or not self._judges:
            return next_ms
        if len(self._next_ms) >= DEVICES_MAX:
            self._next_ms.clear()
            self._samples.clear()
        self._next_ms[device_id] = rx_ms + EVERY_MS
        samples = (*self._samples.get(device_id, ()), rx_ms - ts_ms)[-clocks.SAMPLES :]
        self._samples[device_id] = samples
        if len(samples) == clocks.SAMPLES:
            offset = clocks.offset_ms(samples)
            self._judged[device_id] = (clocks.severity(offset), offset)
        return rx_ms + EVERY_MS

    def due(self, conn: Connection, now: datetime) -> list[DeviceCommandIssued]:
        """Tell what has changed; return what is asked of the devices whose clock is wrong.

        Each of them is asked every ten minutes while it speaks.
        """
        if self._told is None:
            self._told = dict(conn.execute(queries.wrong_clocks).fetchall())
        judged, self._judged = self._judged, {}
        told = self._told
        changed = {i: found for i, found in judged.items() if found[0] != told.get(i, RIGHT)}
        if changed:
            _tell(conn, changed, now)
            told.update({device_id: severity for device_id, (severity, _) in changed.items()})
        return self._syncs([i for i, (severity, _) in judged.items() if severity != RIGHT], now)

    def _syncs(self, wrong: list[str], now: datetime) -> list[DeviceCommandIssued]:
        now_ms, since_ms = to_ms(now), to_ms(now) - SYNC_EVERY_MS
        self._synced_ms = {i: at for i, at in self._synced_ms.items() if at > since_ms}
        wrong = [device_id for device_id in wrong if device_id not in self._synced_ms]
        self._synced_ms.update(dict.fromkeys(wrong, now_ms))
        return [_sync(device_id, now) for device_id in wrong]


def _tell(conn: Connection, changed: dict[str, tuple[str, int]], now: datetime) -> None:
    with conn.transaction(), conn.cursor() as cur:
        told: list[Envelope] = []
        for device_id, (severity, offset_ms) in sorted(changed.items()):
            values = {"device_id": device_id, "severity": severity, "offset_ms": offset_ms}
            for (version,) in cur.execute(queries.tell_clock, {**values, "now": now}).fetchall():
                event = _event(device_id, severity, offset_ms, to_ms(now))
                meta = Meta(occurred_at=now, recorded_at=now, source="engine")
                told.append(Envelope(clock_stream(device_id), version, event, meta))
        if told:
            last = copy_events(cur, "telemetry_events", [to_row(envelope) for envelope in told])
            record_batch(cur, at=now, telemetry_id=last)


def _event(device_id: str, severity: str, offset_ms: int, now_ms: int) -> Event:
    if severity == RIGHT:
        return ClockSkewCleared(device_id=device_id, offset_ms=offset_ms, cleared_ms=now_ms)
    return ClockSkewDetected(
        device_id=device_id, severity=severity, offset_ms=offset_ms, detected_ms=now_ms
    )


def _sync(device_id: str, now: datetime) -> DeviceCommandIssued:
    now_ms = to_ms(now)
    return DeviceCommandIssued(
        command_id=str(stream_id("cold_chain.time_sync", device_id, now_ms)),
        device_id=device_id,
        cmd=Cmd.TIME_SYNC.value,
        arguments={},
        expires_ms=now_ms + EXPIRES_MS,
    )
