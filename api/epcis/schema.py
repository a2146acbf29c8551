"""What an EPCIS 2.0 document in JSON looks like, as JSON Schemas written for this product.

One schema an event type, so that what is wrong is named by itself. Names outside the standard are
extensions and must be URIs (`prefix:name`). What no schema can say stands in `domain/epcis/rules`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from domain.epcis import vocabulary

Schema = dict[str, Any]

URI: Schema = {"type": "string", "format": "uri"}
TIME: Schema = {"type": "string", "format": "date-time"}
NUMBER: Schema = {"type": "number"}
TEXT: Schema = {"type": "string"}
# Characters of an event's id: an index cannot hold a longer one.
EVENT_ID_LENGTH_MAX = 1000
# The vocabularies' own addresses are closed: a word of them stands bare.
_FOREIGN_CBV = r"^(?!urn:epcglobal:cbv|https?://ns\.gs1\.org/cbv/)"
_FOREIGN_VOC = r"^(?!https?://(?:www\.)?gs1\.org/voc/)"


def _word(known: Collection[str], foreign: str = _FOREIGN_CBV) -> Schema:
    return {"anyOf": [{"enum": sorted(known)}, {**URI, "pattern": foreign}]}


def _list(item: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": item, **more}


def _closed(fields: Mapping[str, Schema], *required: str) -> Schema:
    """Return an object of these fields alone."""
    return {
        "type": "object",
        "properties": dict(fields),
        "required": list(required),
        "additionalProperties": False,
    }


def _open(fields: Mapping[str, Schema], *required: str) -> Schema:
    """Return an object of these fields and extensions."""
    return {
        "type": "object",
        "properties": dict(fields),
        "required": list(required),
        "propertyNames": {"anyOf": [{"enum": list(fields)}, {"format": "uri"}]},
    }


_CONTEXT: Schema = {
    "anyOf": [
        URI,
        {"type": "object"},
        _list({"anyOf": [URI, {"type": "object"}]}, uniqueItems=True),
    ]
}
_DISPOSITION = _word(vocabulary.DISPOSITIONS)
_MARKS = _list(_DISPOSITION, minItems=1, uniqueItems=True)
_PLACE: Schema = {"type": "object", "properties": {"id": URI}, "required": ["id"]}
_QUANTITIES = _list(
    _closed(
        {
            "epcClass": URI,
            "quantity": NUMBER,
            "uom": {"type": "string", "pattern": "^[A-Z0-9]{2,3}$"},
        },
        "epcClass",
    )
)
_ERROR = _open(
    {
        "declarationTime": TIME,
        "reason": _word(vocabulary.ERROR_REASONS),
        "correctiveEventIDs": _list(URI),
    },
    "declarationTime",
)


def _typed(field: str, kinds: Collection[str], *required: str) -> Schema:
    return _list(_closed({"type": _word(kinds), field: URI}, field, *required))


_SENSED_BY = {
    "deviceID": URI,
    "deviceMetadata": URI,
    "rawData": URI,
    "dataProcessingMethod": URI,
    "bizRules": URI,
    "time": TIME,
}
_METADATA = _open({**_SENSED_BY, "startTime": TIME, "endTime": TIME})
_REPORT = _open(
    {
        **_SENSED_BY,
        "type": _word(vocabulary.MEASUREMENTS, _FOREIGN_VOC),
        "exception": _word(vocabulary.ALERTS, _FOREIGN_VOC),
        "component": _word(vocabulary.COMPONENTS),
        **dict.fromkeys(("microorganism", "chemicalSubstance", "uriValue"), URI),
        "coordinateReferenceSystem": URI,
        **dict.fromkeys(("value", "minValue", "maxValue", "meanValue"), NUMBER),
        **dict.fromkeys(("sDev", "percRank", "percValue"), NUMBER),
        **dict.fromkeys(("stringValue", "uom"), TEXT),
        "booleanValue": {"type": "boolean"},
        "hexBinaryValue": {"type": "string", "pattern": "^[A-Fa-f0-9]+$"},
    },
    "type",
)
_SENSORS = _list(
    _open({"sensorMetadata": _METADATA, "sensorReport": _list(_REPORT, minItems=1)}, "sensorReport")
)

# What every event has.
_EVENT = {
    "@context": _CONTEXT,
    "type": TEXT,
    "eventTime": TIME,
    "recordTime": TIME,
    "eventTimeZoneOffset": {
        "type": "string",
        "pattern": "^[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00)$",
    },
    "eventID": {**URI, "maxLength": EVENT_ID_LENGTH_MAX},
    "certificationInfo": {"anyOf": [URI, _list(URI)]},
    "errorDeclaration": _ERROR,
}
_STEP = {
    "bizStep": _word(vocabulary.BIZ_STEPS),
    "disposition": _DISPOSITION,
    "readPoint": _PLACE,
    "bizLocation": _PLACE,
    "bizTransactionList": _typed("bizTransaction", vocabulary.TRANSACTIONS),
    "sourceList": _typed("source", vocabulary.PARTIES, "type"),
    "destinationList": _typed("destination", vocabulary.PARTIES, "type"),
    "sensorElementList": _SENSORS,
}
_ACTION: Schema = {"enum": ["OBSERVE", "ADD", "DELETE"]}
_PERSISTENT = {
    **_closed({"set": _MARKS, "unset": _MARKS}),
    "minProperties": 1,
}
_ILMD: Schema = {"type": "object", "propertyNames": {"format": "uri"}}
_EPCS = _list(URI, uniqueItems=True)


def _event(fields: Mapping[str, Schema], *required: str, any_of: Collection[Schema]) -> Schema:
    schema = _open({**_EVENT, **_STEP, **fields}, "type", "eventTime", "eventTimeZoneOffset")
    schema["required"] += required
    return {**schema, "anyOf": list(any_of)} if any_of else schema


def _has(field: str, minimum: int = 1) -> Schema:
    return {"properties": {field: {"minItems": minimum}}, "required": [field]}


_DELETING: Schema = {"properties": {"action": {"const": "DELETE"}}}
_AGGREGATED = {"parentID": URI, "childEPCs": _list(URI), "childQuantityList": _QUANTITIES}
_INPUT = [_has("inputEPCList"), _has("inputQuantityList")]
_OUTPUT = [_has("outputEPCList"), _has("outputQuantityList")]

OF_TYPE: dict[str, Schema] = {
    "ObjectEvent": _event(
        {
            "action": _ACTION,
            "epcList": _EPCS,
            "quantityList": _QUANTITIES,
            "persistentDisposition": _PERSISTENT,
            "ilmd": _ILMD,
        },
        "action",
        any_of=[
            _has("epcList", 0),
            _has("quantityList"),
            {"allOf": [_has("sensorElementList"), {"required": ["readPoint"]}]},
        ],
    ),
    "AggregationEvent": _event(
        {"action": _ACTION, **_AGGREGATED},
        "action",
        any_of=[_has("childEPCs"), _has("childQuantityList"), _DELETING],
    ),
    "AssociationEvent": _event(
        {"action": _ACTION, **_AGGREGATED},
        "action",
        "parentID",
        any_of=[_has("childEPCs"), _has("childQuantityList"), _DELETING],
    ),
    "TransactionEvent": _event(
        {
            "action": _ACTION,
            "parentID": URI,
            "epcList": _list(URI),
            "quantityList": _QUANTITIES,
            "bizTransactionList": {**_STEP["bizTransactionList"], "minItems": 1},
        },
        "action",
        "bizTransactionList",
        any_of=[_has("epcList", 0), _has("quantityList"), _DELETING],
    ),
    "TransformationEvent": _event(
        {
            "inputEPCList": _EPCS,
            "inputQuantityList": _QUANTITIES,
            "outputEPCList": _EPCS,
            "outputQuantityList": _QUANTITIES,
            "transformationID": URI,
            "persistentDisposition": _PERSISTENT,
            "ilmd": _ILMD,
        },
        any_of=[
            {"allOf": [{"anyOf": _INPUT}, {"anyOf": _OUTPUT}]},
            {"allOf": [{"anyOf": _INPUT + _OUTPUT}, {"required": ["transformationID"]}]},
        ],
    ),
}
# An event type of a user's own.
EXTENDED: Schema = {
    "type": "object",
    "properties": {**_EVENT, "type": URI},
    "required": ["type", "eventTime", "eventTimeZoneOffset"],
}

_ATTRIBUTE: Schema = {
    "type": "object",
    "properties": {"id": URI, "attribute": {"type": ["number", "string", "object"]}},
    "required": ["id"],
}
_VOCABULARY: Schema = {
    "type": "object",
    "properties": {
        "type": URI,
        "vocabularyElementList": _list(
            {
                "type": "object",
                "properties": {
                    "id": URI,
                    "attributes": _list(_ATTRIBUTE),
                    "children": _list(URI),
                },
                "required": ["id"],
            }
        ),
    },
    "required": ["type"],
}
_MASTER_DATA: Schema = {
    "type": "object",
    "properties": {"vocabularyList": _list(_VOCABULARY)},
}
_EVENTS: Schema = {"type": "object", "properties": {"eventList": _list({})}}
_HEAD = {
    "@context": _CONTEXT,
    "id": URI,
    "type": TEXT,
    "schemaVersion": {"type": "string", "pattern": r"^\d+(\.\d+)*$"},
    "creationDate": TIME,
}
# Documents, their events apart.
DOCUMENT = _open(
    {
        **_HEAD,
        **dict.fromkeys(("instanceIdentifier", "sender", "receiver"), TEXT),
        "epcisHeader": _open({"epcisMasterData": _MASTER_DATA}),
        "epcisBody": {**_EVENTS, "required": ["eventList"]},
    },
    *("@context", "type", "schemaVersion", "creationDate", "epcisBody"),
)
_RESULTS = _open({"eventList": _list({}), "vocabularyList": _list(_VOCABULARY)}, "eventList")
QUERY_DOCUMENT = _open(
    {
        **_HEAD,
        "epcisBody": _open(
            {
                "queryResults": _open(
                    {"queryName": TEXT, "subscriptionID": TEXT, "resultsBody": _RESULTS},
                    *("queryName", "resultsBody"),
                )
            },
            "queryResults",
        ),
    },
    *("@context", "type", "epcisBody"),
)
