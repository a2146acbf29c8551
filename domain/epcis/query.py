"""What a query asks: its parameters as conditions on the facets of an event (`facets.py`).

A query is a list of conditions that must all hold; a condition is a list of tests of which one
must. A test compares what an event has under one facet with a text or a number. So a query can be
answered by anything that keeps facets, and what is no such comparison does not exist.

Lists are given as JSON lists, or as one text separated by `|`. A name of an extension is
`prefix:local`; a prefix that the query declares stands for its namespace, any other for itself.

Refused, always naming the parameter as `field` (Invalid): unknown_query_parameter,
bad_query_value with `expected` (also for more than can be answered soon), query_needs_order
(eventCountLimit without orderBy), query_limits_exclude (both limits).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from domain.epcis.document import EVENT_TYPES
from domain.epcis.names import expanded, like_of, plain_key, word
from domain.epcis.units import comparable
from domain.shared.errors import Invalid

# More values in one list, or longer ones, are no question but a table.
VALUES_MAX = 1000
VALUE_LENGTH_MAX = 2048
COUNT_MAX = 1_000_000
# More parameters, or patterns that every event has to be looked at for, take too long to answer.
PARAMETERS_MAX = 100
PATTERNS_MAX = 20
STARS_MAX = 6

OPERATORS = {"EQ": "==", "GT": ">", "GE": ">=", "LT": "<", "LE": "<="}
LIKE = "like"


class Test(NamedTuple):
    """One comparison: any value under `facet` stands in `operator` to `operand`.

    operator: ==, >, >=, <, <=, or like (operand: a regular expression).
    """

    facet: str
    operator: str
    operand: str | float


Condition = tuple[Test, ...]


class Span(NamedTuple):
    """Moments from `start` (included) to `end` (not); None = no bound."""

    start: datetime | None = None
    end: datetime | None = None


ALWAYS = Span()


@dataclass(frozen=True, slots=True)
class Query:
    """A query, ready to be answered. `order_by`: eventTime, recordTime, a facet, or empty."""

    conditions: tuple[Condition, ...] = ()
    event_time: Span = ALWAYS
    record_time: Span = ALWAYS
    order_by: str = ""
    descending: bool = True
    limit: int | None = None
    count_max: int | None = None


def parse(parameters: Mapping[str, Any], prefixes: Mapping[str, str]) -> Query:
    """Return the query of these parameters (text, number, boolean or list by name)."""
    if len(parameters) > PARAMETERS_MAX:
        raise _bad("query", len(parameters), f"0 … {PARAMETERS_MAX}")
    if "eventCountLimit" in parameters and "maxEventCount" in parameters:
        raise Invalid("query_limits_exclude", field="maxEventCount")
    if "eventCountLimit" in parameters and "orderBy" not in parameters:
        raise Invalid("query_needs_order", field="eventCountLimit")
    controls = {name: value for name, value in parameters.items() if name in _CONTROLS}
    times = {name: _time(name, value) for name, value in parameters.items() if name in _SPANS}
    return Query(
        conditions=tuple(
            condition
            for name, value in parameters.items()
            if name not in controls and name not in times
            for condition in _conditions(name, value, prefixes)
        ),
        event_time=Span(times.get("GE_eventTime"), times.get("LT_eventTime")),
        record_time=Span(times.get("GE_recordTime"), times.get("LT_recordTime")),
        order_by=_order(controls.get("orderBy"), prefixes),
        descending=_direction(controls.get("orderDirection", "DESC")) == "DESC",
        limit=_count("eventCountLimit", controls.get("eventCountLimit")),
        count_max=_count("maxEventCount", controls.get("maxEventCount")),
    )


_CONTROLS = frozenset({"orderBy", "orderDirection", "eventCountLimit", "maxEventCount"})
_SPANS = frozenset({"GE_eventTime", "LT_eventTime", "GE_recordTime", "LT_recordTime"})


def _order(value: object, prefixes: Mapping[str, str]) -> str:
    if value is None or value in ("eventTime", "recordTime"):
        return str(value or "")
    facet = f" {expanded(value, prefixes)}" if isinstance(value, str) else ""
    if not isinstance(value, str) or not _NAME.fullmatch(value) or not storable(facet):
        raise _bad("orderBy", value, "eventTime, recordTime, prefix:name")
    return facet


def _direction(value: object) -> str:
    if value not in ("ASC", "DESC"):
        raise _bad("orderDirection", value, "ASC, DESC")
    return str(value)


def _count(name: str, value: object) -> int | None:
    if value is None:
        return None
    number = _number(name, value)
    if number != int(number) or not 1 <= number <= COUNT_MAX:
        raise _bad(name, value, f"1 … {COUNT_MAX}")
    return int(number)


Prefixes = Mapping[str, str]
# Of a parameter's name and value, the conditions it sets.
Reader = Callable[[str, Any, Prefixes], list[Condition]]


def _conditions(name: str, value: Any, prefixes: Prefixes) -> list[Condition]:
    conditions = _read(name, value, prefixes)
    # A prefix may stand for anything.
    for test in (test for condition in conditions for test in condition):
        if not storable(test.facet) or not storable(str(test.operand)):
            raise _bad(name, test.facet, "text")
    return conditions


def _read(name: str, value: Any, prefixes: Prefixes) -> list[Condition]:
    reader = _FIXED.get(name)
    if reader is not None:
        return reader(name, value, prefixes)
    for pattern, read in _FAMILIES:
        found = pattern.fullmatch(name)
        if found is not None:
            return read(found, name, value, prefixes)
    raise Invalid("unknown_query_parameter", field=name[:200])


def _one_of(*facets: str, read: Callable[[str], str] = str) -> Reader:
    """Return the reader of a list: one of these facets has one of the values."""

    def reader(name: str, value: Any, prefixes: Prefixes) -> list[Condition]:
        values = [read(expanded(text, prefixes)) for text in _texts(name, value)]
        return [tuple(Test(facet, "==", text) for facet in facets for text in values)]

    return reader


def _known_words(facet: str, known: tuple[str, ...], *, or_uri: bool = False) -> Reader:
    """Return the reader of a list of words of a closed set (and of URIs)."""
    one_of = _one_of(facet, read=word)

    def reader(name: str, value: Any, prefixes: Prefixes) -> list[Condition]:
        conditions = one_of(name, value, prefixes)
        for test in conditions[0]:
            text = str(test.operand)
            if text not in known and not (or_uri and ":" in text):
                raise _bad(name, text, ", ".join(known))
        return conditions

    return reader


def _matching(*facets: str) -> Reader:
    """Return the reader of identifiers and patterns of identifiers."""

    def reader(name: str, value: Any, prefixes: Prefixes) -> list[Condition]:
        tests: list[Test] = []
        for text in _texts(name, value):
            pattern = like_of(expanded(text, prefixes))
            if pattern is not None and text.count("*") > STARS_MAX:
                raise _bad(name, text, f"* ≤ {STARS_MAX}")
            operator, operand = (
                ("==", plain_key(expanded(text, prefixes))) if pattern is None else (LIKE, pattern)
            )
            tests += [Test(facet, operator, operand) for facet in facets]
        patterns = sum(test.operator == LIKE for test in tests)
        if patterns > PATTERNS_MAX:
            raise _bad(name, patterns, f"0 … {PATTERNS_MAX}")
        return [tuple(tests)]

    return reader


def _moment(name: str, value: Any, _prefixes: Prefixes) -> list[Condition]:
    operator, _, field = name.partition("_")
    facet = "errorDeclarationTime" if field == "errorDeclaration_Time" else field
    return [(Test(facet, OPERATORS[operator], stamp(_time(name, value))),)]


def _numeric(name: str, value: Any, _prefixes: Prefixes) -> list[Condition]:
    operator, _, field = name.partition("_")
    return [_comparison(operator, field, "", name, value)]


def _boolean(name: str, value: Any, _prefixes: Prefixes) -> list[Condition]:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise _bad(name, value, "true, false")
    return [(Test(name.partition("_")[2], "==", text),)]


def _present(facet: str) -> Reader:
    """Return the reader of EXISTS: without a value, or with a true one; false asks for nothing."""

    def reader(name: str, value: Any, _prefixes: Prefixes) -> list[Condition]:
        text = str("" if value is None else value).lower()
        if text in ("false", "0"):
            return []
        if text not in ("", "true", "1"):
            raise _bad(name, value, "true")
        return [(Test("has", "==", facet),)]

    return reader


_KEY = plain_key
_FIXED: dict[str, Reader] = {
    "eventType": _known_words("type", EVENT_TYPES, or_uri=True),
    "EQ_action": _known_words("action", ("ADD", "OBSERVE", "DELETE")),
    "EQ_bizStep": _one_of("bizStep", read=word),
    "EQ_disposition": _one_of("disposition", read=word),
    "EQ_persistentDisposition_set": _one_of("persistentDisposition_set", read=word),
    "EQ_persistentDisposition_unset": _one_of("persistentDisposition_unset", read=word),
    "EQ_errorReason": _one_of("errorReason", read=word),
    "EQ_type": _one_of("sensorType", read=word),
    "EQ_readPoint": _one_of("readPoint", read=_KEY),
    "WD_readPoint": _one_of("WD_readPoint", read=_KEY),
    "EQ_bizLocation": _one_of("bizLocation", read=_KEY),
    "WD_bizLocation": _one_of("WD_bizLocation", read=_KEY),
    "EQ_transformationID": _one_of("transformationID", read=_KEY),
    "EQ_eventID": _one_of("eventID"),
    "EQ_correctiveEventID": _one_of("correctiveEventID"),
    **{
        f"EQ_{name}": _one_of(name, read=_KEY)
        for name in (
            "deviceID",
            "deviceMetadata",
            "rawData",
            "dataProcessingMethod",
            "bizRules",
            "microorganism",
            "chemicalSubstance",
            "uriValue",
        )
    },
    "EQ_stringValue": _one_of("stringValue"),
    "EQ_hexBinaryValue": _one_of("hexBinaryValue", read=str.upper),
    "EQ_booleanValue": _boolean,
    "MATCH_epc": _matching("epc"),
    "MATCH_parentID": _matching("parentID"),
    "MATCH_inputEPC": _matching("inputEPC"),
    "MATCH_outputEPC": _matching("outputEPC"),
    "MATCH_anyEPC": _matching("epc", "parentID", "inputEPC", "outputEPC"),
    "MATCH_epcClass": _matching("epcClass"),
    "MATCH_inputEPCClass": _matching("inputEPCClass"),
    "MATCH_outputEPCClass": _matching("outputEPCClass"),
    "MATCH_anyEPCClass": _matching("epcClass", "inputEPCClass", "outputEPCClass"),
    "EXISTS_errorDeclaration": _present("errorDeclaration"),
    "EXISTS_sensorElementList": _present("sensorElementList"),
    "EXISTS_sensorElement": _present("sensorElementList"),
    "EQ_time": _moment,
    **{
        f"{operator}_{field}": _moment
        for operator in ("GE", "LT")
        for field in (
            "time",
            "startTime",
            "endTime",
            "errorDeclarationTime",
            "errorDeclaration_Time",
        )
    },
    **{
        f"{operator}_{field}": _numeric
        for operator in OPERATORS
        for field in (
            "quantity",
            "value",
            "minValue",
            "maxValue",
            "meanValue",
            "sDev",
            "percRank",
            "percValue",
        )
    },
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*:\S+")
_IN = (
    r"(INNER_)?(ILMD_|ERROR_DECLARATION_|SENSORELEMENT_|SENSORMETADATA_|SENSORREPORT_"
    r"|readPoint_|bizLocation_)?"
)


def _measured(found: re.Match[str], name: str, value: Any, _: Prefixes) -> list[Condition]:
    return [_comparison(found[1], found[2], found[3], name, value)]


def _comparison(operator: str, field: str, uom: str, name: str, value: Any) -> Condition:
    """Return the comparison of a number with a field of reports or quantities.

    With a unit, what was measured in any unit of its kind is compared.
    """
    numbers = _numbers(name, value) if operator == "EQ" else [_number(name, value)]
    if not uom:
        return tuple(Test(field, OPERATORS[operator], number) for number in numbers)
    base = [comparable(number, uom, of_difference=field == "sDev") for number in numbers]
    return tuple(Test(f"{field} {unit}", OPERATORS[operator], number) for number, unit in base)


def _listed(found: re.Match[str], name: str, value: Any, prefixes: Prefixes) -> list[Condition]:
    facet = f"{found[1]} {word(expanded(found[2], prefixes))}"
    return _one_of(facet, read=plain_key)(name, value, prefixes)


def _extension(found: re.Match[str], name: str, value: Any, prefixes: Prefixes) -> list[Condition]:
    operator, scope = found[1], f"{found[2] or ''}{found[3] or ''}"
    facet = f"{scope} {expanded(found[4], prefixes)}"
    if operator == "EXISTS":
        return _present(facet)(name, value, prefixes)
    if operator == "EQ":
        return [tuple(test for text in _texts(name, value) for test in _equal(facet, text))]
    number, moment = number_of(value), _as_time(value)
    if number is not None:
        return [(Test(f"{facet} #", OPERATORS[operator], number),)]
    if moment is None:
        raise _bad(name, value, "12.5, 2026-03-02T08:00:00+08:00")
    return [(Test(f"{facet} @", OPERATORS[operator], stamp(moment)),)]


def _equal(facet: str, text: str) -> list[Test]:
    """Return the tests of which one holds when a value equals a text, number or time."""
    tests = [Test(facet, "==", text)]
    number, moment = number_of(text), _as_time(text)
    if number is not None:
        tests.append(Test(f"{facet} #", "==", number))
    elif moment is not None:
        tests.append(Test(f"{facet} @", "==", stamp(moment)))
    return tests


def _attribute_named(
    found: re.Match[str], name: str, value: Any, prefixes: Prefixes
) -> list[Condition]:
    return _one_of(f"HASATTR {expanded(found[1], prefixes)}")(name, value, prefixes)


def _attribute(found: re.Match[str], name: str, value: Any, prefixes: Prefixes) -> list[Condition]:
    field, attribute = (expanded(part, prefixes) for part in found.groups())
    return _one_of(f"ATTR {field} {attribute}")(name, value, prefixes)


_FAMILIES: tuple[tuple[re.Pattern[str], Callable[..., list[Condition]]], ...] = (
    (
        re.compile(
            r"(EQ|GT|GE|LT|LE)_(quantity|value|minValue|maxValue|meanValue|sDev|percValue)"
            r"_([A-Z0-9]{2,4})"
        ),
        _measured,
    ),
    (re.compile(r"EQ_(bizTransaction|source|destination)_(\S+)"), _listed),
    (re.compile(r"HASATTR_(\S+)"), _attribute_named),
    (re.compile(r"EQ_?ATTR_([^_\s]+)_(\S+)"), _attribute),
    (re.compile(rf"(EQ|GT|GE|LT|LE|EXISTS)_{_IN}([A-Za-z][A-Za-z0-9_.-]*:\S+)"), _extension),
)


def _bad(name: str, value: object, expected: str) -> Invalid:
    return Invalid("bad_query_value", field=name, value=str(value)[:200], expected=expected)


def _texts(name: str, value: Any) -> list[str]:
    """Return the texts of a list, or of one text separated by `|`."""
    texts = [_text(name, part) for part in _parts(name, value)]
    return list(dict.fromkeys(texts))


def _parts(name: str, value: Any) -> list[Any]:
    parts = value if isinstance(value, list) else str(value).split("|")
    if not parts or len(parts) > VALUES_MAX:
        raise _bad(name, f"{len(parts)}", f"1 … {VALUES_MAX}")
    return parts


def _text(name: str, part: Any) -> str:
    if isinstance(part, bool) or not isinstance(part, str | int | float):
        raise _bad(name, part, "text")
    text = str(part)
    if not text or len(text) > VALUE_LENGTH_MAX or not storable(text):
        raise _bad(name, text, f"1 … {VALUE_LENGTH_MAX}")
    return text


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> bool:
    """Tell whether a text of the database can be the same: no NUL, no lone surrogate."""
    return _UNSTORABLE.search(text) is None


def _numbers(name: str, value: Any) -> list[float]:
    return [_number(name, part) for part in _parts(name, value)]


def _number(name: str, value: Any) -> float:
    number = number_of(value)
    if number is None:
        raise _bad(name, value, "12.5")
    return number


def number_of(value: Any) -> float | None:
    """Return the number that a value is or is written as, None when it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        return None  # Python alone reads these
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and not str(value).isspace() else None


def _time(name: str, value: Any) -> datetime:
    moment = _as_time(value)
    if moment is None:
        raise _bad(name, value, "2026-03-02T08:00:00+08:00")
    return moment


def _as_time(value: Any) -> datetime | None:
    """Return the moment of a time with its offset, or of a day (its beginning in UTC)."""
    return moment_of(value) if isinstance(value, str) else None


_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d))?", re.ASCII
)


def moment_of(text: str) -> datetime | None:
    """Return the moment that a text names, None when it names none."""
    if not _MOMENT.fullmatch(text.strip()):
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def stamp(moment: datetime) -> float:
    """Return the seconds since 1970 by which moments are compared, to the millisecond."""
    return round(moment.timestamp(), 3)
