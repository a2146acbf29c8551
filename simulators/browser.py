"""A browser that subscribed to web push: it checks who sends (RFC 8292) and reads what is for it.

What the push service would check, it checks as well: the content coding of RFC 8188 and RFC 8291.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CURVE = ec.SECP256R1()
BODY_MAX = 4_096
DAY_S = 86_400


@dataclass
class Browser:
    """One subscription. `server_key`: what it was made with (`applicationServerKey`)."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(CURVE))
    secret: bytes = field(default_factory=lambda: os.urandom(16))
    server_key: str = ""

    @property
    def keys(self) -> dict[str, str]:
        """Return the keys as `PushSubscription.toJSON()` gives them."""
        return {"p256dh": _text(self._point), "auth": _text(self.secret)}

    @property
    def _point(self) -> bytes:
        public = self.key.public_key()
        return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def check(self, headers: dict[str, str], origin: str, now: float) -> None:
        """Check who sends, for whom and until when. ValueError when it is not as agreed."""
        scheme, _, rest = headers.get("authorization", "").partition(" ")
        given = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
        if scheme != "vapid" or given.get("k") != self.server_key:
            raise ValueError("not the server that this browser subscribed with")
        signed, _, signature = given["t"].rpartition(".")
        raw = _bytes(signature)
        r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        public = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, _bytes(given["k"]))
        try:
            der = encode_dss_signature(r, s)
            public.verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise ValueError("the signature is wrong") from None
        head, claims = (json.loads(_bytes(part)) for part in signed.split("."))
        if head.get("alg") != "ES256" or claims.get("aud") != origin:
            raise ValueError("the claims are for another")
        if not now < claims.get("exp", 0) <= now + DAY_S or not claims.get("sub"):
            raise ValueError("the claims have ended, or say nobody")
        if headers.get("content-encoding") != "aes128gcm" or not headers.get("ttl", "").isdigit():
            raise ValueError("a content coding and a TTL are needed")

    def opened(self, body: bytes) -> str:
        """Return what a message says. ValueError when it is not for this browser."""
        salt, length = body[:16], body[20]
        sender, sealed = body[21 : 21 + length], body[21 + length :]
        if len(body) > BODY_MAX or len(salt) < 16:
            raise ValueError("too long or too short")
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, sender)
        shared = self.key.exchange(ec.ECDH(), theirs)
        info = b"WebPush: info\x00" + self._point + sender
        secret = _expand(_mac(self.secret, shared), info, 32)
        base = _mac(salt, secret)
        key = _expand(base, b"Content-Encoding: aes128gcm\x00", 16)
        nonce = _expand(base, b"Content-Encoding: nonce\x00", 12)
        try:
            plain = AESGCM(key).decrypt(nonce, sealed, None)
        except InvalidTag:
            raise ValueError("not for this browser") from None
        text, mark, padding = plain.rpartition(b"\x02")
        if not mark or padding.strip(b"\x00"):
            raise ValueError("not the last record")
        return text.decode()


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, hashlib.sha256)


def _expand(key: bytes, info: bytes, length: int) -> bytes:
    return _mac(key, info + b"\x01")[:length]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
