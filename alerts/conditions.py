"""Conditions of equipment, told when they begin and when they end: once a minute, by the leader.

What is so now follows from what is stored (`equipment`, the pure rules of the domain); what was
told stands in the table `condition`, written with the event that says so. The difference of both is
what is to be told: a tick may come late, twice, or after a restart.

Grace: nobody is called silent for a time in which nobody listened. From the start of this process,
and of each worker of ingest, devices have their whole time to speak before they are told of as
silent; what was told before stays until they are heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import orjson
import psycopg
import structlog
from psycopg.rows import class_row

from alerts import notices, records
from alerts.equipment import Equipment, queries
from alerts.foresight import Foresight
from domain.alerting.conditions import Floats, Found, Ground, Kind, silences
from domain.alerting.events import ConditionEnded, ConditionRaised
from domain.alerting.model import RECOVERED, REMOVED, condition_stream, episode_stream
from domain.alerting.rules import SEVERITIES
from domain.alerting.signals import LAST, Signals
from domain.alerting.watch import to_datetime, to_ms
from domain.shared.errors import Conflict
from store.envelope import Envelope, Meta
from store.logs import Ledger

log = structlog.get_logger(__name__)

LOOK_AGAIN = timedelta(minutes=1)
# Readings of so long before are folded in at the start.
LOOK_BACK = timedelta(hours=1)
# Events of one transaction.
CHUNK = 200
_SILENT = (Kind.SITE_OFFLINE, Kind.GATEWAY_OFFLINE, Kind.PROBE_OFFLINE)
# What people do, and no device has to speak for.
_OF_PEOPLE = (Kind.RECORD_MISSED, Kind.CALIBRATION_OVERDUE)

Key: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A condition that is on, as it was told last. `version`: of its stream."""

    kind: str
    subject_id: str
    subject_kind: str
    alert_id: str
    severity: str
    region_code: str
    silenced_by: str
    version: int

    @property
    def key(self) -> Key:
        """What it is about."""
        return self.kind, self.subject_id


@dataclass(frozen=True, slots=True)
class _Change:
    """One event to be stored, and the row after it; `over`: none."""

    row: Known
    event: ConditionRaised | ConditionEnded
    over: bool = False


