"""A device whose numbers are taken as ingest takes them: ranges, gaps, events, one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from domain.cold_chain.commands import Reply
from domain.cold_chain.events import DeviceCommandIssued
from domain.cold_chain.gaps import GapNotes, Span
from domain.shared.events import Event
from ingest import commands, gaps
from ingest.batch import Batch, Report
from ingest.directory import Directory
from ingest.ranges import add, bound, new_runs, to_bytes
from ingest.readings import device_stream
from ingest.state import DeviceState, DeviceStates
from store.mapper import to_row
from store.recorder import copy_events
from tests.conftest import Database, ManualClock


@dataclass
class Taker:
    """What stands in for ingest: one connection, one device's state in memory."""

    conn: psycopg.Connection[Any]
    clock: ManualClock
    directory: Directory = field(default_factory=Directory)
    states: dict[str, DeviceState] = field(default_factory=dict)

    def state(self, device_id: str) -> DeviceState:
        """Return the state of a device, made when it is first asked for."""
        if device_id not in self.states:
            self.directory.refresh(self.conn)
            self.conn.execute(
                "INSERT INTO device_no (device_id) VALUES (%s) ON CONFLICT DO NOTHING", (device_id,)
            )
            found = self.conn.execute(
                "SELECT device_no FROM device_no WHERE device_id = %s", (device_id,)
            ).fetchall()
            self.states[device_id] = DeviceState(device_id=device_id, device_no=found[0][0])
        return self.states[device_id]

    def take(
        self,
        device_id: str,
        runs: Iterable[Span],
        *,
        reports: Sequence[Report] = (),
        each: bool = False,
    ) -> list[Event]:
        """Store runs of versions in one batch; return the events of gaps and commands.

        each: note after every run, not once for all.
        """
        state, notes, replies = self.state(device_id), GapNotes(), list[Reply]()
        before = list(state.ranges)
        for first, past in runs:
            for start, end in new_runs(state.ranges, first, past - first):
                add(state.ranges, start, end)
            if each:
                gaps.note(notes, self.directory, state, before)
                before = list(state.ranges)
        if not each:
            gaps.note(notes, self.directory, state, before)
        bound(state.ranges)
        for report in reports:
            commands.note_report(notes, replies, device_id, report)
        return self.commit(state, notes, replies)

    def commit(
        self,
        state: DeviceState,
        notes: GapNotes,
        replies: Sequence[Reply] = (),
        *,
        more: Iterable[tuple[int, Event]] = (),
    ) -> list[Event]:
        """Write what was noted, and more events of the device's readings at their versions."""
        batch = Batch(
            now=self.clock.now(), items=[], directory=self.directory, memory=DeviceStates()
        )
        for version, event in more:
            batch.add_telemetry(device_stream(state.device_id), version, event)
        with self.conn.transaction(), self.conn.cursor() as cur:
            gaps.write(cur, notes, batch)
            commands.write(cur, replies, batch)
            cur.execute(
                "INSERT INTO device_state (device_no, region_code, ranges) VALUES (%s, '', %s)"
                " ON CONFLICT (device_no) DO UPDATE SET ranges = excluded.ranges",
                (state.device_no, to_bytes(state.ranges)),
            )
            for table, events in (
                ("telemetry_events", batch.telemetry),
                ("ledger_events", batch.ledger),
            ):
                if events:
                    copy_events(cur, table, [to_row(envelope) for envelope in events.values()])
        written = (*batch.telemetry.values(), *batch.ledger.values())
        return [envelope.event for envelope in written]

    def look(self, *regions: str, asking: bool = True) -> list[DeviceCommandIssued]:
        """Look at the gaps that are due now; return what is asked."""
        return gaps.due(self.conn, regions, self.clock.now(), asking=asking)


def gap_rows(database: Database, device_id: str) -> list[tuple[Any, ...]]:
    """Return (first, past, missing, state) of a device's gaps, in order."""
    return database.query(
        "SELECT first, past, missing, state FROM gap JOIN device_no USING (device_no)"
        " WHERE device_id = %s ORDER BY first",
        device_id,
    )
