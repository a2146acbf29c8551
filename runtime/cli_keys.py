"""`vaxtrail key create|list|revoke`, and in whose name the command line acts."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import psycopg
import typer

from domain.accounts.model import api_key_stream, evolve, issue_key, revoke_key
from domain.shared.decide import decide
from domain.shared.errors import NotFound
from domain.shared.events import Event
from domain.shared.roles import Role
from projections import accounts as keys
from runtime.services import database_url
from runtime.settings import Settings
from runtime.terminal import clock_of, say, settings_of
from store.commands import Command, execute
from store.envelope import Meta
from store.logs import Ledger

KEY_PREFIX = "vt_"
KEY_BYTES = 32  # 256 random bits, written as 43 characters
ACTOR = "cli"
PAGE = 500

key = typer.Typer(no_args_is_help=True, help="API 密钥 | API keys")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(key, name="key")


def meta_of(settings: Settings, region_code: str = "") -> Meta:
    """Return the metadata of what the operator does at the command line."""
    now = clock_of(settings).now()
    return Meta(
        occurred_at=now,
        recorded_at=now,
        actor_id=ACTOR,
        actor_role=Role.ADMIN.value,
        region_code=region_code,
        source="cli",
    )


class Issued(NamedTuple):
    """A key that was made. The key itself is kept nowhere."""

    key_id: str
    key: str


def issue(settings: Settings, app_dsn: str, role: Role, region_code: str, label: str) -> Issued:
    """Make a key and store its SHA-256."""
    from api.auth import digest  # the web framework takes a second to load

    made = Issued(f"k{secrets.token_hex(6)}", KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES))
    change(
        settings,
        app_dsn,
        made.key_id,
        region_code,
        issue_key,
        key_id=made.key_id,
        digest=digest(made.key),
        role=role.value,
        region_code=region_code,
        label=label,
    )
    return made


def change(
    settings: Settings,
    app_dsn: str,
    stream: str,
    region: str,
    command: Callable[..., Sequence[Event]],
    **arguments: str,
) -> None:
    """Run a command of `domain.accounts` on the stream of one key (its id)."""
    deciding = decide(evolve, None, command, **arguments)
    with Ledger(app_dsn) as ledger:
        execute(ledger, Command(api_key_stream(stream), deciding, meta_of(settings, region)))


@key.command("create")
def create_key(
    ctx: typer.Context,
    role: Annotated[Role, typer.Option(help="角色 | role")],
    region: Annotated[
        str, typer.Option(help="地区 GB/T 2260，000000 为全国 | region, 000000 = everywhere")
    ],
    label: Annotated[str, typer.Option(help="用途说明 | what it is for")] = "",
) -> None:
    """签发密钥，仅显示这一次 | issue a key; it is shown this once."""
    settings = settings_of(ctx)
    made = issue(settings, database_url(settings), role, region, label)
    typer.echo(made.key)
    typer.echo(f"编号 id {made.key_id}", err=True)
    typer.echo("请妥善保存：密钥不会再次显示 | keep it: it is not shown again", err=True)


@key.command("list")
def list_keys(ctx: typer.Context) -> None:
    """列出全部密钥（不含密钥本身） | list the keys, without the secrets, which nobody has."""
    found: list[keys.ApiKey] = []
    with psycopg.connect(database_url(settings_of(ctx)), autocommit=True) as conn:
        while page := keys.key_list(conn, after=found[-1].key_id if found else "", limit=PAGE):
            found += page
    for each in found:
        state = "已吊销 revoked" if each.revoked else "有效 valid"
        shown = (each.key_id, each.role, each.region_code, state, each.label)
        typer.echo("  ".join(shown).rstrip())
    say(f"共 {len(found)} 个", f"{len(found)} keys")


@key.command("revoke")
def revoke(ctx: typer.Context, identifier: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """吊销密钥，不可恢复 | revoke a key for ever; it opens nothing within a second."""
    settings = settings_of(ctx)
    dsn = database_url(settings)
    with psycopg.connect(dsn, autocommit=True) as conn:
        found = keys.key(conn, identifier)
    if found is None:
        raise NotFound("unknown_key")
    change(settings, dsn, identifier, found.region_code, revoke_key, reason=ACTOR)
    say(f"已吊销 {identifier}", f"{identifier} is revoked")
