"""An evidence bundle: an answer with the stored events behind it, in a zip that checks itself.

`answer.json`; `certificate.pdf`; `events/<position>.json`, the bytes of each event as stored;
`manifest.json` with the SHA-256 of every file and what each event is; `manifest.sig`, the Ed25519
signature of the manifest's bytes; `key.pem`. Events that name people whom the caller may not see
are listed by their hash alone (`withheld`). Nothing here needs a database: an outsider checks with
the public key, got from the instance by another way.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from api.oversight.tables import zipped
from api.snapshot_file import key_id

if TYPE_CHECKING:
    from api.oversight.answers import Answer
    from api.oversight.rows import Stored

FORMAT = "vaxtrail.evidence.1"
MANIFEST, SIGNATURE, KEY, ANSWER = "manifest.json", "manifest.sig", "key.pem", "answer.json"
_UNLISTED = {MANIFEST, SIGNATURE, KEY}
# What an outsider unpacks at most: bytes of all files.
UNPACKED_BYTES_MAX = 2**31


def bundled(
    answer: Answer,
    stored: Mapping[int, Stored],
    certificate: bytes,
    key: Ed25519PrivateKey,
    withheld: Callable[[Mapping[str, Any]], bool],
) -> Iterator[bytes]:
    """Yield the bundle of an answer and the events behind it, by position.

    `withheld` tells which of these (as JSON) stay out.
    """
    files = {ANSWER: b"".join(answer.json()), "certificate.pdf": certificate}
    events = []
    for position, event in stored.items():
        kept = withheld(orjson.loads(event.state))
        if not kept:
            files[_name(position)] = event.state
        events.append(
            {
                "position": position,
                "topic": event.topic,
                "stream": event.stream,
                "version": event.version,
                "sha256": event.sha256,
                "withheld": kept,
            }
        )
    manifest = orjson.dumps(
        {
            "format": FORMAT,
            "as_of": str(answer.at),
            "head": answer.body["head"],
            "proof": answer.body["proof"],
            "key_id": key_id(key.public_key()),
            "files": {name: _sha256(content) for name, content in sorted(files.items())},
            "events": events,
        },
        option=orjson.OPT_UTC_Z,
    )
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    sealed = {MANIFEST: manifest, SIGNATURE: base64.b64encode(key.sign(manifest)), KEY: pem}
    whole = sealed | dict(sorted(files.items()))
    return zipped((name, [content]) for name, content in whole.items())


@dataclass(slots=True)
class Verdict:
    """What a check found; the bundle is whole when there are no faults."""

    key_id: str = ""
    trusted: bool = False  # checked with a key that did not come with the bundle
    as_of: str = ""
    files: int = 0
    events: int = 0
    withheld: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)  # (code, what)

    @property
    def whole(self) -> bool:
        """Tell whether nothing was changed, added or left out since it was signed."""
        return not self.faults


def checked(bundle: bytes, key: Ed25519PublicKey | None = None) -> Verdict:
    """Return what is wrong with a bundle, checked with `key`, else with the one inside.

    Codes of faults: not_a_bundle, bad_signature, other_key, missing, changed, unlisted,
    unknown_event.
    """
    found = Verdict(trusted=key is not None)
    try:
        files = _unpacked(bundle)
        used = key or _own_key(files[KEY])
        manifest = _manifest(files[MANIFEST])
        signature = base64.b64decode(files[SIGNATURE], validate=True)
        found.key_id, found.as_of = key_id(used), manifest["as_of"]
        found.faults += _signature(used, files[MANIFEST], signature, manifest["key_id"])
        found.faults += _files(files, manifest["files"])
        found.faults += _events(files, manifest["events"])
        found.faults += _answer(files, manifest)
        found.files, found.events = len(manifest["files"]), len(manifest["events"])
        found.withheld = sum(event["withheld"] for event in manifest["events"])
    except (KeyError, TypeError, ValueError, binascii.Error, zipfile.BadZipFile) as error:
        found.faults.append(("not_a_bundle", str(error)))
    return found


def _own_key(pem: bytes) -> Ed25519PublicKey:
    key = load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise TypeError(KEY)
    return key


def _manifest(content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(content)
    if found["format"] != FORMAT:
        raise ValueError(FORMAT)
    return found


def _unpacked(bundle: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        infos = archive.infolist()
        names = [info.filename for info in infos]
        if sum(info.file_size for info in infos) > UNPACKED_BYTES_MAX:
            raise ValueError("too large")
        if len(set(names)) != len(names):
            raise ValueError("a name twice")
        return {name: archive.read(name) for name in names}


def _signature(
    key: Ed25519PublicKey, manifest: bytes, signature: bytes, named: str
) -> Iterator[tuple[str, str]]:
    if key_id(key) != named:
        yield "other_key", named
    try:
        key.verify(signature, manifest)
    except InvalidSignature:
        yield "bad_signature", MANIFEST


def _files(files: Mapping[str, bytes], listed: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, sha256 in listed.items():
        if name not in files:
            yield "missing", name
        elif _sha256(files[name]) != sha256:
            yield "changed", name
    for name in sorted(files.keys() - listed.keys() - _UNLISTED):
        yield "unlisted", name


def _events(
    files: Mapping[str, bytes], events: list[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    for event in events:
        name = _name(event["position"])
        if event["withheld"]:
            continue
        if name not in files:
            yield "missing", name
        elif _sha256(files[name]) != event["sha256"]:
            yield "changed", name


def _answer(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find rows of the answer that rest on events that the manifest does not have."""
    body = orjson.loads(files[ANSWER])
    if body["as_of"] != manifest["as_of"]:
        yield "changed", ANSWER
    known = {(event["position"], event["sha256"]) for event in manifest["events"]}
    rows = [*body["head"]["lots"], *(row for rows in body["parts"].values() for row in rows)]
    for row in rows:
        for event in row["events"]:
            if (event["position"], event["sha256"]) not in known:
                yield "unknown_event", str(event["position"])


def _name(position: int) -> str:
    return f"events/{position:012}.json"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
