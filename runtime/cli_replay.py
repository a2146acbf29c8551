"""`vaxtrail replay`: what a real logger's file says, what its device counted, what the rules say.

Nothing is stored. With `--play` the file then goes over MQTT as a simulated device into the running
instance, or is kept there as evidence where it has no readings.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import typer

from domain.alerting.rehearsal import Rehearsal, always
from domain.alerting.rules import SHIPPED
from domain.alerting.watch import Reading, to_datetime, to_ms
from domain.cold_chain import logger_files
from domain.cold_chain.logger_files import Day, LoggerFile
from runtime.cli_simulators import drive
from runtime.refusal import Refusal
from runtime.terminal import end, say

PROFILE, TZ, REGION = "who_30_day_logger", "Asia/Shanghai", "640202"


def add_to(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command("replay")(replay)


def replay(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="FILE")],
    *,
    profile: Annotated[
        str, typer.Option(help=f"储存条件 | storage profile: {', '.join(SHIPPED)}")
    ] = PROFILE,
    tz: Annotated[str, typer.Option(help="文件时间的时区 | zone of the file's times")] = TZ,
    readings: Annotated[bool, typer.Option(help="逐条列出读数 | list every reading")] = False,
    play: Annotated[
        bool,
        typer.Option("--play", help="作为模拟设备送入实例 | play it into the instance"),
    ] = False,
    region: Annotated[
        str, typer.Option(help="回放设备所在区县 | county of the played device, GB/T 2260")
    ] = REGION,
) -> None:
    """真实记录仪文件：读数、自身计数、规则结论 | what a logger's file says, and the rules of it.

    1 if a daily counter of the device differs from its readings by over 7 min or 0.5 °C.
    """
    zone = _zone(tz)
    if profile not in SHIPPED and not play:
        raise Refusal(f"没有随附的储存条件 {profile}", f"No shipped storage profile {profile}.")
    found = _read(file)
    agrees = _tell(found, zone, profile, readings=readings)
    if play:
        _play(ctx, file, found, zone, [f"--profile={profile}", f"--region={region}"])
    end(0 if agrees else 1)


def _read(file: Path) -> LoggerFile:
    if file.stat().st_size > logger_files.SIZE_MAX:
        raise Refusal(f"文件过大：{file}", f"The file is too large: {file}")
    found = logger_files.read(file.read_bytes().decode("utf-8-sig", errors="replace"))
    if not found.times and not found.own_days:
        raise Refusal(f"文件里没有读数：{file}", f"The file holds no readings: {file}")
    return found


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise Refusal(f"不认识的时区 {name}", f"Unknown time zone {name}.") from None


def _tell(file: LoggerFile, zone: tzinfo, profile: str, *, readings: bool) -> bool:
    """Print everything; return whether the device's counters agree with its readings."""
    measured = [value for value in file.values if value is not None]
    say(f"{file.name_zh} {file.serial}", f"{file.name_en} {file.serial}")
    if file.zone_named:
        say(
            f"文件注明时区 {file.zone_named}，按 {zone} 解释",
            f"Zone {file.zone_named}, read as {zone}",
        )
    say(
        f"读数 {len(file.values)} 条，其中探头断开 {len(file.values) - len(measured)} 条",
        f"{len(file.values)} readings, {len(file.values) - len(measured)} of them unplugged",
    )
    if measured:
        say(
            f"{file.times[0]} 至 {file.times[-1]}，最低 {min(measured)} ℃，最高 {max(measured)} ℃",
            f"{file.times[0]} to {file.times[-1]}, min {min(measured)} °C, max {max(measured)} °C",
        )
    if readings:
        for at, value in zip(file.times, file.values, strict=True):
            typer.echo(f"  {at}  {'-' if value is None else value}")
    agrees = _tell_days(file)
    if measured and profile in SHIPPED:
        _tell_episodes(file, zone, profile)
    return agrees


def _tell_days(file: LoggerFile) -> bool:
    """Print the device's own counters, beside what its readings say where there are any."""
    if not file.own_days:
        say("文件没有自身计数", "The file has no counters of its own")
        return True
    limits = file.limits_c or (float("-inf"), float("inf"))
    counted = logger_files.days(file.times, file.values, limits)
    say(
        f"自身计数（低于 {limits[0]} ℃、高于 {limits[1]} ℃ 的分钟数）与由读数所得：",
        f"Own counters (minutes below {limits[0]}, above {limits[1]} °C), and what readings say:",
    )
    differing = 0
    for own in sorted(file.own_days, key=lambda day: day.day):
        mine = counted.get(own.day)
        differs = mine is not None and not own.agrees(mine)
        differing += differs
        told = "" if mine is None else f"  {_shown(mine)}"
        typer.echo(f"  {'✗' if differs else '✓' if mine else ' '} {own.day}  {_shown(own)}{told}")
    without = sorted(counted.keys() - {own.day for own in file.own_days})
    _tell_without(without)
    say(
        f"{len(file.own_days)} 天，{differing} 天不符",
        f"{len(file.own_days)} days, {differing} differ",
    )
    return differing == 0


def _tell_without(days: Sequence[date]) -> None:
    if days:
        listed = ", ".join(map(str, days))
        say(f"没有自身计数的日子：{listed}", f"Days without counters: {listed}")


def _shown(day: Day) -> str:
    return f"[{day.min_c:6.1f} {day.max_c:6.1f} ℃  {day.below_min:5.0f} {day.above_min:5.0f} min]"


def _tell_episodes(file: LoggerFile, zone: tzinfo, profile: str) -> None:
    rules = SHIPPED[profile].rules
    engine = Rehearsal(always(*rules))
    engine.take(_rows(file, zone))
    say(f"规则 {profile}：", f"Rules of {profile}:")
    for rule in rules:
        outcomes = engine.outcomes(rule.rule_id)
        typer.echo(f"  {rule.rule_id} [{rule.severity}]: {len(outcomes)}")
        for each in outcomes:
            ended = each.recovered_ms
            until = "未恢复 not recovered" if ended is None else _local(ended, zone)
            typer.echo(
                f"    {_local(each.start_ms, zone)} … {until}, "
                f"fired {_local(each.fired_ms, zone)}, peak {each.peak_c} ℃"
            )


def _rows(file: LoggerFile, zone: tzinfo) -> list[Reading]:
    """Return the readings as the engine takes them."""
    pairs = zip(file.times, file.values, strict=True)
    return [(_utc_ms(at, zone), seq, value) for seq, (at, value) in enumerate(pairs)]


def _utc_ms(local: datetime, zone: tzinfo) -> int:
    return to_ms(local.replace(tzinfo=zone).astimezone(UTC))


def _local(ms: int, zone: tzinfo) -> str:
    return f"{to_datetime(ms).astimezone(zone):%Y-%m-%d %H:%M}"


def _play(
    ctx: typer.Context, file: Path, found: LoggerFile, zone: tzinfo, options: list[str]
) -> None:
    """Hand the file, as read here, to the driver that plays it."""
    told = {
        "kind": found.kind,
        "name_zh": found.name_zh,
        "name_en": found.name_en,
        "serial": found.serial,
        "interval_s": found.interval_s,
        "summary_days": len(found.own_days),
        "times_ms": [_utc_ms(at, zone) for at in found.times],
        "values": found.values,
    }
    with tempfile.NamedTemporaryFile(suffix=".json") as handed:
        Path(handed.name).write_bytes(msgspec.json.encode(told))
        status = drive(ctx, "replay", [str(file), handed.name, *options])
    end(status)
