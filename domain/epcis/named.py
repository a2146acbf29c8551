"""Named queries: a name stands for one query until it is removed, then it is free again.

Stream: `epcis.query` (name). Codes of refusals: bad_query_name, bad_query (Invalid),
query_exists (Conflict), unknown_query (NotFound).
"""

from __future__ import annotations

import json
import re
from uuid import UUID

from domain.epcis.document import prefixes_of
from domain.epcis.events import QueryDefined, QueryRemoved
from domain.epcis.names import prefixes_in
from domain.epcis.query import Query, parse
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import stream_id

# What may stand in a path without being escaped; "." and ".." would be other paths.
_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.~-]{1,64}")

NamedQuery = QueryDefined


def query_stream(name: str) -> UUID:
    """Return the stream of a name."""
    return stream_id("epcis.query", name)


def evolve(_query: NamedQuery | None, event: Event) -> NamedQuery | None:
    """Return what a name stands for after one more event; None: nothing."""
    return event if isinstance(event, QueryDefined) else None


def define(query: NamedQuery | None, *, name: str, text: str, extensions: str) -> list[Event]:
    """Give a query a name."""
    if not _NAME.fullmatch(name):
        raise Invalid("bad_query_name", field="name", value=name[:64])
    if query is not None:
        raise Conflict("query_exists", name=name)
    return [QueryDefined(name=name, query=text, extensions=extensions)]


def remove(query: NamedQuery | None, *, name: str) -> list[Event]:
    """Take the name off a query."""
    if query is None:
        raise NotFound("unknown_query", name=name)
    return [QueryRemoved(name=name)]


def query_of(text: str, extensions: str) -> Query:
    """Return the query that a JSON text states; its `@context` and the header name prefixes.

    Invalid("bad_query") for what is no JSON object; else as `query.parse`.
    """
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid("bad_query", field="query") from None
    if not isinstance(told, dict):
        raise Invalid("bad_query", field="query")
    prefixes = {**prefixes_of(told.pop("@context", [])), **prefixes_in(extensions)}
    return parse(told, prefixes)
