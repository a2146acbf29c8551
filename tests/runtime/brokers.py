"""Both brokers we write accounts for, run alike: on a data folder, changed while they run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from urllib.parse import parse_qsl, unquote, urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from runtime import broker_access, broker_mosquitto, broker_nats
from runtime.account import broker_program, secret
from runtime.broker import BrokerServer
from runtime.broker_access import SERVER, Access
from runtime.broker_tls import Tls
from runtime.process import spawn, stop_child, wait_until
from tests.conftest import free_port, wait_for_port

ROOT = Path(__file__).parents[2]
WAIT_S = 10.0


class Side(ABC):
    """A broker on a data folder; `port` is the one gateways come to."""

    def __init__(self, data: Path, tls: Tls | None) -> None:
        self.data = data
        self.tls = tls
        self.port = 0

    @property
    @abstractmethod
    def server_url(self) -> str:
        """The address with which our own processes log in."""

    @abstractmethod
    def start(self) -> None:
        """Start it."""

    @abstractmethod
    def apply(self) -> None:
        """Give it changed accounts while it runs."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it."""

    def put(self, access: Access) -> None:
        """Set an account and apply it."""
        with broker_access.changed(self.data) as accounts:
            accounts[access.gateway_id] = access
        self.apply()

    def revoke(self, gateway_id: str) -> None:
        """Take an account away and apply it."""
        with broker_access.changed(self.data) as accounts:
            del accounts[gateway_id]
        self.apply()

    def url(self, user: str = "", password: str = "", files: dict[str, Path] | None = None) -> str:
        """Return an address of the port for gateways; `files` are ca, cert and key."""
        files = files or {}
        who = f"{user}:{password}@" if user else ""
        query = "&".join(f"{name}={file}" for name, file in files.items())
        scheme = "mqtts" if files else "mqtt"
        return f"{scheme}://{who}127.0.0.1:{self.port}?{query}"


@contextmanager
def reloaded(log: Path) -> Iterator[None]:
    """Wait at the end until the broker of this log has read its configuration again."""

    def count() -> int:
        return log.read_text().count("Reloaded server configuration")

    before = count()
    yield
    assert wait_until(lambda: count() > before, WAIT_S)


class Embedded(Side):
    """The broker that comes with the product."""

    def __init__(self, data: Path, tls: Tls | None) -> None:
        super().__init__(data, tls)
        self.server = BrokerServer(data, sync="interval", tls=tls)

    @property
    def server_url(self) -> str:
        """As the product gives it to ingest."""
        return self.server.server_url

    def start(self) -> None:
        """Start it as `vaxtrail up` does."""
        self.server.start()
        self.port = self.server.port

    def apply(self) -> None:
        """Do what the supervisor does at every look, and wait until it is done."""
        if self.server.running:
            with reloaded(self.server.log):
                self.server.refresh()

    def stop(self) -> None:
        """Stop it."""
        self.server.stop()


class Composed(Side):
    """The broker of the compose stack; only its ports and its folder are changed."""

    PASSWORD = "for-server"

    def __init__(self, data: Path, tls: Tls | None) -> None:
        super().__init__(data, tls)
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = data / "etc"

    @property
    def server_url(self) -> str:
        """As the compose file gives it to ingest."""
        return self.url(SERVER, self.PASSWORD)

    def start(self) -> None:
        """Start it with the project's file."""
        self.port = free_port()
        text = (ROOT / "deploy" / "nats.conf").read_text("utf-8")
        for old, new in (
            ("0.0.0.0:4222", f"127.0.0.1:{free_port()}"),
            ("127.0.0.1:8222", f"127.0.0.1:{free_port()}"),
            ("0.0.0.0:1883", f"127.0.0.1:{self.port}"),
            ('"/data"', f'"{self.data}/store"'),
        ):
            assert old in text
            text = text.replace(old, new)
        self._folder.mkdir()
        (self._folder / "nats.conf").write_text(text, "utf-8")
        broker_nats.write(self._folder, [], certificates=False)
        self._process = spawn(
            [broker_program(None), "-c", self._folder / "nats.conf"],
            log=self.data / "composed.log",
            death_signal=signal.SIGTERM,
            env={**os.environ, "VAXTRAIL_BROKER_PASSWORD": self.PASSWORD},
        )
        wait_for_port(self.port)

    def apply(self) -> None:
        """Write the accounts and tell it."""
        accounts = broker_access.load(self.data).values()
        broker_nats.write(self._folder, accounts, certificates=False)
        assert self._process is not None
        with reloaded(self.data / "composed.log"):
            self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """Stop it."""
        if self._process:
            stop_child(self._process, ((signal.SIGTERM, WAIT_S), (signal.SIGKILL, WAIT_S)))


