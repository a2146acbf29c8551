"""Whether a session at the broker is alive: marks of our own, which must come back.

A session can be subscribed and yet give nothing, as was seen once after a broker was killed; then
messages pile up in the broker and nothing says so. So now and then a mark is published on a topic
of nobody's for every subscription. It goes the way of every message: by QoS 1, since the embedded
broker gives QoS 0 past the queue in which messages wait. It comes back before the inbox and is
never stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ingest.client import Packet
from ingest.topics import mark

PULSE_S = 30.0
LONGEST_S = 600.0  # between two marks to a session that stays silent
SILENT_S = 20.0  # after which a mark that the broker has taken will not come back
# Messages in hand from which a mark may be waiting behind others. A window that is full, and of
# which the embedded broker drops marks for a while, is larger.
BEHIND = 50
WORD = "~vaxtrail"  # no device, gateway or site can be named so
PAYLOAD = b"vaxtrail pulse"
_PAYLOADS = frozenset((PAYLOAD,))


class Pulse:
    """The marks of one session; `silences`: how often in a row one has not come back."""

    def __init__(self, filters: Sequence[str]) -> None:
        self._filters = {mark(text, WORD).encode(): text for text in filters}
        self._awaited: set[bytes] = set()  # topics
        self._untaken: set[int] = set()  # marks that the broker has not acknowledged, by packet id
        self._next = self._silent_from = 0.0
        self.silences = 0

    def begin(self) -> None:
        """Begin anew on a connection whose subscriptions were granted."""
        self._awaited.clear()
        self._untaken.clear()
        again_s = min(PULSE_S * 2.0**self.silences, LONGEST_S) if self.silences > 1 else 0.0
        self._next = time.monotonic() + again_s

    def beat(self, publish: Callable[[bytes, bytes], int], *, held: bool) -> list[str]:
        """Publish the marks when it is time to; return the subscriptions that turned out silent.

        publish: topic and payload, at QoS 1; returns the packet id. held: what comes is not being
        read, or is behind; the time that a mark takes then says nothing.
        """
        now = time.monotonic()
        if self._awaited:
            if held or self._untaken:
                self._silent_from = now + SILENT_S
            if now < self._silent_from:
                return []
            silent = [self._filters[topic] for topic in sorted(self._awaited)]
            self._awaited.clear()
            self.silences += 1
            return silent
        if now >= self._next and not held:
            self._next, self._silent_from = now + PULSE_S, now + SILENT_S
            self._awaited.update(self._filters)
            self._untaken = {publish(topic, PAYLOAD) for topic in self._filters}
        return []

    def taken(self, packet_id: int) -> None:
        """Note that the broker has acknowledged what was published with this id."""
        self._untaken.discard(packet_id)

    def without_marks(
        self, packets: list[Packet], repeats: list[int]
    ) -> tuple[list[Packet], list[int], list[bytes]]:
        """Return a block, and the indexes of repeats, without marks, and the marks' packet ids."""
        if _PAYLOADS.isdisjoint([payload for _, payload, _ in packets]):
            return packets, repeats, []
        kept: list[Packet] = []
        kept_repeats: list[int] = []
        marks: list[bytes] = []
        again = set(repeats)
        for n, (topic, payload, mid) in enumerate(packets):
            if payload == PAYLOAD and WORD.encode() in topic:
                marks += [mid] if mid else []
                self._heard(topic)
                continue
            if n in again:
                kept_repeats.append(len(kept))
            kept.append((topic, payload, mid))
        return kept, kept_repeats, marks

    def _heard(self, topic: bytes) -> None:
        if topic in self._awaited:
            self._awaited.discard(topic)
            if not self._awaited:
                self.silences = 0
