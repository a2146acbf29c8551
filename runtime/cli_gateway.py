"""`vaxtrail gateway|broker-files|tls`: accounts of gateways and scanners at the broker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import psycopg
import typer

from domain.accounts.model import (
    evolve_gateway_access,
    gateway_access_stream,
    grant_gateway_access,
)
from domain.cold_chain.model import evolve_gateway, gateway_stream
from domain.registry.model import evolve_site, site_stream
from domain.shared.decide import decide, fold
from domain.shared.events import Event
from domain.shared.ids import checked_name
from runtime import broker_access, broker_mosquitto, broker_nats, broker_revoked, broker_tls
from runtime.account import secret
from runtime.broker_access import SERVER, SHARED, Access
from runtime.broker_revoked import Revoked
from runtime.cli_keys import meta_of
from runtime.folder import write_private
from runtime.main import tls_of
from runtime.refusal import Refusal
from runtime.services import database_url
from runtime.settings import Settings
from runtime.terminal import clock_of, say, settings_of
from store.commands import Command, execute
from store.logs import Ledger

gateway = typer.Typer(no_args_is_help=True, help="网关与扫码枪的账号 | accounts of gateways")
tls = typer.Typer(no_args_is_help=True, help="证书 | certificates")

Id = Annotated[str, typer.Argument(metavar="ID", help="网关或扫码枪 | gateway or scanner")]
Site = Annotated[
    str, typer.Option(help="扫码枪所在站点（网关不填） | site of a scanner; not for gateways")
]
SOON = "代理一秒内生效，其他连接不受影响"
LATER = "数据库恢复后，由下一条同样的命令或 API 的下次启动补记"
LATER_EN = "the same command again, or the next start of the API, will see to it."
SOON_EN = "The embedded broker follows within a second and disturbs nobody else."


class Broker(StrEnum):
    """A broker that files are written for."""

    MOSQUITTO = "mosquitto"
    NATS = "nats"


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(gateway, name="gateway")
    app.add_typer(tls, name="tls")
    app.command("broker-files")(broker_files)


@gateway.command()
def credentials(
    ctx: typer.Context,
    identifier: Id,
    site: Site = "",
    topic: Annotated[
        list[str] | None,
        typer.Option(help="另可发布的主题过滤器，可重复 | another topic filter it may publish to"),
    ] = None,
) -> None:
    """签发或更换口令，仅显示这一次 | issue or replace the password; it is shown this once."""
    settings = settings_of(ctx)
    password = broker_access.new_password()
    access = _granted(settings, identifier, site, topic, by="password")
    with broker_access.changed(settings.data) as accounts:
        accounts[identifier] = replace(
            access,
            bcrypt=broker_access.bcrypt_hash(password),
            pbkdf2=broker_access.pbkdf2_hash(password),
        )
    typer.echo(password)
    typer.echo(f"用户名 user {identifier}；{SOON}", err=True)
    typer.echo(f"Keep it: it is not shown again. {SOON_EN}", err=True)


@gateway.command()
def certificate(
    ctx: typer.Context,
    identifier: Id,
    target: Annotated[Path, typer.Argument(metavar="DIR", help="写入目录 | folder to write to")],
    site: Site = "",
    topic: Annotated[
        list[str] | None,
        typer.Option(help="另可发布的主题过滤器，可重复 | another topic filter it may publish to"),
    ] = None,
) -> None:
    """签发客户端证书，旧证书随即失效 | issue a client certificate; the one before ends."""
    settings = settings_of(ctx)
    folder = _tls_folder(settings)
    issued = broker_tls.issue(folder, _checked(identifier), clock_of(settings).now())
    access = _granted(settings, identifier, site, topic, by="certificate")
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(target / f"{identifier}.crt", issued.certificate)
    write_private(target / f"{identifier}.key", issued.key)
    write_private(target / "ca.crt", (folder / "ca.crt").read_text())
    with broker_access.changed(settings.data) as accounts:
        ends = issued.expires.isoformat()
        accounts[identifier] = replace(access, subject=issued.subject, expires=ends)
    say(
        f"已写入 {target}：{identifier}.crt、{identifier}.key、ca.crt；{SOON}",
        f"Written to {target}: {identifier}.crt, {identifier}.key, ca.crt. {SOON_EN}",
    )


@gateway.command("list")
def list_accounts(ctx: typer.Context) -> None:
    """列出全部账号（不含口令） | list the accounts, without passwords, which nobody has."""
    accounts = broker_access.load(settings_of(ctx).data)
    for access in accounts.values():
        ways = ["口令 password"] if access.bcrypt else []
        ways += [f"证书 certificate → {access.expires[:10]}"] if access.subject else []
        place = f"{access.region_code}/{access.site_id}"
        typer.echo("  ".join((access.gateway_id, place, ", ".join(ways), *access.topics)))
    say(f"共 {len(accounts)} 个", f"{len(accounts)} accounts")


@gateway.command()
def revoke(ctx: typer.Context, identifier: Id) -> None:
    """吊销账号并断开连接 | take the account away and cut its connection."""
    settings = settings_of(ctx)
    now = clock_of(settings).now()
    with broker_access.changed(settings.data) as accounts:  # first: it holds without a database
        access = accounts.pop(identifier, None)
        if access:
            revoked = Revoked(identifier, access.region_code, now.isoformat())
            broker_revoked.note(settings.data, revoked)
    if identifier not in {each.gateway_id for each in broker_revoked.waiting(settings.data)}:
        raise Refusal(f"没有账号 {identifier}", f"There is no account {identifier}.")
    say(f"已吊销 {identifier}；{SOON}", f"{identifier} is revoked. {SOON_EN}")
    try:
        broker_revoked.record(settings.data, database_url(settings), now)
    except (Refusal, psycopg.OperationalError) as error:
        why = str(error).strip().splitlines()[0]
        typer.echo(f"吊销已生效，但尚未入账（{why}）：{LATER}", err=True)
        typer.echo(f"It holds, but is not on record yet ({why}): {LATER_EN}", err=True)


def broker_files(
    ctx: typer.Context,
    broker: Annotated[Broker, typer.Argument(help="代理 | broker")],
    target: Annotated[Path, typer.Argument(metavar="DIR", help="写入目录 | folder to write to")],
) -> None:
    """为自备代理写出账号与主题规则 | write accounts and topic rules for a broker of your own."""
    settings = settings_of(ctx)
    accounts, encryption = broker_access.load(settings.data).values(), tls_of(settings)
    if broker is Broker.MOSQUITTO:
        password = secret(settings.data, f"mqtt_{SERVER}")
        broker_mosquitto.write(target, accounts, password=password, tls=encryption)
    else:
        certificates = encryption is not None and encryption.certificates
        broker_nats.write(target, accounts, certificates=certificates)
    say(
        f"已写入 {target}（{len(accounts)} 个账号）；更改账号后重新运行，并向代理发送 SIGHUP",
        f"Written to {target}, {len(accounts)} accounts. After changes run it again and send the "
        "broker SIGHUP.",
    )


@tls.command("init")
def init(
    ctx: typer.Context,
    host: Annotated[
        list[str] | None,
        typer.Option(help="网关所用的主机名或地址，可重复 | name or address that gateways use"),
    ] = None,
) -> None:
    """建立私有 CA 并签发代理证书；再次运行即换发 | make a private CA and the broker's certificate.

    已有的 CA 保留 | an authority that is there is kept; the certificates are renewed.
    """
    settings = settings_of(ctx)
    folder = _tls_folder(settings)
    broker_tls.init(folder, host or [], clock_of(settings).now())
    say(f"已写入 {folder}；请设置：", f"Written to {folder}; now set:")
    typer.echo(f"VAXTRAIL_MQTT_TLS={folder}")


def _tls_folder(settings: Settings) -> Path:
    """Return the folder of certificates: as set, else beside the other secrets."""
    return settings.mqtt_tls or settings.data / "secrets" / "tls"


def _granted(
    settings: Settings, identifier: str, site: str, topics: Sequence[str] | None, *, by: str
) -> Access:
    """Put a grant on record and return the account with its place now, and what it had."""
    _checked(identifier)
    before = broker_access.load(settings.data).get(identifier)
    app_dsn = database_url(settings)
    broker_revoked.record(settings.data, app_dsn, clock_of(settings).now())
    with Ledger(app_dsn) as ledger:
        region, site_id = _place(ledger, identifier, site)
        kept = before.topics if before else ()
        extra = kept if topics is None else tuple(map(broker_access.checked_filter, topics))
        deciding = decide(
            evolve_gateway_access,
            None,
            grant_gateway_access,
            gateway_id=identifier,
            region_code=region,
            site_id=site_id,
            by=by,
            topics=extra,
        )
        stream = gateway_access_stream(identifier)
        execute(ledger, Command(stream, deciding, meta_of(settings, region)))
    place = Access(identifier, region, site_id, extra)
    if before is None:
        return place
    return replace(before, region_code=region, site_id=site_id, topics=extra)


def _place(ledger: Ledger, identifier: str, site: str) -> tuple[str, str]:
    """Return region and site of a registered gateway, or of a scanner at the site named."""
    if site:
        at = fold(evolve_site, None, _events(ledger, site_stream(site)))
        if at is None:
            raise Refusal(f"没有站点 {site}", f"There is no site {site}.")
        return at.region_code, site
    found = fold(evolve_gateway, None, _events(ledger, gateway_stream(identifier)))
    if found is None:
        raise Refusal(
            f"网关 {identifier} 未登记；扫码枪请加 --site",
            f"The gateway {identifier} is not registered; for a scanner give --site.",
        )
    if found.replaced:
        raise Refusal(f"网关 {identifier} 已被替换", f"The gateway {identifier} was replaced.")
    return found.registered.region_code, found.registered.site_id


def _events(ledger: Ledger, stream: UUID) -> list[Event]:
    """Return the events of a stream."""
    return [envelope.event for envelope in ledger.stream(stream)]


def _checked(identifier: str) -> str:
    if identifier in {SERVER, SHARED}:
        raise Refusal(f"{identifier} 是保留的用户名", f"{identifier} is a reserved user name.")
    return checked_name(identifier, "gateway_id")
