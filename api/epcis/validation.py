"""Is this EPCIS 2.0? A verdict on a document and on each of its events, with path and reason.

Nothing is fetched: contexts are known by name, schemas stand in `schema.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
import orjson

from api.epcis import schema
from api.messages import message
from domain.epcis.document import EVENT_TYPES, declared_in, events_of, hash_uri
from domain.epcis.events import EventProblem
from domain.epcis.hashing import declared, event_hash
from domain.epcis.query import parse
from domain.epcis.rules import Finding, broken, doubtful
from domain.shared.errors import Invalid

DOCUMENTS = ("EPCISDocument", "EPCISQueryDocument")
# More than a person reads of one event.
PROBLEMS_MAX = 10
# Characters of a wrong value that a reason repeats.
VALUE_LENGTH_MAX = 100
# Levels of the documents in which an event is answered.
_AROUND = 8

Validator = jsonschema_rs.Draft202012Validator


def _validator(found: schema.Schema) -> Validator:
    return Validator(found, validate_formats=True, offline=True)


_OF_TYPE = {name: _validator(found) for name, found in schema.OF_TYPE.items()}
_EXTENDED = _validator(schema.EXTENDED)
_DOCUMENTS = {
    "EPCISDocument": _validator(schema.DOCUMENT),
    "EPCISQueryDocument": _validator(schema.QUERY_DOCUMENT),
}
# What an event is about, one of which it must name.
_THINGS = {
    "ObjectEvent": "epcList, quantityList, sensorElementList + readPoint",
    "AggregationEvent": "childEPCs, childQuantityList",
    "AssociationEvent": "childEPCs, childQuantityList",
    "TransactionEvent": "epcList, quantityList",
    "TransformationEvent": "input… + output…, transformationID",
}
_ROOT: Sequence[str | int] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found in a document. `hashes`: of each event, hex; empty of what is no event.

    `remarks`: what may be a slip in an accepted document.
    """

    kind: str
    events: Sequence[Any]
    hashes: Sequence[str]
    problems: Sequence[EventProblem]
    remarks: Sequence[EventProblem] = ()

    @property
    def accepted(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.problems


def verdict(content: bytes) -> Verdict:
    """Judge the bytes of a document, an event by itself, or the definition of a query."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        return Verdict("", (), (), [_problem(None, "", "malformed_json")])
    if not isinstance(document, dict):
        return Verdict("", (), (), [_problem(None, "", "epcis_not_a_document")])
    if "type" not in document and "@context" in document:
        return Verdict("query", (), (), list(_query(document)))
    events = events_of(document)
    problems = [*check_document(document)]
    for index, event in enumerate(events):
        problems += check_event(event, index)
    hashes = list(map(hasher(document), events))
    listed = [] if problems else enumerate(events)
    remarks = [remark for index, event in listed for remark in remarks_on(event, index)]
    return Verdict(str(document.get("type")), events, hashes, problems, remarks)


def check_document(document: Mapping[str, Any]) -> Iterator[EventProblem]:
    """Give what is wrong with a document, its events apart; of an event, its own context."""
    validator = _DOCUMENTS.get(str(document.get("type")))
    if validator is not None:
        yield from _problems(validator, document, None, "")
        around = {name: value for name, value in document.items() if name != "epcisBody"}
        yield from _problems_of_names(around, None)
    elif "type" not in document:
        yield _problem(None, "", "epcis_not_a_document")
    elif "@context" not in document:
        yield _problem(None, "/@context", "epcis_required", field="@context")


def check_event(event: Any, index: int) -> list[EventProblem]:
    """Return what is wrong with one event."""
    kind = event.get("type") if isinstance(event, dict) else None
    validator = _OF_TYPE.get(kind, _EXTENDED) if isinstance(kind, str) else _EXTENDED
    if not validator.is_valid(event):
        return list(_problems(validator, event, index, str(kind or "")))[:PROBLEMS_MAX]
    return [*_problems_of_names(event, index), *_findings(broken, event, index)]


def _problems_of_names(found: Mapping[str, Any], index: int | None) -> Iterator[EventProblem]:
    """Give a name or prefix with a NUL, at any depth: nothing asked for could be under it.

    So it is with what is nested so deeply that it could not be written out again.
    """
    written = _written(found)
    if written is None:
        yield _nested(found, index)
        return
    if b"\\u0000" not in written:
        return
    names, contexts = _names_in(found), _names_in(found.get("@context"), values=True)
    wrong = next((name for name in (*names, *contexts) if "\0" in name), None)
    if wrong is not None:
        told = wrong.replace("\0", "\ufffd")
        facts = {"field": told[:VALUE_LENGTH_MAX], "value": _short(told), "rule": "NUL"}
        yield EventProblem(
            index=index, event_id=_id(found), path="", code="epcis_bad_value", facts=facts
        )


def _nested(found: object, index: int | None) -> EventProblem:
    return EventProblem(index=index, event_id=_id(found), path="", code="epcis_too_deep", facts={})


def too_deep(found: object) -> bool:
    """Tell whether an event is nested too deeply to be written out again, within others."""
    return _written(found) is None


def _written(found: object) -> bytes | None:
    for _ in range(_AROUND):
        found = [found]
    try:
        return orjson.dumps(found)
    except TypeError:
        return None


def _names_in(found: Any, *, values: bool = False) -> Iterator[str]:
    """Yield the names of fields at any depth; with `values`, texts too."""
    waiting = [found]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield from part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
        elif values and isinstance(part, str):
            yield part


def remarks_on(event: Mapping[str, Any], index: int) -> list[EventProblem]:
    """Return what may be a slip in an event of the right form."""
    return _findings(doubtful, event, index)


def _findings(
    rules: Callable[[Mapping[str, Any]], Iterable[Finding]], event: Mapping[str, Any], index: int
) -> list[EventProblem]:
    """Return what rules find in an event; of a user's own type nothing is known."""
    if event["type"] not in EVENT_TYPES:
        return []
    return [
        EventProblem(index=index, event_id=_id(event), path=path, code=code, facts=facts)
        for path, code, facts in rules(event)
    ]


def hasher(document: Mapping[str, Any]) -> Callable[[Any], str]:
    """Return what hashes the events of a document: hex; empty for what is no event or too deep."""
    outer = declared(document.get("@context"))

    def hashed(event: Any) -> str:
        if not isinstance(event, dict):
            return ""
        own = event.get("@context")
        try:
            return event_hash(event, {**outer, **declared_in(own)} if own else outer)
        except RecursionError:
            return ""

    return hashed


def told(problem: EventProblem) -> dict[str, Any]:
    """Return a problem as plain values, worded in both languages."""
    zh, en = message(problem.code, problem.facts)
    return {
        "eventIndex": problem.index,
        "eventID": problem.event_id or None,
        "path": problem.path,
        "code": problem.code,
        "title_zh": zh,
        "title_en": en,
    }


def hash_uris(found: Verdict) -> list[str | None]:
    """Return the hashes of a verdict as URIs."""
    return [hash_uri(digest) if digest else None for digest in found.hashes]


def _query(document: dict[str, Any]) -> Iterator[EventProblem]:
    parameters = {name: value for name, value in document.items() if name != "@context"}
    try:
        parse(parameters, declared(document["@context"]))
    except Invalid as error:
        field = str(error.facts.get("field", ""))
        yield _problem(None, _pointer([field]), error.code, **error.facts)


def _problems(
    validator: Validator, found: Any, index: int | None, kind: str
) -> Iterator[EventProblem]:
    try:
        errors = list(validator.iter_errors(found))
    except ValueError:  # the validator writes out what is wrong, if it can
        yield _nested(found, index)
        return
    for error in errors:
        path, code, facts = _reason(error, kind)
        yield EventProblem(index=index, event_id=_id(found), path=path, code=code, facts=facts)


def _reason(error: jsonschema_rs.ValidationError, kind: str) -> tuple[str, str, dict[str, str]]:
    """Return path, code and facts of what the validator found."""
    place, value = list(error.instance_path), _short(error.instance)
    rule = error.kind.as_dict()
    match error.kind.name:
        case "required":
            return (
                _pointer([*place, rule["property"]]),
                "epcis_required",
                {"field": rule["property"]},
            )
        case "propertyNames" | "additionalProperties" as broken_by:
            ours = broken_by == "additionalProperties"
            name = str(rule["unexpected"][0] if ours else _unexpected(error.kind))
            return _pointer([*place, name]), "epcis_unknown_name", {"field": name}
        case "format":
            code = "epcis_bad_moment" if rule["format"] == "date-time" else "epcis_no_uri"
            return _pointer(place), code, {"field": _field(place), "value": value}
        case "anyOf" if not place:
            return "", "epcis_about_nothing", {"expected": _THINGS.get(kind, "")}
        case "anyOf" | "pattern":
            return _pointer(place), "epcis_no_word", {"field": _field(place), "value": value}
        case _:
            facts = {"field": _field(place), "value": value, "rule": error.kind.name}
            return _pointer(place), "epcis_bad_value", facts


def _unexpected(kind: Any) -> str:
    """Return the name that may not stand there (the library's types do not tell of it)."""
    return str(kind.error.instance)


def _field(place: Sequence[str | int]) -> str:
    return next((str(part) for part in reversed(place) if isinstance(part, str)), "")


def _pointer(place: Sequence[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)


def _short(value: object) -> str:
    try:
        text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    except TypeError:  # too deep
        return "…"
    return text if len(text) <= VALUE_LENGTH_MAX else text[:VALUE_LENGTH_MAX] + "…"


def _id(event: Any) -> str:
    found = event.get("eventID") if isinstance(event, dict) else None
    return found if isinstance(found, str) else ""


def _problem(index: int | None, path: str, code: str, **facts: object) -> EventProblem:
    told = {name: str(value) for name, value in facts.items()}
    return EventProblem(index=index, event_id="", path=path, code=code, facts=told)
