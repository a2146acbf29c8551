"""The bounded queue between the broker's thread and the writer: full means stop reading."""

from __future__ import annotations

from collections import deque
from threading import Condition

from ingest import metrics
from ingest.batch import Received

# Messages and bytes that may wait; the broker keeps the rest.
MESSAGES_MAX = 10_000
BYTES_MAX = 32 * 1024 * 1024
# Messages and bytes of one transaction: the contract for batches that also write to the ledger.
BATCH_MESSAGES_MAX = 500
BATCH_BYTES_MAX = 4 * 1024 * 1024


class Inbox:
    """Messages in order of arrival; one thread puts, one takes."""

    def __init__(self) -> None:
        self._waiting: deque[Received] = deque()
        self._bytes = 0
        self._changed = Condition()

    @property
    def full(self) -> bool:
        """Tell whether no more should be read for now."""
        return len(self._waiting) >= MESSAGES_MAX or self._bytes >= BYTES_MAX

    def put(self, received: Received) -> None:
        """Add a message; what was read must be kept even when that makes it overfull."""
        with self._changed:
            self._waiting.append(received)
            self._bytes += len(received.payload)
            self._changed.notify()
        metrics.QUEUE_LENGTH.set(len(self._waiting))

    def take(self, timeout_s: float) -> list[Received]:
        """Return what one transaction can hold of what waits, after waiting for a first message."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            taken: list[Received] = []
            size = 0
            while self._waiting and len(taken) < BATCH_MESSAGES_MAX and size < BATCH_BYTES_MAX:
                taken.append(self._waiting.popleft())
                size += len(taken[-1].payload)
            self._bytes -= size
        metrics.QUEUE_LENGTH.set(len(self._waiting))
        return taken

    def wake(self) -> None:
        """Let a waiting `take` return."""
        with self._changed:
            self._changed.notify()
