"""What the commands of `vaxtrail` share: settings of this call, the clock, texts and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from domain.shared.clock import Clock
from domain.shared.errors import DomainError
from runtime import folder, log
from runtime.clock import open_clock
from runtime.process import StartFailed
from runtime.refusal import Refusal
from runtime.settings import Settings, load

console = Console(highlight=False)


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


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)


def run_told(command: Callable[[], object]) -> int:
    """Run a command; tell a refusal in both languages instead of a traceback. Return the status."""
    try:
        command()
    except Refusal as refusal:
        zh, en = refusal.zh, refusal.en
    except StartFailed as failed:
        zh, en = "未能启动", f"Could not start: {failed}"
    except DomainError as error:
        from api.messages import message  # the API's catalogue, loaded only when something is told

        zh, en = message(error.code, error.facts)
    else:
        return 0
    typer.echo(zh, err=True)
    typer.echo(en, err=True)
    return 1


def empty_folder(path: Path) -> bool:
    """Tell whether a folder is missing or has nothing in it."""
    return not path.exists() or not any(path.iterdir())
