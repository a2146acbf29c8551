"""The services of an instance, each in the process that calls it: project, alert, ingest, api.

`vaxtrail up` starts them as its children; in a container each is its own service. Every one ends
at SIGTERM, and for certain `END_SECONDS` after it.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import psycopg
import structlog
from psycopg.conninfo import make_conninfo

from runtime import folder
from runtime.account import secret
from runtime.broker_access import SESSION
from runtime.clock import open_clock
from runtime.disk import DiskGuard
from runtime.health import Health, queries
from runtime.refusal import Refusal
from runtime.settings import Settings, dsn
from store.tables import APP_ROLE

if TYPE_CHECKING:
    from alerts.channels.destinations import Destinations
    from alerts.channels.email import Smtp
    from alerts.channels.offered import Offer
    from alerts.platform.national import Access
    from domain.shared.clock import Clock

log = structlog.get_logger(__name__)

END_SECONDS = 15.0
INGEST_LOCK_SECONDS = 30.0  # the time a killed predecessor may take to go
POOL_MIN, POOL_MAX = 4, 8
POOL_WAIT_SECONDS = 2.0  # then 503 busy, rather than keep people waiting


class Service(StrEnum):
    """The services, each a command and a process of its own."""

    PROJECT = "project"
    ALERT = "alert"
    INGEST = "ingest"
    API = "api"


def urls(settings: Settings) -> tuple[str, str]:
    """Return the application's database and the broker: as set, else of the running instance."""
    database, broker = dsn(settings.database_url), dsn(settings.mqtt_url)
    if database and broker:
        return database, broker
    instance = folder.running_instance(settings.data)
    return database or instance.app_dsn, broker or instance.mqtt_server_url


def database_url(settings: Settings) -> str:
    """Return the application's database: as set, else of the running instance."""
    return dsn(settings.database_url) or urls(settings)[0]


def owner_url(settings: Settings) -> str:
    """Return the tables' owner's database: as set, else of the running instance; else Refusal."""
    owner = dsn(settings.owner_database_url)
    if owner is None and settings.database_url is None:
        owner = folder.running_instance(settings.data).owner_dsn
    if not owner:
        raise Refusal(
            "请设置 VAXTRAIL_OWNER_DATABASE_URL（属主角色 vaxtrail_owner 的地址；"
            f"角色 {APP_ROLE} 须已存在）",
            "Set VAXTRAIL_OWNER_DATABASE_URL, the role vaxtrail_owner;"
            f" {APP_ROLE} must exist as well.",
        )
    return owner


def run_project(settings: Settings) -> None:
    """Keep the read models up with the ledger."""
    from projections import runner

    runner.run(app_dsn=_session(database_url(settings), "project"), stop=stop_event())


def run_alert(settings: Settings) -> None:
    """Escalate and deliver alerts; turn the wheel of timers."""
    from alerts import main as alerting

    alerting.run(
        app_dsn=_session(database_url(settings), "alert"),
        clock=open_clock(settings.clock, settings.data),
        offer=offer(settings),
        public_url=settings.public_url,
        stop=stop_event(),
        destinations=destinations(settings),
        platform=platform_access(settings),
    )


