"""Which documents are EPCIS 2.0, and what is said of those that are not."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest

from api.epcis.validation import told, verdict
from domain.epcis.rules import doubtful
from runtime.cli import run

EVENT: dict[str, Any] = {
    "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],
    "type": "ObjectEvent",
    "action": "OBSERVE",
    "eventTime": "2026-03-02T08:00:00+08:00",
    "eventTimeZoneOffset": "+08:00",
    "epcList": [],
}
SEED = 20261122
MUTANTS = 400


def manifest(shared: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    folder = shared / "standards" / "epcis"
    for name, about in json.loads((folder / "manifest.json").read_text()).items():
        yield folder / name, about


def judged(**more: Any) -> list[tuple[str, str]]:
    found = verdict(orjson.dumps({**EVENT, **more}))
    return [(problem.path, problem.code) for problem in found.problems]


def sensed(metadata: dict[str, Any], **report: Any) -> dict[str, Any]:
    element = {"sensorMetadata": metadata, "sensorReport": [{"type": "Temperature", **report}]}
    return {"sensorElementList": [element]}


def test_given_every_shared_document_when_judged_then_as_in_the_manifest(shared: Path) -> None:
    wrong = [
        file.name
        for file, about in manifest(shared)
        if verdict(file.read_bytes()).accepted != (about["expect"] == "accept")
    ]
    assert wrong == []


def test_given_every_refused_document_when_told_then_index_path_and_reason_in_both_languages(
    shared: Path,
) -> None:
    for file, about in manifest(shared):
        if about["expect"] == "reject":
            for problem in verdict(file.read_bytes()).problems:
                shown = told(problem)
                assert shown["path"].startswith("/"), file
                assert (
                    shown["eventIndex"] is not None
                    or "without_context" in file.name
                    or (about["docType"] is None)
                )
                assert shown["title_zh"] != shown["title_en"] != shown["code"]


def test_given_documents_changed_at_random_when_judged_then_as_the_standards_schema_says(
    shared: Path,
) -> None:
    folder, chance = shared / "standards" / "epcis", random.Random(SEED)
    schema = json.loads((folder / "gs1/schema/EPCIS-JSON-Schema.json").read_text())
    standard = jsonschema_rs.Draft7Validator(schema, validate_formats=True)
    valid = [
        json.loads(file.read_text(encoding="utf-8"))
        for file, about in manifest(shared)
        if about["expect"] == "accept" and about["docType"]
    ]
    differing, refused = [], 0
    for _ in range(MUTANTS):
        mutant = copy.deepcopy(chance.choice(valid))
        change = mutated(mutant, chance)
        found = verdict(orjson.dumps(mutant))
        refused += not found.accepted
        if found.accepted != standard.is_valid(mutant):
            differing.append((change, [(p.path, p.code) for p in found.problems]))
    assert [one for one in differing if not stricter(one[1])] == []
    assert refused > MUTANTS / 4


def stricter(problems: list[tuple[str, str]]) -> bool:
    """Tell whether only rules that no schema can say are broken."""
    return bool(problems) and {path for path, _ in problems} <= {"/parentID"}


def mutated(document: Any, chance: random.Random) -> str:
    """Change one thing somewhere in a document and return what was done."""
    places = list(walked(document))
    holder, key = chance.choice(places)
    kind = chance.choice(["drop", "value", "name"])
    if kind == "name" and isinstance(holder, dict):
        holder[chance.choice(["extra", "x:extra", "bizStep"])] = holder.pop(key)
    elif kind == "drop":
        del holder[key]
    else:
        holder[key] = chance.choice(["", "word", "urn:x:y", 5, True, [], {}, ["urn:x"], None])
    return f"{kind} {key} {holder if len(str(holder)) < 300 else '…'}"


def walked(found: Any) -> Iterator[tuple[Any, Any]]:
    inside = found.items() if isinstance(found, dict) else enumerate(found)
    for key, value in inside:
        yield found, key
        if isinstance(value, dict | list):
            yield from walked(value)


@pytest.mark.parametrize(
    ("more", "problems"),
    [
        ({}, []),
        ({"type": "urn:x:OwnEvent", "anything": 5}, []),
        (
            {"type": "AggregationEvent", "action": "ADD"},
            [("", "epcis_about_nothing"), ("/epcList", "epcis_unknown_name")],
        ),
        ({"eventTime": "2026-03-02T08:00:00"}, [("/eventTime", "epcis_bad_moment")]),
        ({"eventID": "no uri"}, [("/eventID", "epcis_no_uri")]),
        ({"eventID": "urn:x:" + "a" * 1000}, [("/eventID", "epcis_bad_value")]),
        ({"bizStep": "transforming"}, [("/bizStep", "epcis_no_word")]),
        ({"action": "x" * 200}, [("/action", "epcis_bad_value")]),
        ({"epcList": ["urn:a:b", 5]}, [("/epcList/1", "epcis_bad_value")]),
        (sensed({"deviceID": "urn:x:a"}, deviceID="urn:x:a", value=5), []),
        (
            sensed({"deviceID": "urn:x:a"}, deviceID="urn:x:b"),
            [("/sensorElementList/0/sensorReport/0/deviceID", "epcis_said_twice")],
        ),
        (
            sensed({"startTime": "2026-03-02T08:00:00Z", "endTime": "2026-03-02T07:59:59Z"}),
            [("/sensorElementList/0/sensorMetadata/startTime", "epcis_interval_reversed")],
        ),
    ],
)
def test_given_an_event_when_judged_then_what_is_wrong_where(
    more: dict[str, Any], problems: list[tuple[str, str]]
) -> None:
    assert sorted(judged(**more)) == problems


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "malformed_json"),
        (b"[]", "epcis_not_a_document"),
        (b"{}", "epcis_not_a_document"),
        (b'{"type": "ObjectEvent"}', "epcis_required"),
        (b'{"@context": [], "eventCountLimit": 5}', "query_needs_order"),
        (
            b'{"@context": [], "type": "EPCISDocument", "epcisBody": {"eventList": [5]}}',
            "epcis_required",
        ),
    ],
)
def test_given_what_is_no_document_when_judged_then_refused(content: bytes, code: str) -> None:
    assert verdict(content).problems[0].code == code


@pytest.mark.parametrize(
    "more",
    [
        {"ilmd": {"x:a": [{"x:b\0": 1}]}},
        {"x:a": {"x:b\0": {"x:c": 1}}},
        {"@context": [*EVENT["@context"], {"ex": "urn:x:\0"}]},
        {"@context": [*EVENT["@context"], {"ex\0": "urn:x:y"}]},
    ],
)
def test_given_a_nul_in_a_name_when_judged_then_refused(more: dict[str, Any]) -> None:
    assert judged(**more) == [("", "epcis_bad_value")]
    if "@context" not in more:
        held = {"@context": EVENT["@context"], "type": "EPCISDocument", "schemaVersion": "2.0"}
        held |= {"creationDate": EVENT["eventTime"], "epcisBody": {"eventList": [EVENT | more]}}
        assert [p.index for p in verdict(orjson.dumps(held)).problems] == [0]


def test_given_a_nul_in_what_a_text_says_when_judged_then_accepted() -> None:
    assert judged(**{"x:a": "\0", "x:b": "\\u0000"}) == []


def test_given_a_packing_without_parent_when_judged_then_refused() -> None:
    children = {"type": "AggregationEvent", "action": "ADD", "childEPCs": ["urn:x:c"]}
    event = {name: value for name, value in EVENT.items() if name != "epcList"} | children
    assert [p.path for p in verdict(orjson.dumps(event)).problems] == ["/parentID"]


def test_given_an_event_nested_without_end_when_judged_then_no_hash() -> None:
    deep = b'{"x:a":' * 1000 + b"5" + b"}" * 1000
    found = verdict(orjson.dumps(EVENT)[:-1] + b',"x:deep":' + deep + b"}")
    assert list(found.hashes) == [""]


def test_given_a_measurement_after_the_event_when_looked_at_then_doubtful() -> None:
    late = EVENT | sensed({"time": "2026-03-02T00:00:01Z", "startTime": "2026-03-02T00:00:00Z"})
    assert [(f.path[-4:], f.code) for f in doubtful(late)] == [("time", "epcis_sensed_later")]
    assert list(doubtful(EVENT)) == []


def test_given_files_when_validated_on_the_command_line_then_verdicts_hashes_and_status(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared / "standards" / "epcis"
    good = folder / "hash" / "ralfsChaosExample.jsonld"
    bad = folder / "openepcis/Capture/Invalid/ObjectEvent_with_invalid_action.json"
    assert run(["epcis", "validate", str(good)]) == 0
    assert run(["epcis", "validate", str(bad)]) == 1
    assert "[0]/action" in capsys.readouterr().out
    assert run(["epcis", "validate", str(good), str(bad), "--json"]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert (first["verdict"], second["verdict"]) == ("accept", "reject")
    assert first["eventHashes"] == good.with_suffix(".hashes").read_text().split()
    assert second["problems"][0]["path"] == "/action"
