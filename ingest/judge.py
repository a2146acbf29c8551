"""Third step: hold the new readings against the rules of the place where each probe stands.

The engine is a pure function (domain/alerting/engine.py); here it is given its watches, states and
stored readings, and its changes become alert events, episode rows and notices of one transaction.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from alerts.notices import notice
from domain.alerting.engine import Evaluation, by_watch, evaluate, reassess
from domain.alerting.episodes import Episode
from domain.alerting.watch import SEQ_MAX, Reading, Watch, WatchState, to_datetime
from domain.alerting.watch import to_ms as ms_of
from domain.cold_chain.calibration import Calibration
from domain.cold_chain.model import TEMPERATURE_CHANNELS
from ingest.batch import Batch, EpisodeRow
from ingest.calibrated import counted
from ingest.ranges import version_of
from ingest.rows import queries
from ingest.state import DeviceState, Watched

Connection = psycopg.Connection[Any]
Probe = tuple[str, str]  # device, channel


def judge(batch: Batch, conn: Connection) -> None:
    """Judge every probe that has new readings, has moved, or whose rules have changed."""
    if batch.shifted:
        batch.load(conn, {batch.shifted}, numbering=False)
    readings: dict[Probe, list[Reading]] = defaultdict(list)
    for row in batch.rows:
        seq = version_of(row.boot, row.seq)
        for channel in TEMPERATURE_CHANNELS:
            if channel in row.values:
                probe = (row.state.device_id, channel)
                readings[probe].append((row.ts_ms, seq, row.values[channel]))
    shifts: dict[Probe, list[int]] = defaultdict(list)
    for device_id in batch.states:
        for shift in batch.directory.waiting.get(device_id, ()):
            shifts[device_id, shift.channel].append(shift.at_ms)
    for probe in {**shifts, **readings}:
        fresh = counted(batch.directory.calibrations.get(probe), readings.get(probe, ()))
        _Judgement(batch, conn, probe).run(shifts.get(probe, ()), fresh)


@dataclass(slots=True)
class _Judgement:
    """One probe in one batch."""

    batch: Batch
    conn: Connection
    probe: Probe
    state: DeviceState = field(init=False)
    stored: _StoredProbe = field(init=False)

    def __post_init__(self) -> None:
        self.state = self.batch.states[self.probe[0]]
        calibration = self.batch.directory.calibrations.get(self.probe)
        self.stored = _StoredProbe(self.conn, self.state, self.probe[1], calibration)

    def run(self, shifted_at: Sequence[int], readings: Sequence[Reading]) -> None:
        """Settle what changed about the probe's places and rules, then judge its new readings."""
        watches = self.batch.directory.watches(*self.probe)
        self._settle(watches, shifted_at)
        for watch, of_watch in by_watch(watches, readings):
            self._keep(watch, evaluate(watch, self._state(watch), of_watch, self.stored))

    def _settle(self, watches: Sequence[Watch], shifted_at: Sequence[int]) -> None:
        """Judge again what is stored where a watch is new, has ended or has other rules."""
        if self.state.stored_ts_ms is None:
            return
        for watch in watches:
            kept = self._kept_of(watch)
            from_ms = self._changed_from(watch, kept, shifted_at)
            if from_ms is None:
                continue
            before, upto_ms = self._state(watch), self.state.stored_ts_ms + 1
            if kept:
                before, upto_ms = kept.state, max(upto_ms, kept.state.last[0] + 1)
            elif watch.end_ms is not None:
                before = _judged_whole(watch, watches, upto_ms)
            if watch.end_ms is None and from_ms >= upto_ms:
                self._keep(watch, Evaluation(before))  # nothing stored is touched by it
                continue
            again = reassess(watch, before, from_ms=from_ms, to_ms=upto_ms, stored=self.stored)
            self._keep(watch, again)

    def _changed_from(
        self, watch: Watch, kept: Watched | None, shifted_at: Sequence[int]
    ) -> int | None:
        """Return the moment from which a watch is other than it was when last judged, if it is.

        A shift tells of it; so does the kept state.
        """
        calibration = self.batch.directory.calibrations.get(self.probe)
        from_then = {rule_set.effective_ms for rule_set in watch.rule_sets}
        from_then.update(calibration.since_ms if calibration else ())
        moments = [
            at_ms
            for at_ms in shifted_at
            if at_ms in (watch.start_ms, watch.end_ms)
            or (at_ms in from_then and (watch.end_ms is None or at_ms < watch.end_ms))
        ]
        if kept:
            moments += [r.effective_ms for r in watch.rule_sets if r.version > kept.rule_version]
            moments += [] if watch.end_ms is None else [watch.end_ms]
        elif watch.end_ms is None:
            moments.append(watch.start_ms)
        return max(min(moments), watch.start_ms) if moments else None

    def _state(self, watch: Watch) -> WatchState:
        if watch.end_ms is not None:
            return WatchState.ended(watch)
        kept = self._kept_of(watch)
        return kept.state if kept else WatchState.initial(watch)

    def _keep(self, watch: Watch, evaluation: Evaluation) -> None:
        channel = self.probe[1]
        self.state.changed = True
        if watch.end_ms is None:
            version = watch.rule_sets[-1].version
            self.state.probes[channel] = Watched(version, evaluation.state)
        elif self._kept_of(watch):
            del self.state.probes[channel]
        if evaluation.changes:
            self.state.calm_ms = None
        for change in evaluation.changes:
            episode = self.stored.changed[change.episode.alert_id] = change.episode
            row = EpisodeRow(self.state.device_no, channel, episode)
            self.batch.episodes[episode.alert_id] = row
            envelope = self.batch.add_ledger(
                UUID(episode.alert_id),
                episode.version,
                change.event,
                source="engine",
                region_code=watch.region_code,
                device_id=watch.device_id,
            )
            self.batch.notices.append(
                notice(envelope, severity=episode.severity, region_code=watch.region_code)
            )

    def _kept_of(self, watch: Watch) -> Watched | None:
        kept = self.state.probes.get(self.probe[1])
        return kept if kept and kept.state.watch_ms == watch.start_ms else None


