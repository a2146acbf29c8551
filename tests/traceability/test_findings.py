"""Findings as the follower keeps them: the same for any cut into batches, and for any order."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest

from domain.alerting.events import AlertFired, AlertResolved, AlertWithdrawn
from domain.registry.events import SiteRegistered
from domain.shared.events import Event
from domain.traceability import events as told_as
from domain.traceability.cases import confirm
from domain.traceability.codes import code_key
from domain.traceability.events import LotReleased, ProductRegistered
from domain.traceability.kinds import Kind
from projections.traceability import cases as read
from store.envelope import Recorded
from tests.conftest import Database
from tests.traceability.chain import START, chain, master, projected, recorded
from tests.traceability.ground import cases, excursions, expiries

pytestmark = pytest.mark.database
COUNT = 150
ROWS = (
    "SELECT case_id, subject, kind, key, top, k, units, t_ms, site_id, fact_ids, since, since_ms, "
    "gone, gone_ms FROM rm_traceability.finding"
)
NOW = 2**62
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
    """Return the open cases when every grace is over."""
    seen = read.Seen(NOW, NOW)
    found = read.cases(conn, read.Wanted(state="open"), seen, limit=1000)
    behind = read.evidence(conn, [case["case_id"] for case in found], seen)
    told = []
    for case in found:
        rests = behind[case["case_id"]]
        codes = tuple(sorted(map(code_key, rests.codes)))
        facts = tuple(sorted(fact["fact_id"] for fact in rests.facts))
        assert case["units"] == len(codes)
        told.append((case["kind"], case["key"], codes, facts))
    return sorted(told)


def planted() -> list[tuple[str, str, tuple[int, ...], tuple[str, ...]]]:
    return sorted((c.kind.value, c.key, c.codes, c.fact_ids) for c in cases())


@pytest.mark.no_cover
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


@pytest.mark.no_cover
def test_given_a_shuffled_chain_when_followed_then_the_planted_faults_stand_and_no_other(
    conn: psycopg.Connection[Any],
) -> None:
    order = list(range(COUNT))
    random.Random(1).shuffle(order)
    with projected(conn, log(order), 75):
        assert alive(conn) == planted()


@pytest.mark.no_cover
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


P = "8474354"
LOT = f"{P}.A1"
V = [f"{P}{n:013d}" for n in range(6)]
PRODUCT = ProductRegistered(
    product_id=P, name="x", holder="h", doses_per_vial=10, temperature_c_min=2,
    temperature_c_max=8, freeze_sensitive=True,
)  # fmt: skip


def at(minute: int, event: Event) -> tuple[Event, Any, Any]:
    """Return an event that was told as it happened."""
    moment = START + timedelta(minutes=minute)
    return event, moment, moment


def released(expires_on: date) -> Event:
    return LotReleased(lot_id=LOT, product_id=P, lot_number="A1", expires_on=expires_on)


def withdrawn(fact_id: str) -> tuple[Event, Any, Any]:
    wrong = told_as.FactWithdrawn(
        fact_id=fact_id, site_id="A", reason="录入错误", declared_at=START + timedelta(hours=1)
    )
    return at(60, wrong)


BASE: Log = [
    at(0, PRODUCT),
    at(0, released(date(2030, 1, 1))),
    at(1, told_as.CodesCommissioned(fact_id="m", site_id="A", lot_id=LOT, level=1, codes=tuple(V))),
]
DOSE = at(10, told_as.DoseAdministered(fact_id="d", site_id="A", codes=(V[0],)))
OPENED = at(10, told_as.VialOpened(fact_id="o", site_id="A", codes=(V[0],)))
RECALL = at(
    5, told_as.HoldPlaced(fact_id="rec", site_id="A", lot_id=LOT, recall=True, reason="召回")
)
ADJUSTED = at(
    5, told_as.StockAdjusted(fact_id="adj", site_id="A", lot_id=LOT, units=-3, reason="盘亏")
)
# Beside that nobody received what was opened or given.
TOLD = (
    "SELECT kind, since, gone FROM rm_traceability.finding "
    "WHERE kind <> 'PRODUCT_WITHOUT_DATA' ORDER BY since, kind"
)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            [RECALL, DOSE, withdrawn("rec")], [("RECALLED_USE", 5, 6)], id="recall withdrawn"
        ),
        pytest.param(
            [ADJUSTED, withdrawn("adj")], [("MASS_IMBALANCE", 4, 5)], id="count withdrawn"
        ),
        pytest.param([OPENED, RECALL], [("RECALLED", 5, None)], id="recalled after opening"),
    ],
)
def test_given_facts_of_a_whole_lot_when_told_late_or_withdrawn_then_its_codes_are_judged_anew(
    conn: psycopg.Connection[Any], events: Log, expected: list[tuple[Any, ...]]
) -> None:
    log_of_lot = recorded([*BASE, *events])
    found = []
    for size in (2000, 1):
        with projected(conn, log_of_lot, size):
            found.append(rows(conn))
            assert conn.execute(TOLD).fetchall() == expected
    assert found[1] == found[0]


def test_given_a_fact_of_a_pack_when_declared_wrong_then_one_finding_with_what_was_in_it(
    conn: psycopg.Connection[Any],
) -> None:
    box = f"{P}{100:013d}"
    packed = told_as.PacksAggregated(fact_id="p", site_id="A", parent=box, codes=tuple(V))
    put = told_as.PutAway(fact_id="u", site_id="A", unit_id="U", codes=(box,))
    right = told_as.PutAway(fact_id="v", site_id="A", unit_id="W", codes=(V[0], box))
    wrong = told_as.FactWithdrawn(
        fact_id="u", site_id="A", reason="录入错误", declared_at=START + timedelta(hours=1),
        corrective_fact_ids=("v",),
    )  # fmt: skip
    log_of_pack = recorded([*BASE, at(2, packed), at(3, put), at(60, wrong), at(61, right)])
    found = []
    for size in (2000, 1):
        with projected(conn, log_of_pack, size):
            found.append(rows(conn))
            told = "SELECT fact_ids, units FROM rm_traceability.finding WHERE gone IS NULL"
            kept = conn.execute(f"{told} AND kind = 'ERROR_DECLARED'".encode()).fetchall()
            (case,) = read.cases(
                conn, read.Wanted(kind=Kind.ERROR_DECLARED), read.Seen(NOW, 0), limit=9
            )
            evidence = read.evidence(conn, [case["case_id"]], read.Seen(NOW, 0))
    assert found[1] == found[0]
    assert sorted(kept) == [(["u"], len(V)), (["v"], 0), (["v"], 0)]
    assert case["units"] == len(V)
    assert evidence[case["case_id"]].codes == V


def on_bill(n: int, minute: int, codes: Sequence[str], *, back: bool = False) -> Any:
    """Return a shipment of codes from A, or a receipt of them at B, on one bill."""
    if back:
        got = told_as.GoodsReceived(fact_id=f"r{n}", site_id="B", bill_no="1", codes=tuple(codes))
        return at(minute, got)
    return at(
        minute,
        told_as.GoodsDispatched(
            fact_id=f"s{n}", site_id="A", to_site_id="B", bill_no="1", codes=tuple(codes)
        ),
    )


def test_given_a_bill_received_code_by_code_when_followed_then_open_since_the_first_receipt(
    conn: psycopg.Connection[Any],
) -> None:
    sent = on_bill(1, 10, V)
    received = [on_bill(n, 20 + 60 * n, [code], back=True) for n, code in enumerate(V[:4])]
    log_of_bill = recorded([*BASE, sent, *received])
    found = []
    for size in (2000, 1):
        with projected(conn, log_of_bill, size):
            found.append(rows(conn))
            told = [
                read.cases(conn, read.Wanted(), read.Seen(position, 0), limit=9)
                for position in range(5, 9)
            ]
            case_id = told[-1][0]["case_id"]
            evidence = read.evidence(conn, [case_id], read.Seen(NOW, 0))[case_id]
    assert found[1] == found[0]
    assert len(found[0]) == len(V) - 1  # a row a code, whatever else arrives
    first_ms = round((START + timedelta(minutes=20)).timestamp() * 1000)
    assert [[(c["opened_ms"], c["units"]) for c in each] for each in told] == [
        [(first_ms, units)] for units in (5, 4, 3, 2)
    ]
    assert [fact["fact_id"] for fact in evidence.facts] == ["s1", "r0", "r1", "r2", "r3"]


def test_given_a_case_that_came_back_when_listed_then_open_since_it_stands_again(
    conn: psycopg.Connection[Any],
) -> None:
    sent, first = on_bill(1, 10, V[:3]), on_bill(1, 20, [V[0]], back=True)
    rest = on_bill(2, 60, [V[1], V[2]], back=True)
    wrong = told_as.FactWithdrawn(
        fact_id="r2", site_id="B", reason="录入错误", declared_at=START + timedelta(hours=2)
    )
    with projected(conn, recorded([*BASE, sent, first, rest, at(120, wrong)]), 1):
        short = read.Wanted(kind=Kind.DATA_WITHOUT_PRODUCT)
        [case] = read.cases(conn, short, read.Seen(NOW, 0), limit=9)
    again_ms = round((START + timedelta(minutes=120)).timestamp() * 1000)
    assert (case["state"], case["opened_ms"]) == ("open", again_ms)


@pytest.mark.parametrize(("sent", "arrived"), [(V[:3], V[:2]), (V[:1], V[3:4])])
def test_given_a_bill_scanned_code_by_code_when_one_is_missing_then_found(
    conn: psycopg.Connection[Any], sent: Sequence[str], arrived: Sequence[str]
) -> None:
    shipped = [on_bill(n, 10 + n, [code]) for n, code in enumerate(sent)]
    received = [on_bill(n, 30 + n, [code], back=True) for n, code in enumerate(arrived)]
    found = []
    for size in (2000, 1):
        with projected(conn, recorded([*BASE, *shipped, *received]), size):
            found.append(rows(conn))
    assert found[1] == found[0]
    assert any("DATA_WITHOUT_PRODUCT" in row and "None, None)" in row for row in found[0])


def placed(site_id: str, region: str) -> tuple[Event, Any, Any]:
    """Return a site, registered before all else."""
    kept = SiteRegistered(
        site_id=site_id, org_code="911100000000000000", site_no=1, name=site_id, kind="other",
        region_code=region, latitude=None, longitude=None,
    )  # fmt: skip
    return at(0, kept)


def test_given_a_unit_that_left_without_a_word_when_the_grace_is_over_then_its_place_has_a_case(
    conn: psycopg.Connection[Any],
) -> None:
    seen_at_b = at(10, told_as.PutAway(fact_id="p", site_id="B", unit_id="u", codes=(V[0],)))
    sent = told_as.GoodsDispatched(
        fact_id="s", site_id="A", to_site_id="B", bill_no="1", codes=(V[0],)
    )
    got = told_as.GoodsReceived(fact_id="r", site_id="B", bill_no="1", codes=(V[0],))
    known_at = START + timedelta(minutes=5000)
    late: Log = [(sent, START + timedelta(minutes=5), known_at)]
    late.append((got, START + timedelta(minutes=6), known_at))
    places = [placed("A", "640202"), placed("B", "640205")]
    log_of_unit = recorded([*places, *BASE, seen_at_b, *late])
    known_ms = round((START + timedelta(minutes=10)).timestamp() * 1000)
    over_ms = known_ms + 72 * read.HOUR_MS

    def told(position: int, now_ms: int, prefix: str) -> list[tuple[str, str, str]]:
        found = read.cases(conn, read.Wanted(), read.Seen(position, now_ms, prefix), limit=9)
        of_goods = [c for c in found if c["kind"] != "LATE_CAPTURE"]
        return [(c["kind"], c["site_id"], c["state"]) for c in of_goods]

    found = []
    at_a, at_b = ("UNEXPLAINED_UNIT", "A", "open"), ("MASS_IMBALANCE", "B", "open")
    for size in (2000, 1):
        with projected(conn, log_of_unit, size):
            found.append(rows(conn))
            # Before the grace is over the unit may be on its way to be told.
            assert told(6, over_ms - 1, "640202") == []
            assert told(6, over_ms, "640202") == [at_a]
            # Who sees where it turned up is told that; and B nothing of A.
            assert told(6, over_ms, "") == told(6, over_ms, "640205") == [at_b]
            assert told(8, over_ms, "640202") == [("UNEXPLAINED_UNIT", "A", "resolved")]
    assert found[1] == found[0]
