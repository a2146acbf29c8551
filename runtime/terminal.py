"""What the commands of `vaxtrail` share: settings of this call, the clock, texts and tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import psycopg
import typer

from domain.shared.clock import Clock
from domain.shared.errors import DomainError
from runtime import folder, log
from runtime.clock import open_clock
from runtime.process import StartFailed
from runtime.refusal import Refusal
from runtime.settings import Settings, load


def settings_of(ctx: typer.Context, part: str = "cli") -> Settings:
    """Return the settings of this call (`--data` goes first) and begin logging as `part`."""
    settings = load(data=ctx.find_root().params.get("data"))
    log.configure(part, style=settings.log, level=settings.log_level)
    return settings


def clock_of(settings: Settings) -> Clock:
    """Return the clock of the data folder, whatever kind it was begun with."""
    return open_clock(folder.clock_kind(settings.data, settings.clock), settings.data)


def end(status: int) -> None:
    """End the command with an exit status."""
    if status:
        raise typer.Exit(status)


def say(zh: str, en: str) -> None:
    """Tell the person something in both languages."""
    typer.echo(zh)
    typer.echo(en)


def say_where(data: Path, pgdata: Path) -> None:
    """Tell where the database's files are when they are not in the data folder."""
    if not pgdata.is_relative_to(data.resolve()):
        say(
            f"数据目录对数据库账户不可见，数据库存放在 {pgdata}",
            f"The data folder is closed to the database's account: its files are in {pgdata}",
        )


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    from rich import box  # what draws is loaded when something is drawn
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    Console(highlight=False).print(table)


def program() -> str:
    """Return how this program was called, to be put before a command that a person shall copy."""
    called = sys.argv[0]
    return called if Path(called).name == "vaxtrail" else f"{sys.executable} -m runtime.cli"


def run_told(command: Callable[[], object]) -> int:
    """Run a command and return its status: the number it returned, 0 for anything else.

    A refusal (1) or wrong usage (2) is told in both languages instead of a traceback; what is a
    fault of the program itself is raised.
    """
    try:
        returned = command()
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        status, (zh, en) = told
        if zh:
            typer.echo(zh, err=True)
            typer.echo(en, err=True)
        return status
    return returned if isinstance(returned, int) else 0


def _told(error: Exception) -> tuple[int, tuple[str, str]] | None:
    """Return the exit status and the texts of an error; None for one that nobody foresaw."""
    from eventsourcing import persistence  # loaded when there is something to tell

    match error:
        case Refusal():
            return 1, (error.zh, error.en)
        case StartFailed():
            return 1, ("未能启动", f"Could not start: {error}")
        case DomainError():
            from api.messages import message  # the API's catalogue, loaded when something is told

            return 1, message(error.code, error.facts)
        case typer.TyperException():
            return 2, _usage(error)
        case OSError(filename=str() | Path() as path):
            return 1, (f"无法读写 {path}：{error.strerror}", f"{path}: {error.strerror}")
        case psycopg.OperationalError(sqlstate=None) | persistence.OperationalError():
            why = str(error).strip().splitlines()[0]
            return 1, (f"数据库无法连接：{why}", f"The database cannot be reached: {why}")
        case _:
            return None


def _usage(error: Exception) -> tuple[str, str]:
    """Return the texts of wrong usage; empty when the help was shown instead."""
    en = " ".join(str(getattr(error, "format_message", error.__str__)()).split())
    param = getattr(error, "param", None)
    name = next(iter(getattr(param, "opts", ())), "") or getattr(param, "name", "")
    match type(error).__name__:
        case "NoSuchOption":
            zh = f"没有选项 {getattr(error, 'option_name', '')}"
        case "MissingParameter":
            zh = f"缺少参数 {name}"
        case "BadParameter":
            zh = f"参数 {name} 的值不正确"
        case _:
            zh = "命令或参数不正确"
    help_zh, help_en = "（加 --help 可查看用法）", " (--help shows the usage)"
    return (f"{zh}{help_zh}", f"{en}{help_en}") if en else ("", "")


def empty_folder(path: Path) -> bool:
    """Tell whether a folder is missing or has nothing in it."""
    return not path.exists() or not any(path.iterdir())
