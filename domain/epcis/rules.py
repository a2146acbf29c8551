"""What EPCIS 2.0 demands of an event beyond its form; the form must have been checked before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

Json = Mapping[str, Any]

# Said once for all reports of a sensor element, or in each of them.
SENSED_BY = ("deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "bizRules")


class Finding(NamedTuple):
    """What is wrong with an event: a JSON pointer into it, a code of a refusal, its facts."""

    path: str
    code: str
    facts: dict[str, str]


def broken(event: Json) -> Iterator[Finding]:
    """Give the rules that an event breaks: it cannot be taken."""
    adds = event.get("type") == "AggregationEvent" and event.get("action") != "OBSERVE"
    if adds and not event.get("parentID"):
        yield Finding("/parentID", "epcis_required", {"field": "parentID"})
    for n, element in enumerate(event.get("sensorElementList", ())):
        place = f"/sensorElementList/{n}"
        metadata = element.get("sensorMetadata", {})
        yield from _interval(place, metadata)
        for m, report in enumerate(element["sensorReport"]):
            yield from _contradictions(f"{place}/sensorReport/{m}", metadata, report)


def doubtful(event: Json) -> Iterator[Finding]:
    """Give what may be a slip in an event: it is taken as it was said."""
    for n, element in enumerate(event.get("sensorElementList", ())):
        metadata = element.get("sensorMetadata", {})
        for field in ("time", "startTime", "endTime"):
            if field in metadata and _moment(metadata[field]) > _moment(event["eventTime"]):
                path = f"/sensorElementList/{n}/sensorMetadata/{field}"
                yield Finding(path, "epcis_sensed_later", {"value": metadata[field]})


def _interval(place: str, metadata: Json) -> Iterator[Finding]:
    start, end = metadata.get("startTime"), metadata.get("endTime")
    if start and end and _moment(start) > _moment(end):
        facts = {"value": str(start), "end": str(end)}
        yield Finding(f"{place}/sensorMetadata/startTime", "epcis_interval_reversed", facts)


def _contradictions(place: str, metadata: Json, report: Json) -> Iterator[Finding]:
    """Give the attributes that metadata and a report of one element both have, and differ in."""
    for field in SENSED_BY:
        if field in metadata and field in report and metadata[field] != report[field]:
            yield Finding(f"{place}/{field}", "epcis_said_twice", {"field": field})


def _moment(text: str) -> datetime:
    # RFC 3339 knows a 60th second where the clocks are set; no moment of ours has one.
    return datetime.fromisoformat(text.upper().replace(":60", ":59"))
