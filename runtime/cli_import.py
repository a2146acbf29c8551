"""`vaxtrail import`: tables of sites, equipment and products, tried or taken in."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from runtime.cli_keys import meta_of
from runtime.refusal import Refusal
from runtime.services import database_url
from runtime.terminal import end, say, settings_of
from store.logs import Ledger


class Kind(StrEnum):
    """What a table may list; `equipment`: units together with the devices in them."""

    SITES = "sites"
    EQUIPMENT = "equipment"
    UNITS = "units"
    DEVICES = "devices"
    PRODUCTS = "products"
    CALIBRATIONS = "calibrations"


def add_to(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command("import")(import_table)


def import_table(
    ctx: typer.Context,
    kind: Kind,
    file: Path,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="只检查并逐行说明，不登记 | only say what would be done"),
    ] = False,
    template: Annotated[
        bool,
        typer.Option("--template", help="把空表写到此文件（.xlsx 或 .csv） | write an empty table"),
    ] = False,
) -> None:
    """导入 .xlsx 或 CSV，可重复执行 | import .xlsx or CSV; doing it twice changes nothing."""
    if template:
        _write_template(kind, file)
        return
    from api.importing import import_file  # the web framework takes a second to load

    settings = settings_of(ctx)
    with Ledger(database_url(settings)) as ledger:
        try:
            report = import_file(kind.value, file, ledger, meta_of(settings), dry_run=dry_run)
        except OSError as error:
            raise Refusal(
                f"无法读取文件 {file}", f"Cannot read {file} ({error.strerror})."
            ) from error
    for told in report.lines:
        if told.result == "wrong":
            typer.echo(str(told), err=True)
        elif dry_run:
            typer.echo(str(told))
    say(
        f"新增 {report.created}，未变 {report.unchanged}，错误 {len(report.errors)}",
        f"{report.created} new, {report.unchanged} unchanged, {len(report.errors)} wrong",
    )
    if dry_run:
        say("仅检查，没有登记", "only tried; nothing is registered")
    end(1 if report.errors else 0)


def _write_template(kind: Kind, file: Path) -> None:
    from api.importing import template

    suffix = file.suffix.lower().lstrip(".")
    if suffix not in {"xlsx", "csv"}:
        raise Refusal("空表的文件名须以 .xlsx 或 .csv 结尾", "An empty table is .xlsx or .csv.")
    if file.exists():
        raise Refusal(f"文件 {file} 已存在", f"{file} exists already.")
    try:
        file.write_bytes(template(kind.value, suffix))
    except OSError as error:
        raise Refusal(f"无法写入文件 {file}", f"Cannot write {file} ({error.strerror}).") from error
    say(f"空表已写到 {file}", f"an empty table is in {file}")
