"""A publisher process that costs little: raw sockets, packets encoded before the clock starts.

It keeps at most `backlog` messages published but not yet durable (the parent tells how many are),
at most `window` unacknowledged on a connection, and the pace `rate` when there is one. A broken
connection is opened again and what was not acknowledged is sent again, as a gateway does.
"""

from __future__ import annotations

import multiprocessing
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from bench.shape import PACKET_IDS, Shape, connect_packet

CONNECTIONS = 10
WINDOW = 2_000
CHUNK = 256  # messages given to a connection at a time, so that all take turns
READ_BYTES = 1 << 18
IDLE_S = 0.002
PACE_S = 0.004  # between two looks of one that keeps a pace: gateways cost the server nothing
RETRY_S = 0.05
END_S = 30.0
# A server that has all of it loaded forks each publisher: a new Python takes a second to load it.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["__main__", __name__])


@dataclass(frozen=True, slots=True)
class Plan:
    """What to publish, where and how fast."""

    url: str  # mqtt://[user:password@]host:port
    shape: Shape
    messages: int
    first_seq: int = 0
    backlog: int = 0  # messages; 0 = no limit
    rate: float = 0.0  # messages a second; 0 = as fast as it goes
    window: int = WINDOW
    seconds: float = 170.0  # at most


@dataclass(frozen=True, slots=True)
class Told:
    """Numbers both processes see."""

    durable: Any  # messages, written by the parent
    sent: Any
    acked: Any
    first_s: Any  # time.perf_counter() of the first publish; one clock for all processes
    written_s: Any  # of the moment when all was given to the sockets
    last_s: Any  # and when all was acknowledged
    cpu_s: Any
    ready: Any
    go: Any


class Load:
    """The publisher process: encodes when made, publishes from `start`, ends when all is acked."""

    def __init__(self, plan: Plan) -> None:
        number, moment = _context.RawValue, _context.RawValue
        self.plan = plan
        self.told = Told(
            durable=number("q", 0),
            sent=number("q", 0),
            acked=number("q", 0),
            first_s=moment("d", 0.0),
            written_s=moment("d", 0.0),
            last_s=moment("d", 0.0),
            cpu_s=moment("d", 0.0),
            ready=_context.Event(),
            go=_context.Event(),
        )
        self._process = _context.Process(target=_main, args=(plan, self.told), daemon=True)
        self._process.start()

    @property
    def running(self) -> bool:
        """Tell whether it still publishes."""
        return self._process.is_alive()

    def prepare(self) -> None:
        """Wait until every packet is encoded."""
        while not self.told.ready.wait(0.1):
            if not self.running:
                raise SystemExit("the publisher ended before it began")

    def start(self) -> None:
        """Have it publish; return when it began, so that `first_s` is known from here on."""
        self.prepare()
        self.told.go.set()
        while not self.told.first_s.value and self.running:
            time.sleep(IDLE_S)

    def finish(self) -> None:
        """Wait until every message is acknowledged by the broker, or time is up."""
        self._process.join(self.plan.seconds + END_S)

    def stop(self) -> None:
        """End it now."""
        if self.running:
            self._process.kill()
        self._process.join()

    def __enter__(self) -> Load:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.stop()


def connect(url: str, client_id: str) -> socket.socket:
    """Open an MQTT connection with a clean session. OSError when it is refused."""
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 1883), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else ()
    sock.sendall(connect_packet(client_id, login))
    answer = b""
    while len(answer) < 4:
        got = sock.recv(4 - len(answer))
        if not got:
            break
        answer += got
    if answer[:1] != b"\x20" or answer[3:] != b"\0":
        sock.close()
        raise ConnectionError(f"the broker answered {answer!r}")
    return sock


def _main(plan: Plan, told: Told) -> None:
    encoded = plan.shape.encoded(plan.messages, plan.first_seq, CONNECTIONS)
    name = f"bench-load-{os.getpid()}"
    lines = [Line(plan.url, f"{name}-{n}", *parts) for n, parts in enumerate(encoded)]
    told.ready.set()
    told.go.wait()
    cpu_s = time.process_time()
    told.first_s.value = time.perf_counter()
    _Publishing(plan, told, lines).run()
    told.last_s.value = time.perf_counter()
    told.cpu_s.value = time.process_time() - cpu_s


