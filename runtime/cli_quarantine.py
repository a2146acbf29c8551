"""`vaxtrail quarantine`: look at refused messages, send them again, or set them aside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from uuid import UUID

import psycopg
import typer

from runtime.cli_keys import ACTOR, meta_of
from runtime.health import queries
from runtime.refusal import Refusal
from runtime.services import database_url
from runtime.terminal import say, settings_of
from store.logs import Telemetry

quarantine = typer.Typer(no_args_is_help=True, help="隔离的消息 | refused messages")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(quarantine, name="quarantine")


@quarantine.command("list")
def list_refused(
    ctx: typer.Context,
    everything: Annotated[
        bool, typer.Option("--all", help="含已处理的 | also those dealt with")
    ] = False,
    limit: Annotated[int, typer.Option(help="最多几条 | at most", min=1)] = 100,
) -> None:
    """列出被拒的消息及原因 | list refused messages with their reasons."""
    states = ["open", "replay", *(["resolved", "set_aside"] if everything else [])]
    with psycopg.connect(database_url(settings_of(ctx)), autocommit=True) as conn:
        found = conn.execute(
            queries.quarantine_listed, {"states": states, "limit": limit}
        ).fetchall()
    for identifier, code, topic, detail, received_at, seen, state in found:
        typer.echo(f"{identifier} {code} ×{seen} {state} {received_at:%Y-%m-%d %H:%M:%S}")
        typer.echo(f"    {topic}")
        typer.echo(f"    {detail}")
    say(f"共 {len(found)} 条", f"{len(found)} messages")


@quarantine.command()
def replay(ctx: typer.Context, identifier: Annotated[UUID, typer.Argument(metavar="ID")]) -> None:
    """重新处理一条消息 | take a message in again, now that its cause is mended."""
    from api import quarantine as handling  # the web framework takes a second to load

    with _unresolved(ctx, identifier) as conn:
        conn.execute(handling.queries.replay, {"actor_id": ACTOR, "id": identifier})
    say("已交接收进程重新处理", "handed to ingest again")


@quarantine.command("set-aside")
def set_aside(
    ctx: typer.Context, identifier: Annotated[UUID, typer.Argument(metavar="ID")]
) -> None:
    """搁置一条消息（保留，不再提示） | set a message aside; it is kept."""
    from api import quarantine as handling

    settings = settings_of(ctx)
    with _unresolved(ctx, identifier), Telemetry(database_url(settings)) as telemetry:
        handling.set_aside(telemetry, identifier, meta_of(settings))
    say("已搁置", "set aside")


@contextmanager
def _unresolved(ctx: typer.Context, identifier: UUID) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection when the message is there and not dealt with. Refusal otherwise."""
    with psycopg.connect(database_url(settings_of(ctx)), autocommit=True) as conn:
        found = conn.execute(queries.quarantine_state, (identifier,)).fetchone()
        if found is None or found[0] == "resolved":
            raise Refusal(
                f"没有待处理的隔离消息 {identifier}", f"No refused message {identifier} is open."
            )
        yield conn
