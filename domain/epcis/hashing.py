"""The event hash of CBV 2.0 (§8.9): the canonical text of an event, and its SHA-256.

The text is the same however the event was written: fields in a fixed order, lists sorted, times in
UTC to the millisecond (half up), numbers without idle zeros, words of the vocabulary as web
addresses, GS1 keys as canonical digital links, extensions as `{namespace}name=value`. When it was
recorded, its id, an error declaration and comments are outside.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from math import isinf
from typing import Any, NamedTuple

from domain.epcis import vocabulary
from domain.epcis.document import declared_in
from domain.epcis.keys import HOME, plain

Json = Mapping[str, Any]

CBV = "https://ref.gs1.org/cbv/"
VOC = "https://gs1.org/voc/"

_OUTSIDE = frozenset(
    {"type", "eventID", "recordTime", "errorDeclaration", "@context", "comment", "rdfs:comment"}
)
_IDLE = frozenset({"#text", "comment", "rdfs:comment", "@context"})
_METADATA = (
    *("time", "startTime", "endTime", "deviceID", "deviceMetadata", "rawData"),
    *("dataProcessingMethod", "bizRules"),
)
_REPORT = (
    *("type", "exception", "deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "time"),
    *("microorganism", "chemicalSubstance", "value", "component", "stringValue", "booleanValue"),
    *("hexBinaryValue", "uriValue", "minValue", "maxValue", "meanValue", "sDev", "percRank"),
    *("percValue", "uom", "coordinateReferenceSystem"),
)
_QUANTITY = ("epcClass", "quantity", "uom")


class _Words(NamedTuple):
    """The words that may stand bare in a field, and what they are short for."""

    known: frozenset[str]
    home: str


_NONE = _Words(frozenset(), "")
_DISPOSITIONS = _Words(vocabulary.DISPOSITIONS, f"{CBV}Disp-")
_PARTIES = _Words(vocabulary.PARTIES, f"{CBV}SDT-")
_MEASUREMENTS = _Words(vocabulary.MEASUREMENTS, VOC)
_WORDS = {
    "bizStep": _Words(vocabulary.BIZ_STEPS, f"{CBV}BizStep-"),
    "disposition": _DISPOSITIONS,
    "set": _DISPOSITIONS,
    "unset": _DISPOSITIONS,
    "bizTransactionList": _Words(vocabulary.TRANSACTIONS, f"{CBV}BTT-"),
    "sourceList": _PARTIES,
    "destinationList": _PARTIES,
    "exception": _Words(vocabulary.ALERTS, VOC),
    "component": _Words(vocabulary.COMPONENTS, f"{CBV}Comp-"),
}
_TIMES = frozenset({"eventTime", "time", "startTime", "endTime"})
_CBV_URN = re.compile(r"urn:epcglobal:cbv:(bizstep|disp|btt|sdt|er):")
_CBV_WORDS = {"bizstep": "BizStep", "disp": "Disp", "btt": "BTT", "sdt": "SDT", "er": "ER"}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
# A level of the path of a digital link, as `keys` looks for it; the older names of keys.
_LINKED = re.compile(r"/(?:0[01]|25[35]|40[12]|41[47]|80(?:0[346]|1[078]))/")
_ALPHABETIC = {
    **{"gtin": "01", "itip": "8006", "cpid": "8010", "gln": "414", "party": "417"},
    **{"gsrnp": "8017", "gsrn": "8018", "gcn": "255", "sscc": "00", "gdti": "253"},
    **{"ginc": "401", "gsin": "402", "grai": "8003", "giai": "8004"},
    **{"cpv": "22", "lot": "10", "ser": "21"},
}
_NAMED = re.compile(rf"/({'|'.join(_ALPHABETIC)})(?=/)")
_NAMED_KEY = re.compile(
    r"https?://[^/?#]+(?:/[^?#]*)?"
    r"/(?:gtin|itip|cpid|gln|party|gsrnp|gsrn|gcn|sscc|gdti|ginc|gsin|grai|giai)/[0-9]{4}"
)
# What a serial of a URN has and a canonical link writes as a code.
_CODED = {ord(c): f"%{ord(c):02X}" for c in "!()*+,:"}
_MILLISECOND = timedelta(milliseconds=1)


def event_hash(event: Json, prefixes: Mapping[str, str]) -> str:
    """Return the SHA-256 of an event's canonical text, hex; `prefixes` as of `declared`."""
    return hashlib.sha256(pre_hash(event, prefixes).encode("utf-8", "surrogatepass")).hexdigest()


