"""How long a single reading takes from its publish to its commit, while other things go on.

A thread publishes readings one by one; another is woken by every commit of telemetry (NOTIFY) and
looks which of those published are stored by now.
"""

from __future__ import annotations

import json
import math
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from tempfile import TemporaryFile
from threading import Thread

import psycopg

from bench.limits import SUBSCRIBE_S, subscribing
from bench.load import connect
from bench.rig import Rig
from bench.shape import PACKET_IDS, PRODUCT_TOPIC, Shape, device_name, publish_packet, reading

ABSENT_S = 30.0  # a reading not stored this long after the last publish is missed
NOTICE_S = 0.5
STORED = """SELECT asked.number
            FROM unnest(%s::int[], %s::text[], %s::timestamptz[], %s::int8[])
                AS asked (number, device_id, ts, seq)
            JOIN device_no USING (device_id)
            JOIN reading r
                ON r.device_no = device_no.device_no AND r.ts = asked.ts AND r.seq = asked.seq
            WHERE r.ts BETWEEN %s AND %s"""


class Live:
    """Publishes a reading every `every_s` inside its `with` block, `devices` in turn."""

    def __init__(self, rig: Rig, devices: Sequence[int], every_s: float, first_seq: int) -> None:
        self._rig = rig
        self._devices = devices
        self._every_s = every_s
        self._seq = first_seq
        self._shape = Shape(PRODUCT_TOPIC, 0.0)
        self._pending: dict[int, tuple[str, datetime, int, float]] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self.sent = 0
        self._seen: list[tuple[float, float]] = []  # when one was due, and its delay
        self._publisher = Thread(target=self._publish, daemon=True)
        self._watcher = Thread(target=self._watch, daemon=True)

    @property
    def missed(self) -> int:
        """How many published readings were never seen in the database."""
        return self.sent - len(self._seen)

    def delays_s(self, first_s: float = 0.0, past_s: float = math.inf) -> list[float]:
        """Return how long after it was due each reading was durable, of those due in this time."""
        return [delay for due, delay in self._seen if first_s <= due < past_s]

    def __enter__(self) -> Live:
        """Begin."""
        self._watcher.start()
        self._publisher.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Publish no more, and wait for what is under way."""
        self._end.set()
        self._publisher.join()
        self._watcher.join()

    def _publish(self) -> None:
        sock = connect(self._rig.gateway_url, "bench-live")
        Thread(target=drain, args=(sock,), daemon=True).start()
        due_s = time.perf_counter()
        while not self._end.is_set():
            turn, at = divmod(self.sent, len(self._devices))
            now = datetime.now(UTC)
            at_time = now.replace(microsecond=now.microsecond // 1000 * 1000)
            body = reading(at_time.timestamp(), 5.0, 60.0, self._seq + turn).encode()
            device = self._devices[at]
            packet = publish_packet(self._shape.topic_of(device), body, self.sent % PACKET_IDS + 1)
            with self._lock:
                seq = self._seq + turn
                self._pending[self.sent] = (device_name(device), at_time, seq, due_s)
                self.sent += 1
            sock.sendall(packet)
            due_s += self._every_s
            time.sleep(max(0.0, due_s - time.perf_counter()))
        sock.close()

    def _watch(self) -> None:
        with psycopg.connect(self._rig.product.dsn, autocommit=True) as conn:
            conn.execute("LISTEN telemetry_events")
            ended_s = 0.0
            while not self._end.is_set() or self._pending:
                for _ in conn.notifies(timeout=NOTICE_S, stop_after=1):
                    pass
                self._look(conn)
                ended_s = ended_s or (time.perf_counter() if self._end.is_set() else 0.0)
                if ended_s and time.perf_counter() - ended_s > ABSENT_S:
                    return

    def _look(self, conn: psycopg.Connection[tuple[int]]) -> None:
        with self._lock:
            asked = dict(self._pending)
        if not asked:
            return
        names, times, seqs, _ = zip(*asked.values(), strict=True)
        columns = (list(asked), list(names), list(times), list(seqs), min(times), max(times))
        found = conn.execute(STORED, columns).fetchall()
        now_s = time.perf_counter()
        for (number,) in found:
            due_s = asked[number][3]
            self._seen.append((due_s, now_s - due_s))
        with self._lock:
            for (number,) in found:
                self._pending.pop(number, None)


class Bystander:
    """A subscriber written in C that gets the same readings and does nothing with them.

    Its delays are the broker's and the publisher's: nobody can store a reading sooner.
    """

    def __init__(self, rig: Rig) -> None:
        self._out = TemporaryFile()  # noqa: SIM115 - closed at the end of the `with` block
        command = subscribing(rig, PRODUCT_TOPIC, "-F", "%U %p")
        self._process = subprocess.Popen(command, stdout=self._out)

    def delays_s(self, first_s: float, past_s: float) -> list[float]:
        """Return how long after its time each reading came, of those of this time."""
        began_s = time.time() - time.perf_counter()
        self._out.seek(0)
        found = []
        for line in self._out.read().splitlines():
            got, _, body = line.partition(b" ")
            at_s = datetime.fromisoformat(json.loads(body)["ts"]).timestamp()
            if first_s <= at_s - began_s < past_s:
                found.append(float(got) - at_s)
        return found

    def __enter__(self) -> Bystander:
        """Wait until it has subscribed."""
        time.sleep(SUBSCRIBE_S)
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._out.close()


def percentile_ms(delays_s: Sequence[float], percent: float) -> float:
    """Return the delay that `percent` of them do not exceed, in milliseconds; 0 when none."""
    ordered = sorted(delays_s)
    if not ordered:
        return 0.0
    return round(1000 * ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))], 2)


def drain(sock: socket.socket) -> None:
    """Read and forget what the broker answers, until the connection is closed."""
    with suppress(OSError):
        while sock.recv(65_536):
            pass
