"""`vaxtrail doctor`: what is wrong with this machine, and the mend, before anything is started."""

from __future__ import annotations

import importlib.util
import json
import locale
import os
import platform
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runtime import broker_access
from runtime.account import (
    SHARED_HOME,
    NoAccount,
    broker_program,
    left_behind,
    postgres_bin,
    reachable,
    service_account,
)
from runtime.broker_access import SHARED
from runtime.broker_log import faults
from runtime.broker_revoked import waiting
from runtime.broker_tls import RENEW_DAYS, Tls, expires
from runtime.disk import free_pct
from runtime.folder import last_instance
from runtime.process import ask
from runtime.refusal import Refusal
from runtime.settings import Settings

PYTHON_MIN = (3, 11)
GLIBC_MIN = (2, 27)  # what the wheel of PostgreSQL was built for
FREE_MIN_BYTES = 2 * 1024**3  # an empty instance with its write-ahead log takes about 0.3 GB
CLOCK_EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)  # a machine behind this has lost its time
LEFT_SHOWN = 2
FAULTS_SHOWN = 5
LEFT_REMOVED_BY = (
    f'for f in {SHARED_HOME}/*/data-folder; do [ -L "$(cat "$f")/elsewhere" ]'
    ' || rm -rf "${f%/*}"; done'
)
NULL_DEVICE = Path(os.devnull)


