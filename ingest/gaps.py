"""Gaps in what devices numbered: told as events, kept in the table `gap`, asked for.

The careful way notes which holes a batch opened and which it healed; `write` makes rows and events
of that in the transaction of the readings. The fast lane notes nothing: it opens no hole, and what
it puts into one never fills it, since a message that touches what follows goes the careful way.
Once a second `due` looks at the open gaps whose time has come: it closes what is filled or lost,
waits where something came, asks where nothing did, and in the end gives up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from domain.alerting.watch import to_datetime, to_ms
from domain.cold_chain import gaps as rules
from domain.cold_chain.commands import Cmd
from domain.cold_chain.events import DeviceCommandIssued, ReadingsRecorded
from domain.cold_chain.gaps import Gap, GapNotes, NewGap, Span, Step, gap_stream
from domain.shared.ids import stream_id
from ingest.batch import Batch
from ingest.directory import Directory
from ingest.ranges import RANGES_MAX, SEQ_END, Ranges, add, from_bytes
from ingest.rows import envelope_of
from ingest.state import DeviceState
from store.envelope import Envelope, Meta
from store.mapper import to_row
from store.recorder import copy_events, record_batch
from store.sql import load_queries

# Open gaps of one device; one that has more numbers its readings otherwise than by one.
OPEN_MAX = 100
# Of one gateway, asked for within QUIET_MS: its link and memory are small.
GATEWAY_MAX = 4
DUE_MAX = 200  # looked at in one second

Connection = psycopg.Connection[Any]

queries = load_queries(Path(__file__).with_suffix(".sql"))


def note(notes: GapNotes, directory: Directory, state: DeviceState, before: Ranges) -> None:
    """Note what changed about a device's holes since its ranges were `before`.

    Before its ranges are bounded: holes that are forgotten then are not healed.
    """
    after, device_no = state.ranges, state.device_no
    opened = rules.opened(before, after)
    if opened:
        place = directory.places(state.device_id)[-1]
        notes.opened += [
            NewGap(state.device_id, device_no, place.gateway_id, place.region_code, span)
            for span in opened
        ]
    notes.healed += [(device_no, span) for span in rules.healed(before, after)]
    excess = len(after) - 2 * RANGES_MAX
    if excess > 0:
        notes.forgotten.append((device_no, after[excess]))


def note_stored(notes: GapNotes, state: DeviceState, first: int, past: int) -> None:
    """Note versions that were stored in a hole that the ranges had forgotten."""
    notes.healed.append((state.device_no, (first, past)))


def write(cur: psycopg.Cursor[Any], notes: GapNotes, batch: Batch) -> None:
    """Write the rows; add the events to the batch, whose events are to be written after this."""
    healed = set(notes.healed)  # messages in disorder, in one batch: nothing was ever missing
    opened = [gap for gap in notes.opened if (gap.device_no, gap.span) not in healed]
    if opened:
        _write_opened(cur, opened, batch)
    if notes.healed:
        device_nos, spans = zip(*notes.healed, strict=True)
        firsts, pasts = zip(*spans, strict=True)
        values = {"device_nos": list(device_nos), "firsts": list(firsts), "pasts": list(pasts)}
        cur.execute(queries.touch_gaps, {**values, "now": batch.now})
    for forgotten in notes.forgotten:
        cur.execute(queries.forget_gaps, forgotten)
    for device_id, (first, past) in notes.lost:
        lost = {"device_id": device_id, "first": first, "past": past, "now": batch.now}
        cur.execute(queries.lose_readings, lost)


def due(
    conn: Connection, regions: Sequence[str], now: datetime, *, asking: bool = True
) -> list[DeviceCommandIssued]:
    """Look at the gaps of these regions (6-digit codes; none = all) whose time has come.

    Returns what is to be asked of devices; it is recorded as asked. Not `asking`: what is missing
    may wait in the broker, so nothing is asked for, nor given up, until a later look.
    """
    quiet_since = now - timedelta(milliseconds=rules.QUIET_MS)
    values = {"regions": list(regions), "now": now, "quiet_since": quiet_since, "limit": DUE_MAX}
    asked: list[DeviceCommandIssued] = []
    moved: list[dict[str, object]] = []
    closed: list[Envelope] = []
    asked_of: Counter[str] = Counter()  # by gateway, in this look
    with conn.transaction(), conn.cursor(row_factory=dict_row) as cur:
        for row in cur.execute(queries.due_gaps, values).fetchall():
            step = _look(conn, row, to_ms(now))
            busy = row["busy"] + asked_of[row["gateway_id"]] >= GATEWAY_MAX
            if _too_early(step, busy=busy, asking=asking):
                later_ms = to_ms(now) + rules.QUIET_MS
                step = Step(rules.OPEN, step.missing, row["asked"], later_ms)
            elif step.ask is not None:
                asked_of[row["gateway_id"]] += 1
                asked.append(_backfill(row["device_id"], step.ask, step.due_ms))
            moved.append(_moved(row, step, now))
            if step.state != rules.OPEN:
                closed.append(_closed(row, step, now))
        if moved:
            cur.executemany(queries.move_gap, moved)
        if closed:
            last = copy_events(cur, "telemetry_events", [to_row(told) for told in closed])
            record_batch(cur, at=now, telemetry_id=last)
    return asked


def _look(conn: Connection, row: dict[str, Any], now_ms: int) -> Step:
    lost = [edge for part in row["lost"] for edge in (part.lower, part.upper)]
    gap = Gap((row["first"], row["past"]), row["missing"], lost, row["asked"])
    return rules.look(gap, _stored(conn, row), now_ms)


def _too_early(step: Step, *, busy: bool, asking: bool) -> bool:
    """Tell whether to ask, or to end asking in vain, is not the thing to do yet."""
    if step.ask is not None:
        return busy or not asking
    return step.state == "abandoned" and not asking


def _moved(row: dict[str, Any], step: Step, now: datetime) -> dict[str, object]:
    moved = {"state": step.state, "missing": step.missing, "asked": step.asked, "now": now}
    moved |= {"due_at": to_datetime(step.due_ms), "asks": step.ask is not None}
    return moved | {"device_no": row["device_no"], "first": row["first"]}


def _closed(row: dict[str, Any], step: Step, now: datetime) -> Envelope:
    device_id, span = row["device_id"], (row["first"], row["past"])
    event = rules.was_closed(device_id, span, step.state, step.missing, to_ms(now))
    meta = Meta(occurred_at=now, recorded_at=now, source="engine")
    return Envelope(gap_stream(device_id, span[0]), row["version"] + 1, event, meta)


def _stored(conn: Connection, row: dict[str, Any]) -> Ranges:
    """Return the stored ranges of a gap's device, from the log where they forgot the gap."""
    if not row["forgotten"]:
        return from_bytes(bytes(row["ranges"]))
    stored: Ranges = []
    stream = stream_id("cold_chain.device", row["device_id"])
    for found in conn.execute(queries.stored_events, (stream, row["first"], row["past"])):
        envelope = envelope_of(found)
        if isinstance(envelope.event, ReadingsRecorded):
            first = envelope.originator_version
            add(stored, first, first + len(envelope.event.ts_ms))
    return stored


