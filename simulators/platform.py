"""A national platform: takes signed uploads, and behaves as badly as such platforms do.

It refuses calls whose signature is wrong, answers late or not at all, tells the answer of one call
twice, refuses bills of partners it does not know, and forgets some of what it accepted.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CODES_MAX = 3_500
# Seconds that a signature may be old.
AGE_MAX_S = 10 * 365 * 86_400  # clocks of demonstrations are moved
RECALLS, HELD = "drug.kyt.dr.drugrecal", "drug.kyt.dr.searchbill"
Json = dict[str, Any]


@dataclass
class Faults:
    """Shares of calls not done and not answered, done and not answered; of bills forgotten."""

    refuses: float = 0.0
    loses_answers: float = 0.0
    forgets: float = 0.0
    delay_s: float = 0.0


@dataclass
class Books:
    """What a platform knows."""

    app_key: str
    secret: str
    faults: Faults = field(default_factory=Faults)
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    strangers: set[str] = field(default_factory=set)  # units that it does not know
    recalls: list[Json] = field(default_factory=list)
    answers: dict[str, Json] = field(default_factory=dict)  # by request id
    bills: dict[tuple[str, str], Json] = field(default_factory=dict)  # by method and bill code
    calls: list[tuple[str, str]] = field(default_factory=list)  # method, request id
    unsigned: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def called(self, method: str, request_id: str, body: Json) -> Json:
        """Answer a call whose signature is right."""
        self.calls.append((method, request_id))
        if method == RECALLS:
            return {"code": "ok", "recalls": self._recalls(body)}
        if method == HELD:
            return self._held(body)
        if request_id not in self.answers:
            self.answers[request_id] = self._uploaded(method, body)
        return self.answers[request_id]

    def forget(self) -> int:
        """Lose some of what was accepted; return how many bills were lost."""
        lost = [key for key in self.bills if self.rng.random() < self.faults.forgets]
        for key in lost:
            del self.bills[key]
        return len(lost)

    def _recalls(self, body: Json) -> list[Json]:
        window = (body["begin_time"], body["end_time"])
        return [r for r in self.recalls if window[0] <= r["recall_time"] <= window[1]]

    def _held(self, body: Json) -> Json:
        page, size = int(body["page"]), 100
        days = {
            code
            for (method, code), bill in self.bills.items()
            if method == body["method"] and bill["day"] == body["day"]
        }
        shown = sorted(days)[(page - 1) * size : page * size]
        return {"code": "ok", "bill_codes": shown, "more": len(days) > page * size}

    def _uploaded(self, method: str, body: Json) -> Json:
        code = body.get("bill_code") or f"{body['equi_code']}-{_day(body).replace('-', '')}"
        if len(body.get("trace_codes", ())) > CODES_MAX:
            return {"code": "failed", "message": "too many codes"}
        parties = [value for name, value in body.items() if name.endswith(("user_id", "owner"))]
        if self.strangers.intersection(parties):
            return {"code": "partner_missing", "message": "往来单位不存在"}
        if (method, code) in self.bills:
            return {"code": "duplicate_bill", "message": "单据已存在"}
        self.bills[method, code] = body | {"day": _day(body)}
        return {"code": "ok", "message": ""}


def _day(body: Json) -> str:
    """Return the local day that an upload is about."""
    content = body.get("content") or [{}]
    times = [body.get("bill_time", ""), *(part.get("time", "") for part in content)]
    return str(max(times))[:10]


@contextmanager
def serving(books: Books, port: int) -> Iterator[str]:
    """Serve a platform on loopback for the block; give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(books))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(books: Books) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One call."""

        def do_POST(self) -> None:
            """Answer a call."""
            content = self.rfile.read(int(self.headers["Content-Length"]))
            method = self.path.rpartition("/")[2]
            with books.lock:
                status, said = self._judged(method, content)
            time.sleep(books.faults.delay_s)
            answer = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _judged(self, method: str, content: bytes) -> tuple[int, Json]:
            if not self._signed(method, content):
                books.unsigned += 1
                return 401, {"code": "bad_signature"}
            if books.rng.random() < books.faults.refuses:
                return 503, {"code": "busy"}
            said = books.called(method, self.headers["X-Request-Id"], json.loads(content))
            if books.rng.random() < books.faults.loses_answers:
                return 502, {}
            return 200, said

        def _signed(self, method: str, content: bytes) -> bool:
            told = self.headers
            lines = (
                method,
                told["X-App-Key"],
                told["X-Timestamp"],
                told["X-Request-Id"],
                hashlib.sha256(content).hexdigest(),
                "",
            )
            mac = hmac.new(books.secret.encode(), "\n".join(lines).encode(), hashlib.sha256)
            fresh = abs(time.time() - int(told["X-Timestamp"])) < AGE_MAX_S
            right = hmac.compare_digest(mac.hexdigest(), told["X-Signature"])
            return fresh and right and told["X-App-Key"] == books.app_key

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
