"""Findings as the follower keeps them: the same for any cut into batches, and for any order."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from domain.alerting.events import AlertFired, AlertResolved, AlertWithdrawn
from domain.registry.events import SiteRegistered
from domain.shared.events import Event
from domain.traceability.cases import confirm
from domain.traceability.events import LotReleased
from store.envelope import Recorded
from tests.conftest import Database
from tests.traceability.chain import START, chain, master, projected, recorded
from tests.traceability.ground import cases, excursions, expiries

pytestmark = pytest.mark.database
COUNT = 150
ROWS = (
    "SELECT case_id, subject, kind, key, top, k, t_ms, site_id, fact_ids, since, since_ms, gone, "
    "gone_ms FROM rm_traceability.finding"
)
ALIVE = "SELECT kind, key, k, fact_ids FROM rm_traceability.finding WHERE gone IS NULL"
Log = list[tuple[Event, Any, Any]]


def log(order: Sequence[int] | None = None) -> list[Recorded]:
    """Return the chain with its sites before it, and its excursions in the midst of it."""
    sites: Log = [
        (
            SiteRegistered(
                site_id=key.rpartition("/")[2],
                org_code="911100000000000000",
                site_no=n,
                name=org["name"],
                kind="other",
                region_code=org["region"],
                latitude=org["lat"],
                longitude=org["lon"],
            ),
            START,
            START,
        )
        for n, (key, org) in enumerate(master()["organisations"].items())
    ]
    lots: Log = [
        (
            LotReleased(
                lot_id=lot_id,
                product_id=lot_id.partition(".")[0],
                lot_number=lot_id.partition(".")[2],
                expires_on=day,
            ),
            START,
            START,
        )
        for lot_id, day in expiries().items()
    ]
    later = START + timedelta(days=30)
    warm: Log = [(e, later, later) for x in excursions() for e in confirm(None, excursion=x)]
    facts = chain(order)
    return recorded([*sites, *lots, *facts[:80], *warm, *facts[80:]])


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app_dsn, autocommit=True) as opened:
        yield opened


def rows(conn: psycopg.Connection[Any]) -> list[str]:
    return sorted(map(str, conn.execute(ROWS)))


def alive(conn: psycopg.Connection[Any]) -> list[tuple[str, str, tuple[int, ...], tuple[str, ...]]]:
    codes: dict[tuple[str, str], set[int]] = defaultdict(set)
    facts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for kind, key, k, fact_ids in conn.execute(ALIVE):
        codes[kind, key].add(k)
        facts[kind, key].update(fact_ids)
    return sorted((*case, tuple(sorted(codes[case])), tuple(sorted(facts[case]))) for case in codes)


def planted() -> list[tuple[str, str, tuple[int, ...], tuple[str, ...]]]:
    return sorted((c.kind.value, c.key, c.codes, c.fact_ids) for c in cases())


def test_given_one_log_when_cut_into_any_batches_then_the_same_rows_with_their_positions(
    conn: psycopg.Connection[Any],
) -> None:
    order = list(range(COUNT))
    random.Random(11).shuffle(order)
    found = []
    for size in (2000, 9):
        with projected(conn, log(order)[:90], size):
            found.append(rows(conn))
    assert found[1] == found[0]
    assert any("None, None)" not in row for row in found[0])  # some came and went


def test_given_a_shuffled_chain_when_followed_then_the_planted_faults_stand_and_no_other(
    conn: psycopg.Connection[Any],
) -> None:
    order = list(range(COUNT))
    random.Random(1).shuffle(order)
    with projected(conn, log(order), 75):
        assert alive(conn) == planted()


@pytest.mark.parametrize(("ended", "found"), [(True, True), (False, False)])
def test_given_an_alert_when_it_ends_or_was_none_then_codes_in_the_unit_are_exposed_or_not(
    conn: psycopg.Connection[Any], *, ended: bool, found: bool
) -> None:
    at = START + timedelta(days=9)
    named: dict[str, Any] = {"alert_id": "a1", "peak_c": 9.0}
    fired = AlertFired(
        device_id="D1", channel="t1", unit_id="U1", site_id="XCDC2", region_code="640221",
        rule_id="r", rule_version=1, severity="major", side="high", limit_c=8.0,
        started_at=at, fired_at=at, value_c=9.0, **named,
    )  # fmt: skip
    over = at + timedelta(hours=1)
    end: Event = AlertWithdrawn(alert_id="a1", cause="late_data")
    if ended:
        end = AlertResolved(recovered_at=over, resolved_at=over, **named)
    events: Log = [*chain(), (fired, at, at), (end, over, over)]
    with projected(conn, recorded(events), 90):
        [(before, now)] = conn.execute(
            "SELECT count(*), count(*) FILTER (WHERE gone IS NULL) FROM rm_traceability.finding "
            "WHERE kind = 'THERMAL_EXCURSION'"
        )
    assert (before > 50, now > 50) == (True, found)
