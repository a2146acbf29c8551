"""EPCIS 2.0 events read into facts."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from domain.shared.errors import Invalid
from domain.traceability import epcis
from domain.traceability import events as facts
from tests.traceability.chain import captures

CODE, OTHER, BOX = "84743540181360010008", "84743542292456873436", "84743548930328208656"
MULTI = "89077968517636045597"
AT = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
WHERE: dict[str, Any] = {"fact_id": "e1", "site_id": "POV1"}


def uri(code: str) -> str:
    return f"https://trace.example.org/code/{code}"


def event(step: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "ObjectEvent",
        "action": "OBSERVE",
        "eventID": "e1",
        "eventTime": "2026-03-02T08:00:00.000+08:00",
        "eventTimeZoneOffset": "+08:00",
        "bizStep": step,
        "readPoint": {"id": "https://trace.example.org/org/POV1"},
        "epcList": [uri(CODE)],
        **more,
    }


def read(found: dict[str, Any]) -> list[Any]:
    return [captured.event for captured in epcis.read_event(found)]


def sensed(**report: Any) -> list[dict[str, Any]]:
    return [
        {"sensorReport": [{"type": "gs1:RelativeHumidity", "value": 50}]},
        {
            "sensorMetadata": {"deviceID": "https://trace.example.org/device/TRUCK-A-B"},
            "sensorReport": [{"type": "gs1:Temperature", **report}],
        },
    ]


@pytest.mark.parametrize(
    "step",
    [
        "storing",
        "urn:epcglobal:cbv:bizstep:storing",
        "https://ref.gs1.org/cbv/BizStep-storing",
        "cbv:BizStep-storing",
    ],
)
def test_given_a_step_in_any_form_when_read_then_the_same_fact(step: str) -> None:
    assert read(event(step, **{"vax:unit": "https://trace.example.org/unit/F1"})) == [
        facts.PutAway(**WHERE, unit_id="F1", codes=(CODE,))
    ]


@pytest.mark.parametrize(
    ("found", "fact"),
    [
        (
            event(
                "commissioning",
                ilmd={
                    "cbvmda:lotNumber": "A1",
                    "cbvmda:itemExpirationDate": "2028-02-28",
                },
                **{"vax:level": 1},
            ),
            facts.CodesCommissioned(
                **WHERE,
                lot_id="8474354.A1",
                expires_on=date(2028, 2, 28),
                level=1,
                codes=(CODE,),
            ),
        ),
        (
            event("commissioning", ilmd={"cbvmda:itemExpirationDate": "soon"}),
            facts.CodesCommissioned(**WHERE, lot_id="", codes=(CODE,)),
        ),
        (
            event("packing", type="AggregationEvent", parentID=uri(BOX), childEPCs=[uri(CODE)] * 2),
            facts.PacksAggregated(**WHERE, parent=BOX, codes=(CODE,)),
        ),
        (
            event("unpacking", type="AggregationEvent", parentID=uri(BOX)),
            facts.PacksDisaggregated(**WHERE, parent=BOX),
        ),
        (
            event(
                "shipping",
                sourceList=[{"type": "possessing_party", "source": "x/org/MCDC"}],
                destinationList=[
                    {"type": "processing_party", "destination": "x/org/NO"},
                    {"type": "urn:epcglobal:cbv:sdt:owning_party", "destination": "x/org/POV2"},
                ],
                bizTransactionList=[{"type": "desadv", "bizTransaction": "x/doc/CK1"}],
                sensorElementList=sensed(value=277.15, uom="KEL"),
                **{"vax:vehicle": "V1"},
            ),
            facts.GoodsDispatched(
                **WHERE,
                to_site_id="POV2",
                bill_no="CK1",
                vehicle_id="V1",
                device_id="TRUCK-A-B",
                temperature_c=4.0,
                codes=(CODE,),
            ),
        ),
        (
            event("shipping", disposition="returned", **{"vax:reason": "超温"}),
            facts.GoodsReturned(**WHERE, reason="超温", codes=(CODE,)),
        ),
        (
            event("returning"),
            facts.GoodsReturned(**WHERE, codes=(CODE,)),
        ),
        (
            event(
                "receiving",
                sourceList=[{"type": "location", "source": "x/org/MCDC"}],
                sensorElementList=sensed(minValue=35.6, maxValue=50, uom="FAH", value=True),
            ),
            facts.GoodsReceived(
                **WHERE,
                from_site_id="MCDC",
                bill_no="",
                device_id="TRUCK-A-B",
                transport_c_min=2.0,
                transport_c_max=10.0,
                codes=(CODE,),
            ),
        ),
        (
            event("accepting", disposition="non_conformant"),
            facts.GoodsReceived(**WHERE, bill_no="", accepted=False, codes=(CODE,)),
        ),
        (
            event("storing", bizLocation={"id": "https://trace.example.org/unit/F1"}),
            facts.PutAway(**WHERE, unit_id="F1", codes=(CODE,)),
        ),
        (
            event("storing"),
            facts.PutAway(**WHERE, unit_id="POV1", codes=(CODE,)),
        ),
        (
            event("https://trace.example.org/step/anything", disposition="container_open"),
            facts.VialOpened(**WHERE, codes=(CODE,)),
        ),
        (
            event(
                "dispensing",
                **{
                    "vax:doseNumber": 2,
                    "vax:recipient": "R1",
                    "vax:vaccinator": "N1",
                    "vax:site": "左上臂三角肌",
                    "vax:route": "肌内注射",
                },
            ),
            facts.DoseAdministered(
                **WHERE,
                dose_number=2,
                recipient="R1",
                vaccinator="N1",
                body_site="左上臂三角肌",
                route="肌内注射",
                codes=(CODE,),
            ),
        ),
        (
            event(
                "destroying", **{"vax:dosesDiscarded": 1, "vax:reason": "OPEN", "x:opened": True}
            ),
            facts.DosesWasted(**WHERE, doses=1, opened=True, reason="OPEN", codes=(CODE,)),
        ),
        (
            event("destroying", **{"vax:executer": "N1", "vax:supervisor": "N2"}),
            facts.GoodsDestroyed(**WHERE, executed_by="N1", supervised_by="N2", codes=(CODE,)),
        ),
        (
            event("holding"),
            facts.HoldPlaced(**WHERE, codes=(CODE,)),
        ),
        (
            event("dispensing", **{"vax:recipient": "R\0\ud8001", "vax:doseNumber": 2**40}),
            facts.DoseAdministered(**WHERE, recipient="R1", codes=(CODE,)),
        ),
        (
            event("dispensing", **{"vax:doseNumber": True, "vax:vaccinator": None}),
            facts.DoseAdministered(**WHERE, codes=(CODE,)),
        ),
        (
            event("inspecting", persistentDisposition={"unset": ["non_conformant"]}),
            facts.HoldReleased(**WHERE, codes=(CODE,)),
        ),
    ],
)
def test_given_an_event_when_read_then_its_fact(found: dict[str, Any], fact: Any) -> None:
    (captured,) = epcis.read_event(found)
    assert captured.event == fact
    assert (captured.occurred_at, captured.fact_id) == (AT, "e1")


@pytest.mark.parametrize(
    ("epc_class", "lot_id"),
    [
        ("https://trace.example.org/lot/8474354/C2026946", "8474354.C2026946"),
        ("https://id.gs1.org/01/06901234567892/10/L1", "06901234567892.L1"),
        ("https://id.gs1.org/01/6901234567892/10/L1", "06901234567892.L1"),
        ("urn:epc:class:lgtin:690123.0456789.L1", "06901234567892.L1"),
    ],
)
def test_given_a_recalled_lot_when_read_then_a_recall_of_the_lot(
    epc_class: str, lot_id: str
) -> None:
    found = event("holding", disposition="recalled", quantityList=[{"epcClass": epc_class}])
    del found["epcList"]
    assert read(found) == [facts.HoldPlaced(**WHERE, lot_id=lot_id, recall=True)]


def test_given_codes_and_lots_when_read_then_a_fact_each_with_an_id_of_its_own() -> None:
    lots = [{"epcClass": f"https://trace.example.org/lot/8474354/{n}"} for n in ("A", "B")]
    lots.append({"epcClass": "https://trace.example.org/other/8474354"})
    held = read(event("holding", quantityList=lots))
    assert [(h.fact_id, h.lot_id, h.codes) for h in held] == [
        ("e1", "", (CODE,)),
        ("e1#2", "8474354.A", ()),
        ("e1#3", "8474354.B", ()),
    ]
    made = read(event("commissioning", epcList=[uri(CODE), uri(MULTI)], ilmd={"lotNumber": "A"}))
    assert [(m.fact_id, m.lot_id, m.codes) for m in made] == [
        ("e1", "8474354.A", (CODE,)),
        ("e1#2", "8907796.A", (MULTI,)),
    ]


def test_given_gs1_epcs_when_read_then_gtin_and_serial() -> None:
    epcs = ["urn:epc:id:sgtin:690123.0456789.A1", "https://id.gs1.org/01/06901234567892/21/A2"]
    (fact,) = read(event("holding", epcList=epcs))
    assert fact.codes == ("(01)06901234567892(21)A1", "(01)06901234567892(21)A2")


def test_given_an_error_declaration_when_read_then_a_withdrawal_at_its_time() -> None:
    declared = {
        "declarationTime": "2026-03-11T15:30:00Z",
        "reason": "https://ref.gs1.org/cbv/ER-incorrect_data",
        "correctiveEventIDs": ["c1"],
    }
    (captured,) = epcis.read_event(event("dispensing", errorDeclaration=declared))
    at = datetime(2026, 3, 11, 15, 30, tzinfo=UTC)
    assert captured[:3] == (
        facts.FactWithdrawn(
            **WHERE, reason="incorrect_data", declared_at=at, corrective_fact_ids=("c1",)
        ),
        at,
        "e1",
    )


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (event("inspecting"), "epcis_unsupported_step"),
        (event("packing"), "epcis_unsupported_step"),
        (event("packing", type="AggregationEvent"), "epcis_missing_field"),
        (event("holding", epcList=[]), "epcis_missing_field"),
        (event("holding", epcList="x"), "epcis_missing_field"),
        (event("commissioning", ilmd=[]), "epcis_missing_field"),
        (event("receiving", sensorElementList=["x"]), "epcis_missing_field"),
        (event("holding", eventTime="yesterday"), "epcis_bad_time"),
        (event("holding", eventTime="2026-03-02T08:00:00"), "epcis_bad_time"),
        (event("holding", eventTime="0001-01-01T00:00:00+08:00"), "epcis_bad_time"),
        (event("holding", epcList=["https://trace.example.org/code/123"]), "bad_code"),
        (event("holding", errorDeclaration={}), "epcis_bad_time"),
    ],
)
def test_given_an_event_that_cannot_be_read_when_read_then_refused(
    found: dict[str, Any], code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        epcis.read_event(found)
    assert refused.value.code == code


def test_given_the_synthetic_chain_when_read_then_every_capture_is_a_fact() -> None:
    found = [captured for _, captured in captures()]
    assert len(found) == 150
    assert len({captured.fact_id for captured in found}) == 149  # one is declared wrong
    assert sum(isinstance(c.event, facts.FactWithdrawn) for c in found) == 1


def test_given_places_as_urn_when_read_then_their_own_part_and_a_gln() -> None:
    for place, site in (("urn:epc:id:sgln:4012345.00001.0", "4012345000016"), ("urn:x:c1", "c1")):
        (fact,) = read(event("storing", readPoint={"id": place}))
        assert fact.site_id == site


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (event("commissioning", ilmd={"lotNumber": "a b/c"}), "bad_lot_id"),
        (event("dispensing", **{"x:recipient": "张三"}), "not_a_pseudonym"),
        (
            event("packing", type="AggregationEvent", parentID=uri(CODE), childEPCs=[uri(CODE)]),
            "parent_in_codes",
        ),
        (event("loading"), "epcis_unsupported_step"),
    ],
)
def test_given_an_event_that_says_what_cannot_be_when_read_then_refused(
    found: dict[str, Any], code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        epcis.read_event(found)
    assert refused.value.code == code


def test_given_a_recall_taken_off_when_read_then_the_release_says_so() -> None:
    (fact,) = read(event("inspecting", persistentDisposition={"unset": ["recalled"]}))
    assert fact.recall


@pytest.mark.parametrize(
    ("found", "fact"),
    [
        (
            event("sampling", **{"x:executer": "N1", "x:bill_type": "206"}),
            facts.GoodsSampled(**WHERE, executed_by="N1", bill_type="206", codes=(CODE,)),
        ),
        (
            event("stock_taking", disposition="stolen", **{"x:reason": "夜间"}),
            facts.CodesMissing(**WHERE, stolen=True, reason="夜间", codes=(CODE,)),
        ),
        (
            event("stock_taking", persistentDisposition={"unset": ["unknown"]}),
            facts.CodesFound(**WHERE, codes=(CODE,)),
        ),
        (
            event("cycle_counting", **{"x:unit": "u/F1", "x:complete": True}),
            facts.StockCounted(**WHERE, unit_id="F1", complete=True, codes=(CODE,)),
        ),
        (
            event("cycle_counting", epcList=[], **{"x:supervisor": "N2"}),
            facts.StockCounted(**WHERE, supervised_by="N2"),
        ),
        (
            event("dispensing", **{"x:manual": True, "x:dose_ml": 0.5, "x:funding": "nobody"}),
            facts.DoseAdministered(**WHERE, manual=True, dose_ml=0.5, codes=(CODE,)),
        ),
    ],
)
def test_given_steps_beyond_transport_when_read_then_their_facts_with_more_particulars(
    found: dict[str, Any], fact: Any
) -> None:
    assert read(found) == [fact]


def test_given_any_event_when_it_names_a_person_then_refused_unless_by_pseudonym() -> None:
    epcis.check_people(event("other", **{"x:vaccinator": "N1", "x:recipient": None}))
    with pytest.raises(Invalid, match="not_a_pseudonym"):
        epcis.check_people(event("other", **{"x:handed_by": "李四"}))


def test_given_an_event_when_its_time_and_place_are_asked_then_of_the_declaration_if_any() -> None:
    declared = {"declarationTime": "2026-03-11T15:30:00Z"}
    assert epcis.time_of(event("other")) == AT
    assert epcis.time_of(event("other", errorDeclaration=declared)).day == 11
    assert epcis.site_of({"bizLocation": {"id": "x/org/A"}}) == "A"
    assert epcis.site_of({}) == ""
