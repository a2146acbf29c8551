"""What several threads want to store at once goes in one transaction.

While one of them commits, the others' entries gather; whoever comes next takes them all. The table
lock of a log lets one writer through at a time anyway: together they pay for one commit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import psycopg
from eventsourcing.persistence import InterfaceError, OperationalError

from store.envelope import Envelope
from store.transient import was_undone


@dataclass(slots=True, eq=False)
class Entry:
    """Envelopes to be stored together; `after(cursor, position)` runs in their transaction.

    `position`: of the last of them, once they are stored; `error`: why they are not.
    """

    envelopes: Sequence[Envelope]
    after: Callable[[psycopg.Cursor[Any], int], None] | None = None
    position: int = 0
    error: Exception | None = None
    done: bool = False


class Together:
    """Stores entries of many threads; `store` stores some in one transaction, or none of them."""

    def __init__(self, store: Callable[[Sequence[Entry]], None]) -> None:
        self._store = store
        self._turn = Lock()
        self._waiting: deque[Entry] = deque()

    def put(self, entry: Entry) -> None:
        """Store an entry, with those that wait; raise what is wrong with it."""
        self._waiting.append(entry)
        with self._turn:
            if not entry.done:
                self._take([self._waiting.popleft() for _ in range(len(self._waiting))])
        if entry.error is not None:
            raise entry.error

    def _take(self, entries: Sequence[Entry]) -> None:
        """Store entries; each by itself where one of them is in the way of the others."""
        try:
            self._store(entries)
        except Exception as error:
            if len(entries) > 1 and not _away(error):
                for entry in entries:
                    self._take([entry])
            else:
                for entry in entries:
                    entry.error = error
        for entry in entries:
            entry.done = True


def _away(error: Exception) -> bool:
    """Tell whether the database is away, for all: nobody knows then what it has stored.

    What it says itself that it undid (a deadlock, a statement cancelled) is one entry's doing.
    """
    return isinstance(error, InterfaceError | OperationalError) and not was_undone(error.__cause__)
