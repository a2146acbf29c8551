"""Every kind of parameter finds what it should, and nothing else, in a read model of documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.epcis.document import events_of
from domain.epcis.query import parse
from domain.shared.errors import Invalid
from projections import runner
from projections.epcis import answers
from projections.rebuild import check, named
from store.logs import Ledger
from tests.conftest import Database
from tests.epcis.kept import Kept, accepted, document, object_event

SGTIN = "urn:epc:id:sgtin:0614141.107346.2017"
VIAL = "https://trace.example.org/code/84743540181360010008"
# Two events that differ in everything that can be asked about.
SHIPPED = object_event(
    eventID="urn:uuid:1",
    bizStep="shipping",
    disposition="https://ref.gs1.org/cbv/Disp-in_transit",
    epcList=[SGTIN, VIAL],
    quantityList=[
        {"epcClass": "urn:epc:class:lgtin:4012345.012345.998877", "quantity": 200, "uom": "KGM"}
    ],
    readPoint={"id": "urn:epc:id:sgln:0614141.07346.1234", "ex:zone": "north"},
    bizLocation={"id": "https://trace.example.org/org/HOLD1/unit/A"},
    bizTransactionList=[{"type": "po", "bizTransaction": "urn:epcglobal:cbv:bt:1:2"}],
    sourceList=[{"type": "owning_party", "source": "urn:epc:id:pgln:4012345.00225"}],
    destinationList=[{"type": "location", "destination": "urn:epc:id:sgln:0614141.00777.0"}],
    persistentDisposition={"set": ["completeness_verified"], "unset": ["conformant"]},
    ilmd={"cbvmda:lotNumber": "A1", "ex:inner": {"ex:depth": 3, "ex:kind": "deep"}},
    **{"ex:number": 12.5, "ex:when": "2026-02-01T00:00:00Z", "ex:box": {"ex:label": ["a", "b"]}},
)
MEASURED = object_event(
    eventID="urn:uuid:2",
    eventTime="2026-03-02T08:00:00+08:00",
    action="ADD",
    bizStep="ex:measuring",
    epcList=["urn:epc:id:sscc:0614141.1234567890"],
    errorDeclaration={
        "declarationTime": "2026-03-03T00:00:00Z",
        "reason": "urn:epcglobal:cbv:er:incorrect_data",
        "correctiveEventIDs": ["urn:uuid:3"],
        "ex:by": "qa",
    },
    sensorElementList=[
        {
            "sensorMetadata": {
                "time": "2026-03-02T00:00:00Z",
                "startTime": "2026-03-01T00:00:00Z",
                "endTime": "2026-03-02T00:00:00Z",
                "deviceID": "urn:epc:id:giai:4000001.111",
                "bizRules": "https://example.org/rules",
                "ex:room": "R1",
            },
            "sensorReport": [
                {
                    "type": "gs1:Temperature",
                    "value": 7.5,
                    "minValue": 2,
                    "maxValue": 8.5,
                    "meanValue": 5,
                    "sDev": 0.9,
                    "percRank": 50,
                    "percValue": 5.1,
                    "uom": "CEL",
                    "dataProcessingMethod": "https://example.org/method",
                    "ex:probe": 2,
                },
                {"type": "RelativeHumidity", "value": 40, "uom": "P1", "stringValue": "dry"},
                {"booleanValue": True, "hexBinaryValue": "f0f0", "uriValue": "urn:x:1"},
                {"microorganism": "https://example.org/m", "chemicalSubstance": "urn:x:cs"},
            ],
            "ex:level": 1,
        }
    ],
)
# Parameters, and which of the two they find.
FINDS = [
    ({}, "12"),
    ({"eventType": "ObjectEvent"}, "12"),
    ({"eventType": ["AggregationEvent", "https://ref.gs1.org/epcis/TransactionEvent"]}, ""),
    ({"GE_eventTime": "2026-03-02T00:00:00Z"}, "2"),
    ({"LT_eventTime": "2026-03-02T00:00:00Z"}, "1"),
    ({"GE_recordTime": "2026-03-02T00:00:00Z", "LT_recordTime": "2026-03-02T00:00:01Z"}, "12"),
    ({"LT_recordTime": "2026-03-02T00:00:00Z"}, ""),
    ({"EQ_action": "ADD|DELETE"}, "2"),
    ({"EQ_bizStep": "urn:epcglobal:cbv:bizstep:shipping|packing"}, "1"),
    ({"EQ_bizStep": "https://ns.example.org/measuring"}, "2"),
    ({"EQ_disposition": "in_transit"}, "1"),
    ({"EQ_persistentDisposition_set": "completeness_verified"}, "1"),
    ({"EQ_persistentDisposition_unset": "completeness_verified"}, ""),
    ({"EQ_readPoint": "https://id.gs1.org/414/0614141073467/254/1234"}, "1"),
    ({"EQ_readPoint": "https://id.gs1.org/414/0614141073467"}, ""),
    ({"WD_readPoint": "urn:epc:id:sgln:0614141.07346.0"}, "1"),
    ({"EQ_bizLocation": "https://trace.example.org/org/HOLD1"}, ""),
    ({"WD_bizLocation": "https://trace.example.org/org/HOLD1"}, "1"),
    ({"MATCH_epc": "https://id.gs1.org/01/10614141073464/21/2017"}, "1"),
    ({"MATCH_epc": SGTIN}, "1"),
    ({"MATCH_epc": VIAL}, "1"),
    ({"MATCH_epc": "urn:epc:idpat:sgtin:0614141.107346.*"}, "1"),
    ({"MATCH_epc": "urn:epc:idpat:sgtin:0614141.*.*"}, "1"),
    ({"MATCH_epc": "urn:epc:idpat:sgtin:*.*.*"}, "1"),
    ({"MATCH_epc": "urn:epc:idpat:sgtin:4012345.*.*"}, ""),
    ({"MATCH_epc": "urn:epc:idpat:sscc:0614141.*"}, "2"),
    ({"MATCH_anyEPC": "https://id.gs1.org/00/106141412345678908"}, "2"),
    ({"MATCH_parentID": "https://id.gs1.org/00/106141412345678908"}, ""),
    ({"MATCH_epcClass": "https://id.gs1.de/01/04012345123456/10/998877"}, "1"),
    ({"MATCH_epcClass": "urn:epc:idpat:sgtin:4012345.012345.*"}, "1"),
    ({"MATCH_anyEPCClass": "urn:epc:class:lgtin:4012345.012345.1"}, ""),
    ({"EQ_quantity": "200|7"}, "1"),
    ({"GT_quantity": 200}, ""),
    ({"GE_quantity_KGM": 200, "LE_quantity": 200}, "1"),
    ({"LT_quantity_KGM": 200}, ""),
    ({"EQ_eventID": "urn:uuid:2"}, "2"),
    ({"EQ_bizTransaction_po": "urn:epcglobal:cbv:bt:1:2"}, "1"),
    ({"EQ_bizTransaction_inv": "urn:epcglobal:cbv:bt:1:2"}, ""),
    ({"EQ_source_owning_party": "https://id.gs1.org/417/4012345002256"}, "1"),
    ({"EQ_destination_urn:epcglobal:cbv:sdt:location": "urn:epc:id:sgln:0614141.00777.0"}, "1"),
    ({"EXISTS_errorDeclaration": "true"}, "2"),
    ({"EXISTS_errorDeclaration": None}, "2"),
    ({"EXISTS_errorDeclaration": "false"}, "12"),
    ({"GE_errorDeclarationTime": "2026-03-03T00:00:00Z"}, "2"),
    ({"LT_errorDeclaration_Time": "2026-03-03T00:00:00Z"}, ""),
    ({"EQ_errorReason": "incorrect_data"}, "2"),
    ({"EQ_correctiveEventID": "urn:uuid:3"}, "2"),
    ({"EXISTS_sensorElementList": ""}, "2"),
    ({"GE_startTime": "2026-03-01T00:00:00Z", "LT_endTime": "2026-03-02T00:00:01Z"}, "2"),
    ({"LT_startTime": "2026-03-01T00:00:00Z"}, ""),
    ({"EQ_time": "2026-03-02T08:00:00+08:00"}, "2"),
    ({"EQ_type": "Temperature"}, "2"),
    ({"EQ_type": "https://gs1.org/voc/Pressure"}, ""),
    ({"EQ_deviceID": "https://id.gs1.org/8004/4000001111"}, "2"),
    ({"EQ_dataProcessingMethod": "https://example.org/method"}, "2"),
    ({"EQ_bizRules": "https://example.org/rules"}, "2"),
    ({"EQ_microorganism": "https://example.org/m"}, "2"),
    ({"EQ_chemicalSubstance": "urn:x:cs"}, "2"),
    ({"EQ_stringValue": "dry"}, "2"),
    ({"EQ_booleanValue": "true"}, "2"),
    ({"EQ_booleanValue": False}, ""),
    ({"EQ_hexBinaryValue": "F0F0"}, "2"),
    ({"EQ_uriValue": "urn:x:1"}, "2"),
    # Units: Kelvin and Fahrenheit find what was measured in degrees Celsius.
    ({"EQ_value_CEL": 7.5}, "2"),
    ({"EQ_value_KEL": "280.65"}, "2"),
    ({"GE_value_KEL": 281}, ""),
    ({"GE_value_FAH": 45.5, "LT_value_FAH": 45.6}, "2"),
    ({"GE_minValue_CEL": 2, "LE_maxValue_CEL": 8.5, "EQ_meanValue_CEL": 5}, "2"),
    ({"GT_sDev_KEL": 0.89, "LT_sDev_FAH": 1.63}, "2"),
    ({"EQ_percRank": 50, "GE_percValue_CEL": 5.1}, "2"),
    ({"GE_value_P1": 40, "LE_value_P1": 40}, "2"),
    ({"GE_value": 40}, "2"),
    # Extensions, in every place where they may stand.
    ({"EQ_ex:number": "12.5"}, "1"),
    ({"GE_ex:number": 12.5}, "1"),
    ({"GT_ex:number": 12.5}, ""),
    ({"LT_ex:when": "2026-02-01T08:00:01+08:00"}, "1"),
    ({"EQ_ex:when": "2026-02-01T08:00:00+08:00"}, "1"),
    ({"EXISTS_ex:box": None}, "1"),
    ({"EQ_ex:label": "a"}, ""),
    ({"EQ_INNER_ex:label": "b|c"}, "1"),
    ({"EXISTS_INNER_ILMD_ex:depth": None}, "1"),
    ({"LE_INNER_ILMD_ex:depth": 3}, "1"),
    ({"EQ_ILMD_cbvmda:lotNumber": "A1"}, "1"),
    ({"EQ_ILMD_urn:epcglobal:cbv:mda:lotNumber": "A1"}, "1"),
    ({"EQ_readPoint_ex:zone": "north"}, "1"),
    ({"EQ_ERROR_DECLARATION_ex:by": "qa"}, "2"),
    ({"EQ_SENSORELEMENT_ex:level": 1}, "2"),
    ({"EQ_SENSORMETADATA_ex:room": "R1"}, "2"),
    ({"GE_SENSORREPORT_ex:probe": 2}, "2"),
    ({"EXISTS_SENSORREPORT_ex:other": None}, ""),
    # Master data in the header of the document.
    ({"HASATTR_readPoint": "urn:epcglobal:cbv:mda:city"}, "1"),
    ({"EQATTR_readPoint_cbvmda:city": "石嘴山"}, "1"),
    ({"EQ_ATTR_readPoint_cbvmda:city": "银川"}, ""),
    ({"WD_readPoint": "https://trace.example.org/city"}, "1"),
]
MASTER = {
    "epcisMasterData": {
        "vocabularyList": [
            {
                "type": "urn:epcglobal:epcis:vtype:ReadPoint",
                "vocabularyElementList": [
                    {
                        "id": "https://trace.example.org/city",
                        "children": ["https://id.gs1.org/414/0614141073467"],
                    },
                    {
                        "id": "urn:epc:id:sgln:0614141.07346.1234",
                        "attributes": [{"id": "cbvmda:city", "attribute": "石嘴山"}],
                    },
                ],
            }
        ]
    }
}


@pytest.fixture(scope="module")
def kept(database: Database, ledger: Ledger) -> Iterator[Kept]:
    """Give a read model that holds the two events, and nothing else in their region."""
    following = runner.Runner(database.app_dsn)
    made = Kept(database, ledger, following)
    context = {"ex": "https://ns.example.org/"}
    made.store(document([SHIPPED, MEASURED], context, **MASTER))
    yield made
    following.close()


@pytest.mark.parametrize(("parameters", "expected"), FINDS, ids=str)
def test_given_two_events_when_asked_then_what_fits(
    kept: Kept, parameters: dict[str, Any], expected: str
) -> None:
    found = kept.ask(parameters, extensions="ex=https://ns.example.org/", region="640200")
    assert "".join(event["eventID"][-1] for event in found) == expected


def test_given_an_undeclared_prefix_when_asked_then_the_name_as_written_is_found(
    kept: Kept,
) -> None:
    assert len(kept.ask({"EQ_ex:number": 12.5}, region="640200")) == 1
    assert not kept.ask({"EQ_ex:number": 12.5}, extensions="ex=https://other/", region="640200")


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ({"orderBy": "eventTime"}, "21"),
        ({"orderBy": "eventTime", "orderDirection": "ASC"}, "12"),
        ({"orderBy": "recordTime", "orderDirection": "DESC"}, "21"),
        ({"orderBy": "recordTime", "orderDirection": "ASC"}, "12"),
        ({"orderBy": "ex:number"}, "12"),
        ({"orderBy": "ex:number", "orderDirection": "ASC"}, "12"),
    ],
    ids=str,
)
def test_given_an_order_when_asked_then_in_it(
    kept: Kept, order: dict[str, str], expected: str
) -> None:
    found = kept.ask(order, extensions="ex=https://ns.example.org/", region="640200")
    assert "".join(event["eventID"][-1] for event in found) == expected


def test_given_all_shared_documents_when_kept_then_each_event_comes_back_as_it_was(
    kept: Kept, shared: Path
) -> None:
    documents = accepted(shared)
    assert len(documents) > 50
    kept.store(*documents.values(), region="110000")
    expected = [event for text in documents.values() for event in events_of(json.loads(text))]
    assert kept.ask({}, region="11") == expected
    assert not kept.ask({}, region="11", position=1)
    assert not kept.database.query("SELECT * FROM dead_letter")


def test_given_what_is_kept_when_rebuilt_then_the_same_rows(kept: Kept, shared: Path) -> None:
    assert check(kept.ledger, kept.runner.conn, named("epcis")).same


def test_given_an_event_without_an_id_when_asked_for_by_its_hash_then_found(kept: Kept) -> None:
    event = object_event(bizStep="sampling", epcList=["urn:x:nameless"])
    kept.store(document([event]), region="630000")
    with psycopg.connect(kept.database.app_dsn, autocommit=True) as conn:
        query = parse({"MATCH_epc": "urn:x:nameless"}, {})
        (found,) = answers.events(conn, query, position=10**9, region="63", limit=2)
    assert found.event_id.startswith("ni:///sha-256;")
    assert kept.ask({"EQ_eventID": found.event_id}, region="63") == [event]


def test_given_an_answer_that_takes_too_long_when_asked_then_refused(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "ANSWER_MS_MAX", 50)
    with psycopg.connect(kept.database.app_dsn) as other:
        other.execute("LOCK TABLE rm_epcis.event")
        with pytest.raises(Invalid) as refused:
            kept.ask({})
    assert refused.value.code == "query_too_complex"
