"""Shipments of which nothing arrives: put on record by the clock, and what takes that back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from alerts.overdue import Overdue
from domain.registry.events import SiteRegistered
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.traceability import events as told_as
from domain.traceability.overdue import TRANSIT_MS, tell
from projections.runner import Runner
from projections.traceability import cases as read
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.conftest import Database
from tests.traceability.chain import START, mentions, projected, recorded

pytestmark = pytest.mark.database
P = "8474354"
BOX = f"{P}{100:013d}"
V = [f"{P}{n:013d}" for n in range(3)]
NOW = 2**62
DUE = timedelta(milliseconds=TRANSIT_MS)
ROWS = (
    "SELECT kind, key, top, k, t_ms, site_id, fact_ids, since, gone FROM rm_traceability.finding "
    "WHERE kind LIKE 'SHIPMENT%%' OR kind LIKE 'DATA_WITHOUT%%'"
)
Told = tuple[Event, datetime, datetime]


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app_dsn, autocommit=True) as opened:
        yield opened


def at(hours: float, event: Event) -> Told:
    moment = START + timedelta(hours=hours)
    return event, moment, moment


def received(*codes: str, site: str = "B") -> Event:
    return told_as.GoodsReceived(fact_id=f"r{site}", site_id=site, bill_no="1", codes=codes)


SENT = told_as.GoodsDispatched(
    fact_id="s", site_id="A", to_site_id="B", bill_no="1", codes=(BOX, V[2])
)
OVERDUE = told_as.ShipmentOverdue(fact_id="s", bill_no="1", expected_at=START + DUE)
BASE: list[Told] = [
    at(0, told_as.CodesCommissioned(fact_id="m", site_id="A", lot_id=f"{P}.A1", codes=tuple(V))),
    at(0, told_as.PacksAggregated(fact_id="p", site_id="A", parent=BOX, codes=tuple(V[:2]))),
    at(1, SENT),
    at(80, OVERDUE),
]
LOST = told_as.CodesMissing(fact_id="l", site_id="B", reason="未到", codes=(BOX, V[2]))
BACK = told_as.GoodsReturned(fact_id="b", site_id="B", to_site_id="A", codes=(BOX, V[2]))
SEEN = told_as.PutAway(fact_id="e", site_id="C", unit_id="u", codes=(V[0],))
WRONG = told_as.FactWithdrawn(fact_id="s", site_id="A", reason="录入错误", declared_at=START)


def units(conn: psycopg.Connection[Any], kind: str) -> list[tuple[str, str, int]]:
    """Return state, place and units of the cases of a kind."""
    found = read.cases(conn, read.Wanted(), read.Seen(NOW, NOW), limit=9)
    return sorted((c["state"], c["site_id"], c["units"]) for c in found if c["kind"] == kind)


@pytest.mark.parametrize(
    ("later", "left"),
    [
        pytest.param([], 3, id="nothing"),
        pytest.param([at(81, received(BOX, V[2]))], 0, id="all received"),
        pytest.param([at(81, received(BOX, V[2], site="C"))], 0, id="received elsewhere"),
        pytest.param([at(81, SEEN)], 2, id="one seen elsewhere"),
        pytest.param([at(81, LOST)], 0, id="lost"),
        pytest.param([at(81, BACK)], 0, id="returned"),
        pytest.param([at(81, WRONG)], 0, id="withdrawn"),
    ],
)
def test_given_a_shipment_on_record_as_overdue_when_more_is_told_then_what_is_out_has_cases(
    conn: psycopg.Connection[Any], later: Sequence[Told], left: int
) -> None:
    log = recorded([*BASE, *later])
    found = []
    for size in (2000, 1):
        with projected(conn, log, size):
            found.append(sorted(map(str, conn.execute(ROWS))))
            state, count = ("open", left) if left else ("resolved", 3)
            assert units(conn, "SHIPMENT_OVERDUE") == [(state, "A", count), (state, "B", count)]
    assert found[1] == found[0]


def test_given_an_overdue_shipment_when_part_of_it_arrives_then_the_rest_is_missing_from_the_bill(
    conn: psycopg.Connection[Any],
) -> None:
    with projected(conn, recorded([*BASE, at(81, received(V[2]))]), 1):
        assert units(conn, "SHIPMENT_OVERDUE") == [("resolved", "A", 3), ("resolved", "B", 3)]
        assert units(conn, "DATA_WITHOUT_PRODUCT") == [("open", "B", 2)]


def test_given_shipments_when_the_clock_passes_their_time_then_each_is_on_record_once(
    database: Database, ledger: Ledger, conn: psycopg.Connection[Any]
) -> None:
    site = SiteRegistered(
        site_id="A", org_code="911100000000000000", site_no=1, name="A", kind="other",
        region_code="640202",
    )  # fmt: skip
    expected_at = START + timedelta(hours=5)
    soon = told_as.GoodsDispatched(
        fact_id="s2",
        site_id="A",
        to_site_id="B",
        bill_no="2",
        codes=(V[1],),
        expected_at=expected_at,
    )
    there = told_as.GoodsDispatched(
        fact_id="s3", site_id="A", to_site_id="B", bill_no="3", codes=(V[0],)
    )
    got = told_as.GoodsReceived(fact_id="r3", site_id="B", bill_no="3", codes=(V[0],))
    for recorded_as in recorded([at(0, site), *BASE[:1], at(1, SENT), at(1, soon), at(1, there)]):
        ledger.append([recorded_as.envelope])
    runner, overdue = Runner(database.app_dsn), Overdue(ledger)

    def told(hours: float) -> int:
        runner.follow_once()
        return overdue.tick(conn, START + timedelta(hours=hours))

    assert told(4) == 0
    meta = Meta(occurred_at=START, recorded_at=START)
    ledger.append([Envelope(stream_id("test", "r3"), 1, got, meta)])
    past = told_as.GoodsDispatched(
        fact_id="s4", site_id="A", to_site_id="B", bill_no="4", codes=(V[2],),
        expected_at=expected_at,
    )  # fmt: skip
    late = Meta(occurred_at=START, recorded_at=START + timedelta(hours=5.5))
    ledger.append([Envelope(stream_id("test", "s4"), 1, past, late)])
    assert told(6) == 1, "what is told after its time has an hour for its arrival"
    ended = told_as.GoodsReceived(fact_id="r4", site_id="B", bill_no="4", codes=(V[2],))
    ledger.append([Envelope(stream_id("test", "r4"), 1, ended, late)])
    # (Another that the read model has not told of it yet.)
    assert Overdue(ledger).tick(conn, START + timedelta(hours=6)) == 0
    assert [told(hours) for hours in (7, 74, 74, 76)] == [0, 1, 0, 0]
    runner.follow_once()
    assert Overdue(ledger).tick(conn, START + timedelta(hours=99)) == 0
    cases = read.cases(conn, read.Wanted(state="open"), read.Seen(NOW, NOW, "640202"), limit=9)
    assert [(c["key"], c["t_ms"]) for c in cases if c["kind"] == "SHIPMENT_OVERDUE"] == [
        ("2/A/B@A", round(expected_at.timestamp() * 1000)),
        ("1/A/B@A", round((START + timedelta(hours=1) + DUE).timestamp() * 1000)),
    ]
    wrong = told_as.FactWithdrawn(fact_id="r3", site_id="B", reason="录入错误", declared_at=START)
    ledger.append([Envelope(stream_id("test", "r3"), 2, wrong, meta)])
    assert [told(hours) for hours in (77, 78)] == [1, 0], "whose receipt is taken back is told"
    runner.close()


def test_given_a_shipment_when_told_before_its_time_or_again_then_nothing() -> None:
    fact = mentions(recorded(BASE[:3]))[-1].fact
    assert tell(None, fact=fact, now_ms=fact.t_ms) == []
    assert tell(OVERDUE, fact=fact, now_ms=NOW) == []
