"""Web push: a message to a browser, by the push service of its maker (RFC 8030).

It is encrypted so that only that browser can read it (RFC 8291, aes128gcm of RFC 8188), and signed
as this server's (VAPID, RFC 8292).

A recipient's address is the endpoint of its subscription; its secret is `p256dh.auth`, the keys
that the browser made, in base64url.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self
from urllib.parse import urlsplit

import orjson
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from alerts.channels.channel import Ask, Message, Permanent
from alerts.channels.webhook import refused

_CURVE = ec.SECP256R1()
_POINT, _AUTH, _SALT = 65, 16, 16  # bytes
# One record holds the whole message; push services take 4096 bytes (RFC 8291 §4).
RECORD = 4_096
PLAIN_MAX = RECORD - _SALT - 4 - 1 - _POINT - 16 - 1
# Seconds for which a push service keeps a message for a browser that is away.
KEPT_S = 4 * 3600
SIGNED_FOR = timedelta(hours=12)  # a day at most (RFC 8292 §2)


@dataclass(frozen=True, slots=True)
class Vapid:
    """Who signs: the private key, and where the operator is reached (mailto: or https:)."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    contact: str

    @classmethod
    def of(cls, text: str, contact: str) -> Self:
        """Read a key of 32 bytes in base64url. ValueError for anything else."""
        raw = decoded(text)
        if len(raw) != 32:
            raise ValueError("a key of web push has 32 bytes in base64")
        return cls(ec.derive_private_key(int.from_bytes(raw, "big"), _CURVE), contact)

    @property
    def public(self) -> str:
        """Return the public key as browsers take it for `applicationServerKey`."""
        return encoded(_point(self.key))

    def authorization(self, endpoint: str, at: datetime) -> str:
        """Return the value of `Authorization` for a push service, signed at a moment."""
        parts = urlsplit(endpoint)
        claims = {
            "aud": f"{parts.scheme}://{parts.netloc}",
            "exp": int((at + SIGNED_FOR).timestamp()),
            "sub": self.contact,
        }
        head = orjson.dumps({"typ": "JWT", "alg": "ES256"})
        text = f"{encoded(head)}.{encoded(orjson.dumps(claims))}"
        r, s = decode_dss_signature(self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        signature = encoded(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return f"vapid t={text}.{signature}, k={self.public}"


class Push:
    """Sends to one browser a message; several threads may use it at once."""

    def __init__(self, vapid: Vapid, ask: Ask) -> None:
        self._vapid = vapid
        self._ask = ask

    def send(self, message: Message) -> dict[str, str]:
        """Hand one message to the push service; the evidence is its status and host.

        A subscription that ended (404, 410) is permanent.
        """
        try:
            p256dh, _, auth = message.secret.partition(".")
            body = sealed(_shown(message), decoded(p256dh), decoded(auth))
        except (ValueError, InvalidKey) as error:
            raise Permanent("not the keys of a subscription") from error
        headers = {
            "Authorization": self._vapid.authorization(message.address, message.sent_at),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(KEPT_S),
            "Urgency": "high",
        }
        status, _ = self._ask(message.address, body, headers)
        if not 200 <= status < 300:
            raise refused(status)
        return {"status": str(status), "accepted_by": urlsplit(message.address).hostname or ""}

    def close(self) -> None:
        """Keep nothing open between messages."""


def sealed(
    plain: bytes,
    browser: bytes,
    auth: bytes,
    *,
    key: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes = b"",
) -> bytes:
    """Return a message for a browser: its public point and its secret are given.

    `key` and `salt` are new for every message. ValueError for what is no point or secret.
    """
    if len(auth) != _AUTH or len(plain) > PLAIN_MAX:
        raise ValueError("a secret of 16 bytes, and a message that one record holds")
    key, salt = key or ec.generate_private_key(_CURVE), salt or os.urandom(_SALT)
    theirs, ours = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, browser), _point(key)
    shared = key.exchange(ec.ECDH(), theirs)
    secret = _derived(shared, auth, b"WebPush: info\0" + browser + ours, 32)
    content_key = _derived(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(secret, salt, b"Content-Encoding: nonce\0", 12)
    head = salt + RECORD.to_bytes(4, "big") + bytes([len(ours)]) + ours
    return head + AESGCM(content_key).encrypt(nonce, plain + b"\x02", None)


def is_subscription(p256dh: str, auth: str) -> bool:
    """Tell whether these are the keys of a browser's subscription."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, decoded(p256dh))
        return len(decoded(auth)) == _AUTH
    except ValueError:
        return False


def encoded(raw: bytes) -> str:
    """Return bytes in base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """Return the bytes of base64url or base64, padded or not. ValueError for anything else."""
    plain = text.rstrip("=").replace("+", "-").replace("/", "_")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)


def _shown(message: Message) -> bytes:
    """Return what the page's worker is given to show."""
    told = {
        "title": message.subject,
        "body": message.text.partition("\n----\n")[0].strip(),
        "tag": message.thread,
        "url": str(message.event.get("link", "")),
    }
    whole = orjson.dumps(told)
    return whole if len(whole) <= PLAIN_MAX else orjson.dumps({**told, "body": ""})


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _derived(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)
