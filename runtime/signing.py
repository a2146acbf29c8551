"""The instance's Ed25519 key for files that leave it: clinics' snapshots, evidence.

Kept like its other secrets (`secrets/signing.pem`, mode 0600), made at the first need. It is part
of what a backup must keep: files signed with a lost key can still be checked, but no longer made.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from runtime.folder import owned, write_private
from runtime.refusal import Refusal

NAME = "signing.pem"


def signing_key(data: Path) -> Ed25519PrivateKey:
    """Return the key of this data folder, made when there is none yet. Refusal for another kind."""
    path = data / "secrets" / NAME
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with owned(data, "signing.lock"):
            if not path.exists():
                write_private(path, _pem(Ed25519PrivateKey.generate()))
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise Refusal(f"{path} 不是 Ed25519 私钥", f"{path} is no Ed25519 private key.")
    return key


def public_pem(key: Ed25519PrivateKey) -> str:
    """Return the public key as people export it."""
    exported = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return exported.decode()


def _pem(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
