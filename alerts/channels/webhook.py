"""Events to a subscribed system: HTTP POST, signed, with an idempotency key.

`X-Signature: t=<unix seconds>,v1=<hex>` where v1 = HMAC-SHA256(secret, "<t>." + body). The receiver
computes it over the bytes as received and refuses what is old. `Idempotency-Key` is the same for
every attempt at one delivery.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

import httpx
import orjson

from alerts.channels.channel import Message, Permanent, Transient
from alerts.channels.destinations import Destinations, allowed
from alerts.channels.post import Poster

# Seconds for a whole attempt, from the look-up of the name to the status; beyond it, transient.
TIMEOUT_S = 15.0
# A request time-out, "too early" and "too many": the same request may succeed later (RFC 9110).
RETRIED_4XX = frozenset({408, 425, 429})
# What a system that is being set up anew says for a while, and its operator mends.
MENDED_4XX = frozenset({401, 403, 404})
# Names looked up at a time.
LOOKUPS_MAX = 32

T = TypeVar("T")


class Webhook:
    """Posts one event a message, to where it may; follows no redirect.

    Requests run in an event loop of their own thread: only there does a deadline hold for a whole
    attempt, whatever the other side makes of it.
    """

    def __init__(self, destinations: Destinations, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._poster = Poster(destinations.addresses)
        self._loop = asyncio.new_event_loop()
        # Look-ups of names wait in these: few that are not answered must not hold up the others.
        self._loop.set_default_executor(ThreadPoolExecutor(LOOKUPS_MAX, "lookup"))
        self._thread = threading.Thread(target=self._loop.run_forever, name="webhook", daemon=True)
        self._thread.start()

    def send(self, message: Message) -> dict[str, str]:
        """Post the event; the evidence is the status answered."""
        return self.begin(message).result()

    def begin(self, message: Message) -> Future[dict[str, str]]:
        """Begin to do so, and return what will tell the evidence, or raise what `send` does."""
        body = orjson.dumps(message.event)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": message.key,
            "X-Signature": signature(message.secret, message.sent_at, body),
        }
        telling = self._tell(message.address, body, headers)
        return asyncio.run_coroutine_threadsafe(telling, self._loop)

    def post(self, address: str, body: bytes, headers: dict[str, str]) -> int:
        """Post a body and return the status answered; Undelivered without an answer."""
        posting = self._post(address, body, headers)
        return asyncio.run_coroutine_threadsafe(posting, self._loop).result()

    def ask(self, address: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Post a body and return the status and the body answered; Undelivered without them."""
        asking = self._within(self._poster.ask, address, body, headers)
        return asyncio.run_coroutine_threadsafe(asking, self._loop).result()

    async def _tell(self, address: str, body: bytes, headers: dict[str, str]) -> dict[str, str]:
        status = await self._post(address, body, headers)
        if status in MENDED_4XX:
            raise Transient(f"HTTP {status}")
        if not 200 <= status < 300:
            raise refused(status)
        return {"status": str(status)}

    async def _post(self, address: str, body: bytes, headers: dict[str, str]) -> int:
        return await self._within(self._poster.post, address, body, headers)

    async def _within(
        self,
        call: Callable[[str, bytes, dict[str, str]], Coroutine[Any, Any, T]],
        address: str,
        body: bytes,
        headers: dict[str, str],
    ) -> T:
        """Return what a call gives within the time of an attempt; Undelivered without it."""
        if not allowed(address):
            raise Permanent("only http and https addresses without a password are called")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call(address, body, headers)
        except httpx.InvalidURL as error:
            raise Permanent(str(error)) from error
        except TimeoutError as error:
            raise Transient(f"no answer within {self._timeout_s:g} s") from error
        except (OSError, EOFError, ValueError) as error:
            raise Transient(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Close kept connections."""
        self._loop.call_soon_threadsafe(self._poster.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def refused(status: int) -> Permanent | Transient:
    """Return the error of a status that is no success: what the request lacks stays."""
    final = 400 <= status < 500 and status not in RETRIED_4XX
    return (Permanent if final else Transient)(f"HTTP {status}")


def signature(secret: str, at: datetime, body: bytes) -> str:
    """Return the value of `X-Signature` for a body sent at a moment."""
    seconds = int(at.timestamp())
    mac = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={mac.hexdigest()}"
