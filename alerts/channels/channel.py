"""What a channel is: it takes one message for one address, or says why not and whether to retry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

# Posts a body with its headers to a web address and returns the status and the body answered;
# Undelivered without an answer.
Ask = Callable[[str, bytes, dict[str, str]], tuple[int, bytes]]


class Undelivered(Exception):
    """A channel could not deliver. `permanent` decides whether it is tried again."""

    permanent = False


class Transient(Undelivered):
    """May work later: no connection, a time-out, a server that asks to wait."""


class Later(Transient):
    """Not now, and nothing is wrong: to be taken up after `seconds`, and no attempt is counted."""

    def __init__(self, why: str, seconds: float) -> None:
        super().__init__(why)
        self.seconds = seconds


class Permanent(Undelivered):
    """Will not work as it is: address refused, request refused."""

    permanent = True


@dataclass(frozen=True, slots=True)
class Message:
    """One message for one recipient.

    `key` is the delivery's: an attempt repeated after a crash carries the same, so that the
    receiver can tell. `thread` is common to all messages of one alert. `event` is what systems
    get, `subject` and `text` what people read, `brief` what a template of a short message takes.
    `at` is when the notice was made, `sent_at` the present attempt.
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
    brief: Mapping[str, str] = field(default_factory=dict)

    @property
    def critical(self) -> bool:
        """Tell whether it goes before others where not all can go."""
        return self.event.get("severity") == "critical"


class Channel(Protocol):
    """One way to reach somebody; used by several threads at once."""

    def send(self, message: Message) -> dict[str, str]:
        """Deliver and return the evidence (what the other side answered). Undelivered if not."""

    def close(self) -> None:
        """Give up connections."""
