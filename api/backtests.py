"""Rules tried on what was read, before they are published: how many alerts they would have given.

Days on which no rule calls a value bad are passed over by the roll-ups; the others are read, and
judged by the same step as the engine's. What the probe's calibration makes of a reading counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path as FilePath
from typing import Annotated, Any, NamedTuple, TypeAlias

import numpy as np
import psycopg
from fastapi import Response
from pydantic import Field

from api.auth import Principal, permission
from api.deps import DepsOf
from api.recipients import Severity
from api.routing import json_answer, module_router
from api.rule_bodies import RuleIn
from api.schemas import Body, Moment, Name, NameInPath, Region
from domain.alerting import rules
from domain.alerting.backtest import Episode, bad, replayed
from domain.cold_chain import model
from domain.shared.errors import Invalid, NotFound
from domain.shared.roles import Role
from projections import charts
from projections.shared.calibrations import Calibrations, calibrations
from store.sql import load_queries

router = module_router("alerting")
queries = load_queries(FilePath(__file__).with_suffix(".sql"))

SPAN_DEFAULT, SPAN_MAX = timedelta(days=30), timedelta(days=92)
# Readings that one request may look at, after the roll-ups have passed over quiet days: about ten
# seconds of work.
READINGS_MAX = 4_000_000
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_2000_MS = 946_684_800_000
_MINUTE_MS = 60_000

Connection = psycopg.Connection[Any]
# Alerts and their minutes, of a site, a rule and a severity.
Key: TypeAlias = tuple[str, str, str]
Counts: TypeAlias = dict[Key, tuple[int, float]]


class May(StrEnum):
    """Permissions of this file."""

    TRY = "alerting.try_rules"


class BacktestIn(Body):
    """Rules to be tried; without `from` and `to` on the last 30 days."""

    rules: Annotated[list[RuleIn], Field(min_length=1, max_length=rules.RULES_MAX)]
    since: Annotated[Moment | None, Field(alias="from")] = None
    until: Annotated[Moment | None, Field(alias="to")] = None
    region: Region | None = None
    site_id: Name | None = None


class SiteAlerts(Body):
    """Alerts of a rule at a site and their minutes: as they would have been, and as they were.

    `more`: the difference. A rule that only one of both knows has 0 on the other side.
    """

    site_id: str
    rule_id: str
    severity: Severity
    alerts: int
    minutes: float
    told: int
    told_minutes: float
    more: int


class Backtest(Body):
    """What rules would have given; `readings` of the days on which some value was bad."""

    profile_id: Name
    since: datetime
    until: datetime
    probes: int
    readings: int
    alerts: int
    told: int
    sites: list[SiteAlerts]


class _Stay(NamedTuple):
    device_no: int
    device_id: str
    channel: str
    interval_s: int
    unit_id: str
    site_id: str
    t0: datetime
    t1: datetime


@router.post("/rule-sets/{profile_id}/backtests", response_model=Backtest)
def try_rules(
    profile_id: NameInPath,
    body: BacktestIn,
    who: Annotated[Principal, permission(May.TRY, Role.CDC)],
    deps: DepsOf,
) -> Response:
    """Tell what alerts rules would have given on past readings; nothing is stored or told."""
    if not deps.ledger.stream(model.profile_stream(profile_id)):
        raise NotFound("unknown_profile", profile_id=profile_id)
    tried = rules.checked_rules([rules.ThresholdRule(**each.model_dump()) for each in body.rules])
    t0, t1 = _span(body, deps.clock.now())
    asked = {
        "profile_id": profile_id,
        "region": who.narrowed(body.region),
        "site_id": body.site_id,
        "channels": list(model.TEMPERATURE_CHANNELS),
        "t0": t0,
        "t1": t1,
    }
    with deps.pool.connection() as conn:
        stays = [_Stay(*row) for row in conn.execute(queries.stays, asked)]
        found, readings = _tried(conn, stays, tried, (t0, t1))
        told = _told(conn, stays, (t0, t1))
    sites = [_row(key, found, told) for key in sorted({*found, *told})]
    shown = {
        "profile_id": profile_id,
        "since": t0,
        "until": t1,
        "probes": len({(stay.device_no, stay.channel) for stay in stays}),
        "readings": readings,
        "alerts": sum(count for count, _ in found.values()),
        "told": sum(count for count, _ in told.values()),
        "sites": sites,
    }
    return json_answer(shown)


def _span(body: BacktestIn, now: datetime) -> tuple[datetime, datetime]:
    t1 = min(body.until or now, now)
    try:
        t0 = body.since or t1 - SPAN_DEFAULT
    except OverflowError:
        raise Invalid("bad_time", field="to", value=str(body.until)) from None
    if not timedelta() < t1 - t0 <= SPAN_MAX:
        raise Invalid("bad_span", field="from", days=SPAN_MAX.days)
    return t0, t1


def _tried(
    conn: Connection,
    stays: Sequence[_Stay],
    tried: Sequence[rules.ThresholdRule],
    span: tuple[datetime, datetime],
) -> tuple[Counts, int]:
    """Return what rules find in the stays of probes, and how many readings were looked at."""
    known = calibrations(conn, devices=sorted({stay.device_id for stay in stays}))
    days = _bad_days(conn, stays, tried, known, span)
    expected = sum(
        86_400 / stay.interval_s
        for stay in stays
        for _ in _of_stay(stay, days.get((stay.device_no, stay.channel), ()))
    )
    if expected > READINGS_MAX:
        raise Invalid("backtest_too_large", field="from", readings=round(expected))
    severities = {rule.rule_id: rule.severity for rule in tried}
    counts: dict[Key, list[float]] = defaultdict(lambda: [0, 0.0])
    readings = 0
    for stay in stays:
        suspect = _of_stay(stay, days.get((stay.device_no, stay.channel), ()))
        for at_ms, episodes in _episodes(conn, stay, suspect, tried, known):
            readings += at_ms.size
            for each in episodes:
                key = (stay.site_id, each.rule_id, severities[each.rule_id])
                end_ms = int(at_ms[-1]) if each.end_ms is None else each.end_ms
                counts[key][0] += 1
                counts[key][1] += (end_ms - each.start_ms) / _MINUTE_MS
    return {key: (int(n), minutes) for key, (n, minutes) in counts.items()}, readings


def _bad_days(
    conn: Connection,
    stays: Sequence[_Stay],
    tried: Sequence[rules.ThresholdRule],
    known: Calibrations,
    span: tuple[datetime, datetime],
) -> Mapping[tuple[int, str], set[int]]:
    """Return the days of each channel on which some value is bad, and the last: it may go on."""
    names = {stay.device_no: stay.device_id for stay in stays}
    found: dict[tuple[int, str], set[int]] = defaultdict(set)
    ((rolled_up,),) = conn.execute(charts.queries.rolled_up_to).fetchall()
    first, last = ((moment - _EPOCH) // _DAY for moment in span)
    for stay in stays:
        fresh = {last - 1, last} if rolled_up is not None else set(range(first, last + 1))
        found[stay.device_no, stay.channel] |= fresh
    asked = {"devices": list(names), "channels": list(model.TEMPERATURE_CHANNELS)}
    asked |= {"t0": span[0], "t1": span[1]}
    rows = conn.execute(queries.extremes, asked).fetchall()
    low = np.array([row[3] for row in rows], np.float64)
    high = np.array([row[4] for row in rows], np.float64)
    for n, (number, channel, *_) in enumerate(rows):
        certificates = known.by_probe.get((names[number], channel))
        for since_ms in certificates.since_ms if certificates else ():
            least, greatest = certificates.extremes_at(since_ms)  # type: ignore[union-attr]
            low[n], high[n] = min(low[n], low[n] - greatest), max(high[n], high[n] - least)
    for n in np.flatnonzero(bad(tried, low, high)).tolist():
        found[rows[n][0], rows[n][1]].add(rows[n][2])
    return found


def _of_stay(stay: _Stay, days: set[int] | tuple[()]) -> list[int]:
    """Return the days that a stay has a part in, ascending."""
    first, last = (stay.t0 - _EPOCH) // _DAY, (stay.t1 - _EPOCH) // _DAY
    return sorted(day for day in days if first <= day <= last)


def _episodes(
    conn: Connection,
    stay: _Stay,
    days: Sequence[int],
    tried: Sequence[rules.ThresholdRule],
    known: Calibrations,
) -> Iterator[tuple[Any, list[Episode]]]:
    """Yield the times read and what rules find there: run by run of days, each until it is over."""
    at = 0
    while at < len(days):
        end = at + 1
        while end < len(days) and days[end] == days[end - 1] + 1:
            end += 1
        begin, past = _EPOCH + days[at] * _DAY, _EPOCH + (days[end - 1] + 1) * _DAY
        more = _DAY
        while True:
            at_ms, values = _read(conn, stay, max(begin, stay.t0), min(past, stay.t1), known)
            found, active = replayed(tried, at_ms, values)
            if not active or past >= stay.t1:
                break
            past, more = past + more, 2 * more
        yield at_ms, found
        reached = (past - _EPOCH) // _DAY
        at = next((n for n in range(end, len(days)) if days[n] >= reached), len(days))


def _read(
    conn: Connection, stay: _Stay, t0: datetime, t1: datetime, known: Calibrations
) -> tuple[Any, Any]:
    """Return the times (ms) and values of a probe as they count."""
    asked = {"device_id": stay.device_id, "channel": stay.channel, "telemetry": None}
    row: Any = conn.execute(
        charts.queries.rows, asked | {"t0": t0, "t1": t1}, binary=True
    ).fetchone()
    at_ms = np.frombuffer(row[0], ">i8").astype(np.int64) // 1_000 + _EPOCH_2000_MS
    values = np.frombuffer(row[1], ">f8").astype(np.float64)
    read = ~np.isnan(values)
    at_ms, values = at_ms[read], values[read]
    return at_ms, known.corrected(values, stay.device_id, stay.channel, at_ms)


def _told(conn: Connection, stays: Sequence[_Stay], span: tuple[datetime, datetime]) -> Counts:
    units = sorted({stay.unit_id for stay in stays})
    asked = {"units": units, "t0": span[0], "t1": span[1]}
    rows = conn.execute(queries.told, asked).fetchall()
    return {(site, rule, severity): (n, minutes) for site, rule, severity, n, minutes in rows}


def _row(key: Key, found: Counts, told: Counts) -> dict[str, Any]:
    alerts, minutes = found.get(key, (0, 0.0))
    was, was_minutes = told.get(key, (0, 0.0))
    return {
        "site_id": key[0],
        "rule_id": key[1],
        "severity": key[2],
        "alerts": alerts,
        "minutes": round(minutes, 1),
        "told": was,
        "told_minutes": round(was_minutes, 1),
        "more": alerts - was,
    }
