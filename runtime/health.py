"""Whether this instance can do its work: what `/readyz` and `vaxtrail status` ask."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import psycopg

from domain.shared.clock import Clock
from ingest.lots import BEHIND, OFFLINE
from runtime.broker_log import reload_fault
from runtime.disk import DiskGuard
from store.sql import load_queries

queries = load_queries(Path(__file__).parent / "sql" / "runtime.sql")

CONNECT_SECONDS = 2
INGEST = "ingest"
# Those whose stop nobody would notice by the API alone; ingest may have more workers.
SERVICES = (INGEST, "project", "alert")
# What a service's session may say behind its name, and what that means.
STATES = {
    OFFLINE: ("未连上 MQTT 代理", "is not connected to the broker"),
    BEHIND: ("积压：消息来得比存得快", "is behind: messages come faster than it stores them"),
}
BEHIND_SECONDS_MAX = 30.0  # the read models normally follow within a second


class Check(NamedTuple):
    """One thing looked at; `detail` says what is wrong, in Chinese then English."""

    ok: bool
    detail: str = ""


class _Seen(NamedTuple):
    """What one look at the database tells."""

    database: Check
    sessions: Collection[str] = ()
    oldest_to_follow: datetime | None = None

    def service(self, name: str) -> Check:
        """Tell whether a service has the database open."""
        if not self.database.ok:
            return Check(False, f"无法确认 {name} 进程 / {name} cannot be seen")
        title = f"vaxtrail {name}"
        states = [session[len(title) + 1 :] for session in self.sessions if _is_of(session, title)]
        if not states:
            zh, en = f"{name} 进程未运行或用不了数据库", f"{name} is away or has no database"
            return Check(False, f"{zh} / {en}")
        if states[0]:
            zh, en = STATES[states[0]]
            return Check(False, f"{name} {zh} / {name} {en}")
        return Check(True)


def _is_of(session: str, title: str) -> bool:
    return session == title or session.startswith(title + " ")


class Health:
    """Looks at the database, the services in it, what they have done, the broker and the disk."""

    def __init__(
        self,
        app_dsn: str,
        mqtt_url: str,
        disk: DiskGuard,
        clock: Clock,
        *,
        data: Path,
        workers: int = 1,
    ) -> None:
        """Look at these; `data` is where what the embedded broker complains of is kept."""
        self._app_dsn = app_dsn
        self._mqtt_url = mqtt_url
        self._disk = disk
        self._clock = clock
        self._data = data
        self._services = (*SERVICES, *(f"{INGEST}-{n}" for n in range(1, workers)))

    def check(self) -> dict[str, Check]:
        """Return every check by name; takes at most some seconds."""
        seen = self._look(anywhere=True)
        return {
            "database": seen.database,
            "broker": self._accounts() or self._broker(),
            **{service: seen.service(service) for service in self._services},
            "read_models": self._read_models(seen),
            "disk": self._room(),
        }

    def service_problems(self, service: str) -> dict[str, str]:
        """Return what keeps one service of this machine from its work; empty = nothing.

        Not how far it has come: starting it again, as a container may be, would not help.
        """
        seen = self._look(anywhere=False)
        found = {"database": seen.database, service: seen.service(service)}
        if service == INGEST:
            found["broker"] = self._broker()
        return {name: check.detail for name, check in found.items() if not check.ok}

    def problems(self) -> dict[str, str]:
        """Return what is not ready with its reason; empty = ready."""
        return {name: check.detail for name, check in self.check().items() if not check.ok}

    def _look(self, *, anywhere: bool) -> _Seen:
        """Look at the database once: the sessions of services from here, or from anywhere."""
        try:
            with psycopg.connect(
                self._app_dsn, connect_timeout=CONNECT_SECONDS, autocommit=True
            ) as conn:
                sessions = {
                    name for name, here in conn.execute(queries.sessions) if here or anywhere
                }
                (oldest,) = conn.execute(queries.oldest_to_follow).fetchone() or (None,)
        except psycopg.Error as error:  # away, or without our tables yet
            reason = str(error).strip().splitlines()[0]
            return _Seen(Check(False, f"数据库不可用 / database unusable: {reason}"))
        return _Seen(Check(True), sessions, oldest)

    def _read_models(self, seen: _Seen) -> Check:
        """Look whether an event has waited long for the read models.

        A stepped clock stands still while they follow and then jumps, so it cannot tell.
        """
        if not seen.database.ok:
            return Check(False, "无法确认读模型 / read models cannot be seen")
        if seen.oldest_to_follow is None or self._clock.stepped:
            return Check(True)
        behind = (self._clock.now() - seen.oldest_to_follow).total_seconds()
        if behind <= BEHIND_SECONDS_MAX:
            return Check(True)
        return Check(
            False, f"读模型落后 {behind:.0f} 秒 / read models are {behind:.0f} s behind the ledger"
        )

    def _accounts(self) -> Check | None:
        """Return that the embedded broker does not follow its accounts, None while it does."""
        fault = reload_fault(self._data)
        return Check(False, " / ".join(fault.texts)) if fault else None

    def _broker(self) -> Check:
        """Look whether the broker lets us in, with the account that ingest has."""
        from ingest.mqtt import login_refused  # loads all of ingest: not where nobody asks

        try:
            refusal = login_refused(self._mqtt_url, CONNECT_SECONDS)
        except (OSError, ValueError) as error:  # ValueError: an address that is none
            return Check(False, f"MQTT 代理无法连接 / broker unreachable: {error}")
        if refusal:
            return Check(False, f"MQTT 代理拒绝登录 / broker refuses the login: {refusal}")
        return Check(True)

    def _room(self) -> Check:
        if self._disk():
            return Check(True)
        left = f"{self._disk.free_pct:.1f} %"
        return Check(
            False, f"磁盘仅余 {left}，已停止接收 / {left} of the disk left, intake stopped"
        )
