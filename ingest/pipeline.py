"""Two stages: the next messages are prepared while the last ones are being committed.

One entry is between the stages at most. It is committed in a thread of its own, unless nothing else
waits and it is small: then a change of threads would only cost time. Whatever needs the database
waits until nothing is being committed.
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
from ingest.write import SMALL_MAX, Entry

# Seconds between two looks at the registry, and that acks wait for more of the same device.
REFRESH_S = 0.1
OWING_S = 1.0

log = structlog.get_logger()


class Pipeline:
    """Takes blocks from the inbox through the worker; answers go to `answer` from any thread."""

    def __init__(
        self, worker: Worker, inbox: Inbox, answer: Callable[[Sequence[Answer]], object]
    ) -> None:
        self._worker = worker
        self._inbox = inbox
        self._answer = answer
        self._committing: tuple[Future[None], Block] | None = None
        self._executor = ThreadPoolExecutor(1, "commit")
        self._paid = self._refreshed = time.monotonic()

    def close(self) -> None:
        """Finish what is being committed. Stopped when the database is away."""
        try:
            self.wait()
        finally:
            self._executor.shutdown()

    def take(self, block: Block) -> None:
        """Store a block of messages, or hand it over to be stored. Stopped while waiting."""
        worker = self._worker
        if not worker.ready or (worker.behind and self._look_due()):
            self.wait()
            worker.settle()
        try:
            entry, careful = worker.prepare(block.packets, block.connection)
        except Exception:  # whatever it is about these messages, the careful way finds out
            log.exception("preparation_failed")
            self.wait()
            self._store_again([block])
            return
        if entry is not None and not self._hand_over(entry, block):
            return  # all of it was stored on the careful way
        if careful:
            self.wait()
            received = [_received(block.packets[n], block.connection) for n in careful]
            self._answer(worker.take_carefully(received))

    def wait(self) -> None:
        """Wait until nothing is being committed; what could not be is stored another way."""
        failed = self._outcome()
        if failed is not None:
            self._store_again([failed])

    def _look_due(self) -> bool:
        now = time.monotonic()
        if now - self._refreshed < REFRESH_S:
            return False
        self._refreshed = now
        return True

    def _hand_over(self, entry: Entry, block: Block) -> bool:
        """Have an entry committed after the one before it; False when that one had failed."""
        idle = self._committing is None or self._committing[0].done()
        failed = self._outcome()
        if failed is None and idle and self._inbox.empty and len(block.packets) <= SMALL_MAX:
            try:
                self._commit(entry)
            except Exception as error:
                log.warning("commit_failed", error=str(error).strip())
                failed, block = block, Block(block.connection)
        elif failed is None:
            self._committing = self._executor.submit(self._commit, entry), block
            return True
        if failed is not None:
            self._store_again([failed, block])
        return failed is None

    def _commit(self, entry: Entry) -> None:
        self._worker.commit(entry)
        now = time.monotonic()
        owing = not self._inbox.empty and now - self._paid < OWING_S
        self._paid = self._paid if owing else now
        self._answer([self._worker.answer(entry, owing=owing)])

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

    def _store_again(self, blocks: Sequence[Block]) -> None:
        """Store messages one block after the other, from what is stored now."""
        self._worker.forget()
        for block in blocks:
            if block.packets:
                received = [_received(packet, block.connection) for packet in block.packets]
                self._answer(self._worker.take(received))


def _received(packet: Packet, connection: int) -> Received:
    topic, payload, mid = packet
    return Received(topic.decode(errors="replace"), payload, connection, mid)
