"""The parts of an EPCIS document in JSON: its events, their ids, what its prefixes stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]

# The events that EPCIS defines; any other type is a user's own, named by a URI.
EVENT_TYPES = (
    "ObjectEvent",
    "AggregationEvent",
    "AssociationEvent",
    "TransactionEvent",
    "TransformationEvent",
)
# The context of EPCIS 2.0 under both of its names. No context is ever fetched.
CONTEXTS = frozenset(
    {
        "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
        "https://ref.gs1.org/standards/epcis/epcis-context.jsonld",
    }
)
# Prefixes that it defines.
PREFIXES = {
    "cbv": "https://ref.gs1.org/cbv/",
    "cbvmda": "urn:epcglobal:cbv:mda:",
    "dcterms": "http://purl.org/dc/terms/",
    "epcis": "https://ref.gs1.org/epcis/",
    "gs1": "https://gs1.org/voc/",
    "owl": "http://www.w3.org/2002/07/owl#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}


def events_of(document: Json) -> list[Any]:
    """Return the events of an EPCISDocument, an EPCISQueryDocument, or of an event by itself."""
    body = document.get("epcisBody")
    if not isinstance(body, Mapping):
        return [] if document.get("type") in {"EPCISDocument", "EPCISQueryDocument"} else [document]
    results = body.get("queryResults")
    found = results.get("resultsBody", {}) if isinstance(results, Mapping) else body
    events = found.get("eventList") if isinstance(found, Mapping) else None
    return events if isinstance(events, list) else []


def event_id_of(event: Json, digest: str) -> str:
    """Return the id of an event: its own, or one made of its CBV 2.0 hash (hex)."""
    return str(event.get("eventID") or hash_uri(digest))


def hash_uri(digest: str) -> str:
    """Return the URI of an event hash."""
    return f"ni:///sha-256;{digest}?ver=CBV2.0"


def prefixes_of(*contexts: object) -> dict[str, str]:
    """Return what prefixes stand for in these contexts, later ones over earlier ones."""
    return {**PREFIXES, **declared_in(*contexts)}


def declared_in(*contexts: object) -> dict[str, str]:
    """Return the prefixes that contexts declare themselves, later ones over earlier ones."""
    found: dict[str, str] = {}
    for context in contexts:
        for part in context if isinstance(context, list) else [context]:
            if isinstance(part, Mapping):
                found.update((k, v) for k, v in part.items() if isinstance(v, str))
    return found
