"""Names that stand twice in one object of JSON: readers differ in which of both counts."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import orjson

# A colon apart from its name, and how a quotation mark or a colon may hide in a text.
_ODD = (b" :", b"\t:", b"\n:", b"\r:", b"\\u00")


def repeated_name(body: bytes) -> str | None:
    """Return a name given twice in one object; None for none, and for what is no JSON."""
    if not _may_repeat(body):
        return None
    try:
        json.loads(body, object_pairs_hook=_unique)
    except _RepeatedError as error:
        return str(error)
    except (ValueError, RecursionError):
        pass
    return None


class _RepeatedError(Exception):
    """A name stands twice."""


def _may_repeat(body: bytes) -> bool:
    """Tell whether it must be looked at name by name: not when as many are left once it is read."""
    try:
        kept = orjson.dumps(orjson.loads(body))
    except (orjson.JSONDecodeError, TypeError):
        return True
    return body.count(b'":') != kept.count(b'":') or any(odd in body for odd in _ODD)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        times = Counter(name for name, _ in pairs)
        raise _RepeatedError(next(name for name in times if times[name] > 1))
    return found
