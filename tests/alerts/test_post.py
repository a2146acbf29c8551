"""The client of webhooks against servers that answer, break off, or speak something else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from alerts.channels import post
from alerts.channels.post import Poster
from tests.conftest import free_port

UNWELL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
OK, EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 204 No Content\r\n\r\n"


class Server:
    """Answers each connection in turn: one list of answers a connection, then it ends."""

    def __init__(self, *connections: Sequence[bytes]) -> None:
        self._waiting = list(connections)
        self.requests: list[bytes] = []
        self.used: list[int] = []  # requests by connection
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.used.append(0)
        for answer in self._waiting.pop(0):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self.requests.append(head + await reader.readexactly(length))
            self.used[-1] += 1
            writer.write(answer)
        writer.close()

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[Poster]:
        """Serve, and give a client of it."""
        running = await asyncio.start_server(self.serve, "127.0.0.1", 0, **options)
        self.port = running.sockets[0].getsockname()[1]

        async def loopback(_host: str, _port: int) -> list[str]:
            return ["127.0.0.1"]

        poster = Poster(loopback)
        async with running:
            yield poster
            poster.close()


def run(server: Server, act: Callable[[Poster, str], Coroutine[Any, Any, None]]) -> None:
    """Do it with a client of the server, and the address to post to."""

    async def doing() -> None:
        async with asyncio.timeout(5), server.running() as poster:
            await act(poster, f"http://hook.example:{server.port}/alerts?of=城市")

    asyncio.run(doing())


def test_given_answers_without_a_body_when_posted_then_one_connection_serves_all() -> None:
    server = Server([EMPTY, b"HTTP/1.1 100 Continue\r\n\r\n" + EMPTY, EMPTY])

    async def act(poster: Poster, url: str) -> None:
        for n in range(3):
            assert await poster.post(url, b"{%d}" % n, {"X-Signature": "t=1,v1=ab"}) == 204

    run(server, act)
    assert server.used == [3]
    head, _, body = server.requests[1].partition(b"\r\n\r\n")
    assert body == b"{1}"
    assert head.split(b"\r\n")[0] == b"POST /alerts?of=%E5%9F%8E%E5%B8%82 HTTP/1.1"
    assert b"Host: hook.example:%d" % server.port in head
    assert b"X-Signature: t=1,v1=ab" in head


def test_given_a_body_or_an_old_connection_when_posted_again_then_over_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server([OK], [EMPTY], [EMPTY])

    async def act(poster: Poster, url: str) -> None:
        assert await poster.post(url, b"", {}) == 200
        monkeypatch.setattr(post, "KEPT_S", 0.0)
        assert await poster.post(url, b"", {}) == 204
        await asyncio.sleep(0.01)
        assert await poster.post(url, b"", {}) == 204

    run(server, act)
    assert server.used == [1, 1, 1]


def test_given_kept_connection_ends_when_posted_again_then_over_a_new_one() -> None:
    server = Server([EMPTY], [EMPTY, b""], [EMPTY])

    async def act(poster: Poster, url: str) -> None:
        assert await poster.post(url, b"a", {}) == 204
        await asyncio.sleep(0.05)  # its end is known by then
        assert await poster.post(url, b"b", {}) == 204
        assert await poster.post(url, b"c", {}) == 204  # ends after the request was taken

    run(server, act)
    assert server.used == [1, 2, 1]


@pytest.mark.parametrize("closing", [UNWELL, b"SSH-2.0-x\r\n\r\n"])
@pytest.mark.parametrize(("answer", "status"), [(EMPTY, 204), (UNWELL, 503)])
def test_given_a_kept_connection_that_refuses_when_posted_again_then_once_more_over_a_new_one(
    closing: bytes, answer: bytes, status: int
) -> None:
    server = Server([EMPTY, closing], [answer])

    async def act(poster: Poster, url: str) -> None:
        assert await poster.post(url, b"a", {}) == 204
        assert await poster.post(url, b"b", {}) == status

    run(server, act)
    assert server.used == [2, 1]
    assert server.requests[2] == server.requests[1]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", EOFError),
        (b"HTTP/1.1 200 OK\r\nX: ", EOFError),
        (b"SSH-2.0-x\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, ValueError),
    ],
)
def test_given_no_proper_answer_when_posted_then_said(
    answer: bytes, error: type[Exception]
) -> None:
    async def act(poster: Poster, url: str) -> None:
        with pytest.raises(error):
            await poster.post(url, b"{}", {})

    run(Server([answer]), act)


def test_given_nobody_listens_or_a_split_header_when_posted_then_said() -> None:
    async def act(poster: Poster, url: str) -> None:
        with pytest.raises(ConnectionRefusedError):
            await poster.post(f"http://hook.example:{free_port()}/", b"", {})
        with pytest.raises(ValueError, match="header"):
            await poster.post(url, b"", {"Idempotency-Key": "a\r\nX: b"})

    run(Server(), act)


def test_given_a_certificate_nobody_signed_when_posted_then_nothing_is_sent(
    certificate: Path,
) -> None:
    server, context = Server([EMPTY]), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def doing() -> None:
        async with server.running(ssl=context) as poster:
            with pytest.raises(ssl.SSLCertVerificationError):
                await poster.post(f"https://127.0.0.1:{server.port}/", b"{}", {})

    asyncio.run(doing())
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OK, (200, b"ok")),
        (EMPTY, (204, b"")),
        (b"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\nto the end", (400, b"to the end")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
            b"5\r\nto th\r\n3;x=y\r\ne e\r\n0\r\n\r\n",
            (200, b"to the e"),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000,
            (200, b"x" * 65_536),
        ),
    ],
)
def test_given_an_answer_of_any_form_when_asked_then_its_body_is_given(
    answer: bytes, expected: tuple[int, bytes]
) -> None:
    async def act(poster: Poster, url: str) -> None:
        assert await poster.ask(url, b"{}", {}) == expected

    run(Server([answer]), act)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ncu",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_given_a_body_that_breaks_off_when_asked_then_said(answer: bytes) -> None:
    async def act(poster: Poster, url: str) -> None:
        with pytest.raises((EOFError, ValueError)):
            await poster.ask(url, b"{}", {})

    run(Server([answer]), act)
