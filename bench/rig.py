"""What is measured, running: the product's tree on a folder of its own, mosquitto, peers' database.

Everything listens on 127.0.0.1 only, and ends with its `with` block.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bench.load import connect
from runtime.postgres import DATABASE, PostgresServer
from runtime.process import ask, free_port

ROOT = Path(__file__).parents[1]
READY_S, STOP_S = 120.0, 90.0
PEERS_DATABASE = "peers"
# One account for the load's ten gateways: what each may publish is no part of this. Receivers of
# alerts stand on this machine.
SETTINGS = {
    "LOG": "json",
    "MQTT_SHARED_ACCOUNT": "true",
    "WEBHOOK_NETWORKS": "127.0.0.0/8",
}
# As a user would lay it out: text names, an index for charts.
PEERS_SCHEMA = """
CREATE TABLE readings (
    id bigserial PRIMARY KEY, gateway text NOT NULL, device text NOT NULL, ts timestamptz NOT NULL,
    temperature float8 NOT NULL, humidity float8, seq bigint NOT NULL,
    received timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON readings (device, ts DESC);
"""
# The same for every contender: nothing is dropped in silence, and nothing is written to disk.
# What is shipped for mosquitto keeps every message on disk: some thousand a second.
MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 1000
max_queued_messages 0
persistence false
log_dest none
"""


@contextmanager
def folder() -> Iterator[Path]:
    """Give a temporary folder that every account may enter."""
    made = Path(tempfile.mkdtemp(prefix="vaxtrail-bench-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def mosquitto_program(name: str = "mosquitto") -> str:
    """Return the path of mosquitto or one of its clients. SystemExit when it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SystemExit(f"{name} 未安装 / is not installed: apt install mosquitto{name[9:]}")
    return found


@contextmanager
def mosquitto(at: Path) -> Iterator[tuple[str, int]]:
    """Run mosquitto; give its address and process id."""
    port = free_port()
    config = at / "mosquitto.conf"
    as_root = "user root\n" if os.geteuid() == 0 else ""
    config.write_text(MOSQUITTO.format(port=port) + as_root)
    process = subprocess.Popen(
        [mosquitto_program(), "-c", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"mqtt://127.0.0.1:{port}"
    try:
        _wait_for_broker(url)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(10)


def _wait_for_broker(url: str) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            connect(url, "bench-look").close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


@dataclass
class Product:
    """`vaxtrail up` on the folder `data`; `settings` are VAXTRAIL_… without the prefix."""

    data: Path
    settings: Mapping[str, str]
    _process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What its processes say."""
        return self.data.with_suffix(".log")

    @property
    def instance(self) -> dict[str, Any]:
        """What the running tree says of itself; empty before it does."""
        path = self.data / "instance.json"
        told: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return told if self._process and told.get("pid") == self._process.pid else {}

    @property
    def dsn(self) -> str:
        """The application's database."""
        return str(self.instance["app_dsn"])

    def superuser_dsn(self, database: str = DATABASE) -> str:
        """Return the server's own account: it makes room for peers, clears what limits wrote."""
        server = PostgresServer(self.data, port=self.instance["ports"]["postgres"])
        return make_conninfo(server.superuser_dsn, dbname=database)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by part: postgres, broker (the embedded one), ingest, api and so on."""
        return {name: int(pid) for name, pid in self.instance["pids"].items()}

    @property
    def pid(self) -> int:
        """The supervisor."""
        return self._process.pid if self._process else 0

    def launch(self) -> None:
        """Start the tree and return at once."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("VAXTRAIL_")}
        env |= {f"VAXTRAIL_{name}": value for name, value in self.settings.items()}
        command = [sys.executable, "-m", "runtime.cli", "--data", str(self.data), "up"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=env, stdout=log, stderr=log, cwd=ROOT, start_new_session=True
            )

    def start(self) -> None:
        """Start the tree and wait until it is ready. SystemExit with its log when it is not."""
        self.launch()
        until = time.monotonic() + READY_S
        while not self.ready():
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > until:
                raise SystemExit(self.complaints())
            time.sleep(0.2)

    def complaints(self) -> str:
        """Return the last that its log says beside what went well."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if '"level": "info"' not in line][-30:])

    def ready(self) -> bool:
        """Tell whether `/readyz` says so."""
        try:
            ask(f"{self.instance['api_url']}/readyz", 2.0)
        except (OSError, KeyError):
            return False
        return True

    def stop(self) -> None:
        """Stop it as an operator does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(STOP_S)
            self._process = None

    def gone(self) -> None:
        """Note that it was killed."""
        if self._process is not None:
            self._process.wait(STOP_S)
            self._process = None


@contextmanager
def product(at: Path, **settings: str) -> Iterator[Product]:
    """Run the product on a fresh folder under `at`."""
    made = Product(at / "data", {**SETTINGS, **settings})
    try:
        made.start()
        yield made
    finally:
        made.stop()


@dataclass(frozen=True, slots=True)
class Rig:
    """The product and the broker it uses. `broker_pid`: of that broker, whoever runs it."""

    product: Product
    gateway_url: str
    server_url: str
    broker_pid: int
    began_s: float = field(default_factory=time.time)  # Unix seconds

    def checkpoint(self) -> None:
        """Write what is dirty now, so that no run pays for what the one before it left."""
        with psycopg.connect(self.product.superuser_dsn(), autocommit=True) as conn:
            conn.execute("CHECKPOINT")

    @property
    def peers_dsn(self) -> str:
        """The peers' database, in the same server; made when first asked for."""
        dsn = self.product.superuser_dsn(PEERS_DATABASE)
        with psycopg.connect(self.product.superuser_dsn(), autocommit=True) as conn:
            found = conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (PEERS_DATABASE,))
            if found.fetchone():
                return dsn
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(PEERS_DATABASE)))
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(PEERS_SCHEMA)
        return dsn


@contextmanager
def rig(broker: str, sync: str) -> Iterator[Rig]:
    """Run the product with `broker` mosquitto or embedded (`sync` always or interval)."""
    with ExitStack() as stack:
        at = stack.enter_context(folder())
        if broker == "mosquitto":
            url, pid = stack.enter_context(mosquitto(at))
            made = stack.enter_context(product(at, MQTT_URL=url))
            yield Rig(made, url, url, pid)
            return
        made = stack.enter_context(product(at, MQTT_SYNC=sync))
        told = made.instance
        yield Rig(made, told["mqtt_gateway_url"], told["mqtt_server_url"], made.pids["broker"])
