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
    id and the time of its record. The prefixes of all are declared once: they are `together`.
    """
    context = _Context()
    for one in kept:
        context.take(one)
    events = [_event(one, form, companies) for one in kept]
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


def together(kept: Sequence[Kept]) -> list[Kept]:
    """Return the first of these events that can stand in one document.

    The next, if any, means something else by a prefix than they do.
    """
    context = _Context()
    count = next((n for n, one in enumerate(kept) if not context.take(one)), len(kept))
    return list(kept[:count])


def _event(kept: Kept, form: EpcFormat, companies: Collection[str]) -> object:
    if form is EpcFormat.AS_CAPTURED:
        return msgspec.Raw(kept.content.encode())
    event: dict[str, Any] = _decode(kept.content)
    event = to_urns(event, companies) if form is EpcFormat.URN else to_links(event)
    event.setdefault("eventID", kept.event_id)
    event.setdefault("recordTime", kept.record_time)
    return event


class _Context:
    """The context of an answer, gathered from those of its documents."""

    def __init__(self) -> None:
        self.parts: list[object] = []
        self._prefixes: dict[str, object] = {}

    def take(self, kept: Kept) -> bool:
        """Add the context of an event's document; False when it clashes with those before."""
        context = _decode(kept.contexts)[0]
        parts = context if isinstance(context, list) else [context]
        # The standard's own context, under either name, stands first.
        named = [part for part in parts if isinstance(part, dict) and part not in self.parts]
        told = [(name, value) for part in named for name, value in part.items()]
        if any(self._prefixes.get(name, value) != value for name, value in told):
            return False
        self._prefixes.update(told)
        self.parts += named
        return True
