"""The CBV 2.0 event hash against the published vectors and its own rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from domain.epcis.document import events_of, hash_uri, prefixes_of
from domain.epcis.hashing import canonical_key, declared, event_hash, pre_hash

# Hashes in the manifest that were made with prefixes of other documents still in the generator's
# memory, or with an event's own @context taken for data.
ARTEFACTS = {
    "openepcis/Capture/Documents/AggregationEvent_all_possible_fields.json",
    "openepcis/Capture/Documents/Namespaces_at_different_level.json",
}
# Vectors made with users' fields left out.
LEFT_OUT = ("example:", "repository-x:")
EVENT = {"type": "ObjectEvent", "eventTime": "2026-03-02T08:00:00.0005+08:00"}


def hashed(event: dict[str, Any], document: dict[str, Any]) -> str:
    prefixes = declared(document.get("@context"), event.get("@context"))
    return hash_uri(event_hash(event, prefixes))


def test_given_the_published_vectors_when_hashed_then_equal(shared: Path) -> None:
    folder, count = shared / "standards" / "epcis" / "hash", 0
    for file in sorted(folder.glob("*.jsonld")):
        document = json.loads(file.read_text(encoding="utf-8"))
        events = events_of(document)
        if "IgnoreFields" in file.name:
            events = [
                {k: v for k, v in event.items() if not k.startswith(LEFT_OUT)} for event in events
            ]
        expected = file.with_suffix(".hashes").read_text(encoding="utf-8").split()
        assert [hashed(event, document) for event in events] == expected, file.name
        count += len(events)
    assert count > 15


def test_given_the_published_texts_when_made_then_equal(shared: Path) -> None:
    folder = shared / "standards" / "epcis" / "hash"
    for name in ("ralfsChaosExample", "ReferenceEventHashAlgorithm", "epcisDocWithSensorComponent"):
        document = json.loads((folder / f"{name}.jsonld").read_text(encoding="utf-8"))
        (event,) = events_of(document)
        expected = (folder / f"{name}.prehashes").read_text(encoding="utf-8").strip()
        assert pre_hash(event, declared(document["@context"])) == expected


def test_given_the_manifest_when_each_valid_event_is_hashed_then_equal(shared: Path) -> None:
    folder = shared / "standards" / "epcis"
    differing, count = set(), 0
    for name, about in json.loads((folder / "manifest.json").read_text()).items():
        if about["expect"] == "reject" or about["docType"] is None:
            continue
        document = json.loads((folder / name).read_text(encoding="utf-8"))
        for event, expected in zip(events_of(document), about["eventHashIDs"], strict=True):
            count += expected is not None
            if expected not in (None, hashed(event, document)):
                differing.add(name)
    assert differing == ARTEFACTS
    assert count > 90


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, ""),
        ({"eventID": "a", "recordTime": "b", "errorDeclaration": {}, "rdfs:comment": "c"}, ""),
        ({"eventTime": "2026-03-02T08:00:00.9995+08:00"}, "eventTime=2026-03-02T00:00:01.000Z"),
        ({"eventTime": "soon"}, "eventTime=soon"),
        ({"epcList": []}, ""),
        ({"epcList": ["b", "a"]}, "epcListepc=aepc=b"),
        (
            {"quantityList": [{"epcClass": "c", "quantity": 5.0}]},
            "quantityListquantityElementepcClass=cquantity=5",
        ),
        ({"quantityList": ["?"], "readPoint": "?"}, ""),
        ({"sensorElementList": ["?"]}, ""),
        ({"sourceList": []}, ""),
        (
            {"bizStep": "urn:epcglobal:cbv:bizstep:storing"},
            "bizStep=https://ref.gs1.org/cbv/BizStep-storing",
        ),
        (
            {"persistentDisposition": {"unset": ["recalled"]}},
            "persistentDispositionunset=https://ref.gs1.org/cbv/Disp-recalled",
        ),
        ({"readPoint": {"id": "p", "x:n": "v"}}, "readPointid=p{urn:x:}n=v"),
        (
            {"sourceList": [{"source": "s", "type": "location"}]},
            "sourceListtype=https://ref.gs1.org/cbv/SDT-locationsource=s",
        ),
        ({"ilmd": {"x:b": "007", "x:a": True}}, "ilmd{urn:x:}a=True{urn:x:}b=7"),
        (
            {"x:n": ["+1.50", "1e2", "1e999", "0x1", None, ""]},
            "{urn:x:}n{urn:x:}n{urn:x:}n=0x1{urn:x:}n=1.5{urn:x:}n=100{urn:x:}n=1e999",
        ),
        ({"x:n": {"#text": "t", "y:m": [["b", "a"]]}}, "{urn:x:}n=ty:m=a=b"),
        ({"x:n": "x:value"}, "{urn:x:}n=urn:x:value"),
        ({"certificationInfo": [{"no": "uri"}]}, ""),
    ],
)
def test_given_fields_of_any_form_when_made_canonical_then_one_text(
    fields: dict[str, Any], text: str
) -> None:
    event = {"type": "ObjectEvent", **fields}
    assert pre_hash(event, declared({"x": "urn:x:"})) == f"eventType=ObjectEvent{text}"


@pytest.mark.parametrize(
    ("uri", "link"),
    [
        ("urn:epc:id:sgtin:4012345.099999.a+b", "https://id.gs1.org/01/04012345999990/21/a%2Bb"),
        (
            "http://x.example/gtin/4012345999990/lot/L/ser/1",
            "https://id.gs1.org/01/04012345999990/21/1",
        ),
        ("https://x.example/p/01/04012345999990?17=280101", "https://id.gs1.org/01/04012345999990"),
        ("https://x.example/01/123", "https://x.example/01/123"),
        (
            "https://x.example/code/84743540181360010008",
            "https://x.example/code/84743540181360010008",
        ),
        ("urn:epc:id:nothing:1.2", "urn:epc:id:nothing:1.2"),
    ],
)
def test_given_a_key_in_any_form_when_made_canonical_then_a_digital_link(
    uri: str, link: str
) -> None:
    assert canonical_key(uri) == link


def test_given_an_event_when_its_context_stands_elsewhere_then_the_same_hash() -> None:
    context = {"x": "https://ns.example.com/"}
    inside = {**EVENT, "@context": [context], "x:name": 1}
    outside = {**EVENT, "x:name": "1.0"}
    assert hashed(inside, {}) == hashed(outside, {"@context": ["https://y.example", context]})
    assert prefixes_of("", context)["x"] == "https://ns.example.com/"
    assert events_of({"type": "EPCISDocument"}) == []
    assert events_of({"epcisBody": {"eventList": 5}}) == []
