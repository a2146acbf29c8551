"""As shipped: twenty thousand messages at once, gateways that all come at once; none is lost."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Thread
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from ingest.batch import Received
from runtime.broker import BrokerServer
from store.logs import Ledger
from tests.conftest import Database, open_path
from tests.ingest import field
from tests.ingest.field import single
from tests.ingest.test_broker import counted, running, wait_for_session, wait_until

pytestmark = [pytest.mark.database, pytest.mark.broker]

BURST, SENDERS = 20_000, 20
SENT_WITHIN_S = 0.1
SLOW_DISK_S = 100.0
CONNECTIONS = 2_000
SPARE_DESCRIPTORS = 200  # of this process, besides those connections


@contextmanager
def shipped(folder: Path) -> Iterator[BrokerServer]:
    """Run a broker as `vaxtrail up` does when nothing is set, but for the shared account."""
    open_path(folder)
    broker = BrokerServer(folder, shared=True)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.mark.no_cover
@pytest.mark.timeout(240)  # each message goes to the disk by itself: seconds, on a busy one minutes
def test_given_the_shipped_settings_when_twenty_thousand_come_at_once_then_all_are_stored(
    database: Database, ledger: Ledger, tmp_path_factory: pytest.TempPathFactory
) -> None:
    field.register(ledger)
    field.register(ledger, "d-burst")
    with shipped(tmp_path_factory.mktemp("burst")) as broker:
        client_id = f"ingest-{uuid4().hex}"
        with running(database.app_dsn, broker.server_url, client_id):
            wait_for_session(broker.gateway_url, client_id, database)
            messages = [single("d-burst", n, 4.0) for n in range(BURST)]
            acknowledged = _send_at_once(broker.gateway_url, messages)
            assert acknowledged == BURST
            wait_until(lambda: counted(database, "d-burst") == (BURST, BURST), SLOW_DISK_S)


def _send_at_once(url: str, messages: list[Received]) -> int:
    """Put all messages on the wire over several connections; return how many PUBACKs came."""
    share = len(messages) // SENDERS
    counts = [0] * SENDERS
    begun = Barrier(SENDERS)
    took = [0.0] * SENDERS

    def send(n: int) -> None:
        part = messages[n * share : (n + 1) * share]
        wire = b"".join(_publish(m, i + 1) for i, m in enumerate(part))
        with _connected(url, f"burst-{uuid4().hex}") as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            begun.wait(30)
            start = time.monotonic()
            sock.sendall(wire)
            took[n] = time.monotonic() - start
            left = share * 4  # a PUBACK is four bytes
            while left and (got := sock.recv(65_536)):
                left -= len(got)
            counts[n] = share - left // 4

    threads = [Thread(target=send, args=(n,)) for n in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SLOW_DISK_S)
    assert max(took) < 20 * SENT_WITHIN_S, "the burst was none"  # what a busy machine may take
    return sum(counts)


def _connected(url: str, client_id: str) -> socket.socket:
    """Return a socket on which an MQTT 3.1.1 session has begun."""
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=SLOW_DISK_S)
    sock.sendall(_connect(client_id, parts.username or "", parts.password or ""))
    assert sock.recv(4) == b"\x20\x02\x00\x00"
    return sock


def _connect(client_id: str, user: str, password: str) -> bytes:
    body = b"\x00\x04MQTT\x04\xc2\x00\x3c" + b"".join(map(_text, (client_id, user, password)))
    return b"\x10" + _length(len(body)) + body


def _publish(message: Received, mid: int) -> bytes:
    body = _text(message.topic) + mid.to_bytes(2, "big") + message.payload
    return b"\x32" + _length(len(body)) + body


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()


def _length(size: int) -> bytes:
    """Return MQTT's variable-length form of a size."""
    out = bytearray()
    while True:
        size, low = divmod(size, 128)
        out.append(low | (0x80 if size else 0))
        if not size:
            return bytes(out)


def test_given_a_low_limit_of_descriptors_when_two_thousand_connect_at_once_then_all_are_let_in(
    tmp_path: Path,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CONNECTIONS + SPARE_DESCRIPTORS:
        pytest.skip(f"at most {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        with shipped(tmp_path) as broker:  # raises its own limit to what is allowed
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            assert asyncio.run(all_let_in(broker.gateway_url, CONNECTIONS)) == CONNECTIONS
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def all_let_in(url: str, wanted: int) -> int:
    """Open connections all at once and return how many were let in."""
    parts = urlsplit(url)

    async def one(n: int) -> bool:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(_connect(f"gw-{n}", parts.username or "", parts.password or ""))
        try:
            answer = await asyncio.wait_for(reader.readexactly(4), 60)
        except (OSError, EOFError, TimeoutError):
            return False
        finally:
            held.append(writer)  # stays open until all have come
        return answer == b"\x20\x02\x00\x00"

    held: list[asyncio.StreamWriter] = []
    found = await asyncio.gather(*(one(n) for n in range(wanted)), return_exceptions=True)
    for writer in held:
        writer.close()
    return sum(each is True for each in found)
