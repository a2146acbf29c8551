"""The accounts of gateways as files of mosquitto 2: passwords, topic rules, safe settings.

Settings that would drop what was acknowledged are absent on purpose: `message_size_limit` (drops
an oversize message and acknowledges it), limits of queues and of messages in flight.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from runtime.broker_access import SERVER, Access, pbkdf2_hash
from runtime.broker_tls import BROKER_FILES, Tls
from runtime.folder import write_private

PORT, TLS_PORT = 1883, 8883
PACKET_MAX = 256 * 1024 + 1024  # bytes: a payload as large as the embedded broker takes
CONF = "vaxtrail.conf"
URL = "ingest-url"

_SETTINGS = """\
# Vaxtrail: mosquitto 2 that loses and drops nothing. Start it with
# mosquitto -c {folder}/{conf}, or let mosquitto.conf hold nothing but
# include_dir {folder}. After a change of accounts: kill -HUP, nobody unchanged
# is disconnected. Give the folder to mosquitto's account once:
# chown -R mosquitto {folder}
per_listener_settings false
allow_anonymous false
password_file {folder}/passwd
acl_file {folder}/acl
# Unlimited: the defaults 20 and 1000 throttle and then drop what was acknowledged.
max_inflight_messages 0
max_queued_messages 0
# A larger message ends the connection; message_size_limit would acknowledge and drop it.
max_packet_size {packet_max}
# On disk after every change, so that a kill of mosquitto loses nothing; some thousand messages a
# second. A longer interval is faster and may lose as many acknowledged messages.
persistence true
persistence_location {store}/
autosave_on_changes true
autosave_interval 1
"""


def write(target: Path, accounts: Iterable[Access], *, password: str, tls: Tls | None) -> None:
    """Write `passwd`, `acl`, `vaxtrail.conf` and `ingest-url` (VAXTRAIL_MQTT_URL_FILE) to a folder.

    With TLS also copies of the broker's certificate, its key and the authority's certificate.

    `password` is our own processes', who come to the loopback listener unencrypted.
    """
    target = target.absolute()
    (target / "store").mkdir(parents=True, exist_ok=True)
    listed = list(accounts)
    passwords = [f"{SERVER}:{pbkdf2_hash(password)}"]
    passwords += [f"{each.gateway_id}:{each.pbkdf2}" for each in listed if each.pbkdf2]
    files = {
        "passwd": "\n".join(passwords) + "\n",
        "acl": "\n".join([f"user {SERVER}\ntopic readwrite #\n", *map(_rules, listed)]),
        CONF: _settings(target, tls),
        URL: f"mqtt://{SERVER}:{quote(password)}@127.0.0.1:{PORT}",
        **(tls.load() if tls else {}),  # so that it need not read the folder of all secrets
    }
    owner = target.stat()  # given to mosquitto's account once, it stays readable to it
    for name, text in files.items():
        write_private(target / name, text, (owner.st_uid, owner.st_gid))


def _settings(target: Path, tls: Tls | None) -> str:
    text = _SETTINGS.format(folder=target, conf=CONF, packet_max=PACKET_MAX, store=target / "store")
    if tls is None:
        text += f"# Unencrypted, so for this machine only: vaxtrail tls init, or listener {PORT}\n"
    text += f"listener {PORT} 127.0.0.1\n"
    if tls:
        places = zip(("cafile", "certfile", "keyfile"), BROKER_FILES, strict=True)
        text += f"listener {TLS_PORT}\n"
        text += "".join(f"{name} {target / file}\n" for name, file in places)
        if tls.certificates:
            text += "require_certificate true\nuse_subject_as_username true\n"
    return text


def _rules(access: Access) -> str:
    """Return the rules of one account, under its name and under its certificate's subject."""
    topics = [f"topic write {text}" for text in access.said]
    topics += [f"topic read {text}" for text in access.heard]
    names = [name for name in (access.gateway_id, access.subject) if name]
    return "\n".join("\n".join([f"user {name}", *topics, ""]) for name in names)
