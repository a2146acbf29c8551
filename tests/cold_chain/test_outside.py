"""A product in a unit that keeps other temperatures: what was read there while it was in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from projections.shared.placements import Span
from projections.traceability.outside import left_limits
from store.logs import Ledger
from tests.cold_chain.given import (
    NOON,
    device,
    follow,
    minutes,
    placed,
    read,
    tell,
    tell_profiles,
    unit,
)
from tests.conftest import Database

pytestmark = pytest.mark.database
LIMITS = (2.0, 8.0)
HOURS = 8


@pytest.fixture(scope="module")
def conn(database: Database, ledger: Ledger) -> Iterator[psycopg.Connection[Any]]:
    tell_profiles(ledger)
    for n, profile_id in enumerate(("frozen_minus_20", "vaccine_2_8")):
        name = f"U{n}"
        tell(ledger, unit(name, profile_id=profile_id), device(f"L{n}", interval_s=600))
        tell(ledger, placed(f"L{n}", name, NOON))
    follow(database)
    with psycopg.connect(database.app_dsn, autocommit=True) as made:
        for n in range(2):
            # Frozen until half past, then as if the unit had been turned up.
            rows = [(minutes(m), -20.0 if m < 30 else 5.0) for m in range(0, 60 * HOURS, 10)]
            read(made, f"L{n}", rows)
        yield made


def rolled_up(conn: psycopg.Connection[Any]) -> None:
    """Roll up all hours, as the follower does."""
    first = int(NOON.timestamp()) // 3600
    numbers = [row[0] for row in conn.execute("SELECT device_no FROM device_no ORDER BY 1")]
    pairs = [(number, first + n) for number in numbers for n in range(HOURS)]
    asked = [list(column) for column in zip(*pairs, strict=True)]
    since = [hour * 3_600_000 for hour in asked[1]]
    conn.execute("SELECT roll_up_hours(%s, %s, %s, %s)", (NOON.date(), *asked, since))


def left(conn: psycopg.Connection[Any], *spans: Sequence[float], unit_id: str = "U0") -> bool:
    asked = [Span(unit_id, minutes(t0), minutes(t1)) for t0, t1 in spans]
    return left_limits(conn, asked, LIMITS)


def test_given_stays_in_a_freezer_when_asked_then_outside_exactly_while_it_was_cold(
    conn: psycopg.Connection[Any],
) -> None:
    assert left(conn, (0, 90))  # of the last hours readings themselves are looked at
    assert not left(conn, (0, 60 * HOURS))  # what is long past, once it is rolled up
    rolled_up(conn)
    assert left(conn, (0, 60 * HOURS))  # a whole hour says so
    assert left(conn, (20, 60 * HOURS))  # readings in part of an hour do
    assert not left(conn, (30, 60 * HOURS))
    assert not left(conn, (40, 60 * HOURS), (60, 90), (90, 60))
    assert left(conn, (40, 60 * HOURS), (0, 90))
    assert not left(conn)


def test_given_a_unit_within_the_limits_when_asked_then_left_to_its_alerts(
    conn: psycopg.Connection[Any],
) -> None:
    assert not left(conn, (0, 90), unit_id="U1")
    assert not left(conn, (0, 90), unit_id="nowhere")
