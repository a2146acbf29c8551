"""`vaxtrail up`: one process tree on one data folder, from settings to a running product.

PostgreSQL and the broker (unless settings name other ones), migrations once, then one process
each for the read models, alerts, ingest and the API; the same commands serve on their own.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from domain.cold_chain.payload_profiles import PROFILES_MAX
from ingest.topics import filters
from runtime import folder
from runtime.broker import BrokerServer
from runtime.broker_log import BrokerLog
from runtime.broker_tls import Tls
from runtime.doctor import shared_account
from runtime.postgres import PostgresServer
from runtime.process import (
    Stopped,
    ask,
    command_line,
    free_port,
    ignore_signals,
    pids_with_argument,
    stop_on_signals,
    stop_pid,
)
from runtime.refusal import Refusal
from runtime.services import disk_guard, worker_name
from runtime.settings import PREFIX, Settings, dsn
from runtime.supervisor import (
    Once,
    Part,
    Service,
    Supervisor,
)
from runtime.terminal import say_where
from store.migrate import pending

log = structlog.get_logger(__name__)

# In the order of their start: gateways wait least. They stop in reverse: nobody is left asking.
SERVICES = ("ingest", "project", "alert", "api")
# A kill at any moment loses nothing, so there is no reason to wait long for an orphan.
LEFTOVER_STOP_STEPS = ((signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))
READY_ASKED_SECONDS = 1.0
_ROOT = Path(__file__).parent.parent


def up(settings: Settings) -> None:
    """Run the whole tree until SIGTERM or SIGINT. Refusal, StartFailed.

    A folder that was begun keeps its kind of clock; only another one asked for is refused.
    """
    data = settings.data
    if "clock" not in settings.model_fields_set:
        kind = folder.clock_kind(data, settings.clock)
        settings = settings.model_copy(update={"clock": kind})
    folder.begin(data, settings.clock)
    with folder.owned(data):
        stop_on_signals()
        tree = Tree(settings, data)
        try:
            tree.run()
        except Stopped as stopped:
            log.info("stopping", signal=str(stopped))
        finally:
            ignore_signals()
            tree.stop()


class Tree:
    """The parts of one data folder and where they are."""

    def __init__(self, settings: Settings, data: Path) -> None:
        self._settings = settings
        self._data = data
        self._disk = disk_guard(settings)
        self._announced = False
        self._asked = 0.0
        before = folder.last_instance(data)
        ports = before.ports if before else {}
        self._postgres = self._broker = self._broker_log = None
        if settings.database_url is None:
            self._postgres = PostgresServer(data, port=settings.pg_port)
            self._postgres.prefer(ports.get("postgres"))
        if settings.mqtt_url is None:
            self._broker = BrokerServer(
                data,
                port=settings.mqtt_port,
                sync=settings.mqtt_sync,
                # Twice: at a handover a session holds the old and the new subscriptions together.
                filters=2 * len(filters(settings.regions)) + PROFILES_MAX,
                host=settings.mqtt_host,
                shared=settings.mqtt_shared_account,
                tls=tls_of(settings),
            )
            self._broker.prefer(ports.get("mqtt"))
            self._broker_log = BrokerLog(data, self._broker.log, self._broker.user_of)
        self._api_port = free_port(settings.api_port or ports.get("api"), settings.api_host)
        if settings.api_port not in {None, self._api_port}:
            raise Refusal(
                f"端口 {settings.api_port} 已被占用（VAXTRAIL_API_PORT）",
                f"Port {settings.api_port} is in use (VAXTRAIL_API_PORT).",
            )
        self._supervisor = Supervisor(self._servers(), self._services(), self._record)

    def run(self) -> None:
        """Start everything and watch over it for ever. StartFailed."""
        found = shared_account(self._settings)
        if not found.ok:
            log.warning("shared_account_closed", zh=found.zh, en=found.en)
        if self._postgres:
            say_where(self._data, self._postgres.pgdata)
        for pid in left_services(self._data):
            log.warning("leftover_stopped", pid=pid)
            stop_pid(pid, LEFTOVER_STOP_STEPS)
        self._supervisor.start()
        self._supervisor.watch(self._look_after)

    def stop(self) -> None:
        """Stop everything that runs."""
        self._supervisor.stop()

    def _servers(self) -> list[tuple[str, Part]]:
        servers: list[tuple[str, Part | None]] = [
            ("postgres", self._postgres),
            ("broker", self._broker),
            ("migrate", self._migrate()),
        ]
        return [(name, part) for name, part in servers if part is not None]

    def _migrate(self) -> Once:
        """Return the step that makes the tables; nobody waits for it where they are there."""

        def needed() -> bool:
            owner = self._instance().owner_dsn
            return not owner or bool(pending(owner))

        return Once(self._command("migrate"), lambda: self._environment(owner=True), needed)

    def _services(self) -> list[tuple[str, Part]]:
        first, *rest = [(name, [name]) for name in SERVICES]
        workers = range(1, self._settings.ingest_workers)
        more = [(worker_name(n), [*first[1], "--worker", str(n)]) for n in workers]
        return [
            (name, Service(self._command(*command), self._environment))
            for name, command in [first, *more, *rest]
        ]

    def _environment(self, *, owner: bool = False) -> dict[str, str]:
        """Return the environment of a service: the settings as given, and where the parts are."""
        instance = self._instance()
        values = {
            "DATA": str(self._data),
            "DATABASE_URL": instance.app_dsn,
            "OWNER_DATABASE_URL": instance.owner_dsn if owner else "",
            "MQTT_URL": instance.mqtt_server_url,
            "API_PORT": str(self._api_port),
            "CLOCK": self._settings.clock,
        }
        env = {k: v for k, v in os.environ.items() if k not in _replaced(values)}
        env.update({PREFIX + name: value for name, value in values.items()})
        path = os.pathsep.join(filter(None, [str(_ROOT), env.get("PYTHONPATH")]))
        return {**env, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}

    def _instance(self) -> folder.Instance:
        """Return where everything is now."""
        postgres, broker, settings = self._postgres, self._broker, self._settings
        ports = {"api": self._api_port}
        if postgres:
            ports["postgres"] = postgres.port
        if broker:
            ports["mqtt"] = broker.port
        url = dsn(settings.mqtt_url) or ""
        return folder.Instance(
            pid=os.getpid(),
            app_dsn=postgres.app_dsn if postgres else dsn(settings.database_url) or "",
            owner_dsn=postgres.owner_dsn if postgres else dsn(settings.owner_database_url) or "",
            mqtt_server_url=broker.server_url if broker else url,
            mqtt_gateway_url=broker.gateway_url if broker else url,
            api_url=f"http://{reached(settings.api_host)}:{self._api_port}",
            clock=settings.clock,
            ports=ports,
            pids=self._supervisor.pids,
            restarts=self._supervisor.restarts,
            pgdata=str(postgres.pgdata) if postgres else "",
        )

    def _command(self, *command: str) -> list[str]:
        return [sys.executable, "-m", "runtime.cli", "--data", str(self._data), *command]

    def _record(self) -> None:
        folder.write_instance(self._data, self._instance())

    def _look_after(self) -> None:
        if self._broker and self._broker_log:
            self._broker.refresh(again=self._broker_log.reload_failed)
            self._broker_log.look()
            if self._broker_log.store_failed and self._disk():
                log.warning("broker_store_failed", mend="restart")
                self._broker_log.store_failed = False
                self._broker.stop()
        self._announce()

    def _announce(self) -> None:
        if self._announced or time.monotonic() < self._asked + READY_ASKED_SECONDS:
            return
        self._asked = time.monotonic()
        instance = self._instance()
        self._announced = answers(instance.api_url + "/readyz")
        if self._announced:
            log.info("ready", api=instance.api_url, mqtt_port=instance.ports.get("mqtt"))


def tls_of(settings: Settings) -> Tls | None:
    """Return the encryption that settings ask of the broker, None for none."""
    if settings.mqtt_tls is None:
        return None
    return Tls(settings.mqtt_tls, certificates=settings.mqtt_tls_login == "certificate")


def left_services(data: Path) -> list[int]:
    """Return the services on this folder that an earlier supervisor left behind."""
    return [
        pid
        for pid in pids_with_argument(str(data))
        if "runtime.cli" in command_line(pid) and _command_of(pid, data) in SERVICES
    ]


def _command_of(pid: int, data: Path) -> str:
    """Return what follows the data folder on a command line; empty when nothing does."""
    arguments = command_line(pid)
    after = arguments[arguments.index(str(data)) + 1 :] if str(data) in arguments else []
    return after[0] if after else ""


def answers(url: str) -> bool:
    """Tell whether an address answers 200 within a second."""
    try:
        ask(url, 1.0)
    except OSError:
        return False
    return True


def reached(host: str) -> str:
    """Return the address under which a listener on `host` is reached from this machine."""
    return "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared only


def _replaced(values: Mapping[str, str]) -> set[str]:
    return {PREFIX + name + suffix for name in values for suffix in ("", "_FILE")}
