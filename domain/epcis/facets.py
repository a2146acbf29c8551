"""What can be asked about an event: the values it has under each facet.

Facets hold texts, booleans as texts, and numbers; moments are seconds since 1970, measured values
stand as given and, under `name UNIT`, in the base unit of their kind. Identifiers and words have
their plain forms (`names.py`). Names of facets are those that `query.py` asks for:

- standard fields by their name, `bizTransaction po` for an item of a typed list, `has` for what is
  present at all;
- `<scope> <name>` for an extension, the scope as in parameters (`ILMD_`, `INNER_`, …, empty at the
  top), with ` #` for its numbers and ` @` for its moments;
- `HASATTR <field>` and `ATTR <field> <name>` for attributes that the document's master data give
  to the value of a field.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from domain.epcis.keys import class_of
from domain.epcis.names import expanded, plain_key, word
from domain.epcis.query import moment_of, number_of, stamp, storable
from domain.epcis.units import comparable

Json = Mapping[str, Any]
Facets = dict[str, list[str | float]]

_EPCS = {
    "epcList": "epc",
    "childEPCs": "epc",
    "inputEPCList": "inputEPC",
    "outputEPCList": "outputEPC",
}
_QUANTITIES = {
    "quantityList": "epcClass",
    "childQuantityList": "epcClass",
    "inputQuantityList": "inputEPCClass",
    "outputQuantityList": "outputEPCClass",
}
_TYPED = {
    "bizTransactionList": "bizTransaction",
    "sourceList": "source",
    "destinationList": "destination",
}
_PLACES = ("readPoint", "bizLocation")
_STANDARD = frozenset(
    {
        *_EPCS,
        *_QUANTITIES,
        *_TYPED,
        *_PLACES,
        *("@context", "type", "eventID", "eventTime", "recordTime", "eventTimeZoneOffset"),
        *("action", "bizStep", "disposition", "persistentDisposition", "parentID", "ilmd"),
        *("transformationID", "errorDeclaration", "sensorElementList", "certificationInfo", "id"),
        *("declarationTime", "reason", "correctiveEventIDs"),
        *("sensorMetadata", "sensorReport"),
    }
)
_METADATA_IDS = ("deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "bizRules")
_REPORT_IDS = (*_METADATA_IDS, "microorganism", "chemicalSubstance", "uriValue")
_MEASURED = ("value", "minValue", "maxValue", "meanValue", "sDev", "percValue")
_TIMES = ("time", "startTime", "endTime")
_IN_SENSOR = frozenset(
    {*_REPORT_IDS, *_MEASURED, *_TIMES, "type", "uom", "percRank", "stringValue", "booleanValue"}
    | {"hexBinaryValue", "component", "coordinateReferenceSystem", "exception"}
)
# Deeper than this no extension is looked into.
_DEPTH_MAX = 16


@dataclass(frozen=True, slots=True)
class Setting:
    """What the document says around its events.

    prefixes: namespaces. attributes: of master data, by plain id and name. parents: of places, by
    plain id.
    """

    prefixes: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
    parents: Mapping[str, list[str]] = field(default_factory=dict)


def setting_of(document: Json, prefixes: Mapping[str, str]) -> Setting:
    """Return what a document says around its events, its header's master data included."""
    attributes: dict[str, dict[str, list[str]]] = {}
    parents: dict[str, list[str]] = {}
    master = _object(_object(document.get("epcisHeader")).get("epcisMasterData"))
    for vocabulary in _objects(master.get("vocabularyList")):
        for element in _objects(vocabulary.get("vocabularyElementList")):
            key = plain_key(expanded(str(element.get("id", "")), prefixes))
            told = attributes.setdefault(key, {})
            for attribute in _objects(element.get("attributes")):
                name = expanded(str(attribute.get("id", "")), prefixes)
                told.setdefault(name, []).append(str(attribute.get("attribute", "")))
            for child in _texts(element.get("children")):
                parents.setdefault(plain_key(expanded(child, prefixes)), []).append(key)
    return Setting(prefixes, attributes, parents)


