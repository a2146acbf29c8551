"""Providers by which people are told: robots of chats, short messages, web push, on this machine.

Each checks what the real one checks (signature, its time, who asks, form, length, how often), says
no in the same words with status 200 or another, and does as badly as it is told: fails, refuses,
answers late. Nothing leaves this machine.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from simulators.browser import Browser
from simulators.phones import Phones

HOST = "127.0.0.1"
Json = dict[str, Any]
Answer = tuple[int, Json]
# What the next call meets: an error of the server, a final no, "too often".
Fault = Literal["fail", "refuse", "busy"]


@dataclass(frozen=True, slots=True)
class Told:
    """A message that was taken: by which channel, for whom, its text."""

    channel: str
    address: str
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """One request as received."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        """Return the body decoded; {} when it is no object."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass
class Receivers:
    """All providers, each at its own path of one address.

    `robot_secret`: what robots that are signed share with who tells them. `now` gives Unix seconds;
    signatures are checked against it. `faults`: by channel, what the next calls meet; `delay_s`:
    seconds before every answer.
    """

    robot_secret: str = field(default_factory=lambda: f"SEC{secrets.token_hex(16)}")
    phones: Phones = field(default_factory=Phones)
    browser: Browser = field(default_factory=Browser)
    now: Callable[[], float] = time.time
    faults: defaultdict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    delay_s: float = 0.0
    told: list[Told] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    url: str = ""
    _times: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def texts(self, channel: str) -> list[str]:
        """Return the texts that a channel took, in order."""
        return [one.text for one in self.told if one.channel == channel]

    def answer(self, call: Call) -> Answer:
        """Answer one call."""
        with self._lock:
            taken = next(taken for prefix, taken in _PATHS if call.path.startswith(prefix))
            status, said = taken(self, call)
            if status >= 300 or said.get("errcode") or said.get("code"):
                self.refusals.append(json.dumps(said, ensure_ascii=False))
            return status, said

    def fault(self, channel: str) -> Fault | None:
        """Return what this call of a channel is to meet."""
        waiting = self.faults[channel]
        return waiting.popleft() if waiting else None

    def keep(self, channel: str, address: str, text: str) -> None:
        """Take a message."""
        self.told.append(Told(channel, address, text))

    def too_often(self, robot: str, *limits: tuple[int, float]) -> bool:
        """Count a call of a robot; tell whether more came in one of these stretches than may."""
        now = self.now()
        self._times[robot].append(now)
        return any(
            sum(now - at < seconds for at in self._times[robot]) > most for most, seconds in limits
        )

    def fresh(self, seconds: str, within_s: float) -> bool:
        """Tell whether a time (Unix seconds as text) is near enough to now."""
        return seconds.isdigit() and abs(self.now() - int(seconds)) <= within_s


def _wecom(books: Receivers, call: Call) -> Answer:
    """Take a message for a WeCom robot, whose key is all it has."""
    key, body = call.query.get("key", ""), call.json
    text = str(body.get("text", {}).get("content", ""))
    fault = books.fault("wecom")
    if fault == "fail":
        return 502, {}
    if fault == "refuse" or not key:
        return 200, {"errcode": 93000, "errmsg": "invalid webhook url, hint: [1]"}
    if fault == "busy" or books.too_often(key, (20, 60.0)):
        return 200, {"errcode": 45009, "errmsg": "api freq out of limit"}
    if body.get("msgtype") != "text" or not text:
        return 200, {"errcode": 40008, "errmsg": "invalid message type"}
    if len(text.encode()) > 2_048:
        return 200, {"errcode": 45002, "errmsg": "content size out of limit"}
    books.keep("wecom", key, text)
    return 200, {"errcode": 0, "errmsg": "ok"}