def _judged_whole(watch: Watch, watches: Sequence[Watch], upto_ms: int) -> WatchState:
    """Return the state of an ended watch whose end may have been later when it was judged.

    What was told of its unit belongs to it up to the next watch of the same unit: an end only ever
    moves to an earlier moment, never past the beginning of another stay.
    """
    later = (
        w.start_ms for w in watches if w.unit_id == watch.unit_id and w.start_ms > watch.start_ms
    )
    last_ms = max(WatchState.ended(watch).last[0], min(later, default=upto_ms) - 1)
    return WatchState(watch.start_ms, (last_ms, SEQ_MAX))


class _StoredProbe:
    """What is stored of a probe, as the engine asks for it, and what this batch has changed."""

    def __init__(
        self,
        conn: Connection,
        state: DeviceState,
        channel: str,
        calibration: Calibration | None,
    ) -> None:
        self._conn = conn
        self._calibration = calibration
        self._device_no = state.device_no
        self._channel = channel
        self._had_none = state.calm_ms == -math.inf
        self.changed: dict[str, Episode] = {}

    def readings(self, from_ms: int, to_ms: int) -> Sequence[Reading]:
        """Return the stored readings of the window, ascending, as they count."""
        window = (self._device_no, to_datetime(from_ms), to_datetime(to_ms))
        with self._conn.cursor(row_factory=dict_row) as cur:
            stored: list[Reading] = [
                (ms_of(row["ts"]), version_of(row["boot"], row["seq"]), row[self._channel])
                for row in cur.execute(queries.probe_readings, window)
            ]
        return counted(self._calibration, stored)

    def episodes(self) -> Sequence[Episode]:
        """Return the probe's episodes, as this batch leaves them."""
        asked = (self._device_no, self._channel)
        if self._had_none:
            return list(self.changed.values())
        with self._conn.cursor(row_factory=dict_row) as cur:
            found = [_episode(row) for row in cur.execute(queries.probe_episodes, asked)]
        kept = {episode.alert_id: episode for episode in found}
        return list((kept | self.changed).values())


def _episode(row: dict[str, Any]) -> Episode:
    recovered_at, resolved_at = row["recovered_at"], row["resolved_at"]
    return Episode(
        alert_id=str(row["alert_id"]),
        unit_id=row["unit_id"],
        rule_id=row["rule_id"],
        rule_version=row["rule_version"],
        severity=row["severity"],
        start_ms=ms_of(row["started_at"]),
        fired_ms=ms_of(row["fired_at"]),
        peak_c=row["peak_c"],
        recovered_ms=None if recovered_at is None else ms_of(recovered_at),
        resolved_ms=None if resolved_at is None else ms_of(resolved_at),
        withdrawn=row["withdrawn"],
        version=row["version"],
    )
