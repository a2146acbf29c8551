"""Two stages: the next messages are prepared while the last ones are being committed.

While a sheet is being committed, the next one gathers all that comes: the busier the database, the
more messages share a transaction. While messages flow, few of them wait a moment for more; one that
comes alone never waits. What needs careful judgement, as a reading that begins an alert does, goes
before the sheet where it can. A commit runs in a thread of its own, unless it is small and little
else waits: then a change of threads would only cost time. Whatever needs the database waits until
nothing is being committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import structlog

from ingest.answers import Answer
from ingest.batch import Received
from ingest.client import Packet
from ingest.inbox import Block, Inbox
from ingest.worker import Worker
from ingest.write import Entry

# Seconds between two looks at the registry, and that acks wait for more of the same device.
REFRESH_S = 0.1
OWING_S = 1.0
# Messages that are committed at once, in the same thread, when nothing else waits.
INLINE_MAX = 64
# Messages flow when so many come during a commit. Then few are taken only so many times as long
# after the last ones as a commit takes, at most so many seconds. Each transaction has the disk
# write once, and a broker that puts every message there waits for that.
FLOWING = 2
APART, APART_S_MAX = 8.0, 0.016

log = structlog.get_logger()


class Pipeline:
    """Takes blocks from the inbox through the worker; answers go to `answer` from any thread."""

    def __init__(
        self, worker: Worker, inbox: Inbox, answer: Callable[[Sequence[Answer]], object]
    ) -> None:
        self._worker = worker
        self._inbox = inbox
        self._answer = answer
        self._gathered: Block | None = None  # the messages of the worker's sheet
        self._committing: tuple[Future[None], Block] | None = None
        self._executor = ThreadPoolExecutor(1, "commit")
        self._paid = self._refreshed = self._handed_over = time.monotonic()
        self._took_s = 0.0  # by the last commit
        self._flowed = False  # before the last commit

    def close(self) -> None:
        """Finish what has been taken. Stopped when the database is away."""
        try:
            self.finish()
        finally:
            self._executor.shutdown()

    def take(self, block: Block) -> None:
        """Add a block of messages to those that are stored next. Stopped while waiting."""
        rest = block
        while rest.packets:
            self._make_ready()
            if self._gathered is not None and self._gathered.connection != block.connection:
                self._hand_over()
            try:
                careful, looked_at = self._worker.prepare(rest.packets)
            except Exception:  # whatever it is about these messages, the careful way finds out
                log.exception("preparation_failed")
                self._store_again(self._outcome(), self._gathered, rest)
                return
            part = Block(block.connection, rest.packets[:looked_at])
            rest = Block(block.connection, rest.packets[looked_at:])
            self._gather(part, careful)
            if careful:
                self._take_carefully(Block(part.connection, [part.packets[n] for n in careful]))
            self.advance()

    def advance(self) -> None:
        """Commit what is gathered, unless something is being committed and there is more room."""
        if self._committing is not None and self._committing[0].done():
            self._check()  # which stores what is gathered as well, when it had failed
        if self._gathered is not None and (self._committing is None or self._worker.full):
            self._hand_over()

    def finish(self) -> None:
        """Commit what is gathered, wait until nothing is being committed, tell what is owed."""
        self._hand_over()
        self._check()
        self._answer([Answer(0, (), self._worker.owed())])

    def _make_ready(self) -> None:
        """Read on in the registry where it is time to; that needs the database."""
        if not self._worker.ready or (self._worker.behind and self._look_due()):
            self.finish()
            self._worker.settle()

    def _gather(self, block: Block, careful: Sequence[int]) -> None:
        ordinary = block.packets
        if careful:
            left = set(careful)
            ordinary = [packet for n, packet in enumerate(ordinary) if n not in left]
        if not ordinary:
            return
        if self._gathered is None:
            self._gathered = Block(block.connection, ordinary)
        else:
            self._gathered.packets += ordinary

    def _take_carefully(self, block: Block) -> None:
        """Store messages that the fast lane has left, ahead of the sheet where they may."""
        received = [_received(packet, block.connection) for packet in block.packets]
        if not self._worker.may_overtake(block.packets):
            self.finish()
            self._answer(self._worker.take_carefully(received))
            return
        failed = self._outcome()
        if failed is None:
            try:
                self._answer(self._worker.overtake(received))
            except Exception as error:  # one message after the other will find out what it is
                log.warning("commit_failed", error=str(error).strip())
            else:
                return
        self._store_again(failed, self._gathered, block)

    def _look_due(self) -> bool:
        now = time.monotonic()
        if now - self._refreshed < REFRESH_S:
            return False
        self._refreshed = now
        return True

    def _hand_over(self) -> None:
        """Have the sheet committed after the one before it."""
        self._check()
        block = self._gathered
        if block is None:
            return
        self._gathered = None
        mids = [mid for _, _, mid in block.packets if mid]
        entry = self._worker.finished(block.connection, mids)
        self._pace(len(block.packets))
        if len(block.packets) > INLINE_MAX or self._inbox.ready:
            committing = self._executor.submit(self._commit, entry)
            committing.add_done_callback(lambda _: self._inbox.wake())
            self._committing = committing, block
            return
        try:
            self._commit(entry)
        except Exception as error:
            log.warning("commit_failed", error=str(error).strip())
            self._store_again(block)

    def _pace(self, messages: int) -> None:
        """Let the next messages gather when they flow, as these have and those before them."""
        now = time.monotonic()
        seconds, self._handed_over = now - self._handed_over, now
        flowed, self._flowed = self._flowed, messages * self._took_s >= FLOWING * seconds
        apart_s = min(APART * self._took_s, APART_S_MAX)
        self._inbox.apart_s = apart_s if flowed and self._flowed else 0.0

    def _commit(self, entry: Entry) -> None:
        began = time.monotonic()
        self._worker.commit(entry)
        now = time.monotonic()
        self._took_s = now - began
        more = self._inbox.apart_s > 0 or not self._inbox.empty
        owing = more and now - self._paid < OWING_S
        self._paid = self._paid if owing else now
        self._answer([self._worker.answer(entry, owing=owing)])

    def _check(self) -> None:
        """Wait for the commit; when it failed, store its messages and those after it again."""
        failed = self._outcome()
        if failed is not None:
            self._store_again(failed, self._gathered)

    def _outcome(self) -> Block | None:
        """Return the messages of the entry being committed, once it is known that it has failed."""
        if self._committing is None:
            return None
        future, block = self._committing
        error = future.exception()
        self._committing = None
        if error is not None:
            log.warning("commit_failed", error=str(error).strip())
        return None if error is None else block

    def _store_again(self, *blocks: Block | None) -> None:
        """Store messages one block after the other, from what is stored now."""
        self._gathered = None
        self._worker.forget()
        for block in blocks:
            if block is not None:
                received = [_received(packet, block.connection) for packet in block.packets]
                self._answer(self._worker.take(received))


def _received(packet: Packet, connection: int) -> Received:
    topic, payload, mid = packet
    return Received(topic.decode(errors="replace"), payload, connection, mid)
