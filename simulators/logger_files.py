"""Files that real temperature loggers write, read into plain rows: nothing rounded, nothing added.

Known: Berlinger Fridge-tag 2 L (readings), Fridge-tag 2 (daily summaries only), Maxim DS1923 CSV.
Times in these files are local and name no usable zone; the caller says which zone it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

SIZE_MAX = 32 * 1024 * 1024  # bytes; a logger's file is a few hundred kB
FRIDGE_TAG = "Device: Q-tag Fridge-tag"
DS1923 = "1-Wire/iButton Part Number: DS1923"
FRIDGE_TAG_TIME, DS1923_TIME = "%Y-%m-%d %H:%M", "%m/%d/%y %I:%M:%S %p"
DS1923_HEADING = "Date/Time,Unit,Value"
NO_VALUE = "--.-"  # probe unplugged


class BadFile(Exception):
    """The file cannot be read; the message is Chinese / English."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggerFile:
    """What a file holds: n local times ascending with n values in °C (None: probe unplugged).

    `summary_days` counts daily summaries; `zone_named` is the zone's short name as printed in the
    file, which may mean several zones and is only shown. `interval_s` is the logging interval.
    """

    kind: str
    name_zh: str
    name_en: str
    serial: str
    times: tuple[datetime, ...]
    values: tuple[float | None, ...]
    interval_s: int = 300
    summary_days: int = 0
    zone_named: str = ""


def read(path: Path) -> LoggerFile:
    """Read a logger's file. BadFile when it is missing, too large, unknown or broken."""
    try:
        if path.stat().st_size > SIZE_MAX:
            raise BadFile(f"文件过大 / the file is too large: {path}")
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise BadFile(f"无法读取文件 / cannot read the file: {path} ({error.strerror})") from error
    if text.startswith(FRIDGE_TAG):
        return _fridge_tag(text.splitlines())
    if text.startswith(DS1923):
        return _ds1923(text.splitlines())
    raise BadFile(
        f"不认识的文件格式（支持 Fridge-tag 2 L、Fridge-tag 2、DS1923 CSV）/ unknown file format "
        f"(Fridge-tag 2 L, Fridge-tag 2 and DS1923 CSV are known): {path}"
    )


def _fridge_tag(lines: list[str]) -> LoggerFile:
    fields = dict(
        part.strip().split(": ", 1) for line in lines for part in line.split(", ") if ": " in part
    )
    if fields.get("Temp unit", "C") != "C":
        raise BadFile("只支持摄氏度文件 / only files in degrees Celsius are read")
    begin = next((n for n, line in enumerate(lines) if line == "Data:"), None)
    times: list[datetime] = []
    values: list[float | None] = []
    # Rows are indented by a tab; the certificate that follows is not.
    for number, line in enumerate(lines[begin + 2 :] if begin is not None else [], start=1):
        if not line.startswith("\t"):
            break
        when, value, *_ = [*line[1:].split("\t"), ""]
        times.append(_time(when, FRIDGE_TAG_TIME, number))
        values.append(_value(value, number))
    model = "Fridge-tag 2 L" if lines[0].endswith("2 L") else "Fridge-tag 2"
    return LoggerFile(
        kind="fridge_tag_2l" if times else "fridge_tag_2",
        name_zh=f"{model} 温度记录仪",
        name_en=f"{model} logger",
        serial=_serial(fields.get("Serial", "")),
        times=_ascending(times),
        values=tuple(values),
        interval_s=60 * int(fields.get("Logging Interval", "5")),
        summary_days=sum(line.startswith("  Date: ") for line in lines),
    )


def _ds1923(lines: list[str]) -> LoggerFile:
    fields = dict(re.split(r":\s+", line, maxsplit=1) for line in lines if re.search(r":\s", line))
    if DS1923_HEADING not in lines:
        raise BadFile(f"缺少数据表头 / the data heading is missing: {DS1923_HEADING}")
    begin = lines.index(DS1923_HEADING) + 1
    times: list[datetime] = []
    values: list[float | None] = []
    for number, line in enumerate((line for line in lines[begin:] if line.strip()), start=1):
        when, unit, value = [*line.split(",", 2), "", ""][:3]
        if unit != "C":
            raise BadFile(f"第 {number} 行不是摄氏度 / row {number} is not in degrees Celsius")
        times.append(_time(when, DS1923_TIME, number))
        values.append(_value(value, number))
    rate = re.search(r"(\d+) second", next((ln for ln in lines if "Sample Rate" in ln), ""))
    zone = re.search(r" ([A-Z]{3,4}) \d{4}$", fields.get("Mission Start Time", ""))
    return LoggerFile(
        kind="ds1923",
        name_zh="DS1923 温度记录仪",
        name_en="DS1923 logger",
        serial=_serial(fields.get("1-Wire/iButton Registration Number", "")),
        times=_ascending(times),
        values=tuple(values),
        interval_s=int(rate[1]) if rate else 60,
        zone_named=zone[1] if zone else "",
    )


def _time(text: str, form: str, number: int) -> datetime:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - local on purpose: the caller knows the zone
    except ValueError as error:
        raise BadFile(
            f"第 {number} 行时间无法识别 / row {number} has no readable time: {text}"
        ) from error


def _value(text: str, number: int) -> float | None:
    if text == NO_VALUE:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise BadFile(
            f"第 {number} 行温度无法识别 / row {number} has no readable value: {text}"
        ) from error


def _serial(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]{4,32}", text):
        raise BadFile(f"缺少设备序列号 / the serial number is missing: {text}")
    return text


def _ascending(times: list[datetime]) -> tuple[datetime, ...]:
    for number, (earlier, later) in enumerate(pairwise(times), start=2):
        if later <= earlier:
            raise BadFile(
                f"第 {number} 行时间没有递增 / row {number} does not come after the one before it"
            )
    return tuple(times)