def run_ingest(settings: Settings, worker: int = 0) -> None:
    """Take in what gateways and scanners of a worker's regions send. Refusal without such a worker.

    One process a worker and data folder.
    """
    from ingest import main as intake
    from ingest.handover import Sessions, await_dealing
    from ingest.lots import OFFLINE, deal

    if worker >= settings.ingest_workers:
        raise Refusal(
            f"没有编号 {worker} 的接入进程：VAXTRAIL_INGEST_WORKERS 为 {settings.ingest_workers}",
            f"There is no worker {worker}: VAXTRAIL_INGEST_WORKERS is {settings.ingest_workers}.",
        )
    app_dsn, mqtt_url = urls(settings)
    lots = deal(settings.regions, settings.ingest_workers)
    name, clock = worker_name(worker), open_clock(settings.clock, settings.data)
    with folder.owned(settings.data, f"{name}.lock", INGEST_LOCK_SECONDS):
        stop = stop_event()
        app_dsn = _session(app_dsn, name)
        offline = _session(app_dsn, f"{name} {OFFLINE}")  # until its subscriptions are granted
        _name_sessions(offline, settings.data)
        sessions = Sessions(mqtt_url, partial(ingest_session, settings.data))
        if await_dealing(lots, worker, sessions, app_dsn=offline, clock=clock, stop=stop):
            intake.run(
                app_dsn=app_dsn,
                mqtt_url=mqtt_url,
                regions=lots[worker].regions,
                worker=worker,
                client_id=sessions.client_id(worker),
                clock=clock,
                stop=stop,
                metrics_address=_metrics_address(settings.ingest_metrics, worker),
                may_read=disk_guard(settings),
            )


def worker_name(worker: int) -> str:
    """Return the name of an ingest worker among the parts."""
    return f"{Service.INGEST}-{worker}" if worker else Service.INGEST.value


