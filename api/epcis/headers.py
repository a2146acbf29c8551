"""The headers that EPCIS 2.0 negotiates with: versions, forms of identifiers, media types.

Spoken is version 2.0.0 of EPCIS and of CBV, in JSON or JSON-LD. Asked for anything else:
Invalid("not_acceptable"), which is 406.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from starlette.requests import HTTPConnection

from domain.epcis.translate import EpcFormat
from domain.shared.errors import Invalid

VERSION = "2.0.0"
_VERSION = (2, 0, 0)
# Ours beyond the standard: the query parameter `as_of`.
EXTENSIONS = "vaxtrail=urn:vaxtrail:epcis"
MEDIA_TYPES = ("application/json", "application/ld+json")
_ACCEPTED = frozenset({*MEDIA_TYPES, "application/*", "*/*", "application/problem+json"})

# In every answer.
ALWAYS = {
    "GS1-EPCIS-Version": VERSION,
    "GS1-CBV-Version": VERSION,
    "GS1-Extensions": EXTENSIONS,
}
# In answers to OPTIONS.
DISCOVERY = {
    **ALWAYS,
    "GS1-EPCIS-Min": VERSION,
    "GS1-EPCIS-Max": VERSION,
    "GS1-CBV-Min": VERSION,
    "GS1-CBV-Max": VERSION,
    "GS1-Vendor-Version": "1.0.0",
    "GS1-EPC-Format": ", ".join(EpcFormat),
    "GS1-CBV-XML-Format": "No_Preference",
}


class CbvFormat(StrEnum):
    """How words of the vocabulary are written in XML: taken, and without effect in JSON."""

    NO_PREFERENCE = "No_Preference"
    WEB_URI = "Always_Web_URI"
    URN = "Always_URN"
    AS_CAPTURED = "Never_Translates"


def negotiate(request: HTTPConnection) -> None:
    """Refuse what cannot be answered as asked for: Invalid("not_acceptable")."""
    for name in ("GS1-EPCIS", "GS1-CBV"):
        for suffix, fits in _FITS.items():
            asked = request.headers.get(f"{name}-{suffix}")
            if asked is not None and not fits(_parts(f"{name}-{suffix}", asked)):
                raise _refused(f"{name}-{suffix}", asked)
    asked = request.headers.get("GS1-CBV-XML-Format", CbvFormat.NO_PREFERENCE)
    if asked not in set(CbvFormat):
        raise _refused("GS1-CBV-XML-Format", asked)
    epc_format(request)
    accept = request.headers.get("accept", "*/*")
    if not any(part.partition(";")[0].strip().lower() in _ACCEPTED for part in accept.split(",")):
        raise _refused("Accept", accept)


def epc_format(request: HTTPConnection) -> EpcFormat:
    """Return how the caller wants identifiers; Invalid("not_acceptable") for an unknown form."""
    asked = request.headers.get("GS1-EPC-Format", EpcFormat.NO_PREFERENCE)
    if asked not in set(EpcFormat):
        raise _refused("GS1-EPC-Format", asked)
    return EpcFormat(asked)


_FITS: dict[str, Callable[[tuple[int, ...]], bool]] = {
    "Version": lambda asked: asked[:2] == _VERSION[:2],
    "Min": lambda asked: asked <= _VERSION,
    "Max": lambda asked: asked >= _VERSION,
}


def _parts(name: str, version: str) -> tuple[int, ...]:
    parts = version.strip().split(".")
    if not 1 <= len(parts) <= 3 or not all(p.isascii() and p.isdigit() for p in parts):
        raise _refused(name, version)
    return tuple(int(part) for part in [*parts, "0", "0"][:3])


def _refused(name: str, asked: str) -> Invalid:
    return Invalid("not_acceptable", field=name, value=asked[:200], expected=_EXPECTED[name])


_EXPECTED = {
    **{f"GS1-{s}-{v}": VERSION for s in ("EPCIS", "CBV") for v in ("Version", "Min", "Max")},
    "GS1-EPC-Format": ", ".join(EpcFormat),
    "GS1-CBV-XML-Format": ", ".join(CbvFormat),
    "Accept": ", ".join(MEDIA_TYPES),
}
