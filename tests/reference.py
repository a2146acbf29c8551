"""The reference of docs/, made from the code: commands, settings, refusals, a page a module.

`make docs` writes it; a test fails while a page differs from what the code says.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import typer.main

import api.routes
from api.messages import CATALOGUE
from api.routing import ModuleRoute
from domain.alerting.rules import SHIPPED
from domain.shared.events import event_class, topics
from domain.shared.roles import Role
from ingest.refusals import REASONS
from runtime.cli import whole
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


def module(stem: str) -> str:
    """Return the page of one module: its routes, its events, its refusals."""
    shown = [
        f"# {stem}\n",
        f"{_first_line(importlib.import_module(f'domain.{stem}'))}\n",
        "## 接口 · Routes\n",
        _table("route | permission | roles | what it does", _routes(stem)) + "\n",
        "## 事件 · Events\n\nStored under these TOPICs for ever; fields as stored today.\n",
        *_events(stem),
    ]
    if stem == "alerting":
        shown += ["## 随附规则 · Shipped rules\n", *_rules()]
    shown += ["## 拒绝代码 · Codes of refusals\n", _refusals(_texts(stem))]
    return "\n".join(shown)


def _events(stem: str) -> Iterator[str]:
    load_event_classes()
    for topic in topics():
        if topic.partition(".")[0] == stem:
            kind = event_class(topic)
            hints = typing.get_type_hints(kind)
            yield f"### `{topic}` · v{kind.VERSION}\n\n{_first_line(kind)}\n"
            names = [f.name for f in fields(kind)]  # type: ignore[arg-type]  # all are dataclasses
            rows = ((f"`{name}`", f"`{_type_name(hints[name])}`") for name in names)
            yield _table("field | type", rows) + "\n"


def _routes(stem: str) -> Iterator[tuple[object, ...]]:
    router = importlib.import_module(f"api.routes.{stem}").router
    for route in router.routes:
        if isinstance(route, ModuleRoute):
            methods = ", ".join(sorted(route.methods or ()))
            roles = ", ".join(sorted(role.value for role in route.allowed.roles))
            yield (
                f"`{methods} {route.path}`",
                f"`{route.allowed.permission}`",
                "everybody" if route.allowed.roles >= set(Role) else roles,
                _first_line(route.endpoint),
            )


def _rules() -> Iterator[str]:
    for profile in SHIPPED.values():
        rows = (
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
        head = "rule | bad | raise after | clear after | hysteresis | gap | severity"
        yield f"### `{profile.profile_id}`\n\n{profile.source}\n\n{_table(head, rows)}\n"


def _refusals(texts: Mapping[str, tuple[str, str]]) -> str:
    rows = ((f"`{code}`", *texts[code]) for code in sorted(texts))
    return _table("code | 中文 | English", rows) + "\n"


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
        zh, _, en = (command.help or "").partition(" | ")
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield f"`{words}`", zh, en
            for name in sorted(command.commands):
                yield from walk(command.commands[name], f"{words} {name}")
            return
        context = click.Context(command, info_name=words)
        arguments = " ".join(command.collect_usage_pieces(context)).replace("[OPTIONS] ", "")
        yield f"`{words} {arguments.replace('[OPTIONS]', '').strip()}`".replace(" `", "`"), zh, en

    shown = walk(typer.main.get_command(whole()), "vaxtrail")
    return "# 命令 · Commands\n\n" + _table("command | 作用 | what it does", shown) + "\n"


def refusals() -> str:
    """Return the page of the refusals that belong to no module."""
    modules = {code for stem in stems() for code in _texts(stem)}
    shared = {code: text for code, text in CATALOGUE.items() if code not in modules}
    text = "# 拒绝代码 · Codes of refusals\n\nEach module's own are on its page.\n\n"
    reasons = ((f"`{code}`", zh, en) for code, zh, en in sorted(REASONS.values()))
    quarantine = "\n## 隔离原因 · Reasons of quarantine\n\n"
    return text + _refusals(shared) + quarantine + _table("code | 中文 | English", reasons) + "\n"


def index() -> str:
    """Return the list of the pages."""
    return (
        "# 参考 · Reference\n\n- [命令 commands](commands.md)\n- [设置 settings](settings.md)\n"
        "- [拒绝代码 refusals](refusals.md)\n- [各模块 modules](modules): "
        "routes, permissions, events, refusals, one page each\n\n"
        "The whole HTTP interface: `/api/v1/openapi.json` of a running instance.\n"
    )


def stems() -> list[str]:
    """Return the modules that have routes."""
    return [module.name for module in pkgutil.iter_modules(api.routes.__path__)]


def _texts(stem: str) -> dict[str, tuple[str, str]]:
    texts: dict[str, tuple[str, str]] = importlib.import_module(f"api.texts.{stem}").TEXTS
    return texts


PAGES: dict[str, Callable[[], str]] = {
    "README.md": index,
    "commands.md": commands,
    "refusals.md": refusals,
    "settings.md": settings,
}


def render() -> dict[Path, str]:
    """Return what every page should hold."""
    pages = {FOLDER / name: NOTE + page() for name, page in PAGES.items()}
    return pages | {FOLDER / "modules" / f"{stem}.md": NOTE + module(stem) for stem in stems()}


if __name__ == "__main__":
    for path, text in render().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
