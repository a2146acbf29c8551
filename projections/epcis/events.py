"""The events of captured documents, one row each: the bytes as received, and their facets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import psycopg

from domain.epcis.document import event_id_of, hash_uri, prefixes_of
from domain.epcis.facets import Facets, Setting, facets_of, setting_of
from domain.epcis.hashing import declared, event_hash
from domain.epcis.keys import company_prefixes_in, plain
from domain.epcis.query import moment_of
from domain.traceability.events import CaptureStored
from store.envelope import Recorded

# Of a longer text nothing is listed: an index cannot hold it.
KNOWN_LENGTH_MAX = 1000
# Collections whose members are values of one facet.
WORDS = {"eventTypes": "type", "bizSteps": "bizStep", "dispositions": "disposition"}
_EPC_FIELDS = ("epcList", "childEPCs", "inputEPCList", "outputEPCList", "parentID")
_PLACES = {"bizLocations": "bizLocation", "readPoints": "readPoint"}

_encode = msgspec.json.encode
_decode = msgspec.json.decode


class Row(NamedTuple):
    """One event as it is kept; `facets` and `contexts` are JSON texts."""

    position: int
    ordinal: int
    region_code: str
    event_id: str
    hash: str
    event_time: datetime
    record_time: datetime
    facets: str
    content: str
    contexts: str


class Known(NamedTuple):
    """A member of a collection: its plain form, and the form in which it was captured first."""

    kind: str
    value: str
    region_code: str
    shown: str
    position: int


class _EventList(msgspec.Struct):
    eventList: list[msgspec.Raw] = []  # noqa: N815  # the standard's own name


class _Results(msgspec.Struct):
    resultsBody: _EventList = msgspec.field(default_factory=_EventList)  # noqa: N815


class _Body(_EventList):
    queryResults: _Results | None = None  # noqa: N815  # the standard's own name


class _Document(msgspec.Struct):
    epcisBody: _Body | None = None  # noqa: N815  # the standard's own name


_shape = msgspec.json.Decoder(_Document).decode


def raw_events(document: bytes) -> list[bytes]:
    """Return the bytes of each event of a document, or of the event that it is itself."""
    body = _shape(document).epcisBody
    if body is None:
        return [document]
    found = body.queryResults.resultsBody if body.queryResults else body
    return [bytes(raw) for raw in found.eventList]


def keep_events(cur: psycopg.Cursor[Any], batch: Sequence[Recorded], queries: Any) -> None:
    """Take the events of captured documents into the tables."""
    known: dict[tuple[str, str, str], Known] = {}
    companies: dict[str, int] = {}
    with cur.copy(queries.copy_event) as copy:
        for recorded in batch:
            if not isinstance(recorded.envelope.event, CaptureStored):
                continue
            for row, members in _kept(recorded, recorded.envelope.event):
                copy.write_row(row)
                for member in members:
                    known.setdefault(member[:3], member)
                for company in company_prefixes_in(row.content):
                    companies.setdefault(company, row.position)
    if known:
        columns = zip(*known.values(), strict=True)
        cur.execute(queries.put_known, [list(column) for column in columns])
    cur.execute(queries.put_companies, (list(companies), list(companies.values())))


def _kept(recorded: Recorded, stored: CaptureStored) -> Iterator[tuple[Row, list[Known]]]:
    """Yield the row of each event that was new with a document, and what it makes known."""
    document: dict[str, Any] = _decode(stored.document)
    context = document.get("@context", [])
    setting = setting_of(document, prefixes_of(context))
    raws = raw_events(stored.document)
    places = stored.indexes or range(len(raws)) if stored.event_count else ()
    for n, index in enumerate(places):
        event: dict[str, Any] = _decode(raws[index])
        contexts, around = [context], setting
        if "@context" in event and event is not document:
            contexts.append(event["@context"])
            around = Setting(prefixes_of(*contexts), setting.attributes, setting.parents)
        # Documents stored before hashes were kept with them are told theirs here.
        digest = stored.hashes[n] if stored.hashes else event_hash(event, declared(*contexts))
        event_id = event_id_of(event, digest)
        found = facets_of(event, [event_id, hash_uri(digest)], around)
        meta = recorded.envelope.meta
        row = Row(
            position=recorded.position,
            ordinal=index,
            region_code=(stored.region_codes[n] if stored.region_codes else "") or meta.region_code,
            event_id=event_id,
            hash=digest,
            event_time=_moment(event.get("eventTime"), meta.occurred_at),
            record_time=meta.recorded_at,
            facets=_encode(found).decode(),
            content=raws[index].decode(),
            contexts=_encode(contexts).decode(),
        )
        yield row, list(_made_known(row, found, event))


def _moment(text: object, otherwise: datetime) -> datetime:
    return (moment_of(text) if isinstance(text, str) else None) or otherwise


def _made_known(row: Row, found: Facets, event: dict[str, Any]) -> Iterator[Known]:
    """Yield the members of collections that an event makes known."""
    pairs = [(kind, str(v), str(v)) for kind, facet in WORDS.items() for v in found.get(facet, ())]
    for name in _EPC_FIELDS:
        value = event.get(name, ())
        pairs += [("epcs", plain(t), t) for t in ([value] if isinstance(value, str) else value)]
    for kind, name in _PLACES.items():
        place = event.get(name)
        if isinstance(place, dict) and isinstance(place.get("id"), str):
            pairs.append((kind, plain(place["id"]), place["id"]))
    for kind, value, shown in pairs:
        if len(shown) <= KNOWN_LENGTH_MAX and "\0" not in shown:
            yield Known(kind, value, row.region_code, shown, row.position)
