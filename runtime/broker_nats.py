"""The accounts of gateways as the embedded broker takes them: users with permissions on subjects.

Permissions follow the accounts at a reload (SIGHUP): who is unchanged stays connected, who is
revoked or has another password is cut off.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from runtime.broker_access import SERVER, SHARED, Access
from runtime.folder import write_private

MQTT_ONLY = ["MQTT"]  # not over the broker's native port, where these rules could be walked around
# Deliveries of QoS 1 subscriptions come over it; the broker lets no client subscribe to it itself.
DELIVERIES = "$MQTT.sub.>"
# Of a broker of one's own: the file that its configuration includes, the variable that this sets,
# and the one of our password. A broker without users would let everybody in, one without a variable
# that it names does not start.
FILE, USERS, PASSWORD = "users.conf", "VAXTRAIL_USERS", "$VAXTRAIL_BROKER_PASSWORD"
OURS_TO_SAY = (
    *(f"cc/v1/+/+/+/{kind}/#" for kind in ("ack", "reject", "cmd")),
    *(f"spBv1.0/+/{kind}/#" for kind in ("NCMD", "DCMD")),
    "spBv1.0/STATE/#",
)
_WORDS = {"": "/", "+": "*", "#": ">"}


def subjects(filters: Iterable[str]) -> Iterator[str]:
    """Yield the subjects that the broker makes of MQTT topic filters (`a/#` is also `a`)."""
    for text in filters:
        levels = [_WORDS.get(level, level.replace(".", "//")) for level in text.split("/")]
        if levels[-1] == ">":
            yield ".".join(levels[:-1])
        yield ".".join(levels)


def server_name(*, certificates: bool) -> str:
    """Return the user of our own processes; by certificate it is the subject of `own.crt`."""
    return f"CN={SERVER}" if certificates else SERVER


def server_user(name: str, password: str) -> dict[str, Any]:
    """Return the user of our own processes: everything."""
    return {"user": name, "password": password, "allowed_connection_types": MQTT_ONLY}


def shared_user(password: str) -> dict[str, Any]:
    """Return the shared user: for every gateway, but nothing that only the server says."""
    return server_user(SHARED, password) | {
        "permissions": {
            "publish": {
                "allow": list(subjects(("cc/v1/#", "spBv1.0/#"))),
                "deny": list(subjects(OURS_TO_SAY)),
            },
            "subscribe": {"allow": [*subjects(("cc/v1/#", "spBv1.0/#")), DELIVERIES]},
        }
    }


def gateway_users(accounts: Iterable[Access], *, certificates: bool) -> Iterator[dict[str, Any]]:
    """Yield the users of those that can log in by `certificates`, else by password."""
    for access in accounts:
        name = access.subject if certificates else access.gateway_id
        if not name or not (certificates or access.bcrypt):
            continue
        yield {
            "user": name,
            # The broker would ask for both where a user of certificates had one.
            "password": "" if certificates else access.bcrypt,
            "allowed_connection_types": MQTT_ONLY,
            "permissions": {
                "publish": {"allow": list(subjects(access.said))},
                "subscribe": {"allow": [*subjects(access.heard), DELIVERIES]},
            },
        }


def write(target: Path, accounts: Iterable[Access], *, certificates: bool) -> None:
    """Write the users of a broker of one's own.

    Its configuration has `include "users.conf"` and `authorization { users: $VAXTRAIL_USERS }`;
    the password of our own processes is its variable VAXTRAIL_BROKER_PASSWORD.
    """
    target.mkdir(parents=True, exist_ok=True)
    own = server_user(server_name(certificates=certificates), PASSWORD)
    users = [own, *gateway_users(accounts, certificates=certificates)]
    text = json.dumps(users, indent=1).replace(f'"{PASSWORD}"', PASSWORD)  # a name, not a text
    write_private(target / FILE, f"{USERS}: {text}\n")