@dataclass(slots=True)
class Line:
    """One connection and its packets. `acked`: all before it are acknowledged."""

    url: str
    client_id: str
    packets: bytearray
    starts: Sequence[int]
    sent: int = 0
    acked: int = 0
    sock: socket.socket | None = None
    _view: memoryview = field(init=False)
    _position: int = 0  # bytes written
    _rest: bytes = b""
    _answered: Any = field(init=False)

    def __post_init__(self) -> None:
        self._view = memoryview(self.packets)
        self._answered = np.zeros(len(self.starts), dtype=bool)  # the last one never is

    @property
    def waiting(self) -> bool:
        """Tell whether something granted is not written yet."""
        return self.sock is not None and self._position < self.starts[self.sent]

    @property
    def written(self) -> bool:
        """Tell whether all is in the hands of the system."""
        return self._position == self.starts[-1]

    @property
    def done(self) -> bool:
        """Tell whether all is acknowledged."""
        return self.acked == len(self.starts) - 1

    def open(self) -> None:
        """Connect, and begin again at the first message that was not acknowledged."""
        self.sock = connect(self.url, self.client_id)
        self.sock.setblocking(False)
        self.sent, self._rest = self.acked, b""
        self._position = self.starts[self.acked]
        self._answered[self.acked :] = False

    def close(self) -> None:
        """Drop the connection."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def grant(self, allowed: int, window: int) -> int:
        """Let it send up to `allowed` more messages; return how many it took."""
        left = len(self.starts) - 1 - self.sent
        taken = min(allowed, left, window - (self.sent - self.acked)) if self.sock else 0
        self.sent += max(0, taken)
        return max(0, taken)

    def write(self) -> bool:
        """Write what the socket takes, and tell whether it took any. OSError when it broke."""
        if self.sock is None:
            return False
        try:
            self._position += self.sock.send(self._view[self._position : self.starts[self.sent]])
        except BlockingIOError:
            return False
        return True

    def read(self) -> bool:
        """Take PUBACKs (4 bytes each, nothing else comes here). OSError when it broke."""
        if self.sock is None:
            return False
        got = self.sock.recv(READ_BYTES)
        if not got:
            raise ConnectionError("closed")
        data = self._rest + got
        whole = len(data) // 4 * 4
        self._rest = data[whole:]
        ids = np.frombuffer(data[:whole], dtype=">u2")[1::2].astype(np.int64)
        self._answered[self.acked + (ids - 1 - self.acked) % PACKET_IDS] = True
        self.acked += int(self._answered[self.acked : self.sent + 1].argmin())
        return True


class _Publishing:
    """The event loop over all connections."""

    def __init__(self, plan: Plan, told: Told, lines: Sequence[Line]) -> None:
        self._plan = plan
        self._told = told
        self._lines = lines
        self._selector = selectors.DefaultSelector()
        self._began_s = 0.0

    def run(self) -> None:
        for line in self._lines:
            self._open(line)
        self._began_s = time.perf_counter()
        until = self._began_s + self._plan.seconds
        while time.perf_counter() < until:
            self._told.sent.value = sum(line.sent for line in self._lines)
            self._told.acked.value = sum(line.acked for line in self._lines)
            if all(line.done for line in self._lines):
                break
            self._grant()
            self._turn()
            if self._plan.rate:
                time.sleep(PACE_S)
            if not self._told.written_s.value and all(line.written for line in self._lines):
                self._told.written_s.value = time.perf_counter()
        self._told.acked.value = sum(line.acked for line in self._lines)
        for line in self._lines:
            line.close()

    def _grant(self) -> None:
        plan, sent = self._plan, self._told.sent.value
        allowed = plan.messages - sent
        if plan.backlog:
            allowed = min(allowed, plan.backlog - (sent - self._told.durable.value))
        if plan.rate:
            allowed = min(allowed, int((time.perf_counter() - self._began_s) * plan.rate) - sent)
        share = max(1, min(CHUNK, allowed // len(self._lines) + 1))
        # Those behind come first, or the last ones would wait until the first have sent everything.
        for line in sorted(self._lines, key=lambda line: line.sent):
            if allowed <= 0:
                return
            allowed -= line.grant(min(share, allowed), plan.window)

    def _turn(self) -> None:
        written = [self._try(line, line.write) for line in self._lines if line.waiting]
        for key, _ in self._selector.select(0 if any(written) else IDLE_S):
            self._try(key.data, key.data.read)
        for line in self._lines:
            if line.sock is None and not line.done:
                self._reopen(line)

    def _try(self, line: Line, act: Callable[[], bool]) -> bool:
        try:
            return act()
        except OSError:
            if line.sock is not None:
                self._selector.unregister(line.sock)
            line.close()
            return False

    def _open(self, line: Line) -> None:
        line.open()
        if line.sock is not None:
            self._selector.register(line.sock, selectors.EVENT_READ, line)

    def _reopen(self, line: Line) -> None:
        try:
            self._open(line)
        except OSError:  # the broker is not back yet
            time.sleep(RETRY_S)
