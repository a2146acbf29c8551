"""Whether this instance can do its work: what `/readyz` and `vaxtrail status` ask."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psycopg

from runtime.disk import DiskGuard
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "runtime.sql")

CONNECT_SECONDS = 2
INGEST_SESSION = "vaxtrail ingest"


class Check(NamedTuple):
    """One thing looked at; `detail` says what is wrong, in Chinese then English."""

    ok: bool
    detail: str = ""


class Health:
    """Looks at the database, the broker, ingest and the disk."""

    def __init__(self, app_dsn: str, mqtt_url: str, disk: DiskGuard) -> None:
        self._app_dsn = app_dsn
        self._mqtt_url = mqtt_url
        self._disk = disk

    def check(self) -> dict[str, Check]:
        """Return every check by name; takes at most some seconds."""
        database, ingest = self._database_and_ingest()
        return {
            "database": database,
            "broker": self._broker(),
            "ingest": ingest,
            "disk": self._room(),
        }

    def problems(self) -> dict[str, str]:
        """Return what is not ready with its reason; empty = ready."""
        return {name: check.detail for name, check in self.check().items() if not check.ok}

    def _database_and_ingest(self) -> tuple[Check, Check]:
        unknown = Check(False, "无法确认接收进程 / ingest cannot be seen")
        try:
            with psycopg.connect(
                self._app_dsn, connect_timeout=CONNECT_SECONDS, autocommit=True
            ) as conn:
                sessions = {row[0] for row in conn.execute(queries.sessions)}
        except psycopg.OperationalError as error:
            reason = str(error).strip().splitlines()[0]
            return Check(False, f"数据库无法连接 / database unreachable: {reason}"), unknown
        if INGEST_SESSION not in sessions:
            return Check(True), Check(False, "接收进程未运行 / ingest is not running")
        return Check(True), Check(True)

    def _broker(self) -> Check:
        parts = urlsplit(self._mqtt_url)
        try:
            address = (parts.hostname or "", parts.port or 1883)
            socket.create_connection(address, timeout=CONNECT_SECONDS).close()
        except OSError as error:
            return Check(False, f"MQTT 代理无法连接 / broker unreachable: {error}")
        return Check(True)

    def _room(self) -> Check:
        if self._disk():
            return Check(True)
        left = f"{self._disk.free_pct:.1f} %"
        return Check(
            False, f"磁盘仅余 {left}，已停止接收 / {left} of the disk left, intake stopped"
        )
