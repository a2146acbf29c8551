"""One alert worked out again: its episode from the readings as stored, the rest from its events.

What people are shown (the inbox, with the peak that the engine keeps beside the probe) came about
reading by reading, in whatever order they arrived, with restarts and corrections. This is the same
by the definition of the rule, in one go over all readings of the watch: both must say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import dict_row

from domain.alerting import model
from domain.alerting.engine import found_in
from domain.alerting.episodes import Found
from domain.alerting.events import AlertFired
from domain.alerting.model import Status
from domain.alerting.tape import Known, known
from domain.alerting.watch import Watch, to_datetime, to_ms
from domain.cold_chain.calibration import Calibration
from ingest.calibrated import counted
from ingest.directory import Directory
from ingest.ranges import version_of
from ingest.rows import queries
from projections import alerting
from projections.alerting import AlertRow
from store.logs import Ledger

Connection = psycopg.Connection[Any]

# Readings asked for at once.
WINDOW_MS = 7 * 86_400_000
# Of a row of the inbox: where the follower stands, and what only the clock knows.
HIDDEN = ("pos", "due_at")


def retold(conn: Connection, ledger: Ledger, alert_id: str) -> tuple[bytes, bytes] | None:
    """Return the alert as worked out again and as it is shown, each as JSON; None: no such alert.

    Rows of readings that were dropped must be put back before.
    """
    try:
        UUID(alert_id)
    except ValueError:
        return None
    history = ledger.together(model.streams_of(alert_id))
    if not history or not model.begins_alert(history[0].event):
        return None
    row = alerting.folded(history)
    if row is None:
        return None
    if isinstance(fired := history[0].event, AlertFired):
        row = _from_readings(conn, row, fired)
    shown = alerting.alert(conn, alert_id)
    return _json(row), b"{}" if shown is None else _json(shown)


def _json(row: AlertRow) -> bytes:
    values = {name: value for name, value in asdict(row).items() if name not in HIDDEN}
    return msgspec.json.encode(values, order="sorted")


def _from_readings(conn: Connection, row: AlertRow, fired: AlertFired) -> AlertRow:
    found = None
    directory = Directory()
    directory.refresh(conn)
    probe = (fired.device_id, fired.channel)
    # The stays of the probe in the alert's unit, as the registry tells them now.
    stays = [w for w in directory.watches(*probe) if w.unit_id == fired.unit_id]
    for watch in stays:
        readings = _readings(conn, watch, directory.calibrations.get(probe))
        for each in found_in(watch, fired.rule_id, readings):
            if each.fired.start_ms == to_ms(row.started_at):
                found = each
    if found is None:
        return replace(row, state=Status.WITHDRAWN, escalate_at=None)
    # A correction does not tell the value that fired: where it changed that, the first stands.
    as_told = to_datetime(found.fired.fired_ms) == fired.fired_at
    value_c = found.fired.value_c if as_told else fired.value_c
    return replace(_as_found(row, found), value_c=value_c)


def _as_found(row: AlertRow, found: Found) -> AlertRow:
    ending, state = found.ending, row.state
    if ending is None and state not in (Status.FIRING, alerting.ACKNOWLEDGED):
        state = Status.FIRING
    elif ending is not None:
        unknown = ending.recovered_ms is None
        state = Status.CLOSED_UNVERIFIED if unknown else Status.RESOLVED
    recovered_ms = ending.recovered_ms if ending else None
    return replace(
        row,
        fired_at=to_datetime(found.fired.fired_ms),
        peak_c=found.peak_c,
        recovered_at=None if recovered_ms is None else to_datetime(recovered_ms),
        resolved_at=to_datetime(ending.resolved_ms) if ending else None,
        state=state,
    )


def _readings(conn: Connection, watch: Watch, calibration: Calibration | None) -> Iterator[Known]:
    """Yield the stored values of a watch as they count, ascending by time and sequence."""
    with conn.cursor(row_factory=dict_row) as cur:
        device = cur.execute(queries.probe_span, {"device_id": watch.device_id}).fetchone()
        if device is None or device["first"] is None:
            return
        at_ms = max(watch.start_ms, to_ms(device["first"]))
        end_ms = to_ms(device["last"]) + 1
        end_ms = end_ms if watch.end_ms is None else min(end_ms, watch.end_ms)
        while at_ms < end_ms:
            past_ms = min(at_ms + WINDOW_MS, end_ms)
            window = (device["device_no"], to_datetime(at_ms), to_datetime(past_ms))
            stored = [
                (to_ms(row["ts"]), version_of(row["boot"], row["seq"]), row[watch.channel])
                for row in cur.execute(queries.probe_readings, window)
            ]
            yield from known(counted(calibration, stored))
            at_ms = past_ms
