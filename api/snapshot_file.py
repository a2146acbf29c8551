"""A snapshot as a file: one line of JSON, and one with the Ed25519 signature of its bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domain.shared.errors import Invalid
from domain.vaccination.snapshot import Snapshot

FORMAT = "vaxtrail.clinic-snapshot.1"


class _Body(msgspec.Struct, frozen=True):
    format: str
    snapshot: Snapshot


class _Seal(msgspec.Struct, frozen=True):
    alg: str
    key_id: str
    signature: str


def sealed(snapshot: Snapshot, key: Ed25519PrivateKey) -> bytes:
    """Return the file of a snapshot."""
    body = msgspec.json.encode(_Body(FORMAT, snapshot))
    signature = base64.b64encode(key.sign(body)).decode()
    return body + b"\n" + msgspec.json.encode(_Seal("Ed25519", key_id(key.public_key()), signature))


def opened(file: bytes, key: Ed25519PublicKey) -> Snapshot:
    """Return the snapshot of a file that this key signed; Invalid("bad_snapshot") otherwise.

    `reason`: malformed, other_key or signature.
    """
    body, _, last = file.strip().partition(b"\n")
    try:
        seal = msgspec.json.decode(last, type=_Seal)
        signature = base64.b64decode(seal.signature, validate=True)
    except (msgspec.DecodeError, binascii.Error) as error:
        raise Invalid("bad_snapshot", reason="malformed") from error
    if seal.key_id != key_id(key):
        raise Invalid("bad_snapshot", reason="other_key")
    try:
        key.verify(signature, body)
        found = msgspec.json.decode(body, type=_Body)
    except InvalidSignature as error:
        raise Invalid("bad_snapshot", reason="signature") from error
    except msgspec.DecodeError as error:
        raise Invalid("bad_snapshot", reason="malformed") from error
    if found.format != FORMAT:
        raise Invalid("bad_snapshot", reason="malformed")
    return found.snapshot


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name of a public key: the beginning of its SHA-256."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]
