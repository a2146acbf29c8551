"""The bounded queue between the broker's threads and the intake: full means stop reading.

It has two lanes. What devices send again from their memory waits in one of its own, and is taken
in small blocks and only when nothing else waits: a day's backlog must not stand before what happens
now, nor keep the database busy for long at a time. Where a few messages wait for more, one that may
be of an alert ends that.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Condition

from ingest import metrics
from ingest.client import Packet


@dataclass(slots=True)
class Block:
    """Messages in order of arrival, and the connection that waits for their PUBACKs."""

    connection: int
    packets: list[Packet] = field(default_factory=list)


def bytes_of(packets: list[Packet]) -> int:
    """Return the size of these messages' payloads."""
    return sum([len(packet[1]) for packet in packets])


@dataclass(frozen=True, slots=True)
class Size:
    """Messages, and bytes of their payloads."""

    messages: int
    bytes: int


# What may wait, the broker keeps the rest; and what is taken at once.
LIVE_MAX, LIVE_TAKEN = Size(10_000, 16 * 1024 * 1024), Size(1_000, 2 * 1024 * 1024)
BACKFILL_MAX, BACKFILL_TAKEN = Size(2_000, 4 * 1024 * 1024), Size(500, 256 * 1024)
# Messages of a lane that wait for no more to come.
ENOUGH = 128


class _Lane:
    """Blocks in order of arrival."""

    def __init__(self, most: Size, taken: Size) -> None:
        self._most = most
        self._taken = taken
        self._bytes = 0
        self.waiting: deque[Block] = deque()
        self.messages = 0

    @property
    def full(self) -> bool:
        return self.messages >= self._most.messages or self._bytes >= self._most.bytes

    def put(self, block: Block) -> None:
        self.waiting.append(block)
        self.messages += len(block.packets)
        self._bytes += bytes_of(block.packets)

    def take(self) -> Block:
        """Return messages of one connection; something must wait."""
        taken = self.waiting.popleft()
        size = bytes_of(taken.packets)
        while self._joins(taken, size):
            more = self.waiting.popleft()
            taken.packets += more.packets
            size += bytes_of(more.packets)
        kept = self._cut(taken)
        if kept.packets:
            self.waiting.appendleft(kept)
            size -= bytes_of(kept.packets)
        self.messages -= len(taken.packets)
        self._bytes -= size
        return taken

    def _joins(self, taken: Block, size: int) -> bool:
        """Tell whether the next block may be taken along."""
        return bool(
            self.waiting
            and self.waiting[0].connection == taken.connection
            and len(taken.packets) < self._taken.messages
            and size < self._taken.bytes
        )

    def _cut(self, taken: Block) -> Block:
        """Shorten what was taken to what may be taken at once; return the rest."""
        upto, size = 0, 0
        for _, payload, _ in taken.packets:
            if upto >= self._taken.messages or size >= self._taken.bytes:
                break
            upto, size = upto + 1, size + len(payload)
        rest = Block(taken.connection, taken.packets[upto:])
        del taken.packets[upto:]
        return rest


class Inbox:
    """Blocks by lane; each lane is filled by one thread, and one thread takes.

    `apart_s`: so long after the last ones were taken a few more wait; set by the one who takes.
    """

    def __init__(self, hurries: Callable[[Sequence[Packet]], bool] = lambda _: False) -> None:
        """`hurries` tells, in any thread, whether live messages among these should not wait."""
        self.apart_s = 0.0
        self._hurries = hurries
        self._hurry = self._gathering = False
        self._taken = 0.0  # when the last ones were (time.monotonic)
        self._live = _Lane(LIVE_MAX, LIVE_TAKEN)
        self._backfill = _Lane(BACKFILL_MAX, BACKFILL_TAKEN)
        self._woken = False
        self._changed = Condition()

    def full(self, *, backfill: bool = False) -> bool:
        """Tell whether no more should be read into a lane for now."""
        return self._lane(backfill).full

    @property
    def empty(self) -> bool:
        """Tell whether nothing waits."""
        return not (self._live.waiting or self._backfill.waiting)

    @property
    def ready(self) -> bool:
        """Tell whether something waits that is to be taken now."""
        if self._hurry or any(lane.messages >= ENOUGH for lane in (self._live, self._backfill)):
            return True
        return not self.empty and self._left_s() <= 0

    @property
    def backlog(self) -> bool:
        """Tell whether anything waits that devices sent again from their memory."""
        return bool(self._backfill.waiting)

    def put(self, block: Block, *, backfill: bool = False) -> None:
        """Add messages; what was read must be kept even when that makes the lane overfull."""
        lane = self._lane(backfill)
        with self._changed:
            first = self.empty
            lane.put(block)
            if self._gathering and not backfill:
                self._hurry = self._hurry or self._hurries(block.packets)
            if first or self._hurry or lane.messages >= ENOUGH:
                self._changed.notify()
        self._measure()

    def take(self, timeout_s: float) -> Block | None:
        """Return messages of one connection, after waiting for them; None when none are ready."""
        with self._changed:
            if self.empty and not self._woken:
                self._changed.wait(timeout_s)
            if not (self._woken or self.empty or self.ready):
                self._gather()
            self._woken = False
            if not self.ready:
                return None
            self._taken = time.monotonic()
            self._hurry = False
            taken = self._lane(not self._live.waiting).take()
        self._measure()
        return taken

    def wake(self) -> None:
        """Let a waiting `take` return, or the next one."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def _gather(self) -> None:
        """Let a few messages wait for more."""
        self._hurry = any(self._hurries(block.packets) for block in self._live.waiting)
        self._gathering = True
        while not (self._woken or self.ready):
            self._changed.wait(self._left_s())
        self._gathering = False

    def _left_s(self) -> float:
        """Return for how long a few messages have to wait yet."""
        return self._taken + self.apart_s - time.monotonic()

    def _lane(self, backfill: bool) -> _Lane:
        return self._backfill if backfill else self._live

    def _measure(self) -> None:
        metrics.QUEUE_LENGTH.set(self._live.messages + self._backfill.messages)
