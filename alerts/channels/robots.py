"""Robots of group chats: WeCom, DingTalk and Feishu, told by HTTP at a base address that is set.

A recipient's address is what its robot's own address ends in; the secret is the one that the
robot's security settings give. Whether a message was taken stands in the body: with status 200 and
a code other than 0 it was not. How often a robot may be told is kept to here (`alerts/bucket.py`);
what is too much waits in the outbox.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote_plus, urlsplit

import orjson

from alerts.bucket import Buckets, Limit
from alerts.channels.channel import Ask, Later, Message, Permanent, Transient
from alerts.channels.webhook import refused

_JSON = {"Content-Type": "application/json; charset=utf-8"}


class Robot(ABC):
    """One kind of robot; several threads may use it at once."""

    # How often one robot may be told, a second more than the provider counts: what was sent late in
    # one minute may arrive in the next.
    LIMITS: ClassVar[Sequence[Limit]]
    # Codes that say "too often", with the seconds to leave the robot alone.
    TOO_OFTEN: ClassVar[Mapping[int, float]]
    # Codes that no further attempt changes: of the robot, its secret, or the message itself.
    FINAL: ClassVar[frozenset[int]]
    # Fields of the answer that hold the code and what it means.
    CODE: ClassVar[str] = "errcode"
    SAID: ClassVar[str] = "errmsg"
    # Bytes of text that the provider takes.
    TEXT_MAX: ClassVar[int] = 18_000

    def __init__(self, url: str, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        """`url`: the provider's base address. `clock`: seconds, for the buckets."""
        self._url = url.rstrip("/")
        self._ask = ask
        self._buckets = Buckets(self.LIMITS, clock)

    def send(self, message: Message) -> dict[str, str]:
        """Tell a robot; the evidence is who accepted it: these robots give no id."""
        wait = self._buckets.take(message.address, critical=message.critical)
        if wait > 0:
            raise Later("this robot is told as often as it may be", wait)
        body = orjson.dumps(self.body(message))
        status, answer = self._ask(self._url + self.path(message), body, _JSON)
        self._judge(message.address, status, answer)
        return {"status": str(status), "accepted_by": urlsplit(self._url).hostname or ""}

    def close(self) -> None:  # noqa: B027 -- the same for all of them
        """Keep nothing open between messages."""

    @abstractmethod
    def path(self, message: Message) -> str:
        """Return where a message is posted to, below the base address."""

    @abstractmethod
    def body(self, message: Message) -> dict[str, Any]:
        """Return what is posted."""

    def text(self, message: Message) -> str:
        """Return the text, cut to what the provider takes; Chinese comes first."""
        whole = message.text.encode()
        return (
            whole[: self.TEXT_MAX].decode(errors="ignore")
            if len(whole) > self.TEXT_MAX
            else message.text
        )

    def _judge(self, robot: str, status: int, answer: bytes) -> None:
        """Raise what an answer means unless the message was taken."""
        code, said = self._told(answer)
        if code == 0:
            return
        if code in self.TOO_OFTEN or status == 429:
            seconds = self.TOO_OFTEN.get(code or 0, 60.0)
            self._buckets.shut(robot, seconds)
            raise Later(f"{code} {said}", seconds)
        if code is not None:
            raise (Permanent if code in self.FINAL else Transient)(f"{code} {said}")
        raise Transient("not an answer of this provider") if status < 400 else refused(status)

    def _told(self, answer: bytes) -> tuple[int | None, str]:
        """Return the code and its meaning, None for an answer that has none."""
        try:
            told = orjson.loads(answer)
            return int(told[self.CODE]), str(told.get(self.SAID, ""))
        except (ValueError, TypeError, KeyError):
            return None, ""


class WeCom(Robot):
    """A WeCom (企业微信) group robot; its address is the key. It has no signature."""

    LIMITS = (Limit(20, 61.0),)
    TOO_OFTEN: ClassVar[Mapping[int, float]] = {45009: 60.0, 45033: 5.0}
    # No such robot or removed from its group; message of a wrong kind, form, empty, too long.
    FINAL = frozenset({93000, 93008, 40008, 40035, 40058, 44004, 45002})
    TEXT_MAX = 2_048

    def path(self, message: Message) -> str:
        """Return where a message is posted to, below the base address."""
        return f"/cgi-bin/webhook/send?key={quote_plus(message.address)}"

    def body(self, message: Message) -> dict[str, Any]:
        """Return what is posted."""
        return {"msgtype": "text", "text": {"content": self.text(message)}}


class DingTalk(Robot):
    """A DingTalk (钉钉) robot; its address is the access token.

    It is signed over the time in milliseconds and the secret, with the secret as the key; a robot
    that is told too often says nothing for ten minutes.
    """

    LIMITS = (Limit(20, 61.0),)
    TOO_OFTEN: ClassVar[Mapping[int, float]] = {130101: 600.0, 410100: 600.0, 90030: 600.0}
    # Not verified (sign, keyword, address); no such token, robot or group, stopped; unfit content.
    FINAL = frozenset(
        {
            *(310000, 300001, 300005, 400013, 400101, 400102, 400105, 400106),
            *(40035, 43004, 430101, 430102, 430103, 430104),
        }
    )

    def path(self, message: Message) -> str:
        """Return where a message is posted to, below the base address."""
        stamp = str(int(message.sent_at.timestamp() * 1000))
        sign = _signed(message.secret, f"{stamp}\n{message.secret}")
        token = quote_plus(message.address)
        return f"/robot/send?access_token={token}&timestamp={stamp}&sign={quote_plus(sign)}"

    def body(self, message: Message) -> dict[str, Any]:
        """Return what is posted."""
        return {"msgtype": "text", "text": {"content": self.text(message)}}


class Feishu(Robot):
    """A Feishu (飞书) robot; its address is the id of its hook.

    The time in seconds and the secret are the key, and nothing is what is signed.
    """

    LIMITS = (Limit(100, 61.0), Limit(5, 2.0))
    TOO_OFTEN: ClassVar[Mapping[int, float]] = {11232: 60.0, 11233: 60.0}
    # No such hook; not verified (sign, address, keyword). 9499 is said of haste as well.
    FINAL = frozenset({19001, 19021, 19022, 19024})
    CODE, SAID = "code", "msg"

    def path(self, message: Message) -> str:
        """Return where a message is posted to, below the base address."""
        return f"/open-apis/bot/v2/hook/{quote_plus(message.address)}"

    def body(self, message: Message) -> dict[str, Any]:
        """Return what is posted."""
        stamp = str(int(message.sent_at.timestamp()))
        return {
            "timestamp": stamp,
            "sign": _signed(f"{stamp}\n{message.secret}", ""),
            "msg_type": "text",
            "content": {"text": self.text(message)},
        }


KINDS: Mapping[str, type[Robot]] = {"wecom": WeCom, "dingtalk": DingTalk, "feishu": Feishu}


def _signed(key: str, text: str) -> str:
    return base64.b64encode(hmac.digest(key.encode(), text.encode(), hashlib.sha256)).decode()
