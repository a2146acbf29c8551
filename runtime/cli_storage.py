"""`vaxtrail retention|readings`: how long rows of readings are kept, and making them again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import psycopg
import typer

from runtime.refusal import Refusal
from runtime.services import owner_url
from runtime.settings import Settings
from runtime.terminal import clock_of, end, say, settings_of, show
from store import retention

keeping = typer.Typer(no_args_is_help=True, help="读数明细的保留期 | how long readings are kept")
readings = typer.Typer(no_args_is_help=True, help="读数明细 | rows of readings")

MIB = 2**20
Day = typer.Argument(formats=["%Y-%m-%d"], help="UTC 日期 | day, UTC")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(keeping, name="retention")
    app.add_typer(readings, name="readings")


@contextmanager
def _owner(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(owner_url(settings), autocommit=True) as conn:
        yield conn


def _due(settings: Settings) -> date | None:
    """Return the day before which rows may go, None when all are kept."""
    years = settings.readings_keep_years
    if years is None:
        return None
    today = clock_of(settings).now().date()
    leap = today.month == 2 and today.day == 29
    return (today - timedelta(days=leap)).replace(year=today.year - years)


@keeping.command("show")
def show_retention(ctx: typer.Context) -> None:
    """显示保留期、可删除的日期与冻结 | show what is kept, what may go, and what is held."""
    settings = settings_of(ctx)
    due = _due(settings)
    with _owner(settings) as conn:
        days = retention.old_days(conn, due) if due else []
        held = retention.holds(conn)
    years = settings.readings_keep_years
    zh, en = ("全部", "for ever") if years is None else (f"{years} 年", f"{years} years")
    legal = settings.legal_years
    say(f"明细保留 {zh}；法定下限 {legal} 年", f"Rows are kept {en}; the law asks for {legal}")
    free = [day for day in days if not day.held]
    size = sum(day.size_bytes for day in free) / MIB
    say(
        f"可删除 {len(free)} 天，{size:.0f} MiB；另有 {len(days) - len(free)} 天被冻结",
        f"{len(free)} days may go, {size:.0f} MiB; {len(days) - len(free)} more are held",
    )
    show("冻结 | held", ("id", "first day", "last day", "reason", "since"), held)


@keeping.command("apply")
def apply_retention(ctx: typer.Context) -> None:
    """删除超过保留期的明细 | drop rows older than the setting; events and roll-ups stay."""
    settings = settings_of(ctx)
    due = _due(settings)
    if due is None:
        raise Refusal(
            "未设置 VAXTRAIL_READINGS_KEEP_YEARS，全部保留",
            "VAXTRAIL_READINGS_KEEP_YEARS is not set: everything is kept.",
        )
    with _owner(settings) as conn:
        dropped, left = retention.drop(conn, retention.old_days(conn, due))
    say(f"已删除 {dropped} 天的明细", f"rows of {dropped} days were dropped")
    for day, reason in left.items():
        say(f"{day} 未删除：{reason}", f"{day} was left: {reason}")
    end(1 if left else 0)


@keeping.command()
def hold(
    ctx: typer.Context,
    first: Annotated[datetime, Day],
    last: Annotated[datetime, Day],
    reason: Annotated[str, typer.Option(help="缘由 | why")],
) -> None:
    """冻结若干日期，不论保留期 | keep days, both included, whatever their age."""
    if last < first or not reason.strip():
        raise Refusal(
            "末日不得早于首日，缘由不得为空", "The last day lies before the first, or no reason"
        )
    with _owner(settings_of(ctx)) as conn:
        number = retention.hold(conn, first.date(), last.date(), reason.strip())
    say(f"已冻结，编号 {number}", f"held, number {number}")


@keeping.command()
def lift(ctx: typer.Context, number: int) -> None:
    """解除冻结 | lift a hold."""
    with _owner(settings_of(ctx)) as conn:
        if not retention.lift(conn, number):
            raise Refusal(f"没有生效的冻结 {number}", f"No hold {number} is in force")
    say("已解除", "lifted")


@readings.command("rebuild")
def rebuild_readings(
    ctx: typer.Context,
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="UTC")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="UTC")],
) -> None:
    """从事件重建已删除的明细（含首末日） | make dropped rows again, both days included."""
    from projections import readings as rows

    made = rows.restore(owner_url(settings_of(ctx)), first.date(), last.date())
    say(
        f"已重建 {len(made)} 天，{sum(made.values())} 行",
        f"{len(made)} days made again, {sum(made.values())} rows",
    )
