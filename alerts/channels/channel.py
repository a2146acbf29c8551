"""What a channel is: it takes one message for one address, or says why not and whether to retry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


class Undelivered(Exception):
    """A channel could not deliver. `permanent` decides whether it is tried again."""

    permanent = False


class Transient(Undelivered):
    """May work later: no connection, a time-out, a server that asks to wait."""


class Permanent(Undelivered):
    """Will not work as it is: address refused, request refused."""

    permanent = True


@dataclass(frozen=True, slots=True)
class Message:
    """One message for one recipient.

    `key` is the delivery's: an attempt repeated after a crash carries the same, so that the
    receiver can tell. `thread` is common to all messages of one alert. `event` is what systems
    get, `subject` and `text` what people read. `at` is when the notice was made, `sent_at` the
    present attempt.
    """

    key: str
    thread: str
    address: str
    secret: str = field(repr=False)
    subject: str
    text: str
    event: Mapping[str, Any]
    at: datetime
    sent_at: datetime


class Channel(Protocol):
    """One way to reach somebody; used by several threads at once."""

    def send(self, message: Message) -> dict[str, str]:
        """Deliver and return the evidence (what the other side answered). Undelivered if not."""

    def close(self) -> None:
        """Give up connections."""
