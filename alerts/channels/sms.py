"""Short messages by template, over the HTTP interface of a provider.

The provider keeps the template's text and the signature; it is sent what goes into the template:

    【signature】{what}：{place}，{state}，{since}，编号{number}，请查看

The whole stays within one part, 70 UTF-16 units: what there is no room for is cut, the least
important first. What the provider accepted is kept by its id; whether a phone has it is asked later
(`alerts/receipts.py`). Numbers are personal data: they stand in the table of recipients, in the
request, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from alerts.channels.channel import Ask, Message, Transient, Undelivered
from alerts.recipients import masked

# One part of a message outside the GSM alphabet (3GPP TS 23.040), in UTF-16 units.
PART_MAX = 70
# Units of one variable that providers take.
VARIABLE_MAX = 35
# Units of a place's name below which others give way to it, and of values and counts.
PLACE_MIN = 10
STATE_MAX = 20
TEMPLATE = "{what}：{place}，{state}，{since}，编号{number}，请查看"
# In the order of the template.
PARTS = ("what", "place", "state", "since", "number")


@dataclass(frozen=True, slots=True)
class Account:
    """What a provider gave; `app` is Tencent's alone."""

    url: str
    key_id: str
    secret: str = field(repr=False)
    signature: str
    template: str
    app: str = ""


class Call(NamedTuple):
    """One request to a provider."""

    address: str
    body: bytes
    headers: dict[str, str]


class Report(NamedTuple):
    """What became of a message: when a phone had it, or why none will; neither: not known yet."""

    delivered_at: datetime | None = None
    failure: str = ""


class Provider(Protocol):
    """How one provider is spoken to. Phones are eleven digits; errors are Undelivered."""

    def sending(self, phone: str, parts: Mapping[str, str], key: str, at: datetime) -> Call:
        """Return the request that sends a message, at a moment."""

    def accepted(self, status: int, answer: bytes) -> str:
        """Return the id under which the provider accepted it."""

    def asking(self, phone: str, accepted_id: str, sent_at: datetime, at: datetime) -> Call:
        """Return the request that asks what became of a message."""

    def report(self, status: int, answer: bytes, accepted_id: str) -> Report:
        """Return what the provider knows of a message."""


class Sms:
    """Sends to one phone a message; several threads may use it at once."""

    def __init__(self, provider: Provider, account: Account, ask: Ask) -> None:
        self._provider = provider
        self._account = account
        self._ask = ask

    def send(self, message: Message) -> dict[str, str]:
        """Hand one message in; the evidence is the provider's id of it."""
        phone = digits(message.address)
        parts = fitted(message.brief, self._account.signature)
        call = self._provider.sending(phone, parts, message.key, message.sent_at)
        with _masking(phone):
            accepted_id = self._provider.accepted(*self._ask(*call))
        host = urlsplit(self._account.url).hostname or ""
        return {"accepted_id": accepted_id, "accepted_by": host}

    def report(self, address: str, accepted_id: str, sent_at: datetime, now: datetime) -> Report:
        """Ask what became of a message that was accepted; Undelivered without an answer."""
        phone = digits(address)
        call = self._provider.asking(phone, accepted_id, sent_at, now)
        with _masking(phone):
            answer = self._ask(*call)
            try:
                return self._provider.report(*answer, accepted_id)
            except (LookupError, TypeError, AttributeError, ValueError, OSError) as error:
                raise Transient("not a report of this provider") from error

    def close(self) -> None:
        """Keep nothing open between messages."""


@contextmanager
def _masking(phone: str) -> Iterator[None]:
    """Let what the provider says of a phone show as much of its number as others may see."""
    try:
        yield
    except Undelivered as error:
        error.args = (str(error).replace(phone, masked(phone)),)
        raise


def digits(address: str) -> str:
    """Return the eleven digits of a mobile number of mainland China."""
    return address.removeprefix("+86")


def fitted(parts: Mapping[str, str], signature: str) -> dict[str, str]:
    """Return the parts of a message such that it is one part of a short message.

    What happened, its number and the values stay. The day of the time goes first, then the end of
    the place's name down to ten units, the time, the goods inside, and at last more of the name.
    """
    told = {name: _plain(parts.get(name, "")) for name in PARTS}
    state, place = cut(told["state"], STATE_MAX), told["place"]
    goods = f"{state} {parts['goods'].strip()}" if parts.get("goods") else state
    hour = told["since"].partition(" ")[2] or "-"
    for said, since in ((goods, told["since"]), (goods, hour), (goods, "-"), (state, hour)):
        room = _room({**told, "state": said, "since": since, "place": ""}, signature)
        if room >= min(units(place), PLACE_MIN):
            return {**told, "state": said, "since": since, "place": cut(place, room)}
    least = {**told, "state": state, "since": "-", "place": ""}
    return {**least, "place": cut(place, max(_room(least, signature), 1))}


def _room(parts: Mapping[str, str], signature: str) -> int:
    return min(PART_MAX - units(text(parts, signature)), VARIABLE_MAX)


def text(parts: Mapping[str, str], signature: str) -> str:
    """Return the message as a phone shows it."""
    return f"【{signature}】{TEMPLATE.format_map(parts)}"


def units(words: str) -> int:
    """Return how many UTF-16 units a text takes."""
    return len(words.encode("utf-16-le")) // 2


def cut(words: str, most: int) -> str:
    """Return a text of at most so many units, with … where something is missing."""
    if units(words) <= most:
        return words
    kept = words[:most]
    while units(kept) > most - 1:
        kept = kept[:-1]
    return f"{kept}…"


def _plain(words: str) -> str:
    """Return a variable as providers take it: one line, not empty, no brackets of a signature."""
    return " ".join(words.replace("【", "").replace("】", "").split()) or "-"
