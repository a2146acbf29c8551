"""The reference of docs/, made from the code: events, routes, settings, commands, rules, refusals.

`make docs` writes it; a test fails while a page differs from what the code says.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import typer.main

from api.app import discover
from api.messages import CATALOGUE
from api.routing import ModuleRoute
from domain.alerting.rules import SHIPPED
from domain.shared.events import event_class, topics
from runtime.cli import app
from runtime.settings import Settings
from store.mapper import load_event_classes

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
NOTE = "<!-- made by `make docs`; do not edit -->\n"


def _table(head: str, rows: Iterator[tuple[object, ...]]) -> str:
    names = head.split(" | ")
    lines = [f"| {head} |", "|" + "---|" * len(names)]
    for row in rows:
        cells = [str(cell).replace("|", "\\|").replace("\n", " ") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def events() -> str:
    """Return the page of all stored events."""
    load_event_classes()
    parts = ["# 事件 · Events\n", "Stored under these TOPICs for ever; fields as stored today.\n"]
    for topic in topics():
        if topic.startswith("test."):
            continue
        kind = event_class(topic)
        hints = typing.get_type_hints(kind)
        parts.append(f"## `{topic}` · v{kind.VERSION}\n\n{_first_line(kind)}\n")
        shown = ((f"`{f.name}`", f"`{_type_name(hints[f.name])}`") for f in fields(kind))  # type: ignore[arg-type]  # every event class is a dataclass
        parts.append(_table("field | type", shown) + "\n")
    return "\n".join(parts)


def routes() -> str:
    """Return the page of all routes with their permissions."""

    def rows() -> Iterator[tuple[object, ...]]:
        for router in discover():
            for route in router.routes:
                if isinstance(route, ModuleRoute):
                    methods = ", ".join(sorted(route.methods or ()))
                    roles = ", ".join(sorted(role.value for role in route.allowed.roles))
                    yield (
                        f"`{methods} {route.path}`",
                        f"`{route.allowed.permission}`",
                        "everybody" if len(route.allowed.roles) > 30 else roles,
                        _first_line(route.endpoint),
                    )

    text = "# 接口 · HTTP API\n\nThe whole of it: `/api/v1/openapi.json` of a running instance.\n\n"
    return text + _table("route | permission | roles | what it does", rows()) + "\n"


def settings() -> str:
    """Return the page of all settings."""

    def rows() -> Iterator[tuple[object, ...]]:
        for name, field in Settings.model_fields.items():
            zh, _, en = (field.description or "").partition(" | ")
            default = "" if field.default in (None, "", ()) else f"`{field.default}`"
            yield f"`VAXTRAIL_{name.upper()}`", default, zh, en

    return "# 设置 · Settings\n\n" + _table("variable | default | 含义 | meaning", rows()) + "\n"


def commands() -> str:
    """Return the page of all commands."""

    def walk(command: Any, words: str) -> Iterator[tuple[object, ...]]:
        if hasattr(command, "commands"):
            for name in sorted(command.commands):
                yield from walk(command.commands[name], f"{words} {name}")
            return
        context = click.Context(command, info_name=words)
        arguments = " ".join(command.collect_usage_pieces(context)).replace("[OPTIONS] ", "")
        zh, _, en = (command.help or "").partition(" | ")
        yield f"`{words} {arguments.replace('[OPTIONS]', '').strip()}`".replace(" `", "`"), zh, en

    shown = walk(typer.main.get_command(app), "vaxtrail")
    return "# 命令 · Commands\n\n" + _table("command | 作用 | what it does", shown) + "\n"


def rules() -> str:
    """Return the page of the shipped alert rules."""
    parts = ["# 告警规则 · Shipped alert rules\n"]
    for profile in SHIPPED.values():
        shown = (
            (
                f"`{r.rule_id}`",
                f"{'>' if r.side == 'high' else '<'} {r.limit_c} °C",
                f"{r.raise_after_min:g} min",
                f"{r.clear_after_min:g} min",
                f"{r.hysteresis_c:g} °C",
                f"{r.max_gap_min:g} min",
                r.severity,
            )
            for r in profile.rules
        )
        parts.append(f"## `{profile.profile_id}`\n\n{profile.source}\n")
        parts.append(
            _table("rule | bad | raise after | clear after | hysteresis | gap | severity", shown)
            + "\n"
        )
    return "\n".join(parts)


def refusals() -> str:
    """Return the page of all codes of refusals."""
    shown = ((f"`{code}`", *CATALOGUE[code]) for code in sorted(CATALOGUE))
    return "# 拒绝代码 · Codes of refusals\n\n" + _table("code | 中文 | English", shown) + "\n"


def index() -> str:
    """Return the list of the pages."""
    names = [name for name in PAGES if name != "README.md"]
    return "# 参考 · Reference\n\n" + "\n".join(f"- [{n[:-3]}]({n})" for n in names) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "README.md": index,
    "commands.md": commands,
    "events.md": events,
    "http.md": routes,
    "refusals.md": refusals,
    "rules.md": rules,
    "settings.md": settings,
}


def render() -> dict[Path, str]:
    """Return what every page should hold."""
    return {FOLDER / name: NOTE + page() for name, page in PAGES.items()}


if __name__ == "__main__":
    for path, text in render().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
