"""Every refusal raised anywhere speaks Chinese and English."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

from api import errors
from api.messages import CATALOGUE, message
from domain.shared.errors import DomainError

ROOT = Path(__file__).parents[2]
KINDS = {kind.__name__ for kind in DomainError.__subclasses__()}


def raised() -> Iterator[tuple[str, set[str], str]]:
    """Give (code, names of facts, place) of every DomainError that the source makes."""
    for package in ("domain", "store", "projections", "alerts", "ingest", "api", "runtime"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                    name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                    first = node.args[0] if node.args else None
                    if name in KINDS and isinstance(first, ast.Constant):
                        facts = {keyword.arg or "*" for keyword in node.keywords}
                        yield str(first.value), facts, f"{file.name}:{node.lineno}"


def chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_given_the_source_when_searched_then_refusals_are_found() -> None:
    assert len({code for code, _, _ in raised()}) > 30


def test_given_every_refusal_when_looked_up_then_both_languages_are_there() -> None:
    missing = {code: place for code, _, place in raised() if code not in CATALOGUE}
    assert missing == {}
    for code in errors.CODE_OF_STATUS.values():
        assert code in CATALOGUE


def test_given_every_refusal_when_worded_then_placeholders_are_facts_it_carries() -> None:
    wrong = []
    for code, facts, place in raised():
        for text in CATALOGUE.get(code, ()):
            if "*" not in facts and not placeholders(text) <= facts:
                wrong.append((place, code, placeholders(text) - facts))
    assert wrong == []


def test_given_the_catalogue_when_read_then_each_text_is_in_its_language() -> None:
    for code, (zh, en) in CATALOGUE.items():
        assert chinese(zh), code
        assert not chinese(en), code
        assert placeholders(zh) == placeholders(en), code


def test_given_an_unknown_code_when_worded_then_the_code_itself() -> None:
    assert message("never_heard_of", {}) == ("never_heard_of", "never_heard_of")
