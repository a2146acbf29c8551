"""Documents taken into the ledger: what each event says of custody, who may say it, what is new.

An event takes its id in the ledger: the stream of the fact of that id holds the fact, or EventKept
for an event that says nothing of custody. The same event again changes nothing; another one under
that id is a conflict, whoever came first. An event that speaks of no registered place belongs to
the region that sent it: there it takes its id, and elsewhere nobody meets it. To declare an event
wrong is to repeat it, in a region where one may. All that is new is stored in one transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import orjson

from api import facts
from api.auth import Principal
from api.commands import Call
from api.epcis.validation import too_deep
from domain.epcis import model as kept_model
from domain.epcis.document import event_id_of
from domain.epcis.events import EventKept, EventProblem, KnownEvent
from domain.registry import model as registry
from domain.shared.decide import fold
from domain.shared.errors import Busy, Conflict, DomainError, Invalid
from domain.traceability import epcis, model
from domain.traceability.epcis import Captured
from domain.traceability.events import CaptureStored, FactWithdrawn
from domain.traceability.facts import FactEvent
from domain.traceability.times import check_time
from store.commands import ATTEMPTS_MAX
from store.envelope import Envelope, Meta

# What an event may get wrong and still be kept: it says nothing of custody then. An event that
# names a person, or that the caller may not tell, is never kept.
_UNREAD = frozenset(
    {
        *("epcis_missing_field", "epcis_bad_time", "bad_code", "bad_lot_id", "parent_in_codes"),
        *("clock_ahead", "too_early", "reserved_fact_id", "bad_name", "bad_text"),
    }
)
_MEANS_NOTHING = "epcis_unsupported_step"


@dataclass(slots=True)
class Item:
    """One event of a document on its way; `refused` says why it is not taken, if so.

    `remarks`: what may be a slip, and why it says nothing of custody where it should. `known`: the
    very same was captured before. `captured` is empty for one that says nothing.
    """

    index: int
    event: Mapping[str, Any]
    digest: str
    captured: Sequence[Captured] = ()
    region_code: str = ""
    remarks: list[EventProblem] = field(default_factory=list)
    refused: EventProblem | None = None
    known: bool = False

    @property
    def event_id(self) -> str:
        """Return the id of the event: its own, or that of its hash."""
        return event_id_of(self.event, self.digest)

    @property
    def placed(self) -> bool:
        """Tell whether the event says something of custody, or speaks of a registered place."""
        return bool(self.captured or self.region_code)

    @property
    def declared(self) -> bool:
        """Tell whether the event declares itself wrong."""
        return self.event.get("errorDeclaration") is not None

    def problem(self, error: DomainError) -> EventProblem:
        """Return a refusal of this event as it is kept."""
        told = {name: str(value) for name, value in error.facts.items()}
        return EventProblem(
            index=self.index, event_id=self.event_id, path="", code=error.code, facts=told
        )

    def naming(self, error: DomainError) -> DomainError:
        """Return a refusal that names the event of the document that it is about."""
        place = {"event_index": self.index, "event_id": self.event_id}
        return type(error)(error.code, **error.facts, **place)


class _Said(NamedTuple):
    """What an event says, or says as EventKept: under which id, and when."""

    event: FactEvent | FactWithdrawn | EventKept
    occurred_at: datetime
    fact_id: str


@dataclass(slots=True)
class Taking:
    """One document on its way into the ledger.

    `raising`: the first refusal ends it. `strict`: so does an event that says nothing of custody.
    """

    call: Call
    who: Principal
    sha256: str
    items: Sequence[Item]
    raising: bool = False
    strict: bool = False
    regions: dict[str, str | None] = field(default_factory=dict)

    def read(self, *, again: bool = False) -> None:
        """Read what the events say of custody, and refuse what this caller may not say.

        `again`: it was taken before, so only regions are looked at.
        """
        for item in self._open():
            self._try(item, _read)
        sites = {site for item in self._open() for site in _sites(item)}
        streams = {registry.site_stream(site): site for site in sites}
        for stream, envelopes in self.call.deps.ledger.streams(streams).items():
            site = fold(registry.evolve_site, None, (kept.event for kept in envelopes))
            self.regions[streams[stream]] = None if site is None else site.region_code
        for item in self._open():
            self._try(item, self._allow)
            if not again:
                self._try(item, self._judge)

    def _open(self) -> Iterator[Item]:
        return (item for item in self.items if item.refused is None)

    def _try(self, item: Item, step: Callable[[Item], None]) -> None:
        """Take a step with an event: what is wrong is refused, or makes it say nothing."""
        try:
            step(item)
        except DomainError as error:
            unread = error.code in _UNREAD or error.code == _MEANS_NOTHING
            if self.strict or (self.raising and not unread):
                raise item.naming(error) from error
            item.captured = ()
            if not unread:
                item.refused = item.problem(error)
            elif error.code != _MEANS_NOTHING:
                item.remarks.append(item.problem(error))

    def _allow(self, item: Item) -> None:
        """Refuse an event of places that this caller may not tell of."""
        for site in _sites(item):
            region = self.regions.get(site)
            item.region_code = region or item.region_code
            if region is not None:
                self.who.require_region(region)
            elif item.captured and self.who.region_prefix:
                raise Invalid("unknown_site", field="readPoint", site_id=site)

    def _judge(self, item: Item) -> None:
        """Refuse a fact that cannot be, or that this caller has no authority to state."""
        item.captured = [self._allowed(captured) for captured in item.captured]

    def _allowed(self, captured: Captured) -> Captured:
        event, now = captured.event, self.call.deps.clock.now()
        if not isinstance(event, FactWithdrawn):
            check_time(captured.occurred_at, now, "eventTime")
            model.checked_fact_id(event.fact_id)
            facts.require_authority(self.call.deps, self.who, event)
            return captured
        check_time(captured.occurred_at, now, "declarationTime")
        known = facts.require_withdrawable(self.call.deps, self.who, event.fact_id)
        if known is None or known.event.site_id == event.site_id:
            return captured  # of a fact not known yet: it will hold for one of this site only
        return captured._replace(event=replace(event, fact_site_id=known.event.site_id))

    def take(
        self,
        document: bytes,
        *,
        whole: bool = True,
        job: Callable[[], Envelope] | None = None,
    ) -> bool:
        """Store the document and what is new of its events; False when nothing was.

        `whole`: all events or none. `job` tells, of the items as they are judged by then, of the
        job that captures them, and is stored in any case. The ids of a new document are new, as a
        rule: they are looked up only when one was not.
        """
        ledger, stream = self.call.deps.ledger, model.capture_stream(self.sha256)
        for attempt in range(ATTEMPTS_MAX):
            # Where something is wrong anyway, all that is wrong shall be told.
            news = self._news(looking=attempt > 0 or self._refused())
            refused = whole and self._refused()
            taken = [] if refused else [item for item in self._open() if not item.known]
            told = [] if job is None else [job()]
            if taken or self.strict:
                version = len(ledger.stream(stream)) + 1
                meta = self._meta(told[0].event_id if told else "")
                kept = Envelope(stream, version, self._stored(document, taken), meta)
                told += [kept, *news.envelopes(self._meta(kept.event_id))]
            try:
                if told:
                    ledger.append(told)
            except Conflict as error:
                if error.code != "version_conflict":
                    raise
            else:
                return bool(taken)
        raise Busy("busy")

    def _refused(self) -> bool:
        return any(item.refused for item in self.items)

    def _news(self, *, looking: bool) -> _News:
        """Return what is new of the events, judged against what the ledger has."""
        news = _News(self.who)
        wanted = [item for item in self._open() if looking or item.declared or not item.placed]
        ids = {s for item in wanted for said in _said(item) for s in news.streams(item, said)}
        streams = self.call.deps.ledger.streams(ids) if ids else {}
        news.known.update((stream, list(map(_told, kept))) for stream, kept in streams.items())
        for item in self._open():
            self._try(item, news.add)
        return news

    def _stored(self, document: bytes, taken: Sequence[Item]) -> CaptureStored:
        return CaptureStored(
            sha256=self.sha256,
            document=document,
            event_count=len(taken),
            indexes=tuple(item.index for item in taken),
            hashes=tuple(item.digest for item in taken),
            region_codes=tuple(item.region_code for item in taken),
        )

    def _meta(self, cause: str) -> Meta:
        meta = self.call.meta()
        return msgspec.structs.replace(meta, causation_id=cause, source="capture")

    def known(self) -> tuple[KnownEvent, ...]:
        """Return the events that were captured before."""
        return tuple(
            KnownEvent(index=item.index, event_id=item.event_id, hash=item.digest)
            for item in self._open()
            if item.known
        )


def _read(item: Item) -> None:
    if not item.digest or too_deep(item.event):
        raise Invalid("epcis_too_deep")
    epcis.check_people(item.event)
    named = item.event if "eventID" in item.event else {**item.event, "eventID": item.event_id}
    item.captured = epcis.read_event(named)


def _sites(item: Item) -> set[str]:
    """Return the sites that an event speaks of."""
    if item.captured:
        return {captured.event.site_id for captured in item.captured}
    return set(filter(None, [epcis.site_of(item.event)]))


def _said(item: Item) -> list[_Said]:
    """Return what an event says under its ids."""
    if item.captured:
        return [_Said(one.event, one.occurred_at, one.fact_id) for one in item.captured]
    declaration = item.event.get("errorDeclaration")
    told = orjson.dumps(declaration, option=orjson.OPT_SORT_KEYS) if item.declared else b""
    kept = EventKept(
        event_id=item.event_id,
        declaration=hashlib.sha256(told).hexdigest() if told else "",
    )
    return [_Said(kept, epcis.time_of(item.event), item.event_id)]


class _Told(NamedTuple):
    """What an id stands for already."""

    version: int
    said: object
    occurred_at: datetime
    digest: str
    region_code: str

    @property
    def declared(self) -> bool:
        """Tell whether it is a declaration that something was wrong."""
        said = self.said
        return isinstance(said, FactWithdrawn) or (
            isinstance(said, EventKept) and bool(said.declaration)
        )

    def same(self, said: _Said, digest: str, *, declared: bool) -> bool:
        """Tell whether it is the very same; an event by its hash, where that is known."""
        if declared or not self.digest:
            return self.said == said.event and self.occurred_at == said.occurred_at
        return not self.declared and self.digest == digest


def _told(kept: Envelope) -> _Told:
    meta = kept.meta
    said = (kept.event, meta.occurred_at, meta.content_hash, meta.region_code)
    return _Told(kept.originator_version, *said)


@dataclass(slots=True)
class _News:
    """What the streams of the events' ids hold, and what is new in them, sent by `who`."""

    who: Principal
    known: dict[UUID, list[_Told]] = field(default_factory=dict)
    new: list[tuple[UUID, int, _Said, Item]] = field(default_factory=list)

    def streams(self, item: Item, said: _Said) -> list[UUID]:
        """Return the streams where an id may be taken already; the first is where it is to be."""
        placed = model.scan_stream(said.fact_id)
        if item.placed:
            return [placed]
        return [kept_model.kept_stream(self.who.region_code, said.fact_id), placed]

    def add(self, item: Item) -> None:
        """Add what an event says, unless it is there; Conflict for another under its id."""
        item.known = False
        new: list[tuple[UUID, _Said]] = []
        for said in _said(item):
            own, *others = self.streams(item, said)
            told = [*self.known.get(own, [])]
            told += (t for s in others for t in self.known.get(s, []) if self._seen(t))
            same = [t for t in told if t.same(said, item.digest, declared=item.declared)]
            # A fact that was told without an event is the same, but the event is new.
            item.known = item.known or any(t.digest for t in same)
            if not same and any(self._differs(item, t) for t in told if not t.declared):
                raise Conflict("fact_differs", fact_id=said.fact_id)
            if not same:
                new.append((own, said))
        for stream, said in () if item.known else new:
            told = self.known.setdefault(stream, [])
            version = told[-1].version + 1 if told else 1
            told.append(
                _Told(version, said.event, said.occurred_at, item.digest, self._region(item))
            )
            self.new.append((stream, version, said, item))

    def _differs(self, item: Item, told: _Told) -> bool:
        """Tell whether an event is another than what its id stands for, or not its sender's."""
        if not item.declared:
            return True
        return not self._seen(told) or (told.digest not in {"", item.digest})

    def _seen(self, told: _Told) -> bool:
        return self.who.covers(told.region_code)

    def _region(self, item: Item) -> str:
        return item.region_code or self.who.region_code

    def envelopes(self, meta: Meta) -> list[Envelope]:
        """Return what is new as it is stored."""
        return [
            Envelope(
                stream,
                version,
                said.event,
                msgspec.structs.replace(
                    meta,
                    occurred_at=said.occurred_at,
                    region_code=item.region_code or meta.region_code,
                    content_hash=item.digest,
                ),
            )
            for stream, version, said, item in self.new
        ]