def _dingtalk(books: Receivers, call: Call) -> Answer:
    """Take a message for a DingTalk robot: milliseconds and secret, signed with the secret."""
    token, stamp = call.query.get("access_token", ""), call.query.get("timestamp", "")
    text = str(call.json.get("text", {}).get("content", ""))
    fault = books.fault("dingtalk")
    if fault == "fail":
        return 500, {}
    if fault == "refuse" or not token:
        return 200, {"errcode": 300005, "errmsg": "token is not exist"}
    secret = books.robot_secret
    wanted = _base64_mac(secret, f"{stamp}\n{secret}")
    if not books.fresh(stamp[:-3], 3_600) or not _same(wanted, call.query.get("sign", "")):
        return 200, {"errcode": 310000, "errmsg": "sign not match"}
    if fault == "busy" or books.too_often(token, (20, 60.0)):
        return 200, {"errcode": 130101, "errmsg": "send too fast, exceed 20 times per minute"}
    if call.json.get("msgtype") != "text" or not text:
        return 200, {"errcode": 400105, "errmsg": "unsupported msgtype"}
    books.keep("dingtalk", token, text)
    return 200, {"errcode": 0, "errmsg": "ok"}


def _feishu(books: Receivers, call: Call) -> Answer:
    """Take a message for a Feishu robot: nothing, signed with seconds and secret as the key."""
    hook, body = call.path.rpartition("/")[2], call.json
    text = str(body.get("content", {}).get("text", ""))
    fault = books.fault("feishu")
    if fault == "fail":
        return 503, {}
    if fault == "refuse" or not hook:
        return 200, {"code": 19001, "msg": "param invalid: incoming webhook access token invalid"}
    stamp = str(body.get("timestamp", ""))
    wanted = _base64_mac(f"{stamp}\n{books.robot_secret}", "")
    if not books.fresh(stamp, 3_600) or not _same(wanted, str(body.get("sign", ""))):
        return 200, {"code": 19021, "msg": "sign match fail or timestamp is not within one hour"}
    if fault == "busy" or books.too_often(hook, (100, 60.0), (5, 1.0)):
        return 400, {"code": 11232, "msg": "frequency limited"}
    if body.get("msg_type") != "text" or not text:
        return 400, {"code": 9499, "msg": "Bad Request"}
    books.keep("feishu", hook, text)
    return 200, {"code": 0, "msg": "success", "data": {}, "StatusCode": 0}


def _push(books: Receivers, call: Call) -> Answer:
    """Take a message for a browser, which alone can read it."""
    fault = books.fault("push")
    if fault is not None:
        return {"fail": 500, "refuse": 410, "busy": 429}[fault], {"code": 1}
    try:
        books.browser.check(call.headers, books.url, books.now())
        text = books.browser.opened(call.body)
    except ValueError as error:
        return 403, {"code": 403, "message": str(error)}
    books.keep("push", call.path.rpartition("/")[2], text)
    return 201, {}


def _sms(books: Receivers, call: Call) -> Answer:
    """Take a short message, or tell what became of one."""
    fault = books.fault("sms")
    if fault == "fail":
        return 500, {}
    status, said, sent = books.phones.answer(call.headers, call.body, books.now(), fault)
    if sent is not None:
        books.keep("sms", *sent)
    return status, said


_PATHS: tuple[tuple[str, Callable[[Receivers, Call], Answer]], ...] = (
    ("/cgi-bin/webhook/send", _wecom),
    ("/robot/send", _dingtalk),
    ("/open-apis/bot/v2/hook/", _feishu),
    ("/push/", _push),
    ("/", _sms),
)


def _base64_mac(key: str, text: str) -> str:
    return base64.b64encode(hmac.digest(key.encode(), text.encode(), hashlib.sha256)).decode()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


@contextmanager
def serving(books: Receivers) -> Iterator[Receivers]:
    """Serve all providers on loopback for the block, at `books.url`."""
    server = ThreadingHTTPServer((HOST, 0), _handler(books))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    books.url = f"http://{HOST}:{server.server_port}"
    try:
        yield books
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(books: Receivers) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One call."""

        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Answer a call."""
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, said = books.answer(Call(parts.path, query, headers, body))
            time.sleep(books.delay_s)
            self._say(status, json.dumps(said, ensure_ascii=False).encode() if said else b"")

        def _say(self, status: int, body: bytes) -> None:
            """Answer in chunks, as large providers do, and end the connection where it is asked."""
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(body), 40):
                part = body[start : start + 40]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