def facets_of(event: Json, ids: Iterable[str], setting: Setting) -> Facets:
    """Return the facets of an event that is known by these ids."""
    told = _Facets(setting)
    told.add("eventID", ids)
    told.words("type", event.get("type"))
    told.words("action", event.get("action"))
    told.words("bizStep", event.get("bizStep"))
    told.words("disposition", event.get("disposition"))
    told.ids("transformationID", event.get("transformationID"))
    told.epcs("parentID", event.get("parentID"))
    lasting = _object(event.get("persistentDisposition"))
    for what in ("set", "unset"):
        told.words(f"persistentDisposition_{what}", lasting.get(what))
    for name, facet in _EPCS.items():
        told.epcs(facet, event.get(name))
    for name, facet in _QUANTITIES.items():
        for item in _objects(event.get(name)):
            told.epcs(facet, item.get("epcClass"))
            told.measured("quantity", item.get("quantity"), item.get("uom"))
    for name, facet in _TYPED.items():
        for item in _objects(event.get(name)):
            kind = word(told.full(str(item.get("type", ""))))
            told.ids(f"{facet} {kind}", item.get(facet))
    for name in _PLACES:
        told.place(name, event.get(name))
    told.extensions("", event, _STANDARD)
    told.extensions("ILMD_", _object(event.get("ilmd")), frozenset())
    told.declaration(event.get("errorDeclaration"))
    told.sensors(event.get("sensorElementList"))
    return told.found


