"""`vaxtrail backup DIR` and `vaxtrail restore DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime import backup as copying
from runtime.terminal import say, settings_of


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(backup)
    app.command()(restore)


def backup(ctx: typer.Context, folder: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """运行中备份到空目录（含密码，请妥善保管） | back up while running; it holds secrets."""
    settings = settings_of(ctx)
    if settings.database_url:
        raise copying.not_embedded()
    made = copying.backup(settings.data, folder.absolute())
    say(f"已备份，位置 {made.position}", f"backed up at position {made.position}")


def restore(ctx: typer.Context, folder: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """把备份恢复到空的数据目录 | restore a backup into an empty data folder."""
    data = settings_of(ctx).data
    manifest = copying.restore(folder.absolute(), data)
    clock = "" if manifest.clock == "real" else f"VAXTRAIL_CLOCK={manifest.clock} "
    command = f"{clock}vaxtrail --data {data} up"
    say(f"已恢复，请启动：{command}", f"restored; start it: {command}")
