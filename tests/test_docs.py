"""The reference says what the code says, and documents name files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.reference import render

ROOT = Path(__file__).parents[1]
PAGES = [
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md"))
    if ".venv" not in path.parts
]


def test_given_the_reference_when_made_anew_then_the_same() -> None:
    for path, text in render().items():
        assert path.exists(), f"run make docs: {path.name} is missing"
        assert path.read_text(encoding="utf-8") == text, f"run make docs: {path.name} is old"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_given_a_page_when_read_then_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert (page.parent / target).exists(), target


def test_given_architecture_when_read_then_every_named_test_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert named
    for file, name in named:
        path = ROOT / file
        assert path.is_file(), file
        assert not name or f"def {name}(" in path.read_text(encoding="utf-8"), f"{file}::{name}"
