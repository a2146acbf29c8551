"""What is asked most, of codes and of lots as they are now, against the fold of the same facts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any

import psycopg
import pytest

from domain.shared.errors import NotFound
from domain.shared.events import Event
from domain.traceability import events as facts
from domain.traceability.facts import FactEvent
from projections import traceability
from projections.shared import org_tree
from projections.traceability import quick
from store.envelope import Recorded
from tests.conftest import Database
from tests.traceability.chain import START, products, projected, recorded

pytestmark = pytest.mark.database

PRODUCT = "8474354"
LOTS = [f"{PRODUCT}.A1", f"{PRODUCT}.B2"]
GTIN = "06901234567892"
VIALS = [f"{PRODUCT}{n:013d}" for n in range(12)] + [f"(01){GTIN}(21)V{n}" for n in range(2)]
BOXES = [f"{PRODUCT}{n:013d}" for n in range(100, 104)]
CASE = f"{PRODUCT}{200:013d}"
SITES = ["MAH1", "MCDC", "POV1", "POV2"]


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app_dsn, autocommit=True) as opened:
        yield opened


class Life:
    """Facts such as they come every day, and a few that do not belong."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.at = rng, "MAH1"
        self.told: list[Event] = []
        self.made()
        self.packed()
        for _ in range(rng.randint(0, 3)):
            self.moved([CASE, *BOXES[3:]], rng.choice(SITES))
        if rng.random() < 0.7:
            self.tell(facts.PacksDisaggregated, site_id=self.at, parent=CASE)
        self.given()
        self.odd()

    def tell(self, cls: type[FactEvent], **more: Any) -> None:
        """State a fact."""
        self.told.append(cls(fact_id=f"f{len(self.told)}", **more))

    def seldom(self, cls: type[FactEvent], probability: float, **more: Any) -> None:
        """State a fact, or not."""
        if self.rng.random() < probability:
            self.tell(cls, **more)

    def made(self) -> None:
        """Commission most codes."""
        of_lots = ([*VIALS[:6], *BOXES[:2], CASE], [*VIALS[6:], BOXES[2]])
        for lot, codes in zip(LOTS, of_lots, strict=True):
            for level, some in ((1, VIALS), (2, BOXES), (3, [CASE])):
                named = tuple(c for c in codes if c in some and self.rng.random() < 0.95)
                more: dict[str, Any] = {"lot_id": lot, "level": level, "codes": named}
                self.seldom(facts.CodesCommissioned, bool(named), site_id="MAH1", **more)

    def packed(self) -> None:
        """Put vials into boxes, boxes into the case."""
        for n, box in enumerate(BOXES):
            inside = tuple(VIALS[n * 3 : n * 3 + 3])
            self.seldom(facts.PacksAggregated, 0.8, site_id="MAH1", parent=box, codes=inside)
        self.tell(facts.PacksAggregated, site_id="MAH1", parent=CASE, codes=tuple(BOXES[:3]))

    def moved(self, packs: list[str], to: str) -> None:
        """Bring packs to a place."""
        named: dict[str, Any] = {"bill_no": f"b{len(self.told)}", "codes": tuple(packs)}
        more: dict[str, Any] = {"to_site_id": to, "vehicle_id": "VAN"}
        self.tell(facts.GoodsDispatched, site_id=self.at, **more, **named)
        if self.rng.random() < 0.9:
            more = {"from_site_id": self.at, "temperature_c": 4.5}
            self.tell(facts.GoodsReceived, site_id=to, **more, **named)
            self.at = to
        unit = self.rng.choice(["C1", "C2"])
        self.seldom(facts.PutAway, 0.5, site_id=self.at, unit_id=unit, codes=tuple(packs))

    def given(self) -> None:
        """Give some doses."""
        for vial in self.rng.sample(VIALS, 8):
            parent = self.rng.choice(["", BOXES[VIALS.index(vial) // 3 % 4]])
            more: dict[str, Any] = {"recipient": "p1", "dose_number": 1, "parent": parent}
            self.tell(facts.DoseAdministered, site_id=self.at, codes=(vial,), **more)

    def odd(self) -> None:
        """Do what happens by mistake."""
        vial, box = (self.rng.choice(VIALS),), (self.rng.choice(BOXES),)
        self.seldom(facts.GoodsReceived, 0.3, site_id="POV2", bill_no="x", codes=vial)
        self.seldom(facts.HoldPlaced, 0.2, site_id=self.at, codes=box)


def log_of(rng: random.Random) -> list[Recorded]:
    """Return plausible facts at moments of their own, most of them in order of arrival."""
    told = [(e, START + timedelta(minutes=n)) for n, e in enumerate(Life(rng).told)]
    if rng.random() < 0.5:
        rng.shuffle(told)
    return recorded([(event, at, datetime.now(UTC)) for event, at in told])


def stand_at(conn: psycopg.Connection[Any], position: int, ahead: int) -> None:
    """Say that the slowest read model stands at a position, that of custody further `ahead`."""
    conn.execute("DELETE FROM follower")
    conn.execute("DELETE FROM follower_tracking")
    conn.execute("INSERT INTO follower VALUES ('traceability', 1, now()), ('slow', 1, now())")
    insert = "INSERT INTO follower_tracking (application_name, notification_id) VALUES (%s, %s)"
    conn.execute(insert, ("ledger.traceability", position + ahead))
    conn.execute(insert, ("ledger.slow", position))


def follow_to(conn: psycopg.Connection[Any], position: int, ahead: int = 0) -> None:
    """Say so until the transaction is rolled back, with the names that answers read."""
    stand_at(conn, position, ahead)
    conn.execute("SET LOCAL search_path = rm_shared_org_tree, public")
    conn.execute(org_tree.PROJECTION.ddl)
    conn.execute("SET LOCAL search_path = rm_traceability, public")


@pytest.mark.parametrize("seed", range(8))
def test_given_everyday_facts_when_asked_now_then_the_same_as_the_fold(
    conn: psycopg.Connection[Any], seed: int
) -> None:
    log = log_of(random.Random(seed))
    with projected(conn, log, 5):
        follow_to(conn, len(log))
        for code in [*VIALS, *BOXES, CASE]:
            try:
                folded = traceability.custody_of_code(conn, code, len(log))
            except NotFound:
                with pytest.raises(NotFound):
                    traceability.custody_now(conn, code)
                continue
            for _ in range(2):  # as learned, and as filled in
                assert repr(traceability.custody_now(conn, code).custody) == repr(folded)
        for lot in LOTS:
            folded_steps = traceability.steps_of_lot(conn, lot)
            told = traceability.steps_now(conn, lot).steps
            assert [(s.step, s.site_id, s.packs, s.first_ms, s.last_ms) for s in folded_steps] == [
                tuple(step) for step in told
            ]


def test_given_many_codes_of_one_life_when_asked_then_folded_once(
    conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = [
        facts.CodesCommissioned(fact_id="made", site_id="MAH1", lot_id=LOTS[0], codes=(*VIALS,)),
        *(
            facts.DoseAdministered(fact_id=f"d{n}", site_id=SITES[n % 3], codes=(vial,))
            for n, vial in enumerate(VIALS)
        ),
    ]
    log = recorded([(e, START + timedelta(minutes=n), START) for n, e in enumerate(events)])
    monkeypatch.setattr(quick, "_templates", {})
    with projected(conn, log):
        follow_to(conn, len(log))
        found = [traceability.custody_now(conn, vial).custody for vial in VIALS]
    # At the maker's and elsewhere; a code of each kind.
    assert len(quick._templates) == 2
    assert [custody.state.site_id for custody in found] == [SITES[n % 3] for n in range(len(VIALS))]
    assert [custody.code for custody in found] == VIALS


def test_given_facts_followed_since_when_asked_then_not_before_the_position_told(
    conn: psycopg.Connection[Any],
) -> None:
    log = recorded(
        [
            (
                facts.CodesCommissioned(
                    fact_id="m", site_id="MAH1", lot_id=LOTS[0], codes=tuple(VIALS)
                ),
                START,
                START,
            ),
            (facts.DoseAdministered(fact_id="d", site_id="POV1", codes=(VIALS[0],)), START, START),
        ]
    )
    with projected(conn, log):
        follow_to(conn, 1)
        now = traceability.custody_now(conn, VIALS[0])
    assert (now.ledger, [e["step"] for e in now.custody.chain]) == (1, ["commissioning"])


def test_given_a_product_or_lot_told_since_when_asked_then_no_later_code_is_answered_by_it(
    conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick, "_templates", {})
    events: list[Event] = []
    for n, vial in enumerate(VIALS[:3]):
        made: dict[str, Any] = {"site_id": "MAH1", "lot_id": LOTS[0], "codes": (vial,)}
        events.append(facts.CodesCommissioned(fact_id=f"m{n}", **made))
        events.append(facts.DoseAdministered(fact_id=f"d{n}", site_id="POV1", codes=(vial,)))
    lot: dict[str, Any] = {
        "product_id": PRODUCT,
        "lot_number": "A1",
        "expires_on": date(2020, 1, 1),
    }
    events.append(facts.LotReleased(lot_id=LOTS[0], **lot))
    events.append(next(p for p in products() if p.product_id == PRODUCT))
    log = recorded([(e, START + timedelta(minutes=n), START) for n, e in enumerate(events)])
    with projected(conn, log):
        follow_to(conn, 6, ahead=2)
        for position, vial in enumerate(VIALS[:3], start=6):
            stand_at(conn, position, len(log) - position)
            now = traceability.custody_now(conn, vial)
            assert now.ledger == position
            assert repr(now.custody) == repr(traceability.custody_of_code(conn, vial, position))


def test_given_facts_followed_since_when_steps_are_asked_then_those_of_the_position_told(
    conn: psycopg.Connection[Any],
) -> None:
    def made(fact_id: str, lot: str, *codes: str) -> facts.CodesCommissioned:
        return facts.CodesCommissioned(fact_id=fact_id, site_id="MAH1", lot_id=lot, codes=codes)

    def wrong(fact_id: str) -> facts.FactWithdrawn:
        why: dict[str, Any] = {"reason": "incorrect_data", "declared_at": START}
        return facts.FactWithdrawn(fact_id=fact_id, site_id="MAH1", **why)

    events: list[Event] = [
        made("m0", LOTS[0], VIALS[0]),
        made("m1", LOTS[0], VIALS[1]),
        facts.PacksAggregated(fact_id="p", site_id="MAH1", parent=CASE, codes=(VIALS[1],)),
        facts.PutAway(fact_id="put", site_id="MAH1", unit_id="C1", codes=(CASE,)),
        made("case", LOTS[0], CASE),
        made("m2", LOTS[1], VIALS[0]),
        wrong("m0"),
        wrong("m2"),
    ]
    log = recorded([(e, START + timedelta(minutes=n), START) for n, e in enumerate(events)])
    with projected(conn, log):
        follow_to(conn, len(log))
        for position, lot in product(range(1, len(log) + 1), LOTS):
            stand_at(conn, position, len(log) - position)
            try:
                folded = traceability.steps_of_lot(conn, lot, position)
            except NotFound:
                with pytest.raises(NotFound):
                    traceability.steps_now(conn, lot)
                continue
            now = traceability.steps_now(conn, lot)
            told = [(s.step, s.site_id, s.packs, s.first_ms, s.last_ms) for s in folded]
            assert (now.ledger, [tuple(step) for step in now.steps]) == (position, told)
