"""One question that is asked again and again from an event loop, on connections of its own.

For answers that shall take no thread: the way through a thread, a pool and a cursor costs more than
most such questions do. The question is prepared once a connection; values come in binary form.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, Generic, LiteralString, TypeVar

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

Row = TypeVar("Row")

# A connection is a process of the server: more than these only take turns on few processors.
CONNECTIONS_MAX = 4
# A server that fell silent without closing anything must not hold them for ever.
ANSWER_S = 10.0
_NAME = b"question"
_PARAMETER = re.compile(r"%\((\w+)\)s")
_OIDS: dict[type, int] = {int: 20, str: 25}  # int8, text


class Asking(Generic[Row]):
    """A query with named parameters, each an int (int8) or a str, asked in the loop that runs.

    `record` makes a row of a sequence of values. Connections are opened when they are needed.
    """

    def __init__(
        self,
        conninfo: str,
        query: LiteralString,
        parameters: dict[str, type],
        record: Callable[[Sequence[Any]], Row],
    ) -> None:
        numbers = {name: f"${n}" for n, name in enumerate(parameters, start=1)}
        text = _PARAMETER.sub(lambda found: numbers[found[1]], query)
        self._conninfo = conninfo.encode()
        self._query = text.replace("%%", "%").encode()
        self._types = [_OIDS[kind] for kind in parameters.values()]
        self._record = record
        self._idle: list[_Line] = []
        self._turns = asyncio.Semaphore(CONNECTIONS_MAX)

    async def rows(self, *values: int | str) -> list[Row]:
        """Return the answer to these values, in the order of the parameters.

        psycopg.Error where there is none; what was wrong with a connection ends with it.
        """
        async with self._turns:
            line = self._idle.pop() if self._idle else None
            if line is None or line.broken:
                line = _Line(await asyncio.to_thread(self._connected))
            try:
                async with asyncio.timeout(ANSWER_S):
                    result = await line.answer([_encoded(value) for value in values])
            except BaseException as error:
                line.close()
                if isinstance(error, TimeoutError):
                    raise psycopg.OperationalError("the database is silent") from error
                raise
            self._idle.append(line)
        reading = line.reading
        reading.set_pgresult(result)
        return reading.load_rows(0, result.ntuples, self._record)

    def _connected(self) -> PGconn:
        """Return a new connection that knows the question; it blocks meanwhile."""
        conn = pq.PGconn.connect(self._conninfo)
        if conn.status != ConnStatus.OK:
            raise psycopg.OperationalError(conn.get_error_message())
        prepared = conn.prepare(_NAME, self._query, self._types)
        if prepared.status != ExecStatus.COMMAND_OK:
            raise error_from_result(prepared)
        conn.nonblocking = 1
        return conn


class _Line:
    """A connection that answers one question at a time."""

    def __init__(self, conn: PGconn) -> None:
        self.broken = False
        self.reading = Transformer()
        self._conn = conn
        self._socket = conn.socket
        self._loop = asyncio.get_running_loop()
        self._asked: asyncio.Future[PGresult] | None = None
        self._result: PGresult | None = None
        self._loop.add_reader(self._socket, self._arrived)

    def answer(self, values: Sequence[bytes]) -> asyncio.Future[PGresult]:
        """Ask, and return what will hold the answer."""
        self._asked, self._result = self._loop.create_future(), None
        formats = [Format.BINARY] * len(values)
        self._conn.send_query_prepared(_NAME, values, formats, Format.BINARY)
        while self._conn.flush():
            pass  # a question is far smaller than the buffer of a socket
        return self._asked

    def close(self) -> None:
        """End the connection; again, nothing: its number may be another's by then."""
        if self.broken:
            return
        self.broken = True
        self._loop.remove_reader(self._socket)
        self._conn.finish()

    def _arrived(self) -> None:
        """Take what the server sent; without a question, that it has gone."""
        try:
            self._conn.consume_input()
            while not self._conn.is_busy():
                result = self._conn.get_result()
                if result is None:
                    self._ended()
                    return
                self._result = result
        except psycopg.Error as error:
            self.close()
            if self._asked is not None and not self._asked.done():
                self._asked.set_exception(error)

    def _ended(self) -> None:
        asked, result = self._asked, self._result
        self._asked = self._result = None
        if asked is None or result is None or asked.done():
            return
        if result.status == ExecStatus.TUPLES_OK:
            asked.set_result(result)
        else:
            asked.set_exception(error_from_result(result))


def _encoded(value: int | str) -> bytes:
    return struct.pack(">q", value) if isinstance(value, int) else value.encode()