def _metrics_address(address: str, worker: int) -> str:
    """Return where a worker shows its figures: each on a port of its own, from the one set."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + worker}" if address else ""


def _name_sessions(app_dsn: str, data: Path) -> None:
    """Make the secret in the client ids of ingest where no session can have messages yet."""
    try:
        with psycopg.connect(app_dsn, connect_timeout=5) as conn:
            found = conn.execute(queries.ingest_began).fetchone()
    except psycopg.errors.UndefinedTable:
        found = None  # not migrated yet
    except psycopg.OperationalError as error:  # it is waited for further on
        log.warning("sessions_not_named", error=str(error).strip())
        return
    if not (found and found[0]):
        secret(data, SESSION)


def ingest_session(data: Path, worker: int = 0) -> str:
    """Return the client id under which the broker keeps messages for an ingest worker.

    Whoever connects with it ends that session and what waits in it, so no gateway shall guess it;
    a folder that stored messages before there was this secret keeps the plain name.
    """
    name = f"vaxtrail-ingest-{worker}"  # without '.', which NATS refuses
    made = data / "secrets" / SESSION
    return f"{name}-{made.read_text()}" if made.exists() else name


def run_api(settings: Settings) -> None:
    """Serve the HTTP interface."""
    import uvicorn
    from psycopg_pool import ConnectionPool

    from api.app import create_app
    from api.deps import Deps
    from ingest.samples import read_sample
    from runtime.metrics import DatabaseCollector, GatewayFaults
    from runtime.signing import signing_key
    from store.logs import Ledger, Telemetry

    app_dsn, mqtt_url = urls(settings)
    app_dsn = _session(app_dsn, "api")
    disk = disk_guard(settings)
    pool: ConnectionPool[psycopg.Connection[tuple[object, ...]]] = ConnectionPool(
        app_dsn,
        min_size=POOL_MIN,
        max_size=POOL_MAX,
        timeout=POOL_WAIT_SECONDS,
        kwargs={"autocommit": True},
        open=True,
    )
    with pool, Ledger(app_dsn) as ledger, Telemetry(app_dsn) as telemetry:
        clock = open_clock(settings.clock, settings.data)
        _record_revoked(settings.data, app_dsn, clock)
        deps = Deps(
            ledger=ledger,
            telemetry=telemetry,
            pool=pool,
            clock=clock,
            readiness=health(settings, app_dsn, mqtt_url).problems,
            collectors=(DatabaseCollector(pool, disk), GatewayFaults(settings.data)),
            read_sample=read_sample,
            signing_key=partial(signing_key, settings.data),
            elements=settings.immunization_elements,
            destinations=destinations(settings),
            offer=offer(settings),
        )
        app = create_app(deps)
        # What is there now stays: looking it through again would delay an answer now and then.
        gc.collect()
        gc.freeze()
        uvicorn.run(
            app,
            host=settings.api_host,
            port=settings.api_port or 8000,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
            forwarded_allow_ips=settings.proxy_addresses,
        )


def _record_revoked(data: Path, app_dsn: str, clock: Clock) -> None:
    """Put on record which gateways were revoked while there was no database."""
    from runtime.broker_revoked import record

    try:
        record(data, app_dsn, clock.now())
    except (OSError, psycopg.Error) as error:  # they wait on
        log.warning("revocations_not_recorded", error=str(error).strip())


def smtp(settings: Settings) -> Smtp | None:
    """Return the mail server, None when there is none. Refusal for an address that is none."""
    from alerts.channels.email import Smtp

    url = dsn(settings.smtp_url)
    if not url:
        return None
    try:
        return Smtp.from_url(url, sender=settings.smtp_from)
    except ValueError as error:
        raise Refusal(f"VAXTRAIL_SMTP_URL 有误：{error}", f"VAXTRAIL_SMTP_URL: {error}") from error


def offer(settings: Settings) -> Offer:
    """Return which channels of alerts are set up. Refusal for what cannot be."""
    from alerts.channels.offered import URLS, Offer
    from alerts.channels.push import Vapid
    from alerts.channels.sms import Account

    account, vapid, secret_text = None, None, dsn(settings.sms_secret)
    if settings.sms_provider and secret_text:
        account = Account(
            url=settings.sms_url or URLS[settings.sms_provider],
            key_id=settings.sms_key_id,
            secret=secret_text,
            signature=settings.sms_signature,
            template=settings.sms_template,
            app=settings.sms_app,
        )
    if settings.push_key:
        try:
            vapid = Vapid.of(settings.push_key.get_secret_value(), settings.push_contact)
        except ValueError as error:
            raise Refusal(
                "VAXTRAIL_PUSH_KEY 须为 32 字节的 base64url（P-256 私钥）",
                "VAXTRAIL_PUSH_KEY: 32 bytes in base64url, a private key of P-256.",
            ) from error
    robots = {
        "wecom": settings.wecom_url,
        "dingtalk": settings.dingtalk_url,
        "feishu": settings.feishu_url,
    }
    return Offer(smtp(settings), settings.sms_provider, account, robots, vapid)


def destinations(settings: Settings) -> Destinations:
    """Return what may be called beside the internet."""
    from alerts.channels.destinations import Destinations

    return Destinations.of(settings.webhook_networks)


def platform_access(settings: Settings) -> Access | None:
    """Return how to reach the national platform, None where it is not spoken to."""
    from alerts.platform.national import Access

    secret_text = dsn(settings.platform_secret)
    if not settings.platform_url or not secret_text:
        return None
    return Access(settings.platform_url.rstrip("/"), settings.platform_app_key, secret_text)


def health(settings: Settings, app_dsn: str, mqtt_url: str) -> Health:
    """Return who looks whether the instance can do its work."""
    clock = open_clock(folder.clock_kind(settings.data, settings.clock), settings.data)
    return Health(
        app_dsn,
        mqtt_url,
        disk_guard(settings),
        clock,
        data=settings.data,
        workers=settings.ingest_workers,
    )


def disk_guard(settings: Settings) -> DiskGuard:
    """Return the guard over the disks of the data folder and of an embedded database elsewhere."""
    elsewhere = settings.data / "elsewhere"
    return DiskGuard([settings.data, elsewhere], settings.disk_free_min_pct)


def stop_event() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; the process ends for certain soon after."""
    stop = threading.Event()

    def ask(number: int, _: FrameType | None) -> None:
        if not stop.is_set():
            stop.set()
            watch = threading.Timer(END_SECONDS, _end_now, [number])
            watch.daemon = True
            watch.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return stop


def _end_now(number: int) -> None:
    log.error("ended_by_force", signal=signal.Signals(number).name)
    os._exit(1)


def _session(app_dsn: str, part: str) -> str:
    """Name the process in the database, where health checks and people find it."""
    return make_conninfo(app_dsn, application_name=f"vaxtrail {part}")
