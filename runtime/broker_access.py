"""Who may do what at the broker: one account a gateway or scanner, and what it may say and hear.

`<data>/secrets/gateways.json` (mode 0600) keeps hashes of passwords and the subjects of client
certificates, never a password. It is a file and no table since the broker takes messages while the
database is away. A password has 192 random bits, so hashes are as cheap as the brokers allow:
thousands of gateways that come back at once must be let in within seconds.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import bcrypt

from runtime import folder
from runtime.refusal import Refusal

SERVER, SHARED = "server", "gateway"  # user names that are ours: no gateway has them
SESSION = "mqtt_session"  # the secret in ingest's client id
PASSWORD_BYTES = 24
BCRYPT_COST = 4  # the least there is: about 1 ms a login
PBKDF2_ROUNDS = 101  # mosquitto's own number
SALT_BYTES = 12
LOCK_SECONDS = 10.0
SAID = ("tele/+", "backfill/+", "event/+", "status", "scan")
HEARD = ("ack/#", "reject/#", "cmd/#")
# Sparkplug B: of the edge node (the gateway) and of the devices behind it.
NODE_SAID, DEVICE_SAID = ("NBIRTH", "NDATA", "NDEATH"), ("DBIRTH", "DDATA", "DDEATH")
# First levels that belong to the contract or to the broker: never granted as extra topics.
OUR_ROOTS = ("cc", "spBv1.0", "$")


@dataclass(frozen=True, slots=True)
class Access:
    """One gateway or scanner at the broker; empty hashes or subject: it has none."""

    gateway_id: str
    region_code: str
    site_id: str
    topics: tuple[str, ...] = ()  # filters it may publish to besides the contract's
    bcrypt: str = ""
    pbkdf2: str = ""
    subject: str = ""  # RFC 4514, of its newest client certificate
    expires: str = ""  # RFC 3339, of that certificate

    @property
    def said(self) -> tuple[str, ...]:
        """The topic filters it may publish to."""
        spark = f"spBv1.0/{self.region_code}"
        return (
            *(f"{self._base}/{kind}" for kind in SAID),
            *(f"{spark}/{kind}/{self.gateway_id}" for kind in NODE_SAID),
            *(f"{spark}/{kind}/{self.gateway_id}/+" for kind in DEVICE_SAID),
            *self.topics,
        )

    @property
    def heard(self) -> tuple[str, ...]:
        """The topic filters it may subscribe to."""
        spark = f"spBv1.0/{self.region_code}"
        return (
            *(f"{self._base}/{kind}" for kind in HEARD),
            f"{spark}/NCMD/{self.gateway_id}",
            f"{spark}/DCMD/{self.gateway_id}/+",
            "spBv1.0/STATE/+",
        )

    @property
    def _base(self) -> str:
        return f"cc/v1/{self.region_code}/{self.site_id}/{self.gateway_id}"


def path(data: Path) -> Path:
    """Return where the accounts are kept."""
    return data / "secrets" / "gateways.json"


def load(data: Path) -> dict[str, Access]:
    """Return the accounts by gateway. ValueError for a file that was spoilt."""
    place = path(data)
    kept = json.loads(place.read_text()) if place.exists() else []
    try:
        found = [Access(**{**each, "topics": tuple(each["topics"])}) for each in kept]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{place}: {error}") from error
    return {each.gateway_id: each for each in found}


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Hold the lock of whoever changes accounts. Refusal when another one holds it for long."""
    path(data).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with folder.owned(data, "gateways.lock", LOCK_SECONDS):
        yield


@contextmanager
def changed(data: Path) -> Iterator[dict[str, Access]]:
    """Give the accounts to be changed; they are written whole at the end. Refusal when held."""
    with held(data):
        accounts = load(data)
        yield accounts
        listed = [asdict(accounts[name]) for name in sorted(accounts)]
        folder.write_private(path(data), json.dumps(listed, indent=1))


def new_password() -> str:
    """Return a password nobody can guess, of characters that every device's form takes."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def bcrypt_hash(password: str) -> str:
    """Return a hash as the embedded broker takes it."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(BCRYPT_COST, b"2a")).decode()


def pbkdf2_hash(password: str) -> str:
    """Return a hash as mosquitto's password file takes it (PBKDF2 with SHA-512)."""
    salt = os.urandom(SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, PBKDF2_ROUNDS)
    texts = (base64.b64encode(part).decode() for part in (salt, digest))
    return "$".join(("", "7", str(PBKDF2_ROUNDS), *texts))


def checked_filter(text: str) -> str:
    """Return a topic filter that may be granted besides the contract's. Refusal."""
    levels = text.split("/")
    wrong = (
        not text
        or any(c in text for c in " \t\n*>\0")
        or any("+" in level and level != "+" for level in levels)
        or "#" in text.removesuffix("/#")
    )
    if wrong:
        raise Refusal(
            f"主题过滤器有误：{text!r}（不含空格、*、>；+ 与 # 各占一级，# 在末尾）",
            f"{text!r} is no topic filter (no space, * or >; + and # are levels, # the last).",
        )
    if levels[0] == "+" or levels[0].startswith(OUR_ROOTS[-1]) or levels[0] in OUR_ROOTS:
        raise Refusal(
            f"不能另外授予主题 {text}：它属于其他网关或代理本身",
            f"{text} cannot be granted: it belongs to other gateways or to the broker.",
        )
    return text
