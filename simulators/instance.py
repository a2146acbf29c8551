"""The running instance a driver talks to: its addresses and key come from the environment."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NoReturn

import httpx

from simulators.http import Api, Problem
from simulators.wire import Publisher, Unanswered

MQTT_URL, API_URL, API_KEY = "VAXTRAIL_SIM_MQTT_URL", "VAXTRAIL_SIM_API_URL", "VAXTRAIL_SIM_API_KEY"
EXIT_FAILED, EXIT_USAGE = 1, 2


class NoInstance(Exception):
    """The environment does not say where the instance is."""


def connect(client_id: str) -> tuple[Api, Publisher]:
    """Return the API client and the MQTT publisher of the instance."""
    missing = [name for name in (MQTT_URL, API_URL, API_KEY) if not os.environ.get(name)]
    if missing:
        raise NoInstance(
            f"缺少环境变量，请先运行 vaxtrail up / set these variables, or run under "
            f"`vaxtrail`: {', '.join(missing)}"
        )
    api = Api(os.environ[API_URL], os.environ[API_KEY])
    return api, Publisher(os.environ[MQTT_URL], f"{client_id}-{os.getpid()}")


def moment(text: str) -> datetime:
    """Return an RFC 3339 time as an aware datetime in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def rfc3339(ms: int) -> str:
    """Return UTC milliseconds as an RFC 3339 text."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def milliseconds(when: datetime) -> int:
    """Return an aware time as UTC milliseconds."""
    return round(when.timestamp() * 1000)


class Parser(argparse.ArgumentParser):
    """A command line that tells wrong usage in both languages."""

    def __init__(self, command: str, zh: str, en: str) -> None:
        super().__init__(prog=f"vaxtrail {command}", description=f"{zh} | {en}")

    def error(self, message: str) -> NoReturn:
        """End with status 2 and what is wrong."""
        self.exit(EXIT_USAGE, f"用法有误（加 --help 可查看用法） / wrong usage: {message}\n")


def run(main: Callable[[], int]) -> int:
    """Run a driver; an expected failure becomes one bilingual line and exit code 1."""
    try:
        return main()
    except (NoInstance, Problem, Unanswered) as error:
        print(f"错误 / error: {error}", file=sys.stderr)
    except httpx.TransportError as error:
        print(f"错误 / error: 无法连接接口 / no connection to the API: {error}", file=sys.stderr)
    except ConnectionError as error:
        print(f"错误 / error: 无法连接 / no connection: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("已中断 / interrupted", file=sys.stderr)
    return EXIT_FAILED
