"""One POST over HTTP/1.1: all that telling a system takes, in a fraction of a whole client's time.

Of the answer the status is read, and its body where it is asked for. A connection is kept for a
moment after an answer without a body; whoever sends one has it closed.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

import httpx

# Seconds after which a connection that was kept is not trusted any more: whatever lies between may
# have forgotten it without a word.
KEPT_S = 5.0
# A silent address must leave time for the next one.
CONNECT_S = 3.0
PORTS = {"http": 80, "https": 443}
STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})[ \r]")
# Bytes of a body that are read at most.
BODY_MAX = 65_536
_REFUSED = 400
_FINAL = 200  # what comes before is no answer yet
_NO_CONTENT = 204

Place = tuple[str, str, int]  # scheme, host, port
# Gives the addresses of a host that may be called, in the order to try: at least one.
Addresses = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class _Line:
    """A connection to an address."""

    address: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def open(self) -> bool:
        return not (self.reader.at_eof() or self.writer.is_closing())


class Poster:
    """Posts bodies; one event loop uses it. No redirect is followed, no proxy asked."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        # Each with what closes it after its time.
        self._kept: defaultdict[Place, list[tuple[asyncio.TimerHandle, _Line]]] = defaultdict(list)
        self._tls: ssl.SSLContext | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post a body to an http(s) address and return the status answered.

        OSError or EOFError when there is no connection or no answer, ValueError for one that is
        not HTTP/1.
        """
        target = httpx.URL(url)
        place = _place(target)
        request = _request(target, body, headers)
        addresses = await self._addresses(place[1], place[2])
        line = self._take(place, addresses)
        if line is not None:
            try:
                status = await self._exchange(place, line, request)
            except (ConnectionError, EOFError, ValueError):
                status = 0  # closed meanwhile
            if 0 < status < _REFUSED:  # else it may be what the host said when it closed
                return status
        return await self._exchange(place, await self._connect(place, addresses), request)

    async def ask(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Post a body over a connection of its own and return the status and the body answered.

        Errors as of `post`; a body beyond BODY_MAX bytes is cut.
        """
        target = httpx.URL(url)
        place = _place(target)
        line = await self._connect(place, await self._addresses(place[1], place[2]))
        try:
            line.writer.write(_request(target, body, {**headers, "Connection": "close"}))
            status, fields, _ = await _head(line.reader)
            return status, b"" if status == _NO_CONTENT else await _body(line.reader, fields)
        finally:
            line.writer.transport.abort()

    def close(self) -> None:
        """Close kept connections."""
        for place in list(self._kept):
            self._take(place, ())

    def _take(self, place: Place, addresses: Collection[str]) -> _Line | None:
        """Return a kept connection to one of these addresses, None when there is none."""
        while self._kept[place]:
            timer, line = self._kept[place].pop()
            timer.cancel()
            if line.open and line.address in addresses:
                return line
            line.writer.close()
        del self._kept[place]
        return None

    def _keep(self, place: Place, line: _Line) -> None:
        timer = asyncio.get_running_loop().call_later(KEPT_S, self._drop, place, line)
        self._kept[place].append((timer, line))

    def _drop(self, place: Place, line: _Line) -> None:
        self._kept[place] = [kept for kept in self._kept[place] if kept[1] is not line]
        line.writer.close()

    async def _connect(self, place: Place, addresses: list[str]) -> _Line:
        """Connect to the first address that answers."""
        *others, last = addresses
        for address in others:
            try:
                async with asyncio.timeout(CONNECT_S):
                    return await self._open(place, address)
            except OSError:
                continue
        return await self._open(place, last)

    async def _open(self, place: Place, address: str) -> _Line:
        """Connect to an address of a place; the certificate must be that of the host."""
        scheme, host, port = place
        if scheme != "https":
            return _Line(address, *await asyncio.open_connection(address, port))
        self._tls = self._tls or httpx.create_ssl_context(trust_env=False)
        name = host.removesuffix(".")
        opened = await asyncio.open_connection(address, port, ssl=self._tls, server_hostname=name)
        return _Line(address, *opened)

    async def _exchange(self, place: Place, line: _Line, request: bytes) -> int:
        """Send a request and return the status; an answer may come before all is sent."""
        keeps = answered = False
        try:
            line.writer.write(request)
            status, keeps = await _answer(line.reader)
            answered = True
            keeps = keeps and not line.writer.transport.get_write_buffer_size()
        finally:
            if keeps:
                self._keep(place, line)
            elif answered:
                line.writer.close()
            else:  # what is not sent yet would wait for a peer that may never read it
                line.writer.transport.abort()
        return status


def _place(target: httpx.URL) -> Place:
    return target.scheme, target.raw_host.decode(), target.port or PORTS[target.scheme]


def _request(target: httpx.URL, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return a whole request. ValueError for a header that would be several."""
    lines = [f"POST {target.raw_path.decode()} HTTP/1.1", f"Host: {target.netloc.decode()}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["User-Agent: vaxtrail", f"Content-Length: {len(body)}"]
    if any(not line.isprintable() for line in lines):
        raise ValueError("a header holds what is not printable")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Return the status and whether the connection may be used again."""
    status, fields, is_11 = await _head(reader)
    empty = status == _NO_CONTENT or fields.get(b"content-length") == b"0"
    return status, is_11 and empty and fields.get(b"connection") != b"close"


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes], bool]:
    """Return the status of an answer, its fields in lower case, and whether it is of HTTP/1.1."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise ValueError("the answer's head is too long") from error
        found = STATUS.match(head)
        if found is None:
            raise ValueError("the answer is not HTTP/1")
        status = int(found[2])
        if status >= _FINAL:
            fields = {
                name.strip().lower(): value.strip().lower()
                for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
            }
            return status, fields, found[1] == b"1"


async def _body(reader: asyncio.StreamReader, fields: Mapping[bytes, bytes]) -> bytes:
    """Return the body after a head: in chunks, of a told length, or to the end."""
    if fields.get(b"transfer-encoding") == b"chunked":
        return await _chunks(reader)
    if b"content-length" in fields:
        return await reader.readexactly(min(int(fields[b"content-length"]), BODY_MAX))
    parts = b""
    while len(parts) < BODY_MAX and (part := await reader.read(BODY_MAX - len(parts))):
        parts += part
    return parts


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """Return a body in chunks (RFC 9112 §7.1); trailers are left unread."""
    parts = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        if len(parts) + size > BODY_MAX:
            break
        parts += (await reader.readexactly(size + 2))[:-2]
    return parts