class Mosquitto(Side):
    """mosquitto with the files that `vaxtrail broker-files mosquitto` writes."""

    account = "root"  # that it runs as

    def __init__(self, data: Path, tls: Tls | None) -> None:
        super().__init__(data, tls)
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            pytest.skip("mosquitto is not installed")
        self._program = program
        self._folder = data / "mosquitto"
        self._ports = {"1883": free_port(), "8883": free_port()}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def server_url(self) -> str:
        """As written for ingest, on the port of this test."""
        written = (self._folder / broker_mosquitto.URL).read_text()
        return written.replace(":1883", f":{self._ports['1883']}")

    def start(self) -> None:
        """Start it in the foreground, its folder given to its account as the manual says."""
        self._write()
        if self.account != "root":
            subprocess.run(["chown", "-R", self.account, self._folder], check=True)
        main = self.data / "mosquitto.conf"
        main.write_text(f"user {self.account}\ninclude_dir {self._folder}\n")
        with (self.data / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", str(main)], stderr=log)
        self.port = self._ports["8883" if self.tls else "1883"]
        wait_for_port(self.port)

    def apply(self) -> None:
        """Write the files again and tell it."""
        self._write()
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """Stop it."""
        if self._process:
            self._process.terminate()
            self._process.wait(WAIT_S)

    def _write(self) -> None:
        broker_mosquitto.write(
            self._folder,
            broker_access.load(self.data).values(),
            password=secret(self.data, f"mqtt_{SERVER}"),
            tls=self.tls,
        )
        conf = self._folder / broker_mosquitto.CONF
        text = conf.read_text()
        for shipped, port in self._ports.items():
            assert shipped == "8883" or f"listener {shipped}" in text
            text = text.replace(f"listener {shipped}", f"listener {port}")
        conf.write_text(text)


class Client:
    """An MQTT client that comes once. `refused` says why it was not let in; `cut`: it was ended."""

    def __init__(self, url: str, *filters: str, client_id: str = "") -> None:
        parts = urlsplit(url)
        self.refused = ""
        self.cut = 0
        self.heard: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
        self._events: SimpleQueue[str] = SimpleQueue()
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False
        )
        if parts.username:
            client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            files = dict(parse_qsl(parts.query))
            client.tls_set(files.get("ca"), files.get("cert"), files.get("key"))
        client.on_message = lambda _c, _u, m: self.heard.put((m.topic, bytes(m.payload)))
        client.on_connect = lambda _c, _u, _f, reason, _p: self._events.put(
            str(reason) if reason.is_failure else ""
        )
        client.on_subscribe = lambda *_: self._events.put("subscribed")
        client.on_disconnect = self._on_disconnect
        try:
            client.connect(parts.hostname or "", parts.port or 0)
            client.loop_start()
            self.refused = self._events.get(timeout=3.0)
        except (OSError, Empty) as error:
            self.refused = repr(error)
        if filters and not self.refused:
            client.subscribe([(text, 1) for text in filters])
            assert self._events.get(timeout=WAIT_S) == "subscribed"
        if self.refused:
            self.leave()

    def _on_disconnect(self, *_: object) -> None:
        self.cut += 1
        self._events.put("cut off")

    def say(
        self, topic: str, payload: bytes = b"x", *, qos: int = 1, retain: bool = False
    ) -> mqtt.MQTTMessageInfo:
        """Publish; what is refused may be dropped in silence."""
        return self._client.publish(topic, payload, qos, retain)

    def hears(self, *wanted: bytes) -> set[tuple[str, bytes]]:
        """Return the topics and payloads heard until each payload of `wanted` was."""
        found: set[tuple[str, bytes]] = set()
        while not {payload for _, payload in found}.issuperset(wanted):
            found.add(self.heard.get(timeout=WAIT_S))
        return found

    def leave(self) -> None:
        """Disconnect and come no more."""
        self._client.disconnect()
        self._client.loop_stop()


def native_port(server: BrokerServer) -> int:
    """Return the port of the embedded broker's native protocol, from its log."""
    found = re.findall(r"client connections on [\d.]+:(\d+)", server.log.read_text())
    return int(found[-1])


def asked_natively(port: int, connect: str) -> bytes:
    """Return what a port answers to a CONNECT of the broker's native protocol."""
    with socket.create_connection(("127.0.0.1", port), timeout=3.0) as sock:
        sock.sendall(f"CONNECT {connect}\r\nPING\r\n".encode())
        answer = b""
        try:
            while b"PONG" not in answer and b"-ERR" not in answer and (got := sock.recv(4096)):
                answer += got
        except TimeoutError:
            pass
        return answer