def pre_hash(event: Json, prefixes: Mapping[str, str]) -> str:
    """Return the canonical text of an event."""
    text = _Canonical(prefixes)
    shown = [f"eventType={event.get('type', '')}"]
    shown += [write(text, name, event[name]) for name, write in _ORDER.items() if name in event]
    rest = ((n, v) for n, v in event.items() if n not in _ORDER and n not in _OUTSIDE)
    return "".join((*shown, *sorted(text.others(rest))))


def declared(*contexts: object) -> dict[str, str]:
    """Return the prefixes that contexts declare, and gs1: these are written out, no others are.

    That the EPCIS context defines more the published hashes pass over.
    """
    return {"gs1": VOC, **declared_in(*contexts)}


class _Canonical:
    """Values and extensions in canonical form, under the prefixes of an event."""

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self._prefixes = prefixes

    def leaf(self, name: str, value: object, words: _Words = _NONE) -> str:
        """Return the sorted `name=value` of each value; nothing for an empty one."""
        words = words if words.known else _WORDS.get(name, _NONE)
        if isinstance(value, list):
            found = [self._value(name, item, words) for item in value]
            return "".join(sorted([f"{name}={text}" for text in found if text]))
        text = self._value(name, value, words)
        return f"{name}={text}" if text else ""

    def fields(self, names: Sequence[str], element: object, words: _Words = _NONE) -> str:
        """Return the fields of an object in their order, then its extensions, sorted."""
        if not isinstance(element, Mapping):
            return ""
        shown = [
            self.leaf(name, element[name], words if name == "type" else _NONE)
            for name in names
            if name in element
        ]
        if len(shown) == len(element):
            return "".join(shown)
        rest = ((name, value) for name, value in element.items() if name not in names)
        return "".join((*shown, *sorted(self.others(rest))))

    def others(self, items: Iterable[tuple[str, object]]) -> Iterator[str]:
        """Give each extension with all that is in it; one of several values, each."""
        for name, value in items:
            if name in _IDLE:
                continue
            if name in _PAIRED:
                yield self._pairs(name, value)
                continue
            full = self._name(name)
            for item in value if isinstance(value, list) else (value,):
                yield full + self._content(item)

    def _content(self, value: object) -> str:
        if isinstance(value, Mapping):
            text = self._text(value["#text"]) if "#text" in value else ""
            return text + "".join(sorted(self.others(value.items())))
        if isinstance(value, list):
            return "".join(sorted(map(self._content, value)))
        return self._text(value)

    def _text(self, value: object) -> str:
        text = self._value("", value, _NONE)
        return f"={text}" if text else ""

    def _pairs(self, name: str, value: object) -> str:
        """Return the items of a list of typed things, sorted; nothing of an empty list.

        The type stands first, in whatever order JSON has the two (the reference generator takes
        that order, so the same event has several hashes there).
        """
        fields = ("type", _PAIRED[name])
        items = value if isinstance(value, list) else ()
        shown = "".join(sorted(self.fields(fields, item, _WORDS[name]) for item in items))
        return name + shown if shown else ""

    def _name(self, name: str) -> str:
        prefix, colon, local = name.partition(":")
        if colon and prefix in self._prefixes:
            return f"{{{self._prefixes[prefix]}}}{local}"
        return name

    def _value(self, name: str, value: object, words: _Words) -> str:
        if not isinstance(value, str):
            return _number(str(value)) if isinstance(value, int | float) else ""
        text = value.strip()
        if name in _TIMES:
            return _time(text)
        if text in words.known:
            return words.home + text
        prefix, colon, local = text.partition(":")
        if not colon:
            return _number(text)
        if prefix in self._prefixes:
            text = self._prefixes[prefix] + local
        if text.startswith("urn:epcglobal:cbv:"):
            return _CBV_URN.sub(lambda found: f"{CBV}{_CBV_WORDS[found[1]]}-", text, count=1)
        return canonical_key(text)


