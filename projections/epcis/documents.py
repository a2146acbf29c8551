"""Answers to queries as EPCIS query documents, with identifiers in the form asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain.epcis.translate import EpcFormat, to_links, to_urns
from projections.epcis.answers import Kept

BASE = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
UNNAMED = "SimpleEventQuery"

_encode = msgspec.json.encode
_decode = msgspec.json.decode


def query_document(
    kept: Sequence[Kept],
    *,
    form: EpcFormat,
    companies: Collection[str],
    now: datetime,
    query_name: str = UNNAMED,
    subscription_id: str = "",
) -> bytes:
    """Return an EPCISQueryDocument of these events.

    Under Never_Translates each stands there as it was received, byte for byte; else it also has its
    id and the time of its record. Prefixes of all documents are declared once; where two of them
    mean different things by one, the later events declare theirs themselves.
    """
    context = _Context()
    events = [_event(one, context, form, companies) for one in kept]
    results: dict[str, Any] = {"queryName": query_name}
    if subscription_id:
        results["subscriptionID"] = subscription_id
    return _encode(
        {
            "@context": [BASE, *context.parts],
            "type": "EPCISQueryDocument",
            "schemaVersion": "2.0",
            "creationDate": now,
            "epcisBody": {"queryResults": {**results, "resultsBody": {"eventList": events}}},
        }
    )


def _event(kept: Kept, context: _Context, form: EpcFormat, companies: Collection[str]) -> object:
    clash = context.take(_decode(kept.contexts)[0])
    if form is EpcFormat.AS_CAPTURED and not clash:
        return msgspec.Raw(kept.content.encode())
    event: dict[str, Any] = _decode(kept.content)
    if clash:
        own = event.get("@context", [])
        event["@context"] = [*clash, *(own if isinstance(own, list) else [own])]
    if form is EpcFormat.AS_CAPTURED:
        return event
    event = to_urns(event, companies) if form is EpcFormat.URN else to_links(event)
    event.setdefault("eventID", kept.event_id)
    event.setdefault("recordTime", kept.record_time)
    return event


class _Context:
    """The context of an answer, gathered from those of its documents."""

    def __init__(self) -> None:
        self.parts: list[object] = []
        self._prefixes: dict[str, object] = {}

    def take(self, context: object) -> list[object]:
        """Add a document's context; return what of it the events must declare themselves."""
        clash: list[object] = []
        for part in context if isinstance(context, list) else [context]:
            if part in self.parts or not isinstance(part, dict):
                continue  # the standard's own context, under either name, stands first
            if any(self._prefixes.get(name, value) != value for name, value in part.items()):
                clash.append(part)
            else:
                self._prefixes.update(part)
                self.parts.append(part)
        return clash