@dataclass(frozen=True)
class Finding:
    """One look. `zh` and `en` say what was found, or what is wrong and how to mend it."""

    name: str
    ok: bool
    zh: str
    en: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield every finding; none of the looks changes anything."""
    looks: list[Callable[[Settings], Finding]] = [
        _python,
        _venv,
        _glibc,
        _locale,
        _null_device,
        _clock,
        _disk,
        _account,
        _postgres,
        _broker,
        _ports,
        _certificate,
        shared_account,
        _revoked,
        _gateways,
        _people,
        _left_behind,
    ]
    for look in looks:
        yield look(settings)


def _python(_: Settings) -> Finding:
    found = platform.python_version()
    return Finding(
        "python",
        sys.version_info >= PYTHON_MIN,
        f"Python {found}（需要 3.11 或更新）",
        f"Python {found} (3.11 or newer is needed)",
    )


def _venv(_: Settings) -> Finding:
    found = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
    if found:
        return Finding("venv", True, "venv 模块可用", "the venv module is there")
    return Finding(
        "venv",
        False,
        "缺少 venv 模块：请安装 python3-venv（Debian：apt install python3-venv）",
        "the venv module is missing: install python3-venv",
    )


def _glibc(_: Settings) -> Finding:
    name, version = platform.libc_ver()
    parts = tuple(int(part) for part in version.split(".") if part.isdigit())
    return Finding(
        "glibc",
        name == "glibc" and parts >= GLIBC_MIN,
        f"C 库 {name} {version}（内置数据库需 glibc 2.27 以上，否则请设 VAXTRAIL_DATABASE_URL）",
        f"C library {name} {version} (the embedded database needs glibc 2.27 or newer; "
        "set VAXTRAIL_DATABASE_URL elsewhere)",
    )


def _locale(_: Settings) -> Finding:
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return Finding(
            "locale",
            False,
            "缺少 C.UTF-8 区域设置：请安装 locales 或更新系统 C 库",
            "locale C.UTF-8 is missing: install the system's locales",
        )
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    return Finding("locale", True, "C.UTF-8 可用", "C.UTF-8 is there")


def _null_device(_: Settings) -> Finding:
    mode = NULL_DEVICE.stat().st_mode if NULL_DEVICE.exists() else 0
    if stat.S_ISCHR(mode):
        return Finding("null device", True, f"{NULL_DEVICE} 正常", f"{NULL_DEVICE} is a device")
    mend = f"rm -f {NULL_DEVICE} && mknod -m 666 {NULL_DEVICE} c 1 3"
    return Finding(
        "null device",
        False,
        f"{NULL_DEVICE} 被普通文件替换，数据库无法初始化；以 root 执行：{mend}",
        f"{NULL_DEVICE} was replaced by a plain file; as root: {mend}",
    )


def _clock(_: Settings) -> Finding:
    now = datetime.now(UTC)
    return Finding(
        "clock",
        now > CLOCK_EARLIEST,
        f"系统时间 {now:%Y-%m-%d %H:%M} UTC（不对时请启用 NTP：timedatectl set-ntp true）",
        f"system time {now:%Y-%m-%d %H:%M} UTC (if wrong: timedatectl set-ntp true)",
    )


def _disk(settings: Settings) -> Finding:
    place = _existing(settings.data)
    pct, left = free_pct(place), shutil.disk_usage(place).free
    return Finding(
        "disk",
        pct >= settings.disk_free_min_pct and left >= FREE_MIN_BYTES,
        f"{place} 可用 {left / 1024**3:.1f} GB（{pct:.0f} %；至少 2 GB 且不低于 "
        f"{settings.disk_free_min_pct:g} %，不足时请清理或用 VAXTRAIL_DATA 换盘）",
        f"{place}: {left / 1024**3:.1f} GB free ({pct:.0f} %; at least 2 GB and "
        f"{settings.disk_free_min_pct:g} %, else make room or choose VAXTRAIL_DATA)",
    )


def _account(settings: Settings) -> Finding:
    try:
        account = service_account()
    except NoAccount:
        return Finding(
            "account",
            False,
            "以 root 运行但没有 postgres 或 nobody 账户：请建一个（useradd postgres）",
            "run by root without an account postgres or nobody: make one (useradd postgres)",
        )
    if account is None:
        return Finding("account", True, "以普通用户运行", "run by an ordinary user")
    place = _existing(settings.data)
    where = str(place) if reachable(place, account) else "/var/lib/vaxtrail"
    return Finding(
        "account",
        True,
        f"服务器以账户 {account.name} 运行，数据在 {where}",
        f"servers run as {account.name}, their data below {where}",
    )


def _postgres(settings: Settings) -> Finding:
    if settings.database_url:
        return Finding("postgres", True, "使用外部数据库", "an external database is used")
    try:
        program = postgres_bin(None) / "postgres"
    except FileNotFoundError as error:
        return Finding("postgres", False, f"{error}：请重新安装依赖", f"{error}: install again")
    return _runs("postgres", program)


def _broker(settings: Settings) -> Finding:
    if settings.mqtt_url:
        return Finding("broker", True, "使用外部 MQTT 代理", "an external broker is used")
    try:
        program = broker_program(None)
    except FileNotFoundError as error:
        return Finding("broker", False, f"{error}：请重新安装依赖", f"{error}: install again")
    return _runs("broker", program)


def _runs(name: str, program: Path) -> Finding:
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(
            name,
            False,
            f"{program} 无法运行（{error}）：请重新安装依赖",
            f"{program} does not run ({error}): install the dependencies again",
        )
    return Finding(name, True, done.stdout.strip(), done.stdout.strip())


def _ports(settings: Settings) -> Finding:
    wanted = {
        "VAXTRAIL_API_PORT": (settings.api_host, settings.api_port),
        "VAXTRAIL_MQTT_PORT": (settings.mqtt_host, settings.mqtt_port),
        "VAXTRAIL_PG_PORT": ("127.0.0.1", settings.pg_port),
    }
    taken = [f"{k} {port}" for k, (host, port) in wanted.items() if port and _taken(host, port)]
    if taken:
        listed = ", ".join(taken)
        return Finding(
            "ports",
            False,
            f"端口已被占用：{listed}（若本实例正在运行则属正常，否则请更换）",
            f"in use: {listed} (as it should be while this instance runs; else choose others)",
        )
    return Finding("ports", True, "端口可用", "the ports are free")


def _certificate(settings: Settings) -> Finding:
    if settings.mqtt_tls is None:
        return Finding("certificate", True, "代理未加密", "the broker is not encrypted")
    mend = "vaxtrail tls init"
    try:
        Tls(settings.mqtt_tls, certificates=False).load()
    except Refusal as broken:
        return Finding("certificate", False, broken.zh, broken.en)
    ends = expires(settings.mqtt_tls / "broker.crt")
    left = (ends - datetime.now(UTC)).days
    return Finding(
        "certificate",
        left > RENEW_DAYS,
        f"代理证书至 {ends:%Y-%m-%d}，余 {left} 天（换发：{mend}）",
        f"the broker's certificate ends on {ends:%Y-%m-%d}, in {left} days (renew: {mend})",
    )


def shared_account(settings: Settings) -> Finding:
    """Look whether gateways are shut out since the account they shared is closed by default."""
    name = "shared account"
    secret = settings.data / "secrets" / f"mqtt_{SHARED}"  # made when it was first open
    closed = settings.mqtt_url is None and not settings.mqtt_shared_account
    if not (closed and secret.exists()) or broker_access.load(settings.data):
        return Finding(name, True, "无须处理", "nothing to do")
    return Finding(
        name,
        False,
        "网关曾用共用账号 gateway 登录，该账号现缺省关闭，且尚无任何网关账号：网关无法登录。"
        "请先设 VAXTRAIL_MQTT_SHARED_ACCOUNT=true 并重启，用 vaxtrail gateway credentials "
        "为每个网关签发账号，再取消该设置",
        "gateways used the shared account here, which is closed by default now, and none has one "
        "of its own: they cannot log in. Set VAXTRAIL_MQTT_SHARED_ACCOUNT=true and restart, issue "
        "accounts (`vaxtrail gateway credentials`), then take that setting away",
    )


def _revoked(settings: Settings) -> Finding:
    found = ", ".join(each.gateway_id for each in waiting(settings.data))
    if not found:
        return Finding("revoked", True, "吊销均已入账", "all that was revoked is on record")
    return Finding(
        "revoked",
        False,
        f"{found} 已吊销但尚未入账：数据库恢复后再次运行 vaxtrail gateway revoke",
        f"{found} is revoked and not on record: run `vaxtrail gateway revoke` again once the "
        "database is there",
    )


def _gateways(settings: Settings) -> Finding:
    found = faults(settings.data)
    if not found:
        return Finding("gateways", True, "网关无异常", "no gateway is complained of")
    shown = [fault.texts for fault in found[:FAULTS_SHOWN]]
    more = f" … {len(found)}" if len(found) > FAULTS_SHOWN else ""
    return Finding(
        "gateways",
        False,
        "；".join(zh for zh, _ in shown) + more,
        "; ".join(en for _, en in shown) + more,
    )


def _people(settings: Settings) -> Finding:
    """Warn where alerts of an instance that runs reach too few people: it works all the same."""
    instance = last_instance(settings.data)
    try:
        page = ask(f"{instance.api_url}/readyz", 2.0) if instance and instance.api_url else b"{}"
        told = json.loads(page).get("warnings", {}).get("alert_floor", "")
    except (OSError, ValueError):
        told = ""
    if not told:
        return Finding("people", True, "告警接收人未见不足", "nothing is known of too few people")
    zh, _, en = told.partition(" / ")
    return Finding("people", True, f"注意：{zh}：请安排值班", f"mind: {en}: put people on duty")


def _left_behind(_: Settings) -> Finding:
    found = left_behind()
    if not found:
        return Finding("left behind", True, "无遗留目录", "nothing left behind")
    shown = " ".join(map(str, found[:LEFT_SHOWN])) + (" …" if len(found) > LEFT_SHOWN else "")
    return Finding(
        "left behind",
        True,
        f"{len(found)} 个数据目录已删除而遗留的目录（{shown}），清理命令见下行",
        f"{len(found)} left by data folders that are gone; to remove them: {LEFT_REMOVED_BY}",
    )


def _taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if place.exists())
