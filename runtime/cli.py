"""The command `vaxtrail`: one instance, its services, and looking after it.

Each part of the tree is also a command of its own, so that containers run the same code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from runtime import folder, services
from runtime.settings import Settings, shown, template
from runtime.terminal import clock_of, end, run_told, say, settings_of, show

app = typer.Typer(
    name="vaxtrail",
    help="Vaxtrail 苗迹：疫苗冷链与追溯 | vaccine cold chain and traceability",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# The tree and its services: those that were killed shall be back soon, and load no other command.
LEAN = {"up", "migrate", *services.Service}
config = typer.Typer(no_args_is_help=True, help="设置 | settings")
app.add_typer(config, name="config")
alert = typer.Typer(invoke_without_command=True)
app.add_typer(alert, name="alert")


@cache
def whole() -> typer.Typer:
    """Return the command with all that it can do."""
    for name in (
        *("alerts", "backup", "clinic", "database", "epcis", "evidence", "gateway", "import"),
        *("keys", "profile", "quarantine", "replay", "simulators", "stability", "storage", "trace"),
    ):
        import_module(f"runtime.cli_{name}").add_to(app)
    return app


@app.callback()
def options(
    data: Annotated[
        Path | None, typer.Option(help="数据目录 | data folder (VAXTRAIL_DATA)")
    ] = None,
) -> None:
    """Take the options that stand before every command; `settings_of` reads them."""


@app.command()
def up(ctx: typer.Context) -> None:
    """运行整个系统，直至 Ctrl-C | run the whole instance until Ctrl-C."""
    from runtime import main as tree

    tree.up(settings_of(ctx, "up"))


@app.command()
def migrate(ctx: typer.Context) -> None:
    """升级数据库结构（属主角色） | bring the database to the newest schema, as its owner."""
    from projections.discovery import schemas
    from runtime.seed import seed
    from store.migrate import migrate as apply

    settings = settings_of(ctx, "migrate")
    owner = services.owner_url(settings)
    applied = apply(owner, schemas=schemas())
    seed(owner, clock_of(settings).now())
    say(f"已应用 {len(applied)} 个迁移", f"{len(applied)} migrations applied")


def _service(name: str, run: Callable[[Settings], None], text: str) -> None:
    @app.command(name, help=text)
    def command(ctx: typer.Context) -> None:
        settings = settings_of(ctx, name)
        folder.begin(settings.data, settings.clock)
        run(settings)


@app.command()
def ingest(
    ctx: typer.Context,
    worker: Annotated[
        int, typer.Option(min=0, help="编号，自 0 起 | its number (VAXTRAIL_INGEST_WORKERS)")
    ] = 0,
) -> None:
    """接收读数与扫码 | take in readings and scans."""
    settings = settings_of(ctx, services.worker_name(worker))
    folder.begin(settings.data, settings.clock)
    services.run_ingest(settings, worker)


_service("project", services.run_project, "维护读模型 | keep the read models up to date")
_service("api", services.run_api, "提供 HTTP 接口 | serve the HTTP interface")


@alert.callback()
def run_alert(ctx: typer.Context) -> None:
    """升级并送达告警 | escalate and deliver alerts."""
    if ctx.invoked_subcommand is None:
        settings = settings_of(ctx, "alert")
        folder.begin(settings.data, settings.clock)
        services.run_alert(settings)


@app.command("status")
def show_status(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="JSON")] = False,
) -> None:
    """显示实例状态 | show the state of the instance; status 3 when none runs."""
    from runtime import status

    found = status.gather(settings_of(ctx))
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2, default=str))
    else:
        show("Vaxtrail 苗迹", ("", ""), status.rows(found))
    end(0 if found["running"] else 3)


@app.command("health")
def examine_health(
    ctx: typer.Context,
    service: Annotated[
        services.Service | None, typer.Argument(help="只看这一服务 | this service only")
    ] = None,
) -> None:
    """能否工作，供容器检查：正常 0，异常 1 | whether it can work, for containers: 0 or 1."""
    settings = settings_of(ctx)
    health = services.health(settings, *services.urls(settings))
    problems = health.service_problems(service.value) if service else health.problems()
    for name, problem in problems.items():
        typer.echo(f"{name}: {problem}", err=True)
    end(1 if problems else 0)


@app.command("doctor")
def examine(ctx: typer.Context) -> None:
    """检查本机环境并给出修复办法 | examine this machine and name the mends."""
    from runtime import doctor

    bad = 0
    for finding in doctor.examine(settings_of(ctx)):
        bad += not finding.ok
        typer.echo(f"{'✓' if finding.ok else '✗'} {finding.name}: {finding.zh}")
        typer.echo(f"    {finding.en}")
    end(1 if bad else 0)


@config.command("show")
def show_config(ctx: typer.Context) -> None:
    """显示现用设置，密码隐去 | show the settings in force, secrets hidden."""
    for name, value in shown(settings_of(ctx)).items():
        typer.echo(f"{name} = {value}")


@config.command("template")
def show_template() -> None:
    """输出带说明的设置文件 | print a settings file with every setting explained."""
    typer.echo(template(), nl=False)


def run(arguments: list[str] | None = None) -> int:
    """Run one command line (this process's own when None) and return its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    wanted = app if _asked(given) in LEAN else whole()
    return run_told(lambda: wanted(arguments, standalone_mode=False))


def _asked(arguments: Sequence[str]) -> str:
    """Return the name of the command, empty when there is none; with what is asked of `alert`."""
    named: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--data":
            next(words, None)
        elif not word.startswith("-"):
            named.append(word)
    return " ".join(named[: 2 if named[:1] == ["alert"] else 1])


def main() -> None:
    """Run the command line; wrong usage ends with status 2, a refusal with 1."""
    sys.exit(run())


if __name__ == "__main__":
    main()
