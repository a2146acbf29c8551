"""What a read model is: a name, the TOPICs it takes, its tables, and how a batch changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, NamedTuple, Protocol

import psycopg

from domain.shared.events import Event
from store.envelope import Meta, Recorded

Apply = Callable[["psycopg.Cursor[Any]", Sequence[Recorded]], None]


class Log(Protocol):
    """The ledger up to a position, as a bulk load reads it."""

    def events(self, topics: Sequence[str]) -> Iterator[list[tuple[int, Event, Meta]]]:
        """Yield pages of (position, event, what is known of it) in order of position."""
        ...


class Bulk(NamedTuple):
    """How the tables are made from the whole log at once: quicker than in batches.

    `load` gets the tables of `ddl`, empty, and makes the indexes that are missing; it must leave
    the rows that `apply` would.
    """

    ddl: LiteralString
    load: Callable[[psycopg.Cursor[Any], Log], None]


class Place(NamedTuple):
    """Where events go: the schema of the tables, the name for what they cannot take."""

    schema: str
    letters: str


@dataclass(frozen=True, slots=True)
class Projection:
    """A read model of the ledger in a schema of its own.

    `apply` gets events in order of position, each once, with the search path on the schema's
    tables (and `public` behind it); it must leave the same rows however the events are cut into
    batches. `ddl` names tables without a schema. A new `version` rebuilds the tables at start, with
    `bulk` where there is such a way.
    """

    name: str
    version: int
    topics: tuple[str, ...]
    apply: Apply
    ddl: LiteralString
    bulk: Bulk | None = None

    @property
    def schema(self) -> str:
        """Return the schema of the tables that are read."""
        return f"rm_{self.name}"

    @property
    def shadow(self) -> str:
        """Return the schema where a rebuild makes its tables."""
        return f"rm_{self.name}_shadow"

    @property
    def follower(self) -> str:
        """Return the permanent name under which its progress and dead letters are kept."""
        return f"ledger.{self.name}"

    @property
    def live(self) -> Place:
        """Return where what is read is kept."""
        return Place(self.schema, self.follower)

    @property
    def rehearsal(self) -> Place:
        """Return where a rebuild is kept until it is put into use."""
        return Place(self.shadow, f"{self.follower}.shadow")


@dataclass(frozen=True, slots=True)
class Checked:
    """A comparison with a fresh rebuild: table -> (rows, digest) of both."""

    name: str
    position: int
    live: dict[str, tuple[int, str]]
    rebuilt: dict[str, tuple[int, str]]

    @property
    def same(self) -> bool:
        """Tell whether every table holds the same rows."""
        return self.live == self.rebuilt
