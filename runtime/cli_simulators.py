"""`vaxtrail demo`: start a driver from `simulators/` beside an instance.

The drivers know only MQTT and HTTP: they get addresses and a key of their own in the environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from domain.shared.ids import WHOLE_COUNTRY
from domain.shared.roles import Role
from runtime import folder
from runtime.cli_keys import issue
from runtime.main import answers
from runtime.process import (
    StartFailed,
    Stopped,
    free_port,
    ignore_signals,
    log_tail,
    pause,
    spawn,
    stop_child,
    stop_on_signals,
)
from runtime.refusal import Refusal
from runtime.settings import PREFIX, Settings
from runtime.terminal import end, program, say, say_where, settings_of

READY_SECONDS = 180.0
DEMO_REGION = "640200"  # of the city that the demonstration registers
DEMO_FOLDER = Path(".vaxtrail")
UP_STOP_STEPS = ((signal.SIGTERM, 120.0), (signal.SIGKILL, 5.0))
DRIVER_STOP_STEPS = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
_ROOT = Path(__file__).parent.parent
_PASSED_ON = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": ["--help"],
}


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(context_settings=_PASSED_ON)(demo)


def drive(ctx: typer.Context, name: str, arguments: list[str]) -> int:
    """Run a driver beside the running instance; return its exit status."""
    with _with_key(settings_of(ctx), name) as env:
        return _run_driver(name, arguments, env)


def demo(
    ctx: typer.Context,
    leave: Annotated[
        bool, typer.Option("--exit", help="演示完即退出 | end after the demonstration")
    ] = False,
    summary: Annotated[
        Path | None, typer.Option("--json", help="摘要写入此文件 | write the summary as JSON")
    ] = None,
) -> None:
    """三天疫苗流通演示（步进时钟） | three days of vaccines on a stepped clock, in a minute."""
    settings = _demo_settings(ctx)
    folder.begin(settings.data, "stepped")
    stop_on_signals()
    log = settings.data / "log" / "vaxtrail.log"
    mail_port = free_port()  # where the demonstration itself takes the mail that is sent
    child = spawn(
        [sys.executable, "-m", "runtime.cli", "--data", str(settings.data), "up"],
        log=log,
        death_signal=signal.SIGTERM,
        env={
            **_python_env(),
            PREFIX + "CLOCK": "stepped",
            PREFIX + "LOG": "json",
            PREFIX + "MQTT_SHARED_ACCOUNT": "true",
            PREFIX + "SMTP_URL": f"smtp://127.0.0.1:{mail_port}",
            PREFIX + "SMTP_FROM": "vaxtrail@demo.invalid",
            PREFIX + "WEBHOOK_NETWORKS": "127.0.0.0/8",
        },
        cwd=Path.cwd(),
    )
    try:
        _wait_ready(child, settings, log)
        arguments = [*ctx.args, *(["--json", str(summary.absolute())] if summary else [])]
        with _with_key(settings, "demo") as env:
            env["VAXTRAIL_SIM_SMTP_PORT"] = str(mail_port)
            status = _run_driver("demo", arguments, env)
            if status == 0 and not leave:
                _serve(child, settings)
    except Stopped:
        status = 0 if not leave else 130
    finally:
        ignore_signals()
        stop_child(child, UP_STOP_STEPS)
    again = f"{program()} --data {settings.data} up"
    say(f"已停止；要再看这些数据，请运行：{again}", f"Stopped. To look at it again: {again}")
    end(status)


def _demo_settings(ctx: typer.Context) -> Settings:
    """Use the folder asked for, else a fresh one: a stepped clock cannot go back to the start."""
    settings = settings_of(ctx)
    asked = "data" in settings.model_fields_set
    name = f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    data = settings.data if asked else (DEMO_FOLDER / name).absolute()
    return settings.model_copy(update={"data": data, "clock": "stepped"})


def _wait_ready(child: subprocess.Popen[bytes], settings: Settings, log: Path) -> None:
    from rich.console import Console

    deadline = time.monotonic() + READY_SECONDS
    with Console(highlight=False).status(f"正在启动 | starting … {settings.data}"):
        while not _ready(settings.data, child.pid):
            if child.poll() is not None or time.monotonic() > deadline:
                raise StartFailed(log_tail(log))
            pause(0.1)
    instance = folder.running_instance(settings.data)
    if instance.pgdata:
        say_where(settings.data, Path(instance.pgdata))


def _ready(data: Path, pid: int) -> bool:
    instance = folder.last_instance(data)
    return instance is not None and instance.pid == pid and answers(instance.api_url + "/readyz")


def _serve(child: subprocess.Popen[bytes], settings: Settings) -> None:
    """Keep the instance open to questions until Ctrl-C; tell how to get a key and ask."""
    api = folder.running_instance(settings.data).api_url + "/api/v1"
    command = f"{program()} --data {settings.data}"
    say(
        f"接口仍在运行，Ctrl-C 结束：{api}（说明 {api}/openapi.json）",
        f"The API goes on until Ctrl-C: {api} (described in {api}/openapi.json)",
    )
    say("在另一终端试一试：", "Try it from another terminal:")
    typer.echo(f"  KEY=$({command} key create --role cdc --region {DEMO_REGION})")
    typer.echo(f"  curl -H \"Authorization: Bearer $KEY\" '{api}/alerts?limit=3'")
    typer.echo(f"  {command} status")
    while child.poll() is None:
        pause(0.2)


@contextmanager
def _with_key(settings: Settings, label: str) -> Iterator[dict[str, str]]:
    """Give a driver's environment, with an administrator's key that ends with it."""
    from domain.accounts.model import revoke_key
    from runtime.cli_keys import change

    instance = folder.running_instance(settings.data)
    if not instance.mqtt_gateway_url:
        raise Refusal(
            "回放与采集使用共用账号 gateway；请以 VAXTRAIL_MQTT_SHARED_ACCOUNT=true 启动实例",
            "Drivers use the shared account `gateway`: start the instance with "
            "VAXTRAIL_MQTT_SHARED_ACCOUNT=true.",
        )
    issued = issue(settings, instance.app_dsn, Role.ADMIN, WHOLE_COUNTRY, label)
    try:
        yield {
            **_python_env(),
            "VAXTRAIL_SIM_MQTT_URL": instance.mqtt_gateway_url,
            "VAXTRAIL_SIM_API_URL": instance.api_url,
            "VAXTRAIL_SIM_API_KEY": issued.key,
        }
    finally:
        change(settings, instance.app_dsn, issued.key_id, WHOLE_COUNTRY, revoke_key, reason="ended")


def _python_env() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def _run_driver(name: str, arguments: list[str], env: Mapping[str, str]) -> int:
    """Run a driver on this terminal; Ctrl-C reaches it as well, and it ends with us."""
    driver = subprocess.Popen(
        [sys.executable, "-m", f"simulators.{name}", *arguments], env=dict(env)
    )
    try:
        while driver.poll() is None:
            pause(0.1)
        return driver.returncode
    finally:
        stop_child(driver, DRIVER_STOP_STEPS)
