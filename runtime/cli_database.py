"""`vaxtrail db` and `vaxtrail projections`: the embedded database by itself, and read models."""

from __future__ import annotations

import os
import signal
from typing import Annotated

import typer

from runtime import folder
from runtime.account import secret
from runtime.postgres import APP, DATABASE, HOST, OWNER, PostgresServer
from runtime.process import Stopped, command_line, ignore_signals, pause, stop_on_signals, stop_pid
from runtime.refusal import Refusal
from runtime.services import database_url
from runtime.settings import Settings
from runtime.terminal import end, say, settings_of, show

db = typer.Typer(no_args_is_help=True, help="内置数据库 | the embedded database by itself")
projections = typer.Typer(no_args_is_help=True, help="读模型 | read models")

STOP_STEPS = ((signal.SIGTERM, 120.0),)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(db, name="db")
    app.add_typer(projections, name="projections")


@db.command()
def start(ctx: typer.Context) -> None:
    """只运行数据库，直至 Ctrl-C（维护用） | run only the database until Ctrl-C."""
    settings = settings_of(ctx, "db")
    folder.begin(settings.data, folder.clock_kind(settings.data, settings.clock))
    with folder.owned(settings.data):
        stop_on_signals()
        server = PostgresServer(settings.data, port=settings.pg_port)
        before = folder.last_instance(settings.data)
        server.prefer(before.ports.get("postgres") if before else None)
        try:
            server.start()
            _record(settings, server, before)
            say(f"数据库在端口 {server.port} 运行", f"the database runs on port {server.port}")
            while server.running:
                pause(0.2)
        except Stopped:
            pass
        finally:
            ignore_signals()
            server.stop()


def _record(settings: Settings, server: PostgresServer, before: folder.Instance | None) -> None:
    instance = folder.Instance(
        pid=os.getpid(),
        app_dsn=server.app_dsn,
        owner_dsn=server.owner_dsn,
        clock=folder.clock_kind(settings.data, settings.clock),
        ports={**(before.ports if before else {}), "postgres": server.port},
        pids={"postgres": server.pid or 0},
        pgdata=str(server.pgdata),
    )
    folder.write_instance(settings.data, instance)


@db.command()
def stop(ctx: typer.Context) -> None:
    """停止 db start 或遗留的数据库 | stop `db start`, or a database left behind."""
    settings = settings_of(ctx)
    holder = folder.holder(settings.data)
    if holder is None:
        found = PostgresServer(settings.data).stop_leftover()
        say(f"已停止 {len(found)} 个遗留进程", f"{len(found)} processes left behind were stopped")
    elif command_line(holder)[-2:] == ["db", "start"]:
        stop_pid(holder, STOP_STEPS)
        say("数据库已停止", "the database has stopped")
    else:
        raise Refusal(
            f"数据库由进程 {holder}（vaxtrail up）管理，请停止该进程",
            f"Process {holder} (vaxtrail up) looks after the database; stop that one.",
        )


@db.command("status")
def db_status(ctx: typer.Context) -> None:
    """数据库是否在运行 | whether the database runs; status 3 when it does not."""
    settings = settings_of(ctx)
    try:
        instance = folder.running_instance(settings.data)
    except Refusal:
        say("未运行", "not running")
        end(3)
        return
    server = instance.pids.get("postgres")
    show(
        "PostgreSQL",
        ("pid", "port", "data"),
        [(server, instance.ports.get("postgres"), instance.pgdata)],
    )
    end(0 if server else 3)


@db.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(
    ctx: typer.Context,
    owner: Annotated[
        bool, typer.Option("--owner", help="以表的属主 | as the owner of the event tables")
    ] = False,
) -> None:
    """打开 psql（应用角色），其余参数照传 | open psql as the services' role; arguments go on."""
    role = OWNER if owner else APP  # read models belong to the services' role
    settings = settings_of(ctx)
    instance = folder.running_instance(settings.data)
    program = PostgresServer(settings.data).bin / "psql"
    arguments = ["-h", HOST, "-p", str(instance.ports["postgres"]), "-U", role, "-d", DATABASE]
    env = {**os.environ, "PGPASSWORD": secret(settings.data, role)}
    os.execve(program, [str(program), *arguments, *ctx.args], env)  # noqa: S606 - own program, no shell


@projections.command("list")
def list_projections(ctx: typer.Context) -> None:
    """列出读模型及进度 | list the read models with their progress."""
    from projections import runner

    found = runner.listing(database_url(settings_of(ctx)))
    show(
        "读模型 | read models",
        ("name", "version", "rebuilt at", "position", "dead letters"),
        found,
    )


@projections.command()
def rebuild(ctx: typer.Context, name: str) -> None:
    """从事件重建读模型（运行中亦可） | rebuild a read model from the events."""
    from projections import runner

    position = runner.rebuild(database_url(settings_of(ctx)), name)
    say(f"{name} 已重建至位置 {position}", f"{name} rebuilt up to position {position}")


@projections.command()
def check(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="全部 | all when left out")] = None,
) -> None:
    """与影子重建比对摘要 | compare read models with a rebuild, by digest."""
    from projections import readings, runner

    dsn = database_url(settings_of(ctx))
    everything = [*(listed.name for listed in runner.listing(dsn)), readings.NAME]
    names = [name] if name else everything
    checked = [runner.check(dsn, each) for each in names]
    show(
        "比对 | compared",
        ("name", "position", "same", "rows"),
        [(c.name, c.position, "✓" if c.same else "✗", _rows(c.live, c.rebuilt)) for c in checked],
    )
    end(0 if all(c.same for c in checked) else 1)


def _rows(live: dict[str, tuple[int, str]], rebuilt: dict[str, tuple[int, str]]) -> str:
    return ", ".join(
        f"{table} {rows}" if live.get(table) == rebuilt.get(table) else f"{table} ✗ {rows}"
        for table, (rows, _) in sorted(live.items())
    )