def _backfill(device_id: str, span: Span, due_ms: int) -> DeviceCommandIssued:
    boot, first_seq = divmod(span[0], SEQ_END)
    last_seq = first_seq + span[1] - span[0] - 1
    return DeviceCommandIssued(
        command_id=str(stream_id("cold_chain.backfill", device_id, *span, due_ms)),
        device_id=device_id,
        cmd=Cmd.BACKFILL.value,
        arguments={"boot": boot, "from": first_seq, "to": last_seq},
        expires_ms=due_ms,
    )


def _write_opened(cur: psycopg.Cursor[Any], opened: Sequence[NewGap], batch: Batch) -> None:
    values = {
        "device_nos": [gap.device_no for gap in opened],
        "firsts": [gap.span[0] for gap in opened],
        "pasts": [gap.span[1] for gap in opened],
        "gateway_ids": [gap.gateway_id for gap in opened],
        "region_codes": [gap.region_code for gap in opened],
        "now": batch.now,
        "due_at": batch.now + timedelta(milliseconds=rules.QUIET_MS),
        "open_max": OPEN_MAX,
    }
    kept = set(cur.execute(queries.open_gaps, values).fetchall())
    for gap in opened:
        if (gap.device_no, gap.span[0]) in kept:
            event = rules.was_opened(gap.device_id, gap.span, batch.now_ms)
            stream = gap_stream(gap.device_id, gap.span[0])
            batch.add_telemetry(stream, 1, event, region_code=gap.region_code)