class Conditions:
    """Ticks; remembers the last hour of values and since when somebody listens."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._equipment = Equipment()
        self._foresight = Foresight()
        self._signals: Signals | None = None
        self._looked: datetime | None = None
        self._listens_ms: dict[int, int] = {}

    def tick(self, conn: psycopg.Connection[Any], now: datetime) -> int:
        """Tell what has begun or ended by `now`; return how many events that took."""
        if self._looked is not None and self._looked <= now < self._looked + LOOK_AGAIN:
            return 0
        self._looked = now
        try:
            ground = self._equipment.ground(conn, now)
        except psycopg.errors.UndefinedTable:  # the read models are not built yet
            return 0
        changes = list(self._changes(conn, ground, now))
        for at in range(0, len(changes), CHUNK):
            self._store(changes[at : at + CHUNK], now)
        return len(changes)

    def _changes(
        self, conn: psycopg.Connection[Any], ground: Ground, now: datetime
    ) -> Iterator[_Change]:
        equipment, now_ms = self._equipment, to_ms(now)
        heard, newest = equipment.heard(conn, ground, now)
        signals = self._folded(conn, ground, newest, now)
        wills = equipment.wills(conn, ground)
        attended = self._attended_ms(conn, ground, now_ms)
        ahead = self._foresight.found(conn, ground, signals, now)
        found = [
            *silences(ground, heard, wills, now_ms, attended),
            *self._foresight.with_time(signals.found(now_ms, equipment.usual_c)),
            *equipment.wrong_clocks(conn, ground),
            *records.missed(conn, ground, now),
            *ahead,
        ]
        now_on = {(one.kind, one.subject_id): one for one in found}
        # Without grace: what was told before the start is not over because of it.
        silent = {(one.kind, one.subject_id) for one in silences(ground, heard, wills, now_ms)}
        with conn.cursor(row_factory=class_row(Known)) as cur:
            known = {row.key: row for row in cur.execute(queries.known)}
        yield from self._raised(ground, now_on.values(), known, now)
        there = _There(ground, signals, now_ms)
        for key, row in known.items():
            if key not in now_on and key not in silent and (cause := there.cause_of(row)):
                ended = ConditionEnded(alert_id=row.alert_id, ended_at=now, cause=cause)
                yield _Change(replace(row, version=row.version + 1), ended, over=True)

    def _folded(
        self, conn: psycopg.Connection[Any], ground: Ground, newest: Floats, now: datetime
    ) -> Signals:
        """Return what is remembered, with what has come since the last tick."""
        if self._signals is None:
            self._signals = Signals(ground, to_ms(now - LOOK_BACK))
        elif self._signals.ground is not ground:
            self._signals = self._signals.on(ground)
        signals = self._signals
        signals.advance(to_ms(now))
        for rows in self._equipment.rows(conn, newest, signals.devices[LAST], now):
            signals.take(rows)
        for rows in self._equipment.reports(conn, ground, now):
            signals.report(rows)
        return signals

    def _attended_ms(self, conn: psycopg.Connection[Any], ground: Ground, now_ms: int) -> Floats:
        """Return since when somebody listens to each device; infinity while nobody does."""
        regions: dict[str, float] = {}
        hearing: dict[int, int] = {}
        for worker, of_worker in conn.execute(queries.hearing):
            hearing[worker] = self._listens_ms.get(worker, now_ms)
            regions |= dict.fromkeys(of_worker or [""], hearing[worker])
        self._listens_ms = hearing
        nobody = regions.get("", np.inf)
        of_site = np.array([regions.get(region, nobody) for region in ground.regions])
        listens: Floats = of_site[ground.site]
        return listens

    def _raised(
        self,
        ground: Ground,
        found: Iterable[Found],
        known: Mapping[Key, Known],
        now: datetime,
    ) -> Iterator[_Change]:
        for one in found:
            row = known.get((one.kind, one.subject_id))
            unit_id = ground.units[one.unit] if one.unit >= 0 else ""
            if one.held or (row is not None and not _is_news(row, one)):
                continue
            started_ms = one.since_ms
            if row is None:
                # It may have been told before, and ended for another reason than its end.
                while self._ledger.stream(
                    stream := condition_stream(one.kind, one.subject_id, started_ms)
                ):
                    started_ms += 1
                row = _begun(ground, one, str(stream))
            row = replace(row, severity=one.severity, silenced_by="", version=row.version + 1)
            yield _Change(row, _raising(ground, one, row, unit_id, now))

    def _store(self, changes: Sequence[_Change], now: datetime) -> None:
        envelopes = [
            Envelope(
                episode_stream(change.row.alert_id),
                change.row.version,
                change.event,
                Meta(
                    occurred_at=now,
                    recorded_at=now,
                    region_code=change.row.region_code,
                    source="timer",
                ),
            )
            for change in changes
        ]
        told = [
            notices.notice(
                envelope, severity=change.row.severity, region_code=change.row.region_code
            )
            for change, envelope in zip(changes, envelopes, strict=True)
        ]

        def write(cur: psycopg.Cursor[Any]) -> None:
            for change in changes:
                query = queries.drop_condition if change.over else queries.put_condition
                cur.execute(query, asdict(change.row))
            notices.write(cur, told)

        try:
            self._ledger.append(envelopes, before=write)
        except Conflict:  # another leader told it a moment ago: the next tick sees that
            log.info("condition_raced", alert_ids=[change.row.alert_id for change in changes])
            return
        for change in changes:
            event = "condition_ended" if change.over else "condition_raised"
            log.info(event, kind=change.row.kind, subject=change.row.subject_id)


def _is_news(row: Known, one: Found) -> bool:
    """Tell whether something is graver than told; or an earlier version told nobody of it."""
    graver = SEVERITIES.index(one.severity) > SEVERITIES.index(row.severity)
    return graver or row.silenced_by != ""


def _begun(ground: Ground, one: Found, alert_id: str) -> Known:
    return Known(
        kind=one.kind,
        subject_id=one.subject_id,
        subject_kind=one.subject_kind,
        alert_id=alert_id,
        severity=one.severity,
        region_code=ground.regions[one.site],
        silenced_by="",
        version=0,
    )


def _raising(
    ground: Ground, one: Found, row: Known, unit_id: str, now: datetime
) -> ConditionRaised:
    return ConditionRaised(
        alert_id=row.alert_id,
        kind=one.kind,
        subject_kind=one.subject_kind,
        subject_id=one.subject_id,
        unit_id=unit_id,
        site_id=ground.sites[one.site],
        region_code=row.region_code,
        severity=one.severity,
        started_at=to_datetime(one.since_ms),
        fired_at=now,
        detail=orjson.dumps(dict(one.facts)).decode(),
    )


class _There:
    """What is there now, and which of it speaks: without that nothing is known to be well."""

    def __init__(self, ground: Ground, signals: Signals, now_ms: float) -> None:
        self._signals, self._now_ms = signals, now_ms
        speaks = signals.speaks(now_ms)
        self._names: Mapping[str, Sequence[str]] = {
            "device": ground.devices,
            "gateway": ground.gateways,
            "site": ground.sites,
            "unit": ground.units,
        }
        self._speaking = {
            "device": {ground.devices[n] for n in np.flatnonzero(speaks)},
            "unit": {ground.units[n] for n in ground.unit[speaks]},
            "site": {ground.sites[n] for n in ground.site[speaks]},
        }

    def cause_of(self, row: Known) -> str:
        """Return why a condition that is found no more is over; empty: nobody knows that it is."""
        name = row.subject_id.partition("/")[0]
        if name not in self._names[row.subject_kind]:
            return REMOVED
        of_silence = row.kind in _SILENT and "/" not in row.subject_id
        alone = of_silence or row.kind in _OF_PEOPLE
        spoken = alone or name in self._speaking[row.subject_kind]
        about = (row.kind, row.subject_kind, row.subject_id)
        well = spoken and (alone or self._signals.settled(*about, self._now_ms))
        return RECOVERED if well else ""
