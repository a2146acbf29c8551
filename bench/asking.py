"""Questions over HTTP, as fast as answers come: raw sockets, a process a client.

What the client itself costs is small beside what it measures: requests are bytes before the clock
starts, and of an answer only its length is read.
"""

from __future__ import annotations

import multiprocessing as mp
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing.synchronize import Barrier
from urllib.parse import urlsplit

from bench.live import percentile_ms
from bench.report import Figures

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_POSITION = re.compile(rb"vaxtrail-position: *(\S+)", re.IGNORECASE)
_BLOCK = 1 << 16
_SPREAD = 7_919  # clients begin at different questions


@dataclass(frozen=True, slots=True)
class Questions:
    """Paths of one server, asked in turn; `key` is the API key, `body` makes them POSTs.

    `bodies`: each is posted once, to the first path; clients have their shares one after another.
    """

    url: str
    paths: Sequence[str]
    key: str = ""
    body: bytes = b""
    bodies: Sequence[bytes] = ()

    def encoded(self) -> list[bytes]:
        """Return the requests as sent."""
        host = urlsplit(self.url).netloc
        key = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        verb, kind = ("POST", "Content-Type: application/json\r\n") if self._posts else ("GET", "")
        head = f"HTTP/1.1\r\nHost: {host}\r\n{key}{kind}"
        asked = [(self.paths[0], body) for body in self.bodies]
        asked = asked or [(path, self.body) for path in self.paths]
        return [f"{verb} {path} {head}{_length(body)}\r\n".encode() + body for path, body in asked]

    @property
    def _posts(self) -> bool:
        return bool(self.body or self.bodies)

    def first(self, client: int, times: int) -> int:
        """Return the question that a client of so many begins with."""
        return client * times if self.bodies else client * _SPREAD


def _length(body: bytes) -> str:
    return f"Content-Length: {len(body)}\r\n" if body else ""


def ask(questions: Questions, clients: int, times: int) -> Figures:
    """Ask `times` in all from so many clients; return percentiles (ms) and the rate.

    SystemExit where an answer is none (status beyond 299).
    """
    started = mp.get_context("fork")
    ready = started.Barrier(clients + 1)
    pipes = []
    for n in range(clients):
        ours, theirs = started.Pipe(duplex=False)
        share = times // clients
        child = started.Process(target=_client, args=(questions, n, share, ready, theirs))
        child.start()
        theirs.close()
        pipes.append((child, ours))
    ready.wait(60)
    began_s = time.perf_counter()
    found: list[tuple[list[float], int]] = []
    for child, ours in pipes:
        try:
            found.append(ours.recv())
        except EOFError:
            raise SystemExit(f"{questions.url}: 未作答 / no answer") from None
        child.join()
    seconds = time.perf_counter() - began_s
    times_s = sorted(taken for taken_all, _ in found for taken in taken_all)
    return {
        "p50_ms": percentile_ms(times_s, 50),
        "p95_ms": percentile_ms(times_s, 95),
        "p99_ms": percentile_ms(times_s, 99),
        "q_s": round(len(times_s) / seconds),
        "bytes": max(size for _, size in found),
    }


def _client(questions: Questions, number: int, times: int, ready: Barrier, told: object) -> None:
    requests = questions.encoded()
    first = questions.first(number, times) % len(requests)
    with _connected(questions) as link:
        ready.wait(60)
        taken, largest = [], 0
        for request in islice(cycle(requests), first, first + times):
            began_s = time.perf_counter()
            link.sendall(request)
            largest = max(largest, _answer(link))
            taken.append(time.perf_counter() - began_s)
    told.send((taken, largest))  # type: ignore[attr-defined]  # a connection, which has no public type


def ask_once(questions: Questions) -> bytes:
    """Return the answer to the first question with its head.

    OSError or SystemExit where there is no good answer.
    """
    return _asked(questions, questions.encoded()[0])


def answers(questions: Questions) -> list[bytes]:
    """Return the body of each answer, on connections of their own."""
    asked = questions.encoded()
    return [_asked(questions, request).partition(b"\r\n\r\n")[2] for request in asked]


def position_of(questions: Questions) -> str:
    """Return the position that the answer to the first question names."""
    found = _POSITION.search(ask_once(questions))
    if found is None:
        raise SystemExit("答案未注明位置 / the answer names no position")
    return found[1].decode()


def _asked(questions: Questions, request: bytes) -> bytes:
    with _connected(questions) as link:
        link.sendall(request)
        got = b""
        while (left := _left(got)) is None or left > 0:
            got += _more(link)
    if not got.startswith(b"HTTP/1.1 2"):
        raise SystemExit(got[:500].decode(errors="replace"))
    return got


def _left(got: bytes) -> int | None:
    """Return how many bytes of an answer are still to come, None before its head is whole."""
    end = got.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(got, 0, end)
    return end + 4 + (int(length[1]) if length else 0) - len(got)


def _connected(questions: Questions) -> socket.socket:
    parts = urlsplit(questions.url)
    link = socket.create_connection((parts.hostname or "", parts.port or 80))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def _answer(link: socket.socket) -> int:
    """Read one answer; return the length of its body."""
    got = _more(link)
    while (left := _left(got)) is None:
        got += _more(link)
    if not got.startswith(b"HTTP/1.1 2"):
        raise SystemExit(got[:500].decode(errors="replace"))
    size = len(got) + left - got.index(b"\r\n\r\n") - 4
    while left > 0:
        left -= len(_more(link))
    return size


def _more(link: socket.socket) -> bytes:
    got = link.recv(_BLOCK)
    if not got:
        raise SystemExit("连接已断 / the connection was closed")
    return got
