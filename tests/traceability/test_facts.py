"""Facts and mentions out of stored events."""

from __future__ import annotations

from domain.traceability import events
from domain.traceability.codes import code_key
from domain.traceability.facts import STEP_OF, FactEvent, Mention, fact_of, mentions_of, texts_of

CODE, OTHER, BOX = "84743540181360010008", "84743542292456873436", "84743548930328208656"


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
