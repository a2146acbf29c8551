"""Write a new module: the same stem in each layer, its texts, its tests, its page in the docs.

`make module NAME=telemedicine`. Nothing that exists is touched; the module works as it is (one kind
of thing that is opened and closed) and passes every check, ready to be made into what it should be.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from string import Template

ROOT = Path(__file__).parents[2]
TEMPLATES = Path(__file__).parent / "templates"
STEM = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
PLACES = {
    "domain_init": "domain/{}/__init__.py",
    "events": "domain/{}/events.py",
    "model": "domain/{}/model.py",
    "projection": "projections/{}.py",
    "sql": "projections/sql/{}.sql",
    "routes": "api/routes/{}.py",
    "texts": "api/texts/{}.py",
    "test_model": "tests/{0}/test_{0}.py",
    "test_routes": "tests/{0}/test_{0}_routes.py",
    "docs": "docs/modules/{}.md",
}


def refuse(zh: str, en: str) -> None:
    """End with a message."""
    raise SystemExit(f"{zh}\n{en}")


def write(stem: str, root: Path = ROOT) -> list[Path]:
    """Write the files of module `stem` below `root` and return them. SystemExit when it exists."""
    if not STEM.fullmatch(stem):
        refuse(
            f"模块名须为小写字母、数字和下划线：{stem!r}",
            f"a module's stem is lower case with underscores: {stem!r}",
        )
    files = {name: root / place.format(stem) for name, place in PLACES.items()}
    existing = [file for file in files.values() if file.exists()]
    if existing or stem in sys.stdlib_module_names:
        refuse(f"模块已存在或名称被占用：{stem}", f"the module exists or the name is taken: {stem}")
    camel = "".join(part.title() for part in stem.split("_"))
    values = {"stem": stem, "Camel": camel, "path": stem.replace("_", "-")}
    for name, file in files.items():
        text = (TEMPLATES / f"{name}.txt").read_text(encoding="utf-8")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(text).substitute(values), encoding="utf-8")
    return list(files.values())


def main(arguments: list[str]) -> None:
    """Write the module named on the command line, then its golden rows and reference."""
    if len(arguments) != 1 or not arguments[0]:
        refuse("用法：make module NAME=telemedicine", "usage: make module NAME=telemedicine")
    written = write(arguments[0])
    # The order of imports depends on the name.
    files = [str(file) for file in written if file.suffix == ".py"]
    for words in (["check", "--quiet", "--select", "I", "--fix"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *words, *files], cwd=ROOT, check=True)
    importlib.import_module("tests.store.golden").add_missing()
    page = ROOT / "docs" / "reference" / "modules" / f"{arguments[0]}.md"
    page.write_text(importlib.import_module("tests.reference").render()[page], encoding="utf-8")
    for file in (*written, ROOT / "tests" / arguments[0] / "golden_rows.jsonl", page):
        sys.stdout.write(f"{file.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
