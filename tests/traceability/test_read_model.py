"""The tables of custody: late, shuffled and withdrawn facts, GS1 codes, as of a position."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from domain.shared.errors import Conflict, NotFound
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.traceability import events as facts
from domain.traceability.facts import Step
from domain.traceability.hops import StockLine
from domain.traceability.states import Flag, Status
from projections import runner, traceability
from projections.traceability import recalls
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.conftest import Database
from tests.traceability.chain import START, chain, products, projected, recorded, tables

pytestmark = pytest.mark.database

PRODUCT = "8474354"
LOT = f"{PRODUCT}.A1"
GTIN = "06901234567892"
CODES = [f"{PRODUCT}{n:013d}" for n in range(8)]
PACKS = [f"{PRODUCT}{n:013d}" for n in range(100, 105)]
SITES = ["MAH1", "MCDC", "POV1"]
Told = tuple[Event, datetime, datetime]


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app_dsn, autocommit=True) as opened:
        yield opened


def told(event: Event, minute: int) -> Told:
    at = START + timedelta(minutes=minute)
    return event, at, at


def made(*codes: str, lot: str = LOT, fact_id: str = "made") -> facts.CodesCommissioned:
    return facts.CodesCommissioned(fact_id=fact_id, site_id="MAH1", lot_id=lot, codes=codes)


def packed(fact_id: str, parent: str, *codes: str) -> facts.PacksAggregated:
    return facts.PacksAggregated(fact_id=fact_id, site_id="MAH1", parent=parent, codes=codes)


def sent(fact_id: str, *codes: str, to: str = "POV1") -> facts.GoodsDispatched:
    return facts.GoodsDispatched(
        fact_id=fact_id, site_id="MAH1", to_site_id=to, bill_no=fact_id, codes=codes
    )


def arrived(fact_id: str, *codes: str) -> facts.GoodsReceived:
    return facts.GoodsReceived(fact_id=fact_id, site_id="POV1", bill_no=fact_id, codes=codes)


def given(fact_id: str, code: str) -> facts.DoseAdministered:
    return facts.DoseAdministered(fact_id=fact_id, site_id="POV1", codes=(code,))


def withdrawn(fact_id: str, fact_site_id: str = "") -> facts.FactWithdrawn:
    return facts.FactWithdrawn(
        fact_id=fact_id,
        site_id="POV1",
        fact_site_id=fact_site_id,
        reason="incorrect_data",
        declared_at=START,
    )


def random_life(rng: random.Random) -> list[Told]:
    """Return facts without sense, many at one moment, some withdrawn."""
    found: list[Event] = [*products(), made(*CODES[:6])]
    for n in range(30):
        codes = tuple(rng.sample(CODES + PACKS, rng.randint(1, 3)))
        # Packs go into packs of a higher number only: circles have a test of their own.
        parent = rng.choice(PACKS)
        inner = tuple(c for c in codes if c < parent)
        more: dict[str, Any] = {"fact_id": f"f{n}", "site_id": rng.choice(SITES)}
        drawn: list[Event] = [
            facts.GoodsDispatched(
                **more, to_site_id=rng.choice(SITES), bill_no=rng.choice("AB"), codes=codes
            ),
            facts.GoodsReceived(**more, bill_no="A", codes=codes, accepted=rng.random() < 0.8),
            facts.PutAway(**more, unit_id="C1", codes=codes),
            facts.PacksDisaggregated(**more, parent=parent, codes=inner),
            facts.PacksDisaggregated(**more, parent=parent),
            facts.VialOpened(**more, codes=codes[:1]),
            facts.DoseAdministered(
                **more, codes=codes[:1], parent=rng.choice(["", parent if inner else ""])
            ),
            facts.DosesWasted(**more, codes=codes[:1], reason="broken"),
            facts.GoodsDestroyed(**more, codes=codes[:1]),
            facts.CodesMissing(**more, codes=codes, reason="x"),
            facts.CodesFound(**more, codes=codes),
            facts.GoodsSampled(**more, codes=codes),
            facts.HoldCondemned(**more, codes=codes[:1]),
            facts.RecallAcknowledged(**more, recall_id="r", lot_id=LOT, codes=codes[:1]),
            facts.HoldPlaced(**more, codes=codes),
            facts.HoldPlaced(**more, lot_id=LOT, recall=True),
            facts.HoldReleased(**more, codes=codes),
            facts.HoldReleased(**more, lot_id=LOT),
            facts.StockCounted(**more, codes=codes),
            facts.CodesCommissioned(**more, lot_id=rng.choice([LOT, "8907796.B"]), codes=codes),
        ]
        packing = facts.PacksAggregated(**more, parent=parent, codes=inner)
        found.append(rng.choice(drawn) if rng.random() < 0.6 or not inner else packing)
    found += [withdrawn(f"f{n}", rng.choice(SITES)) for n in rng.sample(range(30), 12)]
    return [told(event, rng.randint(0, 8)) for event in found]


@pytest.mark.parametrize("seed", range(5))
def test_given_any_facts_when_shuffled_and_cut_then_same_tables_and_same_stock_as_the_fold(
    conn: psycopg.Connection[Any], seed: int
) -> None:
    rng = random.Random(seed)
    life = random_life(rng)
    with projected(conn, recorded(life), 7):
        first = tables(conn)
        now = traceability.stock(conn)
        assert now == traceability.stock(conn, as_of=len(life))
        place = [line for line in now if line.site_id == "POV1"]
        assert traceability.stock(conn, ["POV1"]) == place
        assert traceability.stock(conn, ["POV1"], as_of=len(life)) == place
        codes = traceability.lot_codes(conn, LOT, limit=1000)
    for size in (1, 5, 2000):
        mixed = life + life
        rng.shuffle(mixed)
        with projected(conn, recorded(mixed), size):
            assert tables(conn) == first
            assert traceability.stock(conn) == now
            assert traceability.lot_codes(conn, LOT, limit=1000) == codes


def test_given_a_level_told_late_or_withdrawn_when_projected_then_the_same_however_cut(
    conn: psycopg.Connection[Any],
) -> None:
    def levelled(fact_id: str, level: int, code: str) -> facts.CodesCommissioned:
        return replace(made(code, fact_id=fact_id), level=level)

    box, case, other = PACKS[:3]
    events = [
        packed("p", case, box),
        levelled("box", 2, box),
        levelled("other", 3, other),
        arrived("r", other),
        withdrawn("other", "MAH1"),
    ]
    log = recorded([told(event, n) for n, event in enumerate(events)])
    levels = "SELECT level FROM rm_traceability.node ORDER BY k"
    for size in (2000, 1):
        with projected(conn, log, size):
            assert [row[0] for row in conn.execute(levels)] == [2, 3, 1]
            assert traceability.stock(conn) == traceability.stock(conn, as_of=len(log))


def test_given_a_late_receipt_of_a_pack_when_projected_then_vials_that_left_it_know(
    conn: psycopg.Connection[Any],
) -> None:
    box, vial, other = PACKS[0], CODES[0], CODES[1]
    out = facts.PacksDisaggregated(fact_id="out", site_id="POV1", parent=box, codes=(vial,))
    refused = replace(arrived("late", box), accepted=False)
    life = [
        told(made(vial, other, box), 1),
        told(packed("pack", box, vial, other), 2),
        told(sent("send", box), 3),
        told(out, 5),
        told(refused, 4),
    ]
    with projected(conn, recorded(life), 1):
        custody = traceability.custody_of_code(conn, vial)
        stock = traceability.stock(conn)
    assert [e["step"] for e in custody.chain] == [
        "commissioning",
        "packing",
        "shipping",
        "receiving",
        "unpacking",
    ]
    assert [e["via"] for e in custody.chain] == [vial, vial, box, box, vial]
    assert stock == [StockLine("POV1", LOT, "held", 2, {1: 2, 2: 1})]


def test_given_a_withdrawn_injection_when_asked_before_and_after_then_used_and_in_stock(
    conn: psycopg.Connection[Any],
) -> None:
    vial = CODES[0]
    life = [
        told(made(vial), 1),
        told(arrived("in", vial), 2),
        told(given("dose", vial), 3),
        told(withdrawn("dose"), 4),
        told(given("dose2", vial), 5),
    ]
    with projected(conn, recorded(life)):
        after = traceability.custody_of_code(conn, vial, as_of=4)
        before = traceability.custody_of_code(conn, vial, as_of=3)
        now = traceability.custody_of_code(conn, vial)
        stocks = [traceability.stock(conn, as_of=n) for n in (2, 3, 4)]
        lots = [traceability.custody_of_lot(conn, LOT, as_of=n) for n in (3, 4)]
    assert before.state.status is Status.USED
    assert (before.withdrawn, before.as_of) == ([], 3)
    assert after.state.status is Status.IN_STOCK
    assert after.withdrawn == [
        {
            "step": "dispensing",
            "occurred_at": START + timedelta(minutes=3),
            "recorded_at": START + timedelta(minutes=3),
            "fact_id": "dose",
            "position": 3,
            "site_id": "POV1",
            "accepted": True,
            "declared_at": START,
            "withdrawal_reason": "incorrect_data",
            "corrective_fact_ids": [],
        }
    ]
    assert [e["fact_id"] for e in now.chain] == ["made", "in", "dose2"]
    assert now.state.flags == (Flag.PRODUCT_WITHOUT_DATA,)  # it arrived unsent
    assert [[line.status for line in stock] for stock in stocks] == [
        ["in_stock"],
        ["used"],
        ["in_stock"],
    ]
    assert [lot.hops[-1].step for lot in lots] == [Step.DISPENSING, Step.RECEIVING]
    assert [lot.stock[0].status for lot in lots] == ["used", "in_stock"]


@pytest.mark.no_cover
def test_given_a_position_when_asked_again_after_more_facts_then_the_same_answer(
    conn: psycopg.Connection[Any],
) -> None:
    events = chain()
    with projected(conn, recorded(events[:90])):
        lot = traceability.custody_of_lot(conn, "8474354.C2026946", as_of=80)
        stock = traceability.stock(conn, as_of=80)
    released = facts.LotReleased(
        lot_id="8474354.C2026946",
        product_id=PRODUCT,
        lot_number="C2026946",
        expires_on=date(2028, 1, 1),
    )
    with projected(conn, recorded([*events, told(released, 0)])):
        assert traceability.custody_of_lot(conn, "8474354.C2026946", as_of=80) == lot
        assert traceability.custody_of_lot(conn, "8474354.C2026946").lot is not None
        assert traceability.stock(conn, as_of=80) == stock


def test_given_contents_made_known_later_when_a_lot_is_asked_as_of_before_then_the_same_answer(
    conn: psycopg.Connection[Any],
) -> None:
    box, vial, inner = PACKS[0], CODES[0], PACKS[1]
    events: list[Event] = [
        *products(),
        replace(made(box, fact_id="box"), level=None),
        packed("p", box, vial, inner),
        packed("q", inner, CODES[1]),
        withdrawn("q", "MAH1"),
        made(vial, CODES[1]),
        made(inner, lot=f"{PRODUCT}.B2", fact_id="other"),
    ]
    log = recorded([told(event, n) for n, event in enumerate(events)])
    asked = range(len(products()) + 1, len(log) + 1)

    def answers(at: int) -> tuple[object, ...]:
        balance = recalls.balance(conn, LOT, at)
        steps = traceability.steps_of_lot(conn, LOT, at)
        return balance, traceability.custody_of_lot(conn, LOT, as_of=at), steps

    then = []
    for at in asked:
        with projected(conn, log[:at]):
            then.append(answers(at))
    with projected(conn, log):
        assert [answers(at) for at in asked] == then


def test_given_a_withdrawn_commissioning_when_asked_as_of_before_then_the_lot_had_the_code(
    conn: psycopg.Connection[Any],
) -> None:
    vial = CODES[0]
    life = [
        told(made(vial), 1),
        told(sent("send", vial), 2),
        told(withdrawn("made", "MAH1"), 3),
        told(made(vial, lot=f"{PRODUCT}.B2", fact_id="again"), 4),
    ]
    with projected(conn, recorded(life[:2])):
        before = traceability.custody_of_lot(conn, LOT, as_of=2)
    with projected(conn, recorded(life), 1):
        assert traceability.custody_of_lot(conn, LOT, as_of=2) == before
        assert traceability.custody_of_lot(conn, f"{PRODUCT}.B2").stock[0].units == 1
        assert traceability.lot_codes(conn, LOT) == []
        with pytest.raises(NotFound):
            traceability.custody_of_lot(conn, LOT, as_of=3)


def test_given_gs1_codes_when_projected_then_kept_by_their_text(
    conn: psycopg.Connection[Any],
) -> None:
    vials = tuple(f"(01){GTIN}(21)V{n}" for n in range(3))
    box = f"(01){GTIN}(21)BOX"
    lot = f"{GTIN}.A1"
    registered = replace(products()[0], product_id=GTIN, doses_per_vial=3)
    life = [
        told(made(*vials, box, lot=lot), 1),
        told(packed("pack", box, *vials), 2),
        told(given("dose", vials[0]), 3),
        told(registered, 0),
    ]
    with projected(conn, recorded(life), 1):
        custody = traceability.custody_of_code(conn, vials[1])
        opened = traceability.custody_of_code(conn, vials[0])
        codes = traceability.lot_codes(conn, lot, limit=3)
        rest = traceability.lot_codes(conn, lot, after=codes[-1][0])
        stock = traceability.stock(conn)
    assert (custody.parent, custody.product_id, custody.code) == (box, GTIN, vials[1])
    assert (opened.state.status, opened.parent) == (Status.OPENED, "")
    assert sorted(codes + rest) == sorted([*((v, 1) for v in vials), (box, 2)])
    assert stock == [
        StockLine("MAH1", lot, "commissioned", 2, {1: 2, 2: 1}),
        StockLine("POV1", lot, "opened", 1, {1: 1}),
    ]


def test_given_a_key_taken_by_another_code_when_applied_then_refused(
    conn: psycopg.Connection[Any],
) -> None:
    vial = f"(01){GTIN}(21)V1"
    log = recorded([told(made(vial), 1)])
    with projected(conn, log), conn.cursor() as cur:
        cur.execute("UPDATE code_text SET code = 'another'")
        again = recorded([told(made(vial, fact_id="again"), 1)])
        with pytest.raises(Conflict, match="code_key_collision"):
            traceability.apply(cur, again)


def test_given_products_and_lots_when_listed_then_by_id_and_paged(
    conn: psycopg.Connection[Any],
) -> None:
    lots = [
        facts.LotReleased(
            lot_id=f"{PRODUCT}.{n}", product_id=PRODUCT, lot_number=n, expires_on=date(2028, 1, 1)
        )
        for n in ("A1", "A2", "A3")
    ]
    life = [told(event, 0) for event in (*products(), *lots, *lots)]
    with projected(conn, recorded(life)):
        page = traceability.lots(conn, product_id=PRODUCT, limit=2)
        rest = traceability.lots(conn, after=page[-1]["lot_id"])
        one = traceability.lot(conn, LOT)
        lot = traceability.custody_of_lot(conn, LOT)
        listed = traceability.products(conn)
        with pytest.raises(NotFound):
            traceability.custody_of_lot(conn, "8474354.NONE")
        with pytest.raises(NotFound):
            traceability.custody_of_code(conn, CODES[0])
    assert [row["lot_number"] for row in page + rest] == ["A1", "A2", "A3"]
    assert one == page[0]
    assert (lot.lot, lot.hops, lot.stock) == (page[0], [], [])
    assert [(p["product_id"], p["doses_per_vial"]) for p in listed] == [
        ("8474354", 1),
        ("8907796", 5),
    ]


def test_given_a_lot_that_expires_earlier_when_another_leaves_then_it_is_named(
    conn: psycopg.Connection[Any],
) -> None:
    def lot(number: str, year: int) -> facts.LotReleased:
        return facts.LotReleased(
            lot_id=f"{PRODUCT}.{number}",
            product_id=PRODUCT,
            lot_number=number,
            expires_on=date(year, 1, 1),
        )

    early = made(CODES[1], lot=f"{PRODUCT}.A0", fact_id="early")
    events = [*products(), lot("A0", 2027), lot("A1", 2028), made(CODES[0]), early]
    log = recorded([told(event, n) for n, event in enumerate(events)])

    def first(site_id: str, code: str, today: date) -> str:
        return traceability.earlier_lot(conn, site_id, [code], today)

    with projected(conn, log):
        assert first("MAH1", CODES[0], date(2026, 3, 1)) == f"{PRODUCT}.A0"
        assert first("MAH1", CODES[1], date(2026, 3, 1)) == ""
        assert first("POV1", CODES[0], date(2026, 3, 1)) == ""
        assert first("MAH1", CODES[0], date(2027, 3, 1)) == ""


def test_given_an_unknown_code_when_asked_then_its_facts_and_the_flag(
    conn: psycopg.Connection[Any],
) -> None:
    with projected(conn, recorded([told(given("dose", CODES[0]), 1)])):
        custody = traceability.custody_of_code(conn, CODES[0])
        with pytest.raises(NotFound):
            traceability.custody_of_code(conn, CODES[0], as_of=0)
    assert custody.state.flags == (Flag.UNKNOWN_CODE,)
    assert [e["site_id"] for e in custody.chain] == ["POV1"]


@pytest.mark.no_cover
def test_given_a_ledger_when_followed_and_rebuilt_then_the_same_tables(
    database: Database, ledger: Ledger
) -> None:
    events = chain([*range(149, -1, -1)])
    ledger.append(
        [
            Envelope(
                stream_id("test", n), 1, event, Meta(occurred_at=at, recorded_at=datetime.now(UTC))
            )
            for n, (event, at, _) in enumerate(events)
        ]
    )
    following = runner.Runner(database.app_dsn, [traceability.PROJECTION])
    following.follow_once()
    following.close()
    checked = runner.check(database.app_dsn, "traceability")
    assert checked.same
    assert checked.live["scan"][0] == 149
    assert not database.query("SELECT * FROM dead_letter")
