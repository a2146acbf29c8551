"""Events of the EPCIS repository. The documents themselves are `traceability.CaptureStored`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from domain.shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class EventProblem:
    """What is wrong with one event of a document; `index` from 0, None = with the document.

    `path` is a JSON pointer within the event; `code` and `facts` are those of a refusal.
    """

    index: int | None
    event_id: str
    path: str
    code: str
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownEvent:
    """An event of a document that was captured before; `hash` is its CBV 2.0 hash, hex."""

    index: int
    event_id: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureEnded(Event):
    """A capture job came to its end. Of several attempts in one stream the newest counts.

    `captured_count` events are new, `known` were there, `refused` were not taken. `remarks` tell
    why an event that was taken says nothing about custody.
    """

    TOPIC: ClassVar[str] = "epcis.CaptureEnded"
    capture_id: str
    sha256: str
    behaviour: str  # rollback or proceed
    began_at: datetime
    event_count: int
    captured_count: int
    known: tuple[KnownEvent, ...] = ()
    refused: tuple[EventProblem, ...] = ()
    remarks: tuple[EventProblem, ...] = ()

    @property
    def success(self) -> bool:
        """Tell whether every event of the document is in the repository."""
        return not self.refused


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKept(Event):
    """An EPCIS event that says nothing of custody took its id.

    It stands where the fact of that id would. `declaration` is the SHA-256 (hex) of the error
    declaration it carries, empty without one. The event itself is in the document.
    """

    TOPIC: ClassVar[str] = "epcis.EventKept"
    event_id: str
    declaration: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryDefined(Event):
    """A query got a name.

    query: the JSON text as received. extensions: the prefixes of its names, as `GS1-Extensions`
    gave them (`prefix=namespace, …`).
    """

    TOPIC: ClassVar[str] = "epcis.QueryDefined"
    name: str
    query: str
    extensions: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRemoved(Event):
    """A named query, and every subscription to it, ended."""

    TOPIC: ClassVar[str] = "epcis.QueryRemoved"
    name: str
