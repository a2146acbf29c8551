"""Facts and mentions out of stored events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from domain.traceability import events
from domain.traceability.codes import code_key
from domain.traceability.facts import (
    STEP_OF,
    FactEvent,
    Mention,
    binds_lot,
    fact_of,
    mentions_of,
    signed_by_two,
    texts_of,
)

CODE, OTHER, BOX = "84743540181360010008", "84743542292456873436", "84743548930328208656"
VIAL_OPENED = events.VialOpened(fact_id="f", site_id="POV1", codes=(CODE,))


def mentions(event: FactEvent) -> list[Mention]:
    return mentions_of(event, fact_of(event, t_ms=1, recorded_ms=2, position=3))


def test_given_every_event_of_a_step_when_stepped_then_a_step_of_its_own() -> None:
    assert len(set(STEP_OF.values())) == len(STEP_OF)


def test_given_an_event_when_made_a_fact_then_its_particulars_are_kept() -> None:
    event = events.GoodsReceived(
        fact_id="f", site_id="POV1", bill_no="B", transport_c_max=7.5, accepted=False, codes=(CODE,)
    )
    fact = fact_of(event, t_ms=1, recorded_ms=2, position=3, withdrawn_position=4)
    assert (fact.bill_no, fact.transport_c_max, fact.accepted) == ("B", 7.5, False)
    assert (fact.position, fact.withdrawn_position, fact.all_contents) == (3, 4, False)


def test_given_an_event_when_made_a_fact_then_all_it_says_is_kept() -> None:
    event = events.GoodsReceived(
        fact_id="f",
        site_id="POV1",
        bill_no="B",
        bill_type="107",
        departed_at=datetime(2026, 3, 7, 1, tzinfo=UTC),
        quantities=(events.Quantity(level=1, due=10, actual=9),),
        codes=(CODE,),
    )
    fact = fact_of(event, t_ms=1, recorded_ms=2, position=3)
    assert fact.bill_type == "107"
    assert fact.more == {
        "departed_at": "2026-03-07T01:00:00+00:00",
        "quantities": [{"level": 1, "due": 10, "actual": 9, "reason": ""}],
    }
    opened = fact_of(VIAL_OPENED, t_ms=1, recorded_ms=2, position=3)
    assert (opened.details, opened.more) == ("", {})


@pytest.mark.parametrize(
    ("event", "signed"),
    [
        (events.HoldReleased(fact_id="f", site_id="s"), False),
        (events.HoldReleased(fact_id="f", site_id="s", executed_by="A", supervised_by="A"), False),
        (events.HoldCondemned(fact_id="f", site_id="s", executed_by="A", supervised_by="B"), True),
        (events.GoodsDestroyed(fact_id="f", site_id="s", executed_by="A", codes=(CODE,)), False),
        (VIAL_OPENED, True),
    ],
)
def test_given_a_fact_of_two_persons_when_signed_by_fewer_then_told(
    event: FactEvent, signed: bool
) -> None:
    assert signed_by_two(event) is signed


@pytest.mark.parametrize(
    ("event", "binds"),
    [
        (events.HoldPlaced(fact_id="f", site_id="s", codes=(CODE,)), False),
        (events.HoldPlaced(fact_id="f", site_id="s", codes=(CODE,), recall=True), True),
        (events.HoldReleased(fact_id="f", site_id="s", lot_id="8474354.A1"), True),
        (events.HoldCondemned(fact_id="f", site_id="s", lot_id="8474354.A1"), True),
        (events.HoldCondemned(fact_id="f", site_id="s", codes=(CODE,)), False),
        (events.RecallAcknowledged(fact_id="f", site_id="s", recall_id="r", lot_id="L"), False),
    ],
)
def test_given_a_fact_when_it_binds_a_lot_or_recalls_then_told(
    event: FactEvent, binds: bool
) -> None:
    assert binds_lot(event) is binds


def test_given_packing_when_read_then_children_with_their_parent_and_the_parent() -> None:
    event = events.PacksAggregated(
        fact_id="f", site_id="MAH1", parent=BOX, codes=(CODE, OTHER, CODE, BOX)
    )
    told = [(m.code, m.parent, m.as_parent) for m in mentions(event)]
    box = code_key(BOX)
    assert told == [(code_key(CODE), box, False), (code_key(OTHER), box, False), (box, None, True)]
    assert set(texts_of(event)) == {CODE, OTHER, BOX}


def test_given_an_unpacking_without_children_when_read_then_all_contents() -> None:
    event = events.PacksDisaggregated(fact_id="f", site_id="MAH1", parent=BOX)
    (mention,) = mentions(event)
    assert (mention.code, mention.as_parent) == (code_key(BOX), True)
    assert mention.fact.all_contents


def test_given_an_injection_naming_the_pack_when_read_then_the_pack_is_not_scanned() -> None:
    event = events.DoseAdministered(fact_id="f", site_id="POV1", parent=BOX, codes=(CODE,))
    assert [(m.code, m.parent) for m in mentions(event)] == [(code_key(CODE), code_key(BOX))]
    assert texts_of(events.PutAway(fact_id="f", site_id="s", unit_id="u", codes=(CODE,))) == (CODE,)