@lru_cache(maxsize=4096)
def canonical_key(uri: str) -> str:
    """Return the canonical digital link of a GS1 key in any form; any other text as it is."""
    if not uri.startswith("urn:epc:"):
        if _NAMED_KEY.match(uri):
            uri = _NAMED.sub(lambda found: f"/{_ALPHABETIC[found[1]]}", uri)
        if not _LINKED.search(uri):
            return uri
    link = plain(uri)
    if not link.startswith(HOME):
        return uri
    return HOME + link[len(HOME) :].translate(_CODED)


def _number(text: str) -> str:
    """Return a number without idle zeros; any other text as it is.

    What looks like a number is one, of double precision: so the reference generator reads it.
    """
    if not _NUMBER.fullmatch(text):
        return text
    number = float(text)
    if isinf(number):
        return text
    return str(int(number)) if number.is_integer() else str(number)


def _time(text: str) -> str:
    """Return a moment in UTC to the millisecond, half up; what is none as it is."""
    try:
        moment = datetime.fromisoformat(text)
        micros = moment.microsecond % 1000
        moment = moment.astimezone(UTC) + _MILLISECOND * (micros >= 500)
    except (ValueError, OverflowError):
        return text
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


_PAIRED = {
    "bizTransactionList": "bizTransaction",
    "sourceList": "source",
    "destinationList": "destination",
}

_Write = Callable[[_Canonical, str, Any], str]


def _listed(text: _Canonical, name: str, value: object) -> str:
    """Write a list of identifiers."""
    return _under(name, text.leaf("epc", value))


def _quantities(text: _Canonical, name: str, value: object) -> str:
    return _elements(name, "quantityElement", value, partial(text.fields, _QUANTITY))


def _dispositions(text: _Canonical, name: str, value: object) -> str:
    return _under(name, text.fields(("set", "unset"), value))


def _place(text: _Canonical, name: str, value: object) -> str:
    return _under(name, text.fields(("id",), value))


def _sensors(text: _Canonical, name: str, value: object) -> str:
    return _elements(name, "sensorElement", value, partial(_sensor, text))


def _sensor(text: _Canonical, element: object) -> str:
    if not isinstance(element, Mapping):
        return ""
    metadata = _under("sensorMetadata", text.fields(_METADATA, element.get("sensorMetadata")))
    fields = partial(text.fields, _REPORT, words=_MEASUREMENTS)
    reports = _elements("", "sensorReport", element.get("sensorReport"), fields)
    parts = {"sensorMetadata", "sensorReport"}
    rest = ((name, value) for name, value in element.items() if name not in parts)
    return "".join((metadata, reports, *sorted(text.others(rest))))


def _elements(name: str, element: str, value: object, write: Callable[[object], str]) -> str:
    items = value if isinstance(value, list) else ()
    return _under(name, "".join(sorted(_under(element, write(item)) for item in items)))


def _under(name: str, content: str) -> str:
    return name + content if content else ""


def _leaf(text: _Canonical, name: str, value: object) -> str:
    return text.leaf(name, value)


# The fields of an event in their order; what is not here follows, sorted.
_ORDER: dict[str, _Write] = {
    "eventTime": _leaf,
    "eventTimeZoneOffset": _leaf,
    "certificationInfo": _leaf,
    "parentID": _leaf,
    "epcList": _listed,
    "inputEPCList": _listed,
    "childEPCs": _listed,
    "quantityList": _quantities,
    "childQuantityList": _quantities,
    "inputQuantityList": _quantities,
    "outputEPCList": _listed,
    "outputQuantityList": _quantities,
    "action": _leaf,
    "transformationID": _leaf,
    "bizStep": _leaf,
    "disposition": _leaf,
    "persistentDisposition": _dispositions,
    "readPoint": _place,
    "bizLocation": _place,
    "sensorElementList": _sensors,
}
