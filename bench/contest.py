"""Those who are measured on the same work: the product and its peers, each as the same thing.

A contender takes messages on `topic` through the broker and makes them durable in PostgreSQL. What
it has stored is asked in two ways: `progress`, cheap, in readings and perhaps a little off, which
steers the load; and `stored`, exact, which decides.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString, Self
from urllib.parse import urlsplit

import psycopg

from bench.load import connect
from bench.rig import ROOT, Rig
from bench.shape import DEVICES, PEER_TOPIC, PRODUCT_TOPIC, device_name

PEER_CLIENT = "bench-peer"
NEWEST_SEQ = """SELECT coalesce(max(seq), -1) FROM device_state JOIN device_no USING (device_no)
                WHERE device_id < %s"""
NEWEST_S = """SELECT ceil(extract(epoch FROM max(ts))) FROM device_state
              JOIN device_no USING (device_no) WHERE device_id < %s"""
STOP_S = 8.0
# What the bench publishes is no older, when it begins; a history before it ends here.
NOTHING_BEFORE = timedelta(hours=25)
SHARED = Path(os.environ.get("VAXTRAIL_SHARED") or ROOT.parent / "shared")


class Contender(ABC):
    """`share`: how many of the messages of a run it gets, so that each run takes about as long."""

    name: str
    share: float
    topic: str
    heavy: str  # of `pids`, the process whose memory is watched
    rig: Rig
    publish_url: str
    conn: psycopg.Connection[tuple[int, ...]]

    @abstractmethod
    def pids(self) -> dict[str, int]:
        """Return its processes, PostgreSQL's and the broker's."""

    @abstractmethod
    def progress(self, batch: int) -> int:
        """Return about how many readings are durable, of messages of `batch` readings."""

    @abstractmethod
    def newest(self) -> tuple[int, int]:
        """Return the newest seq and time (Unix seconds) of the 1,000 devices; -1 and 0: none."""

    @abstractmethod
    def stored(self) -> int:
        """Return how many readings are durable."""

    def afterwards(self) -> bool:
        """Tell whether it has done what it does with readings after they are durable."""
        return True

    def ask(self, query: LiteralString, *values: object) -> int:
        """Return the number a query gives, 0 for none."""
        row = self.conn.execute(query, values).fetchone()
        return int(row[0] or 0) if row else 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ask no more."""
        self.conn.close()


class ProductContender(Contender):
    """The product, which runs already."""

    name, share, topic, heavy = "product", 1.0, PRODUCT_TOPIC, "ingest"

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.publish_url = rig.gateway_url
        self.conn = psycopg.connect(rig.product.dsn, autocommit=True)

    def pids(self) -> dict[str, int]:
        """Return every part of the tree, and the broker wherever it belongs."""
        return {**self.rig.product.pids, "broker": self.rig.broker_pid}

    def progress(self, batch: int) -> int:
        """Return the readings of the events up to the last position: one event a message."""
        return batch * self.ask("SELECT max(telemetry_id) FROM batches")

    def newest(self) -> tuple[int, int]:
        """Return what their states say."""
        beyond = device_name(DEVICES)
        return self.ask(NEWEST_SEQ, beyond), self.ask(NEWEST_S, beyond)

    def afterwards(self) -> bool:
        """Tell whether every reading is rolled up."""
        return self.ask("SELECT max(telemetry_id) FROM batches") == self.ask(
            "SELECT telemetry_id FROM rolled_up"
        )

    def stored(self) -> int:
        """Return the rows of the bench; each was committed with the event that holds it.

        Not those of a history before it: to count them would take seconds of what is measured.
        """
        since = datetime.fromtimestamp(self.rig.began_s, UTC) - NOTHING_BEFORE
        return self.ask("SELECT count(*) FROM reading WHERE ts >= %s", since)


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer that can be started. `environment` is added to that of the bench."""

    name: str
    share: float
    command: tuple[str, ...]
    environment: Mapping[str, str]


def peers(node_red: Path | None, *, embedded: bool) -> list[Peer]:
    """Return the peers there are; Node-RED when its folder is given (it gives no password)."""
    here = [
        Peer(name, share, (sys.executable, "-m", f"bench.peers.{module}"), {})
        for name, share, module in (
            ("paho, manual ack, COPY", 0.5, "manual_ack"),
            ("paho, INSERT each", 0.04, "naive"),
        )
    ]
    if node_red is None:
        return here
    if embedded:
        raise SystemExit("--node-red: only with --broker mosquitto / 仅与 mosquitto 同用")
    script = SHARED / "bench" / "peers" / "nodered" / "run.sh"
    if not script.exists():
        raise SystemExit(f"{script}: VAXTRAIL_SHARED?")
    home = {"NR_HOME": str(node_red.absolute())}
    return [*here, Peer("Node-RED, batched", 0.25, (str(script), "tuned"), home)]


def left_out(node_red: Path | None) -> list[str]:
    """Return what the report must say of peers that were not asked for."""
    return [] if node_red else ["Node-RED: 未测量 · not measured (`--node-red DIR`)"]


class PeerContender(Contender):
    """A peer, running inside its `with` block, on a table of its own in the same server."""

    topic, heavy = PEER_TOPIC, "peer"

    def __init__(self, peer: Peer, rig: Rig, webhook: str = "") -> None:
        self.name, self.share = peer.name, peer.share
        self._peer = peer
        self.rig = rig
        self._webhook = webhook
        self.publish_url = rig.server_url
        self._dsn = rig.peers_dsn
        self.conn = psycopg.connect(self._dsn, autocommit=True)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start on an empty table, without a session of an earlier run."""
        self._forget_session()
        self.conn.execute("TRUNCATE readings RESTART IDENTITY")
        parts = urlsplit(self.publish_url)
        env = {
            **os.environ,
            "BENCH_DSN": self._dsn,
            "BENCH_MQTT": self.publish_url,
            "BENCH_WEBHOOK": self._webhook,
            "MQTT_HOST": parts.hostname or "",
            "MQTT_PORT": str(parts.port),
            "MQTT_CLIENT_ID": PEER_CLIENT,
            "WEBHOOK": self._webhook,
            **self._peer.environment,
        }
        self._process = subprocess.Popen(
            self._peer.command,
            env=env,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End it and what the broker keeps for it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._forget_session()
        self.conn.close()

    def pids(self) -> dict[str, int]:
        """Return the peer, and the servers it uses."""
        return {
            "peer": self._process.pid if self._process else 0,
            "postgres": self.rig.product.pids["postgres"],
            "broker": self.rig.broker_pid,
        }

    def progress(self, batch: int) -> int:
        """Return the highest row number; the table began empty."""
        return self.ask("SELECT max(id) FROM readings")

    def newest(self) -> tuple[int, int]:
        """Return nothing: its table began empty."""
        return -1, 0

    def stored(self) -> int:
        """Return the rows."""
        return self.ask("SELECT count(*) FROM readings")

    def _forget_session(self) -> None:
        connect(self.publish_url, PEER_CLIENT).close()
