"""What is told after the facts that it says something of: those facts are judged again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from itertools import permutations
from typing import Any

import psycopg
import pytest

from domain.cold_chain.events import ProbePlaced
from domain.registry.events import SiteChanged
from domain.traceability import events as told_as
from domain.traceability.codes import code_key
from domain.traceability.kinds import Kind
from projections.traceability.cases import Seen, Wanted, cases, evidence
from tests.conftest import Database
from tests.traceability.chain import START, projected, recorded
from tests.traceability.test_findings import (
    BASE,
    LOT,
    NOW,
    PRODUCT,
    RECALL,
    Log,
    P,
    V,
    at,
    placed,
    released,
    rows,
)

pytestmark = pytest.mark.database
BOX, PALLET = f"{P}{100:013d}", f"{P}{200:013d}"
MADE = BASE[-1]
ONE_DOSE = at(0, replace(PRODUCT, doses_per_vial=1))
TWO = {"executed_by": "a", "supervised_by": "b"}
BOXED = at(2, told_as.PacksAggregated(fact_id="p", site_id="A", parent=BOX, codes=(V[0], V[1])))
BOX_MADE = at(
    1, told_as.CodesCommissioned(fact_id="mb", site_id="A", lot_id=LOT, level=2, codes=(BOX,))
)
ON_PALLET = at(3, told_as.PacksAggregated(fact_id="q", site_id="A", parent=PALLET, codes=(BOX,)))
DOSES = [
    at(10 + n, told_as.DoseAdministered(fact_id=f"d{n}", site_id="A", codes=(V[0],)))
    for n in range(2)
]


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app_dsn, autocommit=True) as opened:
        yield opened


def sent(code: str, minute: int = 8, **more: Any) -> Any:
    way: dict[str, Any] = {"site_id": "A", "to_site_id": "B", "bill_no": "1"}
    return at(minute, told_as.GoodsDispatched(fact_id="s", codes=(code,), **way, **more))


def got(code: str, minute: int = 12, **more: Any) -> Any:
    arrived = told_as.GoodsReceived(fact_id="r", site_id="B", bill_no="1", codes=(code,), **more)
    return at(minute, arrived)


def counted(code: str, minute: int) -> Any:
    return at(minute, told_as.StockCounted(fact_id="c", site_id="A", codes=(code,)))


def warm(unit_id: str, site_id: str = "A") -> Any:
    read: Any = {"limit_c": 8.0, "peak_c": 9.0, "unit_id": unit_id, "site_id": site_id}
    read |= {"started_at": START + timedelta(minutes=4), "ended_at": START + timedelta(minutes=7)}
    return at(9, told_as.ExcursionConfirmed(device_id="D", **read))


MOVED = at(0, SiteChanged(site_id="B", name="B", kind="other", latitude=20.0, longitude=100.0))
A_MOVED = at(0, SiteChanged(site_id="A", name="A", kind="other", latitude=45.0, longitude=120.0))
PROBE = at(0, ProbePlaced(device_id="D", channel="t1", unit_id="VAN", placed_at=START))
STRANGER = at(
    5, told_as.CodesCommissioned(
        fact_id="m2", site_id="A", lot_id=LOT, codes=(V[5],), expires_on=date(2031, 1, 1)
    ),
)  # fmt: skip
GONE = at(5, told_as.GoodsDestroyed(fact_id="x", site_id="A", codes=(BOX,), **TWO))
UNNAMED = f"{P}{300:013d}"
ON_UNNAMED = at(2, told_as.PacksAggregated(fact_id="p", site_id="A", parent=UNNAMED, codes=(V[0],)))
STORED = at(3, told_as.PutAway(fact_id="st", site_id="A", unit_id="U", codes=(UNNAMED,)))
BOX_STORED = at(3, told_as.PutAway(fact_id="st", site_id="A", unit_id="U", codes=(BOX,)))
OUT = at(5, told_as.PacksDisaggregated(fact_id="u", site_id="A", parent=BOX, codes=(V[1],)))


@pytest.mark.parametrize(
    ("log", "kind", "codes"),
    [
        pytest.param(
            [ONE_DOSE, MADE, DOSES[0], at(0, released(date(2020, 1, 1)))],
            "EXPIRED_USE", [V[0]], id="lot after an expired dose",
        ),
        pytest.param(
            [ONE_DOSE, STRANGER, at(0, released(date(2030, 1, 1)))],
            "DATA_ERROR", [V[5]], id="lot after another day was printed",
        ),
        pytest.param(
            [*BASE, placed("A", "64"), placed("B", "64"), sent(V[0]), got(V[0]), MOVED, A_MOVED],
            "IMPOSSIBLE_JOURNEY", [V[0]], id="places after the journey",
        ),
        pytest.param(
            [*BASE, sent(V[0]), placed("A", "64")], "DATA_ERROR", [V[0]], id="site after the fact"
        ),
        pytest.param(
            [*BASE, sent(V[0], vehicle_id="VAN"), got(V[0], vehicle_id="VAN"), PROBE],
            "TEMPERATURE_MISSING", [V[0]], id="probe after the receipt",
        ),
        pytest.param(
            [*BASE, BOX_MADE, BOXED, GONE, counted(V[0], 6)],
            "ILLEGAL_STATE", [V[0]], id="counted in a box destroyed before",
        ),
        pytest.param(
            [*BASE, BOX_MADE, BOXED, counted(V[0], 6), GONE],
            "ILLEGAL_STATE", [V[0]], id="a box destroyed, as told after the count",
        ),
        pytest.param(
            [*BASE, ON_UNNAMED, STORED, warm("U")],
            "THERMAL_EXCURSION", V, id="warm in a pack nobody commissioned",
        ),
        pytest.param(
            [*BASE, BOX_MADE, BOXED, BOX_STORED, OUT, warm("U", "")],
            "THERMAL_EXCURSION", [V[0], V[1]], id="warm in a unit that rides along",
        ),
        pytest.param(
            [*BASE, BOX_MADE, BOXED, BOX_STORED, warm("U", "B")],
            "THERMAL_EXCURSION", [V[0], V[1]], id="warm in a unit of another place",
        ),
        pytest.param(
            [*BASE, BOX_MADE, BOXED, ON_PALLET, RECALL, sent(PALLET)],
            "RECALLED", [V[0], V[1]], id="sent after a recall on a pallet nobody commissioned",
        ),
        pytest.param(
            [*BASE, BOX_MADE, BOXED, ON_PALLET, sent(PALLET), RECALL],
            "RECALLED", [V[0], V[1]], id="recalled, as told after the pallet was sent",
        ),
    ],
)  # fmt: skip
def test_given_facts_when_what_they_depend_on_is_told_late_then_found_whatever_the_cut(
    conn: psycopg.Connection[Any], log: Log, kind: str, codes: list[str]
) -> None:
    found = []
    query = (
        "SELECT DISTINCT k FROM rm_traceability.finding WHERE kind = %s AND gone IS NULL ORDER BY k"
    )
    for size in (2000, 1):
        with projected(conn, recorded(log), size):
            found.append(rows(conn))
            told = [row[0] for row in conn.execute(query, (kind,))]
            assert told == sorted(map(code_key, codes))
    assert found[1] == found[0]


def test_given_doses_of_a_product_told_later_when_it_has_more_then_used_twice_only_until_then(
    conn: psycopg.Connection[Any],
) -> None:
    log = recorded([BASE[1], MADE, *DOSES, at(0, PRODUCT)])
    query = "SELECT since, gone FROM rm_traceability.finding WHERE kind = 'ALREADY_USED'"
    for size in (2000, 1):
        with projected(conn, log, size):
            assert conn.execute(query).fetchall() == [(4, 5)]


def test_given_an_empty_box_nobody_sent_when_filled_later_then_it_is_still_told(
    conn: psycopg.Connection[Any],
) -> None:
    arrived = got(BOX, 2)
    filled = at(30, told_as.PacksAggregated(fact_id="p", site_id="B", parent=BOX, codes=(V[0],)))
    query = (
        "SELECT DISTINCT gone FROM rm_traceability.finding "
        "WHERE kind = 'PRODUCT_WITHOUT_DATA' AND top = %s"
    )
    for size in (2000, 1):
        with projected(conn, recorded([*BASE, BOX_MADE, arrived, filled]), size):
            assert conn.execute(query, (code_key(BOX),)).fetchall() == [(None,)]


LATE = (*sent(PALLET)[:2], START + timedelta(days=2))
TOLD_OF_PACKS = (
    "SELECT top, k, units FROM rm_traceability.finding WHERE kind = 'LATE_CAPTURE' AND gone IS NULL"
)


@pytest.mark.parametrize("order", [*permutations([BOXED, ON_PALLET, LATE])])
def test_given_a_pallet_told_of_late_when_followed_then_one_finding_that_leads_to_its_units(
    conn: psycopg.Connection[Any], order: Log
) -> None:
    log = recorded([*BASE, BOX_MADE, *order])
    first = next(each.position for each in log if each.envelope.event is LATE[0])
    found = []
    for size in (2000, 1):
        with projected(conn, log, size):
            found.append(rows(conn))
            pallet = code_key(PALLET)
            assert conn.execute(TOLD_OF_PACKS).fetchall() == [(pallet, pallet, 2)]
            told = []
            for position in (first, NOW):
                seen = Seen(position, NOW)
                [case] = cases(conn, Wanted(kind=Kind.LATE_CAPTURE), seen, limit=9)
                [rests] = evidence(conn, [case["case_id"]], seen).values()
                assert case["units"] == len(rests.codes)
                told.append(rests.codes)
    assert found[1] == found[0]
    assert told[1] == [V[0], V[1]]
    before = {BOXED[0], ON_PALLET[0]}.intersection(e.envelope.event for e in log[: first - 1])
    assert told[0] == (
        [V[0], V[1]] if len(before) == 2 else [BOX] if ON_PALLET[0] in before else [PALLET]
    )
