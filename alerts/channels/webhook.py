"""Events to a subscribed system: HTTP POST, signed, with an idempotency key.

`X-Signature: t=<unix seconds>,v1=<hex>` where v1 = HMAC-SHA256(secret, "<t>." + body). The receiver
computes it over the bytes as received and refuses what is old. `Idempotency-Key` is the same for
every attempt at one delivery.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from urllib.parse import urlsplit

import httpx
import orjson

from alerts.channels.channel import Message, Permanent, Transient

# Seconds for connecting, sending and the answer each; beyond it the attempt is transient.
TIMEOUT_S = 10.0
# Bytes of an answer's body that are read (and dropped); beyond it the connection is given up.
ANSWER_BYTES_MAX = 65_536
SCHEMES = ("http", "https")
# A request time-out, "too early" and "too many": the same request may succeed later (RFC 9110).
RETRIED_4XX = frozenset({408, 425, 429})


class Webhook:
    """Posts one event a message; follows no redirect, so that an address means what it says."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._client = httpx.Client(timeout=timeout_s, follow_redirects=False, trust_env=False)

    def send(self, message: Message) -> dict[str, str]:
        """Post the event; the evidence is the status answered."""
        body = orjson.dumps(message.event)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": message.key,
            "X-Signature": signature(message.secret, message.sent_at, body),
        }
        if not allowed(message.address):
            raise Permanent("only http and https addresses without a password are called")
        try:
            status = self._post(message.address, body, headers)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise Permanent(str(error)) from error
        except httpx.HTTPError as error:
            raise Transient(f"{type(error).__name__}: {error}") from error
        if 200 <= status < 300:
            return {"status": str(status)}
        if 400 <= status < 500 and status not in RETRIED_4XX:
            raise Permanent(f"HTTP {status}")
        raise Transient(f"HTTP {status}")

    def _post(self, address: str, body: bytes, headers: dict[str, str]) -> int:
        with self._client.stream("POST", address, content=body, headers=headers) as answer:
            taken = 0
            for chunk in answer.iter_raw():  # read to the end, so that the connection is kept
                taken += len(chunk)
                if taken > ANSWER_BYTES_MAX:
                    break
            return answer.status_code

    def close(self) -> None:
        """Close kept connections."""
        self._client.close()


def allowed(address: str) -> bool:
    """Tell whether an address may be called: http(s) to a named host, no credentials in it."""
    try:
        parts = urlsplit(address)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return parts.scheme in SCHEMES and named and parts.username is None


def signature(secret: str, at: datetime, body: bytes) -> str:
    """Return the value of `X-Signature` for a body sent at a moment."""
    seconds = int(at.timestamp())
    mac = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={mac.hexdigest()}"
