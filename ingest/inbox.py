"""The bounded queue between the broker's thread and the intake: full means stop reading."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from threading import Condition

from ingest import metrics
from ingest.client import Packet

# Messages and bytes that may wait; the broker keeps the rest.
MESSAGES_MAX = 10_000
BYTES_MAX = 16 * 1024 * 1024
# Messages and bytes taken at once.
TAKE_MESSAGES_MAX = 1_000
TAKE_BYTES_MAX = 2 * 1024 * 1024


@dataclass(slots=True)
class Block:
    """Messages in order of arrival, and the connection that waits for their PUBACKs."""

    connection: int
    packets: list[Packet] = field(default_factory=list)


def bytes_of(packets: list[Packet]) -> int:
    """Return the size of these messages' payloads."""
    return sum([len(packet[1]) for packet in packets])


class Inbox:
    """Blocks in order of arrival; one thread puts, one takes."""

    def __init__(self) -> None:
        self._waiting: deque[Block] = deque()
        self._messages = 0
        self._bytes = 0
        self._woken = False
        self._changed = Condition()

    @property
    def full(self) -> bool:
        """Tell whether no more should be read for now."""
        return self._messages >= MESSAGES_MAX or self._bytes >= BYTES_MAX

    @property
    def empty(self) -> bool:
        """Tell whether nothing waits."""
        return not self._waiting

    def put(self, block: Block) -> None:
        """Add messages; what was read must be kept even when that makes it overfull."""
        with self._changed:
            self._waiting.append(block)
            self._messages += len(block.packets)
            self._bytes += bytes_of(block.packets)
            self._changed.notify()
        metrics.QUEUE_LENGTH.set(self._messages)

    def take(self, timeout_s: float) -> Block | None:
        """Return messages of one connection that wait, after waiting for the first; else None."""
        with self._changed:
            if not self._waiting and not self._woken:
                self._changed.wait(timeout_s)
            self._woken = False
            if not self._waiting:
                return None
            taken = self._waiting.popleft()
            size = bytes_of(taken.packets)
            while self._joins(taken, size):
                more = self._waiting.popleft()
                taken.packets += more.packets
                size += bytes_of(more.packets)
            kept = _cut(taken)
            if kept.packets:
                self._waiting.appendleft(kept)
                size -= bytes_of(kept.packets)
            self._messages -= len(taken.packets)
            self._bytes -= size
        metrics.QUEUE_LENGTH.set(self._messages)
        return taken

    def wake(self) -> None:
        """Let a waiting `take` return, or the next one."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def _joins(self, taken: Block, size: int) -> bool:
        """Tell whether the next block may be taken along."""
        return bool(
            self._waiting
            and self._waiting[0].connection == taken.connection
            and len(taken.packets) < TAKE_MESSAGES_MAX
            and size < TAKE_BYTES_MAX
        )


def _cut(taken: Block) -> Block:
    """Shorten what was taken to what may be taken at once; return the rest."""
    upto, size = 0, 0
    for _, payload, _ in taken.packets:
        if upto >= TAKE_MESSAGES_MAX or size >= TAKE_BYTES_MAX:
            break
        upto, size = upto + 1, size + len(payload)
    rest = Block(taken.connection, taken.packets[upto:])
    del taken.packets[upto:]
    return rest
