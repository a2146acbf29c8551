"""Names in queries and events: prefixes written out, words of the vocabulary bare.

A word of the Core Business Vocabulary may stand bare, as a URN, or as a web address; an identifier
of GS1 as a URN or as a digital link. To compare, each has one form here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from domain.epcis.keys import like_of, plain

__all__ = ["expanded", "like_of", "plain_key", "prefixes_in", "word"]

_WORD = re.compile(
    r"(?:urn:epcglobal:cbv:[a-z_]+:|https?://(?:ref|ns)\.gs1\.org/cbv/[A-Za-z]+-"
    r"|https?://(?:www\.)?gs1\.org/voc/|https?://ref\.gs1\.org/epcis/)(\S+)"
)
_PAIR = re.compile(r"\s*([A-Za-z][A-Za-z0-9_.-]*)\s*=\s*(\S+?)\s*")

plain_key = plain


def word(text: str) -> str:
    """Return a word of the vocabulary bare; any other text as it is."""
    found = _WORD.fullmatch(text)
    return found[1] if found else text


def expanded(name: str, prefixes: Mapping[str, str]) -> str:
    """Return `prefix:local` written out; a name whose prefix nobody declared as it is."""
    prefix, colon, local = name.partition(":")
    if not colon or local.startswith("//") or prefix not in prefixes:
        return name
    return prefixes[prefix] + local


def prefixes_in(header: str) -> dict[str, str]:
    """Return the prefixes of a `GS1-Extensions` header: `prefix=namespace, …`."""
    found = map(_PAIR.fullmatch, header.split(","))
    return {pair[1]: pair[2] for pair in found if pair}
