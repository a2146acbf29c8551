"""Every module looks alike, our package names are ours alone, nothing grows too large."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from api.app import discover as discover_routes
from domain.shared.events import Event
from projections.discovery import discover
from store.mapper import load_event_classes
from tests.runtime.instance import untraced

ROOT = Path(__file__).parents[1]
PACKAGES = ("alerts", "api", "domain", "ingest", "projections", "runtime", "simulators", "store")
LINES_MAX = 500
FUNCTION_LINES_MAX = 70
MODULES = sorted(
    folder.name
    for folder in (ROOT / "domain").iterdir()
    if (folder / "events.py").exists() and folder.name != "shared"
)


def sources() -> list[Path]:
    return [
        file
        for name in (*PACKAGES, "tests", "bench")
        for file in sorted((ROOT / name).rglob("*.py"))
    ]


@pytest.mark.parametrize("stem", MODULES)
@pytest.mark.parametrize(
    "place",
    [
        "domain/{}/__init__.py",
        "domain/{}/events.py",
        "domain/{}/model.py",
        "projections/{}.py",
        "projections/sql/{}.sql",
        "api/routes/{}.py",
        "api/texts/{}.py",
        "tests/{}/golden_rows.jsonl",
        "docs/modules/{}.md",
    ],
)
def test_given_a_module_when_looked_for_then_same_stem_in_each_layer(stem: str, place: str) -> None:
    file = ROOT / place.format(stem)
    assert file.is_file() or (file.with_suffix("") / "__init__.py").is_file()


@pytest.mark.parametrize("stem", MODULES)
def test_given_a_module_when_looked_for_then_it_has_tests(stem: str) -> None:
    assert list((ROOT / "tests" / stem).glob("test_*.py"))


@pytest.mark.parametrize("stem", MODULES)
def test_given_events_when_read_then_topics_carry_the_stem(stem: str) -> None:
    module = importlib.import_module(f"domain.{stem}.events")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Event) and value is not Event
    ]
    assert found
    for kind in found:
        if kind.__module__ == module.__name__:
            assert f"{stem}.{kind.__name__}" == kind.TOPIC


def test_given_routes_and_read_models_when_discovered_then_all_modules_are_there() -> None:
    load_event_classes()
    assert set(MODULES) <= {projection.name for projection in discover()}
    assert len(discover_routes()) == len(MODULES)


def test_given_a_file_without_its_part_when_started_then_refused(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    for folder in ("api/routes", "projections"):
        (tmp_path / folder / "zz_empty.py").write_text('"""Forgot it."""\n')
    code = """
import api.app, projections.discovery
for discover in (api.app.discover, projections.discovery.discover):
    try:
        discover()
    except Exception as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=untraced(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    refused = [line.split()[0] for line in done.stdout.splitlines() if "zz_empty" in line]
    assert refused == ["NotARoute", "NotAProjection"], done.stdout + done.stderr


def test_given_our_package_names_when_looked_up_then_no_other_distribution_has_them() -> None:
    owners = importlib.metadata.packages_distributions()
    for name in PACKAGES:
        assert set(owners.get(name, ["vaxtrail"])) == {"vaxtrail"}
        assert name not in sys.stdlib_module_names


@pytest.mark.parametrize("file", sources(), ids=lambda f: str(f.relative_to(ROOT)))
def test_given_a_source_file_when_measured_then_within_size(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= LINES_MAX
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES_MAX, node.name


def test_given_the_changelog_when_read_then_its_newest_version_is_ours() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+)", text, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert newest is not None
    assert newest[1] == project["version"]