class _Facets:
    """Facets in the making."""

    def __init__(self, setting: Setting) -> None:
        self.found: Facets = {}
        self._setting = setting

    def full(self, name: str) -> str:
        return expanded(name, self._setting.prefixes)

    def add(self, facet: str, values: Iterable[str | float]) -> None:
        # Long lists are of identifiers, which are rarely twice there.
        new = [v for v in dict.fromkeys(values) if not isinstance(v, str) or storable(v)]
        if not new or not storable(facet):
            return
        kept = self.found.setdefault(facet, [])
        kept += [value for value in new if value not in kept] if kept else new

    def words(self, facet: str, value: Any) -> None:
        self.add(facet, (word(self.full(text)) for text in _texts(value)))

    def ids(self, facet: str, value: Any) -> None:
        self.add(facet, (plain_key(self.full(text)) for text in _texts(value)))

    def epcs(self, facet: str, value: Any) -> None:
        """Add individuals or classes, and what they are one of."""
        keys = [plain_key(self.full(text)) for text in _texts(value)]
        self.add(facet, [*keys, *filter(None, dict.fromkeys(map(class_of, keys)))])

    def place(self, name: str, value: Any) -> None:
        place = _object(value)
        self.ids(name, place.get("id"))
        for key in self.found.get(name, ()):
            self.add(f"WD_{name}", _above(str(key), self._setting.parents))
            self._attributes(name, str(key))
        self.extensions(f"{name}_", place, frozenset({"id"}))

    def declaration(self, value: Any) -> None:
        if not isinstance(value, Mapping):
            return
        self.add("has", ["errorDeclaration"])
        self.words("errorReason", value.get("reason"))
        self.add("correctiveEventID", _texts(value.get("correctiveEventIDs")))
        self._moment("errorDeclarationTime", value.get("declarationTime"))
        self.extensions("ERROR_DECLARATION_", value, _STANDARD)

    def sensors(self, value: Any) -> None:
        for element in _objects(value):
            self.add("has", ["sensorElementList"])
            metadata = _object(element.get("sensorMetadata"))
            for name in _TIMES:
                self._moment(name, metadata.get(name))
            for name in _METADATA_IDS:
                self.ids(name, metadata.get(name))
            self.extensions("SENSORELEMENT_", element, _STANDARD)
            self.extensions("SENSORMETADATA_", metadata, _IN_SENSOR)
            for report in _objects(element.get("sensorReport")):
                self._report(report)

    def _report(self, report: Json) -> None:
        self.words("sensorType", report.get("type"))
        self._moment("time", report.get("time"))
        for name in _REPORT_IDS:
            self.ids(name, report.get(name))
        for name in _MEASURED:
            self.measured(name, report.get(name), report.get("uom"))
        self.measured("percRank", report.get("percRank"), None)
        self.add("stringValue", _texts(report.get("stringValue")))
        self.add("hexBinaryValue", (text.upper() for text in _texts(report.get("hexBinaryValue"))))
        if isinstance(report.get("booleanValue"), bool):
            self.add("booleanValue", [str(report["booleanValue"]).lower()])
        self.extensions("SENSORREPORT_", report, _IN_SENSOR)

    def measured(self, facet: str, value: Any, uom: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        self.add(facet, [float(value)])
        if isinstance(uom, str):
            base, unit = comparable(value, uom, of_difference=facet == "sDev")
            self.add(f"{facet} {unit}", [base])

    def extensions(self, scope: str, holder: Json, known: frozenset[str]) -> None:
        """Add the fields of others in an object: at its top, and deeper as INNER_."""
        for name, value in holder.items():
            if name not in known:
                self._extension(scope, name, value)
                for inner, below in _within(value, 0):
                    self._extension(f"INNER_{scope}", inner, below)

    def _extension(self, scope: str, name: str, value: Any) -> None:
        # A query that does not declare the prefix asks for the name as it is written.
        for facet in dict.fromkeys((f"{scope} {self.full(name)}", f"{scope} {name}")):
            self.add("has", [facet])
            for text, number in _scalars(value):
                self.add(facet, [text])
                if number is not None:
                    self.add(f"{facet} #", [number])
                elif moment := moment_of(text):
                    self.add(f"{facet} @", [stamp(moment)])
        if not scope and isinstance(value, str):
            self._attributes(self.full(name), plain_key(self.full(value)))

    def _attributes(self, name: str, key: str) -> None:
        attributes = self._setting.attributes.get(key, {})
        self.add(f"HASATTR {name}", attributes)
        for attribute, values in attributes.items():
            self.add(f"ATTR {name} {attribute}", values)

    def _moment(self, facet: str, value: Any) -> None:
        moment = moment_of(value) if isinstance(value, str) else None
        if moment is not None:
            self.add(facet, [stamp(moment)])


def _above(key: str, parents: Mapping[str, list[str]]) -> list[str]:
    """Return a place and all it lies in: by its address, and by master data."""
    found: dict[str, None] = {}
    waiting = [key]
    while waiting:
        place = waiting.pop()
        if place in found:
            continue
        found[place] = None
        waiting += parents.get(place, [])
        above, _, _ = place.rpartition("/")
        # Not above the host, and not the bare application identifier of a GS1 key.
        if above.count("/") > 3:
            waiting.append(above)
    return list(found)


def _within(value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield the names and values inside an extension's value, at any depth."""
    if depth == _DEPTH_MAX:
        return
    if isinstance(value, list):
        for item in value:
            yield from _within(item, depth + 1)
    elif isinstance(value, Mapping):
        for name, below in value.items():
            if not name.startswith("@"):
                yield name, below
                yield from _within(below, depth + 1)


def _scalars(value: Any) -> Iterator[tuple[str, float | None]]:
    """Yield texts, with the number that each is, of a value, a list of them, or an `@value`."""
    for item in value if isinstance(value, list) else [value]:
        scalar = item.get("@value") if isinstance(item, Mapping) else item
        if isinstance(scalar, bool):
            yield str(scalar).lower(), None
        elif isinstance(scalar, int | float):
            yield f"{scalar:.15g}", float(scalar)
        elif isinstance(scalar, str):
            yield scalar, number_of(scalar)


def _object(value: Any) -> Json:
    return value if isinstance(value, Mapping) else {}


def _objects(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
