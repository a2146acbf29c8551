"""Identifiers of GS1 in the form that a client reads: digital links, or EPC URNs.

Only the standard's own fields are touched, in a copy: what others put into an event, its id and
private identifiers stay as they were captured.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from functools import partial
from typing import Any

from domain.epcis.keys import plain, to_urn


class EpcFormat(StrEnum):
    """How identifiers are written in answers."""

    NO_PREFERENCE = "No_Preference"
    DIGITAL_LINK = "Always_GS1_Digital_Link"
    URN = "Always_EPC_URN"
    AS_CAPTURED = "Never_Translates"


# Fields whose texts are no identifiers, or the event's own.
_KEPT = frozenset({"@context", "eventID", "correctiveEventIDs", "ilmd", "stringValue"})


def to_links(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event whose URNs are digital links, as far as there is one for them."""
    return _translated(event, _link)


def to_urns(event: Mapping[str, Any], companies: Collection[str]) -> dict[str, Any]:
    """Return an event whose digital links are URNs, as far as the company prefix is known."""
    return _translated(event, partial(to_urn, company_prefixes=companies))


def _link(text: str) -> str:
    return plain(text) if text.startswith("urn:epc:") else text


def _translated(event: Mapping[str, Any], form: Callable[[str], str]) -> dict[str, Any]:
    return {
        name: value if ":" in name or name in _KEPT else _value(value, form)
        for name, value in event.items()
    }


def _value(value: Any, form: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return form(value)
    if isinstance(value, list):
        return [_value(item, form) for item in value]
    return _translated(value, form) if isinstance(value, Mapping) else value
