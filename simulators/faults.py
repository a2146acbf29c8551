"""What goes wrong in the field: doubles, re-cut batches, wrong clocks, broken or foreign messages.

Every fault says what it holds, so that published − repeated − refused = stored can be checked.
The codes are those of the contract's reject messages.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from simulators import wire
from simulators.cold_store import Logger
from simulators.scanner import Scanner
from simulators.wire import Message

# A real-time clock that lost its battery starts here: 2000-01-01T00:00Z.
RTC_RESET_MS = 946_684_800_000
# Chances a message or a step has, small enough to leave the rest of the picture true.
CHANCE_REPEATED = 0.02  # of a message: sent again as it was
CHANCE_RECUT = 0.02  # of a batch: cut anew, with rows sent before
CHANCE_BROKEN = 0.02  # of a step: one message cut off in mid-way
CHANCE_WRONG_CLOCK = 0.02
CHANCE_UNKNOWN_DEVICE = 0.02
CHANCE_UNKNOWN_CODE = 0.02
RECUT_ROWS_MAX = 4
UNREGISTERED_PRODUCT = "8999999"


@dataclass(slots=True)
class Faults:
    """A seeded source of faults."""

    rng: random.Random

    def spoil(self, messages: list[Message], now_ms: int) -> Iterator[Message]:
        """Yield the messages of one step, some of them twice, and the step's bad ones among them.

        A broken message is the copy of a good one that follows it: the device tries again.
        """
        broken_at = self._chosen(messages, CHANCE_BROKEN)
        wrong_clock_at = self._chosen(messages, CHANCE_WRONG_CLOCK)
        for index, message in enumerate(messages):
            if index == broken_at:
                yield broken(message)
            if index == wrong_clock_at and message.readings:
                yield wrong_clock(message)
            yield message
            if self.rng.random() < CHANCE_REPEATED:
                yield repeated(message)
        if messages and self.rng.random() < CHANCE_UNKNOWN_DEVICE:
            yield unknown_device(self.rng.choice(messages), now_ms)

    def recut_rows(self, logger: Logger) -> int:
        """Return how many rows of the last batch the next one repeats; mostly none."""
        if not logger.sent or self.rng.random() >= CHANCE_RECUT:
            return 0
        return self.rng.randint(1, min(RECUT_ROWS_MAX, len(logger.sent)))

    def bad_scans(self, scanner: Scanner, now_ms: int) -> Iterator[Message]:
        """Yield, now and then, a scan of an unregistered product and one of a misread code."""
        if self.rng.random() < CHANCE_UNKNOWN_CODE:
            yield unknown_code(scanner, now_ms, self.rng)
        if self.rng.random() < CHANCE_UNKNOWN_CODE:
            yield misread_code(scanner, now_ms)

    def _chosen(self, messages: list[Message], chance: float) -> int:
        if not messages or self.rng.random() >= chance:
            return -1
        return self.rng.randrange(len(messages))


def repeated(message: Message) -> Message:
    """Return the same message again, all of it a repetition."""
    return replace(message, repeats=message.readings + message.scans)


def broken(message: Message) -> Message:
    """Return the first half of a message: not valid JSON, refused as `schema`.

    It counts as what it was meant to hold, nothing of which was sent before.
    """
    cut = message.payload[: len(message.payload) // 2]
    return replace(message, payload=cut, repeats=0, refused="schema")


def wrong_clock(message: Message) -> Message:
    """Return a batch as a device sends it whose clock fell back to the year 2000."""
    body = json.loads(message.payload)
    holder = body.get("base", body)
    holder["ts"] = RTC_RESET_MS
    return replace(message, payload=wire.encode(body), repeats=0, refused="clock")


def unknown_device(message: Message, now_ms: int) -> Message:
    """Return one reading of a device that nobody registered, from the sender of `message`."""
    base, _ = message.answer_key
    return replace(
        wire.single(base, "TH-NOBODY", boot=1, seq=now_ms // 1000, ts_ms=now_ms, values={"t1": 5}),
        refused="unknown_device",
    )


def unknown_code(scanner: Scanner, now_ms: int, rng: random.Random) -> Message:
    """Return the scan of a code whose product is not registered."""
    code = f"{UNREGISTERED_PRODUCT}{rng.randrange(10**13):013d}"
    message = scanner.scan(now_ms, "receiving", (code,), {"bill": "CK-UNKNOWN"})
    return replace(message, refused="unknown_code")


def misread_code(scanner: Scanner, now_ms: int) -> Message:
    """Return a scan of 19 digits: the reader lost one."""
    message = scanner.scan(now_ms, "receiving", ("8690011123456789012",), {"bill": "CK-MISREAD"})
    return replace(message, refused="bad_code")
