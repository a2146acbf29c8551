"""What a unit's probes read in a span of time, against a minute-by-minute account."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from projections.shared.placements import (
    Span,
    TemperatureSummary,
    temperature_summaries,
    temperature_summary,
)
from store.logs import Ledger
from tests.cold_chain.given import (
    NOON,
    Row,
    device,
    follow,
    minutes,
    placed,
    read,
    removed,
    tell,
    tell_profiles,
    unit,
)
from tests.conftest import Database

pytestmark = pytest.mark.database


@pytest.fixture(scope="module")
def conn(database: Database, ledger: Ledger) -> Iterator[psycopg.Connection[Any]]:
    tell_profiles(ledger)
    with psycopg.connect(database.app_dsn, autocommit=True) as made:
        yield made


@dataclass(frozen=True)
class Probe:
    """A probe's readings, its stay, and how long a reading of it may hold."""

    rows: Sequence[Row]
    since: datetime
    until: datetime
    hold: timedelta

    def held_at(self, moment: datetime) -> float | None:
        """Return the value that held at a moment, None when it is unknown."""
        if not self.since <= moment < self.until:
            return None
        known = [(ts, v) for ts, v in self.rows if v is not None and ts >= self.since]
        before = [(ts, v) for ts, v in known if ts <= moment]
        after = [ts for ts, v in self.rows if v is not None and ts > moment]
        if not before or not after or moment >= before[-1][0] + self.hold:
            return None
        return before[-1][1]


def account(probes: Sequence[Probe], t0: datetime, t1: datetime) -> TemperatureSummary:
    """Count minute by minute: everything in these worlds happens at full minutes."""
    span = range(int((t1 - t0).total_seconds() // 60))
    held = [[p.held_at(t0 + timedelta(minutes=n)) for p in probes] for n in span]
    values = [v for row in held for v in row if v is not None]
    read_values = [
        v
        for p in probes
        for ts, v in p.rows
        if v is not None and max(p.since, t0) <= ts < min(p.until, t1)
    ]
    seen = values + read_values
    return TemperatureSummary(
        n=len(read_values),
        temperature_c_min=min(seen, default=None),
        temperature_c_max=max(seen, default=None),
        mean_c=round(sum(values) / len(values), 9) if values else None,
        above_min=sum(any(v is not None and v > 8 for v in row) for row in held) if seen else None,
        below_min=sum(any(v is not None and v < 2 for v in row) for row in held) if seen else None,
        unknown_min=sum(all(v is None for v in row) for row in held),
    )


@pytest.mark.parametrize("seed", range(12))
def test_given_random_probes_when_summarised_then_as_counted_by_the_minute(
    database: Database, ledger: Ledger, conn: psycopg.Connection[Any], seed: int
) -> None:
    draw = random.Random(seed)
    probes = []
    tell(ledger, unit(f"R{seed}"), unit(f"X{seed}"))
    for n in range(draw.randint(1, 3)):
        name = f"R{seed}-{n}"
        interval = draw.choice([1, 2, 5])
        since, until = sorted(draw.sample(range(-30, 150), 2))
        at = -40
        rows: list[Row] = []
        while at < 160:
            rows.append((minutes(at), draw.choice([None, 1.5, 2.0, 5.0, 8.0, 8.5, 12.0])))
            at += interval if draw.random() < 0.9 else draw.randint(1, 40)
        stay = [
            placed(name, f"X{seed}", minutes(-60)),
            placed(name, f"R{seed}", minutes(since)),
            draw.choice([removed(name, minutes(until)), placed(name, f"X{seed}", minutes(until))]),
        ]
        tell(ledger, device(name, interval_s=60 * interval), *draw.sample(stay, len(stay)))
        read(conn, name, rows)
        hold = min(timedelta(minutes=3 * interval), timedelta(minutes=15))
        probes.append(Probe(rows, minutes(since), minutes(until), hold))
    follow(database)
    times = ((0, 120), (0, 60), (60, 120), (-100, -90))
    spans = [Span(f"R{seed}", minutes(t0), minutes(t1)) for t0, t1 in times]
    told = temperature_summaries(conn, [Span(f"X{seed}", NOON, minutes(9)), *spans])[1:]
    for (_, t0, t1), found in zip(spans, told, strict=True):
        mean = None if found.mean_c is None else round(found.mean_c, 9)
        assert replace(found, mean_c=mean) == account(probes, t0, t1)


def test_given_a_unit_never_watched_when_summarised_then_all_unknown(
    database: Database, ledger: Ledger, conn: psycopg.Connection[Any]
) -> None:
    tell(ledger, unit("EMPTY"), device("E1"), placed("E1", "EMPTY", NOON))
    follow(database)
    for unit_id in ("EMPTY", "NOWHERE"):
        found = temperature_summary(conn, unit_id, NOON, minutes(90))
        assert found == TemperatureSummary(0, None, None, None, None, None, 90.0)


def test_given_late_readings_when_asked_for_an_earlier_position_then_without_them(
    database: Database, ledger: Ledger, conn: psycopg.Connection[Any]
) -> None:
    before = tell(ledger, unit("LATE"), device("L1"), device("L2"), placed("L1", "LATE", NOON))
    tell(ledger, placed("L2", "LATE", NOON))
    follow(database)
    read(conn, "L1", [(minutes(n), 5.0) for n in (0, 5, 10)], telemetry=10)
    read(conn, "L1", [(minutes(7), 20.0)], telemetry=11)
    read(conn, "L2", [(minutes(n), 9.0) for n in (0, 5, 10)], telemetry=12)

    def hottest(ledger: int | None, telemetry: int | None) -> float | None:
        found = temperature_summary(
            conn, "LATE", NOON, minutes(10), ledger=ledger, telemetry=telemetry
        )
        return found.temperature_c_max

    assert hottest(None, None) == 20.0
    assert hottest(before, 10) == 5.0
    assert hottest(None, 10) == 5.0
    assert hottest(before, 11) == 20.0
    assert hottest(before - 1, None) is None


def test_given_other_channels_when_summarised_then_temperatures_only(
    database: Database, ledger: Ledger, conn: psycopg.Connection[Any]
) -> None:
    tell(ledger, unit("DOOR"), device("O1"), placed("O1", "DOOR", NOON, "door"))
    tell(ledger, placed("O1", "DOOR", NOON, "t2"))
    follow(database)
    read(conn, "O1", [(minutes(n), 1.0) for n in (0, 5)], channel="door")
    read(conn, "O1", [(minutes(n), 4.0) for n in (0, 5)], channel="t2")
    found = temperature_summary(conn, "DOOR", NOON, minutes(5))
    assert found == TemperatureSummary(1, 4.0, 4.0, 4.0, 0.0, 0.0, 0.0)
