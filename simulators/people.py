"""Who is told in the demonstration: a mailbox (SMTP) and a subscribed system, on this machine.

Both only take in: nothing leaves this machine.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import hmac
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from simulators.city import COUNTIES
from simulators.http import Api, Json

HOST = "127.0.0.1"
CITY_REGION = "640200"
SYSTEM_ID = "demo-city-system"
MAIL_BYTES_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody told of alerts from the step `level` on (0: at once)."""

    recipient_id: str
    name: str
    region: str
    level: int
    severity_min: str

    @property
    def address(self) -> str:
        """An address that cannot exist outside the demonstration."""
        return f"{self.recipient_id}@demo.invalid"


ROLES = (  # id, name, told from this step on, and of this severity or worse
    ("duty", "值班员", 0, "minor"),
    ("keeper", "冷链管理员", 0, "major"),
    ("head", "门诊负责人", 0, "critical"),
    ("deputy", "疾控中心副主任", 1, "major"),
    ("director", "疾控中心主任", 2, "major"),
)
PEOPLE = tuple(
    Person(f"demo-{stem}-{role}", f"{county}{name}", region, level, severity)
    for region, stem, county, _, _ in COUNTIES
    for role, name, level, severity in ROLES
)


class Mailbox:
    """A mail server that keeps what it is sent: recipients and subject."""

    def __init__(self, port: int) -> None:
        self.received: list[tuple[str, str]] = []  # recipient, subject
        self._server = _MailServer((HOST, port), _MailHandler)
        self._server.mailbox = self
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _MailServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    mailbox: Mailbox


class _MailHandler(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as a sender needs."""

    SIMPLE: ClassVar[dict[str, str]] = {
        "EHLO": "250 demo",
        "HELO": "250 demo",
        "MAIL": "250 ok",
        "NOOP": "250 ok",
    }

    def handle(self) -> None:
        self._say("220 demo")
        recipients: list[str] = []
        while line := self.rfile.readline(2048).decode("utf-8", "replace").strip():
            word = line[:4].upper()
            if word == "QUIT":
                self._say("221 bye")
                return
            if word == "RSET":
                recipients = []
            if word == "RCPT":
                recipients.append(line.partition("<")[2].partition(">")[0])
            if word == "DATA":
                self._say("354 go on")
                self._keep(recipients)
                recipients = []
            self._say(self.SIMPLE.get(word, "250 ok" if word in _KNOWN else "502 not known"))

    def _keep(self, recipients: list[str]) -> None:
        lines: list[bytes] = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            if sum(map(len, lines)) < MAIL_BYTES_MAX:
                lines.append(line)
        message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        server = self.server
        if isinstance(server, _MailServer):
            subject = str(message["subject"])
            server.mailbox.received += [(recipient, subject) for recipient in recipients]

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


_KNOWN = {"RCPT", "DATA", "RSET"}


class System:
    """A subscribed system: takes signed events, counts those whose signature is right."""

    def __init__(self, secret: str) -> None:
        self.events: list[Json] = []
        self.wrongly_signed = 0
        self.secret = secret
        self._server = _HookServer((HOST, 0), _HookHandler)
        self._server.system = self
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Where the events are posted to."""
        return f"http://{HOST}:{self._server.server_address[1]}/events"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def take(self, body: bytes, signature: str) -> bool:
        """Keep an event when `t=<unix seconds>,v1=<HMAC-SHA256 of "t.body">` is right."""
        parts = dict(part.split("=", 1) for part in signature.split(",") if "=" in part)
        signed = f"{parts.get('t', '')}.".encode() + body
        wanted = hmac.new(self.secret.encode(), signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(wanted, parts.get("v1", "")):
            self.wrongly_signed += 1
            return False
        self.events.append(json.loads(body))
        return True


class _HookServer(ThreadingHTTPServer):
    daemon_threads = True
    system: System


class _HookHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server = self.server
        taken = isinstance(server, _HookServer) and server.system.take(
            body, self.headers.get("X-Signature", "")
        )
        self.send_response(204 if taken else 401)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the progress bars own the screen."""


def register(api: Api, system: System, *, mail: bool) -> None:
    """Put down the people (when mail goes out at all) and the subscribed system."""
    told: list[Json] = [
        {
            "recipient_id": person.recipient_id,
            "name": person.name,
            "channel": "email",
            "address": person.address,
            "region_code": person.region,
            "level": person.level,
            "severity_min": person.severity_min,
        }
        for person in (PEOPLE if mail else ())
    ]
    hook: Json = {
        "recipient_id": SYSTEM_ID,
        "name": "市疾控中心平台（webhook）",
        "channel": "webhook",
        "address": system.address,
        "secret": system.secret,
        "region_code": CITY_REGION,
        "severity_min": "minor",
    }
    for body in (*told, hook):
        api.remove(f"/recipients/{body['recipient_id']}")  # of an earlier demonstration
        api.post("/recipients", body)


@contextmanager
def on_duty(api: Api, region: str) -> Iterator[Api]:
    """Give a client as a county's officer, whose key ends with the demonstration."""
    county = next(name for code, _, name, _, _ in COUNTIES if code == region)
    label = f"{county}疾控中心值班员 / officer on duty"
    made = api.post("/api-keys", {"role": "cdc", "region_code": region, "label": label})
    duty = Api(api.url, made["key"])
    try:
        yield duty
    finally:
        duty.close()
        api.post(f"/api-keys/{made['key_id']}/revocation", {"reason": "ended"})
